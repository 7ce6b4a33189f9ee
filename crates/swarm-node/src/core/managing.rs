//! What a manager adds to a node: the control plane with its raft log, links to the other managers, the agents'
//! sessions, and the requests that wait for an answer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use swarm_manager::consensus::{ConsensusError, PersistedState};
use swarm_manager::control_api::{ControlError, ControlResponse};
use swarm_manager::dispatcher;
use swarm_manager::manager::{Answer, Manager, ManagerConfig, Output, RequestId};
use swarm_types::{AgentMessage, DispatcherMessage, ManagerPeer, NodeId, NodeRole, RaftSpec};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tracing::{debug, info, warn};

use super::handle::Reply;
use super::identity::Identity;
use super::logs::LogBroker;
use super::{Context, Mail, NodeErrorKind, SwarmEvent, now, seed};
use crate::ca::{Credentials, Peer};
use crate::storage::{RaftLog, RaftWriter, SealKey};
use crate::transport::wire::{Answer as WireAnswer, Issued, Joined, ManagerFrame};
use crate::transport::{Connection, RaftLink, Receiving, Sending};

/// Messages that wait for one agent. One that lets so many pile up is cut off; it comes back and is told all anew.
const SESSION_QUEUE: usize = 64;

/// The manager's part of a node.
pub(super) struct Managing {
    pub manager: Manager,
    /// Tells this writer's results from an earlier one's.
    pub generation: u64,
    writer: RaftWriter,
    credentials: watch::Receiver<Arc<Credentials>>,
    links: BTreeMap<u64, RaftLink>,
    /// Members that the leader named before this manager knew any itself.
    book: BTreeMap<u64, ManagerPeer>,
    sessions: BTreeMap<NodeId, Session>,
    next_connection: u64,
    waiting: BTreeMap<RequestId, Waiting>,
    pub logs: LogBroker,
    node: NodeId,
}

/// An agent's connection.
struct Session {
    connection: u64,
    peer: dispatcher::Peer,
    queue: mpsc::Sender<ManagerFrame>,
    tasks: [JoinHandle<()>; 2],
}

impl Drop for Session {
    fn drop(&mut self) {
        self.tasks[0].abort();
        // The other one sends what is queued (why the session ended, for one) and then ends by itself.
    }
}

/// Who waits for a request.
pub(super) enum Waiting {
    Control(Reply<ControlResponse>),
    Issue(Box<Issued>, Reply<Issued>),
    Group(RaftSpec, Reply<Joined>),
}

/// What the node has to do for the manager.
pub(super) enum Event {
    /// Nothing more.
    Done,
    ToOwnAgent(Box<DispatcherMessage>),
    /// No longer a member of the raft group.
    Removed,
}

impl Managing {
    /// A manager with what is on its disk; `book`: members that are known otherwise.
    pub fn restore(
        context: &Context,
        identity: &Identity,
        raft_id: u64,
        book: BTreeMap<u64, ManagerPeer>,
        credentials: watch::Receiver<Arc<Credentials>>,
    ) -> Result<Self, String> {
        let key = SealKey::new(&identity.raft_key).ok_or("the key of the raft log has not 32 bytes")?;
        let dir = context.dir.join("raft");
        let (log, state, repairs) = RaftLog::open(&dir, key).map_err(|error| error.to_string())?;
        for repair in repairs {
            warn!("{repair}");
        }
        let raft = identity.raft.clone();
        let config = ManagerConfig { raft_id, node_id: identity.node, raft, seed: seed() };
        let manager = Manager::new(now(), config, state).map_err(|error| error.to_string())?;
        static GENERATION: AtomicU64 = AtomicU64::new(1);
        let generation = GENERATION.fetch_add(1, Ordering::Relaxed);
        let writer = RaftWriter::start(log, generation, context.written.clone())
            .map_err(|error| format!("start the raft log's thread: {error}"))?;
        Ok(Self {
            manager,
            generation,
            writer,
            credentials,
            links: BTreeMap::new(),
            book,
            sessions: BTreeMap::new(),
            next_connection: 0,
            waiting: BTreeMap::new(),
            logs: LogBroker::default(),
            node: identity.node,
        })
    }

    /// Writes the first state of a new swarm.
    pub fn write_first_state(context: &Context, identity: &Identity, state: &PersistedState) -> Result<(), String> {
        let key = SealKey::new(&identity.raft_key).ok_or("the key of the raft log has not 32 bytes")?;
        let (mut log, _, _) = RaftLog::open(&context.dir.join("raft"), key).map_err(|error| error.to_string())?;
        log.write_state(state).map_err(|error| error.to_string())
    }

