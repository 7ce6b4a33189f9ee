//! Containers that run nowhere: they take time to prepare, start and stop, and behave as their image's name says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use swarm_agent::{RuntimeCommand, RuntimeEvent};
use swarm_types::*;

/// What the images do.
pub(crate) const STEADY: &str = "steady";
pub(crate) const CRASHING: &str = "crashing";
pub(crate) const UNHEALTHY: &str = "unhealthy";
pub(crate) const SLOW: &str = "slow";
pub(crate) const MISSING: &str = "missing";
/// Ends well after a while: what jobs run.
pub(crate) const FINISHING: &str = "finishing";
/// All of the others, the well-behaved more than once.
pub(crate) const IMAGES: [&str; 8] = [STEADY, STEADY, STEADY, STEADY, CRASHING, UNHEALTHY, SLOW, MISSING];

#[derive(Debug)]
struct Container {
    task: Arc<Task>,
    /// Of the task's attachments.
    networks: Vec<Arc<Network>>,
    state: State,
    /// Takes connections: it runs, is well and was not told to stop.
    serving: bool,
    /// Tells what is due for this state from what was due for a former one.
    nonce: u64,
}

impl Container {
    fn image(&self) -> &str {
        &self.task.spec.container.image
    }

    fn has_health_check(&self) -> bool {
        self.image() == UNHEALTHY || self.image() == SLOW
    }

    fn is_up(&self) -> bool {
        matches!(self.state, State::Running | State::Stopping)
    }
}

/// A container that runs, as its node's networks see it.
pub(crate) struct Plugged<'a> {
    pub task: &'a Task,
    pub networks: &'a [Arc<Network>],
    pub serving: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Preparing,
    Prepared,
    Running,
    Stopping,
    Exited(i32),
}

/// Something that is due to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Due {
    pub task: TaskId,
    nonce: u64,
    what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    PrepareDone,
    StartDone,
    Health,
    Crash,
    Finish,
    StopDone,
}

/// What a command or a due thing leads to.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// For the agent, if it is there to hear it.
    pub events: Vec<(TaskId, RuntimeEvent)>,
    /// To be handed to [`Runtime::due`] after that time.
    pub due: Vec<(Duration, Due)>,
}

/// One host's containers. They outlive the agent's process, but not the machine's power.
#[derive(Debug)]
pub(crate) struct Runtime {
    containers: BTreeMap<TaskId, Container>,
    random: IdSource,
    nonces: u64,
    /// Raised whenever something may have changed about what runs.
    changes: u64,
}

impl Runtime {
    pub fn new(seed: u64) -> Self {
        Self { containers: BTreeMap::new(), random: IdSource::from_seed(seed), nonces: 0, changes: 0 }
    }

    /// Tasks whose container runs.
    pub fn running(&self) -> impl Iterator<Item = TaskId> {
        self.containers.iter().filter(|(_, container)| container.is_up()).map(|(task, _)| *task)
    }

