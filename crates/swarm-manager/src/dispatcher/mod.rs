//! The leader's side of the agents: who is there, what each should run, what each observed.
//!
//! Agents' messages come in by [`Dispatcher::handle_agent`], answers and assignments leave by
//! [`Dispatcher::poll_message`]. Everything that the agents say becomes store actions; nothing that they say is
//! trusted beyond what mutual TLS proved: a node reports on its own tasks only, and only forwards.
//!
//! A node in session is READY; after three heartbeat periods of silence it is DOWN. A new leader knows no sessions: it
//! marks the nodes that it finds UNKNOWN and gives them twice as long to turn up. The tasks of a node that stays down
//! for a day are given up as ORPHANED.
//!
//! Left out: connections and encoding, and what the orchestrators do about nodes that are down.

mod assignment;
mod deadlines;
mod session;
mod statuses;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use swarm_types::*;

use crate::component::{Component, MAX_ACTIONS};
use crate::store::{Event, Store, StoreAction};
use assignment::concerns_agent;
use deadlines::{Deadlines, Watch};
use session::{RateLimit, Session};
use statuses::Statuses;

/// A node in session is down after so many heartbeat periods of silence.
const SILENT_PERIODS: u32 = 3;
/// After a change of leader a node has so many periods to turn up.
const UNKNOWN_PERIODS: u32 = 2 * SILENT_PERIODS;
/// The tasks of a node that is down for so long are given up. A day lets an operator find and mend a machine; until
/// then its tasks may in truth still run, so their volumes and addresses are not given to others.
const ORPHAN_AFTER: Duration = Duration::from_secs(24 * 3600);

/// Which agent speaks, as its certificate and connection prove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its node.
    pub node_id: NodeId,
    /// The role in its certificate.
    pub role: NodeRole,
    /// The address that it connects from, without port; empty if unknown.
    pub addr: String,
}

/// The dispatcher. See the module.
#[derive(Debug)]
pub struct Dispatcher {
    leading: bool,
    leader: Option<ManagerPeer>,
    ids: IdSource,
    sessions: BTreeMap<NodeId, Session>,
    deadlines: Deadlines,
    rate_limit: RateLimit,
    /// Node statuses and descriptions to be stored, until the store has them.
    node_statuses: BTreeMap<NodeId, NodeStatus>,
    descriptions: BTreeMap<NodeId, NodeDescription>,
    statuses: Statuses,
    /// Nodes whose down time is over.
    orphaned: BTreeSet<NodeId>,
    managers: Vec<ManagerPeer>,
    /// Nodes that a set of assignments is due to.
    dirty: BTreeSet<NodeId>,
    /// When that became known.
    dirty_since: Option<Timestamp>,
    messages: VecDeque<(NodeId, DispatcherMessage)>,
}

impl Dispatcher {
    /// A dispatcher that leads nothing yet; `ids` draws session ids.
    pub fn new(ids: IdSource) -> Self {
        Self {
            leading: false,
            leader: None,
            ids,
            sessions: BTreeMap::new(),
            deadlines: Deadlines::default(),
            rate_limit: RateLimit::default(),
            node_statuses: BTreeMap::new(),
            descriptions: BTreeMap::new(),
            statuses: Statuses::default(),
            orphaned: BTreeSet::new(),
            managers: Vec::new(),
            dirty: BTreeSet::new(),
            dirty_since: None,
            messages: VecDeque::new(),
        }
    }

    /// Another manager leads now, or nobody known does: ends all sessions and sends agents there.
    pub fn stop(&mut self, leader: Option<ManagerPeer>) {
        self.leading = false;
        self.leader = leader;
        for node in std::mem::take(&mut self.sessions).into_keys() {
            self.refuse(node, "this manager no longer leads the swarm");
        }
        self.forget_all();
    }

