//! A cluster whose nodes live in a [sandbox](crate::sandbox): what the engines `embedded` and `dockerd` share.

use std::fs;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use nix::errno::Errno;
use nix::libc;
use serde::{Deserialize, Serialize};

use super::daemon::{self, Daemon};
use super::formation::{self, Member};
use super::{
    Broken, Cluster, ClusterSpec, Command, EngineError, ExecOptions, ExecResult, Fault, Forwards, Lifetime, NodePlan,
    Progress, Role,
};
use crate::commands::doctor;
use crate::sandbox::{NodeSpec, Running, Sandbox, SandboxError, SandboxSpec, SpawnSpec, pipe, poll_timeout, state};

/// Written into the state folder when a cluster is up: what [`attach`] needs.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    format_version: u32,
    name: String,
    engine: String,
    nodes: Vec<NodePlan>,
}

const RECORD: &str = "cluster.json";
/// After a command has ended, its background children may still hold its output open: read on for this long.
const DRAIN: std::time::Duration = std::time::Duration::from_millis(50);

/// A detached cluster that runs.
#[derive(Debug, Clone, Serialize)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// `embedded`, `dockerd`.
    pub engine: String,
    /// Its nodes, managers first.
    pub nodes: Vec<NodePlan>,
}

/// The clusters of this user that run, by name.
pub fn list() -> Result<Vec<Listed>, EngineError> {
    let base = state::base_dir()?;
    let records = state::list(&base).into_iter().filter_map(|name| {
        // one that is just booting has no record yet, and is not there for anybody else
        let record = read_record(&base.join(&name))?;
        Some(Listed { name: record.name, engine: record.engine, nodes: record.nodes })
    });
    Ok(records.collect())
}

/// A cluster that runs, by name.
pub fn attach(name: &str) -> Result<Box<dyn Cluster>, EngineError> {
    let Some(sandbox) = Sandbox::find(name)? else {
        let names: Vec<String> = list()?.into_iter().map(|cluster| cluster.name).collect();
        return Err(EngineError::NoSuchCluster {
            name: name.to_owned(),
            known: (!names.is_empty()).then(|| names.join(", ")),
        });
    };
    let Some(record) = read_record(sandbox.dir()) else {
        return Err(EngineError::Booting { name: name.to_owned() });
    };
    let daemon = super::daemon_of(&record.engine)?;
    Ok(Box::new(SandboxCluster { sandbox, record, daemon, forwarder: Mutex::new(None) }))
}

/// Ends a cluster by name, also one that is still booting.
pub fn end(name: &str) -> Result<(), EngineError> {
    match attach(name) {
        Ok(cluster) => cluster.shutdown(),
        Err(EngineError::Booting { .. }) => match Sandbox::find(name)? {
            Some(sandbox) => Ok(sandbox.shutdown()?),
            // it was given up in this moment
            None => Ok(()),
        },
        Err(error) => Err(error),
    }
}

fn read_record(dir: &std::path::Path) -> Option<Record> {
    serde_json::from_slice(&fs::read(dir.join(RECORD)).ok()?).ok()
}

/// How an engine wants its sandbox.
pub struct Layout {
    /// Where the node's data folder appears in it.
    pub data_at: PathBuf,
    /// Programs for the first folder of PATH.
    pub tools: Vec<(String, PathBuf)>,
}

/// What every node has besides the machine's own programs: `docker`, and what looks into its network.
pub fn tools(docker: &Path) -> Vec<(String, PathBuf)> {
    vec![("docker".into(), docker.to_owned()), ("netview".into(), PathBuf::from("swarmlab"))]
}

