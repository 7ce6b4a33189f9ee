//! Engines: ways to start N nodes and hand out their Docker sockets.
//!
//! A lab runs unchanged on every engine because it meets a cluster only through [`Cluster`]: sockets that speak the
//! Docker Engine API, and shells inside the nodes. `embedded` is our own node daemon, `dockerd` the genuine one (the
//! oracle), both in the same [sandbox](crate::sandbox). This file knows nothing of chapters, steps or checks.
//!
//! The traits block: a runner has nothing else to do while a node boots. From async code call them in
//! `tokio::task::spawn_blocking`; all are `Send + Sync`.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub mod api;
mod bare;
mod cluster;
mod daemon;
mod dockerd;
mod embedded;
mod formation;
mod terminal;

pub use bare::Bare;
pub use cluster::{attach, end, list};
pub use dockerd::Dockerd;
pub use embedded::Embedded;

pub use crate::sandbox::{Broken, Direction, DownNode, Fault, Forward, Forwards, Port, Protocol, riddle};

/// Longest time that one node may take from start to an answering socket.
pub const READY_TIMEOUT: Duration = Duration::from_secs(60);

/// How a cluster's life is bound to the process that booted it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lifetime {
    /// Ends with the booting process, however that ends (`run`, `grade`, tests).
    Foreground,
    /// Lives on until `shutdown` (`start`, `cluster up`); found again by [`attach`].
    Detached,
}

/// What a node is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// `manager1`, `manager2`, ...: joins as a manager when the swarm is formed.
    Manager,
    /// `worker1`, ...: joins as a worker.
    Worker,
    /// `node1`, ...: an engine outside any swarm.
    Plain,
}

/// The cluster to boot.
#[derive(Debug, Clone)]
pub struct ClusterSpec {
    /// Name, unique per user: letters, digits and `-`, at most 24.
    pub name: String,
    /// Number of managers.
    pub managers: usize,
    /// Number of workers.
    pub workers: usize,
    /// Number of engines outside any swarm.
    pub plain: usize,
    /// Whether managers and workers are joined into a swarm, or left to the lab's own `swarm init`.
    pub form_swarm: bool,
    /// Whether the cluster outlives this process.
    pub lifetime: Lifetime,
    /// Where published ports are reachable besides the learner's own machine: an address of it, or 0.0.0.0 for all.
    pub listen: Option<IpAddr>,
    /// Folders shown read-only inside every node: (outside, inside). A lab's fixtures go to `/lab`.
    pub binds: Vec<(PathBuf, PathBuf)>,
}

impl ClusterSpec {
    /// The nodes in order with names, roles and addresses; the one place that decides them.
    pub fn nodes(&self) -> Vec<NodePlan> {
        let roles = [
            (Role::Manager, "manager", self.managers),
            (Role::Worker, "worker", self.workers),
            (Role::Plain, "node", self.plain),
        ];
        let mut nodes = Vec::new();
        for (role, stem, count) in roles {
            for number in 1..=count {
                // u8 holds: `validate` limits the total to MAX_NODES
                let host = u8::try_from(11 + nodes.len()).unwrap_or(u8::MAX);
                nodes.push(NodePlan { name: format!("{stem}{number}"), role, address: Ipv4Addr::new(10, 77, 0, host) });
            }
        }
        nodes
    }

    /// Refuses what could not boot anyway, before anything is started.
    pub fn validate(&self) -> Result<(), EngineError> {
        let total = self.managers + self.workers + self.plain;
        let name_ok = !self.name.is_empty()
            && self.name.len() <= 24
            && self.name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        if !name_ok {
            return Err(EngineError::Spec(format!("cluster name {:?}: use 1 to 24 letters, digits or '-'", self.name)));
        }
        if total == 0 || total > MAX_NODES {
            return Err(EngineError::Spec(format!("a cluster of {total} nodes: ask for 1 to {MAX_NODES}")));
        }
        if self.managers == 0 && self.workers > 0 && self.form_swarm {
            return Err(EngineError::Spec(
                "workers need a manager to join: ask for at least one manager, or for --plain engines".into(),
            ));
        }
        Ok(())
    }
}

/// More nodes than this do not help to learn anything, and one machine does not hold them comfortably.
pub const MAX_NODES: usize = 50;

/// One node as planned or running.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodePlan {
    /// Hostname, also the node's name in the swarm.
    pub name: String,
    /// Manager, worker or plain engine.
    pub role: Role,
    /// Address on the lab network.
    pub address: Ipv4Addr,
}

