//! Task statuses on their way from agents into the store.

use std::collections::BTreeMap;

use swarm_types::*;

use crate::store::{Store, StoreAction};

/// Texts and lists from agents are cut to these: each status is in every manager's memory and log.
const MAX_TEXT_BYTES: usize = 4 * 1024;
const MAX_CONTAINER_ID_BYTES: usize = 128;
const MAX_HOST_PORTS: usize = 1024;

/// The latest status of each task that the store does not have yet.
#[derive(Debug, Default)]
pub(super) struct Statuses {
    waiting: BTreeMap<TaskId, (NodeId, TaskStatus)>,
}

impl Statuses {
    /// Takes in what a node reported. Returns what needs no storing, to be acknowledged so that the agent stops
    /// repeating it: tasks that are gone or not the node's, and news that are none.
    pub fn take_in(
        &mut self,
        node: NodeId,
        reported: Vec<(TaskId, TaskStatus)>,
        store: &Store,
    ) -> Vec<(NodeId, TaskId, TaskState)> {
        let mut settled = Vec::new();
        for (id, mut status) in reported {
            // ORPHANED is the managers' word for a node that they lost; below ACCEPTED tasks are none of an agent's.
            let sensible = status.state > TaskState::Assigned && status.state < TaskState::Orphaned;
            let own = store
                .tasks()
                .get(id)
                .is_some_and(|task| task.node_id == Some(node) && task.status.state >= TaskState::Assigned);
            if !sensible || !own {
                settled.push((node, id, status.state));
                continue;
            }
            clamp(&mut status);
            match self.waiting.get(&id) {
                Some((_, waiting)) if waiting.state > status.state => {}
                _ => drop(self.waiting.insert(id, (node, status))),
            }
        }
        settled
    }

    /// Takes out what the store has by now, or will never take.
    pub fn settle(&mut self, store: &Store) -> Vec<(NodeId, TaskId, TaskState)> {
        let mut settled = Vec::new();
        self.waiting.retain(|id, (node, status)| {
            let stored = store.tasks().get(*id).map(|task| &task.status);
            let waits = stored.is_some_and(|stored| stored.state <= status.state && stored != status);
            if !waits {
                settled.push((*node, *id, status.state));
            }
            waits
        });
        settled
    }

    /// Proposes what waits, at most so many.
    pub fn actions(&self, limit: usize) -> impl Iterator<Item = StoreAction> {
        let waiting = self.waiting.iter().take(limit);
        waiting.map(|(id, (_, status))| StoreAction::SetTaskStatus { id: *id, status: status.clone() })
    }
}

fn clamp(status: &mut TaskStatus) {
    shorten(&mut status.message, MAX_TEXT_BYTES);
    shorten(&mut status.err, MAX_TEXT_BYTES);
    status.host_ports.truncate(MAX_HOST_PORTS);
    if let Some(container) = &mut status.container {
        shorten(&mut container.container_id, MAX_CONTAINER_ID_BYTES);
    }
}

fn shorten(text: &mut String, limit: usize) {
    if text.len() > limit {
        let end = (0..=limit).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
    }
}
