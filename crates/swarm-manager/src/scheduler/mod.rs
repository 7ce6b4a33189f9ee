//! Gives tasks a node: PENDING to ASSIGNED.
//!
//! Pending tasks are grouped by service and spec version, and each group is placed as a whole ([`place`]). What is
//! decided is booked on the nodes at once and handed out in batches; a booking is taken back when the task's event
//! comes (which then counts itself) or when the proposal turns out to be lost. Tasks that no node takes say why in
//! their status, and are tried again when nodes change or tasks end.
//!
//! Global tasks come with their node: for them the scheduler checks that it will do. Attachments of single containers
//! come with theirs too, and are none of the scheduler's business: the container is there already.
//!
//! Left out: moving tasks that run. Swarm never does that by itself.

mod demand;
mod filter;
mod node_set;
mod place;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use swarm_types::*;

use crate::component::{Component, MAX_ACTIONS};
use crate::store::{Event, Store, StoreAction};
use demand::Demand;
use filter::Requirements;
use place::place_group;

pub use node_set::NodeSet;
pub use place::{Group, Placed, Placement, place};

/// The scheduler. See the module.
#[derive(Debug, Default)]
pub struct Scheduler {
    nodes: NodeSet,
    /// Tasks to place, by what they have in common.
    pending: BTreeMap<(ServiceId, Version), BTreeSet<TaskId>>,
    /// Tasks whose node is given, to be checked.
    preassigned: BTreeSet<TaskId>,
    /// Tasks that no node takes.
    unplaced: BTreeSet<TaskId>,
    /// Something changed that may let some of them in.
    retry: bool,
    /// Booked, but not in the store yet.
    booked: BTreeMap<TaskId, Booking>,
    /// Those of the booked that are still to be proposed.
    outbox: VecDeque<TaskId>,
    /// Those that were proposed last.
    in_flight: Vec<TaskId>,
    /// Explanations to be written.
    explanations: BTreeMap<TaskId, String>,
}

/// A decision on its way into the store.
#[derive(Debug)]
struct Booking {
    node: NodeId,
    epoch: u64,
    generation: u64,
    demand: Arc<Demand>,
    resources: Vec<GenericResource>,
    message: &'static str,
    /// Handed out already: a second place in the outbox means nothing.
    proposed: bool,
}

impl Scheduler {
    /// A scheduler that leads nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a task where it belongs: to be placed, to be checked, or nowhere.
    fn enqueue(&mut self, task: &Task) {
        if !awaits_node(task) {
            return;
        }
        match (task.node_id, group_key(task)) {
            (Some(_), _) => drop(self.preassigned.insert(task.id)),
            (None, Some(key)) => drop(self.pending.entry(key).or_default().insert(task.id)),
            (None, None) => {}
        }
    }

    fn dequeue(&mut self, task: &Task) {
        if let Some(key) = group_key(task)
            && let Some(tasks) = self.pending.get_mut(&key)
        {
            tasks.remove(&task.id);
            if tasks.is_empty() {
                self.pending.remove(&key);
            }
        }
        self.preassigned.remove(&task.id);
        self.unplaced.remove(&task.id);
        self.explanations.remove(&task.id);
    }

    /// Takes a booking back.
    fn unbook(&mut self, task: TaskId, service: Option<ServiceId>) {
        if let Some(booking) = self.booked.remove(&task)
            && let Some(service) = service
            && let Some(info) = self.nodes.get_mut(booking.node).filter(|info| info.epoch == booking.epoch)
        {
            info.subtract(service, true, &booking.demand, &booking.resources);
        }
    }

    /// Counts a task of the store on its node, or no longer.
    fn account(&mut self, task: &Task, add: bool) {
        let (Some(node), Some(service)) = (task.node_id.filter(|_| uses_node(task)), task.service_id) else { return };
        let Some(info) = self.nodes.get_mut(node) else { return };
        let demand = Demand::of(&task.spec, task.endpoint.as_deref());
        let active = task.desired_state <= DesiredState::Complete;
        if add {
            info.add(service, active, &demand, &task.assigned_resources);
        } else {
            info.subtract(service, active, &demand, &task.assigned_resources);
        }
    }

