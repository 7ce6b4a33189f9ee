//! What users and other nodes ask of a manager: answered by the leader, passed on to it by the others.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use swarm_manager::ca::role_for_token;
use swarm_manager::control_api::{ControlRequest, ControlResponse};
use swarm_manager::manager::NO_LEADER;
use swarm_manager::store::StoreAction;
use swarm_types::{
    Cluster, ManagerPeer, Meta, Node, NodeCertificate, NodeId, NodeRole, NodeSpec, NodeStatus, Object, Timestamp,
};
use tokio::sync::oneshot;
use tracing::{info, warn};

use super::handle::Reply;
use super::managing::{Managing, Waiting, role_text};
use super::member::{Member, fresh_raft_dir};
use super::{Mail, NodeError, NodeErrorKind, messages, random_id};
use crate::ca::{Credentials, Peer, Root, issue_node_certificate, joiner_config, read_request};
use crate::transport::wire::{Answer, IssueRequest, Issued, Joined, MAX_HOPS, Request};
use crate::transport::{Connection, Incoming, TransportError, dial};

/// How long a new manager waits before it asks for its place in the raft group again.
const GROUP_RETRY: Duration = Duration::from_secs(2);

/// A manager that the others seem to have no place for asks after so long: usually they have just given it one.
const GROUP_RECHECK: Duration = Duration::from_secs(5);

/// Who answers a request.
pub(super) enum Route {
    Here,
    There(ManagerPeer),
}

/// A new manager's way into the raft group.
#[derive(Debug, Default)]
pub(super) struct GroupJoin {
    /// When to ask (again).
    pub at: Option<Timestamp>,
    asking: bool,
}

/// What the leader answered.
pub(crate) struct GroupJoined(Joined);

/// Whether a prospective member can be reached.
pub(crate) struct GroupChecked {
    node: NodeId,
    addr: String,
    result: Result<(), TransportError>,
    reply: Reply<Joined>,
}

impl Member {
    /// Where a request for the managers goes from here.
    pub fn route(&self, hops: u8) -> Result<Route, NodeError> {
        let Some(managing) = &self.managing else { return Err(messages::not_a_manager()) };
        if managing.manager.is_leader() {
            return Ok(Route::Here);
        }
        match managing.manager.leader() {
            Some(leader) if leader.node_id != self.identity.node && hops < MAX_HOPS => Ok(Route::There(leader.clone())),
            _ => Err(NodeError::new(NodeErrorKind::Unavailable, NO_LEADER)),
        }
    }

    /// A user's request.
    pub fn control(&mut self, now: Timestamp, request: Box<ControlRequest>, hops: u8, reply: Reply<ControlResponse>) {
        let request = match prepared(request) {
            Ok(request) => request,
            Err(refusal) => return drop(reply.send(Err(refusal))),
        };
        match self.route(hops) {
            Err(_) if self.managing.is_none() && request.own_node() == Some(self.identity.node) => {
                self.ask_managers(*request, reply);
            }
            Err(refusal) => drop(reply.send(Err(refusal))),
            Ok(Route::There(leader)) => self.pass_on(leader, Request::Control(request), hops, reply),
            Ok(Route::Here) => self.at_leader(|managing| {
                let pending = managing.manager.control(now, &request);
                managing.wait(pending, Waiting::Control(reply))
            }),
        }
    }

    /// A worker's own request: whichever manager answers first passes it on to the leader.
    fn ask_managers(&self, request: ControlRequest, reply: Reply<ControlResponse>) {
        let config = self.credentials.borrow().client.clone();
        let managers = self.agent.managers().to_vec();
        tokio::spawn(async move {
            let answer = ask_any(&managers, &config, || Request::Control(Box::new(request.clone()))).await;
            let _ = reply.send(answer);
        });
    }

    fn at_leader(&mut self, work: impl FnOnce(&mut Managing) -> Result<(), String>) {
        let Some(managing) = &mut self.managing else { return };
        if let Err(reason) = work(managing) {
            self.fail(reason);
        }
    }

