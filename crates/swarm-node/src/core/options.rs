//! What the Docker API's swarm routes hand in, and what `docker info` says of the swarm.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use swarm_manager::store::Event;
use swarm_types::{
    Cluster, ClusterSpec, ManagerPeer, NodeAvailability, NodeId, SecretString, ServiceId, TaskId, Timestamp,
};

use crate::runner::LogOptions;

/// `docker swarm init`.
#[derive(Debug, Clone, PartialEq)]
pub struct InitOptions {
    /// `ip`, `ip:port`, `interface` or `interface:port`; empty: found out.
    pub advertise_addr: String,
    /// As above; empty: `0.0.0.0:2377`.
    pub listen_addr: String,
    /// Make this node's state the swarm's, with this node as its only manager.
    pub force_new_cluster: bool,
    /// The swarm's settings.
    pub spec: ClusterSpec,
    /// Whether tasks may run here.
    pub availability: NodeAvailability,
    /// Pools for networks' subnets in CIDR form; empty: `10.0.0.0/8`.
    pub default_addr_pool: Vec<String>,
    /// Prefix length of networks' subnets; 0: 24.
    pub subnet_size: u32,
    /// The VXLAN port; 0: 4789.
    pub data_path_port: u32,
    /// `ip` or `interface` for the networks' packets; empty: the advertised address.
    pub data_path_addr: String,
    /// Managers need the unlock key after a restart.
    pub auto_lock: bool,
}

/// `docker swarm join`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinOptions {
    /// Managers to turn to, as `ip` or `ip:port`.
    pub remote_addrs: Vec<String>,
    /// The join token.
    pub token: SecretString,
    /// As in [`InitOptions`].
    pub advertise_addr: String,
    /// As in [`InitOptions`].
    pub listen_addr: String,
    /// As in [`InitOptions`].
    pub data_path_addr: String,
    /// Whether tasks may run here.
    pub availability: NodeAvailability,
}

/// Where a node stands with its swarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LocalNodeState {
    /// In no swarm.
    #[default]
    Inactive,
    /// Joining.
    Pending,
    /// A member.
    Active,
    /// A member that cannot work; `error` says why.
    Error,
    /// A manager that waits for the unlock key.
    Locked,
}

impl LocalNodeState {
    /// The state as the Docker API writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Error => "error",
            Self::Locked => "locked",
        }
    }
}

/// The swarm's section of `docker info`.
#[derive(Debug, Clone, Default)]
pub struct SwarmInfo {
    /// Where the node stands.
    pub state: LocalNodeState,
    /// The node's id.
    pub node_id: Option<NodeId>,
    /// The address that other nodes reach it at.
    pub node_addr: String,
    /// Whether it is a manager that reaches a leader.
    pub control_available: bool,
    /// Why `state` is `Error`.
    pub error: String,
    /// The managers that it knows.
    pub remote_managers: Vec<ManagerPeer>,
    /// How many nodes; managers only.
    pub nodes: u64,
    /// How many managers; managers only.
    pub managers: u64,
    /// The swarm; managers only. Holds keys and tokens: not to be shown as it is.
    pub cluster: Option<Arc<Cluster>>,
}

/// A change of the store that this manager applied.
#[derive(Debug, Clone)]
pub struct SwarmEvent {
    /// When it was applied here.
    pub time: Timestamp,
    /// The change.
    pub event: Arc<Event>,
}

/// Which tasks' logs: of these tasks and of all tasks of these services, ones to come included when following.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LogRequest {
    /// Tasks.
    pub tasks: Vec<TaskId>,
    /// Services.
    pub services: Vec<ServiceId>,
    /// Which part.
    pub options: LogOptions,
}