    /// The containers that run, with their networks.
    pub fn plugged(&self) -> impl Iterator<Item = Plugged<'_>> {
        let up = self.containers.values().filter(|container| container.is_up());
        up.map(|one| Plugged { task: &one.task, networks: &one.networks, serving: one.serving })
    }

    /// Equal numbers: nothing changed about what runs.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// The machine lost power: nothing runs any more.
    pub fn power_failure(&mut self) {
        self.changes += 1;
        self.containers.retain(|_, container| container.state != State::Preparing);
        for container in self.containers.values_mut() {
            if container.is_up() {
                container.state = State::Exited(255);
            }
            container.serving = false;
            container.nonce = 0;
        }
    }

    /// The agent's process was killed: what it was preparing is left undone.
    pub fn agent_killed(&mut self) {
        self.changes += 1;
        self.containers.retain(|_, container| container.state != State::Preparing);
    }

    pub fn lose_all(&mut self) {
        self.changes += 1;
        self.containers.clear();
    }

    pub fn command(&mut self, command: &RuntimeCommand) -> Outcome {
        self.changes += 1;
        let mut outcome = Outcome::default();
        match command {
            RuntimeCommand::Prepare { task, networks, .. } => {
                let most = if task.spec.container.image == SLOW { 8_000 } else { 200 };
                let (task_of, networks) = (Arc::clone(task), networks.clone());
                let state = State::Preparing;
                let container = Container { task: task_of, networks, state, serving: false, nonce: 0 };
                self.containers.insert(task.id, container);
                self.later(task.id, What::PrepareDone, 10, most, &mut outcome);
            }
            RuntimeCommand::Start { task } => match self.containers.get_mut(task) {
                Some(container) if container.state == State::Prepared => {
                    container.state = State::Running;
                    self.later(*task, What::StartDone, 5, 50, &mut outcome);
                }
                _ => {
                    let reason = "no such container".to_owned();
                    outcome.events.push((*task, RuntimeEvent::StartFailed { reason, exit_code: 0 }));
                }
            },
            RuntimeCommand::Stop { task, grace } => self.stop(*task, *grace, &mut outcome),
            RuntimeCommand::Remove { task } => {
                self.containers.remove(task);
                outcome.events.push((*task, RuntimeEvent::Removed));
            }
            RuntimeCommand::Recover { task } => self.recover(task.id, &mut outcome),
        }
        outcome
    }

    fn stop(&mut self, task: TaskId, grace: Duration, outcome: &mut Outcome) {
        match self.containers.get_mut(&task).map(|container| container.state) {
            Some(State::Running | State::Stopping) => {
                if let Some(container) = self.containers.get_mut(&task) {
                    container.state = State::Stopping;
                    container.serving = false;
                }
                let most = u64::try_from(grace.as_millis()).unwrap_or(10_000).max(11);
                self.later(task, What::StopDone, 10, most, outcome);
            }
            Some(State::Exited(code)) => outcome.events.push((task, exited(code))),
            Some(State::Preparing) => {
                self.containers.remove(&task);
                outcome.events.push((task, RuntimeEvent::Stopped));
            }
            Some(State::Prepared) | None => outcome.events.push((task, RuntimeEvent::Stopped)),
        }
    }

    fn recover(&mut self, task: TaskId, outcome: &mut Outcome) {
        let event = match self.containers.get(&task).map(|container| container.state) {
            None | Some(State::Preparing) => RuntimeEvent::Removed,
            Some(State::Prepared) => RuntimeEvent::Prepared { container_id: container_id(task) },
            Some(State::Running | State::Stopping) => self.started(task, outcome),
            Some(State::Exited(code)) => exited(code),
        };
        outcome.events.push((task, event));
    }

    /// A container runs: what it does from here on is decided now.
    fn started(&mut self, task: TaskId, outcome: &mut Outcome) -> RuntimeEvent {
        let (mut crashes, mut finishes, mut health_check) = (false, false, false);
        if let Some(container) = self.containers.get_mut(&task) {
            (crashes, finishes) = (container.image() == CRASHING, container.image() == FINISHING);
            health_check = container.has_health_check();
            container.serving |= !health_check && container.state == State::Running;
        }
        if crashes {
            self.later(task, What::Crash, 100, 4_000, outcome);
        } else if finishes {
            self.later(task, What::Finish, 100, 6_000, outcome);
        } else if health_check {
            self.later(task, What::Health, 500, 3_000, outcome);
        }
        RuntimeEvent::Started { container_id: container_id(task), pid: 7, host_ports: Vec::new(), health_check }
    }

    /// Something that was due happens, unless the container went another way meanwhile.
    pub fn due(&mut self, due: Due) -> Outcome {
        let mut outcome = Outcome::default();
        let Some(container) = self.containers.get_mut(&due.task).filter(|c| c.nonce == due.nonce) else {
            return outcome;
        };
        self.changes += 1;
        let event = match due.what {
            What::PrepareDone if container.image() == MISSING => {
                self.containers.remove(&due.task);
                RuntimeEvent::PrepareFailed { reason: "No such image: missing".to_owned() }
            }
            What::PrepareDone => {
                container.state = State::Prepared;
                RuntimeEvent::Prepared { container_id: container_id(due.task) }
            }
            What::StartDone => self.started(due.task, &mut outcome),
            What::Health if container.image() == UNHEALTHY => RuntimeEvent::Unhealthy,
            What::Health => {
                container.serving = container.state == State::Running;
                RuntimeEvent::Healthy
            }
            What::Crash => {
                container.state = State::Exited(1);
                container.serving = false;
                exited(1)
            }
            What::Finish => {
                container.state = State::Exited(0);
                exited(0)
            }
            What::StopDone => {
                let code = if self.random.below(4) == 0 { 137 } else { 143 };
                container.state = State::Exited(code);
                exited(code)
            }
        };
        outcome.events.push((due.task, event));
        outcome
    }

    fn later(&mut self, task: TaskId, what: What, least: u64, most: u64, outcome: &mut Outcome) {
        self.nonces += 1;
        let nonce = self.nonces;
        if let Some(container) = self.containers.get_mut(&task) {
            container.nonce = nonce;
        }
        let wait = Duration::from_millis(least + self.random.below(most.saturating_sub(least)));
        outcome.due.push((wait, Due { task, nonce, what }));
    }
}

fn exited(code: i32) -> RuntimeEvent {
    RuntimeEvent::Exited { code, oom: false, message: String::new() }
}

/// As real ones, they differ from the beginning: names of interfaces are made of it.
pub(crate) fn container_id(task: TaskId) -> String {
    format!("{:0<64}", format!("{:032x}", task.bits()))
}
