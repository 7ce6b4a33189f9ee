//! Global services: one task on every node that may run it.

use std::collections::BTreeSet;

use swarm_types::*;

use super::pass::Pass;
use super::restart::{should_restart, start_ready, tend};
use super::slot::{Slot, SlotKey, matches_constraints, must_leave, slots_of};
use super::update::{Run, update};

/// Brings a global service's tasks closer to its spec.
pub(super) fn reconcile(pass: &mut Pass<'_>, service: &Service, run: &mut Option<Run>) {
    let slots = slots_of(pass.store, service);
    let mut kept: Vec<&Slot<'_>> = Vec::new();
    for slot in slots.values() {
        let SlotKey::Node(id) = slot.key else { continue };
        let node = pass.store.nodes().get(id);
        if node.is_none() {
            // The node was removed, and with it what ran there: no history of it stays.
            apply_to_all(pass, slot, DesiredState::Remove);
        } else if must_leave(node) || node.is_some_and(|node| !matches_constraints(&service.spec.task, node)) {
            apply_to_all(pass, slot, DesiredState::Shutdown);
        } else if slot.active().next().is_some()
            || slot.newest().is_some_and(|task| !should_restart(service, slot, task))
        {
            kept.push(slot);
        }
    }

    let paused = |slot: &Slot<'_>| match slot.key {
        SlotKey::Node(id) => {
            pass.store.nodes().get(id).is_some_and(|node| node.spec.availability == NodeAvailability::Pause)
        }
        SlotKey::Number(_) => false,
    };
    let (paused, updatable): (Vec<_>, Vec<_>) = kept.iter().copied().partition(|slot| paused(slot));
    let updated = update(pass, service, &updatable, run);
    if updated.reverted {
        return;
    }
    for slot in paused {
        // What ends on a paused node is not started again: that would be a new task.
        for task in slot.active().filter(|task| task.status.state > TaskState::Running) {
            if pass.room(1) {
                pass.desire(task, DesiredState::Shutdown);
            }
        }
        start_ready(pass, slot);
    }
    for slot in updatable.iter().filter(|slot| !updated.slots.contains(&slot.key)) {
        tend(pass, service, slot, |_, task| task.status.state > TaskState::Running);
    }
    let served: BTreeSet<SlotKey> = kept.iter().map(|slot| slot.key).collect();
    for node in pass.store.nodes().iter() {
        let key = SlotKey::Node(node.id);
        if takes_tasks(&service.spec.task, node) && !served.contains(&key) {
            if !pass.room(1) {
                return;
            }
            let task = pass.new_task(service, key, DesiredState::Running);
            pass.create(task);
        }
    }
}

/// Whether a new global task may be made for a node.
pub(super) fn takes_tasks(spec: &TaskSpec, node: &Node) -> bool {
    node.spec.availability == NodeAvailability::Active
        && node.status.state == NodeState::Ready
        && matches_constraints(spec, node)
}

fn apply_to_all(pass: &mut Pass<'_>, slot: &Slot<'_>, desired: DesiredState) {
    for task in &slot.tasks {
        if !pass.room(1) {
            return;
        }
        pass.desire(task, desired);
    }
}
