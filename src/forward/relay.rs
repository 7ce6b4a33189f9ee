//! One forwarded port: listens on the learner's machine and hands on what comes to a node of the lab.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::dial::Dialer;
use crate::sandbox::Protocol;

/// Most TCP connections of one lab at a time. Whoever opens more waits until others are closed.
pub const MOST_CONNECTIONS: usize = 512;
/// Most clients of one UDP port at a time; the one that was silent longest makes way.
const MOST_CLIENTS: usize = 64;
/// How long an answer by UDP is waited for, as connection tracking in a kernel does.
const UDP_SILENCE: Duration = Duration::from_secs(60);
/// Connections that may wait for being taken.
const BACKLOG: u32 = 128;
/// Largest datagram.
const DATAGRAM: usize = 65_535;

/// The addresses of the nodes that answer at a port, in order, and the one that answered last.
#[derive(Debug, Default)]
pub struct Targets {
    addresses: Vec<IpAddr>,
    good: Option<IpAddr>,
}

/// Shared by all connections of a port.
pub type SharedTargets = Arc<Mutex<Targets>>;

impl Targets {
    /// Changes the addresses.
    pub fn set(&mut self, addresses: Vec<IpAddr>) {
        self.addresses = addresses;
    }

    /// The one that answered last, then the others.
    fn order(&self) -> Vec<IpAddr> {
        let good = self.good.filter(|good| self.addresses.contains(good));
        good.into_iter().chain(self.addresses.iter().copied().filter(|address| Some(*address) != good)).collect()
    }
}

fn order(targets: &SharedTargets) -> Vec<IpAddr> {
    targets.lock().unwrap_or_else(PoisonError::into_inner).order()
}

/// A port that is listened at. Dropping it ends that, and every conversation over it.
pub struct Relay {
    _tasks: JoinSet<()>,
    /// The port on this machine.
    pub port: u16,
}

/// What a relay needs of its surroundings.
#[derive(Clone)]
pub struct Surroundings {
    /// Sockets towards the lab.
    pub dialer: Dialer,
    /// Counts the connections.
    pub connections: Arc<Semaphore>,
}

impl Relay {
    /// Listens at the same port of all these addresses and hands on to `published` of the targets. An address that
    /// this machine does not have at all (it may do without IPv6) is left out, as long as one remains.
    pub fn open(
        addresses: &[IpAddr],
        port: u16,
        protocol: Protocol,
        published: u16,
        targets: &SharedTargets,
        with: &Surroundings,
    ) -> io::Result<Self> {
        let mut tasks = JoinSet::new();
        let mut bound = port;
        let mut missing = None;
        for address in addresses {
            let at = SocketAddr::new(*address, bound);
            let (targets, with) = (Arc::clone(targets), with.clone());
            let opened = match protocol {
                Protocol::Tcp => listen(at).map(|listener| {
                    let port = listener.local_addr().map(|at| at.port());
                    tasks.spawn(tcp(listener, published, targets, with));
                    port
                }),
                Protocol::Udp => bind(at).map(|socket| {
                    let port = socket.local_addr().map(|at| at.port());
                    tasks.spawn(udp(socket, published, targets, with.dialer));
                    port
                }),
            };
            match opened {
                Ok(port) => bound = port?,
                Err(error) if absent(&error) => missing = Some(error),
                Err(error) => return Err(error),
            }
        }
        match missing {
            Some(error) if tasks.is_empty() => Err(error),
            _ => Ok(Self { _tasks: tasks, port: bound }),
        }
    }
}

/// Whether an address could not be listened at because this machine does not have it.
fn absent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrNotAvailable || error.raw_os_error() == Some(nix::libc::EAFNOSUPPORT)
}

fn listen(at: SocketAddr) -> io::Result<TcpListener> {
    let socket = if at.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // a lab that is started anew finds its port again, though old connections to it are still being forgotten
    socket.set_reuseaddr(true)?;
    socket.bind(at)?;
    socket.listen(BACKLOG)
}

fn bind(at: SocketAddr) -> io::Result<UdpSocket> {
    let socket = std::net::UdpSocket::bind(at)?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}

