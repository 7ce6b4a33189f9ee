//! The sandbox: the one tree of namespaces that a whole lab lives in.
//!
//! ```text
//! runner (outside) ── guard (outside; cleans up after everyone)
//!                       └─ sandbox-init: PID 1 of the lab's user, mount, pid, net, uts and ipc namespaces
//!                            └─ node init, one per node: PID 1 of the node's mount, pid, net, uts and ipc namespaces
//!                                 └─ whatever is run in the node: its daemon, shells, commands
//! ```
//!
//! Who dies takes everything below along, because each of these is PID 1 of its namespace. Upwards:
//! - the runner's end is seen by sandbox-init as end of file on a socket that only the runner holds, until the runner
//!   lets go of the sandbox, which it does once all in it is up: a boot that is interrupted leaves nothing;
//! - sandbox-init's end is seen by the guard, which removes cgroups and files;
//! - the guard's end leaves the sandbox running; cgroups and files then wait for [`state::reap`] at the next start.
//!   Whether a state folder is stale is told by a file lock that guard and sandbox-init share, never by a process id.
//!
//! A second process outside, the [forwarder](crate::forward), is reached from nowhere; it ends with sandbox-init, to
//! which it keeps a connection.
//!
//! This file is the client's side: boot or find a sandbox, run programs in its nodes, end it. It knows nothing of
//! Docker. The other side: [`guard`], [`init`], [`node`]; what they say to each other: [`protocol`].

mod cgroup;
mod courier;
mod exec;
mod fault;
mod forwarded;
pub mod guard;
mod init;
mod node;
pub mod probe;
mod protocol;
mod root;
pub mod state;

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

pub use courier::Courier;
pub use exec::{Running, SpawnSpec, pipe};
pub use fault::{Direction, Fault, Port, Protocol, riddle};
pub use forwarded::{Forward, Forwards, Local};
pub use protocol::{Broken, DownNode, poll_timeout};
use protocol::{Reply, Request};
pub use root::NODE_STATE;

/// Longest time from spawn to all node namespaces ready. Takes some 50 ms on an idle machine.
const BOOT_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest time that an orderly end may take before the guard is killed as well.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a sandbox could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// A system call or a file operation failed.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The sandbox's own processes reported a failure.
    #[error("sandbox: {0}")]
    Remote(String),
    /// Files, names or limits of this machine stand in the way; says what to do.
    #[error("{0}")]
    Refused(String),
    /// The node does not run, or does not answer.
    #[error("node {node} does not answer: {why}")]
    NodeDown {
        /// Node name.
        node: String,
        /// Killed, paused, or the error.
        why: String,
    },
}

/// Attaches what was being done to an I/O error.
fn io_error<E: Into<io::Error>>(what: impl Into<String>) -> impl FnOnce(E) -> SandboxError {
    let what = what.into();
    move |source| SandboxError::Io { what, source: source.into() }
}

/// The sandbox to boot.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SandboxSpec {
    /// Name of its state folder; unique per user.
    pub name: String,
    /// Nodes in order.
    pub nodes: Vec<NodeSpec>,
    /// Folders of the machine shown read-only in every node: (outside, inside).
    pub binds: Vec<(PathBuf, PathBuf)>,
    /// Programs in the first folder of PATH: (name, file of the machine).
    pub tools: Vec<(String, PathBuf)>,
    /// Folder in the node where its `data` folder of the state appears, such as /var/lib/swarmlab.
    pub data_at: PathBuf,
}

/// One node of a sandbox.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NodeSpec {
    /// Hostname.
    pub name: String,
    /// Address of its eth0 on the lab network, a /24.
    pub address: Ipv4Addr,
}

/// A running sandbox, by its boot or found again.
pub struct Sandbox {
    dir: PathBuf,
    /// Until it is detached: the guard, and the socket whose closing ends the sandbox.
    held: Mutex<Option<(Child, OwnedFd)>>,
}

