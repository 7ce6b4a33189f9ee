//! Payloads too long for a packet: one TCP connection each, a length of four bytes and the sealed payload.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use swarm_gossip::MAX_STREAM;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use super::sealing::OVERHEAD;

/// The most connections at once, in each direction.
const CONNECTIONS: usize = 32;
/// The most connections to one node at once; gossip sends again what found no room.
const CONNECTIONS_TO_ONE: usize = 2;
/// Connecting may take so long.
const CONNECT: Duration = Duration::from_secs(3);
/// A whole payload may take so long.
const TRANSFER: Duration = Duration::from_secs(20);
/// A claimed length costs memory only as bytes arrive.
const CHUNK: u64 = 64 << 10;
/// After accepting failed (out of descriptors), so long until the next try.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Takes connections and hands on what arrived, still sealed, until nobody takes it any more.
pub(super) async fn listen(listener: TcpListener, arrived: mpsc::Sender<(SocketAddr, Vec<u8>)>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = arrived.closed() => return,
        };
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "cannot take a connection of gossip");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Whoever finds no room is closed at once and sends again later.
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else { continue };
        let arrived = arrived.clone();
        tokio::spawn(async move {
            let received = tokio::select! {
                received = timeout(TRANSFER, receive(stream)) => received,
                () = arrived.closed() => return,
            };
            match received {
                Ok(Ok(sealed)) => drop(arrived.send((from, sealed)).await),
                Ok(Err(error)) => tracing::debug!(%from, %error, "a stream of gossip broke"),
                Err(_) => tracing::debug!(%from, "a stream of gossip took too long"),
            }
            drop(permit);
        });
    }
}

async fn receive(mut stream: TcpStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u32().await?;
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if !(OVERHEAD..=MAX_STREAM + OVERHEAD).contains(&length) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{length} bytes announced")));
    }
    let mut sealed = Vec::new();
    while sealed.len() < length {
        let rest = u64::try_from(length - sealed.len()).unwrap_or(CHUNK);
        if (&mut stream).take(rest.min(CHUNK)).read_to_end(&mut sealed).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(sealed)
}

/// Sends payloads, each by a connection of its own.
#[derive(Debug, Clone)]
pub(super) struct Streams {
    from: std::net::IpAddr,
    busy: Arc<Mutex<BTreeMap<SocketAddr, usize>>>,
}

impl Streams {
    /// Connections come from this address, unless it is the unspecified one.
    pub(super) fn new(from: std::net::IpAddr) -> Self {
        Self { from, busy: Arc::default() }
    }

    /// Begins to send. What finds no room or no answer is dropped: gossip sends it again.
    pub(super) fn send(&self, to: SocketAddr, sealed: Vec<u8>) {
        {
            let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
            if busy.values().sum::<usize>() >= CONNECTIONS || busy.get(&to).is_some_and(|n| *n >= CONNECTIONS_TO_ONE) {
                return;
            }
            *busy.entry(to).or_default() += 1;
        }
        let this = self.clone();
        tokio::spawn(async move {
            let sent = async {
                let mut stream = timeout(CONNECT, this.connect(to)).await??;
                timeout(TRANSFER, transfer(&mut stream, &sealed)).await?
            };
            if let Err::<(), io::Error>(error) = sent.await {
                tracing::debug!(%to, %error, "cannot send a stream of gossip");
            }
            let mut busy = this.busy.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(n) = busy.get_mut(&to) {
                *n -= 1;
            }
            busy.retain(|_, n| *n > 0);
        });
    }

    async fn connect(&self, to: SocketAddr) -> io::Result<TcpStream> {
        if self.from.is_unspecified() || self.from.is_ipv4() != to.is_ipv4() {
            return TcpStream::connect(to).await;
        }
        let socket = if to.is_ipv4() { tokio::net::TcpSocket::new_v4() } else { tokio::net::TcpSocket::new_v6() }?;
        socket.bind(SocketAddr::new(self.from, 0))?;
        socket.connect(to).await
    }
}

async fn transfer(stream: &mut TcpStream, sealed: &[u8]) -> io::Result<()> {
    let length = u32::try_from(sealed.len()).map_err(io::Error::other)?;
    stream.write_u32(length).await?;
    stream.write_all(sealed).await?;
    stream.shutdown().await?;
    // The other side closes when it has it all.
    stream.read(&mut [0]).await.map(|_| ())
}
