//! What sandbox-init, the node inits and their clients say to each other: JSON messages, each one packet of a
//! SOCK_SEQPACKET unix socket, with open files riding along. A packet keeps message and files together and has a
//! natural limit, which a byte stream would need framing for.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::socket::{
    AddressFamily, Backlog, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, bind, listen,
    recvmsg, sendmsg, socket, socketpair,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::fault::{Fault, Protocol};
use super::forwarded::Forwards;
use super::{SandboxError, io_error};

/// Longest message; below the kernel's default socket buffer. A command line longer than this is refused.
const MAX_MESSAGE: usize = 160 * 1024;
/// Files per message: stdin, stdout, stderr and a few more.
const MAX_FILES: usize = 8;

/// To sandbox-init (nodes, shutdown) or to a node init (the rest).
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// Run a program. Files: stdin, stdout, stderr unless `tty`; further ones become 3, 4, ...
    Spawn {
        argv: Vec<String>,
        env: Vec<(String, String)>,
        cwd: PathBuf,
        /// Give it a new terminal of (rows, columns); its master side comes back with `Started`.
        tty: Option<(u16, u16)>,
        /// Let it live on when this connection closes.
        keep: bool,
    },
    /// Send the program and its session a signal.
    Signal { signal: i32 },
    /// End all processes of a node.
    KillNode { node: String },
    /// Freeze them.
    PauseNode { node: String },
    /// Thaw or recreate.
    StartNode { node: String },
    /// Break something of the network.
    Fault { fault: Fault },
    /// End all faults, or a node's part in them.
    Heal { node: Option<String> },
    /// Tell what is broken.
    Faults,
    /// Open a socket in the lab's network and pass it on.
    Socket { protocol: Protocol },
    /// Keep where the published ports are reachable, as long as this connection is there.
    SetForwards { forwards: Forwards },
    /// Tell it.
    Forwards,
    /// From the runner alone, on the socket of the boot: live on without it.
    Detach,
    /// End everything.
    Shutdown,
}

/// The answers.
#[derive(Debug, Serialize, Deserialize)]
pub enum Reply {
    /// The program or node runs; `fresh`: a node that had to be made anew.
    Started { fresh: bool },
    /// The program ended: exit code, or 128 + signal.
    Exited { code: i32 },
    /// Done.
    Done,
    /// What is broken.
    Faults(Broken),
    /// Where published ports are reachable; nothing while no forwarder runs.
    Forwards(Option<Forwards>),
    /// Not done.
    Failed { message: String },
    /// Not done, and nothing of the sandbox is at fault; the message says what to do.
    Refused { message: String },
}

/// What is broken in a lab.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Broken {
    /// Of its network, in the order in which it came.
    pub faults: Vec<Fault>,
    /// The nodes that do not run.
    pub nodes: Vec<DownNode>,
}

/// A node that does not run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DownNode {
    /// Its name.
    pub name: String,
    /// Whether it is only frozen.
    pub paused: bool,
}

/// A connected pair.
pub fn pair() -> Result<(OwnedFd, OwnedFd), SandboxError> {
    socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
        .map_err(io_error("create socket pair"))
}

/// A listening socket at a new path.
pub fn listen_at(path: &Path) -> Result<OwnedFd, SandboxError> {
    let what = format!("listen at {}", path.display());
    let make = || -> nix::Result<OwnedFd> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
        let _ = nix::unistd::unlink(path);
        bind(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
        listen(&fd, Backlog::new(64)?)?;
        Ok(fd)
    };
    make().map_err(io_error(what))
}

/// The next waiting connection.
pub fn accept(listener: BorrowedFd<'_>) -> nix::Result<OwnedFd> {
    let raw = nix::sys::socket::accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC)?;
    // SAFETY: accept4 returned a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// A connection to a listening socket.
pub fn connect(path: &Path) -> io::Result<OwnedFd> {
    let fd = socket(AddressFamily::Unix, SockType::SeqPacket, SockFlag::SOCK_CLOEXEC, None)?;
    nix::sys::socket::connect(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(fd)
}

/// Sends one message with files.
pub fn send<T: Serialize>(fd: BorrowedFd<'_>, message: &T, files: &[BorrowedFd<'_>]) -> Result<(), SandboxError> {
    let bytes =
        serde_json::to_vec(message).map_err(|error| SandboxError::Remote(format!("encode message: {error}")))?;
    if bytes.len() > MAX_MESSAGE {
        return Err(SandboxError::Refused(format!(
            "the command is too long: {} bytes, at most {MAX_MESSAGE} fit; put it into a file",
            bytes.len()
        )));
    }
    let raw: Vec<RawFd> = files.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control = if raw.is_empty() { &[][..] } else { &rights[..] };
    sendmsg::<()>(fd.as_raw_fd(), &[IoSlice::new(&bytes)], control, MsgFlags::MSG_NOSIGNAL, None)
        .map(drop)
        .map_err(io_error("send to the sandbox"))
}

/// Receives one message with its files; `None` at the end of the connection.
pub fn recv<T: DeserializeOwned>(fd: BorrowedFd<'_>) -> Result<Option<(T, Vec<OwnedFd>)>, SandboxError> {
    let mut bytes = vec![0u8; MAX_MESSAGE + 1];
    let mut control = nix::cmsg_space!([RawFd; MAX_FILES]);
    let (length, files) = {
        let mut slices = [IoSliceMut::new(&mut bytes)];
        let message = loop {
            match recvmsg::<()>(fd.as_raw_fd(), &mut slices, Some(&mut control), MsgFlags::MSG_CMSG_CLOEXEC) {
                Err(Errno::EINTR) => continue,
                Err(Errno::ECONNRESET) => return Ok(None),
                other => break other.map_err(io_error("receive from the sandbox"))?,
            }
        };
        let mut files = Vec::new();
        for item in message.cmsgs().map_err(io_error("receive files"))? {
            if let ControlMessageOwned::ScmRights(raw) = item {
                // SAFETY: the kernel just installed these descriptors for us alone.
                files.extend(raw.iter().map(|fd| unsafe { OwnedFd::from_raw_fd(*fd) }));
            }
        }
        (message.bytes, files)
    };
    if length == 0 {
        return Ok(None);
    }
    let message = serde_json::from_slice(&bytes[..length])
        .map_err(|error| SandboxError::Remote(format!("unreadable message: {error}")))?;
    Ok(Some((message, files)))
}

/// As [`recv`], but gives up.
pub fn recv_timeout<T: DeserializeOwned>(
    fd: BorrowedFd<'_>,
    timeout: Duration,
) -> Result<Option<(T, Vec<OwnedFd>)>, SandboxError> {
    if !wait_readable(fd, Instant::now() + timeout) {
        return Err(SandboxError::Remote(format!("no answer within {} s", timeout.as_secs())));
    }
    recv(fd)
}

/// Waits until something can be read (or the other end has closed); false when the deadline comes first.
pub fn wait_readable(fd: BorrowedFd<'_>, deadline: Instant) -> bool {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
        match nix::poll::poll(&mut fds, poll_timeout(left)) {
            Err(Errno::EINTR) => {}
            Ok(0) if left.is_zero() => return false,
            Ok(0) => {}
            Ok(_) => return true,
            Err(_) => return false,
        }
    }
}

/// Rounded up, so that a wait of less than a millisecond does not spin.
pub fn poll_timeout(left: Duration) -> PollTimeout {
    let millis = left.as_micros().div_ceil(1000).min(60_000);
    PollTimeout::try_from(i32::try_from(millis).unwrap_or(60_000)).unwrap_or(PollTimeout::ZERO)
}
