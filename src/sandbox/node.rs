//! A node's init: PID 1 of one node's namespaces. Finishes the node from within, then runs programs in it for whoever
//! connects to `init.sock` in the node's state folder, and collects the dead.
//!
//! One connection runs one program: `Spawn` with its files, then `Started`, and `Exited` at the end. Closing the
//! connection kills the program's session, unless it was started to be kept.

use std::ffi::CString;
use std::io::Write;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sched::CloneFlags;
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::cgroup::Hierarchy;
use super::protocol::{Reply, Request};
use super::{NodeSpec, SandboxError, SandboxSpec, guard, io_error, protocol, root};

/// What the init sends on its ready pipe; anything else is an error's text.
pub const READY: u8 = b'+';
const PATH: &str = "/swarmlab/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Never returns.
pub fn main(
    spec: &SandboxSpec,
    node: &NodeSpec,
    hierarchies: Option<&[Hierarchy]>,
    go: std::fs::File,
    ready: OwnedFd,
) -> ! {
    let mut ready = std::fs::File::from(ready);
    let code = match prepare(spec, node, hierarchies, go, &ready) {
        Ok(mut server) => {
            let _ = ready.write_all(&[READY]);
            drop(ready);
            server.serve();
            0
        }
        Err(error) => {
            let _ = ready.write_all(error.to_string().as_bytes());
            1
        }
    };
    // SAFETY: ends this forked process without running destructors of what it was copied from.
    unsafe { libc::_exit(code) }
}

fn prepare(
    spec: &SandboxSpec,
    node: &NodeSpec,
    hierarchies: Option<&[Hierarchy]>,
    go: std::fs::File,
    ready: &std::fs::File,
) -> Result<Server, SandboxError> {
    close_all_but(&[2, go.as_raw_fd(), ready.as_raw_fd()]);
    open_null()?;
    let mut byte = [0u8; 1];
    if std::io::Read::read(&mut &go, &mut byte).unwrap_or(0) != 1 {
        return Err(SandboxError::Remote("sandbox-init has ended".into()));
    }
    drop(go);
    if hierarchies.is_some() {
        nix::sched::unshare(CloneFlags::CLONE_NEWCGROUP).map_err(io_error("create cgroup namespace"))?;
    }
    root::enter_node(spec, node, hierarchies)?;
    if let Some(hierarchies) = hierarchies {
        root::make_way_in_cgroups(hierarchies)?;
    }
    nix::unistd::sethostname(&node.name).map_err(io_error("set hostname"))?;
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGCHLD);
    nix::sys::signal::sigprocmask(SigmaskHow::SIG_SETMASK, Some(&mask), None).map_err(io_error("block signals"))?;
    let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .map_err(io_error("create signal file"))?;
    let listener = protocol::listen_at(&Path::new(root::NODE_STATE).join("init.sock"))?;
    Ok(Server { hostname: node.name.clone(), signals, listener, clients: Vec::new() })
}

/// Closes files of sandbox-init that its children must not hold, let alone hand to programs.
pub(super) fn close_all_but(keep: &[RawFd]) {
    let mut keep: Vec<u32> = keep.iter().filter_map(|fd| u32::try_from(*fd).ok()).collect();
    keep.sort_unstable();
    let mut from = 0u32;
    for fd in keep {
        if fd > from {
            close_range(from, fd - 1);
        }
        from = fd + 1;
    }
    close_range(from, u32::MAX);
}

fn close_range(from: u32, to: u32) {
    // SAFETY: closes descriptors whose owners were copied by clone and are never run again in this process.
    unsafe {
        libc::syscall(libc::SYS_close_range, from, to, 0);
    }
}

fn open_null() -> Result<(), SandboxError> {
    let null = std::fs::File::options().read(true).write(true).open("/dev/null").map_err(io_error("open /dev/null"))?;
    for fd in [0, 1] {
        // SAFETY: 0 and 1 were closed just before and belong to nobody.
        if unsafe { libc::dup2(null.as_raw_fd(), fd) } < 0 {
            return Err(io_error("open /dev/null")(Errno::last()));
        }
    }
    // it may itself have become 0 or 1, which must stay open
    if null.as_raw_fd() <= 1 {
        std::mem::forget(null);
    }
    Ok(())
}

struct Client {
    socket: OwnedFd,
    program: Option<Pid>,
    keep: bool,
}

struct Server {
    hostname: String,
    signals: SignalFd,
    listener: OwnedFd,
    clients: Vec<Client>,
}

