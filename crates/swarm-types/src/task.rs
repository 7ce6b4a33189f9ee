//! Tasks: one container on one node, from creation to removal.
//!
//! Two fields say where a task stands. `desired_state` is the managers' wish, `status.state` what was observed:
//! by the managers up to ASSIGNED, by the node's agent from there on. Both only advance.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::*;

/// What was observed of a task. The order is the order in which a task may pass through the states; the numbers
/// are swarmkit's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub enum TaskState {
    /// Made, nothing decided.
    #[default]
    New = 0,
    /// Waits for a node; its resources are allocated.
    Pending = 64,
    /// Has a node.
    Assigned = 192,
    /// The agent took it.
    Accepted = 256,
    /// Image, mounts and network are being made.
    Preparing = 320,
    /// Can start at once.
    Ready = 384,
    /// The container starts; with a health check: until first healthy.
    Starting = 448,
    /// Runs.
    Running = 512,
    /// Ended with exit code 0.
    Complete = 576,
    /// Was told to stop, and did.
    Shutdown = 640,
    /// Ended otherwise.
    Failed = 704,
    /// The agent could not make it.
    Rejected = 768,
    /// Its service is gone, and it will be.
    Remove = 800,
    /// Its node has not been heard of for a day.
    Orphaned = 832,
}

impl TaskState {
    /// All states in order.
    pub const ALL: [Self; 14] = [
        Self::New,
        Self::Pending,
        Self::Assigned,
        Self::Accepted,
        Self::Preparing,
        Self::Ready,
        Self::Starting,
        Self::Running,
        Self::Complete,
        Self::Shutdown,
        Self::Failed,
        Self::Rejected,
        Self::Remove,
        Self::Orphaned,
    ];

    /// The state as the Docker API writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Pending => "pending",
            Self::Assigned => "assigned",
            Self::Accepted => "accepted",
            Self::Preparing => "preparing",
            Self::Ready => "ready",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Complete => "complete",
            Self::Shutdown => "shutdown",
            Self::Failed => "failed",
            Self::Rejected => "rejected",
            Self::Remove => "remove",
            Self::Orphaned => "orphaned",
        }
    }

    /// Whether the task will never run again.
    pub fn is_terminal(self) -> bool {
        self > Self::Running
    }
}

/// What the managers want of a task. Only advances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum DesiredState {
    /// Be ready to start, but wait (a restart delay, an update's turn).
    Ready,
    /// Run.
    Running,
    /// Run until completed (jobs).
    Complete,
    /// Stop; the task stays as history.
    Shutdown,
    /// Stop and be forgotten.
    Remove,
}

impl DesiredState {
    /// The state as the Docker API writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Complete => "complete",
            Self::Shutdown => "shutdown",
            Self::Remove => "remove",
        }
    }
}

/// What the agent knows of a task's container.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ContainerStatus {
    /// The container's id, 64 hex digits.
    pub container_id: String,
    /// Its first process as the node sees it; 0 when it does not run.
    pub pid: i32,
    /// Its exit code, once ended.
    pub exit_code: i32,
}

/// What was observed of a task.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TaskStatus {
    /// When.
    pub timestamp: Timestamp,
    /// The state.
    pub state: TaskState,
    /// For people: `started`, `pending task scheduling`.
    pub message: String,
    /// Why it failed or waits; empty when all is well.
    pub err: String,
    /// The container, once there is one.
    pub container: Option<ContainerStatus>,
    /// Ports published on the node itself.
    #[serde(default)]
    pub host_ports: Vec<PortConfig>,
}

