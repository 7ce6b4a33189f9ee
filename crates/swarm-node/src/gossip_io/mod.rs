//! Gossip on the wire: the sockets on 7946, UDP and TCP, every payload sealed ([`sealing`]), around the pure
//! `swarm_gossip::Gossip`. One task owns it ([`driver`]); handles send it commands; streams ([`streams`]) come and go in
//! tasks of their own. Left out: where keys and seeds come from, and
//! what records mean (`networking`).

mod driver;
mod sealing;
mod streams;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use ring::rand::{SecureRandom, SystemRandom};
use swarm_gossip::{Config, Event, Gossip, Input};
use swarm_types::{EncryptionKey, EndpointRecord, NetworkId, NetworkPeer};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{mpsc, oneshot};

use driver::{Clock, Command, Driver};
use sealing::Keyring;
use streams::Streams;

/// Room for packets while the daemon does something else: a burst of a thousand records.
const BUFFER: usize = 4 << 20;
/// Streams that arrived and wait for their turn.
const ARRIVED: usize = 4;
/// Tries to find a port that is free for UDP and TCP, where any will do.
const PORT_TRIES: usize = 16;

/// Holds a node's running gossip. Clones are the same gossip; it ends with the last of them, without a word to the
/// others, who then find that the node is gone. See [`Self::leave`].
#[derive(Debug, Clone)]
pub struct GossipHandle {
    commands: mpsc::UnboundedSender<Command>,
    addr: SocketAddr,
    unopened: Arc<AtomicU64>,
}

impl GossipHandle {
    /// Listens on `listen`:`port`, UDP and TCP. Others shall reach this node at `me.addr`; if its port is 0 they are told
    /// the one that is listened on. Without keys of the subsystem `networking:gossip` nothing is sent.
    ///
    /// # Errors
    /// The port cannot be listened on.
    pub async fn start(
        mut me: NetworkPeer,
        listen: IpAddr,
        port: u16,
        keys: Vec<EncryptionKey>,
    ) -> io::Result<(Self, mpsc::UnboundedReceiver<Event>)> {
        let (udp, tcp) = bind(listen, port).await?;
        // Refused without privileges; then the system's default has to do.
        let _ = setsockopt(&udp.as_fd(), sockopt::RcvBufForce, &BUFFER)
            .or_else(|_| setsockopt(&udp.as_fd(), sockopt::RcvBuf, &BUFFER));
        if me.addr.port() == 0 {
            me.addr.set_port(udp.local_addr()?.port());
        }
        let addr = me.addr;
        let mut seed = [0; 8];
        SystemRandom::new().fill(&mut seed).map_err(|_| io::Error::other("no random numbers for gossip"))?;
        let clock = Clock::new();
        let gossip = Gossip::new(clock.now(), Config::new(me, u64::from_le_bytes(seed)));
        let (commands, commanded) = mpsc::unbounded_channel();
        let (events, happened) = mpsc::unbounded_channel();
        let (arrivals, arrived) = mpsc::channel(ARRIVED);
        let unopened = Arc::new(AtomicU64::new(0));
        tokio::spawn(streams::listen(tcp, arrivals));
        let driver = Driver {
            gossip,
            clock,
            udp,
            streams: Streams::new(listen),
            arrived,
            commands: commanded,
            events,
            keys: Keyring::new(&keys),
            unopened: Arc::clone(&unopened),
        };
        tokio::spawn(driver.run());
        Ok((Self { commands, addr, unopened }, happened))
    }

    /// Where others reach this node.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// How many payloads arrived so far that no key opened.
    pub fn unopened(&self) -> u64 {
        self.unopened.load(Ordering::Relaxed)
    }

    /// This node has this endpoint now; replaces what it said of the same network and id before.
    pub fn publish(&self, record: EndpointRecord) {
        self.command(Command::Input(Input::Publish(record)));
    }

    /// This node no longer has this endpoint.
    pub fn withdraw(&self, network: NetworkId, id: String) {
        self.command(Command::Input(Input::Withdraw { network, id }));
    }

    /// Addresses to greet while nobody there is known as a member; replaces earlier ones.
    pub fn seeds(&self, seeds: Vec<SocketAddr>) {
        self.command(Command::Input(Input::Seeds(seeds)));
    }

    /// The managers' keys; of the subsystem `networking:gossip` the second newest seals (or the only one), all open.
    pub fn keys(&self, keys: Vec<EncryptionKey>) {
        self.command(Command::Keys(keys));
    }

    /// Returns once every live member has the latest word on this endpoint, or after `limit`, or if gossip has ended.
    pub async fn settled(&self, network: NetworkId, id: String, limit: Duration) {
        let (reply, settled) = oneshot::channel();
        self.command(Command::Settled(network, id, reply));
        let _ = tokio::time::timeout(limit, settled).await;
    }

    /// Tells the others that this node goes, and ends for all clones of this handle.
    pub async fn leave(self) {
        let (reply, left) = oneshot::channel();
        self.command(Command::Leave(reply));
        let _ = left.await;
    }

    fn command(&self, command: Command) {
        // After the end nobody listens: then there is nothing to do, either.
        let _ = self.commands.send(command);
    }
}

/// The same port for both; if any will do, one that is free for both.
async fn bind(listen: IpAddr, port: u16) -> io::Result<(UdpSocket, TcpListener)> {
    let mut tries = if port == 0 { PORT_TRIES } else { 1 };
    loop {
        tries -= 1;
        let tcp = TcpListener::bind((listen, port)).await?;
        match UdpSocket::bind((listen, tcp.local_addr()?.port())).await {
            Ok(udp) => return Ok((udp, tcp)),
            Err(error) if tries == 0 => return Err(error),
            Err(_) => {}
        }
    }
}
