//! The hosts' gossip beside the managers: a [`Gossip`] per host over the same faulty network, told of each endpoint that
//! comes, changes and goes on its host ([`crate::endpoints`]).
//!
//! It has its own queue and its own random choices, so that it changes nothing of what managers and agents go through
//! under a seed. Checked at every event: a record that its owner took back does not come back. What hosts know of each
//! other is looked at in [`crate::views`]. Left out: sealing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use swarm_gossip::{Config, Event, Gossip, Input, Output, Timings};
use swarm_types::*;

use crate::endpoints::{self, Key};
use crate::host::Host;
use crate::invariants::Digest;
use crate::network::Network;

const PORT: u16 = 7946;
/// With nothing more happening, all hold the same after this.
const QUIET: Duration = Duration::from_secs(10);
/// A host that started less than this ago may not have said all anew yet.
const YOUNG: Duration = Duration::from_secs(30);
/// Who reaches a manager for so long has met it.
const MEETING: Duration = Duration::from_secs(5);
/// What was said before is remembered so long.
const PAST: Duration = Duration::from_secs(5);

struct Packet {
    from: usize,
    to: usize,
    stream: bool,
    bytes: Vec<u8>,
}

/// What a host says of an endpoint, and since when.
pub(crate) struct Told {
    pub record: EndpointRecord,
    pub since: Timestamp,
}

/// One host's gossip.
pub(crate) struct Member {
    /// Who the host is, or last was: it changes when it comes back after it left the swarm.
    pub node: Option<NodeId>,
    /// `None` while the host's processes are down.
    pub gossip: Option<Gossip>,
    timeout: Option<Timestamp>,
    /// When the host's processes last started or ended.
    pub since: Timestamp,
    /// The endpoints that are there.
    pub told: BTreeMap<Key, Told>,
    /// What it said until when and does not any more, of the last seconds.
    pub past: VecDeque<(Timestamp, EndpointRecord)>,
    /// The endpoints that it told of and that are gone.
    ended: BTreeSet<Key>,
    /// What it has heard the end of, of whom.
    buried: BTreeSet<(NodeId, Key)>,
    /// It has said nothing yet in this life.
    anew: bool,
    /// How often it was told of something by another.
    pub heard: u64,
    /// What changed on the host until it last told.
    seen: (u64, u64),
    managers: Vec<ManagerPeer>,
    /// Since when it has met a manager that it knows, in this life. Before that it knows of nobody: who the others are is
    /// not kept on disk, with Docker neither.
    introduced: Option<Timestamp>,
    /// When it last could not reach others as it should, by who they are.
    apart: BTreeMap<usize, Timestamp>,
}

/// All hosts' gossip, and the packets between them.
pub(crate) struct Talk {
    pub now: Timestamp,
    pub members: Vec<Member>,
    flying: BTreeMap<(Timestamp, u64), Packet>,
    serial: u64,
    random: IdSource,
    digest: Digest,
    violation: Option<String>,
}

/// Where a host is reached, and its data path leads.
pub(crate) fn address(host: usize) -> SocketAddr {
    SocketAddr::from(([10, 77, 0, u8::try_from(11 + host).unwrap_or(u8::MAX)], PORT))
}

impl Talk {
    pub fn new(seed: u64, hosts: usize, now: Timestamp) -> Self {
        let member = || Member {
            node: None,
            gossip: None,
            timeout: None,
            since: now,
            told: BTreeMap::new(),
            past: VecDeque::new(),
            ended: BTreeSet::new(),
            buried: BTreeSet::new(),
            anew: false,
            heard: 0,
            seen: (0, 0),
            managers: Vec::new(),
            introduced: None,
            apart: BTreeMap::new(),
        };
        Self {
            now,
            members: (0..hosts).map(|_| member()).collect(),
            flying: BTreeMap::new(),
            serial: 0,
            // Far from what the world draws with the same seed.
            random: IdSource::from_seed(seed ^ 0x6055_1900_6055_1900),
            digest: Digest::default(),
            violation: None,
        }
    }

