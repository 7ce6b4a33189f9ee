//! The servers of one node: for each container a UDP and a TCP socket at 127.0.0.11:53 in its namespace, both served by
//! one task of the node's own event loop. A container that asks nothing costs two sockets and that task.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use super::DnsView;
use super::answer::{Answer, Transport, answer, failure};
use super::forward::{forward, framed};
use super::names::{Names, Rotation};
use crate::apply::{NetError, NetNamespace};

/// Where the server is, in each container: what `nameserver` in its /etc/resolv.conf says.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
const PORT: u16 = 53;
/// Questions that one container may have waiting upstream; a further one is refused.
const MOST_OUTSTANDING: usize = 64;
/// TCP connections that one container may have; a further one is closed.
const MOST_CONNECTIONS: usize = 16;
/// Longest question that is read. A name has at most 255 bytes; the rest is room for options.
const LONGEST_QUERY: usize = 4096;
/// Datagrams that are answered before others get a turn.
const BATCH: usize = 32;
/// How long a TCP connection may stay silent between questions.
const IDLE: Duration = Duration::from_secs(8);
/// How long one message may take on a TCP connection.
const TRANSFER: Duration = Duration::from_secs(2);

/// All name servers of a node. Clones are handles to the same servers; with the last one they end.
#[derive(Clone)]
pub struct DnsServers {
    shared: Arc<Shared>,
}

struct Shared {
    names: Arc<Mutex<Names>>,
    servers: Mutex<BTreeMap<String, Server>>,
    /// Tasks that were told to end, and hold their sockets until the event loop gets to them.
    ending: Mutex<Vec<(String, JoinHandle<()>)>>,
    started: AtomicUsize,
}

struct Server {
    desk: Arc<Desk>,
    task: JoinHandle<()>,
}

/// What the tasks of one container's server work with.
struct Desk {
    names: Arc<Mutex<Names>>,
    view: Mutex<Arc<DnsView>>,
    rotation: Mutex<Rotation>,
    outstanding: Semaphore,
}

/// Nothing here is left half-changed by a panic, so a poisoned lock is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Default for DnsServers {
    fn default() -> Self {
        Self::new()
    }
}

impl DnsServers {
    /// No servers, no names.
    pub fn new() -> Self {
        let start = usize::from(Message::query().metadata.id);
        Self {
            shared: Arc::new(Shared {
                names: Arc::default(),
                servers: Mutex::default(),
                ending: Mutex::default(),
                started: AtomicUsize::new(start),
            }),
        }
    }

    /// Changes what names mean; the next question is answered by it.
    pub fn update(&self, f: impl FnOnce(&mut Names)) {
        f(&mut lock(&self.shared.names));
    }

    /// Starts the server of a container, by a process in its network namespace, and brings up the loopback there.
    /// A server that this container had before is ended first; one of an earlier daemon ended with it, so a running
    /// container can be taken over. Until [`stop`](Self::stop) the sockets keep the namespace alive.
    ///
    /// Must be called in the tokio runtime that is to serve.
    ///
    /// # Errors
    /// When the process is gone, or something in the container listens on port 53 already.
    pub async fn start(&self, container: &str, pid: u32, view: DnsView) -> Result<(), NetError> {
        self.stop(container);
        for task in self.take_ending(container) {
            // cancelled: that is what was asked for
            let _ = task.await;
        }
        let namespace = NetNamespace::of_pid(pid)?;
        namespace.set_up("lo", true).await?;
        let what = || format!("listen on {ADDRESS}:{PORT} in container {container}");
        let io = |source| NetError::Io { what: what(), source };
        let (udp, tcp) = namespace.within(bind)?.map_err(io)?;
        let udp = UdpSocket::from_std(udp).map_err(io)?;
        let tcp = TcpListener::from_std(tcp).map_err(io)?;
        let desk = Arc::new(Desk {
            names: Arc::clone(&self.shared.names),
            view: Mutex::new(Arc::new(view)),
            rotation: Mutex::new(Rotation::new(self.shared.started.fetch_add(1, Ordering::Relaxed))),
            outstanding: Semaphore::new(MOST_OUTSTANDING),
        });
        let task = tokio::spawn(serve(udp, tcp, Arc::clone(&desk)));
        lock(&self.shared.servers).insert(container.to_owned(), Server { desk, task });
        Ok(())
    }

    /// Gives the container other networks or upstream servers. Nothing when it has no server.
    pub fn change(&self, container: &str, view: DnsView) {
        if let Some(server) = lock(&self.shared.servers).get(container) {
            *lock(&server.desk.view) = Arc::new(view);
        }
    }

    /// Ends the server of a container, with everything that it waits for. Nothing when it has none.
    pub fn stop(&self, container: &str) {
        let Some(server) = lock(&self.shared.servers).remove(container) else { return };
        server.task.abort();
        let mut ending = lock(&self.shared.ending);
        ending.retain(|(_, task)| !task.is_finished());
        ending.push((container.to_owned(), server.task));
    }

