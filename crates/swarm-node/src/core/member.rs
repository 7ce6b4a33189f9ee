//! A node's life in one swarm: its agent, its certificate, and its part as a manager if it is one.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use swarm_agent::{Agent, Input, Output, RuntimeEvent, SessionFacts};
use swarm_manager::dispatcher;
use swarm_types::{DispatcherMessage, ManagerPeer, Network, NodeId, NodeRole, Timestamp};
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::handle::Reply;
use super::identity::Identity;
use super::managing::{Event, Managing};
use super::renewal::Renewal;
use super::requests::GroupJoin;
use super::{Context, Mail, NodeError, NodeErrorKind, messages, now, seed};
use crate::agent_io::{Lanes, Link, LinkEvent, TaskFiles};
use crate::ca::Credentials;
use crate::networking::NetworkFacts;
use crate::storage::{RaftLog, StorageError, Written};
use crate::transport::Listener;

/// Tasks may take so long to stop when a node leaves; then it leaves without waiting.
const LEAVE_PATIENCE: Duration = Duration::from_secs(30);

/// Where the networks' packets go unless the swarm was made with another port; Docker's figure (RFC 7348, section 8.1).
const VXLAN_PORT: u16 = 4789;

/// A node in a swarm.
pub(super) struct Member {
    pub context: Context,
    pub identity: Identity,
    pub credentials: watch::Sender<Arc<Credentials>>,
    pub agent: Agent,
    pub lanes: Lanes,
    task_files: TaskFiles,
    link: AgentLink,
    link_number: u64,
    /// What the last session said of the node.
    pub facts: Option<Box<SessionFacts>>,
    /// The networks that the agent has, once a session has told.
    networks: Option<Vec<Arc<Network>>>,
    /// The swarm port, on managers and on those who become one.
    pub listener: Option<Listener>,
    pub managing: Option<Managing>,
    pub group_join: GroupJoin,
    pub renewal: Renewal,
    /// Why the node cannot work as it should.
    pub error: Option<String>,
    leaving: Option<(Timestamp, Option<Reply<()>>)>,
    left: bool,
    /// Told once the node works: who asked to join or to make the swarm.
    entering: Option<Reply<NodeId>>,
    /// When whoever asked is told that it takes longer.
    entering_until: Option<Timestamp>,
}

/// The agent's connection.
enum AgentLink {
    None,
    /// To the manager in this same process.
    Local,
    Remote(Link),
}

/// How a turn of the event loop ended.
pub(super) enum Turn {
    /// Quiet.
    Quiet,
    /// The node has left: whom to tell.
    Left(Option<Reply<()>>),
}

impl Member {
    /// A node that has an identity on disk.
    pub fn restore(context: Context, identity: Identity) -> Result<Self, StorageError> {
        let unusable = |reason: String| StorageError::Unusable { path: context.dir.clone(), reason };
        let credentials = identity.credentials().map_err(|error| unusable(error.to_string()))?;
        let role = credentials.facts.peer.role;
        let renewal = Renewal::plan(&credentials.facts);
        let (task_files, tasks, damaged) = TaskFiles::open(&context.dir.join("tasks"))?;
        damaged.iter().for_each(|what| warn!("{what}"));
        let mut description = context.options.runner.description();
        description.tls = credentials.tls_info.clone();
        let config = swarm_agent::Config { description, managers: identity.managers.clone(), seed: seed() };
        let mut agent = Agent::new(config);
        agent.handle(now(), Input::Restored(tasks));
        let epoch = context.epoch;
        let wrap = move |task, event| (epoch, Mail::Runtime(task, event));
        let lanes = Lanes::new(context.options.runner.clone(), context.mailbox.clone(), wrap);
        let mut member = Self {
            credentials: watch::Sender::new(Arc::new(credentials)),
            agent,
            lanes,
            task_files,
            link: AgentLink::None,
            link_number: 0,
            facts: None,
            networks: None,
            listener: None,
            managing: None,
            group_join: GroupJoin::default(),
            renewal,
            error: None,
            leaving: None,
            left: false,
            entering: None,
            entering_until: None,
            identity,
            context,
        };
        if role == NodeRole::Manager {
            member.manage();
        }
        Ok(member)
    }

    /// Whoever asked for the node to enter the swarm is told when it works.
    pub fn set_entering(&mut self, reply: Reply<NodeId>, until: Timestamp) {
        self.entering = Some(reply);
        self.entering_until = Some(until);
    }

