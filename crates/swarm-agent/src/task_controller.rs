//! One task: what is wanted, what was observed, and the command that the runtime is busy with.
//!
//! [`TaskController::drive`] is called after every change and does all that can be done now; it never waits. The texts
//! in statuses are Docker's, because people and scripts know them from `docker service ps`.

use std::sync::Arc;
use std::time::Duration;

use swarm_types::*;

use crate::input::{RuntimeCommand, RuntimeEvent};
use crate::limits;

/// The grace period of a container that names none.
const DEFAULT_STOP_GRACE: Duration = Duration::from_secs(10);

/// Where a task's container stands, as far as the runtime said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Container {
    /// After a restart: the runtime was asked and has not answered.
    Unknown,
    /// There is none.
    None,
    /// It is being made.
    Preparing,
    /// It can be started.
    Prepared,
    /// It is being started, or waits to become healthy.
    Starting,
    /// It runs.
    Up,
    /// It was told to stop.
    Stopping,
    /// It ended and was not removed.
    Ended,
    /// It is being removed.
    Removing,
}

/// What the controller needs from outside to prepare a task.
#[derive(Debug, Default)]
pub(crate) struct Dependencies {
    pub networks: Vec<Arc<Network>>,
    pub secrets: Vec<Arc<Secret>>,
    pub configs: Vec<Arc<Config>>,
}

/// Why a task cannot be prepared now.
#[derive(Debug)]
pub(crate) enum Missing {
    /// The session has not said yet what the node has.
    NotYet,
    /// The managers did not send it.
    Never(String),
}

/// What a drive led to.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    /// For the runtime.
    pub commands: Vec<RuntimeCommand>,
    /// The status or the assignment changed: report and persist.
    pub changed: bool,
    /// Nothing is left of the task: forget it.
    pub gone: bool,
}

#[derive(Debug)]
pub(crate) struct TaskController {
    task: Arc<Task>,
    status: TaskStatus,
    assigned: bool,
    container: Container,
    /// The health check gave up, so the stop under way is a failure.
    unhealthy: bool,
}

impl TaskController {
    /// A task that is new to this node.
    pub fn assigned(task: Arc<Task>) -> Self {
        let status = task.status.clone();
        // A status from beyond ASSIGNED comes from an earlier life of this node, whose disk was lost or restored.
        let container = if status.state > TaskState::Assigned { Container::Unknown } else { Container::None };
        Self { task, status, assigned: true, container, unhealthy: false }
    }

    /// A task from disk.
    pub fn restored(task: Arc<Task>, assigned: bool) -> Self {
        let status = task.status.clone();
        Self { task, status, assigned, container: Container::Unknown, unhealthy: false }
    }

    /// What to ask the runtime first.
    pub fn recovery(&self) -> Option<RuntimeCommand> {
        (self.container == Container::Unknown).then(|| RuntimeCommand::Recover { task: self.task.clone() })
    }

    /// The task with what was observed of it here.
    pub fn observed(&self) -> Task {
        Task { status: self.status.clone(), ..Task::clone(&self.task) }
    }

    pub fn status(&self) -> &TaskStatus {
        &self.status
    }

    pub fn is_assigned(&self) -> bool {
        self.assigned
    }

    /// The managers changed the task. Desired states only advance, whatever order messages arrive in.
    pub fn update(&mut self, task: Arc<Task>) {
        let desired = self.task.desired_state.max(task.desired_state);
        self.assigned = true;
        self.task = if desired == task.desired_state {
            task
        } else {
            Arc::new(Task { desired_state: desired, ..Task::clone(&task) })
        };
    }

    /// The managers took the task away.
    pub fn unassign(&mut self) {
        self.assigned = false;
    }

    /// The task is refused without having been tried.
    pub fn reject(&mut self, now: Timestamp, reason: &str) -> bool {
        if self.status.state >= TaskState::Starting {
            return false;
        }
        self.fail(now, TaskState::Rejected, reason.to_owned());
        true
    }

    fn wants_stop(&self) -> bool {
        !self.assigned || self.task.desired_state >= DesiredState::Shutdown
    }