    fn take_ending(&self, container: &str) -> Vec<JoinHandle<()>> {
        let mut ending = lock(&self.shared.ending);
        let (mine, others) = std::mem::take(&mut *ending).into_iter().partition(|(owner, _)| owner == container);
        *ending = others;
        mine.into_iter().map(|(_, task): (String, _)| task).collect()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        for server in lock(&self.servers).values() {
            server.task.abort();
        }
    }
}

/// Runs inside the container's namespace. The standard library sets SO_REUSEADDR on the listener: connections of an
/// earlier daemon's server linger there.
fn bind() -> io::Result<(std::net::UdpSocket, std::net::TcpListener)> {
    let udp = std::net::UdpSocket::bind((ADDRESS, PORT))?;
    let tcp = std::net::TcpListener::bind((ADDRESS, PORT))?;
    udp.set_nonblocking(true)?;
    tcp.set_nonblocking(true)?;
    Ok((udp, tcp))
}

async fn serve(udp: UdpSocket, tcp: TcpListener, desk: Arc<Desk>) {
    tokio::join!(serve_udp(Arc::new(udp), &desk), serve_tcp(&tcp, &desk));
}

async fn serve_udp(socket: Arc<UdpSocket>, desk: &Arc<Desk>) {
    let mut forwards = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = forwards.join_next(), if !forwards.is_empty() => {}
            ready = socket.readable() => {
                if ready.is_err() {
                    return;
                }
                for _ in 0..BATCH {
                    let Ok((query, from)) = received(&socket) else { break };
                    match desk.answer(&query, Transport::Udp) {
                        // a reply that finds no room is lost, as datagrams are; the asker asks again
                        Answer::Reply(reply) => drop(socket.try_send_to(&reply, from)),
                        Answer::Ignore => {}
                        Answer::Forward if forwards.len() >= MOST_OUTSTANDING => {
                            if let Some(reply) = failure(&query, ResponseCode::Refused) {
                                let _ = socket.try_send_to(&reply, from);
                            }
                        }
                        Answer::Forward => {
                            let (socket, desk) = (Arc::clone(&socket), Arc::clone(desk));
                            forwards.spawn(async move {
                                if let Some(reply) = desk.forward(&query, Transport::Udp).await {
                                    let _ = socket.send_to(&reply, from).await;
                                }
                            });
                        }
                    }
                }
                tokio::task::yield_now().await;
            }
        }
    }
}

/// One datagram, read by way of the stack: a server that waits holds no buffer.
fn received(socket: &UdpSocket) -> io::Result<(Vec<u8>, SocketAddr)> {
    let mut buffer = [0; LONGEST_QUERY];
    let (length, from) = socket.try_recv_from(&mut buffer)?;
    Ok((buffer[..length].to_vec(), from))
}

async fn serve_tcp(listener: &TcpListener, desk: &Arc<Desk>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) if connections.len() < MOST_CONNECTIONS => {
                    connections.spawn(serve_connection(stream, Arc::clone(desk)));
                }
                Ok(_) => {}
                Err(error) => {
                    // out of file descriptors, most likely, and the connection is still waiting: not at once again
                    tracing::warn!(%error, "a connection to a container's name server was not accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

/// Answers one question after the other, until the asker closes, says nothing for a while, or says nonsense.
async fn serve_connection(mut stream: TcpStream, desk: Arc<Desk>) {
    let mut length = [0; 2];
    while let Ok(Ok(_)) = timeout(IDLE, stream.read_exact(&mut length)).await {
        let length = usize::from(u16::from_be_bytes(length));
        if length > LONGEST_QUERY {
            return;
        }
        let mut query = vec![0; length];
        let Ok(Ok(_)) = timeout(TRANSFER, stream.read_exact(&mut query)).await else { return };
        let reply = match desk.answer(&query, Transport::Tcp) {
            Answer::Reply(reply) => Some(reply),
            Answer::Forward => desk.forward(&query, Transport::Tcp).await,
            Answer::Ignore => None,
        };
        let Some(reply) = reply else { return };
        let Ok(Ok(())) = timeout(TRANSFER, stream.write_all(&framed(&reply))).await else { return };
    }
}

impl Desk {
    fn view(&self) -> Arc<DnsView> {
        Arc::clone(&lock(&self.view))
    }

    fn answer(&self, query: &[u8], transport: Transport) -> Answer {
        answer(&lock(&self.names), &self.view(), query, transport, &mut lock(&self.rotation))
    }

    async fn forward(&self, query: &[u8], transport: Transport) -> Option<Vec<u8>> {
        let Ok(_place) = self.outstanding.try_acquire() else { return failure(query, ResponseCode::Refused) };
        forward(query, transport, &self.view().upstream).await
    }
}
