//! The made-up network: delays, losses, copies, partitions, and nodes that crash and start again.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use swarm_types::*;

use crate::{Config, Event, Gossip, Input, Output};

pub(super) const NETWORK: NetworkId = NetworkId::from_bits(77);

pub(super) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(super) fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(super) fn node(n: usize) -> NodeId {
    NodeId::from_bits(1000 + n as u128)
}

pub(super) fn addr(n: usize) -> SocketAddr {
    format!("10.9.{}.{}:7946", n / 200, n % 200 + 1).parse().unwrap()
}

pub(super) fn peer(n: usize) -> NetworkPeer {
    NetworkPeer { id: node(n), name: format!("node{n}"), addr: addr(n), data_path: addr(n).ip() }
}

/// The record of the endpoint `id`, in one of its states.
pub(super) fn record(id: &str, state: u32) -> EndpointRecord {
    EndpointRecord {
        network: NETWORK,
        id: id.into(),
        kind: EndpointKind::Task,
        name: format!("web.{id}"),
        addresses: vec![std::net::IpAddr::from((0x0a00_0000 + state).to_be_bytes())],
        aliases: vec![],
        service: Some(ServiceBinding {
            id: ServiceId::from_bits(5),
            name: "web".into(),
            virtual_ips: vec!["10.0.1.2".parse().unwrap()],
            aliases: vec!["shop".into()],
            ports: vec![],
        }),
        serving: state.is_multiple_of(2),
    }
}

/// What a node's user made of the events: it must always agree with the node.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub peers: BTreeMap<NodeId, NetworkPeer>,
    pub records: BTreeMap<(NodeId, NetworkId, String), EndpointRecord>,
    /// All removals so far.
    pub removals: usize,
    /// All members that went down so far.
    pub downs: Vec<(Timestamp, NodeId)>,
}

impl Seen {
    fn event(&mut self, now: Timestamp, event: Event) {
        match event {
            Event::Up(peer) => {
                self.peers.insert(peer.id, peer);
            }
            Event::Down(id) => {
                assert!(self.peers.remove(&id).is_some(), "a node goes down that was not up");
                assert!(!self.records.keys().any(|(owner, ..)| *owner == id), "records outlive their owner");
                self.downs.push((now, id));
            }
            Event::Changed { owner, record } => {
                assert!(self.peers.contains_key(&owner), "a record comes before its owner");
                let before = self.records.insert((owner, record.network, record.id.clone()), record.clone());
                assert_ne!(before, Some(record), "an event that says nothing new");
            }
            Event::Removed { owner, network, id } => {
                assert!(self.records.remove(&(owner, network, id)).is_some(), "removed what was not there");
                self.removals += 1;
            }
        }
    }
}

#[derive(Debug, Clone)]
struct Packet {
    from: SocketAddr,
    to: usize,
    stream: bool,
    bytes: Vec<u8>,
}

/// The network and its nodes.
pub(super) struct Net {
    pub now: Timestamp,
    pub nodes: Vec<Option<Gossip>>,
    pub seen: Vec<Seen>,
    flying: BTreeMap<(Timestamp, u64), Packet>,
    sent: u64,
    random: IdSource,
    /// Per cent of datagrams that are lost; of streams half as many.
    pub loss: u64,
    /// Per cent of datagrams that come twice.
    pub copies: u64,
    /// The least and the most time that a packet takes.
    pub delay: (Duration, Duration),
    /// Pairs that do not reach each other.
    pub cut: BTreeSet<(usize, usize)>,
    pub datagrams: usize,
    pub streams: usize,
    pub bytes: usize,
}

impl Net {
    /// `count` nodes that all know the first one's address.
    pub fn new(count: usize, seed: u64) -> Self {
        let mut net = Self {
            now: Timestamp::from_secs(1_000_000),
            nodes: (0..count).map(|_| None).collect(),
            seen: (0..count).map(|_| Seen::default()).collect(),
            flying: BTreeMap::new(),
            sent: 0,
            random: IdSource::from_seed(seed),
            loss: 0,
            copies: 0,
            delay: (ms(1), ms(1)),
            cut: BTreeSet::new(),
            datagrams: 0,
            streams: 0,
            bytes: 0,
        };
        (0..count).for_each(|n| net.start(n));
        net
    }

