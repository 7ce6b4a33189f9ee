//! Carries the agent's commands to the task runner: one lane for each task, in which commands follow each other, except
//! that a stop cuts a preparation or start short. What happens to the container is told in the order of its life.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use swarm_agent::{RuntimeCommand, RuntimeEvent};
use swarm_types::TaskId;
use tokio::sync::mpsc;

use crate::runner::{Recovered, RunnerEvent, RunningTask, Stopped, TaskInputs, TaskRunner};

/// Where results go: the event loop's mailbox, behind a function that wraps them.
type Tell = Arc<dyn Fn(TaskId, RuntimeEvent) -> Told + Send + Sync>;
type Told = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// The lanes of all tasks.
pub struct Lanes {
    runner: Arc<dyn TaskRunner>,
    tell: Tell,
    lanes: BTreeMap<TaskId, Lane>,
}

struct Lane {
    commands: mpsc::UnboundedSender<RuntimeCommand>,
    events: mpsc::UnboundedSender<RunnerEvent>,
}

impl Lanes {
    /// Lanes whose results go to `mailbox`, wrapped by `wrap`.
    pub fn new<M: Send + 'static>(
        runner: Arc<dyn TaskRunner>,
        mailbox: mpsc::Sender<M>,
        wrap: impl Fn(TaskId, RuntimeEvent) -> M + Send + Sync + 'static,
    ) -> Self {
        let tell: Tell = Arc::new(move |task, event| {
            let (mailbox, mail) = (mailbox.clone(), wrap(task, event));
            Box::pin(async move { drop(mailbox.send(mail).await) })
        });
        Self { runner, tell, lanes: BTreeMap::new() }
    }

    /// Queues a command of the agent.
    pub fn command(&mut self, command: RuntimeCommand) {
        let task = match &command {
            RuntimeCommand::Prepare { task, .. } | RuntimeCommand::Recover { task } => task.id,
            RuntimeCommand::Start { task } | RuntimeCommand::Stop { task, .. } | RuntimeCommand::Remove { task } => {
                *task
            }
        };
        let lane = self.lanes.entry(task).or_insert_with(|| {
            let (commands, next) = mpsc::unbounded_channel();
            let (events, happened) = mpsc::unbounded_channel();
            tokio::spawn(run(task, self.runner.clone(), next, happened, self.tell.clone()));
            Lane { commands, events }
        });
        // The lane lives as long as its sender does.
        let _ = lane.commands.send(command);
    }

    /// Something happened to a task's container. Containers of tasks that the agent does not have are nobody's.
    pub fn happened(&mut self, task: TaskId, event: RunnerEvent) {
        if let Some(lane) = self.lanes.get(&task) {
            let _ = lane.events.send(event);
        }
    }

    /// The agent has heard that a task's container is gone.
    pub fn removed(&mut self, task: TaskId) {
        self.lanes.remove(&task);
    }
}

async fn run(
    task: TaskId,
    runner: Arc<dyn TaskRunner>,
    mut commands: mpsc::UnboundedReceiver<RuntimeCommand>,
    mut events: mpsc::UnboundedReceiver<RunnerEvent>,
    tell: Tell,
) {
    let mut next = None;
    loop {
        let command = match next.take() {
            Some(command) => command,
            None => tokio::select! {
                biased;
                Some(event) = events.recv() => {
                    tell(task, translate(event)).await;
                    continue;
                }
                command = commands.recv() => match command {
                    Some(command) => command,
                    None => return,
                },
            },
        };
        let answer = match command {
            RuntimeCommand::Prepare { task, networks, secrets, configs } => {
                let inputs = TaskInputs { secrets, configs, networks };
                match unless_stopped(runner.prepare(task, inputs), &mut commands, &mut next).await {
                    Some(Ok(container_id)) => Some(RuntimeEvent::Prepared { container_id }),
                    Some(Err(error)) => Some(RuntimeEvent::PrepareFailed { reason: error.message }),
                    None => None,
                }
            }
            RuntimeCommand::Start { task } => {
                match unless_stopped(runner.start(task), &mut commands, &mut next).await {
                    Some(Ok(running)) => Some(started(running)),
                    Some(Err(error)) => {
                        Some(RuntimeEvent::StartFailed { reason: error.message, exit_code: error.exit_code })
                    }
                    None => None,
                }
            }
            RuntimeCommand::Stop { task, grace } => match runner.stop(task, grace).await {
                // The end itself comes as an event.
                Stopped::Ended => None,
                Stopped::NothingRan => Some(RuntimeEvent::Stopped),
            },
            RuntimeCommand::Remove { task } => {
                if let Err(error) = runner.remove(task).await {
                    // A container that cannot be removed now is found and removed at the next start.
                    tracing::warn!("remove the container of task {task}: {}", error.message);
                }
                Some(RuntimeEvent::Removed)
            }
            RuntimeCommand::Recover { task } => Some(match runner.recover(task).await {
                Recovered::Absent => RuntimeEvent::Removed,
                Recovered::Prepared { container_id } => RuntimeEvent::Prepared { container_id },
                Recovered::Running(running) => started(running),
                Recovered::Exited(exit) => translate(RunnerEvent::Exited(exit)),
            }),
        };
        if let Some(event) = answer {
            tell(task, event).await;
        }
    }
}

/// Awaits `work`, unless a stop comes first: then `None`, and the stop is the next command.
async fn unless_stopped<T>(
    work: impl Future<Output = T>,
    commands: &mut mpsc::UnboundedReceiver<RuntimeCommand>,
    next: &mut Option<RuntimeCommand>,
) -> Option<T> {
    tokio::pin!(work);
    tokio::select! {
        biased;
        result = &mut work => Some(result),
        command = commands.recv() => match command {
            Some(command @ (RuntimeCommand::Stop { .. } | RuntimeCommand::Remove { .. })) => {
                *next = Some(command);
                None
            }
            // Anything else waits its turn; the agent sends nothing more before an answer.
            Some(command) => {
                let result = work.await;
                *next = Some(command);
                Some(result)
            }
            None => None,
        },
    }
}

fn started(running: RunningTask) -> RuntimeEvent {
    let RunningTask { container_id, pid, host_ports, health_check } = running;
    RuntimeEvent::Started { container_id, pid, host_ports, health_check }
}

fn translate(event: RunnerEvent) -> RuntimeEvent {
    match event {
        RunnerEvent::Healthy => RuntimeEvent::Healthy,
        RunnerEvent::Unhealthy => RuntimeEvent::Unhealthy,
        RunnerEvent::Exited(exit) => RuntimeEvent::Exited { code: exit.code, oom: exit.oom, message: exit.message },
    }
}