/// Boots a cluster.
pub fn boot(
    daemon: Box<dyn Daemon>,
    layout: Layout,
    spec: &ClusterSpec,
    progress: &mut dyn FnMut(Progress),
) -> Result<Box<dyn Cluster>, EngineError> {
    spec.validate()?;
    let began = Instant::now();
    let nodes = spec.nodes();
    let sandbox = Sandbox::boot(&SandboxSpec {
        name: spec.name.clone(),
        nodes: nodes.iter().map(|node| NodeSpec { name: node.name.clone(), address: node.address }).collect(),
        binds: spec.binds.clone(),
        tools: layout.tools,
        data_at: layout.data_at,
    })
    .map_err(explain)?;
    progress(Progress::Sandbox { nodes: nodes.len() });
    let cluster = SandboxCluster {
        record: Record { format_version: 1, name: spec.name.clone(), engine: daemon.engine().to_owned(), nodes },
        sandbox,
        daemon,
        forwarder: Mutex::new(None),
    };
    cluster.bring_up(spec.form_swarm, progress)?;
    cluster.forward_ports(spec.listen);
    if spec.lifetime == Lifetime::Detached {
        cluster.sandbox.detach()?;
    }
    progress(Progress::Done { elapsed: began.elapsed() });
    Ok(Box::new(cluster))
}

/// A machine that cannot do it at all gets doctor's words, not an errno.
fn explain(error: SandboxError) -> EngineError {
    if matches!(error, SandboxError::Refused(_)) {
        return error.into();
    }
    let missing: Vec<_> =
        doctor::check().into_iter().filter(|finding| finding.severity == doctor::Severity::Missing).collect();
    if missing.is_empty() { error.into() } else { EngineError::Machine(missing) }
}

struct SandboxCluster {
    sandbox: Sandbox,
    record: Record,
    daemon: Box<dyn Daemon>,
    /// The forwarder, where it is this process's child.
    forwarder: Mutex<Option<Child>>,
}

impl SandboxCluster {
    fn bring_up(&self, form_swarm: bool, progress: &mut dyn FnMut(Progress)) -> Result<(), EngineError> {
        let mut starting = Vec::new();
        for node in &self.record.nodes {
            starting.push((node, daemon::start(&*self.daemon, &self.sandbox, node)?));
        }
        let (done, finished) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            for (node, daemon) in starting {
                let done = done.clone();
                scope.spawn(move || done.send((node, self.finish_node(node, daemon))));
            }
            drop(done);
            let mut result = Ok(());
            // ends when every thread has dropped its sender
            for (node, outcome) in finished {
                match outcome {
                    Ok(()) => progress(Progress::NodeReady { node: node.name.clone() }),
                    Err(error) => result = result.and(Err(error)),
                }
            }
            result
        })?;
        if form_swarm {
            let members: Vec<Member<'_>> = self
                .record
                .nodes
                .iter()
                .filter(|node| node.role != Role::Plain)
                .map(|node| Member { node, socket: self.socket_path(&node.name) })
                .collect();
            formation::form_swarm(&members, progress)?;
        }
        let io = |source| EngineError::Sandbox(SandboxError::Io { what: format!("write {RECORD}"), source });
        let text = serde_json::to_vec_pretty(&self.record).map_err(|error| io(error.into()))?;
        // whole or not at all: others list clusters while we write
        let next = self.sandbox.dir().join("cluster.json.next");
        fs::write(&next, text).map_err(io)?;
        fs::rename(&next, self.sandbox.dir().join(RECORD)).map_err(io)
    }

    /// Begins to make published ports reachable. A lab is usable without, so a failure only costs a word.
    fn forward_ports(&self, listen: Option<IpAddr>) {
        match crate::forward::start(self.sandbox.dir(), listen) {
            Ok(child) => *self.forwarder.lock().unwrap_or_else(PoisonError::into_inner) = Some(child),
            Err(error) => eprintln!("published ports will not be reachable from this machine: {error}"),
        }
    }

    fn finish_node(&self, node: &NodePlan, daemon: Option<daemon::Starting>) -> Result<(), EngineError> {
        if let Some(daemon) = daemon {
            daemon.await_ready()?;
            self.daemon.equip(node, &self.socket_path(&node.name))?;
        }
        Ok(())
    }

    fn socket_path(&self, node: &str) -> PathBuf {
        self.sandbox.node_dir(node).join("docker.sock")
    }

    fn node(&self, name: &str) -> Result<&NodePlan, EngineError> {
        self.record.nodes.iter().find(|node| node.name == name).ok_or_else(|| EngineError::NoSuchNode {
            node: name.to_owned(),
            known: self.record.nodes.iter().map(|n| n.name.clone()).collect(),
        })
    }
}

