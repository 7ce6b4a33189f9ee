//! Who a member is: a node, in one of its lives.
//!
//! A node begins a new life each time its daemon starts, and a new identity each time the others gave it up while it
//! lived. The later identity wins, so that a node that comes back need not wait until it is forgotten.

use serde::{Deserialize, Serialize};
use swarm_types::{NetworkPeer, NodeId};

use crate::limits;

/// Where a node is in the sequence of its identities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Life {
    /// Which life: the time of its beginning in nanoseconds, or one more than what others knew of the last.
    pub generation: u64,
    /// How often it was given up in this life.
    pub renewal: u32,
}

impl Life {
    /// The life after which no other can come is refused from outside, so that there always is a next one.
    pub(crate) const LAST_GENERATION: u64 = i64::MAX as u64;

    pub(crate) fn is_valid(self) -> bool {
        (1..=Self::LAST_GENERATION).contains(&self.generation) && self.renewal < u32::MAX
    }
}

/// A member of the cluster as SWIM sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub peer: NetworkPeer,
    pub life: Life,
}

impl Identity {
    pub(crate) fn node(&self) -> NodeId {
        self.peer.id
    }

    /// Whether it may have come from a node of ours: sizes, ranges, and an address that can be sent to.
    pub(crate) fn is_valid(&self) -> bool {
        self.life.is_valid() && limits::peer_is_valid(&self.peer)
    }
}

impl foca::Identity for Identity {
    type Addr = NodeId;

    fn renew(&self) -> Option<Self> {
        let renewal = self.life.renewal.checked_add(1)?;
        Some(Self { peer: self.peer.clone(), life: Life { renewal, ..self.life } })
    }

    fn addr(&self) -> NodeId {
        self.peer.id
    }

    /// The later life wins. Two that differ in nothing but addresses do not exist among honest nodes; an order among
    /// them lets all nodes agree on one.
    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        (self.life, &self.peer) > (adversary.life, &adversary.peer)
    }
}