async fn tcp(listener: TcpListener, published: u16, targets: SharedTargets, with: Surroundings) {
    let mut conversations = JoinSet::new();
    loop {
        // first room, then the client: those that are too many wait in the kernel
        let Ok(room) = Arc::clone(&with.connections).acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = conversations.join_next() => continue,
        };
        match accepted {
            Ok((client, _)) => {
                let (targets, dialer) = (Arc::clone(&targets), with.dialer.clone());
                conversations.spawn(async move {
                    converse(client, published, &targets, &dialer).await;
                    drop(room);
                });
            }
            // too many open files, say: nothing tells when that is over
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn converse(mut client: TcpStream, published: u16, targets: &SharedTargets, dialer: &Dialer) {
    match dialer.tcp(&order(targets), published).await {
        Ok(mut node) => {
            if let Ok(peer) = node.peer_addr() {
                targets.lock().unwrap_or_else(PoisonError::into_inner).good = Some(peer.ip());
            }
            let _ = (client.set_nodelay(true), node.set_nodelay(true));
            // however it ends: both sides see it
            let _ = tokio::io::copy_bidirectional(&mut client, &mut node).await;
        }
        Err(why) => {
            eprintln!("port {published}: {why}");
            // a reset tells the client that nobody was there; a plain end would look like an empty answer
            let _ = client.set_zero_linger();
        }
    }
}

/// Conversations of one UDP port, by the client's address.
async fn udp(socket: UdpSocket, published: u16, targets: SharedTargets, dialer: Dialer) {
    let socket = Arc::new(socket);
    let mut clients: HashMap<SocketAddr, Client> = HashMap::new();
    let mut answers: JoinSet<SocketAddr> = JoinSet::new();
    let mut bytes = vec![0; DATAGRAM];
    loop {
        let received = tokio::select! {
            received = socket.recv_from(&mut bytes) => received,
            Some(ended) = answers.join_next() => {
                if let Ok(client) = ended {
                    clients.remove(&client);
                }
                continue;
            }
        };
        // an error tells of a client that is gone
        let Ok((length, from)) = received else { continue };
        if !clients.contains_key(&from) {
            if clients.len() >= MOST_CLIENTS
                && let Some(silent) = clients.iter().min_by_key(|(_, client)| client.heard).map(|(at, _)| *at)
            {
                clients.remove(&silent);
            }
            let Some(target) = order(&targets).first().copied() else { continue };
            match dialer.udp(target, published).await {
                Ok(node) => {
                    let node = Arc::new(node);
                    let task = answers.spawn(answer(Arc::clone(&node), Arc::clone(&socket), from));
                    clients.insert(from, Client { node, task, heard: Instant::now() });
                }
                Err(why) => {
                    eprintln!("port {published}/udp: {why}");
                    continue;
                }
            }
        }
        if let Some(client) = clients.get_mut(&from) {
            client.heard = Instant::now();
            // lost datagrams are UDP's way
            let _ = client.node.send(&bytes[..length]).await;
        }
    }
}

struct Client {
    node: Arc<UdpSocket>,
    task: tokio::task::AbortHandle,
    heard: Instant,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Hands a node's answers to one client, until it has been silent for long.
async fn answer(node: Arc<UdpSocket>, socket: Arc<UdpSocket>, client: SocketAddr) -> SocketAddr {
    let mut bytes = vec![0; DATAGRAM];
    loop {
        match tokio::time::timeout(UDP_SILENCE, node.recv(&mut bytes)).await {
            Ok(Ok(length)) => {
                let _ = socket.send_to(&bytes[..length], client).await;
            }
            // the node refused; the next datagram tries again
            Ok(Err(_)) | Err(_) => return client,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::fd::{AsRawFd as _, OwnedFd};

    use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, socket};

    use super::*;

    #[test]
    fn the_node_that_answered_last_is_asked_first_as_long_as_it_is_one() {
        let ip = |last| IpAddr::from([10, 77, 0, last]);
        let mut targets = Targets { addresses: vec![ip(1), ip(2)], good: Some(ip(2)) };
        assert_eq!(targets.order(), [ip(2), ip(1)]);
        targets.set(vec![ip(1), ip(3)]);
        assert_eq!(targets.order(), [ip(1), ip(3)]);
    }

    /// What a relay needs, with a sandbox-init that never answers.
    fn surroundings(dir: &std::path::Path) -> (OwnedFd, Surroundings) {
        let (family, kind) = (AddressFamily::Unix, SockType::SeqPacket);
        let init = socket(family, kind, SockFlag::SOCK_CLOEXEC, None).unwrap();
        nix::sys::socket::bind(init.as_raw_fd(), &UnixAddr::new(&dir.join("init.sock")).unwrap()).unwrap();
        nix::sys::socket::listen(&init, Backlog::new(1).unwrap()).unwrap();
        let dialer = Dialer::new(crate::sandbox::Courier::connect(dir).unwrap());
        (init, Surroundings { dialer, connections: Arc::new(Semaphore::new(1)) })
    }

    #[test]
    fn an_address_that_the_machine_does_not_have_is_left_out_unless_it_is_the_only_one() {
        let folder = tempfile::tempdir().unwrap();
        let (_init, with) = surroundings(folder.path());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let targets = SharedTargets::default();
            let [v4, v6, foreign] = ["127.0.0.1", "::1", "2001:db8::1"].map(|ip| ip.parse::<IpAddr>().unwrap());
            for protocol in [Protocol::Tcp, Protocol::Udp] {
                let open = |addresses: &[IpAddr]| Relay::open(addresses, 0, protocol, 80, &targets, &with);
                assert!(open(&[v4, foreign]).unwrap().port > 0);
                assert!(absent(&open(&[foreign]).err().unwrap()));
            }
            let relay = Relay::open(&[v4, v6], 0, Protocol::Tcp, 80, &targets, &with).unwrap();
            assert!(std::net::TcpStream::connect((v4, relay.port)).is_ok());
            // where there is no IPv6 a client is refused at once, and turns to 127.0.0.1
            let machine_has = std::net::TcpListener::bind((v6, 0)).is_ok();
            assert_eq!(std::net::TcpStream::connect((v6, relay.port)).is_ok(), machine_has);
        });
    }
}