    /// The host's processes start.
    pub fn start(&mut self, host: usize, as_it_is: &Host, now: Timestamp, network: &Network) {
        let now = self.now.max(now);
        let (addr, id) = (address(host), as_it_is.node);
        let me = NetworkPeer { id, name: format!("host-{host}"), addr, data_path: addr.ip() };
        // Slower than a real node: the packets are most of what a run costs.
        let timings = Timings {
            probe_period: Duration::from_secs(1),
            probe_rtt: Duration::from_millis(400),
            anti_entropy: Duration::from_secs(2),
            ..Timings::default()
        };
        let config = Config { me, seed: self.random.next_u64(), timings };
        if let Some(member) = self.members.get_mut(host) {
            if member.node.replace(id) != Some(id) {
                member.ended.clear();
            }
            (member.anew, member.managers, member.introduced) = (true, Vec::new(), None);
            member.gossip = Some(Gossip::new(now, config));
            member.since = now;
            member.buried.clear();
        }
        self.tell(host, as_it_is, now, network);
    }

    /// The host's processes are gone.
    pub fn stop(&mut self, host: usize, now: Timestamp) {
        let now = self.now.max(now);
        if let Some(member) = self.members.get_mut(host).filter(|member| member.gossip.is_some()) {
            (member.gossip, member.timeout, member.since) = (None, None, now);
        }
    }

    /// The host leaves the swarm, and says so.
    pub fn leave(&mut self, host: usize, now: Timestamp, network: &Network) {
        self.input(host, now, Input::Leave, network);
        self.stop(host, now);
    }

    /// A host is out of the swarm: nothing of it is there any more.
    pub fn forget(&mut self, host: usize, now: Timestamp) {
        self.stop(host, now);
        if let Some(member) = self.members.get_mut(host) {
            member.told.clear();
            member.past.clear();
        }
    }

    /// Tells a host's gossip which managers and endpoints there are.
    pub fn tell(&mut self, number: usize, host: &Host, now: Timestamp, network: &Network) {
        // The talk may have gone on ahead of the managers: what is said now is under way from then on.
        let now = self.now.max(now);
        let Some(member) = self.members.get_mut(number).filter(|member| member.gossip.is_some()) else { return };
        let mut inputs = Vec::new();
        if member.managers != host.managers {
            member.managers.clone_from(&host.managers);
            let ip = |peer: &ManagerPeer| peer.addr.rsplit_once(':').and_then(|(ip, _)| ip.parse().ok());
            let seeds = host.managers.iter().filter_map(ip).map(|ip| SocketAddr::new(ip, PORT));
            inputs.push(Input::Seeds(seeds.collect()));
        }
        // Most often nothing has changed, and this is asked after every event.
        let (seen, anew) = ((host.runtime.changes(), host.facts.changes), std::mem::take(&mut member.anew));
        if anew || std::mem::replace(&mut member.seen, seen) != seen {
            member.say(endpoints::of(host), anew, now, &mut inputs);
        }
        for input in inputs {
            self.input(number, now, input, network);
        }
    }

    /// The network is about to change: who was cut off or served badly until now has to find together again.
    pub fn disturbed(&mut self, network: &Network, now: Timestamp) {
        let now = self.now.max(now);
        let count = self.members.len();
        for (host, member) in self.members.iter_mut().enumerate() {
            let apart = (0..count).filter(|other| !network.is_calm() || !network.reaches(host, *other));
            member.apart.extend(apart.map(|other| (other, now)));
        }
    }