    /// Whether a node may send raft messages. A new member does not know the group yet and hears whoever has a
    /// manager's certificate.
    pub fn is_member(&self, node: NodeId) -> bool {
        let members = self.manager.members();
        members.is_empty() || members.values().chain(self.book.values()).any(|member| member.node_id == node)
    }

    /// Whether the swarm still has the node of this certificate.
    pub fn knows(&self, peer: &Peer) -> bool {
        let store = self.manager.store();
        match store.cluster() {
            // Nothing replicated yet: the certificate must do.
            None => true,
            Some(cluster) => {
                !cluster.revoked_nodes.iter().any(|(node, _)| *node == peer.node)
                    && store.nodes().get(peer.node).is_some()
            }
        }
    }

    /// Remembers who waits for a request.
    pub fn wait(&mut self, request: Result<RequestId, ConsensusError>, waiting: Waiting) -> Result<(), String> {
        match request {
            Ok(request) => {
                self.waiting.insert(request, waiting);
                Ok(())
            }
            Err(error) => {
                waiting.fail(ControlError::new(NodeErrorKind::Internal, error.to_string()));
                Err(error.to_string())
            }
        }
    }

    /// Carries out the manager's next output; `None`: there is none.
    pub fn next(&mut self, context: &Context) -> Option<Event> {
        match self.manager.poll_output()? {
            Output::Persist(persist) => self.writer.write(persist),
            Output::SendRaft { to, member, bytes } => self.send_raft(context, to, member, bytes),
            Output::SendAgent { node, message } if node == self.node => {
                // Its own agent may be connected to itself; otherwise the message is dropped there.
                return Some(Event::ToOwnAgent(Box::new(message)));
            }
            Output::SendAgent { node, message } => self.send_agent(node, ManagerFrame::Dispatcher(message)),
            Output::Answered { request, answer } => {
                if let Some(waiting) = self.waiting.remove(&request) {
                    waiting.answer(answer);
                }
            }
            Output::Applied(events) => {
                let time = now();
                for event in events {
                    self.logs.applied(&event);
                    // Nobody listening is no error.
                    let _ = context.events.send(SwarmEvent { time, event: Arc::new(event) });
                }
                self.open_logs(context);
            }
            Output::Replaced => debug!("the store was replaced by a snapshot"),
            Output::Leader { leader, this } => {
                match leader {
                    _ if this => info!("this manager leads the swarm"),
                    Some(leader) => info!("manager {} leads the swarm", leader.node_id),
                    None => info!("the swarm has no leader"),
                }
                let members = self.manager.members();
                self.links.retain(|raft_id, _| members.is_empty() || members.contains_key(raft_id));
            }
            Output::Removed => return Some(Event::Removed),
            Output::RotateNetworkKeys => {
                info!("the keys of the swarm's networks are rotated");
                if let Err(error) = self.manager.rotate_network_keys(now(), super::joining::draw) {
                    warn!("rotating the networks' keys: {error}");
                }
            }
        }
        Some(Event::Done)
    }

    fn send_raft(&mut self, context: &Context, to: u64, member: Option<ManagerPeer>, bytes: Vec<u8>) {
        let Some(member) = member.or_else(|| self.book.get(&to).cloned()) else {
            debug!("raft message for the unknown member {to} dropped");
            return;
        };
        if self.links.get(&to).is_none_or(|link| link.addr != member.addr) {
            let link = RaftLink::new(member.addr, to, self.credentials.clone(), context.lost.clone());
            self.links.insert(to, link);
        }
        if self.links.get(&to).is_none_or(|link| !link.send(bytes)) {
            self.manager.unreachable(to);
        }
    }

    /// Sends to an agent of another node; without a session it is dropped.
    pub fn send_agent(&mut self, node: NodeId, frame: ManagerFrame) {
        if let Some(session) = self.sessions.get(&node)
            && session.queue.try_send(frame).is_err()
        {
            warn!("node {node} does not take its messages: ending its session");
            self.sessions.remove(&node);
        }
    }

    /// Whether an agent is connected here.
    pub fn has_session(&self, node: NodeId) -> bool {
        self.sessions.contains_key(&node)
    }

