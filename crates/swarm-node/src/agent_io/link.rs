//! An agent's connection to a manager that is another node: carries its session, and the logs that managers ask for.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use rustls::ClientConfig;
use swarm_types::{AgentMessage, DispatcherMessage, NodeId};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tracing::debug;

use crate::runner::{LogMessage, TaskLogRequest, TaskRunner};
use crate::transport::wire::{Answer, ManagerFrame, Request};
use crate::transport::{Connection, Sending, TransportError, dial};

/// Messages that wait for the manager. An agent sends little: when so many wait the manager is as good as gone.
const QUEUE: usize = 256;

/// The last messages to a manager may take so long.
const FAREWELL: Duration = Duration::from_secs(5);

/// Log lines in one frame.
const LINES: usize = 64;

/// Logs read at the same time; a manager that asks for more gets nothing.
const LOG_STREAMS: usize = 1000;

/// What happens on a link.
#[derive(Debug)]
pub enum LinkEvent {
    /// It is up.
    Up,
    /// The dispatcher said something.
    Message(DispatcherMessage),
    /// It did not come up, or went down: why.
    Down(String),
}

/// A connection to a manager; closed when dropped.
#[derive(Debug)]
pub struct Link {
    queue: Option<mpsc::Sender<AgentMessage>>,
    task: Option<JoinHandle<()>>,
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// Where logs come from and go.
#[derive(Clone)]
struct Logs {
    runner: Arc<dyn TaskRunner>,
    node: NodeId,
    addr: String,
    config: Arc<ClientConfig>,
}

impl Link {
    /// Connects. Events go to `mailbox` as `wrap` makes them.
    pub fn open<M: Send + 'static>(
        addr: String,
        config: Arc<ClientConfig>,
        runner: Arc<dyn TaskRunner>,
        node: NodeId,
        mailbox: mpsc::Sender<M>,
        wrap: impl Fn(LinkEvent) -> M + Send + Sync + 'static,
    ) -> Self {
        let (queue, frames) = mpsc::channel(QUEUE);
        let logs = Logs { runner, node, addr: addr.clone(), config: config.clone() };
        let task = tokio::spawn(async move {
            let down = match dial(&addr, config).await {
                Ok(connection) => run(connection, logs, frames, &mailbox, &wrap).await,
                Err(error) => Err(error),
            };
            let reason = down.map_or_else(|error| error.to_string(), |()| "closed".to_owned());
            debug!("session with the manager at {addr}: {reason}");
            let _ = mailbox.send(wrap(LinkEvent::Down(reason))).await;
        });
        Self { queue: Some(queue), task: Some(task) }
    }

    /// Sends a message of the agent; false: the manager does not take any, the link is as good as down.
    pub fn send(&self, message: AgentMessage) -> bool {
        self.queue.as_ref().is_some_and(|queue| queue.try_send(message).is_ok())
    }

    /// Sends what is queued, then closes, without waiting for it here.
    pub fn finish(mut self) {
        self.queue = None;
        if let Some(task) = self.task.take() {
            let abort = task.abort_handle();
            tokio::spawn(async move {
                if timeout(FAREWELL, task).await.is_err() {
                    abort.abort();
                }
            });
        }
    }
}

async fn run<M>(
    mut connection: Connection,
    logs: Logs,
    messages: mpsc::Receiver<AgentMessage>,
    mailbox: &mpsc::Sender<M>,
    wrap: &(impl Fn(LinkEvent) -> M + Send + Sync),
) -> Result<(), TransportError> {
    connection.hello(Request::Session, 0).await?;
    let opened: Answer<()> = connection.receive().await?;
    if let Err(refused) = opened {
        return Err(TransportError::Malformed(refused.message));
    }
    let (sending, mut receiving) = connection.split();
    // Aborted when the set is dropped, with the link.
    let mut tasks = JoinSet::new();
    tasks.spawn(send(sending, messages));
    let _ = mailbox.send(wrap(LinkEvent::Up)).await;
    loop {
        match receiving.receive().await? {
            ManagerFrame::Dispatcher(message) => drop(mailbox.send(wrap(LinkEvent::Message(message))).await),
            ManagerFrame::LogOpen { stream, request } => {
                while tasks.try_join_next().is_some() {}
                if tasks.len() <= LOG_STREAMS {
                    tasks.spawn(send_log(stream, request, logs.clone()));
                }
            }
        }
    }
}

async fn send(mut sending: Sending, mut messages: mpsc::Receiver<AgentMessage>) {
    while let Some(message) = messages.recv().await {
        // The receiving side notices the loss.
        if sending.send(&message).await.is_err() {
            return;
        }
    }
    sending.close().await;
}

async fn send_log(stream: u64, request: TaskLogRequest, logs: Logs) {
    let sent = async {
        let mut connection = dial(&logs.addr, logs.config).await?;
        connection.hello(Request::LogStream { stream }, 0).await?;
        let (mut sending, mut receiving) = connection.split();
        let mut lines = logs.runner.logs(&request, logs.node).ready_chunks(LINES);
        loop {
            let messages: Vec<LogMessage> = tokio::select! {
                messages = lines.next() => match messages {
                    Some(messages) => messages,
                    None => break,
                },
                // Nothing comes this way but the end, when nobody reads any more.
                _ = receiving.receive_bytes() => break,
            };
            sending.send(&messages).await?;
        }
        sending.close().await;
        Ok::<(), TransportError>(())
    };
    if let Err(error) = sent.await {
        debug!("log of task {}: {error}", request.task);
    }
}
