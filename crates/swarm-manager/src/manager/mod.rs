//! One manager: store, raft member and, while it leads, the components of the control plane, behind one sans-IO face.
//!
//! The caller (a node's event loop, or the simulator) hands in messages, requests and time, and after each call takes
//! everything from [`Manager::poll_output`]: disk writes to make ([`Output::Persist`], answered by
//! [`Manager::persisted`]), messages to send, answers to requests, applied changes. [`Manager::poll_timeout`] says when
//! to call [`Manager::tick`] next.
//!
//! Every manager applies the log; only the leader runs components, takes writes and talks to agents. What this leaves
//! out: sockets, certificates, disks, and forwarding requests to the leader.

mod keys;
mod members;
mod networks;
mod requests;
mod roles;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use swarm_types::*;

use crate::component::Component;
use crate::consensus::{Committed, Consensus, ConsensusError, Member, PersistedState, SnapshotData};
use crate::control_api::{self, ControlError, ControlErrorKind, ControlRequest, ControlResponse};
use crate::dispatcher::{Dispatcher, Peer};
use crate::store::{Applied, Event, Proposal, ProposalId, Store, StoreAction};
use members::MemberChanges;
use requests::Turns;

pub use crate::consensus::Persist;
pub use keys::{KEY_BYTES, KEY_ROTATION, KEY_SUBSYSTEMS, first_network_keys};

/// Length of a raft tick. Docker's default settings count heartbeats (1) and elections (10) in ticks of a second.
pub const TICK: Duration = Duration::from_secs(1);

/// What a manager needs to know of itself.
#[derive(Debug, Clone)]
pub struct ManagerConfig {
    /// Its id in the raft group; drawn by the leader when it was added, or by the first manager for itself. Not 0.
    pub raft_id: u64,
    /// Its node.
    pub node_id: NodeId,
    /// Raft settings, read at the start.
    pub raft: RaftSpec,
    /// Decides ids, jitter and election timeouts; fresh entropy in a node.
    pub seed: u64,
}

/// Names a request among those of this manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// The answer to a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// To [`Manager::control`].
    Control(ControlResponse),
    /// To [`Manager::write`]: applied.
    Written,
    /// To [`Manager::add_member`]: the raft id, and all members by raft id.
    Member {
        /// The new member's raft id.
        raft_id: u64,
        /// All members.
        members: BTreeMap<u64, Member>,
    },
}

/// What the caller has to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Write to disk, then call [`Manager::persisted`] with its number. In order.
    Persist(Persist),
    /// Send to another manager; call [`Manager::unreachable`] where that fails.
    SendRaft {
        /// The receiver's raft id.
        to: u64,
        /// Who that is; `None` for a member that was just removed (the message may be dropped).
        member: Option<Member>,
        /// The message.
        bytes: Vec<u8>,
    },
    /// Send to an agent's session; drop it where there is none.
    SendAgent {
        /// The agent's node.
        node: NodeId,
        /// The message.
        message: DispatcherMessage,
    },
    /// A request is answered.
    Answered {
        /// Which.
        request: RequestId,
        /// How.
        answer: Result<Answer, ControlError>,
    },
    /// Changes were applied to the store.
    Applied(Vec<Event>),
    /// The whole store was replaced by the leader's snapshot: look at everything again.
    Replaced,
    /// Leadership changed.
    Leader {
        /// Who leads now, if known.
        leader: Option<Member>,
        /// Whether it is this manager, and it has begun its work.
        this: bool,
    },
    /// This manager is no longer a member of the raft group.
    Removed,
    /// The keys of the nodes' networks are due: call [`Manager::rotate_network_keys`].
    RotateNetworkKeys,
}

enum Pending {
    Control { request: Box<ControlRequest>, response: ControlResponse },
    Write,
}

struct Part {
    component: Box<dyn Component + Send>,
    in_flight: Option<ProposalId>,
}