    /// Looks who has met a manager.
    pub fn introduce(&mut self, network: &Network, now: Timestamp) {
        for host in 0..self.members.len() {
            let met = |other: usize| self.together(host, other, network).is_some_and(|at| now.since(at) >= MEETING);
            let Some(member) = self.members.get(host).filter(|member| member.introduced.is_none()) else { continue };
            let ip = |peer: &ManagerPeer| peer.addr.rsplit_once(':').and_then(|(ip, _)| ip.parse().ok());
            let seeds: BTreeSet<IpAddr> = member.managers.iter().filter_map(ip).collect();
            let others = || (0..self.members.len()).filter(|other| *other != host);
            let mut known = others().filter(|other| seeds.contains(&address(*other).ip())).peekable();
            // The only manager waits for the others to come.
            let met_one = known.peek().is_none() || known.any(met);
            if let Some(member) = self.members.get_mut(host).filter(|_| met_one) {
                member.introduced = Some(now);
            }
        }
    }

    /// Since when the two hosts can know each other: they reach each other well, and both have met a manager; `None`:
    /// they cannot.
    pub fn in_touch(&self, one: usize, other: usize, network: &Network) -> Option<Timestamp> {
        let introduced = |host: usize| self.members.get(host).and_then(|member| member.introduced);
        Some(self.together(one, other, network)?.max(introduced(one)?).max(introduced(other)?))
    }

    /// Since when the two hosts reach each other well and both gossip; `None`: they do not.
    fn together(&self, one: usize, other: usize, network: &Network) -> Option<Timestamp> {
        if !network.is_calm() || !network.reaches(one, other) {
            return None;
        }
        let (member, peer) = (self.members.get(one)?, self.members.get(other)?);
        if member.gossip.is_none() || peer.gossip.is_none() {
            return None;
        }
        let apart = member.apart.get(&other).copied().unwrap_or_default();
        Some(apart.max(member.since).max(peer.since))
    }

    fn input(&mut self, host: usize, now: Timestamp, input: Input, network: &Network) {
        self.now = self.now.max(now);
        let now = self.now;
        if let Some(gossip) = self.members.get_mut(host).and_then(|member| member.gossip.as_mut()) {
            gossip.handle(now, input);
        }
        self.drain(host, network);
    }

    /// Lets pass what happens up to `end`.
    pub fn run_until(&mut self, end: Timestamp, network: &Network) -> Result<(), String> {
        loop {
            let packet = self.flying.first_key_value().map(|((at, _), _)| *at);
            let timeouts = self.members.iter().enumerate().filter_map(|(host, member)| Some((member.timeout?, host)));
            let timeout = timeouts.min();
            if let Some(at) = packet.filter(|at| *at <= end && timeout.is_none_or(|(first, _)| *at <= first)) {
                self.now = self.now.max(at);
                if let Some((_, Packet { from, to, stream, bytes })) = self.flying.pop_first()
                    && network.reaches(from, to)
                {
                    let from = address(from);
                    let input = if stream { Input::Stream { from, bytes } } else { Input::Datagram { from, bytes } };
                    self.input(to, at, input, network);
                }
            } else if let Some((at, host)) = timeout.filter(|(at, _)| *at <= end) {
                self.now = self.now.max(at);
                let now = self.now;
                if let Some(gossip) = self.members.get_mut(host).and_then(|member| member.gossip.as_mut()) {
                    gossip.tick(now);
                }
                self.drain(host, network);
            } else {
                return self.violation.take().map_or(Ok(()), Err);
            }
        }
    }

    fn drain(&mut self, host: usize, network: &Network) {
        while let Some(output) =
            self.members.get_mut(host).and_then(|member| member.gossip.as_mut()).and_then(Gossip::poll_output)
        {
            match output {
                Output::Event(event) => self.heard(host, &event),
                Output::Datagram { to, bytes } => {
                    for wait in network.draw_copies_with(&mut self.random) {
                        self.fly(host, to, wait, false, bytes.clone());
                    }
                }
                Output::Stream { to, bytes } => {
                    if !network.breaks_with(&mut self.random) {
                        let wait = network.draw_delay_with(&mut self.random) * 3;
                        self.fly(host, to, wait, true, bytes);
                    }
                }
            }
        }
        if let Some(member) = self.members.get_mut(host) {
            member.timeout = member.gossip.as_ref().and_then(Gossip::poll_timeout);
        }
    }

