//! The simulated world: one queue of events in virtual time, and the hosts that they reach.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use swarm_agent::{Input, Output as AgentOutput};
use swarm_manager::consensus::ConsensusError;
use swarm_manager::dispatcher::Peer;
use swarm_manager::manager::{Answer, Manager, ManagerConfig, Output as ManagerOutput, RequestId};
use swarm_manager::store::StoreAction;
use swarm_types::*;

use crate::client::Client;
use crate::data_plane::Planes;
use crate::disk::ManagerDisk;
use crate::faults::Faults;
use crate::gossip::Talk;
use crate::host::{Host, node_id};
use crate::invariants::{Checker, Violation};
use crate::membership::{self, Membership};
use crate::network::Network;
use crate::runtime::{Due, Outcome};
use crate::views;

/// What to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Decides everything.
    pub seed: u64,
    /// Ends the time of faults after so many events, if it has not ended by itself.
    pub steps: Option<u64>,
}

/// What a run came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Managers and workers.
    pub managers: usize,
    /// The rest of the hosts.
    pub workers: usize,
    /// Events in the whole run.
    pub steps: u64,
    /// Virtual time in the whole run.
    pub time: Duration,
    /// Faults that were injected.
    pub faults: u64,
    /// Client requests that were acknowledged.
    pub acknowledged: u64,
    /// A digest of everything that was applied: equal for equal seeds.
    pub digest: u64,
    /// A digest of all that hosts heard of each other by gossip, likewise.
    pub gossip: u64,
    /// A digest of what was done to their data planes, likewise.
    pub data_planes: u64,
}

/// Runs one seed to its end. `trace` is told what happens, line by line.
pub fn run(options: &Options, trace: &mut dyn FnMut(&str)) -> Result<Report, Violation> {
    let mut world = World::new(options, trace);
    world.whole_run(options.steps).map_err(|reason| Violation { seed: options.seed, at: world.elapsed(), reason })?;
    Ok(Report {
        managers: world.managers,
        workers: world.hosts.len() - world.managers,
        steps: world.steps,
        time: world.elapsed(),
        faults: world.faults.injected,
        acknowledged: world.client.acknowledged,
        digest: world.checker.digest(),
        gossip: world.talk.digest(),
        data_planes: world.planes.digest(),
    })
}

const START: Timestamp = Timestamp::from_secs(1_700_000_000);
/// How long faults go on at most, and how long the swarm may take to recover from the last one: a leader has to be
/// elected (20 s at worst), nodes have to be given up (30 s) and images to crash until their tasks are spread anew.
const FAULT_TIME: Duration = Duration::from_secs(90);
/// Before the last service is created, the managers must know who is there: nodes that the faults took away are given
/// up or have come back by then.
const CALM: Duration = Duration::from_secs(32);
const RECOVERY_TIME: Duration = Duration::from_secs(300);

pub(crate) enum Event {
    Raft {
        from: usize,
        to: usize,
        bytes: Vec<u8>,
    },
    ConnectDone {
        host: usize,
        life: u64,
        connection: u64,
        to: usize,
    },
    ToManager {
        host: usize,
        connection: u64,
        to: usize,
        to_life: u64,
        message: Box<AgentMessage>,
    },
    ToAgent {
        from: usize,
        host: usize,
        life: u64,
        connection: u64,
        message: Box<DispatcherMessage>,
    },
    Broken {
        host: usize,
        life: u64,
        connection: u64,
    },
    DiskDone {
        host: usize,
        generation: u64,
        number: u64,
    },
    Container {
        host: usize,
        due: Due,
    },
    Start {
        host: usize,
    },
    /// The node asks for a certificate of the role that it was told.
    Renew {
        host: usize,
        life: u64,
    },
    /// A manager that is in no raft group asks for its place.
    JoinGroup {
        host: usize,
        life: u64,
    },
    /// The operator goes on with what takes several steps.
    Operator,
    Client,
    Fault,
    Heal,
}

struct Queued {
    at: Timestamp,
    serial: u64,
    event: Event,
}

impl PartialEq for Queued {
    fn eq(&self, other: &Self) -> bool {
        self.serial == other.serial
    }
}
impl Eq for Queued {}
impl PartialOrd for Queued {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Queued {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.serial).cmp(&(other.at, other.serial))
    }
}