/// One manager.
pub struct Manager {
    config: ManagerConfig,
    consensus: Consensus,
    store: Store,
    ids: IdSource,
    next_serial: u64,
    next_request: u64,
    next_tick: Timestamp,
    parts: Vec<Part>,
    dispatcher: Dispatcher,
    dispatcher_in_flight: Option<ProposalId>,
    roles_in_flight: Option<ProposalId>,
    keys_due: Timestamp,
    // The term in which this manager began its work as the leader.
    leading: Option<u64>,
    announced: Option<(Option<Member>, bool)>,
    requests: BTreeMap<ProposalId, (RequestId, Pending)>,
    turns: Turns,
    member_changes: MemberChanges,
    outputs: VecDeque<Output>,
}

fn parts(ids: &mut IdSource) -> Vec<Part> {
    let components: Vec<Box<dyn Component + Send>> = vec![
        Box::new(crate::orchestrator::ServiceOrchestrator::new(IdSource::from_seed(ids.next_u64()))),
        Box::new(crate::allocator::Allocator::new()),
        Box::new(crate::scheduler::Scheduler::new()),
        Box::new(crate::orchestrator::TaskReaper::new()),
        Box::new(crate::orchestrator::ConstraintEnforcer::new()),
    ];
    components.into_iter().map(|component| Part { component, in_flight: None }).collect()
}

impl Manager {
    /// What the disk of a new swarm's first manager begins with: the swarm, `node` (that manager's own), and the networks
    /// that every swarm begins with.
    pub fn bootstrap_state(
        now: Timestamp,
        config: &ManagerConfig,
        addr: String,
        cluster: Cluster,
        node: Node,
    ) -> Result<PersistedState, ConsensusError> {
        let mut store = Store::default();
        let id = ProposalId { proposer: config.raft_id, serial: 0 };
        let mut actions =
            vec![StoreAction::Create(Object::Cluster(cluster.into())), StoreAction::Create(Object::Node(node.into()))];
        // Other draws than those of the manager that begins with this.
        actions.extend(networks::first_networks(&mut IdSource::from_seed(
            config.seed.rotate_left(32) ^ now.as_nanos() as u64,
        )));
        store.apply(crate::consensus::FIRST_INDEX, &Proposal { id, now, atomic: true, actions });
        let members = BTreeMap::from([(config.raft_id, Member { node_id: config.node_id, addr })]);
        Consensus::bootstrap_state(config.raft_id, &SnapshotData { members, store: store.snapshot() })
    }

    /// A manager with what its disk gave back. An empty state makes one that waits to be added by the leader
    /// ([`Manager::add_member`] there, which also gave it its raft id).
    pub fn new(now: Timestamp, config: ManagerConfig, state: PersistedState) -> Result<Self, ConsensusError> {
        let mut ids = IdSource::from_seed(config.seed);
        let consensus = Consensus::new(config.raft_id, &config.raft, ids.next_u64(), state)?;
        let parts = parts(&mut ids);
        let dispatcher = Dispatcher::new(IdSource::from_seed(ids.next_u64()));
        let mut manager = Self {
            consensus,
            store: Store::default(),
            // Serials go on rising over restarts because the clock does; two in one nanosecond are never made.
            next_serial: u64::try_from(now.as_nanos()).unwrap_or(0),
            next_request: 1,
            next_tick: now.plus(TICK),
            ids,
            parts,
            dispatcher,
            dispatcher_in_flight: None,
            roles_in_flight: None,
            keys_due: now,
            leading: None,
            announced: None,
            requests: BTreeMap::new(),
            turns: Turns::default(),
            member_changes: MemberChanges::default(),
            outputs: VecDeque::new(),
            config,
        };
        manager.run(now)?;
        Ok(manager)
    }

    /// The objects, as far as this manager has applied the log.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// This manager's id in the raft group.
    pub fn raft_id(&self) -> u64 {
        self.config.raft_id
    }

    /// Whether this manager leads and has begun its work.
    pub fn is_leader(&self) -> bool {
        self.leading.is_some()
    }

