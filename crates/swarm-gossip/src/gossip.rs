//! One node's gossip: joins membership, own records and those of others, and decides what to send to whom.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use swarm_types::{EndpointRecord, IdSource, NetworkId, NetworkPeer, NodeId, Timestamp};

use crate::identity::{Identity, Life};
use crate::ledger::Ledger;
use crate::limits::{self, MAX_DATAGRAM, MAX_STREAM};
use crate::membership::{Membership, Note};
use crate::replica::{Applied, Change, Replica};
use crate::wire::{
    self, Body, Delta, Entry, Frame, MAX_HOPS, MAX_SUMMARIES, MemberState, Payload, Summary, Word, encoded_len,
};
use crate::{Config, Event, Input, Output, Timings};

/// Up to so many members get each change from its owner; with more, a few get it and pass it on.
const FEW: usize = 16;
/// How many members a change is sent or passed on to at once where there are many.
const FAN_OUT: usize = 6;
/// More datagrams than this are rather sent as one stream.
const MOST_DATAGRAMS: usize = 8;
/// How many nodes are greeted at once.
const GREETINGS: usize = 4;
/// How many greetings are answered in a second: two nodes that cannot agree must not talk without end.
const ANSWERS: u32 = 64;
/// The least time between two new identities.
const RENEWAL_PAUSE: Duration = Duration::from_millis(100);
/// The least time to wait for the acknowledgement of a stream.
const STREAM_WAIT: Duration = Duration::from_secs(1);
/// How soon those are looked at again whose turn to be sent to again it was not.
const RESEND_PAUSE: Duration = Duration::from_millis(100);

/// What a node's gossip did not take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Payloads that no node of ours sends, or that go beyond a limit.
    pub malformed: u64,
    /// Own records that are larger or more than others would take; they were not published.
    pub refused: u64,
}

/// One node's gossip.
#[derive(Debug)]
pub struct Gossip {
    now: Timestamp,
    timings: Timings,
    membership: Membership,
    live: BTreeMap<NodeId, Identity>,
    ledger: Ledger,
    replicas: BTreeMap<NodeId, Replica>,
    seeds: Vec<SocketAddr>,
    /// Who answered at a seed's address.
    answered: BTreeMap<SocketAddr, NodeId>,
    choices: IdSource,
    out: VecDeque<Output>,
    /// Owners to tell how much of their records is here.
    acknowledge: BTreeSet<NodeId>,
    /// Members that were taken for dead just now, each until when it may still turn out to live.
    missing: BTreeMap<NodeId, (Timestamp, Identity)>,
    digest_at: Option<Timestamp>,
    greet_at: Option<Timestamp>,
    /// How many answers may still be given in the second that began then.
    answers: (Timestamp, u32),
    renewed_at: Option<Timestamp>,
    left: bool,
    stats: Stats,
}

impl Gossip {
    /// Begins a life of this node. `now` shall be later than at the beginnings of its earlier lives: else the others tell
    /// it of them first.
    pub fn new(now: Timestamp, config: Config) -> Self {
        let Config { mut me, seed, timings } = config;
        me.name = limits::cut_node_name(&me.name).to_owned();
        let timings = timings.at_least_a_millisecond();
        let generation = u64::try_from(now.as_nanos()).unwrap_or(0).clamp(1, Life::LAST_GENERATION);
        let identity = Identity { peer: me, life: Life { generation, renewal: 0 } };
        let mut choices = IdSource::from_seed(seed);
        Self {
            now,
            timings,
            membership: Membership::new(identity, choices.next_u64(), &timings),
            live: BTreeMap::new(),
            ledger: Ledger::new(generation, timings.resend),
            replicas: BTreeMap::new(),
            seeds: Vec::new(),
            answered: BTreeMap::new(),
            choices,
            out: VecDeque::new(),
            acknowledge: BTreeSet::new(),
            missing: BTreeMap::new(),
            digest_at: None,
            greet_at: None,
            answers: (now, ANSWERS),
            renewed_at: None,
            left: false,
            stats: Stats::default(),
        }
    }

