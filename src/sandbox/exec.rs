//! The client's side of running a program in a node.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::protocol::{Reply, Request};
use super::{SandboxError, io_error, protocol};

/// Longest time for a node init to start a program; a paused or overloaded node does not answer at all.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// What to run.
#[derive(Debug)]
pub struct SpawnSpec<'a> {
    /// Program (looked up in PATH) and arguments.
    pub argv: Vec<String>,
    /// Added to the node's environment.
    pub env: Vec<(String, String)>,
    /// Folder to start in.
    pub cwd: PathBuf,
    /// A terminal of (rows, columns) instead of files.
    pub tty: Option<(u16, u16)>,
    /// Let it live on when the [`Running`] is dropped.
    pub keep: bool,
    /// Its descriptors 0, 1, 2 and further; unused with a terminal.
    pub files: Vec<BorrowedFd<'a>>,
}

/// A started program. Dropping it kills the program's session, unless it was started to be kept.
#[derive(Debug)]
pub struct Running {
    socket: OwnedFd,
    terminal: Option<OwnedFd>,
}

impl Running {
    pub(super) fn start(path: &Path, node: &str, spec: &SpawnSpec<'_>) -> Result<Self, SandboxError> {
        let down = |why: String| SandboxError::NodeDown { node: node.to_owned(), why };
        let socket = protocol::connect(path).map_err(|error| match error.raw_os_error() {
            Some(nix::libc::ECONNREFUSED | nix::libc::ENOENT) => down("it is switched off".into()),
            _ => down(error.to_string()),
        })?;
        let request = Request::Spawn {
            argv: spec.argv.clone(),
            env: spec.env.clone(),
            cwd: spec.cwd.clone(),
            tty: spec.tty,
            keep: spec.keep,
        };
        protocol::send(socket.as_fd(), &request, &spec.files)?;
        if !protocol::wait_readable(socket.as_fd(), Instant::now() + START_TIMEOUT) {
            return Err(down(format!("no program starts within {} s; is the node paused?", START_TIMEOUT.as_secs())));
        }
        match protocol::recv::<Reply>(socket.as_fd())? {
            Some((Reply::Started { .. }, files)) => Ok(Self { socket, terminal: files.into_iter().next() }),
            Some((Reply::Failed { message }, _)) => Err(SandboxError::Remote(message)),
            Some(_) => Err(SandboxError::Remote("unexpected answer".into())),
            None => Err(down("it was switched off meanwhile".into())),
        }
    }

    /// The master side of its terminal, once.
    pub fn take_terminal(&mut self) -> Option<OwnedFd> {
        self.terminal.take()
    }

    /// Becomes readable when the program has ended: then call [`finish`](Self::finish).
    pub fn ended(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Sends the program and its session a signal.
    pub fn signal(&self, signal: i32) -> Result<(), SandboxError> {
        protocol::send(self.socket.as_fd(), &Request::Signal { signal }, &[])
    }

    /// Waits for the end: the exit code, or 128 + signal.
    pub fn finish(&self) -> Result<i32, SandboxError> {
        match protocol::recv::<Reply>(self.socket.as_fd())? {
            Some((Reply::Exited { code }, _)) => Ok(code),
            Some((Reply::Failed { message }, _)) => Err(SandboxError::Remote(message)),
            Some(_) => Err(SandboxError::Remote("unexpected answer".into())),
            // the node was killed, and the program with it
            None => Ok(128 + nix::libc::SIGKILL),
        }
    }
}

/// A pipe for a program's input or output: (read, write).
pub fn pipe() -> Result<(OwnedFd, OwnedFd), SandboxError> {
    nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(io_error("create pipe"))
}
