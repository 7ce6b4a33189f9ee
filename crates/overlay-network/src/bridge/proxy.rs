//! Hands on what reaches a published port's own socket: connections over `::1`, and all of them where the kernel has no
//! rules for it. The target sees the node's address, as with Docker's proxy.

use std::collections::HashMap;
use std::future::poll_fn;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use swarm_types::PortProtocol;
use tokio::io::ReadBuf;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// Connections at a time through one socket; more wait in the kernel's queue.
const CONNECTIONS: usize = 256;

/// Senders remembered at a time by one UDP socket; datagrams of more are dropped, as an overloaded network would.
const SENDERS: usize = 256;

/// An answer that takes longer does not find its way back; Docker's figure.
const UDP_PATIENCE: Duration = Duration::from_secs(90);

/// The largest datagram.
const DATAGRAM: usize = 65535;

/// A socket that its owner can close at once, whatever the task that reads from it is about: a port is free the moment
/// that it is given back.
struct Shared<T>(Arc<Mutex<Option<T>>>);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Shared<T> {
    fn new(socket: T) -> Self {
        Self(Arc::new(Mutex::new(Some(socket))))
    }

    fn lock(&self) -> MutexGuard<'_, Option<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        self.lock().take();
    }

    /// Waits for something of the socket; `None` once it is closed.
    async fn wait<R>(&self, mut poll: impl FnMut(&T, &mut Context<'_>) -> Poll<R>) -> Option<R> {
        poll_fn(|context| match &*self.lock() {
            Some(socket) => poll(socket, context).map(Some),
            None => Poll::Ready(None),
        })
        .await
    }
}

/// Ends the handing on when dropped.
pub(super) struct Forwarder {
    task: JoinHandle<()>,
    close: Box<dyn Fn() + Send>,
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        (self.close)();
        self.task.abort();
    }
}

/// Begins to hand on from a bound (and, for TCP, listening) non-blocking socket.
pub(super) fn start(socket: OwnedFd, protocol: PortProtocol, target: SocketAddr) -> std::io::Result<Forwarder> {
    match protocol {
        PortProtocol::Tcp => {
            let socket = Shared::new(TcpListener::from_std(socket.into())?);
            let task = tokio::spawn(streams(socket.clone(), target));
            Ok(Forwarder { task, close: Box::new(move || socket.close()) })
        }
        PortProtocol::Udp => {
            let socket = Shared::new(UdpSocket::from_std(socket.into())?);
            let task = tokio::spawn(datagrams(socket.clone(), target));
            Ok(Forwarder { task, close: Box::new(move || socket.close()) })
        }
        PortProtocol::Sctp => Err(std::io::ErrorKind::Unsupported.into()),
    }
}

async fn streams(listener: Shared<TcpListener>, target: SocketAddr) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = room.clone().acquire_owned().await else { return };
        let Some(accepted) = listener.wait(|socket, context| socket.poll_accept(context)).await else { return };
        match accepted {
            Ok((mut client, _)) => drop(tokio::spawn(async move {
                if let Ok(mut server) = TcpStream::connect(target).await {
                    // the end of either side ends the connection; there is nobody to tell of an error
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                }
                drop(place);
            })),
            // too many open files, or the client left: neither lasts
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn datagrams(socket: Shared<UdpSocket>, target: SocketAddr) {
    let mut senders: HashMap<SocketAddr, (Arc<UdpSocket>, JoinHandle<()>)> = HashMap::new();
    let mut buffer = vec![0; DATAGRAM];
    loop {
        let received = socket.wait(|socket, context| {
            let mut read = ReadBuf::new(&mut buffer);
            socket.poll_recv_from(context, &mut read).map(|from| from.map(|from| (read.filled().len(), from)))
        });
        let Some(received) = received.await else { return };
        let Ok((length, from)) = received else { continue };
        senders.retain(|_, (_, answers)| !answers.is_finished());
        let out = match senders.get(&from) {
            Some((out, _)) => out.clone(),
            None if senders.len() >= SENDERS => continue,
            None => {
                let Ok(out) = connected(target).await else { continue };
                let out = Arc::new(out);
                let answers = tokio::spawn(answers(out.clone(), socket.clone(), from));
                senders.insert(from, (out.clone(), answers));
                out
            }
        };
        let _ = out.send(&buffer[..length]).await;
    }
}

async fn connected(target: SocketAddr) -> std::io::Result<UdpSocket> {
    let any: IpAddr = if target.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(target).await?;
    Ok(socket)
}

async fn answers(from: Arc<UdpSocket>, to: Shared<UdpSocket>, client: SocketAddr) {
    let mut buffer = vec![0; DATAGRAM];
    while let Ok(Ok(length)) = tokio::time::timeout(UDP_PATIENCE, from.recv(&mut buffer)).await {
        match &*to.lock() {
            // one that finds no room is lost, as datagrams are
            Some(socket) => drop(socket.try_send_to(&buffer[..length], client)),
            None => return,
        }
    }
}