    /// Takes what happened. Malformed and hostile payloads change nothing.
    pub fn handle(&mut self, now: Timestamp, input: Input) {
        self.now = self.now.max(now);
        if self.left {
            return;
        }
        match input {
            Input::Datagram { from, bytes } => self.payload(from, &bytes, MAX_DATAGRAM),
            Input::Stream { from, bytes } => self.payload(from, &bytes, MAX_STREAM),
            Input::Publish(record) => self.stats.refused += u64::from(!self.ledger.publish(record)),
            Input::Withdraw { network, id } => self.ledger.withdraw((network, id)),
            Input::Seeds(seeds) => {
                let own = self.membership.me().peer.addr;
                let distinct: BTreeSet<SocketAddr> =
                    seeds.into_iter().filter(|seed| limits::target_is_valid(*seed) && *seed != own).collect();
                self.seeds = distinct.into_iter().take(limits::MAX_SEEDS).collect();
                self.answered.retain(|addr, _| self.seeds.contains(addr));
                self.greet();
            }
            Input::Leave => self.leave(),
        }
        self.settle();
    }

    /// The next thing to do, until `None`. Changes made since the last call are sent together.
    pub fn poll_output(&mut self) -> Option<Output> {
        if self.out.is_empty() && !self.left {
            self.push();
            self.acknowledge();
        }
        self.out.pop_front()
    }

