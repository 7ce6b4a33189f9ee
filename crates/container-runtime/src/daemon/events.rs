//! What happens to containers and images, told as it happens. Leaves out Docker's event JSON and its filters.

use std::collections::BTreeMap;

use super::health::HealthStatus;
use super::record::ContainerId;

/// Something happened.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Nanoseconds since 1970.
    pub at: i64,
    /// To which container; empty for an image's event.
    pub container: ContainerId,
    /// The container's name.
    pub name: String,
    /// The container's image as it was asked for, or the image of an image's event.
    pub image: String,
    /// The container's labels.
    pub labels: BTreeMap<String, String>,
    /// What.
    pub kind: EventKind,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum EventKind {
    /// A record was made.
    Created,
    /// The program runs.
    Started,
    /// A signal was sent on request.
    Killed {
        /// Its number.
        signal: i32,
    },
    /// The container ended.
    Exited {
        /// Its status, 128 + signal when killed.
        code: i32,
        /// The kernel killed it for want of memory.
        oom: bool,
    },
    /// The health changed.
    Health(HealthStatus),
    /// An exec was made.
    ExecCreated {
        /// Its id.
        exec: String,
    },
    /// An exec runs.
    ExecStarted {
        /// Its id.
        exec: String,
    },
    /// An exec ended.
    ExecDied {
        /// Its id.
        exec: String,
        /// Its status.
        code: i32,
    },
    /// The record is gone.
    Removed,
    /// An image was loaded, with its id.
    ImageLoaded,
    /// An image was tagged.
    ImageTagged,
    /// A tag was removed.
    ImageUntagged,
    /// An image is gone.
    ImageDeleted,
}
