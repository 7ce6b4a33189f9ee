//! Ports of the node that lead to containers: who has which, each held by a socket that is really bound, so that no
//! other program of the node can take it while its container runs (and none that has it is cut off).
//!
//! Packets reach the container by rules of the kernel; what comes to the sockets all the same (over `::1`, or where the
//! node has no nftables) is handed on by [`proxy`](super::proxy), as Docker does.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket, sockopt,
};
use swarm_types::PortProtocol;

use super::proxy::{self, Forwarder};

/// Docker's range for ports that the user leaves open, where the kernel names none.
const EPHEMERAL: (u16, u16) = (32768, 60999);

/// Which port of the node is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostPorts {
    /// Any: of the kernel's range for such ports, from 32768 upwards as a rule.
    Any,
    /// The first free one from the first to the second; both the same for a certain one.
    Range(u16, u16),
}

/// Why a port cannot be had. The texts are Docker's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// Another container, or the ingress network, has it.
    #[error("Bind for {0} failed: port is already allocated")]
    Allocated(SocketAddr),
    /// Another program of the node has it, or the node has no such address.
    #[error("failed to bind host port {address}/{protocol}: {why}")]
    Bind {
        /// What was tried.
        address: SocketAddr,
        /// With what protocol.
        protocol: &'static str,
        /// The kernel's answer.
        why: String,
    },
    /// The whole range is taken.
    #[error("all ports are allocated")]
    Exhausted,
}

/// The ports of one node. Clones share them. Sockets are opened in the network namespace of the calling thread.
#[derive(Clone, Default)]
pub struct PortAllocator(Arc<Mutex<Ports>>);

#[derive(Default)]
struct Ports {
    held: Vec<Held>,
    /// The last port given out of each range: the next search begins after it, so that a port is not given again at
    /// once while clients may still mean the earlier container.
    last: BTreeMap<(u16, u16), u16>,
}

struct Held {
    owner: String,
    protocol: PortProtocol,
    address: SocketAddr,
    /// `None` where the kernel has no sockets of that protocol.
    socket: Option<OwnedFd>,
    forwarder: Option<Forwarder>,
}

impl fmt::Debug for PortAllocator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.ports().held.iter().map(|one| (&one.owner, one.protocol, one.address))).finish()
    }
}

/// `tcp`, `udp`, `sctp`.
pub fn protocol_name(protocol: PortProtocol) -> &'static str {
    match protocol {
        PortProtocol::Tcp => "tcp",
        PortProtocol::Udp => "udp",
        PortProtocol::Sctp => "sctp",
    }
}

