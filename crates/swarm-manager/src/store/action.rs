//! Changes to the store, as they stand in the raft log, and the events that applying them gives.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use swarm_types::*;

/// One change. Everything random or timed was decided before it was proposed, so applying one is deterministic.
///
/// Whole-object updates carry the version that they read (in `meta.version`) and are refused when the object has
/// changed since. The narrow ones below need none: two of them commute, because states only advance and each field
/// has one writer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum StoreAction {
    /// Adds an object; refused when its id is there or its name taken.
    Create(Object),
    /// Replaces an object; `meta.version` is the version that was read.
    Update(Object),
    /// Removes an object.
    Remove(ObjectId),
    /// Gives a task a node; refused when the task changed since `read`.
    AssignTask {
        /// Which task.
        id: TaskId,
        /// The version that the scheduler read.
        read: Version,
        /// Where it goes.
        node: NodeId,
        /// Generic resources set aside for it.
        resources: Vec<GenericResource>,
        /// The status that it gets (ASSIGNED, or still PENDING with the reason in `err` where `node` is unchanged).
        status: TaskStatus,
    },
    /// What was observed of a task; refused when it would go back to an earlier state.
    SetTaskStatus {
        /// Which task.
        id: TaskId,
        /// What was observed.
        status: TaskStatus,
    },
    /// What is wanted of a task; refused when it would go back.
    SetDesiredState {
        /// Which task.
        id: TaskId,
        /// What is wanted.
        desired: DesiredState,
    },
    /// What the managers observe of a node.
    SetNodeStatus {
        /// Which node.
        id: NodeId,
        /// What they observe.
        status: NodeStatus,
    },
    /// What a node says of itself.
    SetNodeDescription {
        /// Which node.
        id: NodeId,
        /// What it says.
        description: NodeDescription,
    },
    /// A node's own attachments to networks, as allocated.
    SetNodeAttachments {
        /// Which node.
        id: NodeId,
        /// All of them.
        attachments: BTreeMap<NetworkId, NetworkAttachment>,
    },
    /// The keys of the nodes' networks; refused when they are no newer than those that are there.
    SetNetworkKeys {
        /// The swarm.
        id: ClusterId,
        /// All of them.
        keys: Vec<EncryptionKey>,
    },
    /// A service's endpoint, as allocated.
    SetServiceEndpoint {
        /// Which service.
        id: ServiceId,
        /// The endpoint.
        endpoint: Endpoint,
    },
    /// Where a service's update stands.
    SetUpdateStatus {
        /// Which service.
        id: ServiceId,
        /// The version of the spec that the status is about; refused when the spec changed since.
        spec_version: Version,
        /// Where it stands.
        status: UpdateStatus,
    },
}

impl StoreAction {
    /// The object that the action is about.
    pub fn object(&self) -> ObjectId {
        match self {
            Self::Create(object) | Self::Update(object) => object.id(),
            Self::Remove(id) => *id,
            Self::AssignTask { id, .. } | Self::SetTaskStatus { id, .. } | Self::SetDesiredState { id, .. } => {
                ObjectId::Task(*id)
            }
            Self::SetNodeStatus { id, .. }
            | Self::SetNodeDescription { id, .. }
            | Self::SetNodeAttachments { id, .. } => ObjectId::Node(*id),
            Self::SetNetworkKeys { id, .. } => ObjectId::Cluster(*id),
            Self::SetServiceEndpoint { id, .. } | Self::SetUpdateStatus { id, .. } => ObjectId::Service(*id),
        }
    }
}

/// An entry of the raft log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Proposal {
    /// Names the proposal among those of its proposer, to tell it the outcome.
    pub id: ProposalId,
    /// When it was made; becomes the objects' `updated_at`.
    pub now: Timestamp,
    /// All or nothing (requests of users), or each action on its own (components).
    pub atomic: bool,
    /// The changes, in order.
    pub actions: Vec<StoreAction>,
}

/// Names a proposal: the proposer's raft id, and a number that the proposer raises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct ProposalId {
    /// The proposer's raft id.
    pub proposer: u64,
    /// Its counter, unique also over restarts (seeded from the time of start).
    pub serial: u64,
}

/// Why an action was not applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refused {
    /// No such object.
    #[error("{0} not found")]
    NotFound(ObjectId),
    /// The id is taken.
    #[error("{0} already exists")]
    IdTaken(ObjectId),
    /// The name is taken.
    #[error("name conflicts with an existing object: {name}")]
    NameTaken {
        /// The name.
        name: String,
        /// Who has it.
        holder: ObjectId,
    },
    /// The object changed since it was read.
    #[error("update out of sequence")]
    Stale {
        /// Which object.
        id: ObjectId,
        /// The version that was read.
        read: Version,
        /// The version that it has.
        current: Version,
    },
    /// A state would go back.
    #[error("{id} cannot go back from {from} to {to}")]
    Backwards {
        /// Which task.
        id: ObjectId,
        /// The state that it has.
        from: String,
        /// The state that was asked for.
        to: String,
    },
}

/// A change that was applied.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A new object.
    Created(Object),
    /// A changed one.
    Updated {
        /// As it was.
        old: Object,
        /// As it is.
        new: Object,
    },
    /// One that is gone.
    Removed(Object),
}

impl Event {
    /// The object as it is now, or as it last was.
    pub fn object(&self) -> &Object {
        match self {
            Self::Created(object) | Self::Removed(object) | Self::Updated { new: object, .. } => object,
        }
    }
}
