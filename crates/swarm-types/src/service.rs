//! Services: what a user asks to run.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::*;

/// How many tasks a service has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ServiceMode {
    /// A number of tasks that run for ever.
    Replicated {
        /// How many.
        replicas: u64,
    },
    /// One on every eligible node, for ever.
    Global,
    /// Tasks that run until a number of them completed.
    ReplicatedJob {
        /// At most so many at once.
        max_concurrent: u64,
        /// Until so many completed.
        total_completions: u64,
    },
    /// One on every eligible node, until completed.
    GlobalJob,
}

impl ServiceMode {
    /// Whether tasks run to completion.
    pub const fn is_job(&self) -> bool {
        matches!(self, Self::ReplicatedJob { .. } | Self::GlobalJob)
    }
}

/// What to do when updated tasks fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum FailureAction {
    /// Stop updating.
    #[default]
    Pause,
    /// Go on.
    Continue,
    /// Go back to the previous spec.
    Rollback,
}

/// Which comes first when a task is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum UpdateOrder {
    /// The old one stops first.
    #[default]
    StopFirst,
    /// The new one starts first.
    StartFirst,
}

/// How tasks are replaced.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UpdateConfig {
    /// At most so many at once; 0: all.
    pub parallelism: u64,
    /// Wait between groups.
    pub delay: Duration,
    /// What to do on failure.
    pub failure_action: FailureAction,
    /// How long after its start a task's failure counts as the update's.
    pub monitor: Option<Duration>,
    /// Share of failed tasks that is borne, 0 to 1.
    pub max_failure_ratio: f32,
    /// Which comes first.
    pub order: UpdateOrder,
}

impl Default for UpdateConfig {
    fn default() -> Self {
        Self {
            parallelism: 1,
            delay: Duration::ZERO,
            failure_action: FailureAction::Pause,
            monitor: None,
            max_failure_ratio: 0.0,
            order: UpdateOrder::StopFirst,
        }
    }
}

/// Where an update stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpdateState {
    /// Under way.
    Updating,
    /// Stopped by failures.
    Paused,
    /// Done.
    Completed,
    /// Going back.
    RollbackStarted,
    /// Going back was stopped by failures.
    RollbackPaused,
    /// Went back.
    RollbackCompleted,
}

/// The last update of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateStatus {
    /// Where it stands.
    pub state: UpdateState,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub completed_at: Option<Timestamp>,
    /// For people.
    pub message: String,
}

/// What a user asks of a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceSpec {
    /// Name and labels.
    pub annotations: Annotations,
    /// What each task runs.
    pub task: Arc<TaskSpec>,
    /// How many tasks.
    pub mode: ServiceMode,
    /// How tasks are replaced on an update.
    pub update: Option<UpdateConfig>,
    /// And on a rollback.
    pub rollback: Option<UpdateConfig>,
    /// How the service is found and published.
    pub endpoint: Option<EndpointSpec>,
}

/// A service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Service {
    /// Its id.
    pub id: ServiceId,
    /// Set by the store.
    pub meta: Meta,
    /// What the user asks.
    pub spec: ServiceSpec,
    /// Rises when the spec changes: tasks carry the one that they were made from.
    pub spec_version: Version,
    /// The spec before the last update, which a rollback returns to.
    pub previous_spec: Option<Box<ServiceSpec>>,
    /// The version of that spec.
    pub previous_spec_version: Option<Version>,
    /// What was decided for its endpoint.
    pub endpoint: Option<Endpoint>,
    /// Its last update.
    pub update_status: Option<UpdateStatus>,
    /// For jobs: how often it was started over, and when last.
    pub job_status: Option<JobStatus>,
}

/// The current run of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct JobStatus {
    /// Rises with each run.
    pub iteration: Version,
    /// When this run began.
    pub last_execution: Timestamp,
}
