//! Jobs: tasks that run until they completed, a number of them or one on each node.
//!
//! Each run of a job (`job_status.iteration`) has tasks of its own; those of earlier runs are removed. A completed
//! task keeps its slot, so that there is one completed task in each slot when the job is done.

use std::collections::BTreeSet;

use swarm_types::*;

use super::global::takes_tasks;
use super::pass::Pass;
use super::restart::{should_restart, tend};
use super::slot::{Slot, SlotKey, must_leave, slots_of};

/// Brings a job's tasks closer to its completion.
pub(super) fn reconcile(pass: &mut Pass<'_>, service: &Service) {
    let iteration = service.job_status.unwrap_or_default().iteration;
    let slots = slots_of(pass.store, service);
    let mut taken: BTreeSet<SlotKey> = BTreeSet::new();
    let (mut running, mut completed, mut failed) = (0u64, 0u64, 0u64);
    for slot in slots.values() {
        let (current, old): (Vec<_>, Vec<_>) =
            slot.tasks.iter().copied().partition(|task| task.job_iteration.unwrap_or_default() == iteration);
        for task in old {
            if pass.room(1) {
                pass.desire(task, DesiredState::Remove);
            }
        }
        let slot = Slot { key: slot.key, tasks: current };
        if slot.tasks.iter().any(|task| task.status.state == TaskState::Complete) {
            completed += 1;
            taken.insert(slot.key);
            continue;
        }
        if slot.active().next().is_none() && slot.newest().is_some_and(|task| !should_restart(service, &slot, task)) {
            // Its attempts are used up: the job will not complete, but its other slots go on.
            failed += 1;
            taken.insert(slot.key);
            continue;
        }
        let is_lost =
            |pass: &Pass<'_>, task: &Task| task.node_id.is_some_and(|id| must_leave(pass.store.nodes().get(id)));
        running += slot.active().count() as u64;
        taken.extend(slot.active().map(|_| slot.key));
        if matches!(service.spec.mode, ServiceMode::GlobalJob) && slot.active().any(|task| is_lost(pass, task)) {
            for task in slot.active() {
                if pass.room(1) {
                    pass.desire(task, DesiredState::Shutdown);
                }
            }
            continue;
        }
        tend(pass, service, &slot, |pass, task| task.status.state > TaskState::Complete || is_lost(pass, task));
    }

    match service.spec.mode {
        ServiceMode::ReplicatedJob { max_concurrent, total_completions } => {
            let missing = total_completions.saturating_sub(completed + failed + running);
            let count = missing.min(max_concurrent.saturating_sub(running));
            // Numbered from 0, as swarmkit does it.
            let free = (0..total_completions).map(SlotKey::Number).filter(|key| !taken.contains(key));
            for key in free.take(usize::try_from(count).unwrap_or(usize::MAX)) {
                if !create(pass, service, key) {
                    return;
                }
            }
        }
        ServiceMode::GlobalJob => {
            for node in pass.store.nodes().iter() {
                let key = SlotKey::Node(node.id);
                if takes_tasks(&service.spec.task, node) && !taken.contains(&key) && !create(pass, service, key) {
                    return;
                }
            }
        }
        ServiceMode::Replicated { .. } | ServiceMode::Global => {}
    }
}

fn create(pass: &mut Pass<'_>, service: &Service, key: SlotKey) -> bool {
    let room = pass.room(1);
    if room {
        let task = pass.new_task(service, key, DesiredState::Complete);
        pass.create(task);
    }
    room
}