/// A moment of booting, for a progress display.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// The namespaces and the lab network exist; this many nodes follow.
    Sandbox {
        /// How many nodes will boot.
        nodes: usize,
    },
    /// This node's socket answers.
    NodeReady {
        /// Node name.
        node: String,
    },
    /// This node is a member of the swarm.
    Joined {
        /// Node name.
        node: String,
    },
    /// Everything asked for is up.
    Done {
        /// From the call of `boot` to now.
        elapsed: Duration,
    },
}

/// Why a cluster could not be booted or used. Never a learner's fault: the runner maps all of it to exit code 2.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The request makes no sense.
    #[error("{0}")]
    Spec(String),
    /// The machine lacks something; each finding carries its remedy (as `swarmlab doctor` prints).
    #[error("this machine cannot run labs yet:\n{}", crate::commands::doctor::describe(.0))]
    Machine(Vec<crate::commands::doctor::Finding>),
    /// The sandbox failed.
    #[error(transparent)]
    Sandbox(#[from] crate::sandbox::SandboxError),
    /// A node's daemon did not come up, or died.
    #[error("node {node}: {why}{}", tail(log))]
    Node {
        /// Node name.
        node: String,
        /// What happened.
        why: String,
        /// Last lines of its log.
        log: String,
    },
    /// The Docker API of a node refused or did not answer.
    #[error("node {node}: {what}: {why}")]
    Api {
        /// Node name.
        node: String,
        /// The request.
        what: String,
        /// Docker's message, or the transport error.
        why: String,
    },
    /// No such node in this cluster.
    #[error("no node `{node}` in this cluster{}", nearest(node, known))]
    NoSuchNode {
        /// The name asked for.
        node: String,
        /// The names that exist.
        known: Vec<String>,
    },
    /// Another process is still booting it.
    #[error(
        "the cluster {name:?} is just being started: wait until it is up, or end it: `swarmlab cluster down {name}`"
    )]
    Booting {
        /// Its name.
        name: String,
    },
    /// No such detached cluster.
    #[error("no cluster named {name:?} is running{}", .known.as_deref().map(|k| format!(" (running: {k})")).unwrap_or_default())]
    NoSuchCluster {
        /// The name asked for.
        name: String,
        /// Names that run, when any.
        known: Option<String>,
    },
}

fn nearest(node: &str, known: &[String]) -> String {
    crate::content::nearest(node, &known.iter().map(String::as_str).collect::<Vec<_>>())
}

fn tail(log: &str) -> String {
    if log.trim().is_empty() { String::new() } else { format!("; its log ends with:\n{}", log.trim_end()) }
}

/// A command for a node.
#[derive(Debug, Clone)]
pub enum Command {
    /// A shell line, run by `sh -c`: what a chapter's `manager1$ ...` line holds.
    Shell(String),
    /// Program and arguments, without a shell.
    Argv(Vec<String>),
}

/// How a command is run.
#[derive(Debug, Clone)]
pub struct ExecOptions {
    /// Bytes on standard input; then end of file. `None`: /dev/null.
    pub stdin: Option<Vec<u8>>,
    /// Added to the node's own environment.
    pub env: Vec<(String, String)>,
    /// Folder to start in; `None`: the node's home, `/root`.
    pub cwd: Option<PathBuf>,
    /// Give the command a terminal of 24x80 (output then comes merged, in `stdout`).
    pub tty: bool,
    /// Kill the command's whole session after this long.
    pub timeout: Duration,
    /// Keep at most this many bytes of each stream; the rest is read and dropped.
    pub output_limit: usize,
}

impl Default for ExecOptions {
    fn default() -> Self {
        Self {
            stdin: None,
            env: Vec::new(),
            cwd: None,
            tty: false,
            timeout: Duration::from_secs(30),
            output_limit: 1 << 20,
        }
    }
}

/// What a command did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecResult {
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
    /// Both, in the order in which they arrived: what a reader would have seen on a terminal.
    pub output: Vec<u8>,
    /// Exit code; 128 + N when ended by signal N, as a shell reports it.
    pub exit_code: i32,
    /// Ended by us because of `ExecOptions::timeout`.
    pub timed_out: bool,
    /// Some output exceeded the limit and was dropped.
    pub truncated: bool,
    /// From start to end.
    pub duration: Duration,
}

/// Starts clusters of one kind.
pub trait Engine: Send + Sync {
    /// `embedded`, `dockerd`, ...
    fn name(&self) -> &'static str;