    /// Takes an event in; `drive` must follow. Says whether the status changed.
    pub fn handle(&mut self, now: Timestamp, event: RuntimeEvent) -> bool {
        match event {
            RuntimeEvent::Prepared { container_id } => {
                match self.container {
                    Container::Preparing | Container::None | Container::Unknown => {
                        self.container = Container::Prepared;
                    }
                    // A preparation that finished before the stop reached it: the stop is still answered.
                    _ => {}
                }
                self.container_status().container_id = container_id;
                if self.status.state > TaskState::Ready && !self.status.state.is_terminal() {
                    // It ran, says our record, and the runtime has it unstarted: the record is older than a crash.
                    self.fail(now, TaskState::Failed, "task: container was not started".to_owned());
                }
                true
            }
            RuntimeEvent::PrepareFailed { reason } => {
                let stopping = self.container == Container::Stopping;
                self.container = Container::None;
                if !stopping {
                    self.fail(now, TaskState::Rejected, reason);
                }
                !stopping
            }
            RuntimeEvent::Started { container_id, pid, host_ports, health_check } => {
                self.started(now, container_id, pid, host_ports, health_check);
                true
            }
            RuntimeEvent::Healthy => {
                let due = self.status.state == TaskState::Starting && self.container == Container::Starting;
                if due {
                    self.container = Container::Up;
                    self.advance(now, TaskState::Running, "started");
                }
                due
            }
            RuntimeEvent::Unhealthy => {
                if matches!(self.container, Container::Starting | Container::Up) {
                    self.unhealthy = true;
                }
                false
            }
            RuntimeEvent::StartFailed { reason, exit_code } => {
                self.container = Container::Ended;
                self.container_status().exit_code = exit_code;
                self.container_status().pid = 0;
                if !self.wants_stop() {
                    self.fail(now, TaskState::Failed, format!("starting container failed: {reason}"));
                }
                true
            }
            RuntimeEvent::Exited { code, oom: _, message } => self.exited(now, code, &message),
            RuntimeEvent::Stopped => {
                if self.container == Container::Stopping {
                    self.container = Container::Ended;
                }
                false
            }
            RuntimeEvent::Removed => self.removed(now),
        }
    }

    fn started(&mut self, now: Timestamp, container_id: String, pid: i32, ports: Vec<PortConfig>, health_check: bool) {
        let container = self.container_status();
        container.container_id = container_id;
        container.pid = pid;
        self.status.host_ports = ports;
        match self.container {
            // It is told to stop already: whether it started no longer matters.
            Container::Stopping | Container::Removing => {}
            _ if self.status.state.is_terminal() => self.container = Container::Up,
            _ if health_check && self.status.state < TaskState::Running => {
                self.container = Container::Starting;
                self.advance(now, TaskState::Starting, "starting");
            }
            _ => {
                self.container = Container::Up;
                self.advance(now, TaskState::Running, "started");
            }
        }
    }

    fn exited(&mut self, now: Timestamp, code: i32, message: &str) -> bool {
        let (asked, unhealthy) = (self.wants_stop(), self.unhealthy);
        if self.container == Container::Removing {
            return false;
        }
        self.container = Container::Ended;
        if self.status.state.is_terminal() {
            return false;
        }
        let container = self.container_status();
        container.exit_code = code;
        container.pid = 0;
        if asked && !unhealthy {
            // `drive` reports the shutdown.
            return false;
        }
        if code == 0 {
            self.advance(now, TaskState::Complete, "finished");
        } else {
            let cause = match (unhealthy, message) {
                (true, _) => ": dockerexec: unhealthy container".to_owned(),
                (false, "") => String::new(),
                (false, message) => format!(": {message}"),
            };
            self.fail(now, TaskState::Failed, format!("task: non-zero exit ({code}){cause}"));
        }
        true
    }

