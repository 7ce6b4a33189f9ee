//! Rolling updates: replaces tasks that were made from an old spec, a few at a time.
//!
//! A slot is *dirty* when its task does not match the service's spec, or when it has more than one task. At most
//! `parallelism` slots are under way: from the making of the new task until it runs (or failed) and the delay has
//! passed. A new task that fails before it ran, or within the monitoring period after, counts against the failure
//! ratio; beyond it the update pauses, or the service gets its previous spec back and the same machinery runs towards
//! that. When no slot is dirty and the monitoring period is over, the update is complete.
//!
//! What an update has done so far is kept in a [`Run`]; a new leader reads it back from the tasks' versions and times.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use swarm_types::*;

use super::pass::Pass;
use super::slot::{Slot, SlotKey, is_active, is_dirty};
use crate::store::{Store, StoreAction};

/// How long a new task is watched where the service does not say.
const DEFAULT_MONITOR: Duration = Duration::from_secs(5);

/// An update under way.
#[derive(Debug)]
pub(super) struct Run {
    spec_version: Version,
    /// The tasks that the update made, and when each was first seen running or ended.
    made: BTreeMap<TaskId, Option<Timestamp>>,
    /// Those of them that count as failures.
    failed: BTreeSet<TaskId>,
    /// How many slots the update is about.
    slots: usize,
    /// When the last of its tasks ran.
    last_started: Timestamp,
}

/// What an update did in one pass.
#[derive(Debug, Default)]
pub(super) struct Updated {
    /// The service gets its previous spec back: nothing else is to be decided before that.
    pub reverted: bool,
    /// The slots that were dealt with.
    pub slots: BTreeSet<SlotKey>,
}

/// Takes the update of a service one step further.
pub(super) fn update(pass: &mut Pass<'_>, service: &Service, slots: &[&Slot<'_>], run: &mut Option<Run>) -> Updated {
    let mut updated = Updated::default();
    let state = service.update_status.as_ref().map(|status| status.state);
    if matches!(state, Some(UpdateState::Paused | UpdateState::RollbackPaused)) {
        *run = None;
        return updated;
    }
    let under_way = matches!(state, Some(UpdateState::Updating | UpdateState::RollbackStarted));
    let dirty: Vec<&Slot<'_>> = slots.iter().copied().filter(|slot| is_slot_dirty(service, slot, pass.store)).collect();
    if dirty.is_empty() && !under_way {
        *run = None;
        return updated;
    }
    if state.is_none() {
        if !pass.room(1) {
            return updated;
        }
        set_status(pass, service, UpdateState::Updating, "update in progress");
    }
    if run.as_ref().is_none_or(|run| run.spec_version != service.spec_version) {
        *run = Some(Run::read_back(pass, service, slots, dirty.len()));
    }
    let Some(current) = run.as_mut() else { return updated };

    let config = config_of(service, state);
    let monitor = config.monitor.unwrap_or(DEFAULT_MONITOR);
    current.look(pass, config.delay);
    if current.count_failures(pass.now, pass.store, monitor) && current.ratio() > config.max_failure_ratio {
        let failed = current.failed.last().copied();
        if let (Some(task), true) = (failed, config.failure_action != FailureAction::Continue) {
            updated.reverted = give_up(pass, service, config.failure_action, task);
            *run = None;
            return updated;
        }
    }

    let in_flight = |slot: &&&Slot<'_>| slot.active().any(|task| current.in_flight(task, pass.now, &config));
    let mut under_way_now = slots.iter().filter(in_flight).count();
    let parallelism = match usize::try_from(config.parallelism) {
        Ok(0) | Err(_) => usize::MAX,
        Ok(parallelism) => parallelism,
    };
    for slot in &dirty {
        let clean: Vec<_> = slot.active().filter(|task| !is_dirty(service, task, pass.store)).collect();
        // A slot that already has its new task just loses the others: at once, or when the new one runs.
        if let Some(keep) = clean.iter().max_by_key(|task| (task.desired_state, task.status.state)) {
            let must_run_first = config.order == UpdateOrder::StartFirst && keep.status.state != TaskState::Running;
            if !must_run_first {
                stop_others(pass, slot, Some(keep));
                updated.slots.insert(slot.key);
            }
            continue;
        }
        if under_way_now >= parallelism || !pass.room(1 + slot.active().count()) {
            continue;
        }
        let new = pass.new_task(service, slot.key, DesiredState::Ready);
        let id = pass.create(new);
        current.made.insert(id, None);
        if config.order == UpdateOrder::StopFirst {
            stop_others(pass, slot, None);
        }
        updated.slots.insert(slot.key);
        under_way_now += 1;
    }
    if dirty.is_empty() && under_way_now == 0 && under_way {
        complete(pass, service, &config, monitor, run);
    }
    updated
}

