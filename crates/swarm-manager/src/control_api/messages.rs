//! What the Docker API's routes ask of the managers, and what they get.
//!
//! A manager that does not lead forwards a request to the leader as it is, so everything here can be serialised.
//! Objects are named by what the user typed (`name`, full id or unambiguous id prefix); resolving is done here.

use serde::{Deserialize, Serialize};
use swarm_types::*;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ControlRequest {
    /// The swarm. Reads.
    GetCluster,
    /// New settings, and rotation of tokens and keys.
    UpdateCluster {
        /// The version that was read.
        version: Version,
        /// The new settings.
        spec: Box<ClusterSpec>,
        /// What to rotate.
        rotate: Rotate,
        /// Fresh secrets for what is rotated, drawn by the node that was asked: worker token's secret part, manager
        /// token's secret part, unlock key.
        fresh: Option<FreshSecrets>,
    },
    /// The unlock key. Reads.
    GetUnlockKey,
    /// Nodes by filters. Reads.
    ListNodes(NodeFilters),
    /// One node. Reads.
    GetNode(String),
    /// A new spec for a node.
    UpdateNode {
        /// Id or name.
        node: String,
        /// The version that was read.
        version: Version,
        /// The new spec.
        spec: NodeSpec,
    },
    /// Forgets a node.
    RemoveNode {
        /// Id or name.
        node: String,
        /// Although it is not down.
        force: bool,
    },
    /// Services by filters. Reads.
    ListServices(ServiceFilters),
    /// One service. Reads.
    GetService(String),
    /// A new service.
    CreateService(Box<ServiceSpec>),
    /// A new spec for a service.
    UpdateService {
        /// Id or name.
        service: String,
        /// The version that was read.
        version: Version,
        /// The new spec; ignored with `rollback`.
        spec: Box<ServiceSpec>,
        /// Go back to the previous spec.
        rollback: bool,
    },
    /// Removes a service and its tasks.
    RemoveService(String),
    /// Tasks by filters. Reads.
    ListTasks(TaskFilters),
    /// One task. Reads.
    GetTask(String),
    /// Networks by filters. Reads.
    ListNetworks(ObjectFilters),
    /// One network. Reads.
    GetNetwork(String),
    /// A new network.
    CreateNetwork(Box<NetworkSpec>),
    /// Removes a network that no task uses.
    RemoveNetwork(String),
    /// Attaches a container that a node runs for its own user to a network. Answered by `Created` with the id of the
    /// task that stands for the attachment; its addresses come to the node with that task. Asked again for the same
    /// container and network, it answers the same id. Nodes may ask for themselves, workers too.
    AttachNetwork {
        /// The container's node.
        node: NodeId,
        /// Id or name.
        network: String,
        /// The container's id, 64 hex digits.
        container_id: String,
        /// Addresses asked for, without prefix length; empty: any.
        addresses: Vec<String>,
    },
    /// Ends an attachment and frees its addresses.
    DetachNetwork {
        /// The container's node.
        node: NodeId,
        /// The id that `AttachNetwork` was answered with.
        attachment: TaskId,
    },
    /// Secrets by filters; values are left out. Reads.
    ListSecrets(ObjectFilters),
    /// One secret; its value is left out. Reads.
    GetSecret(String),
    /// A new secret.
    CreateSecret(Box<SecretSpec>),
    /// New labels for a secret.
    UpdateSecret {
        /// Id or name.
        secret: String,
        /// The version that was read.
        version: Version,
        /// The new spec; only labels may differ.
        spec: Box<SecretSpec>,
    },
    /// Removes a secret that no service uses.
    RemoveSecret(String),
    /// Configs by filters. Reads.
    ListConfigs(ObjectFilters),
    /// One config. Reads.
    GetConfig(String),
    /// A new config.
    CreateConfig(Box<ConfigSpec>),
    /// New labels for a config.
    UpdateConfig {
        /// Id or name.
        config: String,
        /// The version that was read.
        version: Version,
        /// The new spec; only labels may differ.
        spec: Box<ConfigSpec>,
    },
    /// Removes a config that no service uses.
    RemoveConfig(String),
}

impl ControlRequest {
    /// The node that the request is about, where a node may ask it of the managers for itself.
    pub fn own_node(&self) -> Option<NodeId> {
        match self {
            Self::AttachNetwork { node, .. } | Self::DetachNetwork { node, .. } => Some(*node),
            _ => None,
        }
    }