    /// An agent said something. On a manager that does not lead, the answer names the leader.
    pub fn handle_agent(&mut self, now: Timestamp, from: &Peer, message: AgentMessage, store: &Store) {
        let node = from.node_id;
        if !self.leading {
            return self.refuse(node, "this manager does not lead the swarm");
        }
        let Some(known) = store.nodes().get(node) else {
            return self.refuse(node, "node is not part of the swarm");
        };
        if known.spec.membership != NodeMembership::Accepted {
            return self.refuse(node, "node is not accepted into the swarm yet");
        }
        let named = match &message {
            AgentMessage::Session { session, description } => {
                return self.open(now, from, *session, description, store);
            }
            AgentMessage::Heartbeat { session }
            | AgentMessage::TaskStatuses { session, .. }
            | AgentMessage::Leave { session } => *session,
        };
        if self.sessions.get(&node).is_none_or(|session| session.id != named) {
            return self.refuse(node, "session is not the current one");
        }
        let period = heartbeat_period(store);
        self.deadlines.set(node, now.plus(period * SILENT_PERIODS), Watch::Session);
        match message {
            AgentMessage::Session { .. } => {}
            AgentMessage::Heartbeat { .. } => {
                self.send(node, DispatcherMessage::HeartbeatAck { heartbeat_period: period })
            }
            AgentMessage::TaskStatuses { statuses, .. } => {
                let settled = self.statuses.take_in(node, statuses, store);
                self.acknowledge(settled);
            }
            AgentMessage::Leave { .. } => self.down(now, node, "node left the swarm", store),
        }
    }

    /// The next message for an agent.
    pub fn poll_message(&mut self) -> Option<(NodeId, DispatcherMessage)> {
        self.messages.pop_front()
    }

    /// How many agents are in session.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Nodes that the former leader had in session and that may still turn up: they know the managers as that leader told
    /// them.
    pub fn awaited(&self) -> impl Iterator<Item = NodeId> {
        self.deadlines.watched(Watch::Unknown)
    }

    fn open(
        &mut self,
        now: Timestamp,
        from: &Peer,
        session: Option<SessionId>,
        description: &NodeDescription,
        store: &Store,
    ) {
        let node = from.node_id;
        let current = self.sessions.get(&node).map(|session| session.id);
        if current.is_none() || current != session {
            if !self.rate_limit.admit(now, node) {
                return self.refuse(node, "node opens sessions too often, try again later");
            }
            let id = self.ids.id();
            self.sessions.insert(node, Session::new(id));
        } else if let Some(session) = self.sessions.get_mut(&node) {
            // The agent may have come over a new connection and lost what the old one carried: send all again.
            session.sent = assignment::Sent::default();
            session.dirty.clear();
        }
        self.deadlines.set(node, now.plus(heartbeat_period(store) * SILENT_PERIODS), Watch::Session);
        self.orphaned.remove(&node);
        let addr = match (from.addr.is_empty(), store.nodes().get(node)) {
            (true, Some(known)) => known.status.addr.clone(),
            _ => from.addr.clone(),
        };
        self.node_statuses.insert(node, NodeStatus { state: NodeState::Ready, message: String::new(), addr });
        self.descriptions.insert(node, description.clone());
        self.send_facts(node, store);
        if let Some(session) = self.sessions.get_mut(&node) {
            let set = session.sent.complete(node, store);
            self.send(node, DispatcherMessage::Assignments(set));
        }
    }

    fn send_facts(&mut self, node: NodeId, store: &Store) {
        let (Some(session), Some(known)) = (self.sessions.get(&node), store.nodes().get(node)) else { return };
        let message = DispatcherMessage::Session {
            session: session.id,
            node: Box::new(Node::clone(known)),
            managers: self.managers.clone(),
            network_keys: store.cluster().map(|c| c.network_keys.clone()).unwrap_or_default(),
            data_path_port: store.cluster().map_or(0, |c| c.data_path_port),
            heartbeat_period: heartbeat_period(store),
            trust_root: store.cluster().map(|c| c.root_ca.certificate.clone()).unwrap_or_default(),
        };
        self.send(node, message);
    }

    fn send_facts_to_all(&mut self, store: &Store) {
        let nodes: Vec<NodeId> = self.sessions.keys().copied().collect();
        for node in nodes {
            self.send_facts(node, store);
        }
    }

    fn send(&mut self, node: NodeId, message: DispatcherMessage) {
        self.messages.push_back((node, message));
    }

    fn refuse(&mut self, node: NodeId, reason: &str) {
        let message = DispatcherMessage::SessionInvalid { reason: reason.to_owned(), leader: self.leader.clone() };
        self.send(node, message);
    }

    fn acknowledge(&mut self, settled: Vec<(NodeId, TaskId, TaskState)>) {
        let mut by_node: BTreeMap<NodeId, Vec<(TaskId, TaskState)>> = BTreeMap::new();
        for (node, task, state) in settled {
            by_node.entry(node).or_default().push((task, state));
        }
        for (node, tasks) in by_node {
            if self.sessions.contains_key(&node) {
                self.send(node, DispatcherMessage::StatusesStored { tasks });
            }
        }
    }