    /// Who leads, if known.
    pub fn leader(&self) -> Option<&Member> {
        self.consensus.leader().and_then(|id| self.consensus.members().get(&id))
    }

    /// The members of the raft group by raft id.
    pub fn members(&self) -> &BTreeMap<u64, Member> {
        self.consensus.members()
    }

    /// The managers' places in the raft group by node, as this manager sees them: what `docker node ls` shows.
    pub fn manager_statuses(&self) -> BTreeMap<NodeId, ManagerStatus> {
        let leader = self.consensus.leader();
        let status = |(raft_id, member): (&u64, &Member)| {
            let reachability = match self.consensus.recently_active(*raft_id) {
                Some(true) => Reachability::Reachable,
                Some(false) => Reachability::Unreachable,
                None => Reachability::Unknown,
            };
            let leader = leader == Some(*raft_id);
            (member.node_id, ManagerStatus { raft_id: *raft_id, addr: member.addr.clone(), leader, reachability })
        };
        self.consensus.members().iter().map(status).collect()
    }

    /// The next thing to do, if any.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`Manager::tick`] next.
    pub fn poll_timeout(&self) -> Timestamp {
        let parts = self.parts.iter().filter_map(|part| part.component.poll_timeout());
        let components = parts.chain(self.dispatcher.poll_timeout()).filter(|_| self.leading.is_some());
        let keys = self.leading.map(|_| self.keys_due);
        components.chain(keys).min().map_or(self.next_tick, |at| at.min(self.next_tick))
    }

    /// Time went on.
    pub fn tick(&mut self, now: Timestamp) -> Result<(), ConsensusError> {
        while self.next_tick <= now {
            self.consensus.tick()?;
            // After a long pause (a suspended laptop) the missed ticks are not made up for: they would look like an
            // election timeout to a group in which nobody was away.
            self.next_tick = self.next_tick.plus(TICK).max(now);
            if self.next_tick == now {
                self.next_tick = now.plus(TICK);
            }
        }
        self.ask_for_keys(now);
        if self.leading.is_some() {
            for part in &mut self.parts {
                if part.component.poll_timeout().is_some_and(|at| at <= now) {
                    part.component.tick(now, &self.store);
                }
            }
            if self.dispatcher.poll_timeout().is_some_and(|at| at <= now) {
                self.dispatcher.tick(now, &self.store);
            }
        }
        self.run(now)
    }

    /// A message from another manager, which the caller has authenticated as `from`.
    pub fn handle_raft(&mut self, now: Timestamp, bytes: &[u8]) -> Result<(), ConsensusError> {
        self.consensus.step(bytes)?;
        self.run(now)
    }

    /// A message to a member did not arrive.
    pub fn unreachable(&mut self, raft_id: u64) {
        self.consensus.unreachable(raft_id);
    }

    /// The disk has the write of this number and all before it.
    pub fn persisted(&mut self, now: Timestamp, number: u64) -> Result<(), ConsensusError> {
        self.consensus.persisted(number)?;
        self.run(now)
    }

    /// A message of an agent that its certificate authenticated. A manager that does not lead answers with
    /// [`DispatcherMessage::SessionInvalid`], which names the leader.
    pub fn handle_agent(&mut self, now: Timestamp, from: &Peer, message: AgentMessage) -> Result<(), ConsensusError> {
        self.dispatcher.handle_agent(now, from, message, &self.store);
        self.run(now)
    }

    /// Writes to the store on behalf of the caller (a joining node's certificate, renewals): all or nothing.
    pub fn write(&mut self, now: Timestamp, actions: Vec<StoreAction>) -> Result<RequestId, ConsensusError> {
        let id = self.request_id();
        if self.leading.is_none() {
            self.answer(id, Err(not_leader()));
            return Ok(id);
        }
        self.request(now, id, actions, Pending::Write);
        self.run(now)?;
        Ok(id)
    }