    /// Begins (or goes on) to be a manager, as the certificate says.
    pub fn manage(&mut self) {
        if let Err(error) = self.listen() {
            return self.fail(format!("listen on {}: {error}", self.identity.listen_addr));
        }
        match self.identity.raft_id {
            Some(raft_id) => match Managing::restore(
                &self.context,
                &self.identity,
                raft_id,
                Default::default(),
                self.credentials.subscribe(),
            ) {
                Ok(managing) => self.managing = Some(managing),
                Err(error) => self.fail(error),
            },
            None => self.group_join.at = Some(now()),
        }
    }

    fn listen(&mut self) -> std::io::Result<()> {
        if self.listener.is_none() {
            let context = &self.context;
            let incoming = context.wrap(|incoming| Mail::Incoming(Box::new(incoming)));
            let watched = self.credentials.subscribe();
            let listener = Listener::bind(self.identity.listen_addr, watched, context.mailbox.clone(), incoming)?;
            info!("listening for the swarm on {}", listener.addr);
            self.listener = Some(listener);
        }
        Ok(())
    }

    /// No longer a manager: the raft state goes.
    pub fn stop_managing(&mut self) {
        if self.managing.take().is_some() {
            info!("this node is no longer a manager");
        }
        self.group_join = GroupJoin::default();
        self.listener = None;
        self.drop_manager(now());
        self.identity.raft_id = None;
        self.store_identity();
        if let Err(error) = remove_dir(&self.context.dir.join("raft")) {
            warn!("{error}");
        }
    }

    /// Ends the manager, and the agent's session with it; what is on disk stays.
    pub fn drop_manager(&mut self, now: Timestamp) {
        self.managing = None;
        if matches!(self.link, AgentLink::Local) {
            self.link = AgentLink::None;
            self.agent.handle(now, Input::Disconnected);
        }
    }

    /// The node cannot be a manager: said in `docker info`, tried again by a restart.
    pub fn fail(&mut self, reason: String) {
        error!("{reason}");
        self.drop_manager(now());
        if let Some(reply) = self.entering.take() {
            let _ = reply.send(Err(NodeError::new(NodeErrorKind::Internal, reason.clone())));
        }
        self.error = Some(reason);
    }

    pub fn store_identity(&mut self) {
        if let Err(error) = self.identity.store(&self.context.dir) {
            self.fail(error.to_string());
        }
    }

    pub fn role(&self) -> NodeRole {
        self.credentials.borrow().facts.peer.role
    }

    /// Whether this node is the leader.
    pub fn leads(&self) -> bool {
        self.managing.as_ref().is_some_and(|managing| managing.manager.is_leader())
    }

    /// When to call `tick` next.
    pub fn deadline(&self) -> Option<Timestamp> {
        let manager = self.managing.as_ref().map(|managing| managing.manager.poll_timeout());
        let leaving = self.leaving.as_ref().map(|(until, _)| *until);
        let times = [manager, leaving, self.agent.poll_timeout(), self.renewal.deadline(), self.group_join.at];
        times.into_iter().chain([self.entering_until]).flatten().min()
    }

    pub fn tick(&mut self, now: Timestamp) {
        let due = |at: Option<Timestamp>| at.is_some_and(|at| at <= now);
        if let Some(managing) = &mut self.managing
            && managing.manager.poll_timeout() <= now
            && let Err(error) = managing.manager.tick(now)
        {
            self.fail(error.to_string());
        }
        if due(self.agent.poll_timeout()) {
            self.agent.tick(now);
        }
        if due(self.renewal.deadline()) {
            self.renew(now);
        }
        if due(self.group_join.at) {
            self.join_group();
        }
        if due(self.leaving.as_ref().map(|(until, _)| *until)) {
            warn!("tasks take too long to stop: leaving the swarm all the same");
            self.left = true;
        }
        if due(self.entering_until) {
            self.entering_until = None;
            if let Some(reply) = self.entering.take() {
                let _ = reply.send(Err(messages::join_goes_on()));
            }
        }
    }

    pub fn mail(&mut self, now: Timestamp, mail: Mail) {
        match mail {
            Mail::Incoming(incoming) => self.incoming(now, *incoming),
            Mail::Raft { from, bytes } => {
                let Some(managing) = &mut self.managing else { return };
                if managing.is_member(from) {
                    // What one peer sends wrong must not end this manager.
                    if let Err(error) = managing.manager.handle_raft(now, &bytes) {
                        warn!("raft message from {from}: {error}");
                    }
                }
            }
            Mail::Agent { connection, node, message } => {
                if let Some(managing) = &mut self.managing
                    && let Err(error) = managing.agent_message(now, connection, node, message)
                {
                    self.fail(error.to_string());
                }
            }
            Mail::AgentGone { connection, node } => {
                if let Some(managing) = &mut self.managing {
                    managing.agent_gone(connection, node);
                }
            }
            Mail::Link(number, event) if number == self.link_number => self.link_event(now, event),
            Mail::Link(..) => {}
            Mail::Runtime(task, event) => {
                if event == RuntimeEvent::Removed {
                    self.lanes.removed(task);
                }
                self.agent.handle(now, Input::Runtime { task, event });
            }
            Mail::GroupJoined(result) => self.group_joined(now, result),
            Mail::GroupChecked(checked) => self.group_checked(now, *checked),
            Mail::Renewed(result) => self.renewed(now, *result),
            Mail::LogExpired(stream) => {
                if let Some(managing) = &mut self.managing {
                    managing.logs.expire(stream);
                }
            }
            Mail::Entered(_) => {}
        }
    }

