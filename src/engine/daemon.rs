//! A node's daemon: how an engine starts one, and how its readiness is awaited.

use std::ffi::CString;
use std::fs::{self, File};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Instant;

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags};

use super::{EngineError, NodePlan, READY_TIMEOUT, api};
use crate::sandbox::{Running, Sandbox, SandboxError, SpawnSpec, poll_timeout};

/// Lines of a dead daemon's log that its error shows.
const LOG_LINES: usize = 12;

/// What an engine runs in every node.
pub trait Daemon: Send + Sync {
    /// The engine's name.
    fn engine(&self) -> &'static str;

    /// The command line; `None`: no daemon at all. May write files into the node's state folder first.
    fn command(&self, node: &NodePlan, node_dir: &Path) -> Result<Option<Vec<String>>, SandboxError>;

    /// Gives a node that answers what the labs expect of it; called for all nodes at the same time.
    fn equip(&self, _node: &NodePlan, _socket: &Path) -> Result<(), EngineError> {
        Ok(())
    }
}

/// A daemon that has been started.
pub struct Starting {
    node: String,
    running: Running,
    watch: OwnedFd,
    socket: PathBuf,
    log: PathBuf,
}

/// Starts the node's daemon; it lives as long as the node.
pub fn start(daemon: &dyn Daemon, sandbox: &Sandbox, node: &NodePlan) -> Result<Option<Starting>, EngineError> {
    let dir = sandbox.node_dir(&node.name);
    let Some(argv) = daemon.command(node, &dir)? else {
        return Ok(None);
    };
    let io = |what: &str, source: std::io::Error| {
        EngineError::Sandbox(SandboxError::Io { what: format!("{what} of node {}", node.name), source })
    };
    let log = dir.join("daemon.log");
    let out = File::options().create(true).append(true).open(&log).map_err(|error| io("open the log", error))?;
    let null = File::open("/dev/null").map_err(|error| io("open the input", error))?;
    let socket = dir.join("docker.sock");
    // the socket of an earlier life must not be taken for the new one
    let _ = fs::remove_file(&socket);
    let watch = watch_folder(&dir).map_err(|errno| io("watch the folder", errno.into()))?;
    let running = sandbox.spawn(
        &node.name,
        &SpawnSpec {
            argv,
            env: std::env::var("SWARMLAB_LOG")
                .map(|filter| vec![("SWARMLAB_LOG".to_owned(), filter)])
                .unwrap_or_default(),
            cwd: PathBuf::from("/"),
            tty: None,
            keep: true,
            files: vec![null.as_fd(), out.as_fd(), out.as_fd()],
        },
    )?;
    Ok(Some(Starting { node: node.name.clone(), running, watch, socket, log }))
}

impl Starting {
    /// Waits until the daemon's socket has appeared and answers.
    pub fn await_ready(self) -> Result<(), EngineError> {
        let deadline = Instant::now() + READY_TIMEOUT;
        while !self.socket.exists() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(self.failed(format!("its daemon opened no socket within {} s", READY_TIMEOUT.as_secs())));
            }
            let mut fds = [
                PollFd::new(self.watch.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.running.ended(), PollFlags::POLLIN),
            ];
            match nix::poll::poll(&mut fds, poll_timeout(left)) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(errno) => return Err(self.failed(errno.to_string())),
            }
            if fds[1].any().unwrap_or(false) {
                return Err(self.died());
            }
            // what exactly was created does not matter: the loop looks for the socket itself
            let mut events = [0u8; 4096];
            let _ = nix::unistd::read(&self.watch, &mut events);
        }
        // A listening socket accepts before its daemon serves; the answer comes when it does.
        // Between bind and listen a connection is refused.
        let answer = loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match api::call(&self.socket, "GET", "/_ping", None, left) {
                Err(api::ApiError::Transport(why)) if why.contains("refused") && !left.is_zero() => {
                    let mut fds = [PollFd::new(self.running.ended(), PollFlags::POLLIN)];
                    let _ = nix::poll::poll(&mut fds, nix::poll::PollTimeout::from(20u8));
                    if fds[0].any().unwrap_or(false) {
                        return Err(self.died());
                    }
                }
                answer => break answer,
            }
        };
        match answer {
            Ok(_) => Ok(()),
            Err(error) => {
                let mut fds = [PollFd::new(self.running.ended(), PollFlags::POLLIN)];
                let _ = nix::poll::poll(&mut fds, nix::poll::PollTimeout::from(200u8));
                if fds[0].any().unwrap_or(false) {
                    return Err(self.died());
                }
                Err(self.failed(format!("its socket does not answer: {error}")))
            }
        }
    }

    fn died(&self) -> EngineError {
        match self.running.finish() {
            Ok(code) => self.failed(format!("its daemon ended with exit code {code}")),
            Err(error) => self.failed(format!("its daemon ended: {error}")),
        }
    }

    fn failed(&self, why: String) -> EngineError {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        EngineError::Node {
            node: self.node.clone(),
            why,
            log: lines[lines.len().saturating_sub(LOG_LINES)..].join("\n"),
        }
    }
}

/// An inotify file that becomes readable when something is created in, or moved into, the folder.
fn watch_folder(dir: &Path) -> nix::Result<OwnedFd> {
    let path = CString::new(dir.as_os_str().as_encoded_bytes()).map_err(|_| Errno::EINVAL)?;
    // SAFETY: inotify_init1 has no pointers, and returns a descriptor that nobody else owns.
    let fd = unsafe {
        let raw = Errno::result(libc::inotify_init1(libc::IN_CLOEXEC | libc::IN_NONBLOCK))?;
        OwnedFd::from_raw_fd(raw)
    };
    // SAFETY: the path is a C string that lives through the call.
    let watch = unsafe { libc::inotify_add_watch(fd.as_raw_fd(), path.as_ptr(), libc::IN_CREATE | libc::IN_MOVED_TO) };
    Errno::result(watch).map(|_| fd)
}
