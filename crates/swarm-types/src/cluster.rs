//! The swarm itself: settings, certificate authority, join tokens.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::*;

/// What the operator sets for the swarm (`docker swarm update`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterSpec {
    /// Name (`default`) and labels.
    pub annotations: Annotations,
    /// How many old tasks to keep for each slot; Docker's default is 5. Negative: all.
    pub task_history_retention_limit: i64,
    /// Raft settings.
    pub raft: RaftSpec,
    /// How often agents send heartbeats; default 5 s.
    pub heartbeat_period: Duration,
    /// How long node certificates last; default 90 days, at least 1 hour.
    pub node_cert_expiry: Duration,
    /// Raised to force a new root.
    #[serde(default)]
    pub ca_force_rotate: u64,
    /// The log driver of tasks that name none.
    pub default_log_driver: Option<Driver>,
    /// Managers need the unlock key after a restart.
    pub auto_lock_managers: bool,
}

/// Raft settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RaftSpec {
    /// Log entries between snapshots; default 10 000.
    pub snapshot_interval: u64,
    /// Old snapshots kept beyond the current one; default 0.
    pub keep_old_snapshots: u64,
    /// Log entries kept behind a snapshot for slow followers; default 500.
    pub log_entries_for_slow_followers: u64,
    /// Ticks between heartbeats of the leader; default 1. One tick is one second.
    pub heartbeat_tick: u32,
    /// Ticks without the leader before an election; default 10.
    pub election_tick: u32,
}

impl Default for RaftSpec {
    fn default() -> Self {
        Self {
            snapshot_interval: 10_000,
            keep_old_snapshots: 0,
            log_entries_for_slow_followers: 500,
            heartbeat_tick: 1,
            election_tick: 10,
        }
    }
}

impl Default for ClusterSpec {
    fn default() -> Self {
        Self {
            annotations: Annotations::named("default"),
            task_history_retention_limit: 5,
            raft: RaftSpec::default(),
            heartbeat_period: Duration::from_secs(5),
            node_cert_expiry: Duration::from_secs(90 * 24 * 3600),
            ca_force_rotate: 0,
            default_log_driver: None,
            auto_lock_managers: false,
        }
    }
}

/// Join tokens, `SWMTKN-1-<digest of the root>-<secret>`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct JoinTokens {
    /// For workers.
    pub worker: SecretString,
    /// For managers.
    pub manager: SecretString,
}

/// The swarm's certificate authority.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RootCa {
    /// The private key in PEM.
    pub key: SecretString,
    /// The root certificate in PEM.
    pub certificate: String,
    /// `sha256:` and the digest of the certificate.
    pub digest: String,
    /// The tokens.
    pub join_tokens: JoinTokens,
}

/// A key that seals the managers' state at rest or the nodes' gossip, by purpose.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EncryptionKey {
    /// `networking:gossip`, `networking:ipsec`, `unlock`.
    pub subsystem: String,
    /// The key.
    pub key: SecretBytes,
    /// Which generation.
    pub lamport_time: u64,
}

/// The swarm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// Its id.
    pub id: ClusterId,
    /// Set by the store.
    pub meta: Meta,
    /// What the operator sets.
    pub spec: ClusterSpec,
    /// The certificate authority.
    pub root_ca: RootCa,
    /// Keys that the nodes' networks use.
    #[serde(default)]
    pub network_keys: Vec<EncryptionKey>,
    /// The unlock key, when managers are locked.
    #[serde(default)]
    pub unlock_key: Option<EncryptionKey>,
    /// Pools that network subnets are taken from, in CIDR form; default `10.0.0.0/8`.
    pub default_address_pool: Vec<String>,
    /// Prefix length of a subnet; default 24.
    pub subnet_size: u32,
    /// The VXLAN port; default 4789.
    pub data_path_port: u32,
    /// Ids of nodes removed for good, with the end of their certificates: theirs are refused until then.
    #[serde(default)]
    pub revoked_nodes: Vec<(NodeId, Timestamp)>,
}