    /// As [`Self::new`], and all have found each other.
    pub fn joined(count: usize, seed: u64) -> Self {
        let mut net = Self::new(count, seed);
        net.until(secs(10), "all are up", |net| net.all_up());
        net
    }

    pub fn start(&mut self, n: usize) {
        self.start_with(n, Config::new(peer(n), 0));
    }

    pub fn start_with(&mut self, n: usize, config: Config) {
        let config = Config { seed: self.random.next_u64(), ..config };
        self.nodes[n] = Some(Gossip::new(self.now, config));
        self.seen[n] = Seen::default();
        self.input(n, Input::Seeds(vec![addr(0)]));
    }

    pub fn crash(&mut self, n: usize) {
        self.nodes[n] = None;
    }

    pub fn node(&self, n: usize) -> &Gossip {
        self.nodes[n].as_ref().unwrap()
    }

    pub fn input(&mut self, n: usize, input: Input) {
        let now = self.now;
        self.nodes[n].as_mut().unwrap().handle(now, input);
        self.drain(n);
    }

    pub fn publish(&mut self, n: usize, id: &str, state: u32) {
        self.input(n, Input::Publish(record(id, state)));
    }

    pub fn withdraw(&mut self, n: usize, id: &str) {
        self.input(n, Input::Withdraw { network: NETWORK, id: id.into() });
    }

    pub fn drain(&mut self, n: usize) {
        let Some(gossip) = &mut self.nodes[n] else { return };
        let mut outputs = Vec::new();
        while let Some(output) = gossip.poll_output() {
            outputs.push(output);
        }
        for output in outputs {
            match output {
                Output::Event(event) => self.seen[n].event(self.now, event),
                Output::Datagram { to, bytes } => {
                    assert!(bytes.len() <= crate::MAX_DATAGRAM);
                    self.datagrams += 1;
                    self.fly(n, to, false, bytes);
                }
                Output::Stream { to, bytes } => {
                    assert!(bytes.len() <= crate::MAX_STREAM);
                    self.streams += 1;
                    self.fly(n, to, true, bytes);
                }
            }
        }
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.random.below(100) < percent
    }

    fn fly(&mut self, from: usize, to: SocketAddr, stream: bool, bytes: Vec<u8>) {
        self.bytes += bytes.len();
        let Some(to) = (0..self.nodes.len()).find(|n| addr(*n) == to) else { return };
        let packet = Packet { from: addr(from), to, stream, bytes };
        let lost = if stream { self.chance(self.loss / 2) } else { self.chance(self.loss) };
        if lost || self.cut.contains(&(from, to)) {
            return;
        }
        let copies = if self.chance(self.copies) { 2 } else { 1 };
        for _ in 0..copies {
            let spread = u64::try_from((self.delay.1 - self.delay.0).as_nanos()).unwrap();
            let delay = self.delay.0 + Duration::from_nanos(self.random.below(spread + 1));
            self.sent += 1;
            self.flying.insert((self.now.plus(delay), self.sent), packet.clone());
        }
    }

    fn next(&self) -> Option<Timestamp> {
        let timers = self.nodes.iter().flatten().filter_map(Gossip::poll_timeout);
        timers.chain(self.flying.first_key_value().map(|((at, _), _)| *at)).min()
    }

    /// Time passes until the next thing has happened, at most until `end`.
    fn step(&mut self, end: Timestamp) {
        self.now = self.next().map_or(end, |at| at.max(self.now)).min(end);
        while let Some(entry) = self.flying.first_entry() {
            if entry.key().0 > self.now {
                break;
            }
            let Packet { from, to, stream, bytes } = entry.remove();
            if self.nodes[to].is_some() {
                self.input(to, if stream { Input::Stream { from, bytes } } else { Input::Datagram { from, bytes } });
            }
        }
        for n in 0..self.nodes.len() {
            let now = self.now;
            if let Some(gossip) = &mut self.nodes[n]
                && gossip.poll_timeout().is_some_and(|at| at <= now)
            {
                gossip.tick(now);
                self.drain(n);
            }
        }
    }

