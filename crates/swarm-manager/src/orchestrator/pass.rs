//! One look at one service: the store as it is, and the actions decided so far.

use std::sync::Arc;

use swarm_types::*;

use super::slot::SlotKey;
use crate::component::MAX_ACTIONS;
use crate::store::{Store, StoreAction};

/// Collects what is decided in one call of `poll_actions`.
pub(super) struct Pass<'a> {
    pub now: Timestamp,
    pub store: &'a Store,
    pub ids: &'a mut IdSource,
    /// When to look at the service again although nothing happened.
    pub wake: Option<Timestamp>,
    /// Decisions were left out for lack of room: look again at once.
    pub cut: bool,
    actions: &'a mut Vec<StoreAction>,
}

impl<'a> Pass<'a> {
    pub fn new(now: Timestamp, store: &'a Store, ids: &'a mut IdSource, actions: &'a mut Vec<StoreAction>) -> Self {
        Self { now, store, ids, wake: None, cut: false, actions }
    }

    /// Whether `count` more actions fit. Those that belong together are asked for together, so that no proposal
    /// stops a task without making its successor.
    pub fn room(&mut self, count: usize) -> bool {
        let fits = self.actions.len() + count <= MAX_ACTIONS;
        self.cut |= !fits;
        fits
    }

    pub fn push(&mut self, action: StoreAction) {
        debug_assert!(self.actions.len() < MAX_ACTIONS, "room() is asked before");
        self.actions.push(action);
    }

    /// Wants `desired` of a task; nothing where it is wanted already, or more.
    pub fn desire(&mut self, task: &Task, desired: DesiredState) {
        if task.desired_state < desired {
            self.push(StoreAction::SetDesiredState { id: task.id, desired });
        }
    }

    /// Creates a task and returns its id.
    pub fn create(&mut self, task: Task) -> TaskId {
        let id = task.id;
        self.push(StoreAction::Create(Object::Task(Arc::new(task))));
        id
    }

    /// Looks again at `at` at the latest.
    pub fn wake_at(&mut self, at: Timestamp) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }

    /// A task of a service in a slot, made from the service's spec as it is now.
    pub fn new_task(&mut self, service: &Service, key: SlotKey, desired: DesiredState) -> Task {
        let (slot, node_id) = match key {
            SlotKey::Number(slot) => (slot, None),
            SlotKey::Node(node) => (0, Some(node)),
        };
        let endpoint = Endpoint { spec: service.spec.endpoint.clone().unwrap_or_default(), ..Endpoint::default() };
        Task {
            id: self.ids.id(),
            meta: Meta::default(),
            service_id: Some(service.id),
            slot,
            node_id,
            spec: service.spec.task.clone(),
            spec_version: service.spec_version,
            service_annotations: Arc::new(service.spec.annotations.clone()),
            status: TaskStatus {
                timestamp: self.now,
                state: TaskState::New,
                message: "created".to_owned(),
                ..TaskStatus::default()
            },
            desired_state: desired,
            networks: Vec::new(),
            // Only the spec: the allocator fills in the rest. It tells later that the ports were changed.
            endpoint: Some(Arc::new(endpoint)),
            assigned_resources: Vec::new(),
            job_iteration: service.job_status.filter(|_| service.spec.mode.is_job()).map(|status| status.iteration),
        }
    }
}
