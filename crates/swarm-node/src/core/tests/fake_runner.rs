//! A runner whose containers are entries of a table. Tests only.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use swarm_types::{NodeDescription, NodeId, Task, TaskId};
use tokio::sync::mpsc;

use crate::runner::*;

pub(super) struct FakeRunner {
    pub name: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    containers: BTreeMap<TaskId, bool>,
    events: Option<mpsc::UnboundedSender<(TaskId, RunnerEvent)>>,
}

impl FakeRunner {
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), state: Mutex::default() }
    }

    /// The tasks whose containers run.
    pub fn running(&self) -> Vec<TaskId> {
        let state = self.state.lock().unwrap();
        state.containers.iter().filter(|(_, running)| **running).map(|(task, _)| *task).collect()
    }
}

impl TaskRunner for FakeRunner {
    fn prepare(&self, task: Arc<Task>, _: TaskInputs) -> RunnerFuture<'_, Result<String, RunnerError>> {
        self.state.lock().unwrap().containers.insert(task.id, false);
        Box::pin(async move { Ok(format!("container-{}", task.id)) })
    }

    fn start(&self, task: TaskId) -> RunnerFuture<'_, Result<RunningTask, RunnerError>> {
        self.state.lock().unwrap().containers.insert(task, true);
        Box::pin(async move {
            Ok(RunningTask { container_id: format!("container-{task}"), pid: 1, ..RunningTask::default() })
        })
    }

    fn stop(&self, task: TaskId, _: Duration) -> RunnerFuture<'_, Stopped> {
        let mut state = self.state.lock().unwrap();
        let ran = state.containers.get_mut(&task).is_some_and(std::mem::take);
        if ran && let Some(events) = &state.events {
            let _ = events.send((task, RunnerEvent::Exited(Exit { code: 143, ..Exit::default() })));
        }
        Box::pin(async move { if ran { Stopped::Ended } else { Stopped::NothingRan } })
    }

    fn remove(&self, task: TaskId) -> RunnerFuture<'_, Result<(), RunnerError>> {
        self.state.lock().unwrap().containers.remove(&task);
        Box::pin(async { Ok(()) })
    }

    fn recover(&self, _: Arc<Task>) -> RunnerFuture<'_, Recovered> {
        Box::pin(async { Recovered::Absent })
    }

    fn events(&self) -> mpsc::UnboundedReceiver<(TaskId, RunnerEvent)> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.state.lock().unwrap().events = Some(sender);
        receiver
    }

    fn logs(&self, request: &TaskLogRequest, node: NodeId) -> LogStream {
        let (task, service, name) = (request.task, request.service, self.name.clone());
        let line = move |number: u32| LogMessage {
            node,
            task,
            service,
            source: LogSource::Stdout,
            timestamp: crate::core::now(),
            data: Bytes::from(format!("line {number} of {name}\n")),
        };
        Box::pin(futures_util::stream::iter((1..=3).map(line)))
    }

    fn networks(&self, _facts: Option<crate::networking::NetworkFacts>) {}

    fn description(&self) -> NodeDescription {
        NodeDescription { hostname: self.name.clone(), ..NodeDescription::default() }
    }
}