    pub fn run(&mut self, time: Duration) {
        let end = self.now.plus(time);
        while self.now < end {
            self.step(end);
        }
    }

    /// Runs until `done`, and fails after `limit`. Returns how long it took.
    pub fn until(&mut self, limit: Duration, what: &str, done: impl Fn(&Self) -> bool) -> Duration {
        let start = self.now;
        let end = self.now.plus(limit);
        while !done(self) {
            assert!(self.now < end, "not within {limit:?}: {what}\n{}", self.summary());
            // Looking costs more than stepping: once a millisecond is enough.
            let look = self.now.plus(ms(1)).min(end);
            while self.now < look {
                self.step(look);
            }
        }
        self.now.since(start)
    }

    fn summary(&self) -> String {
        let line = |n: usize| {
            let gossip = self.nodes[n].as_ref();
            let counts = gossip.map(|gossip| (gossip.peers().count(), gossip.records().count()));
            format!("node {n}: peers and records {counts:?}\n")
        };
        (0..self.nodes.len()).map(line).collect()
    }

    pub fn live(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|n| self.nodes[*n].is_some()).collect()
    }

    /// Every live node sees every other one and no dead one.
    pub fn all_up(&self) -> bool {
        let live = self.live();
        live.iter().all(|n| {
            let peers: BTreeSet<NodeId> = self.node(*n).peers().map(|peer| peer.id).collect();
            let others: BTreeSet<NodeId> = live.iter().filter(|other| *other != n).map(|n| node(*n)).collect();
            peers == others
        })
    }

    /// What node `n` holds, by owner and id.
    pub fn holds(&self, n: usize) -> BTreeMap<(NodeId, String), EndpointRecord> {
        self.node(n).records().map(|(owner, record)| ((owner, record.id.clone()), record.clone())).collect()
    }

    /// What all live nodes say of themselves.
    pub fn truth(&self) -> BTreeMap<(NodeId, String), EndpointRecord> {
        let own = |n: usize| self.holds(n).into_iter().filter(move |((owner, _), _)| *owner == node(n));
        self.live().into_iter().flat_map(own).collect()
    }

    /// All live nodes see each other and hold what each says of itself, and so do their users by the events.
    pub fn converged(&self) -> bool {
        let live = self.live();
        let own = |n: &usize| self.node(*n).records().filter(|(owner, _)| *owner == node(*n)).count();
        let count: usize = live.iter().map(own).sum();
        // The cheap look comes first: this is asked after every step.
        if !self.all_up() || live.iter().any(|n| self.node(*n).records().count() != count) {
            return false;
        }
        let truth = self.truth();
        self.live().iter().all(|n| self.holds(*n) == truth)
    }

    /// The events of each node add up to what it holds.
    pub fn check_events(&self) {
        for n in self.live() {
            let of_others = |((owner, _), _): &((NodeId, String), EndpointRecord)| *owner != node(n);
            let held: BTreeMap<_, _> = self.holds(n).into_iter().filter(of_others).collect();
            let seen = &self.seen[n].records;
            let seen: BTreeMap<_, _> =
                seen.iter().map(|((owner, _, id), record)| ((*owner, id.clone()), record.clone())).collect();
            assert_eq!(held, seen, "the events of node {n}");
            let peers: BTreeMap<_, _> = self.node(n).peers().map(|peer| (peer.id, peer.clone())).collect();
            assert_eq!(peers, self.seen[n].peers, "the members of node {n}");
            assert_eq!(self.node(n).stats().malformed, 0, "node {n} refused what others sent");
        }
    }

    /// Cuts all of `some` off from all others, both ways.
    pub fn part(&mut self, some: &[usize]) {
        for n in 0..self.nodes.len() {
            for other in 0..self.nodes.len() {
                if some.contains(&n) != some.contains(&other) {
                    self.cut.insert((n, other));
                }
            }
        }
    }
}