impl PortAllocator {
    fn ports(&self) -> MutexGuard<'_, Ports> {
        // a panic elsewhere does not make the list wrong: it is changed in one step
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The addresses that stand for "all of the node's": `0.0.0.0`, and `::` where the node has IPv6.
    pub fn any_address() -> Vec<IpAddr> {
        let off = std::fs::read_to_string("/proc/sys/net/ipv6/conf/lo/disable_ipv6");
        let mut all = vec![IpAddr::V4(Ipv4Addr::UNSPECIFIED)];
        if off.is_ok_and(|text| text.trim() == "0") {
            all.push(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
        }
        all
    }

    /// Takes one port, the same on all `addresses`, until [`release`](Self::release). `owner`: a container's id, or
    /// another name for whom it leads to.
    pub fn reserve(
        &self,
        owner: &str,
        protocol: PortProtocol,
        addresses: &[IpAddr],
        wanted: HostPorts,
    ) -> Result<u16, PortError> {
        let mut ports = self.ports();
        let (first, last) = match wanted {
            HostPorts::Any => ephemeral(),
            HostPorts::Range(first, last) if first == last => {
                ports.take(owner, protocol, addresses, first)?;
                return Ok(first);
            }
            HostPorts::Range(first, last) => (first, last),
        };
        let count = u32::from(last.saturating_sub(first)) + 1;
        let start = ports.last.get(&(first, last)).map_or(0, |given| u32::from(given.saturating_sub(first)) + 1);
        let mut refusal = PortError::Exhausted;
        for step in 0..count {
            let offset = u16::try_from((start + step) % count).unwrap_or(0);
            let port = first.saturating_add(offset);
            match ports.take(owner, protocol, addresses, port) {
                Ok(()) => {
                    ports.last.insert((first, last), port);
                    return Ok(port);
                }
                Err(PortError::Bind { why, address, protocol }) if why != IN_USE => {
                    // not a matter of the port
                    return Err(PortError::Bind { why, address, protocol });
                }
                Err(error) if first == last => refusal = error,
                Err(_) => {}
            }
        }
        Err(refusal)
    }

    /// Hands on what comes to the owner's sockets of this port to `target`. Within a tokio runtime.
    pub fn forward(&self, owner: &str, protocol: PortProtocol, port: u16, target: SocketAddr) {
        for held in self.ports().held.iter_mut() {
            if held.owner != owner || held.protocol != protocol || held.address.port() != port {
                continue;
            }
            let copy = held.socket.as_ref().map(|socket| socket.try_clone());
            if let Some(Ok(socket)) = copy {
                held.forwarder = proxy::start(socket, protocol, target)
                    .map_err(|error| tracing::warn!(address = %held.address, "handing on to {target}: {error}"))
                    .ok();
            }
        }
    }

    /// Gives back all that the owner has.
    pub fn release(&self, owner: &str) {
        self.ports().held.retain(|held| held.owner != owner);
    }

    /// Gives back one port of the owner's.
    pub fn release_port(&self, owner: &str, protocol: PortProtocol, port: u16) {
        self.ports()
            .held
            .retain(|held| (held.owner.as_str(), held.protocol, held.address.port()) != (owner, protocol, port));
    }
}

/// What the kernel says of a port that a program has.
const IN_USE: &str = "address already in use";

impl Ports {
    fn take(&mut self, owner: &str, protocol: PortProtocol, addresses: &[IpAddr], port: u16) -> Result<(), PortError> {
        let mut taken = Vec::new();
        for ip in addresses {
            let address = SocketAddr::new(*ip, port);
            if self.held.iter().any(|held| held.protocol == protocol && clash(held.address, address)) {
                return Err(PortError::Allocated(address));
            }
            let socket = open(protocol, address).map_err(|errno| PortError::Bind {
                address,
                protocol: protocol_name(protocol),
                why: match errno {
                    Errno::EADDRINUSE => IN_USE.into(),
                    other => other.desc().to_lowercase(),
                },
            })?;
            taken.push(Held { owner: owner.to_owned(), protocol, address, socket, forwarder: None });
        }
        self.held.append(&mut taken);
        Ok(())
    }
}

/// Whether two sockets would compete: the same port of the same address, or one of all addresses of a family.
fn clash(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() == other.port()
        && one.is_ipv4() == other.is_ipv4()
        && (one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified())
}

fn open(protocol: PortProtocol, address: SocketAddr) -> Result<Option<OwnedFd>, Errno> {
    let kind = match protocol {
        PortProtocol::Tcp => SockType::Stream,
        PortProtocol::Udp => SockType::Datagram,
        PortProtocol::Sctp => return Ok(None),
    };
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let fd = socket(family, kind, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?;
    if address.is_ipv6() {
        setsockopt(&fd.as_fd(), sockopt::Ipv6V6Only, &true)?;
    }
    if protocol == PortProtocol::Tcp {
        // connections of an earlier container that are still winding down do not keep its port
        setsockopt(&fd.as_fd(), sockopt::ReuseAddr, &true)?;
    }
    bind(fd.as_raw_fd(), &SockaddrStorage::from(address))?;
    if protocol == PortProtocol::Tcp {
        // only a listening socket keeps others from listening too
        listen(&fd.as_fd(), Backlog::new(128)?)?;
    }
    Ok(Some(fd))
}

fn ephemeral() -> (u16, u16) {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut numbers = text.split_whitespace().filter_map(|word| word.parse().ok());
    match (numbers.next(), numbers.next()) {
        (Some(first), Some(last)) if first <= last && first > 0 => (first, last),
        _ => EPHEMERAL,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const TCP: PortProtocol = PortProtocol::Tcp;
    const LOCAL: [IpAddr; 1] = [IpAddr::V4(Ipv4Addr::LOCALHOST)];

    /// A port that was free a moment ago.
    fn free() -> u16 {
        std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
    }

    fn one(port: u16) -> HostPorts {
        HostPorts::Range(port, port)
    }

    #[test]
    fn a_port_is_held_by_a_socket_until_its_owner_lets_go() {
        let (ports, port) = (PortAllocator::default(), free());
        assert_eq!(ports.reserve("a", TCP, &LOCAL, one(port)), Ok(port));
        assert!(std::net::TcpListener::bind(("127.0.0.1", port)).is_err(), "no other program gets it");
        let refused = ports.reserve("b", TCP, &LOCAL, one(port)).unwrap_err();
        assert_eq!(refused.to_string(), format!("Bind for 127.0.0.1:{port} failed: port is already allocated"));
        assert!(ports.reserve("b", PortProtocol::Udp, &LOCAL, one(port)).is_ok(), "another protocol's port");
        ports.release("a");
        std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    }

    #[test]
    fn a_port_of_another_program_is_refused_and_passed_over_in_a_range() {
        let other = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = other.local_addr().unwrap().port();
        let ports = PortAllocator::default();
        let refused = ports.reserve("a", TCP, &LOCAL, one(port)).unwrap_err();
        assert_eq!(
            refused.to_string(),
            format!("failed to bind host port 127.0.0.1:{port}/tcp: address already in use")
        );
        let given = ports.reserve("a", TCP, &LOCAL, HostPorts::Range(port, port.saturating_add(20))).unwrap();
        assert!(given > port);
    }

    #[test]
    fn ports_left_open_go_upwards_and_are_not_given_again_at_once() {
        let ports = PortAllocator::default();
        let (first, last) = ephemeral();
        let one = ports.reserve("a", TCP, &LOCAL, HostPorts::Any).unwrap();
        let two = ports.reserve("b", TCP, &LOCAL, HostPorts::Any).unwrap();
        assert!(first <= one && one < two && two <= last, "{one} {two}");
        ports.release("a");
        assert!(ports.reserve("c", TCP, &LOCAL, HostPorts::Any).unwrap() > two);
    }

    #[test]
    fn all_addresses_of_the_node_clash_with_one_of_them() {
        let (any, local) = (SocketAddr::from(([0, 0, 0, 0], 80)), SocketAddr::from(([127, 0, 0, 1], 80)));
        let six = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 80);
        assert!(clash(any, local) && clash(local, any) && !clash(any, six));
        assert!(!clash(local, SocketAddr::from(([127, 0, 0, 2], 80))));
    }

    #[test]
    fn an_exhausted_range_says_so() {
        let (ports, port) = (PortAllocator::default(), free());
        ports.reserve("a", PortProtocol::Sctp, &LOCAL, HostPorts::Range(port, port + 1)).unwrap();
        ports.reserve("a", PortProtocol::Sctp, &LOCAL, HostPorts::Range(port, port + 1)).unwrap();
        let full = ports.reserve("a", PortProtocol::Sctp, &LOCAL, HostPorts::Range(port, port + 1)).unwrap_err();
        assert_eq!(full, PortError::Exhausted);
    }

    #[tokio::test]
    async fn what_comes_to_a_forwarded_port_reaches_its_target_and_the_answer_comes_back() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let target = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let ports = PortAllocator::default();
        let port = ports.reserve("a", TCP, &LOCAL, one(free())).unwrap();
        ports.forward("a", TCP, port, target.local_addr().unwrap());
        let mut client = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        client.write_all(b"ping").await.unwrap();
        let (mut server, _) = target.accept().await.unwrap();
        let mut four = [0; 4];
        server.read_exact(&mut four).await.unwrap();
        server.write_all(b"pong").await.unwrap();
        drop(server);
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        assert_eq!((&four, answer.as_slice()), (b"ping", b"pong".as_slice()));
        ports.release("a");
        std::net::TcpListener::bind(("127.0.0.1", port)).expect("free at once");

        let echo = tokio::net::UdpSocket::bind(("127.0.0.1", 0)).await.unwrap();
        let port = ports.reserve("a", PortProtocol::Udp, &LOCAL, HostPorts::Any).unwrap();
        ports.forward("a", PortProtocol::Udp, port, echo.local_addr().unwrap());
        let client = tokio::net::UdpSocket::bind(("127.0.0.1", 0)).await.unwrap();
        client.send_to(b"ping", ("127.0.0.1", port)).await.unwrap();
        let mut buffer = [0; 16];
        let (n, from) = echo.recv_from(&mut buffer).await.unwrap();
        echo.send_to(&buffer[..n], from).await.unwrap();
        let (n, from) = client.recv_from(&mut buffer).await.unwrap();
        assert_eq!((&buffer[..n], from.port()), (b"ping".as_slice(), port));

        ports.release("a");
        std::net::UdpSocket::bind(("127.0.0.1", port)).expect("free at once");
    }
}
