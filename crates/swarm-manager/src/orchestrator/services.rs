//! The component that drives replicated and global services and jobs.

use std::collections::{BTreeMap, BTreeSet};

use swarm_types::*;

use super::pass::Pass;
use super::slot::{is_active, must_leave};
use super::update::Run;
use super::{global, jobs, replicated};
use crate::component::Component;
use crate::store::{Event, Store, StoreAction};

/// Keeps the tasks of all services as their specs want them.
pub struct ServiceOrchestrator {
    ids: IdSource,
    /// Services to look at.
    dirty: BTreeSet<ServiceId>,
    /// Services to look at later: restart delays, monitoring periods.
    wakes: BTreeMap<ServiceId, Timestamp>,
    updates: BTreeMap<ServiceId, Run>,
}

impl ServiceOrchestrator {
    /// A component that draws the ids of new tasks from `ids`.
    pub fn new(ids: IdSource) -> Self {
        Self { ids, dirty: BTreeSet::new(), wakes: BTreeMap::new(), updates: BTreeMap::new() }
    }

    fn on_task(&mut self, task: &Task, old: Option<&Task>, store: &Store) {
        let Some(service_id) = task.service_id else { return };
        let ended = task.status.state > TaskState::Running;
        let just_ended = ended && old.is_none_or(|old| old.status.state <= TaskState::Running);
        let told = old.is_none_or(|old| old.desired_state != task.desired_state);
        let misplaced = || {
            is_active(task)
                && task.node_id != old.and_then(|old| old.node_id)
                && task.node_id.is_some_and(|id| must_leave(store.nodes().get(id)))
        };
        let updating = || {
            store.services().get(service_id).is_some_and(|service| {
                service
                    .update_status
                    .as_ref()
                    .is_some_and(|status| matches!(status.state, UpdateState::Updating | UpdateState::RollbackStarted))
            })
        };
        if just_ended || told || misplaced() || updating() {
            self.dirty.insert(service_id);
        }
    }

    fn on_node(&mut self, id: NodeId, store: &Store) {
        self.dirty.extend(store.node_tasks(id).filter_map(|task| task.service_id));
        let everywhere = |service: &&std::sync::Arc<Service>| {
            matches!(service.spec.mode, ServiceMode::Global | ServiceMode::GlobalJob)
        };
        self.dirty.extend(store.services().iter().filter(everywhere).map(|service| service.id));
    }

    fn reconcile(&mut self, pass: &mut Pass<'_>, id: ServiceId) {
        let mut run = self.updates.remove(&id);
        match pass.store.services().get(id) {
            None => {
                remove_all(pass, id);
                run = None;
            }
            Some(service) => match service.spec.mode {
                ServiceMode::Replicated { replicas } => replicated::reconcile(pass, service, replicas, &mut run),
                ServiceMode::Global => global::reconcile(pass, service, &mut run),
                ServiceMode::ReplicatedJob { .. } | ServiceMode::GlobalJob => jobs::reconcile(pass, service),
            },
        }
        self.updates.extend(run.map(|run| (id, run)));
    }
}

/// The service is gone: so are its tasks, once they stopped.
fn remove_all(pass: &mut Pass<'_>, service: ServiceId) {
    for task in pass.store.service_tasks(service) {
        if task.desired_state == DesiredState::Remove {
            continue;
        }
        if !pass.room(1) {
            return;
        }
        pass.desire(task, DesiredState::Remove);
    }
}

impl Component for ServiceOrchestrator {
    fn name(&self) -> &'static str {
        "orchestrator"
    }

    fn start(&mut self, _now: Timestamp, store: &Store) {
        self.wakes.clear();
        self.updates.clear();
        self.dirty = store.services().iter().map(|service| service.id).collect();
        self.dirty.extend(store.tasks().iter().filter_map(|task| task.service_id));
    }

    fn handle(&mut self, _now: Timestamp, event: &Event, store: &Store) {
        match (event, event.object()) {
            (_, Object::Service(service)) => {
                self.dirty.insert(service.id);
            }
            (Event::Updated { old: Object::Task(old), .. }, Object::Task(task)) => {
                self.on_task(task, Some(old), store);
            }
            (Event::Removed(_), Object::Task(task)) if is_active(task) => self.dirty.extend(task.service_id),
            (Event::Removed(_), Object::Task(_)) => {}
            (_, Object::Task(task)) => self.on_task(task, None, store),
            (Event::Updated { old: Object::Node(old), .. }, Object::Node(node)) => {
                // Heartbeats and descriptions change much that does not matter here.
                let same = old.spec == node.spec
                    && old.status == node.status
                    && old.role == node.role
                    && old.description == node.description;
                if !same {
                    self.on_node(node.id, store);
                }
            }
            (_, Object::Node(node)) => self.on_node(node.id, store),
            _ => {}
        }
    }

    fn tick(&mut self, now: Timestamp, _store: &Store) {
        let due: Vec<ServiceId> = self.wakes.iter().filter(|(_, at)| **at <= now).map(|(id, _)| *id).collect();
        for id in due {
            self.wakes.remove(&id);
            self.dirty.insert(id);
        }
    }

    fn poll_actions(&mut self, now: Timestamp, store: &Store) -> Vec<StoreAction> {
        let mut actions = Vec::new();
        while let Some(id) = self.dirty.first().copied() {
            // The source of ids moves out for the call, so that the rest of the component can be borrowed.
            let mut ids = std::mem::replace(&mut self.ids, IdSource::from_seed(0));
            let mut pass = Pass::new(now, store, &mut ids, &mut actions);
            self.reconcile(&mut pass, id);
            let (wake, cut) = (pass.wake, pass.cut);
            self.ids = ids;
            match wake {
                Some(at) => self.wakes.insert(id, at),
                None => self.wakes.remove(&id),
            };
            if cut {
                break;
            }
            self.dirty.remove(&id);
        }
        actions
    }

    fn poll_timeout(&self) -> Option<Timestamp> {
        self.wakes.values().min().copied()
    }
}
