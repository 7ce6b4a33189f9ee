//! The seam between a node's agent and its containers: what the event loop asks of whoever runs tasks, and what it
//! hears back.
//!
//! The agent (`swarm-agent`, pure) decides; `agent_io` carries its decisions to a [`TaskRunner`]; `containers::tasks`
//! implements one on the container engine. Nothing here knows about images, namespaces or the swarm's managers.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use serde::{Deserialize, Serialize};
use swarm_types::{Config, Network, NodeDescription, NodeId, PortConfig, Secret, ServiceId, Task, TaskId, Timestamp};
use tokio::sync::mpsc;

use crate::networking::NetworkFacts;

/// A future of a runner.
pub type RunnerFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A stream of log messages: ends with the log, or never while following.
pub type LogStream = Pin<Box<dyn Stream<Item = LogMessage> + Send>>;

/// What a task reads, already checked to be what it refers to.
#[derive(Debug, Clone, Default)]
pub struct TaskInputs {
    /// Its secrets, values included.
    pub secrets: Vec<Arc<Secret>>,
    /// Its configs.
    pub configs: Vec<Arc<Config>>,
    /// The networks that it is attached to.
    pub networks: Vec<Arc<Network>>,
}

/// A task's container could not be made or driven.
#[derive(Debug, Clone, PartialEq, Eq, Default, thiserror::Error)]
#[error("{message}")]
pub struct RunnerError {
    /// The message as `docker service ps` prints it: `No such image: web:9`.
    pub message: String,
    /// From `start`: the exit code that Docker gives such a container (126, 127, 128); 0 if none.
    pub exit_code: i32,
}

/// A container that runs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RunningTask {
    /// The container's id.
    pub container_id: String,
    /// Its first process as the node sees it.
    pub pid: i32,
    /// Ports published on the node itself, assigned ones filled in.
    pub host_ports: Vec<PortConfig>,
    /// Whether a health check decides when the task counts as running: `Healthy` or `Unhealthy` follow.
    pub health_check: bool,
}

/// What happened to a task's container without having been asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunnerEvent {
    /// A health check succeeded: the first since the start (or since the daemon's restart), or after failures.
    Healthy,
    /// As many health checks in a row failed as the container allows.
    Unhealthy,
    /// It ended, by itself or by `stop`.
    Exited(Exit),
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Exit {
    /// Its exit code; 128 + n when signal n ended it.
    pub code: i32,
    /// Memory ran out.
    pub oom: bool,
    /// The engine's text on what went wrong, if it knows; empty otherwise.
    pub message: String,
}

/// How a stop went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// The container ran; [`RunnerEvent::Exited`] was or will be sent.
    Ended,
    /// Nothing ran.
    NothingRan,
}

/// What is left of a task after a restart of the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recovered {
    /// No container.
    Absent,
    /// Made, never started.
    Prepared {
        /// The container's id.
        container_id: String,
    },
    /// It runs, and is watched again.
    Running(RunningTask),
    /// It ended meanwhile.
    Exited(Exit),
}

/// Runs tasks as containers. Calls for different tasks overlap; for one task they come one after the other, except
/// that the future of `prepare` or `start` may be dropped at any point when the task is to stop. Every call is safe to
/// repeat, and `stop` and `remove` also clean up after a dropped `prepare`.
pub trait TaskRunner: Send + Sync + 'static {
    /// Makes everything that the task needs, short of starting it: image, mounts, network. Returns the container's id.
    fn prepare(&self, task: Arc<Task>, inputs: TaskInputs) -> RunnerFuture<'_, Result<String, RunnerError>>;

    /// Starts the prepared container.
    fn start(&self, task: TaskId) -> RunnerFuture<'_, Result<RunningTask, RunnerError>>;

    /// Sends the stop signal, after `grace` the kill signal, and waits for the end.
    fn stop(&self, task: TaskId, grace: Duration) -> RunnerFuture<'_, Stopped>;

    /// Removes the container, its anonymous volumes and log; kills it when it runs. Nothing to remove is success.
    fn remove(&self, task: TaskId) -> RunnerFuture<'_, Result<(), RunnerError>>;

    /// After a restart of the daemon: how the task's container stands. From then on it is watched.
    fn recover(&self, task: Arc<Task>) -> RunnerFuture<'_, Recovered>;

    /// The events of all tasks from now on. Called once, before anything else.
    fn events(&self) -> mpsc::UnboundedReceiver<(TaskId, RunnerEvent)>;

    /// A task's output; `node` is copied into the messages.
    fn logs(&self, request: &TaskLogRequest, node: NodeId) -> LogStream;

    /// What the managers say of the node's networks: whenever that changes, and before tasks that need it.
    /// `None`: the node is in no swarm any more.
    fn networks(&self, facts: Option<NetworkFacts>);

    /// What the node offers, for its description (`docker node inspect`).
    fn description(&self) -> NodeDescription;
}

/// Which output of one task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskLogRequest {
    /// The task.
    pub task: TaskId,
    /// Its service, copied into the messages.
    pub service: ServiceId,
    /// Which part of its output.
    pub options: LogOptions,
}

/// Which part of an output.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LogOptions {
    /// Go on with what comes.
    pub follow: bool,
    /// Nothing older.
    pub since: Option<Timestamp>,
    /// Just so many of the last lines; `None`: all.
    pub tail: Option<u64>,
    /// Standard output.
    pub stdout: bool,
    /// Standard error.
    pub stderr: bool,
}

/// Which stream a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogSource {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One line of a task's output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogMessage {
    /// Where the task runs.
    pub node: NodeId,
    /// Which task.
    pub task: TaskId,
    /// Its service.
    pub service: ServiceId,
    /// Which stream.
    pub source: LogSource,
    /// When the line was written.
    pub timestamp: Timestamp,
    /// The line, with its end if it had one.
    #[serde(with = "wire_bytes")]
    pub data: Bytes,
}

/// Bytes as one MessagePack binary instead of a list of numbers.
mod wire_bytes {
    use bytes::Bytes;
    use serde::de::{Error, SeqAccess, Visitor};
    use serde::{Deserializer, Serializer};

    pub fn serialize<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(bytes)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        struct BytesVisitor;
        impl<'de> Visitor<'de> for BytesVisitor {
            type Value = Bytes;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes::copy_from_slice(bytes))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Bytes, A::Error> {
                let mut bytes = Vec::new();
                while let Some(byte) = seq.next_element()? {
                    bytes.push(byte);
                }
                Ok(bytes.into())
            }
        }
        deserializer.deserialize_bytes(BytesVisitor)
    }
}