impl Cluster for SandboxCluster {
    fn engine(&self) -> &str {
        &self.record.engine
    }

    fn nodes(&self) -> &[NodePlan] {
        &self.record.nodes
    }

    fn socket(&self, node: &str) -> Result<PathBuf, EngineError> {
        self.node(node).map(|node| self.socket_path(&node.name))
    }

    fn exec(&self, node: &str, command: &Command, options: &ExecOptions) -> Result<ExecResult, EngineError> {
        self.node(node)?;
        let began = Instant::now();
        let argv = match command {
            Command::Shell(line) => vec!["sh".into(), "-c".into(), line.clone()],
            Command::Argv(argv) => argv.clone(),
        };
        let mut spec = SpawnSpec {
            argv,
            env: options.env.clone(),
            cwd: options.cwd.clone().unwrap_or_else(|| PathBuf::from("/root")),
            tty: options.tty.then_some((24, 80)),
            keep: false,
            files: Vec::new(),
        };
        let (running, mut streams) = if options.tty {
            spec.env.push(("TERM".into(), "xterm".into()));
            let mut running = self.sandbox.spawn(node, &spec)?;
            let terminal = running
                .take_terminal()
                .ok_or_else(|| SandboxError::Remote("the node gave no terminal for the command".into()))?;
            let input = options
                .stdin
                .is_some()
                .then(|| terminal.try_clone())
                .transpose()
                .map_err(|source| SandboxError::Io { what: "use the terminal".into(), source })?;
            (running, Streams::new(input, terminal, None, options))
        } else {
            let (stdin_read, stdin) = pipe()?;
            let (stdout, stdout_write) = pipe()?;
            let (stderr, stderr_write) = pipe()?;
            spec.files = vec![stdin_read.as_fd(), stdout_write.as_fd(), stderr_write.as_fd()];
            let running = self.sandbox.spawn(node, &spec)?;
            drop(spec);
            drop((stdin_read, stdout_write, stderr_write));
            let input = options.stdin.is_some().then_some(stdin);
            (running, Streams::new(input, stdout, Some(stderr), options))
        };
        let (exit_code, timed_out) = streams.pump(&running, began + options.timeout)?;
        Ok(ExecResult { exit_code, timed_out, duration: began.elapsed(), ..streams.result })
    }

    fn run(&self, node: &str, argv: &[String]) -> Result<i32, EngineError> {
        self.node(node)?;
        super::terminal::run(&self.sandbox, node, argv)
    }

    fn shell(&self, node: &str) -> Result<i32, EngineError> {
        self.node(node)?;
        super::terminal::shell(&self.sandbox, node)
    }

    fn kill_node(&self, node: &str) -> Result<(), EngineError> {
        self.node(node)?;
        Ok(self.sandbox.kill_node(node)?)
    }

    fn pause_node(&self, node: &str) -> Result<(), EngineError> {
        self.node(node)?;
        Ok(self.sandbox.pause_node(node)?)
    }

    fn start_node(&self, node: &str) -> Result<(), EngineError> {
        let node = self.node(node)?;
        if self.sandbox.start_node(&node.name)?
            && let Some(starting) = daemon::start(&*self.daemon, &self.sandbox, node)?
        {
            starting.await_ready()?;
        }
        Ok(())
    }

    fn fault(&self, fault: &Fault) -> Result<(), EngineError> {
        for name in fault.nodes() {
            self.node(name)?;
        }
        Ok(self.sandbox.fault(fault)?)
    }

    fn heal(&self, node: Option<&str>) -> Result<(), EngineError> {
        if let Some(node) = node {
            self.node(node)?;
        }
        Ok(self.sandbox.heal(node)?)
    }

    fn forwards(&self) -> Result<Option<Forwards>, EngineError> {
        Ok(self.sandbox.forwards()?)
    }

    fn broken(&self) -> Result<Broken, EngineError> {
        Ok(self.sandbox.broken()?)
    }

    fn shutdown(&self) -> Result<(), EngineError> {
        self.sandbox.shutdown()?;
        if let Some(mut forwarder) = self.forwarder.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // it has ended, or is just about to; here it is only taken off the list of processes
            let _ = forwarder.kill();
            let _ = forwarder.wait();
        }
        Ok(())
    }
}