impl Sandbox {
    /// Boots, and waits until every node has its namespaces, network and files.
    pub fn boot(spec: &SandboxSpec) -> Result<Self, SandboxError> {
        let base = state::base_dir()?;
        for (name, remains) in state::reap(&base) {
            if let Err(error) = remains {
                tracing::warn!(sandbox = name, %error, "left-over state could not be removed");
            }
        }
        let (dir, lock) = state::create(&base, spec)?;
        let (ours, theirs) = protocol::pair()?;
        let log = std::fs::File::create(dir.join("sandbox.log")).map_err(io_error("create sandbox.log"))?;
        let mut command = std::process::Command::new("/proc/self/exe");
        command
            .arg0("swarmlab")
            .args(["sandbox-init", "guard"])
            .arg(&dir)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        if let Some(filter) = std::env::var_os("SWARMLAB_LOG") {
            command.env("SWARMLAB_LOG", filter);
        }
        let (socket, lock_fd) = (theirs.as_raw_fd(), lock.as_raw_fd());
        // SAFETY: between fork and exec only dup2, fcntl and setsid, all async-signal-safe.
        unsafe {
            command.pre_exec(move || {
                // move both out of the way first: either may already be 3 or 4
                let socket = nix::libc::fcntl(socket, nix::libc::F_DUPFD, 10);
                let lock_fd = nix::libc::fcntl(lock_fd, nix::libc::F_DUPFD, 10);
                nix::libc::dup2(socket, guard::SOCKET_FD);
                nix::libc::dup2(lock_fd, guard::LOCK_FD);
                nix::libc::close(socket);
                nix::libc::close(lock_fd);
                nix::libc::setsid();
                Ok(())
            });
        }
        let guard = command.spawn().map_err(io_error("start sandbox-init"))?;
        drop(theirs);
        drop(lock);
        let sandbox = Self { dir, held: Mutex::new(Some((guard, ours))) };
        sandbox.await_boot(spec)?;
        Ok(sandbox)
    }

    /// Lets it live on without this process.
    pub fn detach(&self) -> Result<(), SandboxError> {
        let mut held = self.lock_held();
        if let Some((_, socket)) = held.as_ref() {
            ask(socket.as_fd(), &Request::Detach)?;
        }
        // the guard belongs to itself from now on
        held.take();
        Ok(())
    }

    fn await_boot(&self, spec: &SandboxSpec) -> Result<(), SandboxError> {
        let held = self.lock_held();
        let Some((_, socket)) = held.as_ref() else {
            return Ok(());
        };
        protocol::send(socket.as_fd(), spec, &[])?;
        match protocol::recv_timeout::<Reply>(socket.as_fd(), BOOT_TIMEOUT)? {
            Some((Reply::Done, _)) => Ok(()),
            Some((Reply::Failed { message }, _)) => Err(SandboxError::Remote(message)),
            Some(_) => Err(SandboxError::Remote("unexpected answer at boot".into())),
            None => Err(SandboxError::Remote(format!(
                "sandbox-init ended while booting: {}",
                std::fs::read_to_string(self.dir.join("sandbox.log")).unwrap_or_default().trim()
            ))),
        }
    }

    /// A sandbox of this user that lives, by its state folder's name.
    pub fn find(name: &str) -> Result<Option<Self>, SandboxError> {
        let base = state::base_dir()?;
        if !state::running(&base, name) {
            return Ok(None);
        }
        Ok(Some(Self { dir: base.join(name), held: Mutex::new(None) }))
    }

    /// The state folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The state folder of a node: its docker.sock, logs and data.
    pub fn node_dir(&self, node: &str) -> PathBuf {
        state::node_dir(&self.dir, node)
    }

    /// Starts a program in a node.
    pub fn spawn(&self, node: &str, spec: &SpawnSpec<'_>) -> Result<Running, SandboxError> {
        Running::start(&self.node_dir(node).join("init.sock"), node, spec)
    }

    /// Power loss: every process of the node ends at once, its files stay.
    pub fn kill_node(&self, node: &str) -> Result<(), SandboxError> {
        self.request(&Request::KillNode { node: node.into() }).map(drop)
    }