    fn pass_on<T: DeserializeOwned + Send + 'static>(
        &self,
        leader: ManagerPeer,
        request: Request,
        hops: u8,
        reply: Reply<T>,
    ) {
        let config = self.credentials.borrow().client.clone();
        tokio::spawn(async move {
            let answer = match dial(&leader.addr, config).await {
                Ok(mut connection) => connection.ask(request, hops + 1).await,
                Err(error) => Err(error),
            };
            let _ = reply.send(answer.unwrap_or_else(|error| Err(unreachable(&error))));
        });
    }

    /// A connection to the swarm port; what it asks is allowed to its certificate.
    pub fn incoming(&mut self, now: Timestamp, incoming: Incoming) {
        let Incoming { peer, addr, hops, request, mut connection } = incoming;
        if let (Some(peer), Some(managing)) = (&peer, &self.managing)
            && !managing.knows(peer)
        {
            info!("node {} at {addr} was removed from the swarm and is refused", peer.node);
            return refuse(connection, messages::removed_node());
        }
        match (request, peer) {
            (Request::Root, _) => {
                let root: Answer<String> = Ok(self.identity.root.clone());
                tokio::spawn(async move {
                    let _ = connection.send(&root).await;
                });
            }
            (Request::Issue(request), peer) => {
                let reply = answering(connection);
                self.issue(now, *request, peer, hops, reply);
            }
            (Request::JoinGroup { addr, node }, Some(peer)) => {
                let reply = answering(connection);
                self.add_to_group(node.unwrap_or(peer.node), addr, hops, reply);
            }
            (Request::Control(request), Some(_)) => {
                let reply = answering(connection);
                self.control(now, request, hops, reply);
            }
            (Request::Raft, Some(peer)) => {
                let (mailbox, epoch) = (self.context.mailbox.clone(), self.context.epoch);
                let (_, mut receiving) = connection.split();
                tokio::spawn(async move {
                    while let Ok(Some(bytes)) = receiving.receive_bytes().await {
                        if mailbox.send((epoch, Mail::Raft { from: peer.node, bytes })).await.is_err() {
                            return;
                        }
                    }
                });
            }
            (Request::Session, Some(peer)) => match &mut self.managing {
                Some(managing) => {
                    let context = self.context.clone();
                    managing.add_session(&context, peer, addr.ip().to_string(), connection);
                }
                None => refuse(connection, messages::not_a_manager()),
            },
            (Request::Logs(request), Some(_)) => self.logs_for(*request, hops, connection),
            (Request::LogStream { stream }, Some(peer)) => {
                if let Some(managing) = &mut self.managing {
                    managing.logs.connected(peer.node, stream, connection);
                }
            }
            (_, None) => refuse(connection, messages::removed_node()),
        }
    }

    /// Signs a certificate: for a new node that has a token, or for a node of the swarm anew.
    pub fn issue(
        &mut self,
        now: Timestamp,
        mut request: IssueRequest,
        peer: Option<Peer>,
        hops: u8,
        reply: Reply<Issued>,
    ) {
        let on_behalf = request.node.or(peer.map(|peer| peer.node)).filter(|_| request.token.is_none());
        match self.route(hops) {
            Err(refusal) => drop(reply.send(Err(refusal))),
            Ok(Route::There(leader)) => {
                request.node = on_behalf;
                self.pass_on(leader, Request::Issue(Box::new(request)), hops, reply);
            }
            Ok(Route::Here) => self.at_leader(|managing| match signed(managing, now, &request, on_behalf) {
                Err(refusal) => {
                    let _ = reply.send(Err(refusal));
                    Ok(())
                }
                Ok((issued, action)) => {
                    info!("certificate of a {} for node {}", role_text(issued.role), issued.node);
                    let pending = managing.manager.write(now, vec![action]);
                    managing.wait(pending, Waiting::Issue(Box::new(issued), reply))
                }
            }),
        }
    }

    /// Adds a manager to the raft group, once it is seen to listen: a member that nobody reaches would cost the group
    /// its quorum.
    fn add_to_group(&mut self, node: NodeId, addr: String, hops: u8, reply: Reply<Joined>) {
        match self.route(hops) {
            Err(refusal) => drop(reply.send(Err(refusal))),
            Ok(Route::There(leader)) => {
                self.pass_on(leader, Request::JoinGroup { addr, node: Some(node) }, hops, reply);
            }
            Ok(Route::Here) => {
                let Some(managing) = &self.managing else { return };
                let known = managing.manager.store().nodes().get(node);
                // One that is just being demoted must not slip in again between leaving the group and its new certificate.
                let to_be = |node: &Node| [node.role, node.spec.desired_role] == [NodeRole::Manager; 2];
                if !known.is_some_and(|node| to_be(node)) {
                    let message = "rpc error: code = FailedPrecondition desc = the node is not to be a manager";
                    let _ = reply.send(Err(NodeError::new(NodeErrorKind::FailedPrecondition, message)));
                    return;
                }
                let config = self.credentials.borrow().client.clone();
                self.context.spawn(async move {
                    let result = dial(&addr, config).await.map(drop);
                    Mail::GroupChecked(Box::new(GroupChecked { node, addr, result, reply }))
                });
            }
        }
    }

    pub fn group_checked(&mut self, now: Timestamp, checked: GroupChecked) {
        let GroupChecked { node, addr, result, reply } = checked;
        if let Err(error) = result {
            warn!("node {node} wants to be a manager, but is not reached at {addr}: {error}");
            let message = format!(
                "rpc error: code = Unavailable desc = could not connect to prospective new cluster member using its \
                 advertised address: {error}"
            );
            let _ = reply.send(Err(NodeError::new(NodeErrorKind::Unavailable, message)));
            return;
        }
        if !self.leads() {
            let _ = reply.send(Err(NodeError::new(NodeErrorKind::Unavailable, NO_LEADER)));
            return;
        }
        self.at_leader(|managing| {
            let raft = managing.manager.store().cluster().map(|cluster| cluster.spec.raft.clone());
            let pending = managing.manager.add_member(now, node, addr);
            managing.wait(pending, Waiting::Group(raft.unwrap_or_default(), reply))
        });
    }

    /// Whether the managers, by what they last said, want this node as one of them.
    fn is_to_manage(&self) -> bool {
        let roles = self.facts.as_ref().map(|facts| [facts.node.role, facts.node.spec.desired_role]);
        self.role() == NodeRole::Manager && roles == Some([NodeRole::Manager; 2])
    }

    /// Whether the managers have another place in the raft group for this one than it knows, or none: it was demoted and
    /// promoted again while it was away. With its old id nobody would ever answer it.
    fn is_misplaced(&self) -> bool {
        let (Some(facts), Some(own)) = (&self.facts, self.identity.raft_id) else { return false };
        let place = facts.node.manager_status.as_ref().map(|status| status.raft_id);
        self.managing.is_some() && !self.leads() && self.is_to_manage() && place != Some(own)
    }

    /// Looks at what the managers said of this node's place in the raft group. One that was taken out of the group and
    /// promoted again before it had a worker's certificate has no place, and nothing else to remind it.
    pub fn check_place(&mut self, now: Timestamp) {
        if self.group_join.asking || self.group_join.at.is_some() {
            return;
        }
        let placeless = self.managing.is_none() && self.identity.raft_id.is_none() && self.is_to_manage();
        if placeless {
            self.manage();
        }
        if placeless || self.is_misplaced() {
            self.group_join.at = Some(now.plus(GROUP_RECHECK));
        }
    }

    /// Asks the managers for this node's place in the raft group.
    pub fn join_group(&mut self) {
        self.group_join.at = None;
        if self.group_join.asking || (self.managing.is_some() && !self.is_misplaced()) {
            return;
        }
        self.group_join.asking = true;
        let config = self.credentials.borrow().client.clone();
        let own = self.identity.node;
        let managers: Vec<_> = self.identity.managers.iter().filter(|peer| peer.node_id != own).cloned().collect();
        let addr = self.identity.advertise_addr.to_string();
        self.context.spawn(async move {
            let request = || Request::JoinGroup { addr: addr.clone(), node: None };
            Mail::GroupJoined(ask_any(&managers, &config, request).await.map(GroupJoined))
        });
    }

    pub fn group_joined(&mut self, now: Timestamp, result: Result<GroupJoined, NodeError>) {
        self.group_join.asking = false;
        if self.role() != NodeRole::Manager {
            return;
        }
        let joined = match result {
            Ok(GroupJoined(joined)) => joined,
            Err(error) => {
                warn!("joining the managers' raft group: {error}");
                self.group_join.at = Some(now.plus(GROUP_RETRY));
                return;
            }
        };
        if self.managing.is_some() {
            if self.identity.raft_id == Some(joined.raft_id) {
                return;
            }
            info!("this manager lost its place in the raft group, and has a new one");
            self.drop_manager(now);
        }
        info!("this node is now a manager, with {} others", joined.members.len().saturating_sub(1));
        self.identity.raft_id = Some(joined.raft_id);
        self.identity.raft.clone_from(&joined.raft);
        if let Err(error) = fresh_raft_dir(&self.context.dir.join("raft")) {
            return self.fail(error.to_string());
        }
        self.store_identity();
        let credentials = self.credentials.subscribe();
        match Managing::restore(&self.context, &self.identity, joined.raft_id, joined.members, credentials) {
            Ok(managing) => self.managing = Some(managing),
            Err(error) => self.fail(error),
        }
    }
}