    fn task_updated(&mut self, now: Timestamp, old: &Task, new: &Task) {
        self.unbook(new.id, new.service_id);
        let same = old.node_id == new.node_id
            && old.desired_state == new.desired_state
            && uses_node(old) == uses_node(new)
            && old.endpoint == new.endpoint
            && old.assigned_resources == new.assigned_resources;
        if !same {
            self.account(old, false);
            self.account(new, true);
            self.retry |= uses_node(old);
        }
        let failed = matches!(new.status.state, TaskState::Failed | TaskState::Rejected);
        if failed
            && !old.status.state.is_terminal()
            && let Some(service) = new.service_id
            && let Some(info) = new.node_id.and_then(|node| self.nodes.get_mut(node))
        {
            info.failed(now, service, new.spec_version);
        }
        if !awaits_node(new) {
            self.dequeue(new);
        } else if !awaits_node(old) || old.spec != new.spec || old.desired_state != new.desired_state {
            self.dequeue(old);
            self.enqueue(new);
        } else if !self.unplaced.contains(&new.id) {
            self.enqueue(new);
        }
    }

    /// What was proposed and has not come back was lost on the way.
    fn recover_lost(&mut self, store: &Store) {
        for id in std::mem::take(&mut self.in_flight) {
            if self.booked.contains_key(&id) {
                self.abandon(id, store);
            }
        }
    }

    /// Takes a decision back and looks at the task anew.
    fn abandon(&mut self, id: TaskId, store: &Store) {
        match store.tasks().get(id) {
            Some(task) => {
                self.unbook(id, task.service_id);
                self.enqueue(task);
            }
            None => drop(self.booked.remove(&id)),
        }
    }

    fn retry_unplaced(&mut self, store: &Store) {
        if !std::mem::take(&mut self.retry) {
            return;
        }
        for id in std::mem::take(&mut self.unplaced) {
            if let Some(task) = store.tasks().get(id) {
                self.enqueue(task);
            }
        }
    }

    fn check_preassigned(&mut self, store: &Store) {
        for id in std::mem::take(&mut self.preassigned) {
            let Some(task) = store.tasks().get(id).filter(|task| awaits_node(task)) else { continue };
            let (Some(node), Some(service)) = (task.node_id, task.service_id) else { continue };
            if self.booked.contains_key(&id) {
                continue;
            }
            let drivers = network_drivers(task, store);
            let requirements = Requirements::new(service, &task.spec, task.endpoint.as_deref(), &drivers);
            let Some(info) = self.nodes.get_mut(node) else {
                self.unplaced.insert(id);
                continue;
            };
            match requirements.check(info) {
                Ok(()) => {
                    let resources = info.usage.claim(info.offered(), &requirements.demand);
                    info.add(service, true, &requirements.demand, &resources);
                    let booking = Booking {
                        node,
                        epoch: info.epoch,
                        generation: info.generation,
                        demand: Arc::new(requirements.demand),
                        resources,
                        message: "scheduler confirmed task can run on preassigned node",
                        proposed: false,
                    };
                    self.booked.insert(id, booking);
                    self.outbox.push_back(id);
                }
                Err(filter) => {
                    let mut refusals = filter::Refusals::default();
                    refusals.count(filter);
                    self.unplaced.insert(id);
                    self.explanations.insert(id, refusals.explain());
                }
            }
        }
    }

    fn place_pending(&mut self, now: Timestamp, store: &Store) {
        for ((service, spec_version), tasks) in std::mem::take(&mut self.pending) {
            let due = |id: &TaskId| !self.booked.contains_key(id);
            let tasks: Vec<TaskId> = tasks.into_iter().filter(due).collect();
            let Some(first) = tasks.iter().find_map(|id| store.tasks().get(*id)) else { continue };
            let group = Group {
                service,
                spec_version,
                spec: first.spec.clone(),
                endpoint: first.endpoint.clone(),
                network_drivers: network_drivers(first, store),
                tasks,
            };
            let placed = place_group(&mut self.nodes, &group, now);
            for placement in placed.placements {
                let Some(info) = self.nodes.get(placement.node) else { continue };
                let booking = Booking {
                    node: placement.node,
                    epoch: info.epoch,
                    generation: info.generation,
                    demand: placed.demand.clone(),
                    resources: placement.resources,
                    message: "scheduler assigned task to node",
                    proposed: false,
                };
                self.booked.insert(placement.task, booking);
                self.outbox.push_back(placement.task);
            }
            for task in placed.unplaced {
                self.unplaced.insert(task);
                self.explanations.insert(task, placed.explanation.clone());
            }
        }
    }