/// A file system that a task sees.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Mount {
    /// The kind.
    pub kind: MountKind,
    /// Volume name, or a path on the node; empty for anonymous volumes and tmpfs.
    pub source: String,
    /// Path in the container.
    pub target: String,
    /// No writing.
    pub read_only: bool,
    /// `default`, `consistent`, `cached`, `delegated`.
    pub consistency: String,
    /// Propagation of bind mounts; empty is `rprivate`.
    pub bind_propagation: String,
    /// Leave out nested mounts of a bind mount.
    pub bind_non_recursive: bool,
    /// Make the path on the node if it is not there.
    pub bind_create_mountpoint: bool,
    /// Do not fill a new volume from the image.
    pub volume_no_copy: bool,
    /// Labels for a new volume.
    pub volume_labels: Labels,
    /// Driver for a new volume.
    pub volume_driver: Option<Driver>,
    /// A path inside the volume.
    pub volume_subpath: String,
    /// Size of a tmpfs in bytes; 0: no limit.
    pub tmpfs_size_bytes: i64,
    /// Mode of a tmpfs; 0: 1777.
    pub tmpfs_mode: u32,
}

/// The kind of a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum MountKind {
    /// A path of the node.
    Bind,
    /// A volume.
    #[default]
    Volume,
    /// Memory.
    Tmpfs,
    /// A named pipe (Windows).
    NamedPipe,
    /// A cluster volume (CSI).
    Cluster,
    /// An image's content.
    Image,
}

/// How to tell whether a container is well.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HealthConfig {
    /// `[]` inherit, `["NONE"]` none, `["CMD", ...]`, `["CMD-SHELL", ...]`.
    pub test: Vec<String>,
    /// Between checks; zero: inherit.
    pub interval: Duration,
    /// For one check; zero: inherit.
    pub timeout: Duration,
    /// Failures in a row that make it unhealthy; 0: inherit.
    pub retries: u64,
    /// Failures in this time after the start do not count.
    pub start_period: Duration,
    /// Between checks in the start period.
    pub start_interval: Duration,
}

/// A process limit.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ulimit {
    /// `nofile`, `nproc` ...
    pub name: String,
    /// Soft limit.
    pub soft: i64,
    /// Hard limit.
    pub hard: i64,
}

/// Name servers of a container.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DnsConfig {
    /// Addresses.
    pub nameservers: Vec<String>,
    /// Search domains.
    pub search: Vec<String>,
    /// Options.
    pub options: Vec<String>,
}

/// What a container runs.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ContainerSpec {
    /// The image.
    pub image: String,
    /// Labels of the container.
    pub labels: Labels,
    /// Replaces the image's entrypoint.
    pub command: Vec<String>,
    /// Replaces the image's command.
    pub args: Vec<String>,
    /// Host name, may hold templates.
    pub hostname: String,
    /// Environment as `KEY=value`.
    pub env: Vec<String>,
    /// Working directory.
    pub dir: String,
    /// User, `name`, `uid` or `uid:gid`.
    pub user: String,
    /// Further groups.
    pub groups: Vec<String>,
    /// A terminal.
    pub tty: bool,
    /// Keep standard input open.
    pub open_stdin: bool,
    /// The root file system cannot be written.
    pub read_only: bool,
    /// File systems.
    pub mounts: Vec<Mount>,
    /// The signal that stops it; empty: the image's, else TERM.
    pub stop_signal: String,
    /// How long it may take to stop; default 10 s.
    pub stop_grace_period: Option<Duration>,
    /// Health check.
    pub healthcheck: Option<HealthConfig>,
    /// Extra lines for `/etc/hosts`, as `IP name...`.
    pub hosts: Vec<String>,
    /// Name servers.
    pub dns: Option<DnsConfig>,
    /// Secrets.
    pub secrets: Vec<SecretReference>,
    /// Configs.
    pub configs: Vec<ConfigReference>,
    /// `default`, `process`, `hyperv` (Windows).
    pub isolation: String,
    /// Run an init process; `None`: the engine's default.
    pub init: Option<bool>,
    /// Kernel settings.
    pub sysctls: BTreeMap<String, String>,
    /// Capabilities to add.
    pub capability_add: Vec<String>,
    /// Capabilities to drop.
    pub capability_drop: Vec<String>,
    /// Process limits.
    pub ulimits: Vec<Ulimit>,
    /// Adjusts who goes first when memory is short.
    pub oom_score_adj: i64,
    /// `no-new-privileges` and the like, as the Docker API's JSON; checked when given.
    pub privileges_json: Option<String>,
}

/// When a task that ended is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum RestartCondition {
    /// Never.
    None,
    /// When it failed.
    OnFailure,
    /// Always.
    #[default]
    Any,
}

