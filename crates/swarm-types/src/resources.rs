//! What tasks ask for and nodes offer: processor time, memory, generic resources.

use serde::{Deserialize, Serialize};

/// An amount of processor time, memory and generic resources.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Resources {
    /// Processor time in billionths of a core.
    pub nano_cpus: i64,
    /// Memory in bytes.
    pub memory_bytes: i64,
    /// Processes; 0 means no limit. Used in limits only.
    #[serde(default)]
    pub pids: i64,
    /// Generic resources (GPUs and the like), named or counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub generic: Vec<GenericResource>,
}

/// A resource that only has a name for the swarm.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum GenericResource {
    /// One thing with a name of its own: `gpu=UUID1`.
    Named {
        /// The kind of resource.
        kind: String,
        /// Which one.
        value: String,
    },
    /// A number of things alike: `ssd=3`.
    Discrete {
        /// The kind of resource.
        kind: String,
        /// How many.
        value: i64,
    },
}

impl GenericResource {
    /// The kind of resource.
    pub fn kind(&self) -> &str {
        match self {
            Self::Named { kind, .. } | Self::Discrete { kind, .. } => kind,
        }
    }
}

/// What a task may use at most, and what a node must have left for it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ResourceRequirements {
    /// The most that the task may use.
    pub limits: Option<Resources>,
    /// What is set aside for it on its node.
    pub reservations: Option<Resources>,
    /// Swap in bytes beyond memory (-1 no limit).
    #[serde(default)]
    pub swap_bytes: Option<i64>,
    /// Swappiness, 0 to 100.
    #[serde(default)]
    pub memory_swappiness: Option<i64>,
}
