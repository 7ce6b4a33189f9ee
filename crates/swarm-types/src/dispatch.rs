//! What agents and the leader's dispatcher say to each other, over a connection that mutual TLS has authenticated.
//!
//! An agent opens a session by describing its node. From then on it receives what it should run, first all of it
//! ([`AssignmentsKind::Complete`]), then changes; it sends heartbeats and the statuses of its tasks. A message that
//! names another session than the current one is answered by [`DispatcherMessage::SessionInvalid`]: the agent then
//! opens a new one. What is not here: framing, encoding and retries.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::*;

/// From an agent to the dispatcher.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum AgentMessage {
    /// Opens a session (or describes the node anew within one).
    Session {
        /// The session to go on with, if any.
        session: Option<SessionId>,
        /// The node as it is.
        description: Box<NodeDescription>,
    },
    /// The node lives.
    Heartbeat {
        /// The session.
        session: SessionId,
    },
    /// What was observed of tasks.
    TaskStatuses {
        /// The session.
        session: SessionId,
        /// The latest status of each.
        statuses: Vec<(TaskId, TaskStatus)>,
    },
    /// The node leaves for good.
    Leave {
        /// The session.
        session: SessionId,
    },
}

/// From the dispatcher to an agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum DispatcherMessage {
    /// The session is open, or one of these facts changed.
    Session {
        /// The session.
        session: SessionId,
        /// The node as the managers have it (its desired role, availability, labels).
        node: Box<Node>,
        /// The managers to turn to, with their addresses.
        managers: Vec<ManagerPeer>,
        /// Keys of the nodes' networks.
        network_keys: Vec<EncryptionKey>,
        /// The UDP port of the swarm's VXLAN packets; 0: the default, 4789.
        #[serde(default)]
        data_path_port: u32,
        /// Send a heartbeat at least this often; the node counts as down after three periods of silence.
        heartbeat_period: Duration,
        /// The root certificates to trust, in PEM.
        trust_root: String,
    },
    /// A heartbeat was heard; the period may have changed.
    HeartbeatAck {
        /// As in `Session`.
        heartbeat_period: Duration,
    },
    /// Task statuses up to here are in the store.
    StatusesStored {
        /// The tasks and states that were stored.
        tasks: Vec<(TaskId, TaskState)>,
    },
    /// What to run.
    Assignments(Assignments),
    /// Not the current session, or not the leader: begin anew.
    SessionInvalid {
        /// Why, for people.
        reason: String,
        /// Who leads, if known.
        leader: Option<ManagerPeer>,
    },
}

/// A manager that nodes can turn to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ManagerPeer {
    /// Its node.
    pub node_id: NodeId,
    /// Its address, `ip:2377`.
    pub addr: String,
}

/// Whether a set of assignments is all or a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AssignmentsKind {
    /// All that the node has: what is not in it goes.
    Complete,
    /// Changes against the set numbered `applies_to`.
    Incremental {
        /// That number.
        applies_to: u64,
    },
}

/// What a node should run, with what its tasks need, and only that.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Assignments {
    /// All or a change.
    pub kind: AssignmentsKind,
    /// The number of the set that results; starts anew with each session.
    pub results_in: u64,
    /// The changes: dependencies before the tasks that need them, tasks removed before what they needed.
    pub changes: Vec<AssignmentChange>,
}

/// One change to what a node has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum AssignmentChange {
    /// New or changed.
    Update(Assignment),
    /// No longer needed.
    Remove(ObjectId),
}

/// Something that a node has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Assignment {
    /// A task to drive to its desired state.
    Task(Box<Task>),
    /// A network that a task or the node itself is attached to.
    Network(Box<Network>),
    /// A secret that a task reads.
    Secret(Box<Secret>),
    /// A config that a task reads.
    Config(Box<Config>),
}