/// Input and outputs of one command, moved until it has ended.
struct Streams {
    input: Option<OwnedFd>,
    pending: Vec<u8>,
    written: usize,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    limit: usize,
    result: ExecResult,
}

impl Streams {
    fn new(input: Option<OwnedFd>, stdout: OwnedFd, stderr: Option<OwnedFd>, options: &ExecOptions) -> Self {
        if let Some(input) = &input {
            // a command that does not read must not block us
            let flags = nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK);
            let _ = nix::fcntl::fcntl(input, flags);
        }
        Self {
            input,
            pending: options.stdin.clone().unwrap_or_default(),
            written: 0,
            stdout: Some(stdout),
            stderr,
            limit: options.output_limit,
            result: ExecResult::default(),
        }
    }

    /// Until the command has ended and its output is read: exit code, and whether it was killed at the deadline.
    fn pump(&mut self, running: &Running, deadline: Instant) -> Result<(i32, bool), EngineError> {
        let mut deadline = deadline;
        let mut timed_out = false;
        let mut code = None;
        loop {
            if self.written == self.pending.len() {
                self.input = None;
            }
            if code.is_some() && self.stdout.is_none() && self.stderr.is_none() {
                break;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                if code.is_some() || timed_out {
                    break;
                }
                timed_out = true;
                let _ = running.signal(libc::SIGKILL);
                // the end of the killed is near; of a paused node it never comes
                deadline = Instant::now() + std::time::Duration::from_secs(2);
                continue;
            }
            let none = running.ended();
            let interest = |fd: &Option<OwnedFd>, flags| match fd {
                Some(fd) => (fd.as_fd().as_raw_fd(), flags),
                None => (-1, flags),
            };
            let ended = if code.is_none() { none.as_raw_fd() } else { -1 };
            let mut fds = [
                interest(&self.stdout, libc::POLLIN),
                interest(&self.stderr, libc::POLLIN),
                interest(&self.input, libc::POLLOUT),
                (ended, libc::POLLIN),
            ]
            .map(|(fd, events)| libc::pollfd { fd, events, revents: 0 });
            let millis = i32::from(poll_timeout(left).as_millis().unwrap_or(0) as u16);
            // SAFETY: the array lives through the call; negative descriptors are skipped by the kernel.
            let ready = unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, millis) };
            match Errno::result(ready) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => {
                    return Err(SandboxError::Io { what: "wait for a command".into(), source: errno.into() }.into());
                }
            }
            if fds[0].revents != 0 {
                self.read(true);
            }
            if fds[1].revents != 0 {
                self.read(false);
            }
            if fds[2].revents != 0 {
                self.write();
            }
            if fds[3].revents != 0 {
                code = Some(running.finish()?);
                deadline = Instant::now() + DRAIN;
            }
        }
        Ok((code.unwrap_or(128 + libc::SIGKILL), timed_out))
    }

    fn read(&mut self, out: bool) {
        let stream = if out { &mut self.stdout } else { &mut self.stderr };
        let Some(fd) = stream else { return };
        let mut bytes = [0u8; 16 * 1024];
        match nix::unistd::read(fd, &mut bytes) {
            // a terminal whose last user has gone gives EIO
            Ok(0) | Err(Errno::EIO) => *stream = None,
            Ok(count) => {
                let kept = if out { &mut self.result.stdout } else { &mut self.result.stderr };
                let room = self.limit.saturating_sub(kept.len()).min(count);
                kept.extend_from_slice(&bytes[..room]);
                self.result.output.extend_from_slice(&bytes[..room]);
                self.result.truncated |= room < count;
            }
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            Err(_) => *stream = None,
        }
    }

    fn write(&mut self) {
        let Some(input) = &self.input else { return };
        match nix::unistd::write(input, &self.pending[self.written..]) {
            Ok(count) => self.written += count,
            Err(Errno::EINTR | Errno::EAGAIN) => {}
            // the command closed its input: the rest interests nobody
            Err(_) => self.written = self.pending.len(),
        }
    }
}