    fn down(&mut self, now: Timestamp, node: NodeId, message: &str, store: &Store) {
        self.sessions.remove(&node);
        self.dirty.remove(&node);
        let addr = store.nodes().get(node).map(|n| n.status.addr.clone()).unwrap_or_default();
        self.node_statuses.insert(node, NodeStatus { state: NodeState::Down, message: message.to_owned(), addr });
        self.deadlines.set(node, now.plus(ORPHAN_AFTER), Watch::Down);
    }

    fn forget_all(&mut self) {
        self.sessions.clear();
        self.deadlines = Deadlines::default();
        self.rate_limit = RateLimit::default();
        self.node_statuses.clear();
        self.descriptions.clear();
        self.statuses = Statuses::default();
        self.orphaned.clear();
        self.dirty.clear();
        self.dirty_since = None;
    }

    fn mark(&mut self, now: Timestamp, node: NodeId, task: TaskId) {
        if let Some(session) = self.sessions.get_mut(&node) {
            session.dirty.insert(task);
            self.dirty.insert(node);
            self.dirty_since.get_or_insert(now);
        }
    }

    fn task_event(&mut self, now: Timestamp, event: &Event) {
        match event {
            Event::Updated { old: Object::Task(old), new: Object::Task(new) } if concerns_agent(old, new) => {
                for node in [old.node_id, new.node_id].into_iter().flatten() {
                    self.mark(now, node, new.id);
                }
            }
            Event::Created(Object::Task(task)) | Event::Removed(Object::Task(task)) => {
                if let Some(node) = task.node_id {
                    self.mark(now, node, task.id);
                }
            }
            _ => {}
        }
    }

    fn node_event(&mut self, now: Timestamp, event: &Event, store: &Store) {
        let managers_changed = match event {
            Event::Removed(Object::Node(node)) => {
                if self.sessions.remove(&node.id).is_some() {
                    self.refuse(node.id, "node was removed from the swarm");
                }
                self.deadlines.clear(node.id);
                self.rate_limit.forget(node.id);
                self.node_statuses.remove(&node.id);
                self.descriptions.remove(&node.id);
                self.orphaned.remove(&node.id);
                self.dirty.remove(&node.id);
                node.manager_status.is_some()
            }
            Event::Updated { old: Object::Node(old), new: Object::Node(new) } => {
                let attached = old.attachments != new.attachments;
                let placed = old.role != new.role || old.manager_status != new.manager_status;
                if old.spec != new.spec || placed || old.certificate != new.certificate || attached {
                    self.send_facts(new.id, store);
                }
                if attached && self.sessions.contains_key(&new.id) {
                    // The node's networks go with its attachments.
                    self.dirty.insert(new.id);
                    self.dirty_since.get_or_insert(now);
                }
                old.manager_status != new.manager_status
            }
            Event::Created(Object::Node(node)) => node.manager_status.is_some(),
            _ => false,
        };
        if managers_changed {
            let managers = managers(store);
            if managers != self.managers {
                self.managers = managers;
                self.send_facts_to_all(store);
            }
        }
    }

    /// Sends each node what became due to it.
    fn flush(&mut self, store: &Store) {
        self.dirty_since = None;
        for node in std::mem::take(&mut self.dirty) {
            let Some(session) = self.sessions.get_mut(&node) else { continue };
            let dirty = std::mem::take(&mut session.dirty);
            if let Some(set) = session.sent.incremental(node, &dirty, store) {
                self.send(node, DispatcherMessage::Assignments(set));
            }
        }
    }

    fn orphan_actions(&mut self, now: Timestamp, store: &Store, actions: &mut Vec<StoreAction>) {
        self.orphaned.retain(|node| {
            let given_up = |t: &&std::sync::Arc<Task>| {
                t.status.state >= TaskState::Assigned && t.status.state <= TaskState::Running
            };
            let before = actions.len();
            actions.extend(store.node_tasks(*node).filter(given_up).map(|task| StoreAction::SetTaskStatus {
                id: task.id,
                status: TaskStatus { state: TaskState::Orphaned, timestamp: now, ..task.status.clone() },
            }));
            actions.len() > before
        });
    }
}

