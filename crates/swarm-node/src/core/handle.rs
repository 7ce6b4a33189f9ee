//! What the HTTP routes hold of the node: a cheap handle that sends commands to the event loop and waits for answers.

use swarm_manager::control_api::{ControlError, ControlErrorKind, ControlRequest, ControlResponse};
use swarm_types::{NodeId, ObjectId, SecretString, TaskId};
use tokio::sync::{broadcast, mpsc, oneshot};

use super::{InitOptions, JoinOptions, LogRequest, NodeError, SwarmEvent, SwarmInfo};
use crate::runner::LogMessage;

/// Commands that may wait for the event loop: it answers in microseconds, so this is reached only by a client that
/// opens that many connections at once, and then those wait.
const COMMAND_QUEUE: usize = 256;

/// Events that a slow reader of `docker events` may lag behind before it loses some.
const EVENT_QUEUE: usize = 1024;

/// A handle on the node's event loop. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct NodeHandle {
    commands: mpsc::Sender<Command>,
    events: broadcast::Sender<SwarmEvent>,
}

/// What the event loop is asked.
#[derive(Debug)]
pub(crate) enum Command {
    Control(Box<ControlRequest>, Reply<ControlResponse>),
    Init(Box<InitOptions>, Reply<NodeId>),
    Join(Box<JoinOptions>, Reply<NodeId>),
    Leave { force: bool, reply: Reply<()> },
    Unlock(Reply<()>),
    Info(oneshot::Sender<SwarmInfo>),
    Logs(Box<LogRequest>, Reply<mpsc::Receiver<LogMessage>>),
    Shutdown(oneshot::Sender<()>),
}

pub(crate) type Reply<T> = oneshot::Sender<Result<T, NodeError>>;

impl NodeHandle {
    /// A handle and the event loop's end of it.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Command>) {
        let (commands, receiver) = mpsc::channel(COMMAND_QUEUE);
        (Self { commands, events: broadcast::Sender::new(EVENT_QUEUE) }, receiver)
    }

    /// The sender of `subscribe`'s events, for the event loop.
    pub(crate) fn event_sender(&self) -> broadcast::Sender<SwarmEvent> {
        self.events.clone()
    }

    /// Asks the swarm's managers: answered here by the leader, forwarded to it by another manager, refused elsewhere.
    pub async fn control(&self, request: ControlRequest) -> Result<ControlResponse, ControlError> {
        self.ask(|reply| Command::Control(Box::new(request), reply)).await
    }

    /// Attaches a container of this node to a network of the swarm, by whatever manager answers. The id is that of the
    /// task which brings the addresses: the agent hands it to the runner, with [`swarm_types::TaskSpec::attachment`].
    pub async fn attach_network(
        &self,
        network: &str,
        container_id: &str,
        addresses: Vec<String>,
    ) -> Result<TaskId, ControlError> {
        let request = |node| ControlRequest::AttachNetwork {
            node,
            network: network.to_owned(),
            container_id: container_id.to_owned(),
            addresses,
        };
        let failed = |error: ControlError| {
            ControlError::new(error.kind, format!("Could not attach to network {network}: {}", error.message))
        };
        match self.ask_for_this_node(request).await.map_err(failed)? {
            ControlResponse::Created { id: ObjectId::Task(id), .. } => Ok(id),
            _ => Err(ControlError::new(ControlErrorKind::Internal, "an answer to something else")),
        }
    }

    /// Ends an attachment of this node. One that is gone already is no error: the managers may have been first.
    pub async fn detach_network(&self, attachment: TaskId) -> Result<(), ControlError> {
        match self.ask_for_this_node(|node| ControlRequest::DetachNetwork { node, attachment }).await {
            Err(error) if error.kind != ControlErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    async fn ask_for_this_node(
        &self,
        request: impl FnOnce(NodeId) -> ControlRequest,
    ) -> Result<ControlResponse, ControlError> {
        match self.swarm_info().await.node_id {
            Some(node) => self.control(request(node)).await,
            None => Err(super::messages::not_in_swarm()),
        }
    }

    /// Makes a new swarm with this node as its first manager.
    pub async fn swarm_init(&self, options: InitOptions) -> Result<NodeId, NodeError> {
        self.ask(|reply| Command::Init(Box::new(options), reply)).await
    }

    /// Joins a swarm.
    pub async fn swarm_join(&self, options: JoinOptions) -> Result<NodeId, NodeError> {
        self.ask(|reply| Command::Join(Box::new(options), reply)).await
    }

    /// Leaves the swarm.
    pub async fn swarm_leave(&self, force: bool) -> Result<(), NodeError> {
        self.ask(|reply| Command::Leave { force, reply }).await
    }

    /// Hands a locked manager its unlock key. Managers are never locked by this program: always refused.
    pub async fn swarm_unlock(&self, _key: SecretString) -> Result<(), NodeError> {
        self.ask(Command::Unlock).await
    }

    /// Where the node stands with its swarm.
    pub async fn swarm_info(&self) -> SwarmInfo {
        let (reply, answer) = oneshot::channel();
        if self.commands.send(Command::Info(reply)).await.is_err() {
            return SwarmInfo::default();
        }
        answer.await.unwrap_or_default()
    }

    /// The changes of the swarm's objects from now on; silent on nodes that are no managers.
    pub fn subscribe(&self) -> broadcast::Receiver<SwarmEvent> {
        self.events.subscribe()
    }

    /// Output of tasks on all nodes. The receiver ends with the logs; drop it to stop following.
    pub async fn logs(&self, request: LogRequest) -> Result<mpsc::Receiver<LogMessage>, NodeError> {
        self.ask(|reply| Command::Logs(Box::new(request), reply)).await
    }

    /// Ends the event loop; containers go on.
    pub async fn shutdown(&self) {
        let (reply, answer) = oneshot::channel();
        if self.commands.send(Command::Shutdown(reply)).await.is_ok() {
            let _ = answer.await;
        }
    }

    async fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, NodeError> {
        let stopping = || NodeError::new(ControlErrorKind::Unavailable, "the node is shutting down");
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())?
    }
}
