//! Disks: what is written is there after a killed process, but after a power failure only what was synced, and a part
//! of the rest.

use std::collections::BTreeMap;

use swarm_agent::StoredTask;
use swarm_manager::consensus::{Persist, PersistedState};
use swarm_types::{IdSource, TaskId};

/// A manager's raft log and snapshot.
#[derive(Debug, Default)]
pub(crate) struct ManagerDisk {
    synced: PersistedState,
    /// Written in this order, not known to be synced.
    tail: Vec<Persist>,
}

impl ManagerDisk {
    pub fn new(state: PersistedState) -> Self {
        Self { synced: state, tail: Vec::new() }
    }

    pub fn write(&mut self, persist: Persist) {
        self.tail.push(persist);
    }

    /// The disk says that the write of this number is done: with `sync`, all up to it is safe.
    pub fn done(&mut self, number: u64) {
        let last = self.tail.iter().rposition(|persist| persist.number <= number && persist.sync);
        if let Some(last) = last {
            for persist in self.tail.drain(..=last) {
                apply(&mut self.synced, persist);
            }
        }
    }

    /// The machine loses power: of what was not synced a random part at the end is gone.
    pub fn power_failure(&mut self, random: &mut IdSource) {
        let keep = usize::try_from(random.below(self.tail.len() as u64 + 1)).unwrap_or(0);
        self.tail.truncate(keep);
    }

    /// What a process that starts now finds.
    pub fn read(&mut self) -> PersistedState {
        for persist in std::mem::take(&mut self.tail) {
            apply(&mut self.synced, persist);
        }
        self.synced.clone()
    }
}

fn apply(state: &mut PersistedState, persist: Persist) {
    if let Some(snapshot) = persist.snapshot {
        state.entries.retain(|entry| !snapshot.reset && entry.index > snapshot.keep_after);
        state.snapshot = Some(snapshot);
    }
    if let Some(first) = persist.entries.first().map(|entry| entry.index) {
        state.entries.retain(|entry| entry.index < first);
        state.entries.extend(persist.entries);
    }
    if let Some(hard_state) = persist.hard_state {
        state.hard_state = hard_state;
    }
}

/// A node's tasks. Writes are synced one by one; a power failure may take the last few.
#[derive(Debug, Default)]
pub(crate) struct AgentDisk {
    synced: BTreeMap<TaskId, StoredTask>,
    tail: Vec<(TaskId, Option<Box<StoredTask>>)>,
}

/// Writes that are under way at most: older ones are synced.
const AGENT_TAIL: usize = 4;

impl AgentDisk {
    pub fn write(&mut self, id: TaskId, task: Option<Box<StoredTask>>) {
        self.tail.push((id, task));
        if self.tail.len() > AGENT_TAIL {
            let (id, task) = self.tail.remove(0);
            self.sync(id, task);
        }
    }

    pub fn power_failure(&mut self, random: &mut IdSource) {
        let keep = usize::try_from(random.below(self.tail.len() as u64 + 1)).unwrap_or(0);
        self.tail.truncate(keep);
    }

    pub fn lose_all(&mut self) {
        *self = Self::default();
    }

    pub fn read(&mut self) -> Vec<StoredTask> {
        for (id, task) in std::mem::take(&mut self.tail) {
            self.sync(id, task);
        }
        self.synced.values().cloned().collect()
    }

    fn sync(&mut self, id: TaskId, task: Option<Box<StoredTask>>) {
        match task {
            Some(task) => drop(self.synced.insert(id, *task)),
            None => drop(self.synced.remove(&id)),
        }
    }
}