pub(crate) struct World<'a> {
    pub now: Timestamp,
    pub random: IdSource,
    pub hosts: Vec<Host>,
    pub managers: usize,
    pub network: Network,
    pub client: Client,
    pub faults: Faults,
    pub checker: Checker,
    pub talk: Talk,
    pub planes: Planes,
    queue: BinaryHeap<Reverse<Queued>>,
    serial: u64,
    connections: u64,
    steps: u64,
    disk_ready: BTreeMap<usize, Timestamp>,
    /// Places in the raft group that were given, by who gave them.
    pub members: BTreeMap<(usize, RequestId), u64>,
    pub membership: Membership,
    /// A host that went and is not to come back yet.
    pub away: Option<usize>,
    next_check: Timestamp,
    trace: &'a mut dyn FnMut(&str),
}

impl<'a> World<'a> {
    fn new(options: &Options, trace: &'a mut dyn FnMut(&str)) -> Self {
        let mut random = IdSource::from_seed(options.seed);
        let managers = [1, 3, 3, 5][usize::try_from(random.below(4)).unwrap_or(0)];
        let workers = 1 + usize::try_from(random.below(5)).unwrap_or(0);
        Self::of(random, managers, workers, trace)
    }

    /// A world of so many hosts, not a swarm yet.
    pub fn of(mut random: IdSource, managers: usize, workers: usize, trace: &'a mut dyn FnMut(&str)) -> Self {
        // Of its own, so that the world is the same with and without it.
        let apart = random.clone().next_u64();
        let talk = Talk::new(apart, managers + workers, START);
        let planes = Planes::new(apart, managers + workers);
        let hosts = (0..managers + workers).map(|number| Host::new(number, random.next_u64())).collect();
        Self {
            now: START,
            talk,
            planes,
            hosts,
            managers,
            network: Network::new(random.next_u64()),
            client: Client::new(random.next_u64()),
            faults: Faults::new(random.next_u64()),
            checker: Checker::default(),
            random,
            queue: BinaryHeap::new(),
            serial: 0,
            connections: 0,
            steps: 0,
            disk_ready: BTreeMap::new(),
            members: BTreeMap::new(),
            membership: Membership::default(),
            away: None,
            next_check: START,
            trace,
        }
    }

    fn elapsed(&self) -> Duration {
        self.now.since(START)
    }

    pub fn trace(&mut self, line: &str) {
        let at = self.elapsed();
        (self.trace)(&format!("{:>9.3}s {line}", at.as_secs_f64()));
    }

    pub fn later(&mut self, wait: Duration, event: Event) {
        self.serial += 1;
        self.queue.push(Reverse(Queued { at: self.now.plus(wait), serial: self.serial, event }));
    }

    fn whole_run(&mut self, steps: Option<u64>) -> Result<(), String> {
        self.form_swarm()?;
        let end = self.now.plus(FAULT_TIME);
        let last = steps.map_or(u64::MAX, |steps| self.steps + steps);
        self.later(Duration::from_millis(500), Event::Client);
        if self.faults.enabled() {
            self.later(Duration::from_secs(5), Event::Fault);
        }
        while self.now < end && self.steps < last {
            self.step()?;
        }
        self.trace("faults stop");
        self.faults.stop();
        self.heal();
        for host in 0..self.hosts.len() {
            if !self.hosts[host].is_up() && !self.hosts[host].out {
                self.start(host)?;
            }
        }
        membership::help_the_lost(self)?;
        let deadline = self.now.plus(RECOVERY_TIME);
        self.until("a leader after the faults", deadline, |world| world.leader().is_some())?;
        self.client.wind_up(self.now.plus(CALM));
        self.client_turn()?;
        loop {
            let next = self.now.plus(Duration::from_secs(1));
            while self.now < next {
                self.step()?;
            }
            membership::help_those_left_behind(self)?;
            if self.client.has_more() {
                self.client_turn()?;
                if self.now > deadline {
                    let missing = crate::invariants::settled(self).err().unwrap_or_default();
                    return Err(format!("the clients' last requests were not served in time: {missing}"));
                }
                continue;
            }
            match crate::invariants::settled(self) {
                Ok(()) => break,
                Err(reason) if self.now > deadline => return Err(format!("not settled in time: {reason}")),
                Err(_) => {}
            }
        }
        self.check_stores()?;
        crate::invariants::at_rest(self)?;
        self.talk.come_to_rest(&self.network)?;
        self.check_views(Duration::ZERO)?;
        // the word that was let arrive took its time, and the managers live in the same
        while self.now < self.talk.now() {
            self.step()?;
        }
        crate::away::one_stays_away(self)
    }