    fn removed(&mut self, now: Timestamp) -> bool {
        self.container = Container::None;
        if self.status.state > TaskState::Preparing && !self.status.state.is_terminal() && !self.wants_stop() {
            // Somebody removed it behind our back, or the node lost its disk.
            let state = if self.status.state < TaskState::Starting { TaskState::Rejected } else { TaskState::Failed };
            let id = self.status.container.as_ref().map_or("", |c| c.container_id.as_str());
            self.fail(now, state, format!("No such container: {id}"));
            return true;
        }
        false
    }

    /// Does all that can be done now. `dependencies` is asked when the task is to be prepared.
    pub fn drive(
        &mut self,
        now: Timestamp,
        dependencies: impl FnOnce(&Task) -> Result<Dependencies, Missing>,
    ) -> Effects {
        let mut effects = Effects::default();
        if self.container == Container::Unknown {
            return effects;
        }
        if self.wants_stop() || self.status.state.is_terminal() || self.unhealthy {
            self.wind_down(now, &mut effects);
            return effects;
        }
        if self.status.state < TaskState::Accepted {
            self.advance(now, TaskState::Accepted, "accepted");
            effects.changed = true;
        }
        if self.status.state <= TaskState::Preparing && self.container == Container::None {
            self.prepare(now, dependencies, &mut effects);
        }
        if self.container == Container::Prepared && self.status.state < TaskState::Ready {
            self.advance(now, TaskState::Ready, "prepared");
            effects.changed = true;
        }
        if self.container == Container::Prepared
            && self.status.state == TaskState::Ready
            && self.task.desired_state >= DesiredState::Running
        {
            self.container = Container::Starting;
            self.advance(now, TaskState::Starting, "starting");
            effects.commands.push(RuntimeCommand::Start { task: self.task.id });
            effects.changed = true;
        }
        effects
    }

    fn prepare(
        &mut self,
        now: Timestamp,
        dependencies: impl FnOnce(&Task) -> Result<Dependencies, Missing>,
        effects: &mut Effects,
    ) {
        match dependencies(&self.task) {
            Err(Missing::NotYet) => {}
            Err(Missing::Never(reason)) => {
                self.advance(now, TaskState::Preparing, "preparing");
                self.fail(now, TaskState::Rejected, reason);
                effects.changed = true;
            }
            Ok(Dependencies { networks, secrets, configs }) => {
                self.container = Container::Preparing;
                self.advance(now, TaskState::Preparing, "preparing");
                let task = self.task.clone();
                effects.commands.push(RuntimeCommand::Prepare { task, networks, secrets, configs });
                effects.changed = true;
            }
        }
    }

    /// Towards an end: stop, tell, and remove what is no longer assigned.
    fn wind_down(&mut self, now: Timestamp, effects: &mut Effects) {
        if matches!(self.container, Container::Preparing | Container::Starting | Container::Up) {
            self.container = Container::Stopping;
            let grace = self.task.spec.container.stop_grace_period.unwrap_or(DEFAULT_STOP_GRACE);
            effects.commands.push(RuntimeCommand::Stop { task: self.task.id, grace });
        }
        let stopped = matches!(self.container, Container::None | Container::Prepared | Container::Ended);
        if stopped && !self.status.state.is_terminal() {
            self.advance(now, TaskState::Shutdown, "shutdown");
            effects.changed = true;
        }
        if !self.assigned && stopped {
            if self.container == Container::None {
                effects.gone = true;
            } else {
                self.container = Container::Removing;
                effects.commands.push(RuntimeCommand::Remove { task: self.task.id });
            }
        }
    }

    fn container_status(&mut self) -> &mut ContainerStatus {
        self.status.container.get_or_insert_default()
    }

    fn advance(&mut self, now: Timestamp, state: TaskState, message: &str) {
        if state < self.status.state {
            return;
        }
        self.status.state = state;
        self.status.timestamp = now;
        self.status.message = message.to_owned();
        self.status.err.clear();
    }

    /// Ends the task; the message goes on saying how far it had come, as Docker's does.
    fn fail(&mut self, now: Timestamp, state: TaskState, err: String) {
        if state < self.status.state {
            return;
        }
        self.status.state = state;
        self.status.timestamp = now;
        self.status.err = err;
        limits::clamp(&mut self.status);
    }
}