    /// Freezes every process of the node.
    pub fn pause_node(&self, node: &str) -> Result<(), SandboxError> {
        self.request(&Request::PauseNode { node: node.into() }).map(drop)
    }

    /// Thaws a paused node, makes a killed one anew. Whether it had been killed: then nothing runs in it yet.
    pub fn start_node(&self, node: &str) -> Result<bool, SandboxError> {
        match self.request(&Request::StartNode { node: node.into() })? {
            Reply::Started { fresh, .. } => Ok(fresh),
            _ => Ok(false),
        }
    }

    /// Breaks something of the network. Where that fails nothing is changed.
    pub fn fault(&self, fault: &Fault) -> Result<(), SandboxError> {
        self.request(&Request::Fault { fault: fault.clone() }).map(drop)
    }

    /// Ends all faults of the network, or a node's part in them.
    pub fn heal(&self, node: Option<&str>) -> Result<(), SandboxError> {
        self.request(&Request::Heal { node: node.map(str::to_owned) }).map(drop)
    }

    /// What is broken.
    pub fn broken(&self) -> Result<Broken, SandboxError> {
        match self.request(&Request::Faults)? {
            Reply::Faults(broken) => Ok(broken),
            _ => Err(SandboxError::Remote("unexpected answer".into())),
        }
    }

    /// Where published ports are reachable; none while no forwarder runs.
    pub fn forwards(&self) -> Result<Option<Forwards>, SandboxError> {
        match self.request(&Request::Forwards)? {
            Reply::Forwards(forwards) => Ok(forwards),
            _ => Err(SandboxError::Remote("unexpected answer".into())),
        }
    }

    fn request(&self, request: &Request) -> Result<Reply, SandboxError> {
        let socket = protocol::connect(&self.dir.join("init.sock"))
            .map_err(io_error("reach sandbox-init (has the sandbox ended?)"))?;
        ask(socket.as_fd(), request)
    }

    /// Ends every process and removes every trace; returns when that is done. Idempotent.
    pub fn shutdown(&self) -> Result<(), SandboxError> {
        match self.lock_held().take() {
            Some((mut guard, socket)) => {
                drop(socket);
                let deadline = Instant::now() + SHUTDOWN_TIMEOUT;
                let pid = nix::unistd::Pid::from_raw(guard.id().cast_signed());
                if !state::wait_for_exit(pid, deadline) {
                    // its children die with the namespaces; what stays is reaped at the next start
                    let _ = guard.kill();
                }
                let _ = guard.wait();
            }
            None => {
                let Some(lock) = state::open_lock(&self.dir)? else {
                    return Ok(());
                };
                match self.request(&Request::Shutdown) {
                    // gone already: only its traces are left
                    Ok(_) | Err(SandboxError::Io { .. } | SandboxError::Remote(_)) => {}
                    Err(error) => return Err(error),
                }
                state::wait_for_unlock(lock, SHUTDOWN_TIMEOUT)?;
            }
        }
        if let Some(lock) = state::open_lock(&self.dir)? {
            // the guard was killed: sandbox-init may still be ending, and its traces are ours to remove
            state::wait_for_unlock(lock, SHUTDOWN_TIMEOUT)?;
            state::remove(&self.dir)?;
        }
        Ok(())
    }

    fn lock_held(&self) -> std::sync::MutexGuard<'_, Option<(Child, OwnedFd)>> {
        self.held.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Sends a request to sandbox-init and takes its answer.
fn ask(socket: BorrowedFd<'_>, request: &Request) -> Result<Reply, SandboxError> {
    protocol::send(socket, request, &[])?;
    match protocol::recv_timeout::<Reply>(socket, BOOT_TIMEOUT)? {
        Some((Reply::Failed { message }, _)) => Err(SandboxError::Remote(message)),
        Some((Reply::Refused { message }, _)) => Err(SandboxError::Refused(message)),
        Some((reply, _)) => Ok(reply),
        None => Err(SandboxError::Remote("sandbox-init has ended".into())),
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if self.lock_held().is_some()
            && let Err(error) = self.shutdown()
        {
            tracing::warn!(%error, "sandbox not removed; the next start will");
        }
    }
}