    /// The first manager, then the others, then the workers join, all without faults.
    pub fn form_swarm(&mut self) -> Result<(), String> {
        let config = self.manager_config(0, 1);
        let (cluster, node) = (new_cluster(), new_node(node_id(0), NodeRole::Manager));
        let addr = self.hosts[0].manager_addr();
        let state = Manager::bootstrap_state(self.now, &config, addr, cluster, node).map_err(|e| e.to_string())?;
        self.hosts[0].manager_disk = Some((config, ManagerDisk::new(state)));
        self.hosts[0].managers = vec![self.hosts[0].peer()];
        (self.hosts[0].role, self.hosts[0].role_told) = (NodeRole::Manager, NodeRole::Manager);
        self.start(0)?;
        let deadline = self.now.plus(RECOVERY_TIME);
        self.until("the first leader", deadline, |world| world.leader().is_some())?;
        self.on_manager(0, |manager, now| manager.write(now, vec![new_network(OVERLAY)]).map(|_| ()))?;
        for number in 1..self.hosts.len() {
            let manager = number < self.managers;
            self.hosts[number].managers = vec![self.hosts[0].peer()];
            let role = if manager { NodeRole::Manager } else { NodeRole::Worker };
            (self.hosts[number].role, self.hosts[number].role_told) = (role, role);
            let create = StoreAction::Create(Object::Node(new_node(node_id(number), role).into()));
            self.on_manager(0, |manager, now| manager.write(now, vec![create]).map(|_| ()))?;
            let node = node_id(number);
            self.until("a new node in the store", deadline, |world| world.knows_node(0, node))?;
            if manager {
                let (peer, mut request) = (self.hosts[number].peer(), RequestId(0));
                self.on_manager(0, |manager, now| {
                    request = manager.add_member(now, peer.node_id, peer.addr)?;
                    Ok(())
                })?;
                self.until("a new member", deadline, |world| world.members.contains_key(&(0, request)))?;
                let raft_id = self.members.remove(&(0, request)).unwrap_or_default();
                let config = self.manager_config(number, raft_id);
                self.hosts[number].manager_disk = Some((config, ManagerDisk::default()));
            }
            self.start(number)?;
            self.until("a new host up to date", deadline, |world| !manager || world.knows_node(number, node))?;
        }
        self.until("all nodes ready", deadline, |world| {
            let count = world.hosts.len();
            let ready = |m: &Manager| m.store().nodes().iter().filter(|n| n.status.state == NodeState::Ready).count();
            world.leader().and_then(|leader| world.hosts[leader].manager.as_ref()).is_some_and(|m| ready(m) == count)
        })
    }

    fn knows_node(&self, host: usize, node: NodeId) -> bool {
        self.hosts[host].manager.as_ref().is_some_and(|m| m.store().nodes().get(node).is_some())
    }

    pub fn manager_config(&mut self, host: usize, raft_id: u64) -> ManagerConfig {
        // Small, so that snapshots and slow followers are common.
        let raft = RaftSpec { snapshot_interval: 50, log_entries_for_slow_followers: 10, ..RaftSpec::default() };
        ManagerConfig { raft_id, node_id: self.hosts[host].node, raft, seed: self.random.next_u64() }
    }

    /// The host whose manager leads; of two that think so the one that has applied more.
    pub fn leader(&self) -> Option<usize> {
        let leads = |host: &usize| self.hosts[*host].manager.as_ref().is_some_and(Manager::is_leader);
        let version = |host: &usize| self.hosts[*host].manager.as_ref().map(|m| m.store().version());
        (0..self.hosts.len()).filter(leads).max_by_key(version)
    }

    pub fn until(&mut self, what: &str, deadline: Timestamp, done: impl Fn(&Self) -> bool) -> Result<(), String> {
        while !done(self) {
            if self.now > deadline {
                return Err(format!("waited in vain for {what}"));
            }
            self.step()?;
        }
        Ok(())
    }