impl Server {
    fn serve(&mut self) {
        loop {
            let mut fds = vec![
                PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.listener.as_fd(), PollFlags::POLLIN),
            ];
            for client in &self.clients {
                fds.push(PollFd::new(client.socket.as_fd(), PollFlags::POLLIN));
            }
            match nix::poll::poll(&mut fds, PollTimeout::NONE) {
                Ok(_) => {}
                Err(Errno::EINTR) => continue,
                Err(_) => return,
            }
            let ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(false)).collect();
            let clients = std::mem::take(&mut self.clients);
            for (mut client, readable) in clients.into_iter().zip(&ready[2..]) {
                if !readable || self.on_client(&mut client) {
                    self.clients.push(client);
                } else if let (Some(pid), false) = (client.program, client.keep) {
                    let _ = nix::sys::signal::killpg(pid, Signal::SIGKILL);
                }
            }
            if ready[0] {
                self.collect();
            }
            if ready[1]
                && let Ok(socket) = protocol::accept(self.listener.as_fd())
            {
                self.clients.push(Client { socket, program: None, keep: false });
            }
        }
    }

    /// Whether the connection stays open.
    fn on_client(&mut self, client: &mut Client) -> bool {
        let (request, files) = match protocol::recv::<Request>(client.socket.as_fd()) {
            Ok(Some(received)) => received,
            Ok(None) | Err(_) => return false,
        };
        let socket = client.socket.as_fd();
        match request {
            Request::Spawn { argv, env, cwd, tty, keep } if client.program.is_none() => {
                let program = Program { argv, env, cwd, hostname: &self.hostname };
                match program.start(tty, &files) {
                    Ok((pid, master)) => {
                        client.program = Some(pid);
                        client.keep = keep;
                        let files: Vec<_> = master.iter().map(AsFd::as_fd).collect();
                        protocol::send(socket, &Reply::Started { fresh: true }, &files).is_ok()
                    }
                    Err(error) => {
                        let message = error.to_string();
                        protocol::send(socket, &Reply::Failed { message }, &[]).is_ok()
                    }
                }
            }
            Request::Signal { signal } => {
                if let (Some(pid), Ok(signal)) = (client.program, Signal::try_from(signal)) {
                    let _ = nix::sys::signal::killpg(pid, signal);
                }
                true
            }
            _ => {
                let message = "a node's init only runs programs, one per connection".to_owned();
                protocol::send(socket, &Reply::Failed { message }, &[]).is_ok()
            }
        }
    }

    fn collect(&mut self) {
        while let Ok(Some(_)) = self.signals.read_signal() {}
        while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            let (pid, code) = match status {
                WaitStatus::Exited(pid, code) => (pid, code),
                WaitStatus::Signaled(pid, signal, _) => (pid, 128 + signal as i32),
                WaitStatus::StillAlive => break,
                _ => continue,
            };
            if let Some(at) = self.clients.iter().position(|c| c.program == Some(pid)) {
                let client = self.clients.swap_remove(at);
                let _ = protocol::send(client.socket.as_fd(), &Reply::Exited { code }, &[]);
            }
        }
    }
}

struct Program<'a> {
    argv: Vec<String>,
    env: Vec<(String, String)>,
    cwd: PathBuf,
    hostname: &'a str,
}