/// Asks one manager after the other until one answers, and returns the last refusal if none does.
pub(super) async fn ask_any<T: DeserializeOwned>(
    managers: &[ManagerPeer],
    config: &Arc<rustls::ClientConfig>,
    request: impl Fn() -> Request,
) -> Result<T, NodeError> {
    let mut last = NodeError::new(NodeErrorKind::Unavailable, "no manager is known");
    for manager in managers {
        let answer = match dial(&manager.addr, config.clone()).await {
            Ok(mut connection) => connection.ask(request(), 0).await,
            Err(error) => Err(error),
        };
        match answer {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(refusal)) => last = refusal,
            Err(error) => last = unreachable(&error),
        }
    }
    Err(last)
}

/// A manager that does not answer, in Docker's words.
pub(super) fn unreachable(error: &TransportError) -> NodeError {
    let message = format!("rpc error: code = Unavailable desc = connection error: desc = \"transport: {error}\"");
    NodeError::new(NodeErrorKind::Unavailable, message)
}

/// A reply that goes out over a connection.
fn answering<T: serde::Serialize + Send + Sync + 'static>(mut connection: Connection) -> Reply<T> {
    let (reply, answer) = oneshot::channel::<Answer<T>>();
    tokio::spawn(async move {
        let answer = answer.await.unwrap_or_else(|_| Err(messages::not_a_manager()));
        if connection.send(&answer).await.is_ok() {
            connection.split().0.close().await;
        }
    });
    reply
}