impl Component for Dispatcher {
    fn name(&self) -> &'static str {
        "dispatcher"
    }

    fn start(&mut self, now: Timestamp, store: &Store) {
        self.forget_all();
        self.leading = true;
        self.leader = None;
        self.managers = managers(store);
        let grace = heartbeat_period(store) * UNKNOWN_PERIODS;
        for node in store.nodes().iter().filter(|n| n.spec.membership == NodeMembership::Accepted) {
            if node.status.state == NodeState::Down {
                self.deadlines.set(node.id, now.plus(ORPHAN_AFTER), Watch::Down);
                continue;
            }
            let message = "Node moved to \"unknown\" state due to leadership change in cluster".to_owned();
            let status = NodeStatus { state: NodeState::Unknown, message, addr: node.status.addr.clone() };
            self.node_statuses.insert(node.id, status);
            self.deadlines.set(node.id, now.plus(grace), Watch::Unknown);
        }
    }

    fn handle(&mut self, now: Timestamp, event: &Event, store: &Store) {
        if !self.leading {
            return;
        }
        match event.object() {
            Object::Task(_) => self.task_event(now, event),
            Object::Node(_) => self.node_event(now, event, store),
            Object::Cluster(new) => {
                if let Event::Updated { old: Object::Cluster(old), .. } = event
                    && (old.root_ca.certificate != new.root_ca.certificate
                        || old.network_keys != new.network_keys
                        || old.spec.heartbeat_period != new.spec.heartbeat_period)
                {
                    self.send_facts_to_all(store);
                }
            }
            Object::Network(_) | Object::Secret(_) | Object::Config(_) => {
                // Which nodes have it is cheap to find out, and such changes are rare.
                if !matches!(event, Event::Created(_)) {
                    self.dirty.extend(self.sessions.keys().copied());
                    self.dirty_since.get_or_insert(now);
                }
            }
            Object::Service(_) => {}
        }
    }

    fn tick(&mut self, now: Timestamp, store: &Store) {
        while let Some((node, watch)) = self.deadlines.pop_due(now) {
            match watch {
                Watch::Session => self.down(now, node, "heartbeat failure", store),
                Watch::Unknown => self.down(now, node, "heartbeat failure for node in \"unknown\" state", store),
                Watch::Down => drop(self.orphaned.insert(node)),
            }
        }
        if self.dirty_since.is_some() {
            self.flush(store);
        }
    }

    fn poll_actions(&mut self, now: Timestamp, store: &Store) -> Vec<StoreAction> {
        if !self.leading {
            return Vec::new();
        }
        let mut actions = Vec::new();
        // What the store has by now is done with; what it has not was dropped on the way and is proposed again.
        self.node_statuses.retain(|id, status| {
            let due = store.nodes().get(*id).is_some_and(|node| node.status != *status);
            if due {
                actions.push(StoreAction::SetNodeStatus { id: *id, status: status.clone() });
            }
            due
        });
        self.descriptions.retain(|id, description| {
            let due = store.nodes().get(*id).is_some_and(|node| node.description.as_ref() != Some(description));
            if due {
                actions.push(StoreAction::SetNodeDescription { id: *id, description: description.clone() });
            }
            due
        });
        let settled = self.statuses.settle(store);
        self.acknowledge(settled);
        actions.extend(self.statuses.actions(MAX_ACTIONS.saturating_sub(actions.len())));
        self.orphan_actions(now, store, &mut actions);
        actions.truncate(MAX_ACTIONS);
        if self.dirty_since.is_some() {
            self.flush(store);
        }
        actions
    }

    fn poll_timeout(&self) -> Option<Timestamp> {
        [self.dirty_since, self.deadlines.first()].into_iter().flatten().min()
    }
}

fn heartbeat_period(store: &Store) -> Duration {
    let default = Duration::from_secs(5);
    let period = store.cluster().map_or(default, |cluster| cluster.spec.heartbeat_period);
    if period.is_zero() { default } else { period }
}

/// The managers that agents may turn to.
fn managers(store: &Store) -> Vec<ManagerPeer> {
    let managers = store.nodes().iter().filter_map(|node| {
        let status = node.manager_status.as_ref()?;
        (!status.addr.is_empty()).then(|| ManagerPeer { node_id: node.id, addr: status.addr.clone() })
    });
    managers.collect()
}
