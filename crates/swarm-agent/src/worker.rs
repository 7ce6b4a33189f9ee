//! What the node has: its tasks and what they need, kept in step with the sets that the dispatcher sends.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use swarm_types::*;

use crate::input::{Output, RuntimeEvent, StoredTask};
use crate::limits::MAX_TASKS;
use crate::reporter::Reporter;
use crate::task_controller::{Dependencies, Missing, TaskController};

#[derive(Debug, Default)]
pub(crate) struct Worker {
    tasks: BTreeMap<TaskId, TaskController>,
    networks: BTreeMap<NetworkId, Arc<Network>>,
    secrets: BTreeMap<SecretId, Arc<Secret>>,
    configs: BTreeMap<ConfigId, Arc<Config>>,
    /// A complete set was seen since the start: what is missing now will not come.
    complete_seen: bool,
    /// The number of the set that the node has, within the session.
    sequence: Option<u64>,
}

impl Worker {
    pub fn restore(&mut self, stored: Vec<StoredTask>, outputs: &mut Vec<Output>) {
        for StoredTask { task, assigned } in stored {
            let (id, controller) = (task.id, TaskController::restored(Arc::new(task), assigned));
            outputs.extend(controller.recovery().map(Output::Runtime));
            self.tasks.insert(id, controller);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// The tasks with what was observed of them.
    pub fn observed(&self) -> impl Iterator<Item = Task> {
        self.tasks.values().map(TaskController::observed)
    }

    /// A new session numbers its sets anew.
    pub fn session_lost(&mut self) {
        self.sequence = None;
    }

    /// Takes a set in. An error means that a set was lost in between: the session is of no more use.
    pub fn assign(
        &mut self,
        now: Timestamp,
        set: Assignments,
        reporter: &mut Reporter,
        outputs: &mut Vec<Output>,
    ) -> Result<(), OutOfStep> {
        let complete = match set.kind {
            AssignmentsKind::Complete => true,
            AssignmentsKind::Incremental { applies_to } if Some(applies_to) == self.sequence => false,
            AssignmentsKind::Incremental { applies_to } => {
                return Err(OutOfStep { have: self.sequence, applies_to });
            }
        };
        self.sequence = Some(set.results_in);
        let first = complete && !self.complete_seen;
        self.complete_seen |= complete;
        let named: BTreeSet<ObjectId> =
            if complete { set.changes.iter().filter_map(updated_object).collect() } else { BTreeSet::new() };
        let mut touched = BTreeSet::new();
        let networks_before = self.networks.clone();
        for change in set.changes {
            match change {
                AssignmentChange::Update(assignment) => self.update(now, assignment, reporter, outputs, &mut touched),
                AssignmentChange::Remove(id) => self.remove(id, &mut touched),
            }
        }
        if complete {
            self.keep_only(&named, reporter, &mut touched);
        }
        if first || self.networks != networks_before {
            outputs.push(Output::Networks(self.networks.values().cloned().collect()));
        }
        for task in touched {
            self.drive(now, task, Change::Assignment, reporter, outputs);
        }
        if complete {
            // Tasks from disk that waited for what they need.
            let waiting: Vec<TaskId> = self.tasks.keys().copied().collect();
            for task in waiting {
                self.drive(now, task, Change::None, reporter, outputs);
            }
        }
        Ok(())
    }

    fn update(
        &mut self,
        now: Timestamp,
        assignment: Assignment,
        reporter: &mut Reporter,
        outputs: &mut Vec<Output>,
        touched: &mut BTreeSet<TaskId>,
    ) {
        match assignment {
            Assignment::Task(task) => {
                let (id, task, full) = (task.id, Arc::<Task>::from(task), self.tasks.len() >= MAX_TASKS);
                let controller = self.tasks.entry(id);
                match controller {
                    std::collections::btree_map::Entry::Occupied(mut entry) => {
                        let known = entry.get_mut();
                        // The managers may lag behind, after a change of leader even by far.
                        if task.status.state < known.status().state {
                            reporter.observe(id, known.status().clone());
                        }
                        known.update(task);
                    }
                    std::collections::btree_map::Entry::Vacant(entry) => {
                        let controller = entry.insert(TaskController::assigned(task));
                        outputs.extend(controller.recovery().map(Output::Runtime));
                        if full && controller.reject(now, &format!("node has its {MAX_TASKS} tasks already")) {
                            reporter.observe(id, controller.status().clone());
                        }
                    }
                }
                touched.insert(id);
            }
            Assignment::Network(network) => drop(self.networks.insert(network.id, Arc::from(network))),
            Assignment::Secret(secret) => drop(self.secrets.insert(secret.id, Arc::from(secret))),
            Assignment::Config(config) => drop(self.configs.insert(config.id, Arc::from(config))),
        }
    }

    fn remove(&mut self, id: ObjectId, touched: &mut BTreeSet<TaskId>) {
        match id {
            ObjectId::Task(id) => {
                if let Some(task) = self.tasks.get_mut(&id) {
                    task.unassign();
                    touched.insert(id);
                }
            }
            ObjectId::Network(id) => drop(self.networks.remove(&id)),
            ObjectId::Secret(id) => drop(self.secrets.remove(&id)),
            ObjectId::Config(id) => drop(self.configs.remove(&id)),
            ObjectId::Cluster(_) | ObjectId::Node(_) | ObjectId::Service(_) => {}
        }
    }

    fn keep_only(&mut self, named: &BTreeSet<ObjectId>, reporter: &mut Reporter, touched: &mut BTreeSet<TaskId>) {
        for (id, task) in &mut self.tasks {
            if !named.contains(&ObjectId::Task(*id)) {
                task.unassign();
                reporter.forget(*id);
                touched.insert(*id);
            }
        }
        self.networks.retain(|id, _| named.contains(&ObjectId::Network(*id)));
        self.secrets.retain(|id, _| named.contains(&ObjectId::Secret(*id)));
        self.configs.retain(|id, _| named.contains(&ObjectId::Config(*id)));
    }

    /// The node leaves: nothing is assigned any more.
    pub fn unassign_all(&mut self, now: Timestamp, reporter: &mut Reporter, outputs: &mut Vec<Output>) {
        let mut touched = BTreeSet::new();
        self.keep_only(&BTreeSet::new(), reporter, &mut touched);
        for task in touched {
            self.drive(now, task, Change::Assignment, reporter, outputs);
        }
    }

    /// The runtime reported on a task.
    pub fn runtime_event(
        &mut self,
        now: Timestamp,
        id: TaskId,
        event: RuntimeEvent,
        reporter: &mut Reporter,
        outputs: &mut Vec<Output>,
    ) {
        if let Some(task) = self.tasks.get_mut(&id) {
            let change = if task.handle(now, event) { Change::Status } else { Change::None };
            self.drive(now, id, change, reporter, outputs);
        }
    }

    fn drive(
        &mut self,
        now: Timestamp,
        id: TaskId,
        change: Change,
        reporter: &mut Reporter,
        outputs: &mut Vec<Output>,
    ) {
        let Some(controller) = self.tasks.get_mut(&id) else { return };
        let (networks, secrets, configs, complete) = (&self.networks, &self.secrets, &self.configs, self.complete_seen);
        let effects = controller.drive(now, |task| {
            gather(task, networks, secrets, configs)
                .map_err(|reason| if complete { Missing::Never(reason) } else { Missing::NotYet })
        });
        if effects.gone {
            self.tasks.remove(&id);
            reporter.forget(id);
            outputs.push(Output::Forget(id));
            return;
        }
        let assigned = controller.is_assigned();
        if assigned && (effects.changed || change == Change::Status) {
            reporter.observe(id, controller.status().clone());
        }
        if effects.changed || change != Change::None {
            // Before the commands: a daemon that dies in between must find the task again.
            outputs.push(Output::Persist(Box::new(StoredTask { task: controller.observed(), assigned })));
        }
        outputs.extend(effects.commands.into_iter().map(Output::Runtime));
    }

    /// Reports every task's status anew: a new leader may not have the last ones.
    pub fn report_all(&self, reporter: &mut Reporter) {
        for (id, task) in &self.tasks {
            if task.is_assigned() && task.status().state > TaskState::Assigned {
                reporter.observe(*id, task.status().clone());
            }
        }
    }
}

/// What changed of a task before it is driven on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    /// Nothing: perhaps something that it waits for is there now.
    None,
    /// What the managers want.
    Assignment,
    /// What was observed, which they want to know.
    Status,
}

/// A change that does not apply to the set that the node has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("assignments apply to set {applies_to}, but this node has {have:?}")]
pub(crate) struct OutOfStep {
    have: Option<u64>,
    applies_to: u64,
}

fn updated_object(change: &AssignmentChange) -> Option<ObjectId> {
    match change {
        AssignmentChange::Update(Assignment::Task(task)) => Some(ObjectId::Task(task.id)),
        AssignmentChange::Update(Assignment::Network(network)) => Some(ObjectId::Network(network.id)),
        AssignmentChange::Update(Assignment::Secret(secret)) => Some(ObjectId::Secret(secret.id)),
        AssignmentChange::Update(Assignment::Config(config)) => Some(ObjectId::Config(config.id)),
        AssignmentChange::Remove(_) => None,
    }
}

/// What a task needs, or what of it the node does not have.
fn gather(
    task: &Task,
    networks: &BTreeMap<NetworkId, Arc<Network>>,
    secrets: &BTreeMap<SecretId, Arc<Secret>>,
    configs: &BTreeMap<ConfigId, Arc<Config>>,
) -> Result<Dependencies, String> {
    let mut found = Dependencies::default();
    for attachment in &task.networks {
        let network = networks.get(&attachment.network_id);
        found.networks.push(network.ok_or_else(|| format!("network {} not found", attachment.network_id))?.clone());
    }
    for reference in &task.spec.container.secrets {
        let secret = secrets.get(&reference.secret_id);
        found.secrets.push(secret.ok_or_else(|| format!("secret {} not found", reference.secret_name))?.clone());
    }
    for reference in &task.spec.container.configs {
        let config = configs.get(&reference.config_id);
        found.configs.push(config.ok_or_else(|| format!("config {} not found", reference.config_name))?.clone());
    }
    Ok(found)
}