    /// Whether the request changes nothing.
    pub fn is_read(&self) -> bool {
        matches!(
            self,
            Self::GetCluster
                | Self::GetUnlockKey
                | Self::ListNodes(_)
                | Self::GetNode(_)
                | Self::ListServices(_)
                | Self::GetService(_)
                | Self::ListTasks(_)
                | Self::GetTask(_)
                | Self::ListNetworks(_)
                | Self::GetNetwork(_)
                | Self::ListSecrets(_)
                | Self::GetSecret(_)
                | Self::ListConfigs(_)
                | Self::GetConfig(_)
        )
    }
}

/// What an update of the swarm rotates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Rotate {
    /// The workers' join token.
    pub worker_token: bool,
    /// The managers' join token.
    pub manager_token: bool,
    /// The managers' unlock key.
    pub unlock_key: bool,
}

/// Randomness from a cryptographic source, drawn at the edge.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FreshSecrets {
    /// The secret part of a workers' token: 25 base-36 digits.
    pub worker_token: SecretString,
    /// The secret part of a managers' token.
    pub manager_token: SecretString,
    /// 32 bytes.
    pub unlock_key: SecretBytes,
}

/// Which nodes; every non-empty list must have a match. Names and ids match by prefix, as Docker's do.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NodeFilters {
    /// Id prefixes.
    pub ids: Vec<String>,
    /// Name prefixes (host name).
    pub names: Vec<String>,
    /// `key` or `key=value` of engine labels.
    pub engine_labels: Vec<String>,
    /// `key` or `key=value` of the spec's labels.
    pub node_labels: Vec<String>,
    /// Roles.
    pub roles: Vec<NodeRole>,
    /// Membership.
    pub memberships: Vec<NodeMembership>,
}

/// Which services.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ServiceFilters {
    /// Id prefixes.
    pub ids: Vec<String>,
    /// Name prefixes.
    pub names: Vec<String>,
    /// `key` or `key=value`.
    pub labels: Vec<String>,
    /// `replicated`, `global`, `replicated-job`, `global-job`.
    pub modes: Vec<String>,
    /// Container runtimes (`container`, `plugin`).
    pub runtimes: Vec<String>,
}

/// Which tasks.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TaskFilters {
    /// Id prefixes.
    pub ids: Vec<String>,
    /// Name prefixes.
    pub names: Vec<String>,
    /// `key` or `key=value` of the task's container labels.
    pub labels: Vec<String>,
    /// Services, by name or id.
    pub services: Vec<String>,
    /// Nodes, by name or id.
    pub nodes: Vec<String>,
    /// Desired states: `running`, `shutdown`, `accepted`.
    pub desired_states: Vec<String>,
}

/// Which networks, secrets or configs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ObjectFilters {
    /// Id prefixes.
    pub ids: Vec<String>,
    /// Name prefixes.
    pub names: Vec<String>,
    /// `key` or `key=value`.
    pub labels: Vec<String>,
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ControlResponse {
    /// Done, nothing to say.
    Done,
    /// The object, as asked for.
    Object(Object),
    /// The objects, in the order of their ids.
    Objects(Vec<Object>),
    /// A new object's id, and warnings for the user.
    Created {
        /// The id.
        id: ObjectId,
        /// Warnings.
        warnings: Vec<String>,
    },
    /// The unlock key, empty when managers are not locked.
    UnlockKey(SecretBytes),
}

/// Why a request was refused, with Docker's words. [`ControlErrorKind`] decides the HTTP status.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ControlError {
    /// What kind.
    pub kind: ControlErrorKind,
    /// The message as Docker prints it, with swarmkit's `rpc error: code = ... desc = ` where Docker has it.
    pub message: String,
}

/// Kinds of refusals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ControlErrorKind {
    /// 400: the request is wrong.
    InvalidArgument,
    /// 404: no such object.
    NotFound,
    /// 409: the name is taken.
    AlreadyExists,
    /// 403: not for this one to ask, or not with this object.
    PermissionDenied,
    /// 400 or 500 as Docker has it: the state forbids it (`FailedPrecondition`).
    FailedPrecondition,
    /// 500: the object changed since it was read (`update out of sequence`).
    OutOfSequence,
    /// 503: no leader, no quorum.
    Unavailable,
    /// 501: not supported here.
    Unimplemented,
    /// 500.
    Internal,
}

impl ControlError {
    /// An error of a kind.
    pub fn new(kind: ControlErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
}