    /// One event, or one timeout, whichever comes first.
    pub fn step(&mut self) -> Result<(), String> {
        self.steps += 1;
        let due = self.queue.peek().map(|Reverse(queued)| queued.at);
        let timeout = self.next_timeout();
        // Gossip up to then happens first; it is not counted, so that the faults do not depend on it.
        if let Some(next) = due.into_iter().chain(timeout.map(|(at, ..)| at)).min() {
            self.talk.run_until(next, &self.network)?;
        }
        let event_first = due.is_some_and(|due| timeout.is_none_or(|(at, ..)| due <= at));
        if event_first {
            if let Some(Reverse(queued)) = self.queue.pop() {
                self.now = self.now.max(queued.at);
                self.happen(queued.event)?;
            }
        } else if let Some((at, host, manager)) = timeout {
            self.now = self.now.max(at);
            if manager {
                self.on_manager(host, |manager, now| manager.tick(now))?;
            } else {
                let now = self.now;
                if let Some(agent) = &mut self.hosts[host].agent {
                    agent.tick(now);
                }
                self.drain(host)?;
            }
        }
        if self.now >= self.next_check {
            self.next_check = self.now.plus(Duration::from_secs(5));
            self.check_stores()?;
            self.check_views(views::NEWS)?;
        }
        Ok(())
    }

    fn next_timeout(&self) -> Option<(Timestamp, usize, bool)> {
        let mut first: Option<(Timestamp, usize, bool)> = None;
        for (number, host) in self.hosts.iter().enumerate() {
            let manager = host.manager.as_ref().map(|m| (m.poll_timeout(), number, true));
            let agent = host.agent.as_ref().and_then(|a| a.poll_timeout()).map(|at| (at, number, false));
            first = [first, manager, agent].into_iter().flatten().min();
        }
        first
    }

