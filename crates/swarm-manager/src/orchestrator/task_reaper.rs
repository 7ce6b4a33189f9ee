//! Forgets tasks: history beyond the limit, and tasks to be removed that have stopped.
//!
//! Attachments, which belong to no service, go as soon as they end. The limit counts all of a slot's tasks, the running one included (as Docker's default of 5 shows one running and
//! four old ones). A service with a limit of restarts keeps one more than that, because restarts are counted from the
//! history. A negative limit keeps everything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use swarm_types::*;

use super::slot::{SlotKey, sort_by_age};
use crate::component::{Component, MAX_ACTIONS};
use crate::store::{Event, Store, StoreAction};

/// Removes tasks from the store.
#[derive(Debug, Default)]
pub struct TaskReaper {
    /// Services whose history to look through.
    dirty: BTreeSet<ServiceId>,
    /// Tasks to remove if they are to be removed and have stopped.
    ended: BTreeSet<TaskId>,
}

impl TaskReaper {
    /// A reaper that has seen nothing yet.
    pub fn new() -> Self {
        Self::default()
    }
}

/// Whether a task whose removal is wanted can go: nothing of it can be running. Attachments leave no history.
fn is_removable(task: &Task) -> bool {
    (task.desired_state == DesiredState::Remove || task.service_id.is_none()) && may_be_forgotten(task)
}

/// Whether a task will never run (again).
fn may_be_forgotten(task: &Task) -> bool {
    task.status.state.is_terminal()
        || (task.status.state < TaskState::Assigned && task.desired_state >= DesiredState::Shutdown)
}

/// A service's tasks beyond the limit, oldest first.
fn beyond_limit(store: &Store, service: &Service, limit: i64) -> Vec<TaskId> {
    let attempts = service.spec.task.restart.as_ref().map_or(0, |policy| policy.max_attempts);
    // Without a limit there is nothing to forget, whatever the restart policy.
    if limit < 0 {
        return Vec::new();
    }
    let limit = if attempts > 0 {
        usize::try_from(attempts.saturating_add(1)).unwrap_or(usize::MAX)
    } else {
        usize::try_from(limit).unwrap_or(usize::MAX)
    };
    let mut slots: BTreeMap<SlotKey, Vec<&Arc<Task>>> = BTreeMap::new();
    for task in store.service_tasks(service.id) {
        if let Some(key) = SlotKey::of(task, &service.spec.mode) {
            slots.entry(key).or_default().push(task);
        }
    }
    let mut forgotten = Vec::new();
    for tasks in slots.values_mut() {
        let Some(excess) = tasks.len().checked_sub(limit).filter(|excess| *excess > 0) else { continue };
        sort_by_age(tasks);
        let old = tasks.iter().filter(|task| may_be_forgotten(task) && !holds_its_slot(service, task, tasks));
        forgotten.extend(old.take(excess).map(|task| task.id));
    }
    forgotten
}

/// Whether a task, although it ended, is still needed: a job's completed task and the last task of a slot tell that
/// the slot needs no other, and the predecessor of a task that waits to start tells how long it waits. Without them
/// the orchestrator would start the work anew, or at once.
fn holds_its_slot(service: &Service, task: &Task, slot: &[&Arc<Task>]) -> bool {
    let completed = service.spec.mode.is_job() && task.status.state == TaskState::Complete;
    let mut newest = slot.iter().rev();
    let mut held = newest.next();
    while held.is_some_and(|held| held.desired_state == DesiredState::Ready && held.id != task.id) {
        held = newest.next();
    }
    completed || held.is_some_and(|held| held.id == task.id)
}

impl Component for TaskReaper {
    fn name(&self) -> &'static str {
        "task reaper"
    }

    fn start(&mut self, _now: Timestamp, store: &Store) {
        self.dirty = store.services().iter().map(|service| service.id).collect();
        self.ended = store.tasks().iter().filter(|task| is_removable(task)).map(|task| task.id).collect();
    }

    fn handle(&mut self, _now: Timestamp, event: &Event, store: &Store) {
        match (event, event.object()) {
            (Event::Removed(_), _) => {}
            (Event::Updated { old: Object::Task(old), .. }, Object::Task(task)) => {
                if is_removable(task) {
                    self.ended.insert(task.id);
                } else if (may_be_forgotten(task) && !may_be_forgotten(old)) || task.desired_state != old.desired_state
                {
                    self.dirty.extend(task.service_id);
                }
            }
            (_, Object::Task(task)) => self.dirty.extend(task.service_id),
            // A lower limit forgets at once, where swarmkit waits for each slot's next task.
            (Event::Updated { old: Object::Cluster(old), .. }, Object::Cluster(new))
                if old.spec.task_history_retention_limit != new.spec.task_history_retention_limit =>
            {
                self.dirty.extend(store.services().iter().map(|service| service.id));
            }
            _ => {}
        }
    }

    fn tick(&mut self, _now: Timestamp, _store: &Store) {}

    fn poll_actions(&mut self, _now: Timestamp, store: &Store) -> Vec<StoreAction> {
        let mut actions = Vec::new();
        while let Some(id) = self.ended.first().copied() {
            if actions.len() == MAX_ACTIONS {
                return actions;
            }
            self.ended.remove(&id);
            if store.tasks().get(id).is_some_and(|task| is_removable(task)) {
                actions.push(StoreAction::Remove(ObjectId::Task(id)));
            }
        }
        let limit = store.cluster().map_or(5, |cluster| cluster.spec.task_history_retention_limit);
        while let Some(id) = self.dirty.first().copied() {
            let Some(service) = store.services().get(id) else {
                self.dirty.remove(&id);
                continue;
            };
            let taken: BTreeSet<ObjectId> = actions.iter().map(StoreAction::object).collect();
            for task in beyond_limit(store, service, limit) {
                if taken.contains(&ObjectId::Task(task)) {
                    continue;
                }
                if actions.len() == MAX_ACTIONS {
                    return actions;
                }
                actions.push(StoreAction::Remove(ObjectId::Task(task)));
            }
            self.dirty.remove(&id);
        }
        actions
    }

    fn poll_timeout(&self) -> Option<Timestamp> {
        None
    }
}
