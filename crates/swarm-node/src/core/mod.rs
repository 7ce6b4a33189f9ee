//! The node's event loop and the handle on it.
//!
//! One task of a single-threaded runtime owns all of the swarm's state on this node ([`Core`]): the agent, and on
//! managers the [`swarm_manager::manager::Manager`]. Everything that takes time (connections, the disk, containers)
//! happens elsewhere and comes back as [`Mail`]; the loop itself never waits. In each turn it takes one input in, then
//! carries out what manager and agent want until both are quiet.
//!
//! `member` is a node's life in one swarm, `managing` what a manager adds, `requests` what other nodes ask of it,
//! `joining` the ways in, `logs` the output of tasks on all nodes.

mod address;
mod handle;
mod identity;
mod info;
mod joining;
mod logs;
mod managing;
mod member;
pub mod messages;
mod options;
mod renewal;
mod requests;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use swarm_agent::RuntimeEvent;
use swarm_types::{AgentMessage, NodeId, TaskId, Timestamp};
use tokio::sync::{broadcast, mpsc};
use tokio::task::JoinHandle;
use tracing::{info, warn};

pub use handle::NodeHandle;
pub use options::*;
/// A refusal with Docker's words: `kind` decides the HTTP status.
pub use swarm_manager::control_api::ControlError as NodeError;
pub use swarm_manager::control_api::ControlErrorKind as NodeErrorKind;

use crate::agent_io::LinkEvent;
use crate::runner::{RunnerEvent, TaskRunner};
use crate::storage::{DirLock, StorageError, Written, create_private_dir};
use crate::transport::{Incoming, SWARM_PORT};
use handle::{Command, Reply};
use identity::Identity;
use joining::{Entered, Joining};
use member::{Member, Turn};
use renewal::Renewed;
use requests::GroupJoined;

/// Messages that may wait for the event loop before their senders do.
const MAILBOX: usize = 1024;

/// What a node is started with.
pub struct NodeOptions {
    /// Where everything of the swarm is kept, in the folder `swarm` below.
    pub state_dir: PathBuf,
    /// What to tell other nodes if the user names no address.
    pub advertise_addr: Option<IpAddr>,
    /// Where to listen if the user names no address; default: everywhere.
    pub listen_addr: Option<IpAddr>,
    /// Where to listen if the user names no port; 2377 but in tests.
    pub port: u16,
    /// Runs tasks.
    pub runner: Arc<dyn TaskRunner>,
}

impl NodeOptions {
    /// The options of a node that leaves everything else to the user.
    pub fn new(state_dir: PathBuf, runner: Arc<dyn TaskRunner>) -> Self {
        Self { state_dir, advertise_addr: None, listen_addr: None, port: SWARM_PORT, runner }
    }
}

/// The time now, as the pure core wants it.
pub fn now() -> Timestamp {
    let nanos = jiff::Timestamp::now().as_nanosecond();
    Timestamp::from_nanos(i64::try_from(nanos).unwrap_or(i64::MAX))
}

/// Starts a node's event loop with what is on its disk. It ends by [`NodeHandle::shutdown`].
pub fn start(options: NodeOptions) -> Result<(NodeHandle, JoinHandle<()>), StorageError> {
    let dir = options.state_dir.join("swarm");
    create_private_dir(&options.state_dir)?;
    let lock = DirLock::take(&options.state_dir)?;
    let (handle, commands) = NodeHandle::new();
    let (mailbox, mail) = mpsc::channel(MAILBOX);
    let (written, writes) = mpsc::unbounded_channel();
    let (lost, losses) = mpsc::channel(64);
    let runner_events = options.runner.events();
    let context =
        Context { options: Arc::new(options), dir, mailbox, written, lost, events: handle.event_sender(), epoch: 0 };
    let mut core = Core { context, joining: None, member: None, _lock: lock };
    core.restore()?;
    let inputs = Inputs { commands, mail, writes, losses, runner_events };
    let running = tokio::spawn(core.run(inputs));
    Ok((handle, running))
}

