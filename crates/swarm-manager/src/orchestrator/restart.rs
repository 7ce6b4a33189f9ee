//! Replaces tasks that ended or lost their node, as the restart policy wants it.
//!
//! A replacement is made at once but only to be READY: its node can fetch the image while the restart delay passes
//! and the old task stops; then it is told to run. How often a slot was restarted is read from its history: all tasks
//! of the newest spec version but the first are restarts. The task reaper keeps enough of them (see
//! [`TaskReaper`](super::TaskReaper)), so a new leader counts on where the old one stopped.

use std::sync::Arc;
use std::time::Duration;

use swarm_types::*;

use super::pass::Pass;
use super::slot::{Slot, is_active, is_lost};

/// A replacement starts at the latest so long after it was made, even if the old task has not stopped by then: a node
/// that hangs but sends heartbeats must not hold up the service for ever.
const OLD_TASK_TIMEOUT: Duration = Duration::from_secs(60);

/// Whether a task that ended (or has to leave its node) is to be replaced. `slot` is its slot with its history.
pub(super) fn should_restart(service: &Service, slot: &Slot<'_>, task: &Task) -> bool {
    let policy = task.spec.restart.clone().unwrap_or_default();
    let completed = task.status.state == TaskState::Complete;
    match policy.condition {
        RestartCondition::None => return false,
        RestartCondition::OnFailure if completed => return false,
        RestartCondition::Any if completed && service.spec.mode.is_job() => return false,
        RestartCondition::OnFailure | RestartCondition::Any => {}
    }
    if policy.max_attempts == 0 {
        return true;
    }
    let restarts = restarts_until(slot, task);
    let counted = if policy.window.is_zero() {
        restarts.count()
    } else {
        let ended = task.status.timestamp;
        restarts.filter(|at| *at < ended && ended.since(*at) < policy.window).count()
    };
    (counted as u64) < policy.max_attempts
}

/// When each restart happened that led to `task`, newest first: the unbroken run of tasks of its version and job
/// run, without the first of them.
fn restarts_until<'a>(slot: &'a Slot<'_>, task: &'a Task) -> impl Iterator<Item = Timestamp> + 'a {
    let upto = slot.tasks.iter().position(|t| t.id == task.id).map_or(slot.tasks.len(), |place| place + 1);
    let same = move |t: &Task| t.spec_version == task.spec_version && t.job_iteration == task.job_iteration;
    let run = slot.tasks[..upto].iter().rev().take_while(move |t| same(t)).count();
    let first = upto - run + 1;
    slot.tasks[first.min(upto)..upto].iter().rev().map(|t| t.meta.created_at)
}

/// Restarts the slot's tasks that `ended` says so of; where there are none, starts those that wait to.
pub(super) fn tend(pass: &mut Pass<'_>, service: &Service, slot: &Slot<'_>, ended: impl Fn(&Pass<'_>, &Task) -> bool) {
    let mut restarted = false;
    for task in slot.active() {
        if ended(pass, task) {
            restarted |= restart(pass, service, slot, task);
        }
    }
    if !restarted {
        start_ready(pass, slot);
    }
}

/// Stops a task for good and, if the policy says so, makes its replacement in the same slot. Not before the task's own
/// restart delay is over: false then.
fn restart(pass: &mut Pass<'_>, service: &Service, slot: &Slot<'_>, task: &Task) -> bool {
    if task.desired_state == DesiredState::Ready {
        // It failed while it waited for its own restart: wait on, or a missing image would be tried in a tight loop.
        let start = starts_at(pass, slot, task);
        if pass.now < start {
            pass.wake_at(start);
            return false;
        }
    }
    // Where an update has a newer task in the slot already, that one is the replacement.
    let newest = slot.active().last().is_none_or(|last| last.id == task.id);
    let replace = newest && should_restart(service, slot, task);
    if pass.room(1 + usize::from(replace)) {
        pass.desire(task, DesiredState::Shutdown);
        if replace {
            let new = pass.new_task(service, slot.key, DesiredState::Ready);
            pass.create(new);
        }
    }
    true
}

/// Tells the slot's tasks that wait to start, and may, to run.
pub(super) fn start_ready(pass: &mut Pass<'_>, slot: &Slot<'_>) {
    for task in slot.active() {
        if task.desired_state != DesiredState::Ready || task.status.state > TaskState::Running {
            continue;
        }
        let start = starts_at(pass, slot, task);
        if pass.now < start {
            pass.wake_at(start);
            continue;
        }
        let give_up = task.meta.created_at.plus(OLD_TASK_TIMEOUT);
        if pass.now < give_up && slot.tasks.iter().any(|old| old.id != task.id && is_stopping(pass, old)) {
            pass.wake_at(give_up);
            continue;
        }
        if !pass.room(1) {
            return;
        }
        let desired = if task.job_iteration.is_some() { DesiredState::Complete } else { DesiredState::Running };
        pass.desire(task, desired);
    }
}

/// When a waiting task's restart delay is over.
///
/// There is none for a task that took another one's place by an update (its predecessor is of another version), nor
/// for one that left a drained node: nothing failed there.
fn starts_at(pass: &Pass<'_>, slot: &Slot<'_>, task: &Task) -> Timestamp {
    let made = task.meta.created_at;
    let place = slot.tasks.iter().position(|t| t.id == task.id).unwrap_or(0);
    let Some(predecessor) = slot.tasks[..place].iter().rev().find(|t| !is_active(t)) else { return made };
    let drained = predecessor
        .node_id
        .and_then(|id| pass.store.nodes().get(id))
        .is_some_and(|node| node.spec.availability == NodeAvailability::Drain);
    if drained || predecessor.spec_version != task.spec_version {
        return made;
    }
    made.plus(predecessor.spec.restart.as_ref().and_then(|policy| policy.delay).unwrap_or(DEFAULT_RESTART_DELAY))
}

/// Whether a task was told to stop and its node may still run it.
fn is_stopping(pass: &Pass<'_>, task: &Arc<Task>) -> bool {
    !is_active(task)
        && (TaskState::Assigned..=TaskState::Running).contains(&task.status.state)
        && !is_lost(task.node_id.and_then(|id| pass.store.nodes().get(id)))
}