    /// The raft log's thread has written, or failed to.
    pub fn written(&mut self, generation: u64, written: Written) {
        let Some(managing) = self.managing.as_mut().filter(|managing| managing.generation == generation) else {
            return;
        };
        let result = match written {
            Written::Through(number) => managing.manager.persisted(now(), number).map_err(|error| error.to_string()),
            Written::Failed(error) => Err(format!("the raft log cannot be written: {error}")),
        };
        if let Err(reason) = result {
            self.fail(reason);
        }
    }

    fn link_event(&mut self, now: Timestamp, event: LinkEvent) {
        match event {
            LinkEvent::Up => self.agent.handle(now, Input::Connected),
            LinkEvent::Message(message) => self.agent.handle(now, Input::Message(message)),
            LinkEvent::Down(_) => {
                self.link = AgentLink::None;
                self.agent.handle(now, Input::Disconnected);
            }
        }
    }

    /// Carries out what manager and agent want, until both are quiet.
    pub fn settle(&mut self, now: Timestamp) -> Turn {
        loop {
            let mut quiet = true;
            while let Some(event) = self.managing.as_mut().and_then(|managing| managing.next(&self.context)) {
                quiet = false;
                match event {
                    Event::Done => {}
                    Event::ToOwnAgent(message) => self.own_agent_message(now, *message),
                    Event::Removed => {
                        self.stop_managing();
                        self.check_place(now);
                    }
                }
            }
            while let Some(output) = self.agent.poll_output() {
                quiet = false;
                self.carry_out(now, output);
            }
            if quiet {
                break;
            }
        }
        self.keep_raft_settings();
        self.notice_entered();
        match self.left {
            true => Turn::Left(self.leaving.take().and_then(|(_, reply)| reply)),
            false => Turn::Quiet,
        }
    }

    /// The raft settings are needed before the raft log can be read: the next start takes them from the identity.
    fn keep_raft_settings(&mut self) {
        let cluster = self.managing.as_ref().and_then(|managing| managing.manager.store().cluster());
        if let Some(cluster) = cluster.filter(|cluster| cluster.spec.raft != self.identity.raft) {
            self.identity.raft.clone_from(&cluster.spec.raft);
            self.store_identity();
        }
    }

    fn own_agent_message(&mut self, now: Timestamp, message: DispatcherMessage) {
        if matches!(self.link, AgentLink::Local) {
            self.agent.handle(now, Input::Message(message));
        }
    }

    fn carry_out(&mut self, now: Timestamp, output: Output) {
        match output {
            Output::Connect(manager) => self.connect(now, manager),
            Output::Disconnect => self.link = AgentLink::None,
            Output::Send(message) => match (&mut self.link, &mut self.managing) {
                (AgentLink::Local, Some(managing)) => {
                    let from = dispatcher::Peer {
                        node_id: self.identity.node,
                        role: NodeRole::Manager,
                        addr: self.identity.advertise_addr.ip().to_string(),
                    };
                    if let Err(error) = managing.manager.handle_agent(now, &from, message) {
                        self.fail(error.to_string());
                    }
                }
                (AgentLink::Remote(link), _) if link.send(message) => {}
                _ => {
                    self.link = AgentLink::None;
                    self.agent.handle(now, Input::Disconnected);
                }
            },
            Output::Runtime(command) => self.lanes.command(command),
            Output::Persist(task) => {
                if let Err(error) = self.task_files.put(&task) {
                    warn!("{error}");
                }
            }
            Output::Forget(task) => {
                if let Err(error) = self.task_files.remove(task) {
                    warn!("{error}");
                }
            }
            Output::Session(facts) => self.session_facts(now, facts),
            Output::Networks(networks) => {
                self.networks = Some(networks);
                self.tell_networks();
            }
            Output::Left => {
                if let AgentLink::Remote(link) = std::mem::replace(&mut self.link, AgentLink::None) {
                    link.finish();
                }
                self.left = true;
            }
        }
    }