fn refuse(mut connection: Connection, refusal: NodeError) {
    tokio::spawn(async move {
        let refusal: Answer<()> = Err(refusal);
        if connection.send(&refusal).await.is_ok() {
            connection.split().0.close().await;
        }
    });
}

/// Draws the secrets that a rotation needs, and refuses what this program cannot do.
fn prepared(mut request: Box<ControlRequest>) -> Result<Box<ControlRequest>, NodeError> {
    if let ControlRequest::UpdateCluster { spec, rotate, fresh, .. } = request.as_mut() {
        if spec.auto_lock_managers || rotate.unlock_key {
            return Err(messages::no_autolock());
        }
        if fresh.is_none() && (rotate.worker_token || rotate.manager_token) {
            *fresh = Some(super::joining::fresh_secrets()?);
        }
    }
    Ok(request)
}

/// The certificate, and what the store has to say about it first.
fn signed(
    managing: &Managing,
    now: Timestamp,
    request: &IssueRequest,
    on_behalf: Option<NodeId>,
) -> Result<(Issued, StoreAction), NodeError> {
    let internal = |message: String| NodeError::new(NodeErrorKind::Internal, message);
    let store = managing.manager.store();
    let cluster: &Cluster = store.cluster().ok_or_else(|| internal("the swarm is not initialised".to_owned()))?;
    let (csr, public_key_digest) = read_request(&request.request)
        .map_err(|error| NodeError::new(NodeErrorKind::InvalidArgument, error.to_string()))?;
    let known = match (&request.token, on_behalf) {
        (None, Some(node)) => Some(store.nodes().get(node).ok_or_else(messages::removed_node)?),
        _ => None,
    };
    let (node, role) = match (&request.token, known) {
        (_, Some(known)) => (known.id, known.role),
        (Some(token), None) => (random_id(), role_for_token(cluster, &token.0).ok_or_else(messages::invalid_token)?),
        (None, None) => return Err(messages::invalid_token()),
    };
    let root = Root { certificate: cluster.root_ca.certificate.clone(), key: cluster.root_ca.key.clone() };
    let certificate = issue_node_certificate(&root, csr, cluster.id, node, role, now, cluster.spec.node_cert_expiry)
        .map_err(|error| internal(error.to_string()))?;
    let not_after = now.plus(cluster.spec.node_cert_expiry);
    let certified = NodeCertificate { role, not_after, public_key_digest };
    let action = match known {
        Some(known) => {
            let mut renewed = Node::clone(known);
            renewed.certificate = certified;
            StoreAction::Update(Object::Node(Arc::new(renewed)))
        }
        None => StoreAction::Create(Object::Node(Arc::new(new_node(node, role, request.availability, certified)))),
    };
    let managers = managing.managers();
    Ok((Issued { node, role, certificate, root: root.certificate, managers }, action))
}