fn config_of(service: &Service, state: Option<UpdateState>) -> UpdateConfig {
    let config = match state {
        Some(UpdateState::RollbackStarted) => &service.spec.rollback,
        _ => &service.spec.update,
    };
    config.clone().unwrap_or_default()
}

/// A slot's task that counts: those that should run, else the last one (which ended and is not restarted).
fn is_slot_dirty(service: &Service, slot: &Slot<'_>, store: &Store) -> bool {
    let mut active = slot.active();
    match (active.next(), active.next()) {
        (Some(_), Some(_)) => true,
        (Some(task), None) => is_dirty(service, task, store),
        (None, _) => slot.newest().is_some_and(|task| is_dirty(service, task, store)),
    }
}

fn stop_others(pass: &mut Pass<'_>, slot: &Slot<'_>, keep: Option<&Arc<Task>>) {
    for task in slot.active() {
        if keep.is_some_and(|keep| keep.id == task.id) {
            continue;
        }
        if !pass.room(1) {
            return;
        }
        pass.desire(task, DesiredState::Shutdown);
    }
}

fn complete(pass: &mut Pass<'_>, service: &Service, config: &UpdateConfig, monitor: Duration, run: &mut Option<Run>) {
    let last = run.as_ref().map_or(Timestamp::ZERO, |run| run.last_started);
    // A delay as long as the monitoring period would otherwise end the watch with the delay itself.
    let watched = if config.delay >= monitor { config.delay + Duration::from_secs(1) } else { monitor };
    let done = last.plus(config.delay).plus(watched);
    if !last.is_zero() && pass.now < done {
        pass.wake_at(done);
        return;
    }
    if !pass.room(1) {
        return;
    }
    let rolled_back = service.update_status.as_ref().is_some_and(|status| status.state == UpdateState::RollbackStarted);
    let (state, message) = if rolled_back {
        (UpdateState::RollbackCompleted, "rollback completed")
    } else {
        (UpdateState::Completed, "update completed")
    };
    set_status(pass, service, state, message);
    *run = None;
}

/// Pauses the update or returns to the previous spec, and tells whether it did the latter.
fn give_up(pass: &mut Pass<'_>, service: &Service, action: FailureAction, task: TaskId) -> bool {
    let rolling_back =
        service.update_status.as_ref().is_some_and(|status| status.state == UpdateState::RollbackStarted);
    if !pass.room(1) {
        return false;
    }
    if rolling_back {
        // A rollback is never rolled back.
        let message = format!("rollback paused due to failure or early termination of task {task}");
        set_status(pass, service, UpdateState::RollbackPaused, &message);
        return false;
    }
    let previous = service.previous_spec.as_deref().filter(|_| action == FailureAction::Rollback);
    let Some(previous) = previous else {
        let message = format!("update paused due to failure or early termination of task {task}");
        set_status(pass, service, UpdateState::Paused, &message);
        return false;
    };
    let mut reverted = service.clone();
    reverted.spec = previous.clone();
    // A version of its own, so that the rollback's tasks are told from those of the first time.
    reverted.spec_version = Version(service.spec_version.0 + 1);
    reverted.previous_spec = None;
    reverted.previous_spec_version = None;
    let message = format!("update rolled back due to failure or early termination of task {task}");
    let status = status(pass, service, UpdateState::RollbackStarted, &message);
    reverted.update_status = Some(status);
    pass.push(StoreAction::Update(Object::Service(Arc::new(reverted))));
    true
}

