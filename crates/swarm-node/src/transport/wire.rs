//! The messages between nodes.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use swarm_manager::control_api::{ControlError, ControlRequest, ControlResponse};
use swarm_types::{DispatcherMessage, ManagerPeer, NodeAvailability, NodeId, NodeRole, SecretString};

use crate::ca::Peer;
use crate::core::LogRequest;
use crate::runner::TaskLogRequest;

/// The protocol's version; both sides must speak the same.
pub const VERSION: u32 = 1;

/// Requests are passed on to the leader at most so often: more means that two managers take each other for it.
pub const MAX_HOPS: u8 = 2;

/// The first message of a connection.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Hello {
    /// [`VERSION`].
    pub version: u32,
    /// How often the request was passed on.
    pub hops: u8,
    /// What the connection is for.
    pub request: Request,
}

/// What a connection is for, and so what follows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Request {
    /// The root certificate in PEM. Answer: `Answer<String>`.
    Root,
    /// A certificate. Answer: `Answer<Issued>`.
    Issue(Box<IssueRequest>),
    /// A place in the raft group, for a manager that listens already. Answer: `Answer<Joined>`.
    JoinGroup {
        /// Where it listens.
        addr: String,
        /// Whose behalf a manager asks on; `None`: its own.
        node: Option<NodeId>,
    },
    /// Raft messages from here on, one frame each; no answers.
    Raft,
    /// A user's request. Answer: `Answer<ControlResponse>`.
    Control(Box<ControlRequest>),
    /// An agent's session. Answer: `Answer<()>`, then `AgentMessage`s there, [`ManagerFrame`]s back.
    Session,
    /// Output of tasks. Answer: `Answer<()>`, then `Vec<LogMessage>`s until the end.
    Logs(Box<LogRequest>),
    /// The output that [`ManagerFrame::LogOpen`] asked for: `Vec<LogMessage>`s from the agent; no answer.
    LogStream {
        /// The stream's name.
        stream: u64,
    },
}

/// What a request is answered with.
pub type Answer<T> = Result<T, ControlError>;
/// The answer to [`Request::Control`].
pub type ControlAnswer = Answer<ControlResponse>;

/// A request for a certificate.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct IssueRequest {
    /// PKCS#10 in DER.
    pub request: Vec<u8>,
    /// The join token of a new node; without one a node of the swarm renews its certificate.
    pub token: Option<SecretString>,
    /// For a new node: whether tasks may run there.
    pub availability: NodeAvailability,
    /// Whose behalf a manager passes a renewal on; `None`: its own.
    pub node: Option<NodeId>,
}

/// A certificate.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Issued {
    /// The node that it is for.
    pub node: NodeId,
    /// The role that it is for.
    pub role: NodeRole,
    /// The certificate in PEM.
    pub certificate: String,
    /// The root in PEM.
    pub root: String,
    /// The managers.
    pub managers: Vec<ManagerPeer>,
}

/// A place in the raft group.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Joined {
    /// The new member's raft id.
    pub raft_id: u64,
    /// All members.
    pub members: BTreeMap<u64, ManagerPeer>,
    /// The swarm's raft settings.
    pub raft: swarm_types::RaftSpec,
}

/// To an agent within a session.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum ManagerFrame {
    /// From the dispatcher.
    Dispatcher(DispatcherMessage),
    /// Send a task's output over a connection of its own ([`Request::LogStream`]), so that a slow reader holds up
    /// nothing else.
    LogOpen {
        /// The stream's name.
        stream: u64,
        /// Which output.
        request: TaskLogRequest,
    },
}

impl Request {
    /// Whether a client with this certificate may ask this.
    pub fn allowed(&self, peer: Option<&Peer>) -> bool {
        let manager = peer.is_some_and(|peer| peer.role == NodeRole::Manager);
        match self {
            Self::Root => true,
            Self::Issue(issue) => match (&issue.token, issue.node) {
                (Some(_), None) => true,
                (Some(_), Some(_)) => false,
                (None, None) => peer.is_some(),
                (None, Some(_)) => manager,
            },
            Self::Session | Self::LogStream { .. } => peer.is_some(),
            // Any node for itself; managers for the nodes whose requests they pass on.
            Self::Control(request) if request.own_node().is_some() => {
                manager || peer.is_some_and(|peer| request.own_node() == Some(peer.node))
            }
            Self::JoinGroup { .. } | Self::Raft | Self::Control(_) | Self::Logs(_) => manager,
        }
    }

    /// A name for messages and logs; contains nothing secret.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Root => "root certificate",
            Self::Issue(_) => "certificate",
            Self::JoinGroup { .. } => "raft membership",
            Self::Raft => "raft",
            Self::Control(_) => "control",
            Self::Session => "session",
            Self::Logs(_) | Self::LogStream { .. } => "logs",
        }
    }
}
