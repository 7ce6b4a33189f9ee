//! Output of tasks on all nodes, gathered by the leader: it asks the nodes that run the tasks, each sends its lines over
//! a connection of its own, and all lines go to one reader.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::StreamExt;
use std::time::Duration;
use swarm_manager::store::{Event, Store};
use swarm_types::{NodeId, Object, Task, TaskId, TaskState};
use tokio::sync::mpsc;
use tracing::debug;

use super::handle::Reply;
use super::member::Member;
use super::requests::{Route, unreachable};
use super::{Context, LogRequest, messages};
use crate::runner::{LogMessage, TaskLogRequest};
use crate::transport::wire::{Answer, ManagerFrame, Request};
use crate::transport::{Connection, dial};

/// A node that was asked for a log has so long to connect.
pub(super) const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// Lines that wait for a slow reader before those who send them do.
const QUEUE: usize = 256;

/// Who reads which logs.
#[derive(Default)]
pub(super) struct LogBroker {
    next: u64,
    readers: BTreeMap<u64, Reader>,
    /// Streams that were asked for, until the node connects.
    expected: BTreeMap<u64, (NodeId, mpsc::Sender<LogMessage>)>,
    changed: bool,
}

struct Reader {
    request: LogRequest,
    lines: mpsc::Sender<LogMessage>,
    opened: BTreeSet<TaskId>,
}

impl LogBroker {
    /// A new reader; its logs are opened by `open_streams`.
    pub fn add(&mut self, request: LogRequest) -> mpsc::Receiver<LogMessage> {
        let (lines, receiver) = mpsc::channel(QUEUE);
        self.next += 1;
        self.readers.insert(self.next, Reader { request, lines, opened: BTreeSet::new() });
        self.changed = true;
        receiver
    }

    /// Notes whether a change of the store may concern a reader.
    pub fn applied(&mut self, event: &Event) {
        self.changed |= !self.readers.is_empty() && matches!(event.object(), Object::Task(_));
    }

    /// Opens the logs of tasks that have come up since the last call: those of this node at once, those of others by
    /// the messages returned.
    pub fn open_streams(&mut self, context: &Context, store: &Store, this: NodeId) -> Vec<(NodeId, ManagerFrame)> {
        if !std::mem::take(&mut self.changed) {
            return Vec::new();
        }
        self.readers.retain(|_, reader| !reader.lines.is_closed());
        let mut frames = Vec::new();
        for reader in self.readers.values_mut() {
            let named = reader.request.tasks.iter().filter_map(|id| store.tasks().get(*id));
            let of_services = reader.request.services.iter().flat_map(|id| store.service_tasks(*id));
            let tasks: Vec<_> = named.chain(of_services).filter(|task| has_output(task)).cloned().collect();
            for task in tasks {
                let (Some(node), Some(service)) = (task.node_id, task.service_id) else { continue };
                if !reader.opened.insert(task.id) {
                    continue;
                }
                let options = reader.request.options.clone();
                let request = TaskLogRequest { task: task.id, service, options };
                if node == this {
                    let mut log = context.options.runner.logs(&request, node);
                    let lines = reader.lines.clone();
                    tokio::spawn(async move {
                        while let Some(line) = until_closed(&lines, log.next()).await.flatten() {
                            if lines.send(line).await.is_err() {
                                return;
                            }
                        }
                    });
                } else {
                    self.next += 1;
                    self.expected.insert(self.next, (node, reader.lines.clone()));
                    frames.push((node, ManagerFrame::LogOpen { stream: self.next, request }));
                }
            }
        }
        // Without following, the streams alone keep the reader's end open.
        self.readers.retain(|_, reader| reader.request.options.follow);
        frames
    }

    /// A node connected to send a log.
    pub fn connected(&mut self, node: NodeId, stream: u64, connection: Connection) {
        match self.expected.remove(&stream) {
            Some((expected, lines)) if expected == node => drop(tokio::spawn(pass_on(connection, lines))),
            Some(entry) => drop(self.expected.insert(stream, entry)),
            None => {}
        }
    }