/// A node that has just been let in.
pub(super) fn new_node(
    id: NodeId,
    role: NodeRole,
    availability: swarm_types::NodeAvailability,
    certificate: NodeCertificate,
) -> Node {
    Node {
        id,
        meta: Meta::default(),
        spec: NodeSpec { desired_role: role, availability, ..NodeSpec::default() },
        role,
        description: None,
        status: NodeStatus::default(),
        manager_status: None,
        certificate,
        attachments: BTreeMap::new(),
    }
}

/// Fetches the root from whoever answers at `addr`, checks it against the token's digest, then asks for a certificate.
pub(super) async fn certificate_by_token(
    addr: &str,
    token: &swarm_types::SecretString,
    digest: &str,
    request: Vec<u8>,
    availability: swarm_types::NodeAvailability,
) -> Result<Issued, NodeError> {
    let internal = |error: crate::ca::CaError| NodeError::new(NodeErrorKind::Internal, error.to_string());
    let stranger = joiner_config(None).map_err(internal)?;
    let mut connection = dial(addr, stranger).await.map_err(|error| unreachable(&error))?;
    let root: String = connection.ask(Request::Root, 0).await.map_err(|error| unreachable(&error))??;
    let found = swarm_manager::ca::token_digest(crate::ca::root_digest(&root).map_err(internal)?);
    if found != digest {
        let message = format!("remote CA does not match fingerprint. Expected: {digest}");
        return Err(NodeError::new(NodeErrorKind::InvalidArgument, message));
    }
    let trusting = joiner_config(Some(&root)).map_err(internal)?;
    let mut connection = dial(addr, trusting).await.map_err(|error| unreachable(&error))?;
    let token = Some(token.clone());
    let request = IssueRequest { request, token, availability, node: None };
    let asked = connection.ask::<Issued>(Request::Issue(Box::new(request)), 0).await;
    let mut issued = asked.map_err(|error| unreachable(&error))??;
    // What the token vouches for counts, not what the answer says.
    issued.root = root;
    Ok(issued)
}

/// Whether new credentials are for this node.
pub(super) fn check_credentials(credentials: &Credentials, node: NodeId) -> Result<(), NodeError> {
    if credentials.facts.peer.node == node {
        return Ok(());
    }
    Err(NodeError::new(NodeErrorKind::Internal, "the managers sent a certificate for another node"))
}