/// What the parts of the event loop share.
#[derive(Clone)]
pub(crate) struct Context {
    options: Arc<NodeOptions>,
    /// The folder of the swarm's state.
    dir: PathBuf,
    mailbox: mpsc::Sender<(u64, Mail)>,
    written: mpsc::UnboundedSender<(u64, Written)>,
    lost: mpsc::Sender<u64>,
    events: broadcast::Sender<SwarmEvent>,
    /// Which stay in a swarm this is: mail of an earlier one is dropped.
    epoch: u64,
}

impl Context {
    /// Does something elsewhere, whose result comes back as mail.
    fn spawn(&self, work: impl Future<Output = Mail> + Send + 'static) {
        let (mailbox, epoch) = (self.mailbox.clone(), self.epoch);
        tokio::spawn(async move {
            let mail = work.await;
            let _ = mailbox.send((epoch, mail)).await;
        });
    }

    fn wrap<T>(&self, make: fn(T) -> Mail) -> impl Fn(T) -> (u64, Mail) + Clone + Send + Sync + 'static
    where
        T: 'static,
    {
        let epoch = self.epoch;
        move |content| (epoch, make(content))
    }
}

/// What comes back to the event loop.
pub(crate) enum Mail {
    /// A connection to the swarm port.
    Incoming(Box<Incoming>),
    /// A raft message of another manager.
    Raft { from: NodeId, bytes: Vec<u8> },
    /// A message of another node's agent.
    Agent { connection: u64, node: NodeId, message: AgentMessage },
    /// Its connection ended.
    AgentGone { connection: u64, node: NodeId },
    /// Something happened on the agent's own link (of this number).
    Link(u64, LinkEvent),
    /// A task's container.
    Runtime(TaskId, RuntimeEvent),
    /// A join got its certificate, or did not.
    Entered(Box<Result<Entered, NodeError>>),
    /// The leader's answer to a manager that wants into the raft group.
    GroupJoined(Result<GroupJoined, NodeError>),
    /// A prospective member of the raft group was looked at.
    GroupChecked(Box<requests::GroupChecked>),
    /// A new certificate.
    Renewed(Box<Result<Renewed, NodeError>>),
    /// A log stream that nobody connected for.
    LogExpired(u64),
}

struct Inputs {
    commands: mpsc::Receiver<Command>,
    mail: mpsc::Receiver<(u64, Mail)>,
    writes: mpsc::UnboundedReceiver<(u64, Written)>,
    losses: mpsc::Receiver<u64>,
    runner_events: mpsc::UnboundedReceiver<(TaskId, RunnerEvent)>,
}

/// All of the swarm's state on this node.
struct Core {
    context: Context,
    joining: Option<Joining>,
    member: Option<Box<Member>>,
    _lock: DirLock,
}

impl Core {
    /// Goes on where the daemon was before it ended.
    fn restore(&mut self) -> Result<(), StorageError> {
        let (identity, repairs) = Identity::load(&self.context.dir)?;
        for repair in repairs {
            warn!("{repair}");
        }
        let Some(identity) = identity else {
            // What a failed init or join left is of no swarm.
            return member::remove_state(&self.context.dir);
        };
        info!("node {} is in a swarm", identity.node);
        self.context.epoch += 1;
        self.member = Some(Box::new(Member::restore(self.context.clone(), identity)?));
        Ok(())
    }

    async fn run(mut self, mut inputs: Inputs) {
        let mut shutdown = None;
        self.settle();
        while shutdown.is_none() {
            let deadline = self.deadline();
            tokio::select! {
                Some((epoch, mail)) = inputs.mail.recv() => {
                    if epoch == self.context.epoch {
                        self.mail(mail);
                    }
                }
                Some((generation, written)) = inputs.writes.recv() => {
                    if let Some(member) = &mut self.member {
                        member.written(generation, written);
                    }
                }
                Some(command) = inputs.commands.recv() => match command {
                    Command::Shutdown(reply) => shutdown = Some(reply),
                    command => self.command(command),
                },
                Some((task, event)) = inputs.runner_events.recv() => {
                    if let Some(member) = &mut self.member {
                        member.lanes.happened(task, event);
                    }
                }
                Some(raft_id) = inputs.losses.recv() => {
                    if let Some(managing) = self.member.as_mut().and_then(|member| member.managing.as_mut()) {
                        managing.manager.unreachable(raft_id);
                    }
                }
                () = sleep_until(deadline) => self.tick(),
                else => break,
            }
            self.settle();
        }
        // Dropping the member ends the raft log's thread after what is queued.
        drop(self);
        if let Some(reply) = shutdown {
            let _ = reply.send(());
        }
    }

