//! Replicated services: as many slots with a task as there are replicas.

use std::collections::{BTreeMap, BTreeSet};

use swarm_types::*;

use super::pass::Pass;
use super::restart::{should_restart, tend};
use super::slot::{Slot, SlotKey, must_leave, slots_of};
use super::update::{Run, update};

/// Brings a replicated service's tasks closer to its spec.
pub(super) fn reconcile(pass: &mut Pass<'_>, service: &Service, replicas: u64, run: &mut Option<Run>) {
    let slots = slots_of(pass.store, service);
    let (mut used, dead): (Vec<_>, Vec<_>) = slots.values().partition(|slot| is_used(service, slot));

    let (count, wanted) = (used.len(), usize::try_from(replicas).unwrap_or(usize::MAX));
    if count > wanted {
        sort_to_keep(&mut used);
        for slot in used.drain(wanted..) {
            remove(pass, slot);
        }
    }
    // Before new ones: their numbers may be those of dead slots, whose history then stays.
    let added = free_numbers(&used, wanted.saturating_sub(count));
    for slot in dead {
        if !added.contains(&slot.key) {
            remove(pass, slot);
        }
    }
    let updated = update(pass, service, &used, run);
    if updated.reverted {
        return;
    }
    for slot in &used {
        if updated.slots.contains(&slot.key) {
            continue;
        }
        tend(pass, service, slot, |pass, task| {
            task.status.state > TaskState::Running
                || task.node_id.is_some_and(|id| must_leave(pass.store.nodes().get(id)))
        });
    }
    for key in added {
        if !pass.room(1) {
            return;
        }
        let task = pass.new_task(service, key, DesiredState::Running);
        pass.create(task);
    }
}

/// Whether a slot counts as one of the replicas: it has a task that should run, or its last one ended and the restart
/// policy wants no other. A rollback fills the latter again, so that it always ends with all replicas.
pub(super) fn is_used(service: &Service, slot: &Slot<'_>) -> bool {
    if slot.active().next().is_some() {
        return true;
    }
    let rolling_back =
        service.update_status.as_ref().is_some_and(|status| status.state == UpdateState::RollbackStarted);
    !rolling_back && slot.newest().is_some_and(|task| !should_restart(service, slot, task))
}

/// The lowest slot numbers that are free, from 1.
fn free_numbers(used: &[&Slot<'_>], count: usize) -> BTreeSet<SlotKey> {
    let taken: BTreeSet<SlotKey> = used.iter().map(|slot| slot.key).collect();
    // No more than fit into one proposal: the rest follows when these are there.
    let count = count.min(crate::component::MAX_ACTIONS + 1);
    (1..).map(SlotKey::Number).filter(|key| !taken.contains(key)).take(count).collect()
}

/// Sorts slots so that those to keep come first: one of each node before the second of any, running before others,
/// low numbers before high ones.
fn sort_to_keep(slots: &mut Vec<&Slot<'_>>) {
    let runs = |slot: &Slot<'_>| slot.active().any(|task| task.status.state == TaskState::Running);
    slots.sort_by_key(|slot| (!runs(slot), slot.key));
    let mut on_node: BTreeMap<NodeId, usize> = BTreeMap::new();
    let mut ranked: Vec<(usize, &Slot<'_>)> = slots
        .iter()
        .map(|slot| {
            let mut active = slot.active();
            let node = match (active.next(), active.next()) {
                (Some(task), None) => task.node_id,
                _ => None,
            };
            let rank = node.map_or(usize::MAX, |node| {
                let nth = on_node.entry(node).or_default();
                *nth += 1;
                *nth
            });
            (rank, *slot)
        })
        .collect();
    ranked.sort_by_key(|(rank, _)| *rank);
    *slots = ranked.into_iter().map(|(_, slot)| slot).collect();
}

fn remove(pass: &mut Pass<'_>, slot: &Slot<'_>) {
    for task in &slot.tasks {
        if !pass.room(1) {
            return;
        }
        pass.desire(task, DesiredState::Remove);
    }
}