    /// Adds a node to the raft group, or says its raft id if it is a member already. The node must have the manager's
    /// role, and should be listening at `addr`.
    pub fn add_member(&mut self, now: Timestamp, node_id: NodeId, addr: String) -> Result<RequestId, ConsensusError> {
        let id = self.request_id();
        if self.leading.is_none() {
            self.answer(id, Err(not_leader()));
            return Ok(id);
        }
        let raft_id = self.ids.next_u64().max(1);
        self.member_changes.add(id, raft_id, Member { node_id, addr });
        self.run(now)?;
        Ok(id)
    }

    fn request_id(&mut self) -> RequestId {
        self.next_request += 1;
        RequestId(self.next_request)
    }

    fn answer(&mut self, request: RequestId, answer: Result<Answer, ControlError>) {
        self.outputs.push_back(Output::Answered { request, answer });
    }

    fn request(
        &mut self,
        now: Timestamp,
        id: RequestId,
        actions: Vec<StoreAction>,
        pending: Pending,
    ) -> Option<ProposalId> {
        let proposal = self.propose(now, actions, true);
        match proposal {
            Some(proposal) => drop(self.requests.insert(proposal, (id, pending))),
            None => self.answer(id, Err(not_leader())),
        }
        proposal
    }

    fn serial(&mut self) -> u64 {
        self.next_serial += 1;
        self.next_serial
    }

    /// `None`: the log does not take proposals now (leadership is being handed over).
    fn propose(&mut self, now: Timestamp, actions: Vec<StoreAction>, atomic: bool) -> Option<ProposalId> {
        let id = ProposalId { proposer: self.config.raft_id, serial: self.serial() };
        self.consensus.propose(&Proposal { id, now, atomic, actions }).ok().map(|()| id)
    }

    /// Does everything that can be done now.
    fn run(&mut self, now: Timestamp) -> Result<(), ConsensusError> {
        loop {
            while let Some(committed) = self.consensus.poll_committed() {
                self.apply(now, committed);
            }
            if self.consensus.wants_snapshot() {
                self.consensus.snapshot(self.store.snapshot())?;
            }
            self.follow_leadership();
            if !self.drive(now)? {
                break;
            }
        }
        while let Some((node, message)) = self.dispatcher.poll_message() {
            self.outputs.push_back(Output::SendAgent { node, message });
        }
        while let Some(persist) = self.consensus.poll_persist() {
            self.outputs.push_back(Output::Persist(persist));
        }
        while let Some((to, bytes)) = self.consensus.poll_message() {
            let member = self.consensus.members().get(&to).cloned();
            self.outputs.push_back(Output::SendRaft { to, member, bytes });
        }
        Ok(())
    }

    fn apply(&mut self, now: Timestamp, committed: Committed) {
        match committed {
            Committed::Proposal { index, proposal } => {
                let applied = self.store.apply(index, &proposal);
                self.settle(proposal.id, &applied);
                if self.leading.is_some() {
                    for event in &applied.events {
                        for part in &mut self.parts {
                            part.component.handle(now, event, &self.store);
                        }
                        self.dispatcher.handle(now, event, &self.store);
                    }
                }
                if applied.events.iter().any(|event| matches!(event.object(), Object::Cluster(_)))
                    && let Some(cluster) = self.store.cluster()
                {
                    self.consensus.configure(&cluster.spec.raft);
                }
                if !applied.events.is_empty() {
                    self.outputs.push_back(Output::Applied(applied.events));
                }
            }
            Committed::TermBegan { term } => {
                if self.consensus.is_leader() && self.consensus.term() == term && self.leading != Some(term) {
                    self.leading = Some(term);
                    for part in &mut self.parts {
                        part.in_flight = None;
                        part.component.start(now, &self.store);
                    }
                    self.dispatcher_in_flight = None;
                    self.roles_in_flight = None;
                    self.plan_key_rotation(now);
                    self.dispatcher.start(now, &self.store);
                }
            }
            Committed::Members { serial, raft_id, member } => {
                let added = member.is_some();
                if let Some(request) = self.member_changes.settled(serial) {
                    let members = self.consensus.members().clone();
                    self.answer(request, Ok(Answer::Member { raft_id, members }));
                }
                if !added && raft_id == self.config.raft_id {
                    self.outputs.push_back(Output::Removed);
                }
            }
            Committed::Snapshot(data) => {
                self.store = Store::restore(data.store);
                self.outputs.push_back(Output::Replaced);
            }
        }
    }

