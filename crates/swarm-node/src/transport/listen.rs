//! The listener of a manager: accepts, shakes hands, reads the hello, refuses what the certificate does not allow, and
//! hands the rest to the event loop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use swarm_manager::control_api::{ControlError, ControlErrorKind};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsStream};
use tracing::{debug, warn};

use super::TransportError;
use super::connection::{Connection, HANDSHAKE, LARGE, tune};
use super::wire::{Answer, Hello, MAX_HOPS, Request, VERSION};
use crate::ca::{CertificateFacts, Credentials, Peer};

/// Connections that have not said yet what they are for. A stranger who opens more makes others wait, at most for the
/// handshake's time limit.
const GREETING: usize = 128;

/// Largest hello of a stranger: a token and a certificate request have about one kilobyte.
const SMALL: usize = 16 * 1024;

/// Largest hello of a node: a forwarded request with a config of 1000 KiB, whose bytes take up to two each.
const MEDIUM: usize = 8 * 1024 * 1024;

/// A connection whose client may ask what it asks.
#[derive(Debug)]
pub struct Incoming {
    /// Who, by certificate; `None`: a stranger.
    pub peer: Option<Peer>,
    /// From where.
    pub addr: SocketAddr,
    /// How often the request was passed on.
    pub hops: u8,
    /// What for.
    pub request: Request,
    /// The connection.
    pub connection: Connection,
}

/// A listener; closed when dropped. Connections that it accepted go on.
#[derive(Debug)]
pub struct Listener {
    /// Where it listens.
    pub addr: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Listener {
    /// Listens. `convert` makes of an incoming connection what the event loop's mailbox takes.
    pub fn bind<M: Send + 'static>(
        addr: SocketAddr,
        credentials: watch::Receiver<Arc<Credentials>>,
        mailbox: mpsc::Sender<M>,
        convert: impl Fn(Incoming) -> M + Clone + Send + Sync + 'static,
    ) -> std::io::Result<Self> {
        let listener = bind(addr)?;
        let addr = listener.local_addr()?;
        let accepting = tokio::spawn(accept(listener, credentials, mailbox, convert));
        Ok(Self { addr, accepting })
    }
}

fn bind(addr: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if addr.is_ipv4() { tokio::net::TcpSocket::new_v4()? } else { tokio::net::TcpSocket::new_v6()? };
    // A daemon that was killed and starts again must get its port although old connections linger.
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(1024)
}

async fn accept<M: Send + 'static>(
    listener: TcpListener,
    credentials: watch::Receiver<Arc<Credentials>>,
    mailbox: mpsc::Sender<M>,
    convert: impl Fn(Incoming) -> M + Clone + Send + Sync + 'static,
) {
    let greeting = Arc::new(Semaphore::new(GREETING));
    loop {
        let Ok(permit) = greeting.clone().acquire_owned().await else { return };
        let (stream, addr) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, most likely: others may close some.
                warn!("accept on the swarm port: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let credentials = credentials.borrow().clone();
        let (mailbox, convert) = (mailbox.clone(), convert.clone());
        tokio::spawn(async move {
            let greeted = timeout(HANDSHAKE, greet(stream, addr, &credentials)).await;
            drop(permit);
            match greeted {
                Ok(Ok(Some(incoming))) => drop(mailbox.send(convert(incoming)).await),
                Ok(Ok(None)) => {}
                Ok(Err(error)) => debug!("connection from {addr}: {error}"),
                Err(_) => debug!("connection from {addr}: no hello in time"),
            }
        });
    }
}

/// `None`: refused, and told so.
async fn greet(
    stream: TcpStream,
    addr: SocketAddr,
    credentials: &Credentials,
) -> Result<Option<Incoming>, TransportError> {
    tune(&stream);
    let tls = |source| TransportError::Tls { addr: addr.to_string(), source };
    let stream = TlsAcceptor::from(credentials.server.clone()).accept(stream).await.map_err(tls)?;
    let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let peer = match certificate.map(|der| CertificateFacts::read(der)) {
        Some(Ok(facts)) => Some(facts.peer),
        Some(Err(error)) => return Err(TransportError::Malformed(error.to_string())),
        None => None,
    };
    let limit = if peer.is_some() { MEDIUM } else { SMALL };
    let mut connection = Connection::new(TlsStream::Server(stream), addr.to_string(), limit);
    let hello: Hello = connection.receive().await?;
    let refusal = if hello.version != VERSION {
        Some(format!("this manager speaks version {VERSION} of the protocol between nodes, not {}", hello.version))
    } else if hello.hops > MAX_HOPS {
        Some("the managers do not agree on who leads; try again".to_owned())
    } else if peer.is_some_and(|peer| peer.cluster != credentials.facts.peer.cluster) {
        Some("the certificate is of another swarm".to_owned())
    } else if !hello.request.allowed(peer.as_ref()) {
        let role = if peer.is_some() { "a worker's certificate" } else { "no certificate" };
        Some(format!("rpc error: code = PermissionDenied desc = {} requested with {role}", hello.request.name()))
    } else {
        None
    };
    if let Some(message) = refusal {
        debug!("connection from {addr} refused: {message}");
        let answer: Answer<()> = Err(ControlError::new(ControlErrorKind::InvalidArgument, message));
        connection.send(&answer).await?;
        connection.split().0.close().await;
        return Ok(None);
    }
    if peer.is_some() {
        connection.set_limit(LARGE);
    }
    Ok(Some(Incoming { peer, addr, hops: hello.hops, request: hello.request, connection }))
}