    fn happen(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::Raft { from, to, bytes } => {
                if self.network.reaches(from, to) && self.hosts[to].manager.is_some() {
                    let now = self.now;
                    if let Some(manager) = &mut self.hosts[to].manager {
                        // A message for a former member is refused, and that is all.
                        let _ = manager.handle_raft(now, &bytes);
                    }
                    return self.drain(to);
                }
            }
            Event::ConnectDone { host, life, connection, to } => return self.connect_done(host, life, connection, to),
            Event::ToManager { host, connection, to, to_life, message } => {
                let connected = self.hosts[host].is_connected(connection, to);
                if connected && !self.network.reaches(host, to) {
                    self.hosts[host].severed = Some(connection);
                } else if connected && self.hosts[to].life == to_life {
                    let from = &self.hosts[host];
                    let peer = Peer { node_id: from.node, role: from.role, addr: from.addr.clone() };
                    return self.on_manager(to, |manager, now| manager.handle_agent(now, &peer, *message));
                }
            }
            Event::ToAgent { from, host, life, connection, message } => {
                let current = self.hosts[host].life == life && self.hosts[host].is_connected(connection, from);
                if current && !self.network.reaches(from, host) {
                    self.hosts[host].severed = Some(connection);
                } else if current {
                    if self.network.breaks() {
                        return self.happen(Event::Broken { host, life, connection });
                    }
                    return self.agent_input(host, Input::Message(*message));
                }
            }
            Event::Broken { host, life, connection } => {
                let current = self.hosts[host].connection.is_some_and(|(current, _)| current == connection);
                if current && self.hosts[host].life == life {
                    self.hosts[host].connection = None;
                    return self.agent_input(host, Input::Disconnected);
                }
            }
            Event::DiskDone { host, generation, number } => {
                if self.hosts[host].manager.is_some() && self.hosts[host].manager_generation == generation {
                    if let Some((_, disk)) = &mut self.hosts[host].manager_disk {
                        disk.done(number);
                    }
                    return self.on_manager(host, |manager, now| manager.persisted(now, number));
                }
            }
            Event::Container { host, due } => {
                let outcome = self.hosts[host].runtime.due(due);
                return self.runtime_outcome(host, outcome);
            }
            Event::Start { host } => {
                if !self.hosts[host].is_up() && !self.hosts[host].out && self.away != Some(host) {
                    return self.start(host);
                }
            }
            Event::Renew { host, life } => return membership::renew(self, host, life),
            Event::JoinGroup { host, life } => return membership::join_group(self, host, life),
            Event::Operator => return membership::operate(self),
            Event::Client => {
                self.client_turn()?;
                let wait = Duration::from_millis(200 + self.random.below(4_000));
                self.later(wait, Event::Client);
            }
            Event::Fault => return crate::faults::inject(self),
            Event::Heal => {
                self.trace("network heals");
                self.heal();
            }
        }
        Ok(())
    }

    pub fn heal(&mut self) {
        self.talk.disturbed(&self.network, self.now);
        self.network.heal();
    }

    /// What hosts know of each other's endpoints.
    pub fn check_views(&mut self, news: Duration) -> Result<(), String> {
        self.talk.introduce(&self.network, self.now);
        let (now, at_rest) = (self.now.max(self.talk.now), news.is_zero());
        self.planes.follow(&self.talk, &self.hosts, now, self.faults.enabled(), at_rest)?;
        views::check(&self.talk, &self.hosts, &self.network, now, news, &self.planes)?;
        if at_rest { self.planes.at_rest(&self.talk, &self.hosts) } else { Ok(()) }
    }

    fn connect_done(&mut self, host: usize, life: u64, connection: u64, to: usize) -> Result<(), String> {
        if self.hosts[host].life != life || self.hosts[host].connection != Some((connection, to)) {
            return Ok(());
        }
        if self.hosts[to].manager.is_some() && self.network.reaches(host, to) {
            return self.agent_input(host, Input::Connected);
        }
        self.hosts[host].connection = None;
        self.agent_input(host, Input::Disconnected)
    }

    pub fn start(&mut self, host: usize) -> Result<(), String> {
        let seed = self.random.next_u64();
        self.trace(&format!("host {host} starts as node {}", self.hosts[host].node));
        let now = self.now;
        self.hosts[host].start(now, seed)?;
        membership::started(self, host);
        self.talk.start(host, &self.hosts[host], now, &self.network);
        self.drain(host)
    }

    /// Whoever is connected to this host's manager notices that it is gone.
    pub fn break_connections_to(&mut self, target: usize) {
        for host in 0..self.hosts.len() {
            if let Some((connection, _)) = self.hosts[host].connection.filter(|(_, to)| *to == target) {
                let (life, wait) = (self.hosts[host].life, self.network.draw_delay());
                self.later(wait, Event::Broken { host, life, connection });
            }
        }
    }

    pub fn agent_input(&mut self, host: usize, input: Input) -> Result<(), String> {
        let now = self.now;
        if let Some(agent) = &mut self.hosts[host].agent {
            agent.handle(now, input);
        }
        self.drain(host)
    }

    pub fn on_manager(
        &mut self,
        host: usize,
        call: impl FnOnce(&mut Manager, Timestamp) -> Result<(), ConsensusError>,
    ) -> Result<(), String> {
        let now = self.now;
        if let Some(manager) = &mut self.hosts[host].manager {
            call(manager, now).map_err(|error| format!("manager of host {host} gave up: {error}"))?;
        }
        self.drain(host)
    }

    /// Carries out what the host's processes want.
    pub fn drain(&mut self, host: usize) -> Result<(), String> {
        loop {
            if let Some(output) = self.hosts[host].manager.as_mut().and_then(Manager::poll_output) {
                self.manager_output(host, output)?;
            } else if let Some(output) = self.hosts[host].agent.as_mut().and_then(|agent| agent.poll_output()) {
                self.agent_output(host, output)?;
            } else {
                self.talk.tell(host, &self.hosts[host], self.now, &self.network);
                return Ok(());
            }
        }
    }

    fn manager_output(&mut self, host: usize, output: ManagerOutput) -> Result<(), String> {
        match output {
            ManagerOutput::Persist(persist) => {
                let (generation, number) = (self.hosts[host].manager_generation, persist.number);
                let most = if persist.sync { 8_000 } else { 100 };
                if let Some((_, disk)) = &mut self.hosts[host].manager_disk {
                    disk.write(persist);
                }
                let ready = self.now.plus(Duration::from_micros(50 + self.random.below(most)));
                // Writes are answered in their order.
                let ready = self.disk_ready.get(&host).copied().map_or(ready, |last| ready.max(last));
                self.disk_ready.insert(host, ready);
                self.later(ready.since(self.now), Event::DiskDone { host, generation, number });
            }
            ManagerOutput::SendRaft { to, bytes, .. } => {
                let has = |h: &&Host| h.manager_disk.as_ref().is_some_and(|(config, _)| config.raft_id == to);
                if let Some(target) = self.hosts.iter().find(has).map(|h| h.node)
                    && let Some(to) = self.host_of(target)
                {
                    for wait in self.network.draw_copies() {
                        self.later(wait, Event::Raft { from: host, to, bytes: bytes.clone() });
                    }
                }
            }
            ManagerOutput::RotateNetworkKeys => {
                let mut random = IdSource::from_seed(self.random.next_u64());
                self.trace(&format!("host {host} rotates the networks' keys"));
                let draw = || Some(random.id::<ClusterKind>().bits().to_le_bytes());
                return self.on_manager(host, |manager, now| manager.rotate_network_keys(now, draw));
            }
            ManagerOutput::SendAgent { node, message } => {
                let Some(to) = self.host_of(node) else { return Ok(()) };
                let Some((connection, _)) = self.hosts[to].connection.filter(|(_, target)| *target == host) else {
                    return Ok(());
                };
                let (life, wait) = (self.hosts[to].life, self.in_order(to, connection, true));
                let message = Box::new(message);
                self.later(wait, Event::ToAgent { from: host, host: to, life, connection, message });
            }
            ManagerOutput::Answered { request, answer } => {
                match &answer {
                    Ok(Answer::Member { raft_id, .. }) => {
                        let raft_id = *raft_id;
                        if !membership::joined_group(self, host, request, raft_id)? {
                            self.members.insert((host, request), raft_id);
                        }
                    }
                    Ok(Answer::Written) => membership::renewed(self, host, request)?,
                    _ => {}
                }
                let version = self.hosts[host].manager.as_ref().map(|m| m.store().version()).unwrap_or_default();
                if let Some(line) = self.client.answered(host, request, answer, version) {
                    self.trace(&line);
                }
            }
            ManagerOutput::Applied(events) => {
                if let Some(manager) = &self.hosts[host].manager {
                    self.checker.applied(host, &events, manager.store())?;
                }
            }
            ManagerOutput::Leader { this, .. } => {
                if this {
                    self.trace(&format!("host {host} leads"));
                }
            }
            ManagerOutput::Replaced => {}
            ManagerOutput::Removed => membership::no_longer_member(self, host),
        }
        Ok(())
    }

    fn agent_output(&mut self, host: usize, output: AgentOutput) -> Result<(), String> {
        let life = self.hosts[host].life;
        match output {
            AgentOutput::Connect(peer) => {
                self.connections += 1;
                let connection = self.connections;
                // As a node does it: to the leader if its own manager knows that.
                let leader = self.hosts[host].manager.as_ref().and_then(|manager| manager.leader().cloned());
                let peer = leader.unwrap_or(peer);
                // By its address: who is there now may have another id.
                let to = self.hosts.iter().position(|target| target.manager_addr() == peer.addr);
                let Some(to) = to else { return Err(format!("host {host} turns to an unknown manager")) };
                self.hosts[host].connection = Some((connection, to));
                self.hosts[host].arrival.clear();
                let wait = self.network.draw_delay() * 2;
                self.later(wait, Event::ConnectDone { host, life, connection, to });
            }
            AgentOutput::Disconnect => self.hosts[host].connection = None,
            AgentOutput::Send(message) => {
                let Some((connection, to)) = self.hosts[host].connection else { return Ok(()) };
                let (to_life, wait) = (self.hosts[to].life, self.in_order(host, connection, false));
                let message = Box::new(message);
                self.later(wait, Event::ToManager { host, connection, to, to_life, message });
            }
            AgentOutput::Runtime(command) => {
                crate::invariants::given_what_it_names(&command)?;
                let outcome = self.hosts[host].runtime.command(&command);
                self.runtime_outcome(host, outcome)?;
            }
            AgentOutput::Persist(stored) => {
                self.checker.observed(host, &stored.task)?;
                self.hosts[host].disk.write(stored.task.id, Some(stored));
            }
            AgentOutput::Forget(task) => self.hosts[host].disk.write(task, None),
            AgentOutput::Networks(networks) => {
                self.hosts[host].told_networks(&networks);
            }
            AgentOutput::Session(facts) => {
                self.hosts[host].told_attachments(&facts.node.attachments);
                self.hosts[host].newest_key = facts.network_keys.iter().map(|k| k.lamport_time).max().unwrap_or(0);
                if !facts.managers.is_empty() {
                    self.hosts[host].managers = facts.managers;
                }
                membership::told(self, host, &facts.node);
            }
            AgentOutput::Left => membership::left(self, host),
        }
        Ok(())
    }

    fn runtime_outcome(&mut self, host: usize, outcome: Outcome) -> Result<(), String> {
        for (wait, due) in outcome.due {
            self.later(wait, Event::Container { host, due });
        }
        for (task, event) in outcome.events {
            self.agent_input(host, Input::Runtime { task, event })?;
        }
        Ok(())
    }

    /// When the next message of a connection arrives: never before the one in front of it.
    fn in_order(&mut self, host: usize, connection: u64, to_agent: bool) -> Duration {
        let at = self.now.plus(self.network.draw_delay());
        let last = self.hosts[host].arrival.entry((connection, to_agent)).or_default();
        *last = at.max(*last);
        last.since(self.now)
    }

    pub fn host_of(&self, node: NodeId) -> Option<usize> {
        self.hosts.iter().position(|host| host.node == node)
    }

    fn client_turn(&mut self) -> Result<(), String> {
        let Some(leader) = self.leader() else { return Ok(()) };
        let Some(manager) = &self.hosts[leader].manager else { return Ok(()) };
        let busy = self.membership.is_busy();
        let Some(ask) = self.client.next(self.now, manager.store(), busy) else { return Ok(()) };
        self.trace(&format!("client asks host {leader}: {}", ask.what));
        let now = self.now;
        let Some(manager) = &mut self.hosts[leader].manager else { return Ok(()) };
        let request = manager.control(now, &ask.request).map_err(|error| format!("control: {error}"))?;
        self.client.asked(leader, request, ask);
        self.drain(leader)
    }

    fn check_stores(&mut self) -> Result<(), String> {
        let managers: Vec<(usize, &Manager)> = self
            .hosts
            .iter()
            .enumerate()
            .filter_map(|(number, host)| host.manager.as_ref().map(|manager| (number, manager)))
            .collect();
        self.checker.agree(&managers)?;
        self.client.check_kept(&managers)
    }
}