    fn hand_out(&mut self, now: Timestamp, store: &Store, actions: &mut Vec<StoreAction>) {
        while actions.len() < MAX_ACTIONS {
            let Some(id) = self.outbox.pop_front() else { break };
            let Some(booking) = self.booked.get_mut(&id).filter(|booking| !booking.proposed) else { continue };
            let holds = self
                .nodes
                .get(booking.node)
                .is_some_and(|info| info.epoch == booking.epoch && info.generation == booking.generation);
            let Some(task) = store.tasks().get(id).filter(|task| holds && awaits_node(task)) else {
                self.abandon(id, store);
                continue;
            };
            booking.proposed = true;
            actions.push(StoreAction::AssignTask {
                id,
                read: task.meta.version,
                node: booking.node,
                resources: booking.resources.clone(),
                status: TaskStatus {
                    state: TaskState::Assigned,
                    message: booking.message.to_owned(),
                    timestamp: now,
                    err: String::new(),
                    ..task.status.clone()
                },
            });
            self.in_flight.push(id);
        }
    }

    fn explain(&mut self, now: Timestamp, store: &Store, actions: &mut Vec<StoreAction>) {
        while actions.len() < MAX_ACTIONS {
            let Some((id, err)) = self.explanations.pop_first() else { break };
            let Some(task) = store.tasks().get(id).filter(|t| awaits_node(t) && t.status.err != err) else { continue };
            let status = TaskStatus { timestamp: now, err, ..task.status.clone() };
            actions.push(StoreAction::SetTaskStatus { id, status });
        }
    }
}

impl Component for Scheduler {
    fn name(&self) -> &'static str {
        "scheduler"
    }

    fn start(&mut self, _now: Timestamp, store: &Store) {
        *self = Self::default();
        for node in store.nodes().iter() {
            self.nodes.put(node.clone());
        }
        for task in store.tasks().iter() {
            self.account(task, true);
            self.enqueue(task);
        }
    }

    fn handle(&mut self, now: Timestamp, event: &Event, store: &Store) {
        match event {
            Event::Created(Object::Task(task)) => {
                self.account(task, true);
                self.enqueue(task);
            }
            Event::Updated { old: Object::Task(old), new: Object::Task(new) } => self.task_updated(now, old, new),
            Event::Removed(Object::Task(task)) => {
                self.unbook(task.id, task.service_id);
                self.account(task, false);
                self.dequeue(task);
                self.retry |= uses_node(task);
            }
            Event::Created(Object::Node(node)) => {
                self.nodes.put(node.clone());
                // Tasks of a node that was forgotten and came back with its id.
                let tasks: Vec<Arc<Task>> = store.node_tasks(node.id).cloned().collect();
                tasks.iter().for_each(|task| self.account(task, true));
                self.retry = true;
            }
            Event::Updated { old: Object::Node(old), new: Object::Node(new) } if matters_for_placing(old, new) => {
                self.nodes.put(new.clone());
                self.retry = true;
            }
            Event::Removed(Object::Node(node)) => {
                self.nodes.remove(node.id);
                // Fewer nodes let nobody in, but the explanations count them.
                self.retry = true;
            }
            _ => {}
        }
    }

    fn tick(&mut self, _now: Timestamp, _store: &Store) {}

    fn poll_actions(&mut self, now: Timestamp, store: &Store) -> Vec<StoreAction> {
        self.recover_lost(store);
        self.retry_unplaced(store);
        self.check_preassigned(store);
        self.place_pending(now, store);
        let mut actions = Vec::new();
        self.hand_out(now, store, &mut actions);
        self.explain(now, store, &mut actions);
        actions
    }

    fn poll_timeout(&self) -> Option<Timestamp> {
        None
    }
}

/// Whether the scheduler is to find a node for the task, or to confirm the one that it has.
fn awaits_node(task: &Task) -> bool {
    task.status.state == TaskState::Pending && task.desired_state <= DesiredState::Complete && task.service_id.is_some()
}

/// Whether the task takes something of its node.
fn uses_node(task: &Task) -> bool {
    task.status.state >= TaskState::Assigned && task.status.state <= TaskState::Running
}

/// What tasks that are placed together have in common. `None` for attachments, which were made on their node.
fn group_key(task: &Task) -> Option<(ServiceId, Version)> {
    Some((task.service_id?, task.spec_version))
}

/// Whether a node changed in anything that filters or constraints look at.
fn matters_for_placing(old: &Node, new: &Node) -> bool {
    old.status != new.status || old.spec != new.spec || old.role != new.role || old.description != new.description
}

fn network_drivers(task: &Task, store: &Store) -> Vec<String> {
    let networks = task.networks.iter().filter_map(|attachment| store.networks().get(attachment.network_id));
    networks.filter_map(|network| network.driver_state.as_ref().map(|state| state.name.clone())).collect()
}