    /// To the leader if it is known, otherwise to the manager that the agent chose.
    fn connect(&mut self, now: Timestamp, chosen: ManagerPeer) {
        self.link_number += 1;
        let leader = self.managing.as_ref().and_then(|managing| managing.manager.leader().cloned());
        let target = leader.unwrap_or(chosen);
        if target.node_id == self.identity.node {
            if self.managing.is_some() {
                self.link = AgentLink::Local;
                self.agent.handle(now, Input::Connected);
            } else {
                self.agent.handle(now, Input::Disconnected);
            }
            return;
        }
        let context = &self.context;
        let (epoch, number) = (context.epoch, self.link_number);
        self.link = AgentLink::Remote(Link::open(
            target.addr,
            self.credentials.borrow().client.clone(),
            context.options.runner.clone(),
            self.identity.node,
            context.mailbox.clone(),
            move |event| (epoch, Mail::Link(number, event)),
        ));
    }

    fn session_facts(&mut self, now: Timestamp, facts: Box<SessionFacts>) {
        if !facts.managers.is_empty() && facts.managers != self.identity.managers {
            self.identity.managers.clone_from(&facts.managers);
            self.store_identity();
        }
        if facts.node.role != self.role() {
            self.renew(now);
        }
        self.facts = Some(facts);
        self.check_place(now);
        self.tell_networks();
    }

    /// Passes on what the managers say of the node's networks, once both halves of it are there.
    fn tell_networks(&self) {
        let (Some(facts), Some(networks)) = (&self.facts, &self.networks) else { return };
        let address = self.identity.advertise_addr.ip();
        let manager = |peer: &ManagerPeer| Some(peer.addr.parse::<SocketAddr>().ok()?.ip());
        self.context.options.runner.networks(Some(NetworkFacts {
            node: self.identity.node,
            name: self.context.options.runner.description().hostname,
            address,
            data_path: self.identity.data_path.unwrap_or(address),
            data_path_port: u16::try_from(facts.data_path_port).ok().filter(|port| *port != 0).unwrap_or(VXLAN_PORT),
            managers: facts.managers.iter().filter_map(manager).collect(),
            keys: facts.network_keys.clone(),
            networks: networks.clone(),
            attachments: facts.node.attachments.clone(),
        }));
    }

    /// Tells whoever asked that the node has entered the swarm, once it has.
    fn notice_entered(&mut self) {
        if self.entering.is_none() {
            return;
        }
        let managing = self.managing.as_ref().is_some_and(|managing| {
            managing.manager.leader().is_some() && managing.manager.store().nodes().get(self.identity.node).is_some()
        });
        if self.facts.is_some() && (managing || self.role() == NodeRole::Worker) {
            self.entering_until = None;
            if let Some(reply) = self.entering.take() {
                let _ = reply.send(Ok(self.identity.node));
            }
        }
    }

    /// Why the user should think again before the node leaves.
    pub fn leave_warning(&self) -> Option<NodeError> {
        let managing = self.managing.as_ref();
        let counts = managing.filter(|managing| managing.manager.leader().is_some()).map(|managing| {
            let statuses = managing.manager.manager_statuses();
            let unreachable =
                |status: &&swarm_types::ManagerStatus| status.reachability == swarm_types::Reachability::Unreachable;
            let down = statuses.values().filter(unreachable).count();
            (statuses.len() - down, down)
        });
        (self.role() == NodeRole::Manager).then(|| messages::leaving_manager(counts))
    }

    /// Leaves: tells the managers, stops all tasks, then goes.
    pub fn leave(&mut self, now: Timestamp, reply: Reply<()>) {
        if self.leaving.is_some() {
            let message = "the node is leaving the swarm already";
            let _ = reply.send(Err(NodeError::new(NodeErrorKind::Unavailable, message)));
            return;
        }
        self.leaving = Some((now.plus(LEAVE_PATIENCE), Some(reply)));
        self.agent.handle(now, Input::Leave);
    }
}

/// Removes all state of a swarm.
pub(super) fn remove_state(dir: &Path) -> Result<(), StorageError> {
    if !dir.exists() {
        return Ok(());
    }
    // The identity first: without it the rest is of no swarm, also if this is interrupted.
    crate::storage::CheckedFile::new(dir.join("identity")).remove()?;
    remove_dir(dir)
}

fn remove_dir(dir: &Path) -> Result<(), StorageError> {
    match std::fs::remove_dir_all(dir) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(StorageError::Io { action: "remove", path: dir.to_owned(), source })
        }
        _ => Ok(()),
    }
}

/// A new raft log in place of any old one.
pub(super) fn fresh_raft_dir(dir: &Path) -> Result<(), StorageError> {
    if RaftLog::exists(dir) {
        remove_dir(dir)?;
    }
    Ok(())
}
