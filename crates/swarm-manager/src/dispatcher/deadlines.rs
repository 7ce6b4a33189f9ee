//! One deadline for each node, ordered by time.

use std::collections::{BTreeMap, BTreeSet};

use swarm_types::{NodeId, Timestamp};

/// What it means when a node's deadline is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Watch {
    /// In session: it was silent for too long.
    Session,
    /// Known from the former leader: it never turned to this one.
    Unknown,
    /// Down: its tasks are given up.
    Down,
}

#[derive(Debug, Default)]
pub(super) struct Deadlines {
    by_node: BTreeMap<NodeId, (Timestamp, Watch)>,
    by_time: BTreeSet<(Timestamp, NodeId)>,
}

impl Deadlines {
    pub fn set(&mut self, node: NodeId, at: Timestamp, watch: Watch) {
        self.clear(node);
        self.by_node.insert(node, (at, watch));
        self.by_time.insert((at, node));
    }

    pub fn clear(&mut self, node: NodeId) {
        if let Some((at, _)) = self.by_node.remove(&node) {
            self.by_time.remove(&(at, node));
        }
    }

    pub fn first(&self) -> Option<Timestamp> {
        self.by_time.first().map(|(at, _)| *at)
    }

    /// The nodes that are watched for this.
    pub fn watched(&self, watch: Watch) -> impl Iterator<Item = NodeId> {
        self.by_node.iter().filter(move |(_, (_, of))| *of == watch).map(|(node, _)| *node)
    }

    /// Takes the first deadline out if it is reached.
    pub fn pop_due(&mut self, now: Timestamp) -> Option<(NodeId, Watch)> {
        let (at, node) = *self.by_time.first()?;
        if at > now {
            return None;
        }
        self.by_time.pop_first();
        self.by_node.remove(&node).map(|(_, watch)| (node, watch))
    }
}