impl Program<'_> {
    /// Forks and executes; returns when the program really runs, or the reason why not.
    fn start(&self, tty: Option<(u16, u16)>, files: &[OwnedFd]) -> Result<(Pid, Option<OwnedFd>), SandboxError> {
        let name = self.argv.first().map(String::as_str).unwrap_or_default();
        let environment = self.environment();
        let argv = c_strings(self.argv.iter().map(String::as_str))?;
        let envp = c_strings(environment.iter().map(String::as_str))?;
        let path = environment.iter().find_map(|entry| entry.strip_prefix("PATH=")).unwrap_or(PATH);
        let candidates: Vec<String> = if name.contains('/') {
            vec![name.to_owned()]
        } else {
            path.split(':').map(|dir| format!("{dir}/{name}")).collect()
        };
        let candidates = c_strings(candidates.iter().map(String::as_str))?;
        let cwd = c_string(&self.cwd.to_string_lossy())?;
        let pty = match tty {
            Some((rows, columns)) => Some(open_pty(rows, columns)?),
            None => None,
        };
        let stdio: Vec<RawFd> = match &pty {
            Some(pty) => vec![pty.slave.as_raw_fd(); 3],
            None => files.iter().map(AsRawFd::as_raw_fd).collect(),
        };
        if stdio.len() < 3 {
            return Err(SandboxError::Remote("three files are needed".into()));
        }
        let (mut failure, failure_write) = guard::pipe()?;
        match guard::clone_process(0).map_err(io_error("fork"))? {
            None => {
                // above every number that the program's own files get
                // SAFETY: duplicates a descriptor of this process.
                let report = unsafe { libc::fcntl(failure_write.as_raw_fd(), libc::F_DUPFD_CLOEXEC, 64) };
                let errno = execute(&candidates, &argv, &envp, &cwd, &stdio, pty.is_some());
                let code = (errno as i32).to_ne_bytes();
                // SAFETY: writes four bytes that live here; the forked copy must not go on as a second init.
                unsafe {
                    libc::write(report, code.as_ptr().cast(), code.len());
                    libc::_exit(127)
                }
            }
            Some(pid) => {
                drop(failure_write);
                let mut code = [0u8; 4];
                if std::io::Read::read_exact(&mut failure, &mut code).is_ok() {
                    let _ = waitpid(pid, None);
                    let errno = Errno::from_raw(i32::from_ne_bytes(code));
                    return Err(io_error(format!("run {name:?}"))(errno));
                }
                Ok((pid, pty.map(|pty| pty.master)))
            }
        }
    }

    fn environment(&self) -> Vec<String> {
        let mut all: Vec<(String, String)> = [
            ("PATH", PATH),
            ("HOME", "/root"),
            ("USER", "root"),
            ("LOGNAME", "root"),
            ("SHELL", "/bin/sh"),
            ("LANG", "C.UTF-8"),
            ("HOSTNAME", self.hostname),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
        for (key, value) in &self.env {
            all.retain(|(known, _)| known != key);
            all.push((key.clone(), value.clone()));
        }
        all.into_iter().map(|(k, v)| format!("{k}={v}")).collect()
    }
}

/// In the forked child. Returns only when it failed.
fn execute(
    candidates: &[CString],
    argv: &[CString],
    envp: &[CString],
    cwd: &CString,
    stdio: &[RawFd],
    tty: bool,
) -> Errno {
    // SAFETY: a single-threaded child that only makes system calls on its own descriptors before exec.
    unsafe {
        if libc::setsid() < 0 {
            return Errno::last();
        }
        // out of the way of the numbers that they are to get
        let mut lifted = Vec::with_capacity(stdio.len());
        for fd in stdio {
            let fd = libc::fcntl(*fd, libc::F_DUPFD_CLOEXEC, 64);
            if fd < 0 {
                return Errno::last();
            }
            lifted.push(fd);
        }
        for (number, fd) in lifted.iter().enumerate() {
            if libc::dup2(*fd, i32::try_from(number).unwrap_or(i32::MAX)) < 0 {
                return Errno::last();
            }
        }
        if tty && libc::ioctl(0, libc::TIOCSCTTY, 0) < 0 {
            return Errno::last();
        }
        if libc::chdir(cwd.as_ptr()) < 0 {
            return Errno::last();
        }
        // Rust ignores SIGPIPE and we block SIGCHLD; programs expect neither
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
    let mut last = Errno::ENOENT;
    for candidate in candidates {
        let Err(errno) = nix::unistd::execve(candidate, argv, envp);
        // as a shell: go on looking, but remember that something was there which cannot be run
        if !matches!(errno, Errno::ENOENT | Errno::ENOTDIR) {
            last = errno;
        }
    }
    last
}

struct Pty {
    master: OwnedFd,
    slave: OwnedFd,
}

/// A terminal of this node's own /dev/pts.
fn open_pty(rows: u16, columns: u16) -> Result<Pty, SandboxError> {
    let size = nix::pty::Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    let pty = nix::pty::openpty(&size, None).map_err(io_error("open a terminal"))?;
    for fd in [&pty.master, &pty.slave] {
        let flag = nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC);
        nix::fcntl::fcntl(fd, flag).map_err(io_error("open a terminal"))?;
    }
    Ok(Pty { master: pty.master, slave: pty.slave })
}

fn c_string(text: &str) -> Result<CString, SandboxError> {
    CString::new(text).map_err(|_| SandboxError::Refused(format!("{text:?} holds a zero byte, which no command can")))
}

fn c_strings<'a>(texts: impl Iterator<Item = &'a str>) -> Result<Vec<CString>, SandboxError> {
    texts.map(c_string).collect()
}