fn status(pass: &Pass<'_>, service: &Service, state: UpdateState, message: &str) -> UpdateStatus {
    let ended = matches!(state, UpdateState::Completed | UpdateState::RollbackCompleted);
    UpdateStatus {
        state,
        started_at: service.update_status.as_ref().and_then(|status| status.started_at).or(Some(pass.now)),
        completed_at: ended.then_some(pass.now),
        message: message.to_owned(),
    }
}

fn set_status(pass: &mut Pass<'_>, service: &Service, state: UpdateState, message: &str) {
    let status = status(pass, service, state, message);
    pass.push(StoreAction::SetUpdateStatus { id: service.id, spec_version: service.spec_version, status });
}

impl Run {
    /// An update as its tasks show it: those of the current version that replaced one that was dirty, made since the
    /// update began.
    fn read_back(pass: &Pass<'_>, service: &Service, slots: &[&Slot<'_>], dirty: usize) -> Self {
        let mut run = Self {
            spec_version: service.spec_version,
            made: BTreeMap::new(),
            failed: BTreeSet::new(),
            slots: 0,
            last_started: Timestamp::ZERO,
        };
        let began = service.update_status.as_ref().and_then(|status| status.started_at);
        let mut done = 0;
        for slot in slots {
            let first = slot.tasks.iter().position(|task| task.spec_version == service.spec_version);
            let Some((place, task)) = first.and_then(|place| Some((place, slot.tasks.get(place)?))) else { continue };
            let replaced = slot.tasks[..place].iter().any(|old| is_dirty(service, old, pass.store));
            if replaced && began.is_some_and(|began| task.meta.created_at >= began) {
                run.made.insert(task.id, None);
                done += usize::from(slot.active().count() == 1);
            }
        }
        run.slots = dirty + done;
        run
    }

    /// Notes which tasks run by now, forgets those that are gone, and asks to be woken when a delay ends.
    fn look(&mut self, pass: &mut Pass<'_>, delay: Duration) {
        // All proposals up to now are applied or dropped, so what is not in the store will not come.
        self.made.retain(|id, _| pass.store.tasks().get(*id).is_some());
        for (id, started) in &mut self.made {
            let Some(task) = pass.store.tasks().get(*id) else { continue };
            if started.is_none() && task.status.state >= TaskState::Running {
                // The agent's clock may be off; it counts only where it says that it was earlier (a new leader).
                let at = if task.status.timestamp.is_zero() { pass.now } else { task.status.timestamp.min(pass.now) };
                *started = Some(at);
                self.last_started = self.last_started.max(at);
            }
            if let Some(started) = started
                && pass.now < started.plus(delay)
            {
                pass.wake_at(started.plus(delay));
            }
        }
    }

    /// Counts tasks that failed or ended early; tells whether there are new ones.
    fn count_failures(&mut self, now: Timestamp, store: &Store, monitor: Duration) -> bool {
        let before = self.failed.len();
        for (id, started) in &self.made {
            let Some(task) = store.tasks().get(*id) else { continue };
            let ended = matches!(task.status.state, TaskState::Complete | TaskState::Failed | TaskState::Rejected);
            if ended && started.is_none_or(|started| now.since(started) <= monitor) {
                self.failed.insert(*id);
            }
        }
        self.failed.len() > before
    }

    fn ratio(&self) -> f32 {
        // Exact for any number of slots that matters: the counts are far below 2^24.
        #[allow(clippy::cast_precision_loss)]
        let ratio = self.failed.len() as f32 / self.slots.max(1) as f32;
        ratio
    }

    /// Whether a task of this update keeps its slot under way.
    fn in_flight(&self, task: &Task, now: Timestamp, config: &UpdateConfig) -> bool {
        match self.made.get(&task.id) {
            None => false,
            Some(None) => is_active(task),
            Some(Some(started)) => now < started.plus(config.delay),
        }
    }
}