    /// Why a step that needs `feature` cannot work on this engine and machine, if so: it is then skipped with this
    /// reason, not failed. Known features: `vip` (virtual addresses and published ports of services; genuine Docker
    /// needs IPVS), `delay` (of packets between nodes).
    fn lacks(&self, feature: &str) -> Option<String>;

    /// Boots, and waits until every node answers (and, if asked, has joined).
    fn boot(&self, spec: &ClusterSpec, progress: &mut dyn FnMut(Progress)) -> Result<Box<dyn Cluster>, EngineError>;
}

/// A running cluster. Dropping a foreground one shuts it down; dropping a detached one only lets go of it.
pub trait Cluster: Send + Sync {
    /// `embedded`, `dockerd`, ...
    fn engine(&self) -> &str;

    /// The nodes, managers first.
    fn nodes(&self) -> &[NodePlan];

    /// Path of the node's Docker socket, valid outside the sandbox.
    fn socket(&self, node: &str) -> Result<PathBuf, EngineError>;

    /// Runs a command in the node and waits for it.
    fn exec(&self, node: &str, command: &Command, options: &ExecOptions) -> Result<ExecResult, EngineError>;

    /// Runs a command in the node on this process's own input, output and error output; its exit code. An engine that
    /// cannot lend those runs it without input and prints what it said at its end.
    fn run(&self, node: &str, argv: &[String]) -> Result<i32, EngineError> {
        let options = ExecOptions { timeout: Duration::from_secs(24 * 3600), ..ExecOptions::default() };
        let result = self.exec(node, &Command::Argv(argv.to_vec()), &options)?;
        // a closed pipe is the reader's choice, not our failure
        let _ = std::io::stdout().write_all(&result.stdout);
        let _ = std::io::stderr().write_all(&result.stderr);
        Ok(result.exit_code)
    }

    /// An interactive shell on this process's terminal, until it ends; returns its exit code.
    fn shell(&self, node: &str) -> Result<i32, EngineError>;

    /// Power loss: every process of the node ends at once, its disk stays.
    fn kill_node(&self, node: &str) -> Result<(), EngineError>;

    /// Freezes every process of the node.
    fn pause_node(&self, node: &str) -> Result<(), EngineError>;

    /// Thaws a paused node, or boots a killed one from its disk and waits until it answers. Nothing for a running one.
    fn start_node(&self, node: &str) -> Result<(), EngineError>;

    /// Breaks something of the network between the nodes. Where that fails nothing is changed.
    fn fault(&self, _fault: &Fault) -> Result<(), EngineError> {
        Err(self.without_faults())
    }

    /// Ends all faults of the network, or a node's part in them.
    fn heal(&self, _node: Option<&str>) -> Result<(), EngineError> {
        Err(self.without_faults())
    }

    /// What is broken: of the network, and which nodes do not run.
    fn broken(&self) -> Result<Broken, EngineError> {
        Err(self.without_faults())
    }

    /// Where published ports are reachable on the learner's machine; none while no forwarder runs.
    fn forwards(&self) -> Result<Option<Forwards>, EngineError> {
        Ok(None)
    }

    /// What an engine says whose nodes' network is not ours.
    fn without_faults(&self) -> EngineError {
        EngineError::Spec(format!("the engine {} has no network between its nodes that could be broken", self.engine()))
    }

    /// Ends every process and removes every trace. Idempotent.
    fn shutdown(&self) -> Result<(), EngineError>;
}

/// The engine of that name.
pub fn by_name(name: &str) -> Result<Box<dyn Engine>, EngineError> {
    match name {
        "embedded" => Ok(Box::new(Embedded)),
        "dockerd" => Ok(Box::new(Dockerd)),
        "bare" => Ok(Box::new(Bare)),
        other => Err(unknown(other)),
    }
}

/// What the engine of that name runs in its nodes.
fn daemon_of(name: &str) -> Result<Box<dyn daemon::Daemon>, EngineError> {
    match name {
        "embedded" => Ok(Box::new(embedded::NodeDaemon)),
        "dockerd" => Ok(Box::new(dockerd::Daemons::default())),
        "bare" => Ok(Box::new(bare::NoDaemon)),
        other => Err(unknown(other)),
    }
}

fn unknown(name: &str) -> EngineError {
    EngineError::Spec(format!("engine {name:?} is not known (engines: embedded, dockerd)"))
}
