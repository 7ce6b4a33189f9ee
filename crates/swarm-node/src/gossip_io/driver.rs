//! The one task that owns a node's gossip: joins commands, sockets, keys and the clock.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ring::rand::SystemRandom;
use swarm_gossip::{Event, Gossip, Input, MAX_DATAGRAM, Output, Stats};
use swarm_types::{EncryptionKey, NetworkId, Timestamp};
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::sealing::{Keyring, OVERHEAD, Way};
use super::streams::Streams;

/// The most commands or packets that are taken before their consequences are sent.
const BATCH: usize = 256;
/// So many batches are taken before what is due is done.
const PATIENCE: u32 = 8;
/// So long a packet may wait for the socket.
const SEND: Duration = Duration::from_millis(100);
/// Complaints of the same kind are logged at most this often.
const COMPLAIN: Duration = Duration::from_secs(60);

/// What handles ask of the task.
#[derive(Debug)]
pub(super) enum Command {
    Input(Input),
    Keys(Vec<EncryptionKey>),
    Settled(NetworkId, String, oneshot::Sender<()>),
    Leave(oneshot::Sender<()>),
}

/// The time since the epoch, which goes on steadily even if the machine's clock is set.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    began: Timestamp,
    at: Instant,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self { began: crate::core::now(), at: Instant::now() }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.began.plus(self.at.elapsed())
    }

    /// When it is this time.
    fn instant(&self, time: Timestamp) -> Instant {
        self.at + time.since(self.began)
    }
}

/// Says something at most once in [`COMPLAIN`].
#[derive(Debug, Default)]
struct Complaint {
    last: Option<Instant>,
}

impl Complaint {
    fn is_due(&mut self) -> bool {
        let due = self.last.is_none_or(|at| at.elapsed() >= COMPLAIN);
        if due {
            self.last = Some(Instant::now());
        }
        due
    }
}

/// Everything that the task owns.
pub(super) struct Driver {
    pub gossip: Gossip,
    pub clock: Clock,
    pub udp: UdpSocket,
    pub streams: Streams,
    pub arrived: mpsc::Receiver<(SocketAddr, Vec<u8>)>,
    pub commands: mpsc::UnboundedReceiver<Command>,
    pub events: mpsc::UnboundedSender<Event>,
    pub keys: Keyring,
    /// How many payloads could not be opened.
    pub unopened: Arc<AtomicU64>,
}

/// The task's private state besides.
#[derive(Default)]
struct Notes {
    seeds: Vec<SocketAddr>,
    waiting: Vec<(NetworkId, String, oneshot::Sender<()>)>,
    unopened: Complaint,
    refused: Complaint,
    malformed: Complaint,
    stats: Stats,
}