    /// Carries out what manager and agent want, until both are quiet.
    fn settle(&mut self) {
        let turn = match &mut self.member {
            Some(member) => member.settle(now()),
            None => return,
        };
        if let Turn::Left(reply) = turn {
            let result = self.forget_swarm();
            if let Some(reply) = reply {
                let _ = reply.send(result);
            }
        }
    }

    fn deadline(&self) -> Option<Timestamp> {
        let joining = self.joining.as_ref().and_then(Joining::deadline);
        let member = self.member.as_ref().and_then(|member| member.deadline());
        joining.into_iter().chain(member).min()
    }

    fn tick(&mut self) {
        let now = now();
        if let Some(joining) = &mut self.joining {
            joining.tick(now);
        }
        if let Some(member) = &mut self.member {
            member.tick(now);
        }
    }

    fn mail(&mut self, mail: Mail) {
        match mail {
            Mail::Entered(result) => self.entered(*result),
            mail => {
                if let Some(member) = &mut self.member {
                    member.mail(now(), mail);
                }
            }
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Init(options, reply) => self.init(*options, reply),
            Command::Join(options, reply) => self.join(*options, reply),
            Command::Leave { force, reply } => self.leave(force, reply),
            Command::Unlock(reply) => {
                let refusal = if self.member.is_some() { messages::not_locked() } else { messages::not_in_swarm() };
                let _ = reply.send(Err(refusal));
            }
            Command::Info(reply) => drop(reply.send(self.info())),
            Command::Control(request, reply) => match &mut self.member {
                Some(member) => member.control(now(), request, 0, reply),
                None => drop(reply.send(Err(messages::not_in_swarm()))),
            },
            Command::Logs(request, reply) => match &mut self.member {
                Some(member) => member.logs(*request, 0, reply),
                None => drop(reply.send(Err(messages::not_in_swarm()))),
            },
            Command::Shutdown(reply) => drop(reply.send(())),
        }
    }

    /// `docker swarm leave`.
    fn leave(&mut self, force: bool, reply: Reply<()>) {
        if let Some(joining) = self.joining.take() {
            joining.give_up();
            self.context.epoch += 1;
            let _ = reply.send(Ok(()));
            return;
        }
        let Some(member) = &mut self.member else {
            let _ = reply.send(Err(messages::no_swarm()));
            return;
        };
        match member.leave_warning().filter(|_| !force) {
            Some(warning) => drop(reply.send(Err(warning))),
            None => member.leave(now(), reply),
        }
    }

    /// Out of the swarm: nothing of it stays.
    fn forget_swarm(&mut self) -> Result<(), NodeError> {
        self.member = None;
        self.context.epoch += 1;
        self.context.options.runner.networks(None);
        member::remove_state(&self.context.dir)
            .map_err(|error| NodeError::new(NodeErrorKind::Internal, error.to_string()))
    }
}

/// Waits for a point in time, or for ever.
async fn sleep_until(deadline: Option<Timestamp>) {
    match deadline {
        Some(deadline) => tokio::time::sleep(deadline.since(now())).await,
        None => std::future::pending().await,
    }
}

/// Seeds of the core's random choices; not for secrets.
fn seed() -> u64 {
    let mut bytes = [0; 8];
    match ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes) {
        Ok(()) => u64::from_le_bytes(bytes),
        // Without entropy TLS does not work either; the clock keeps nodes apart.
        Err(_) => u64::from_le_bytes(now().as_nanos().to_le_bytes()),
    }
}

/// A random 128 bits for ids that must be unique in the world.
fn random_id<K>() -> swarm_types::Id<K> {
    swarm_types::Id::from_bits((u128::from(seed()) << 64) | u128::from(seed()))
}

/// How long a join may take before the caller is told that it goes on in the background, as Docker's.
const JOIN_PATIENCE: Duration = Duration::from_secs(20);