    fn fly(&mut self, from: usize, to: SocketAddr, wait: Duration, stream: bool, bytes: Vec<u8>) {
        let Some(to) = (0..self.members.len()).find(|host| address(*host) == to) else { return };
        self.serial += 1;
        self.flying.insert((self.now.plus(wait), self.serial), Packet { from, to, stream, bytes });
    }

    /// What a host is told of another one.
    fn heard(&mut self, host: usize, event: &Event) {
        let owner = match event {
            Event::Up(peer) => peer.id,
            Event::Down(node) => *node,
            Event::Changed { owner, .. } | Event::Removed { owner, .. } => *owner,
        };
        if let Some(member) = self.members.get_mut(host) {
            member.heard += 1;
        }
        self.digest.add(host as u64);
        self.digest.add(self.now.as_nanos() as u64);
        self.digest.add(owner.bits() as u64);
        let Some(number) = self.members.iter().position(|member| member.node == Some(owner)) else { return };
        let now = self.now;
        let over = |key: &Key| self.members.get(number).is_some_and(|member| member.ended.contains(key));
        let old = self.members.get(number).is_some_and(|member| now.since(member.since) > YOUNG);
        match event {
            Event::Changed { record, .. } => {
                let key = (record.network, record.id.clone());
                let buried = self.members.get(host).is_some_and(|m| m.buried.contains(&(owner, key.clone())));
                // A balancer is told of again under the same id when its node comes back to a network.
                if buried && over(&key) && record.kind != EndpointKind::LoadBalancer {
                    self.violation =
                        Some(format!("host {host} takes {}, which has ended, for there again", record.name));
                }
            }
            // What a host held of another's earlier life goes when that says nothing more of it, and may still come:
            // so only the words of hosts that have been up for a while are final.
            Event::Removed { network, id, .. } => {
                let key = (*network, id.clone());
                if old
                    && over(&key)
                    && let Some(member) = self.members.get_mut(host)
                {
                    member.buried.insert((owner, key));
                }
            }
            // Who gave a host up learns about it anew from whoever knows anything, be it old.
            Event::Down(_) => {
                if let Some(member) = self.members.get_mut(host) {
                    member.buried.retain(|(of, _)| *of != owner);
                }
            }
            Event::Up(_) => {}
        }
    }

    /// How far the talk has come.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Lets all word arrive, with nothing more happening.
    pub fn come_to_rest(&mut self, network: &Network) -> Result<(), String> {
        let hosts = 0..self.members.len();
        let strangers = |one: usize| hosts.clone().find(|other| self.in_touch(one, *other, network).is_none());
        if let Some((one, other)) = hosts.clone().find_map(|one| Some((one, strangers(one)?))) {
            return Err(format!("hosts {one} and {other} never met"));
        }
        self.run_until(self.now.plus(QUIET), network)
    }

    /// Of all that hosts heard of each other.
    pub fn digest(&self) -> u64 {
        self.digest.value()
    }
}

impl Member {
    /// Says what has changed since it last spoke, or everything.
    fn say(&mut self, wanted: BTreeMap<Key, EndpointRecord>, anew: bool, now: Timestamp, inputs: &mut Vec<Input>) {
        let gone: Vec<Key> = self.told.keys().filter(|key| !wanted.contains_key(*key)).cloned().collect();
        for key in gone {
            self.past.extend(self.told.remove(&key).map(|told| (now, told.record)));
            inputs.push(Input::Withdraw { network: key.0, id: key.1.clone() });
            self.ended.insert(key);
        }
        for (key, record) in wanted {
            let same = self.told.get(&key).is_some_and(|told| told.record == record);
            if same && !anew {
                continue;
            }
            inputs.push(Input::Publish(record.clone()));
            if !same {
                self.ended.remove(&key);
                let before = self.told.insert(key, Told { record, since: now });
                self.past.extend(before.map(|told| (now, told.record)));
            }
        }
        while self.past.front().is_some_and(|(until, _)| now.since(*until) > PAST) {
            self.past.pop_front();
        }
    }
}