    /// Tells whoever proposed it what became of a proposal.
    fn settle(&mut self, id: ProposalId, applied: &Applied) {
        for part in &mut self.parts {
            part.in_flight = part.in_flight.filter(|waiting| *waiting != id);
        }
        self.dispatcher_in_flight = self.dispatcher_in_flight.filter(|waiting| *waiting != id);
        self.roles_in_flight = self.roles_in_flight.filter(|waiting| *waiting != id);
        self.turns.settled(id);
        if let Some((request, pending)) = self.requests.remove(&id) {
            let answer = match (applied.refused.first(), pending) {
                (Some((_, refused)), Pending::Control { request, .. }) => Err(control_api::refusal(&request, refused)),
                (Some((_, refused)), Pending::Write) => {
                    Err(ControlError::new(ControlErrorKind::Internal, refused.to_string()))
                }
                (None, Pending::Control { response, .. }) => Ok(Answer::Control(response)),
                (None, Pending::Write) => Ok(Answer::Written),
            };
            self.answer(request, answer);
        }
    }

    /// Notices that leadership was lost or changed hands.
    fn follow_leadership(&mut self) {
        if self.leading.is_some_and(|term| !self.consensus.is_leader() || self.consensus.term() != term) {
            self.leading = None;
            // The proposals may or may not be in the log; only the next leader will know.
            for (request, _) in std::mem::take(&mut self.requests).into_values() {
                self.answer(request, Err(lost_leadership()));
            }
            for request in self.member_changes.clear() {
                self.answer(request, Err(lost_leadership()));
            }
            for request in self.turns.clear() {
                self.answer(request, Err(not_leader()));
            }
        }
        let now = (self.leader().cloned(), self.leading.is_some());
        if self.announced.as_ref() != Some(&now) {
            self.announced = Some(now.clone());
            if !now.1 {
                self.dispatcher.stop(now.0.clone());
            }
            self.outputs.push_back(Output::Leader { leader: now.0, this: now.1 });
        }
    }

    /// Asks every component that has nothing in flight for its next changes. True when something was proposed.
    fn drive(&mut self, now: Timestamp) -> Result<bool, ConsensusError> {
        if self.leading.is_none() {
            return Ok(false);
        }
        let mut proposed = self.take_turns(now);
        for place in 0..self.parts.len() {
            let part = &mut self.parts[place];
            if part.in_flight.is_none() {
                let actions = part.component.poll_actions(now, &self.store);
                if !actions.is_empty() {
                    let id = self.propose(now, actions, false);
                    self.parts[place].in_flight = id;
                    proposed |= id.is_some();
                }
            }
        }
        if self.dispatcher_in_flight.is_none() {
            let actions = self.dispatcher.poll_actions(now, &self.store);
            if !actions.is_empty() {
                self.dispatcher_in_flight = self.propose(now, actions, false);
                proposed |= self.dispatcher_in_flight.is_some();
            }
        }
        proposed |= self.reconcile_roles(now)?;
        proposed |= self.member_changes.drive(&mut self.consensus, &mut self.next_serial, &mut self.outputs)?;
        Ok(proposed)
    }
}

fn not_leader() -> ControlError {
    ControlError::new(ControlErrorKind::Unavailable, NO_LEADER)
}

fn lost_leadership() -> ControlError {
    let message = "rpc error: code = Unavailable desc = leadership changed while the request was under way; look whether it was done before repeating it";
    ControlError::new(ControlErrorKind::Unavailable, message)
}

/// Docker's words for a swarm that cannot decide anything.
pub const NO_LEADER: &str = "rpc error: code = Unknown desc = The swarm does not have a leader. It's possible that too few managers are online. Make sure more than half of the managers are online.";