/// How a task that ended is replaced.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RestartPolicy {
    /// When.
    pub condition: RestartCondition,
    /// After how long; default 5 s.
    pub delay: Option<Duration>,
    /// At most so often; 0: no limit.
    pub max_attempts: u64,
    /// Within this time; zero: since ever.
    pub window: Duration,
}

/// Swarmkit's default restart delay.
pub const DEFAULT_RESTART_DELAY: Duration = Duration::from_secs(5);

/// Where tasks may run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Placement {
    /// `node.role==manager`; all must hold.
    pub constraints: Vec<String>,
    /// Spread over the values of these, in turn (`node.labels.zone`).
    pub preferences: Vec<PlacementPreference>,
    /// Platforms that the image runs on; empty: any.
    pub platforms: Vec<Platform>,
    /// At most so many tasks of the service on one node; 0: no limit.
    pub max_replicas: u64,
}

/// A wish for where tasks run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum PlacementPreference {
    /// Spread evenly over the values of a label.
    Spread {
        /// `node.labels.zone`, `engine.labels.zone`.
        descriptor: String,
    },
}

/// A platform.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Platform {
    /// `x86_64`; empty: any.
    pub architecture: String,
    /// `linux`; empty: any.
    pub os: String,
}

/// What a task runs and where.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TaskSpec {
    /// The container.
    pub container: ContainerSpec,
    /// What it may use and needs.
    pub resources: Option<ResourceRequirements>,
    /// How it is replaced.
    pub restart: Option<RestartPolicy>,
    /// Where.
    pub placement: Option<Placement>,
    /// Networks.
    pub networks: Vec<NetworkAttachmentConfig>,
    /// Where its output goes; `None`: the cluster's default.
    pub log_driver: Option<Driver>,
    /// Raised to replace tasks although nothing else changed.
    pub force_update: u64,
    /// `container` or empty; other runtimes are refused.
    #[serde(default)]
    pub runtime: String,
    /// Instead of running `container`: only holds addresses on `networks` for a container that the node made itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attachment: Option<AttachmentSpec>,
}

/// A container that a user of a node attached to a network of the swarm (`docker run --network`, `docker network
/// connect`): swarmkit's network attachment task.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AttachmentSpec {
    /// The container's id on its node, 64 hex digits.
    pub container_id: String,
}

/// A task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Its id.
    pub id: TaskId,
    /// Set by the store.
    pub meta: Meta,
    /// Whose task; `None` for attachments ([`TaskSpec::attachment`]), which belong to nobody but their node.
    pub service_id: Option<ServiceId>,
    /// Which of its replicas, from 1; 0 for global services.
    pub slot: u64,
    /// Where, once assigned; global tasks are made with it.
    pub node_id: Option<NodeId>,
    /// What it runs.
    pub spec: Arc<TaskSpec>,
    /// The service's `spec_version` that it was made from.
    pub spec_version: Version,
    /// The service's name and labels at that time.
    pub service_annotations: Arc<Annotations>,
    /// What was observed.
    pub status: TaskStatus,
    /// What is wanted.
    pub desired_state: DesiredState,
    /// Its attachments to networks.
    pub networks: Vec<NetworkAttachment>,
    /// Its service's endpoint when it was allocated.
    pub endpoint: Option<Arc<Endpoint>>,
    /// Generic resources set aside for it.
    #[serde(default)]
    pub assigned_resources: Vec<GenericResource>,
    /// For jobs: the run that it belongs to.
    pub job_iteration: Option<Version>,
}

impl Task {
    /// The task's name: `web.1.<id>`, for global services `web.<node>.<id>`; for attachments the container's id.
    pub fn name(&self) -> String {
        if let Some(attachment) = &self.spec.attachment {
            return attachment.container_id.clone();
        }
        let service = &self.service_annotations.name;
        match (self.slot, self.node_id) {
            (0, Some(node)) => format!("{service}.{node}.{}", self.id),
            (0, None) => format!("{service}.{}", self.id),
            (slot, _) => format!("{service}.{slot}.{}", self.id),
        }
    }
}
