//! Nodes: what the operator wants of one, what it says of itself, and what the managers observe.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::*;

/// A node's role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub enum NodeRole {
    /// Runs tasks.
    #[default]
    Worker,
    /// Runs tasks and is a voter of the managers' raft group.
    Manager,
}

/// Whether the operator lets tasks run on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum NodeAvailability {
    /// Takes new tasks.
    #[default]
    Active,
    /// Keeps its tasks, takes no new ones.
    Pause,
    /// Its tasks move elsewhere, takes no new ones.
    Drain,
}

/// Whether a node belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum NodeMembership {
    /// Waiting for the operator.
    Pending,
    /// A member.
    #[default]
    Accepted,
}

/// What the operator wants of a node.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NodeSpec {
    /// Name (usually empty: the hostname serves) and labels.
    pub annotations: Annotations,
    /// The role it should have.
    pub desired_role: NodeRole,
    /// Whether it belongs.
    pub membership: NodeMembership,
    /// Whether tasks may run there.
    pub availability: NodeAvailability,
}

/// Whether the managers hear from a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub enum NodeState {
    /// Not heard from since this leader began.
    #[default]
    Unknown,
    /// Its heartbeats stopped.
    Down,
    /// It has a session and sends heartbeats.
    Ready,
    /// It left for good.
    Disconnected,
}

/// What the managers observe of a node.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Whether they hear from it.
    pub state: NodeState,
    /// Why, for people.
    pub message: String,
    /// The address that it is reached at.
    pub addr: String,
}

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NodeDescription {
    /// Its host name.
    pub hostname: String,
    /// `linux`.
    pub os: String,
    /// `x86_64`, `aarch64`.
    pub architecture: String,
    /// What it offers.
    pub resources: Resources,
    /// The engine's version.
    pub engine_version: String,
    /// The engine's labels.
    pub engine_labels: Labels,
    /// Plugins as (kind, name): `("Network", "overlay")`.
    pub plugins: Vec<(String, String)>,
    /// The root certificate that it trusts, and its certificate's issuer.
    pub tls: NodeTlsInfo,
}

/// The certificates that a node uses.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NodeTlsInfo {
    /// The root in PEM.
    pub trust_root: String,
    /// The issuer's subject in DER.
    pub cert_issuer_subject: Vec<u8>,
    /// The issuer's public key in DER.
    pub cert_issuer_public_key: Vec<u8>,
}

/// Whether the other managers reach a manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Reachability {
    /// Not known.
    #[default]
    Unknown,
    /// No.
    Unreachable,
    /// Yes.
    Reachable,
}

/// A manager's place in the raft group. Membership itself (`raft_id`, `addr`) is stored; `leader` and
/// `reachability` are observed by the leader and filled in when a node is read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ManagerStatus {
    /// Its id in the raft group.
    pub raft_id: u64,
    /// Its address for other nodes, `ip:2377`.
    pub addr: String,
    /// Whether it leads.
    pub leader: bool,
    /// Whether it is reached.
    pub reachability: Reachability,
}

/// A node's certificate as the managers know it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NodeCertificate {
    /// The role it was issued for.
    pub role: NodeRole,
    /// When it ends.
    pub not_after: Timestamp,
    /// SHA-256 of the node's public key, in hex.
    pub public_key_digest: String,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its id, also its certificate's common name.
    pub id: NodeId,
    /// Set by the store.
    pub meta: Meta,
    /// What the operator wants.
    pub spec: NodeSpec,
    /// The role that it really has; follows `spec.desired_role` with its next certificate.
    pub role: NodeRole,
    /// What it says of itself, once it has had a session.
    pub description: Option<NodeDescription>,
    /// What the managers observe.
    pub status: NodeStatus,
    /// Its place in the raft group, for managers.
    pub manager_status: Option<ManagerStatus>,
    /// Its certificate.
    pub certificate: NodeCertificate,
    /// Its own attachments: an address on the ingress network and on each overlay network that a task of the node is
    /// attached to, from which connections to virtual addresses go on to their tasks.
    #[serde(default)]
    pub attachments: BTreeMap<NetworkId, NetworkAttachment>,
}

impl Node {
    /// The name that people see: the spec's, else the host name, else the id.
    pub fn display_name(&self) -> String {
        if !self.spec.annotations.name.is_empty() {
            return self.spec.annotations.name.clone();
        }
        match &self.description {
            Some(d) if !d.hostname.is_empty() => d.hostname.clone(),
            _ => self.id.to_string(),
        }
    }
}