fn new_cluster() -> Cluster {
    Cluster {
        id: Id::from_bits(1),
        meta: Meta::default(),
        spec: ClusterSpec {
            raft: RaftSpec { snapshot_interval: 50, log_entries_for_slow_followers: 10, ..RaftSpec::default() },
            ..ClusterSpec::default()
        },
        root_ca: RootCa::default(),
        network_keys: Vec::new(),
        unlock_key: None,
        default_address_pool: vec!["10.0.0.0/8".to_owned()],
        subnet_size: 24,
        data_path_port: 4789,
        revoked_nodes: Vec::new(),
    }
}

/// A network that services can be attached to from the beginning.
pub(crate) const OVERLAY: &str = "overlay1";

fn new_network(name: &str) -> StoreAction {
    let spec = NetworkSpec {
        annotations: Annotations::named(name),
        driver: Some(Driver { name: "overlay".to_owned(), ..Driver::default() }),
        ..NetworkSpec::default()
    };
    let (id, meta) = (Id::from_bits(2), Meta::default());
    let network = swarm_types::Network { id, meta, spec, driver_state: None, ipam: None, pending_delete: false };
    StoreAction::Create(Object::Network(network.into()))
}

pub(crate) fn new_node(id: NodeId, role: NodeRole) -> Node {
    Node {
        id,
        meta: Meta::default(),
        spec: NodeSpec { desired_role: role, ..NodeSpec::default() },
        role,
        description: None,
        status: NodeStatus::default(),
        manager_status: None,
        certificate: NodeCertificate::default(),
        attachments: BTreeMap::new(),
    }
}
