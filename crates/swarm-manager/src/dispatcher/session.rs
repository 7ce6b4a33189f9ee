//! One agent's session, and the limit on opening them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use swarm_types::*;

use super::assignment::Sent;

/// A session.
#[derive(Debug)]
pub(super) struct Session {
    pub id: SessionId,
    pub sent: Sent,
    /// Tasks that changed since the last set.
    pub dirty: BTreeSet<TaskId>,
}

impl Session {
    pub fn new(id: SessionId) -> Self {
        Self { id, sent: Sent::default(), dirty: BTreeSet::new() }
    }
}

/// In so long a time a node may open so many sessions: swarmkit's figures. An agent in a crash loop would otherwise
/// have the managers write its node to the log again and again.
const WINDOW: Duration = Duration::from_secs(8);
const SESSIONS_IN_WINDOW: u32 = 3;

#[derive(Debug, Default)]
pub(super) struct RateLimit {
    windows: BTreeMap<NodeId, (Timestamp, u32)>,
}

impl RateLimit {
    /// Whether the node may open a session now.
    pub fn admit(&mut self, now: Timestamp, node: NodeId) -> bool {
        let (start, count) = self.windows.entry(node).or_insert((now, 0));
        if now.since(*start) >= WINDOW {
            (*start, *count) = (now, 0);
        }
        *count += 1;
        *count <= SESSIONS_IN_WINDOW
    }

    pub fn forget(&mut self, node: NodeId) {
        self.windows.remove(&node);
    }
}