impl Driver {
    /// Runs until it is told to leave or nobody holds a handle any more.
    pub(super) async fn run(mut self) {
        let random = SystemRandom::new();
        let mut notes = Notes::default();
        let mut packet = vec![0; 64 << 10];
        let mut overdue = 0;
        loop {
            self.carry_out(&random).await;
            self.look_around(&mut notes);
            let wake = self.gossip.poll_timeout().map(|at| self.clock.instant(at));
            // What has arrived is heard before anybody is taken for dead, but no flood of packets stops the clock.
            overdue = if wake.is_some_and(|at| at <= Instant::now()) { overdue + 1 } else { 0 };
            if overdue > PATIENCE {
                self.gossip.tick(self.clock.now());
                continue;
            }
            tokio::select! {
                biased;
                command = self.commands.recv() => {
                    let Some(command) = command else { return };
                    if self.command(command, &mut notes, &random).await {
                        return;
                    }
                    for _ in 1..BATCH {
                        let Ok(command) = self.commands.try_recv() else { break };
                        if self.command(command, &mut notes, &random).await {
                            return;
                        }
                    }
                }
                received = self.udp.recv_from(&mut packet) => {
                    let mut received = received;
                    for _ in 0..BATCH {
                        match received {
                            Ok((length, from)) => self.datagram(from, packet.get(..length).unwrap_or_default(), &mut notes),
                            Err(ref error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                            Err(error) => {
                                tracing::debug!(%error, "cannot receive gossip");
                                break;
                            }
                        }
                        received = self.udp.try_recv_from(&mut packet);
                    }
                }
                Some((from, sealed)) = self.arrived.recv() => {
                    if let Some(bytes) = self.open(Way::Stream, from, sealed, &mut notes) {
                        self.gossip.handle(self.clock.now(), Input::Stream { from, bytes });
                    }
                }
                () = sleep_until(wake) => self.gossip.tick(self.clock.now()),
            }
        }
    }

    /// True: the end.
    async fn command(&mut self, command: Command, notes: &mut Notes, random: &SystemRandom) -> bool {
        match command {
            Command::Input(input) => {
                if let Input::Seeds(seeds) = &input {
                    notes.seeds.clone_from(seeds);
                }
                self.gossip.handle(self.clock.now(), input);
            }
            Command::Keys(keys) => {
                let could = self.keys.can_seal();
                self.keys = Keyring::new(&keys);
                if !could && self.keys.can_seal() {
                    // What was tried without keys was for nothing.
                    self.gossip.handle(self.clock.now(), Input::Seeds(notes.seeds.clone()));
                }
            }
            Command::Settled(network, id, reply) => notes.waiting.push((network, id, reply)),
            Command::Leave(reply) => {
                self.gossip.handle(self.clock.now(), Input::Leave);
                self.carry_out(random).await;
                let _ = reply.send(());
                return true;
            }
        }
        false
    }

    fn datagram(&mut self, from: SocketAddr, sealed: &[u8], notes: &mut Notes) {
        if sealed.len() > MAX_DATAGRAM + OVERHEAD {
            self.unopened(from, notes);
        } else if let Some(bytes) = self.open(Way::Datagram, from, sealed.to_vec(), notes) {
            self.gossip.handle(self.clock.now(), Input::Datagram { from, bytes });
        }
    }

    fn open(&mut self, way: Way, from: SocketAddr, sealed: Vec<u8>, notes: &mut Notes) -> Option<Vec<u8>> {
        let opened = self.keys.open(way, sealed);
        if opened.is_none() {
            self.unopened(from, notes);
        }
        opened
    }

    fn unopened(&self, from: SocketAddr, notes: &mut Notes) {
        let count = self.unopened.fetch_add(1, Ordering::Relaxed) + 1;
        // Without keys nothing can be opened, which is no wonder.
        if self.keys.can_seal() && notes.unopened.is_due() {
            tracing::warn!(%from, count, "gossip that none of this swarm's keys opens was dropped");
        }
    }

    /// Does what gossip wants done.
    async fn carry_out(&mut self, random: &SystemRandom) {
        while let Some(output) = self.gossip.poll_output() {
            match output {
                // Whoever does not listen to events any more does not need them.
                Output::Event(event) => drop(self.events.send(event)),
                Output::Datagram { to, bytes } => {
                    let Some(sealed) = self.keys.seal(random, Way::Datagram, &bytes) else { continue };
                    // A full buffer or a missing route is a packet lost, for which gossip is made.
                    if let Ok(Err(error)) = tokio::time::timeout(SEND, self.udp.send_to(&sealed, to)).await {
                        tracing::debug!(%to, %error, "cannot send gossip");
                    }
                }
                Output::Stream { to, bytes } => {
                    let Some(sealed) = self.keys.seal(random, Way::Stream, &bytes) else { continue };
                    self.streams.send(to, sealed);
                }
            }
        }
    }

    /// Answers those who wait, and complains.
    fn look_around(&self, notes: &mut Notes) {
        let settled = |network: &NetworkId, id: &String| self.gossip.acknowledged(*network, id);
        let waiting = std::mem::take(&mut notes.waiting);
        for (network, id, reply) in waiting {
            if settled(&network, &id) {
                let _ = reply.send(());
            } else if !reply.is_closed() {
                notes.waiting.push((network, id, reply));
            }
        }
        let stats = self.gossip.stats();
        if stats.refused > notes.stats.refused && notes.refused.is_due() {
            let count = stats.refused;
            tracing::error!(count, "endpoints of this node are too many or too large to be told to other nodes");
        }
        if stats.malformed > notes.stats.malformed && notes.malformed.is_due() {
            tracing::warn!(count = stats.malformed, "malformed gossip was dropped: do all nodes run the same release?");
        }
        notes.stats = stats;
    }
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
