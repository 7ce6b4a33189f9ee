//! What goes into the agent and what comes out of it.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use swarm_types::*;

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// The connection that [`Output::Connect`] asked for is up.
    Connected,
    /// It failed to come up, or went down.
    Disconnected,
    /// The dispatcher said something over it.
    Message(DispatcherMessage),
    /// The runtime did something with a task's container.
    Runtime {
        /// Which task.
        task: TaskId,
        /// What.
        event: RuntimeEvent,
    },
    /// What the node has on disk, once at the start: only then does the agent do anything.
    Restored(Vec<StoredTask>),
    /// The node describes itself anew (resources, plugins, labels).
    Description(Box<NodeDescription>),
    /// Managers to turn to that were learnt otherwise than by a session.
    Managers(Vec<ManagerPeer>),
    /// The node leaves the swarm: says so, and stops and removes all tasks.
    Leave,
}

/// What became of a container. Each command is answered by one of the events named there; the others come unasked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuntimeEvent {
    /// Answers `Prepare` (and `Recover`): the container exists and can be started.
    Prepared {
        /// Its id.
        container_id: String,
    },
    /// Answers `Prepare`: there is no container (no such image, no such secret ...). Rejects the task.
    PrepareFailed {
        /// The engine's text: `No such image: web:9`.
        reason: String,
    },
    /// Answers `Start` (and `Recover`): the container runs.
    Started {
        /// Its id.
        container_id: String,
        /// Its first process as the node sees it.
        pid: i32,
        /// Ports published on the node itself, with the numbers they got.
        host_ports: Vec<PortConfig>,
        /// Whether a health check decides when the task counts as running; `Healthy` or `Unhealthy` follow.
        health_check: bool,
    },
    /// The health check succeeded.
    Healthy,
    /// The health check failed as often as allowed: the agent stops the container.
    Unhealthy,
    /// Answers `Start`: it could not be started.
    StartFailed {
        /// The engine's text; `starting container failed: ` is put before it.
        reason: String,
        /// The exit code that Docker gives such a container (126, 127, 128); 0 if none.
        exit_code: i32,
    },
    /// The container ended, by itself, by `Stop` or otherwise. Also answers `Stop` and `Recover`.
    Exited {
        /// Its exit code; 128 + n when signal n ended it.
        code: i32,
        /// For lack of memory.
        oom: bool,
        /// The engine's text on what went wrong, if it knows; empty otherwise.
        message: String,
    },
    /// Answers `Stop` where nothing ran: preparation was given up, or the container had not been started.
    Stopped,
    /// Answers `Remove` and, where the runtime knows nothing of the task, `Recover`: there is no container (any more).
    Removed,
}

/// What to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Connect to a manager, instead of to any other before; answer `Connected` or `Disconnected`.
    Connect(ManagerPeer),
    /// Close the connection; needs no answer.
    Disconnect,
    /// Send this over the connection.
    Send(AgentMessage),
    /// Have the runtime do this.
    Runtime(RuntimeCommand),
    /// Keep this on disk in place of what was kept for the task before.
    Persist(Box<StoredTask>),
    /// Remove the task from disk.
    Forget(TaskId),
    /// What the managers say of this node and the swarm.
    Session(Box<SessionFacts>),
    /// The networks that the node is to have, all of them: with the first complete set of assignments, and whenever one
    /// was added, changed or removed. Those of its tasks and those that it is itself attached to (with its addresses in
    /// the `attachments` of [`SessionFacts::node`]). Said before the commands that need them. A network may be missing
    /// here while a container on it still stops; when the node leaves they are gone once its containers are.
    Networks(Vec<Arc<Network>>),
    /// After [`Input::Leave`]: the managers were told (or could not be) and all containers are gone.
    Left,
}

/// What the runtime is asked to do. Commands on one task are to be carried out in their order, except that `Stop`
/// interrupts a `Prepare` or `Start` under way.
#[derive(Debug, Clone, PartialEq)]
pub enum RuntimeCommand {
    /// Find the image and create the container. Answer: `Prepared`, `PrepareFailed`, or `Stopped` if interrupted.
    Prepare {
        /// What to run.
        task: Arc<Task>,
        /// The networks of its attachments.
        networks: Vec<Arc<Network>>,
        /// The secrets that it names.
        secrets: Vec<Arc<Secret>>,
        /// The configs that it names.
        configs: Vec<Arc<Config>>,
    },
    /// Start it. Answer: `Started` or `StartFailed`.
    Start {
        /// Which task.
        task: TaskId,
    },
    /// Stop it by its stop signal, and by KILL after the grace period. Answer: `Exited`, or `Stopped` if nothing ran.
    Stop {
        /// Which task.
        task: TaskId,
        /// How long it may take.
        grace: Duration,
    },
    /// Remove the container and its anonymous volumes, by force if it runs. Answer: `Removed`.
    Remove {
        /// Which task.
        task: TaskId,
    },
    /// After a restart of the daemon: look how the container stands and go on watching it. Answer: `Prepared`,
    /// `Started` (then `Healthy` again, if it is), `Exited` or `Removed`.
    Recover {
        /// The task.
        task: Arc<Task>,
    },
}

/// A task as the node keeps it on disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredTask {
    /// As assigned. Its `status` is what was last observed here.
    pub task: Task,
    /// Whether it is still assigned; otherwise its container is being removed.
    pub assigned: bool,
}

/// What a session tells of the node and the swarm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionFacts {
    /// The node as the managers have it.
    pub node: Box<Node>,
    /// The managers to turn to: keep them on disk for the next start.
    pub managers: Vec<ManagerPeer>,
    /// Keys of the nodes' networks.
    pub network_keys: Vec<EncryptionKey>,
    /// The UDP port of the swarm's VXLAN packets; 0: the default, 4789.
    pub data_path_port: u32,
    /// The root certificates to trust, in PEM.
    pub trust_root: String,
}