    /// An agent's connection, in place of any that its node had before.
    pub fn add_session(&mut self, context: &Context, peer: Peer, addr: String, connection: Connection) {
        self.next_connection += 1;
        let number = self.next_connection;
        let (queue, frames) = mpsc::channel(SESSION_QUEUE);
        let (sending, receiving) = connection.split();
        let reading = tokio::spawn(read_session(receiving, peer.node, number, context.clone()));
        let writing = tokio::spawn(write_session(sending, frames));
        let peer = dispatcher::Peer { node_id: peer.node, role: peer.role, addr };
        let node = peer.node_id;
        self.sessions.insert(node, Session { connection: number, peer, queue, tasks: [reading, writing] });
    }

    pub fn agent_message(
        &mut self,
        now: swarm_types::Timestamp,
        connection: u64,
        node: NodeId,
        message: AgentMessage,
    ) -> Result<(), ConsensusError> {
        match self.sessions.get(&node) {
            Some(session) if session.connection == connection => self.manager.handle_agent(now, &session.peer, message),
            _ => Ok(()),
        }
    }

    /// A connection ended. The dispatcher notices by the missing heartbeats.
    pub fn agent_gone(&mut self, connection: u64, node: NodeId) {
        if self.sessions.get(&node).is_some_and(|session| session.connection == connection) {
            self.sessions.remove(&node);
        }
    }

    /// The managers that nodes can turn to.
    pub fn managers(&self) -> Vec<ManagerPeer> {
        self.manager.members().values().cloned().collect()
    }

    fn open_logs(&mut self, context: &Context) {
        for (node, frame) in self.logs.open_streams(context, self.manager.store(), self.node) {
            self.open_log(context, node, frame);
        }
    }

    /// Asks a node for a log; without a session the stream ends at once.
    pub fn open_log(&mut self, context: &Context, node: NodeId, frame: ManagerFrame) {
        let ManagerFrame::LogOpen { stream, .. } = frame else { return };
        if self.has_session(node) {
            self.send_agent(node, frame);
            context.spawn(async move {
                tokio::time::sleep(super::logs::CONNECT_PATIENCE).await;
                Mail::LogExpired(stream)
            });
        } else {
            self.logs.expire(stream);
        }
    }
}

impl Drop for Managing {
    fn drop(&mut self) {
        for waiting in std::mem::take(&mut self.waiting).into_values() {
            waiting.fail(super::messages::not_a_manager());
        }
    }
}

impl Waiting {
    fn answer(self, answer: Result<Answer, ControlError>) {
        match (self, answer) {
            (waiting, Err(error)) => waiting.fail(error),
            (Self::Control(reply), Ok(Answer::Control(response))) => drop(reply.send(Ok(response))),
            (Self::Issue(issued, reply), Ok(Answer::Written)) => drop(reply.send(Ok(*issued))),
            (Self::Group(raft, reply), Ok(Answer::Member { raft_id, members })) => {
                let _ = reply.send(Ok(Joined { raft_id, members, raft }));
            }
            (waiting, Ok(_)) => waiting.fail(ControlError::new(NodeErrorKind::Internal, "an answer to something else")),
        }
    }

    fn fail(self, error: ControlError) {
        match self {
            Self::Control(reply) => drop(reply.send(Err(error))),
            Self::Issue(_, reply) => drop(reply.send(Err(error))),
            Self::Group(_, reply) => drop(reply.send(Err(error))),
        }
    }
}

async fn read_session(mut receiving: Receiving, node: NodeId, connection: u64, context: Context) {
    let post = |mail| context.mailbox.send((context.epoch, mail));
    let reason = loop {
        match receiving.receive().await {
            Ok(message) => {
                if post(Mail::Agent { connection, node, message }).await.is_err() {
                    return;
                }
            }
            Err(reason) => break reason,
        }
    };
    debug!("session of node {node}: {reason}");
    let _ = post(Mail::AgentGone { connection, node }).await;
}

async fn write_session(mut sending: Sending, mut frames: mpsc::Receiver<ManagerFrame>) {
    let opened: WireAnswer<()> = Ok(());
    if sending.send(&opened).await.is_err() {
        return;
    }
    while let Some(frame) = frames.recv().await {
        if sending.send(&frame).await.is_err() {
            return;
        }
    }
    sending.close().await;
}

/// The role that a certificate gives, for messages.
pub(super) const fn role_text(role: NodeRole) -> &'static str {
    match role {
        NodeRole::Manager => "manager",
        NodeRole::Worker => "worker",
    }
}