    /// A stream that nobody connects for ends.
    pub fn expire(&mut self, stream: u64) {
        self.expected.remove(&stream);
    }
}

impl Member {
    /// Output of tasks: gathered here by the leader, fetched from the leader by another manager.
    pub fn logs(&mut self, request: LogRequest, hops: u8, reply: Reply<mpsc::Receiver<LogMessage>>) {
        match self.route(hops) {
            Err(refusal) => drop(reply.send(Err(refusal))),
            Ok(Route::Here) => {
                let Some(managing) = &mut self.managing else { return };
                let lines = managing.logs.add(request);
                let store = managing.manager.store();
                let frames = managing.logs.open_streams(&self.context, store, self.identity.node);
                for (node, frame) in frames {
                    managing.open_log(&self.context, node, frame);
                }
                let _ = reply.send(Ok(lines));
            }
            Ok(Route::There(leader)) => {
                let config = self.credentials.borrow().client.clone();
                tokio::spawn(async move {
                    let asked = async {
                        let mut connection = dial(&leader.addr, config).await?;
                        let answer: Answer<()> = connection.ask(Request::Logs(Box::new(request)), hops + 1).await?;
                        Ok((connection, answer))
                    };
                    match asked.await {
                        Ok((connection, Ok(()))) => {
                            let (lines, receiver) = mpsc::channel(QUEUE);
                            if reply.send(Ok(receiver)).is_ok() {
                                pass_on(connection, lines).await;
                            }
                        }
                        Ok((_, Err(refusal))) => drop(reply.send(Err(refusal))),
                        Err(error) => drop(reply.send(Err(unreachable(&error)))),
                    }
                });
            }
        }
    }

    /// Another manager's reader.
    pub fn logs_for(&mut self, request: LogRequest, hops: u8, mut connection: Connection) {
        let (reply, lines) = tokio::sync::oneshot::channel();
        self.logs(request, hops, reply);
        tokio::spawn(async move {
            let lines = lines.await.unwrap_or_else(|_| Err(messages::not_a_manager()));
            let answer: Answer<()> = lines.as_ref().map(drop).map_err(Clone::clone);
            if connection.send(&answer).await.is_err() {
                return;
            }
            let Ok(lines) = lines else { return };
            let mut lines = tokio_stream(lines).ready_chunks(64);
            let (mut sending, mut receiving) = connection.split();
            loop {
                let chunk: Vec<LogMessage> = tokio::select! {
                    chunk = lines.next() => match chunk {
                        Some(chunk) => chunk,
                        None => break,
                    },
                    // Nothing comes this way but the end.
                    _ = receiving.receive_bytes() => return,
                };
                if sending.send(&chunk).await.is_err() {
                    return;
                }
            }
            sending.close().await;
        });
    }
}

/// Tasks that have, or had, a container.
fn has_output(task: &Task) -> bool {
    task.node_id.is_some() && task.status.state >= TaskState::Starting && task.status.state != TaskState::Rejected
}

async fn pass_on(mut connection: Connection, lines: mpsc::Sender<LogMessage>) {
    loop {
        match until_closed(&lines, connection.receive::<Vec<LogMessage>>()).await {
            Some(Ok(messages)) => {
                for message in messages {
                    if lines.send(message).await.is_err() {
                        return;
                    }
                }
            }
            Some(Err(reason)) => return debug!("log stream: {reason}"),
            None => return,
        }
    }
}

/// `None`: the reader went away first.
async fn until_closed<T>(lines: &mpsc::Sender<LogMessage>, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        result = work => Some(result),
        () = lines.closed() => None,
    }
}

fn tokio_stream(mut lines: mpsc::Receiver<LogMessage>) -> impl futures_util::Stream<Item = LogMessage> + Unpin {
    futures_util::stream::poll_fn(move |context| lines.poll_recv(context))
}