    /// When [`Self::tick`] wants to be called next.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        if self.left {
            return None;
        }
        let sweep = self.replicas.values().filter_map(Replica::sweep_at).min();
        let missed = self.missing.values().map(|(until, _)| *until).min();
        let timeout = self.membership.next_timeout();
        let times = [timeout, self.ledger.next_resend(), sweep, missed, self.digest_at, self.greet_at];
        times.into_iter().flatten().min()
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
        if self.left {
            return;
        }
        self.membership.tick(self.now);
        self.settle();
        let over = |(node, (until, _)): (&NodeId, &(Timestamp, Identity))| (*until <= self.now).then_some(*node);
        for node in self.missing.iter().filter_map(over).collect::<Vec<_>>() {
            self.give_up(node);
        }
        self.resend();
        self.sweep();
        if self.digest_at.is_some_and(|at| at <= self.now) {
            self.digest();
        }
        if self.greet_at.is_some_and(|at| at <= self.now) {
            self.greet();
        }
    }

    /// All records of live nodes, this node's own among them, by owner.
    pub fn records(&self) -> impl Iterator<Item = (NodeId, &EndpointRecord)> {
        let me = self.membership.me().node();
        let own = self.ledger.records().map(move |record| (me, record));
        own.chain(self.replicas.iter().flat_map(|(owner, replica)| replica.records().map(|record| (*owner, record))))
    }

    /// The other nodes that live, or may live.
    pub fn peers(&self) -> impl Iterator<Item = &NetworkPeer> {
        let missing = self.missing.values().map(|(_, identity)| identity);
        self.live.values().chain(missing).map(|identity| &identity.peer)
    }

    /// Whether every live member has this node's latest word (record or removal) on an endpoint.
    pub fn acknowledged(&self, network: NetworkId, id: &str) -> bool {
        self.ledger.acknowledged(network, id)
    }

    /// What was not taken so far.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    fn payload(&mut self, from: SocketAddr, bytes: &[u8], limit: usize) {
        let taken = bytes.len() <= limit
            && match wire::open(bytes) {
                Ok(Payload::Swim(packet)) => self.membership.packet(self.now, packet),
                Ok(Payload::Frame(frame)) => self.frame(from, *frame),
                Err(_) => false,
            };
        self.stats.malformed += u64::from(!taken);
    }

    /// Takes a frame. False: it goes beyond a limit.
    fn frame(&mut self, addr: SocketAddr, Frame { from, body }: Frame) -> bool {
        let me = self.membership.me();
        if from.node() == me.node() {
            // This node in another life: the later one goes on.
            if from.life > me.life {
                self.renew_beyond(from.life);
            }
            return true;
        }
        match body {
            Body::Hello { you, answer } => {
                if self.seeds.contains(&addr) {
                    self.answered.insert(addr, from.node());
                }
                if let Some(you) = you.filter(|you| you.node == me.node()) {
                    if (you.life, you.state) >= (me.life, MemberState::Down) {
                        self.renew_beyond(you.life);
                    } else if (you.life, you.state) == (me.life, MemberState::Suspect) {
                        self.membership.object(self.now, &from, you.incarnation);
                    }
                }
                let stranger = !self.live.contains_key(&from.node());
                let live = self.learn(&from);
                if live && stranger {
                    self.membership.ask_for_members(self.now, &from);
                }
                if answer || !live {
                    self.answer(&from, !live);
                }
            }
            Body::Bye => {
                self.membership.learn(self.now, &from, true);
                self.settle();
                self.give_up(from.node());
            }
            Body::Delta(delta) => {
                if self.learn(&from) {
                    return self.delta(&from, delta);
                }
                self.answer(&from, true);
            }
            Body::Digest { summaries, members, answer } => {
                if self.learn(&from) {
                    self.compare(&from, &summaries, members, answer);
                } else {
                    self.answer(&from, true);
                }
            }
        }
        true
    }

    fn learn(&mut self, who: &Identity) -> bool {
        let live = self.membership.learn(self.now, who, false);
        self.settle();
        live
    }

    /// Draws the consequences of what became of members.
    fn settle(&mut self) {
        for note in std::mem::take(&mut self.membership.notes) {
            match note {
                Note::Up(identity) => self.up(identity),
                Note::Down(node) => self.down(node),
                Note::Renamed(identity) => self.renamed(identity),
            }
        }
        let packets = std::mem::take(&mut self.membership.packets);
        self.out.extend(packets.into_iter().map(|(to, bytes)| Output::Datagram { to, bytes }));
    }

    fn up(&mut self, identity: Identity) {
        let node = identity.node();
        self.ledger.add_reader(node);
        // It hears how much of it is here, in case it does not know that it was away.
        self.acknowledge.insert(node);
        if self.digest_at.is_none() {
            let period = u64::try_from(self.timings.anti_entropy.as_nanos()).unwrap_or(u64::MAX);
            self.digest_at = Some(self.now.plus(Duration::from_nanos(self.choices.below(period))));
        }
        if let Some((_, before)) = self.missing.remove(&node) {
            // It lived all the while: nobody need hear that it was taken for dead.
            self.live.insert(node, before);
            return self.renamed(identity);
        }
        self.replicas.insert(node, Replica::new(identity.life.generation));
        self.out.push_back(Output::Event(Event::Up(identity.peer.clone())));
        self.live.insert(node, identity);
    }

    /// A member is taken for dead. After a partition nodes that live are, on the word of those who were cut off: they
    /// object at once, and their endpoints must not vanish for as long as that takes.
    fn down(&mut self, node: NodeId) {
        self.ledger.remove_reader(node);
        self.acknowledge.remove(&node);
        if let Some(identity) = self.live.remove(&node) {
            self.missing.insert(node, (self.now.plus(self.timings.objection), identity));
        }
        if self.greet_at.is_none() {
            self.greet_at = Some(self.now.plus(self.timings.join));
        }
    }

    /// A member has not objected: it is dead, and its endpoints are gone.
    fn give_up(&mut self, node: NodeId) {
        if self.missing.remove(&node).is_none() {
            return;
        }
        if let Some(replica) = self.replicas.remove(&node) {
            let gone = replica.records().map(|record| Change::Removed((record.network, record.id.clone()))).collect();
            self.announce(node, gone);
        }
        self.out.push_back(Output::Event(Event::Down(node)));
    }

    fn renamed(&mut self, identity: Identity) {
        let node = identity.node();
        let Some(known) = self.live.get_mut(&node) else { return };
        let before = std::mem::replace(known, identity.clone());
        if before.peer != identity.peer {
            self.out.push_back(Output::Event(Event::Up(identity.peer)));
        }
        if identity.life.generation > before.life.generation {
            let sweep_at = self.now.plus(self.timings.restart_grace);
            if let Some(replica) = self.replicas.get_mut(&node) {
                replica.begin_life(identity.life.generation, sweep_at);
            }
            self.ledger.add_reader(node);
            self.acknowledge.insert(node);
        }
    }

    fn announce(&mut self, owner: NodeId, changes: Vec<Change>) {
        self.out.extend(changes.into_iter().map(|change| {
            Output::Event(match change {
                Change::Changed(record) => Event::Changed { owner, record },
                Change::Removed((network, id)) => Event::Removed { owner, network, id },
            })
        }));
    }

    /// Others hold a life of this node against it: it takes a later one, and if that is a new life says all anew.
    fn renew_beyond(&mut self, seen: Life) {
        if self.renewed_at.is_some_and(|at| self.now < at.plus(RENEWAL_PAUSE)) {
            return;
        }
        self.renewed_at = Some(self.now);
        if self.membership.renew_beyond(self.now, seen) {
            self.ledger.begin_life(self.membership.me().life.generation);
        }
    }

    /// A delta from a live member. False: it goes beyond a limit.
    fn delta(&mut self, from: &Identity, delta: Delta) -> bool {
        let owner = delta.owner;
        // Of a life that is not known from the membership nothing is taken, whoever tells it.
        if self.live.get(&owner).is_none_or(|identity| identity.life.generation != delta.generation) {
            return true;
        }
        let Some(replica) = self.replicas.get_mut(&owner) else { return true };
        let forward = (delta.hops > 0 && self.live.len() > FEW).then(|| delta.clone());
        let floor = delta.floor;
        let applied = replica.apply(delta);
        if from.node() == owner && applied != Applied::Refused {
            replica.forget(floor);
            self.acknowledge.insert(owner);
        }
        match applied {
            Applied::Refused => return false,
            Applied::Known => {}
            Applied::News(changes) => {
                self.announce(owner, changes);
                self.acknowledge.insert(owner);
                if let Some(delta) = forward {
                    self.forward(from.node(), delta);
                }
            }
        }
        true
    }

    fn forward(&mut self, from: NodeId, mut delta: Delta) {
        delta.hops -= 1;
        let others: Vec<NodeId> = self.live.keys().copied().filter(|one| *one != from && *one != delta.owner).collect();
        let chosen = self.choose(others, FAN_OUT);
        let Some(payload) = self.encode(Body::Delta(delta)) else { return };
        chosen.into_iter().for_each(|member| self.send_to(member, payload.clone()));
    }

    /// Compares what a member says it knows with what is known here.
    fn compare(&mut self, from: &Identity, summaries: &[Summary], members: Option<u64>, answer: bool) {
        let member = from.node();
        let mut lacking = Vec::new();
        for theirs in summaries {
            if theirs.owner == self.membership.me().node() {
                self.heard_of_me(member, *theirs);
                continue;
            }
            let Some(replica) = self.replicas.get_mut(&theirs.owner) else { continue };
            if replica.generation() != theirs.generation {
                continue;
            }
            if theirs.owner == member {
                replica.forget(theirs.floor);
            }
            if theirs.complete > replica.complete() {
                lacking.push(theirs.owner);
            } else if theirs.complete < replica.complete() && theirs.owner != member {
                self.relay(member, theirs.owner, theirs.complete);
            }
        }
        // SWIM spreads news of members by chance, and each only so often: what was missed is made up for here.
        let mine = self.members_digest();
        let differ = members.is_some_and(|theirs| theirs != mine);
        if differ {
            self.membership.ask_for_members(self.now, from);
        }
        if answer && (differ || !lacking.is_empty()) {
            let summaries = lacking.into_iter().filter_map(|owner| self.summary(owner)).collect();
            self.send(member, Body::Digest { summaries, members: differ.then_some(mine), answer: false });
        }
    }

    /// How much of this node's own records a member has.
    fn heard_of_me(&mut self, member: NodeId, theirs: Summary) {
        let mine = self.ledger.generation();
        if theirs.generation > mine {
            self.renew_beyond(Life { generation: theirs.generation, renewal: 0 });
        } else if theirs.generation == mine && !self.ledger.acknowledge(self.now, member, theirs.complete) {
            // It knows more than this node ever said: of a life that began at the same instant, or made up.
            self.renew_beyond(Life { generation: mine.saturating_add(1), renewal: 0 });
        }
    }

    /// Sends own changes to all that have not been sent them.
    fn push(&mut self) {
        let behind = self.ledger.behind();
        if behind.is_empty() {
            return;
        }
        let few = self.live.len() <= FEW;
        let chosen = if few { behind.clone() } else { self.choose(behind.clone(), FAN_OUT) };
        let hops = if few { 0 } else { MAX_HOPS };
        let patience = if few { Duration::ZERO } else { self.timings.resend };
        let mut batches: BTreeMap<u64, Vec<NodeId>> = BTreeMap::new();
        for member in behind {
            let version = self.ledger.version();
            let Some(reader) = self.ledger.reader(member) else { continue };
            if chosen.contains(&member) {
                batches.entry(reader.sent).or_default().push(member);
            }
            reader.sent = version;
            reader.resend_at.get_or_insert(self.now.plus(reader.wait + patience));
        }
        for (after, members) in batches {
            self.send_own(&members, after, hops);
        }
    }

    /// Sends again what was not acknowledged in time.
    fn resend(&mut self) {
        let overdue = self.ledger.overdue(self.now);
        let chosen = if self.live.len() <= FEW { overdue.clone() } else { self.choose(overdue.clone(), FEW) };
        let mut batches: BTreeMap<u64, Vec<NodeId>> = BTreeMap::new();
        for member in overdue {
            let version = self.ledger.version();
            let Some(reader) = self.ledger.reader(member) else { continue };
            if chosen.contains(&member) {
                batches.entry(reader.acknowledged).or_default().push(member);
                reader.sent = version;
                reader.wait = (reader.wait * 2).min(self.timings.resend_most);
                reader.resend_at = Some(self.now.plus(reader.wait));
            } else {
                reader.resend_at = Some(self.now.plus(RESEND_PAUSE));
            }
        }
        for (after, members) in batches {
            self.send_own(&members, after, 0);
        }
    }

    /// Sends own changes later than `after`.
    fn send_own(&mut self, members: &[NodeId], after: u64, hops: u8) {
        let head = Delta {
            owner: self.membership.me().node(),
            generation: self.ledger.generation(),
            floor: self.ledger.floor(),
            after,
            through: self.ledger.version(),
            whole: false,
            hops,
            entries: Vec::new(),
        };
        let ledger = &self.ledger;
        let payloads = self.encode_deltas(head, |after| ledger.listing(after));
        let streamed = payloads.iter().any(|payload| payload.len() > MAX_DATAGRAM);
        for member in members {
            if streamed && let Some(reader) = self.ledger.reader(*member) {
                reader.resend_at = reader.resend_at.max(Some(self.now.plus(STREAM_WAIT)));
            }
            payloads.iter().for_each(|payload| self.send_to(*member, payload.clone()));
        }
    }

    /// Sends a member what is known here of a third node's records beyond `after`.
    fn relay(&mut self, member: NodeId, owner: NodeId, after: u64) {
        let Some(replica) = self.replicas.get(&owner) else { return };
        let head = Delta {
            owner,
            generation: replica.generation(),
            floor: replica.floor(),
            after,
            through: replica.complete(),
            whole: false,
            hops: 0,
            entries: Vec::new(),
        };
        let payloads = self.encode_deltas(head, |after| replica.listing(after));
        payloads.into_iter().for_each(|payload| self.send_to(member, payload));
    }

    /// The payloads that carry what `listing` says is later than `head.after`: all of it if removals since then are
    /// forgotten. Few changes go in datagrams of their own, many as one stream.
    fn encode_deltas(&self, mut head: Delta, listing: impl Fn(u64) -> Vec<Entry>) -> Vec<Vec<u8>> {
        let mut entries = listing(head.after);
        let mut sizes: Vec<usize> = entries.iter().map(encoded_len).collect();
        if head.after < head.floor || sizes.iter().sum::<usize>() > limits::MAX_RECORDS_BYTES {
            (head.after, head.whole) = (0, true);
            entries = listing(0);
            entries.retain(|entry| matches!(entry.word, Word::Here(_)));
            sizes = entries.iter().map(encoded_len).collect();
        }
        let empty = Frame { from: self.membership.me().clone(), body: Body::Delta(head.clone()) };
        // The list's length takes one byte when empty, and three when it is not short.
        let room = MAX_DATAGRAM.saturating_sub(encoded_len(&empty) + wire::HEAD + 2);
        let total: usize = sizes.iter().sum();
        let splits = !head.whole && total <= MOST_DATAGRAMS * room && sizes.iter().all(|size| *size <= room);
        let parts = if splits { split(head, entries, &sizes, room) } else { vec![Delta { entries, ..head }] };
        parts.into_iter().filter_map(|delta| self.encode(Body::Delta(delta))).collect()
    }

    fn summary(&self, owner: NodeId) -> Option<Summary> {
        if owner == self.membership.me().node() {
            let ledger = &self.ledger;
            let (generation, complete, floor) = (ledger.generation(), ledger.version(), ledger.floor());
            return Some(Summary { owner, generation, complete, floor });
        }
        let replica = self.replicas.get(&owner)?;
        Some(Summary { owner, generation: replica.generation(), complete: replica.complete(), floor: 0 })
    }

    /// Tells owners how much of their records is here.
    fn acknowledge(&mut self) {
        for owner in std::mem::take(&mut self.acknowledge) {
            if let Some(summary) = self.summary(owner) {
                self.send(owner, Body::Digest { summaries: vec![summary], members: None, answer: false });
            }
        }
    }

    /// Compares everything with a random member.
    fn digest(&mut self) {
        let members: Vec<NodeId> = self.live.keys().copied().collect();
        self.digest_at = (!members.is_empty()).then(|| self.now.plus(self.timings.anti_entropy));
        let Some(member) = self.choose(members.clone(), 1).pop() else { return };
        let owners: Vec<NodeId> = [self.membership.me().node()].into_iter().chain(members).collect();
        let mut digest = Some(self.members_digest());
        for owners in owners.chunks(MAX_SUMMARIES) {
            let summaries = owners.iter().filter_map(|owner| self.summary(*owner)).collect();
            self.send(member, Body::Digest { summaries, members: digest.take(), answer: true });
        }
    }

    fn members_digest(&self) -> u64 {
        wire::members_digest(self.live.values().chain([self.membership.me()]))
    }

    /// Greets some of those that should be members and are not: at the seeds' addresses, and members that went down.
    fn greet(&mut self) {
        let known = |addr: &SocketAddr| {
            let answered = self.answered.get(addr).is_some_and(|node| self.live.contains_key(node));
            answered || self.live.values().any(|identity| identity.peer.addr == *addr)
        };
        let seeds = self.seeds.iter().copied().filter(|addr| !known(addr)).map(|addr| (addr, None));
        // Whoever lives at another's address has taken its place.
        let replaced = |addr: &SocketAddr| self.live.values().any(|identity| identity.peer.addr == *addr);
        let down = self.membership.down().map(|identity| (identity.peer.addr, Some(identity.node())));
        let down = down.filter(|(addr, _)| !replaced(addr));
        // A seed that is also a member that is down is told so.
        let strangers: BTreeMap<SocketAddr, Option<NodeId>> = seeds.chain(down).collect();
        self.greet_at = (!strangers.is_empty()).then(|| self.now.plus(self.timings.join));
        for (addr, node) in self.choose(strangers.into_iter().collect(), GREETINGS) {
            let you = node.and_then(|node| self.membership.standing(node));
            if let Some(payload) = self.encode(Body::Hello { you, answer: true }) {
                self.out.push_back(Output::Datagram { to: addr, bytes: payload });
            }
        }
    }

    /// Tells a node how it stands here.
    fn answer(&mut self, to: &Identity, answer: bool) {
        if self.now.since(self.answers.0) >= Duration::from_secs(1) {
            self.answers = (self.now, ANSWERS);
        }
        if self.answers.1 == 0 {
            return;
        }
        self.answers.1 -= 1;
        let you = self.membership.standing(to.node());
        if let Some(bytes) = self.encode(Body::Hello { you, answer }) {
            self.out.push_back(Output::Datagram { to: to.peer.addr, bytes });
        }
    }

    /// Removes what only earlier lives of members said, when its time has come.
    fn sweep(&mut self) {
        let now = self.now;
        let due = self.replicas.iter_mut().filter(|(_, replica)| replica.sweep_at().is_some_and(|at| at <= now));
        let swept: Vec<(NodeId, Vec<Change>)> = due.map(|(owner, replica)| (*owner, replica.sweep())).collect();
        swept.into_iter().for_each(|(owner, changes)| self.announce(owner, changes));
    }

    fn leave(&mut self) {
        self.push();
        let members: Vec<NodeId> = self.live.keys().copied().collect();
        for member in self.choose(members, FEW) {
            self.send(member, Body::Bye);
        }
        self.membership.leave(self.now);
        self.left = true;
    }

    /// At most `most` of `from`, at random.
    fn choose<T>(&mut self, mut from: Vec<T>, most: usize) -> Vec<T> {
        let count = from.len().min(most);
        for place in 0..count {
            let rest = u64::try_from(from.len() - place).unwrap_or(1);
            let other = place + usize::try_from(self.choices.below(rest)).unwrap_or(0);
            from.swap(place, other);
        }
        from.truncate(count);
        from
    }

    fn encode(&self, body: Body) -> Option<Vec<u8>> {
        wire::frame_payload(&Frame { from: self.membership.me().clone(), body })
    }

    fn send(&mut self, member: NodeId, body: Body) {
        if let Some(payload) = self.encode(body) {
            self.send_to(member, payload);
        }
    }

    fn send_to(&mut self, member: NodeId, bytes: Vec<u8>) {
        let Some(identity) = self.live.get(&member) else { return };
        let to = identity.peer.addr;
        if bytes.len() <= MAX_DATAGRAM {
            self.out.push_back(Output::Datagram { to, bytes });
        } else if bytes.len() <= MAX_STREAM {
            self.out.push_back(Output::Stream { to, bytes });
        } else {
            // The limits on an owner's records keep it from coming to this.
            self.stats.refused += 1;
        }
    }
}

/// Divides a delta into ones whose entries take at most `room` bytes each.
fn split(head: Delta, entries: Vec<Entry>, sizes: &[usize], room: usize) -> Vec<Delta> {
    let mut parts = Vec::new();
    let mut part = Delta { entries: Vec::new(), ..head };
    let mut used = 0;
    for (entry, size) in entries.into_iter().zip(sizes) {
        if used + size > room
            && let Some(last) = part.entries.last()
        {
            // What is later than the end of all belongs to the last part's stretch.
            let end = last.version.min(head.through);
            let next = Delta { after: end, through: head.through, entries: Vec::new(), ..part };
            parts.push(Delta { through: end, ..std::mem::replace(&mut part, next) });
            used = 0;
        }
        used += size;
        part.entries.push(entry);
    }
    parts.push(part);
    parts
}
