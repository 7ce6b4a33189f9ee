//! The calls into libcontainer, each in a short-lived fork of the shim.
//!
//! A fork, because libcontainer's parsing and bookkeeping would otherwise stay in the shim's memory for the
//! container's whole life. The container's processes become children of the shim all the same ("siblings" in
//! libcontainer's words), so that the shim reaps them.

use std::ffi::CString;
use std::fs::File;
use std::io::{BufRead, Write};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use libcontainer::container::Container;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::oci_spec::runtime::Spec;
use libcontainer::syscall::syscall::SyscallType;
use libcontainer::workload::{Executor, ExecutorError, ExecutorValidationError};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{ForkResult, Pid, execv, fork, pipe2};

use crate::error::{Context, Error, Kind, Result};

/// The container's ends of its standard streams; absent with a terminal.
#[derive(Default)]
pub(super) struct Stdio {
    pub stdin: Option<OwnedFd>,
    pub stdout: Option<OwnedFd>,
    pub stderr: Option<OwnedFd>,
}

/// A fork at work; its pipe yields what [`outcome`] reads.
pub(super) struct Helper {
    pub pid: Pid,
    pub result: OwnedFd,
}

/// Creates the namespaces and a process inside that waits for [`start`]. The outcome is its pid.
/// A new network namespace gets its loopback interface up, which needs nobody outside.
pub(super) fn create(
    id: &str,
    dir: &Path,
    stdio: Stdio,
    console: Option<PathBuf>,
    report: OwnedFd,
    own_network: bool,
) -> Result<Helper> {
    let (id, root, bundle) = (id.to_owned(), dir.join("oci"), dir.join("bundle"));
    in_fork(move || {
        let container = builder(&id, &root, stdio, console, &report)?
            .as_init(bundle)
            .with_systemd(false)
            .with_detach(true)
            .as_sibling(true)
            .build()
            .map_err(explain)?;
        let pid = container.pid().map(|p| p.as_raw()).ok_or_else(|| Error::internal("the container has no process"))?;
        if own_network {
            loopback_up(pid)?;
        }
        Ok(pid)
    })
}

/// Lets the created process run its program. The outcome comes before the program runs: see the report pipe.
pub(super) fn start(id: &str, dir: &Path) -> Result<Helper> {
    let root = dir.join("oci").join(id);
    in_fork(move || Container::load(root).and_then(|mut c| c.start()).map(|()| 0).map_err(explain))
}

/// Runs `process_file` in the container. The outcome is its pid.
pub(super) fn exec(
    id: &str,
    dir: &Path,
    process_file: PathBuf,
    stdio: Stdio,
    console: Option<PathBuf>,
    report: OwnedFd,
) -> Result<Helper> {
    let (id, root) = (id.to_owned(), dir.join("oci"));
    in_fork(move || {
        builder(&id, &root, stdio, console, &report)?
            .as_tenant()
            .with_process(Some(process_file))
            .with_detach(true)
            .as_sibling(true)
            .build()
            .map(|p| p.as_raw())
            .map_err(explain)
    })
}

/// What a helper's pipe said, once it has said a line. Its end is no sign: the container's waiting process holds a
/// copy of the pipe until it executes its program.
pub(super) fn outcome(bytes: &[u8]) -> Result<i32> {
    serde_json::from_slice::<Result<i32>>(bytes)
        .unwrap_or_else(|_| Err(Error::internal("the shim's helper died before it could report: see shim.log")))
}

/// Waits for a helper whose answer is needed now.
pub(super) fn wait(helper: Helper) -> Result<i32> {
    let mut bytes = Vec::new();
    std::io::BufReader::new(File::from(helper.result))
        .read_until(b'\n', &mut bytes)
        .context(|| "reading the helper's report".into())?;
    let _ = nix::sys::wait::waitpid(helper.pid, None);
    outcome(&bytes)
}

fn builder(
    id: &str,
    root: &Path,
    stdio: Stdio,
    console: Option<PathBuf>,
    report: &OwnedFd,
) -> Result<ContainerBuilder> {
    std::fs::create_dir_all(root).context(|| format!("making {}", root.display()))?;
    let mut b = ContainerBuilder::new(id.to_owned(), SyscallType::default())
        .with_root_path(root)
        .map_err(explain)?
        .with_executor(Payload { report: report.as_raw_fd() })
        .with_console_socket(console)
        .validate_id()
        .map_err(explain)?;
    b.stdin = stdio.stdin;
    b.stdout = stdio.stdout;
    b.stderr = stdio.stderr;
    Ok(b)
}

fn in_fork(work: impl FnOnce() -> Result<i32>) -> Result<Helper> {
    let (read, write) = pipe2(OFlag::O_CLOEXEC).context(|| "making a pipe".into())?;
    // SAFETY: the shim has a single thread, so the child may go on as usual after the fork.
    match unsafe { fork() }.context(|| "forking the shim's helper".into())? {
        ForkResult::Parent { child } => Ok(Helper { pid: child, result: read }),
        ForkResult::Child => {
            drop(read);
            // A panic must end the child here, and never return into the parent's loop.
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work))
                .unwrap_or_else(|_| Err(Error::internal("the shim's helper panicked: see shim.log")));
            if let Ok(mut bytes) = serde_json::to_vec(&result) {
                bytes.push(b'\n');
                let _ = File::from(write).write_all(&bytes);
            }
            // SAFETY: ends the process without running the parent's exit handlers a second time.
            unsafe { nix::libc::_exit(0) }
        }
    }
}

/// Runs in the container's process, as the last code of ours there.
#[derive(Clone)]
struct Payload {
    /// Closed by a successful exec; carries an [`Error`] otherwise.
    report: RawFd,
}

impl Executor for Payload {
    fn validate(&self, spec: &Spec) -> std::result::Result<(), ExecutorValidationError> {
        die_with_shim();
        let (args, path) = command(spec);
        find(args.first().map_or("", |s| s), &path)
            .map(|_| ())
            .map_err(|e| ExecutorValidationError::ArgValidationError(e.message))
    }

    fn exec(&self, spec: &Spec) -> std::result::Result<(), ExecutorError> {
        die_with_shim();
        // What the shim set for itself must not leak: blocked signals, and Rust's ignored SIGPIPE; nor what the
        // daemon was started with.
        let _ = SigSet::all().thread_unblock();
        default_signals();
        let (args, path) = command(spec);
        let error = match find(args.first().map_or("", |s| s), &path) {
            Err(e) => e,
            Ok(program) => {
                let c = |s: &str| CString::new(s).unwrap_or_default();
                let argv: Vec<CString> = args.iter().map(|a| c(a)).collect();
                let Err(errno) = execv(&c(&program.to_string_lossy()), &argv);
                refusal(&args[0], errno)
            }
        };
        if let Ok(bytes) = serde_json::to_vec(&error) {
            // SAFETY: the descriptor is open: it was made before the fork and only exec closes it.
            let fd = unsafe { BorrowedFd::borrow_raw(self.report) };
            let _ = nix::unistd::write(fd, &bytes);
        }
        // SAFETY: there is nothing left to do in this process.
        unsafe { nix::libc::_exit(error.exit_code()) }
    }
}

// By the bare system call: the C library keeps two signals to itself, and a parent may have ignored those too.
fn default_signals() {
    let default_action = [0usize; 4];
    for n in 1..=64 {
        // SAFETY: the kernel reads a sigaction of four words, all zero, which is the default action; the mask has
        // eight bytes. Signals that cannot be changed give an error, which is right.
        unsafe {
            nix::libc::syscall(
                nix::libc::SYS_rt_sigaction,
                n,
                default_action.as_ptr(),
                std::ptr::null_mut::<usize>(),
                8,
            );
        }
    }
}

// A shim that is killed takes its container along: nobody else would reap it, log for it or report its end.
fn die_with_shim() {
    let _ = prctl::set_pdeathsig(Signal::SIGKILL);
}

fn command(spec: &Spec) -> (Vec<String>, String) {
    let process = spec.process().as_ref();
    let args = process.and_then(|p| p.args().clone()).unwrap_or_default();
    let env = process.and_then(|p| p.env().clone()).unwrap_or_default();
    let path = env.iter().rev().find_map(|e| e.strip_prefix("PATH=")).unwrap_or(&crate::spec::DEFAULT_PATH[5..]);
    (args, path.to_owned())
}

fn find(name: &str, path: &str) -> Result<PathBuf> {
    let try_one = |p: PathBuf| -> std::result::Result<PathBuf, Errno> {
        use std::os::unix::fs::PermissionsExt;
        let meta = std::fs::metadata(&p).map_err(|e| Errno::from_raw(e.raw_os_error().unwrap_or(2)))?;
        if meta.is_dir() {
            return Err(Errno::EISDIR);
        }
        if meta.permissions().mode() & 0o111 == 0 {
            return Err(Errno::EACCES);
        }
        Ok(p)
    };
    if name.contains('/') {
        return try_one(PathBuf::from(name)).map_err(|e| match e {
            Errno::ENOENT => {
                let message = format!("exec: \"{name}\": stat {name}: no such file or directory");
                Error::new(Kind::CommandNotFound, message)
            }
            other => refusal(name, other),
        });
    }
    let mut denied = false;
    for dir in path.split(':') {
        match try_one(Path::new(if dir.is_empty() { "." } else { dir }).join(name)) {
            Ok(p) if !name.is_empty() => return Ok(p),
            Err(Errno::EACCES) if !name.is_empty() => denied = true,
            _ => {}
        }
    }
    if denied {
        return Err(refusal(name, Errno::EACCES));
    }
    Err(Error::new(Kind::CommandNotFound, format!("exec: \"{name}\": executable file not found in $PATH")))
}

fn refusal(name: &str, errno: Errno) -> Error {
    let (kind, why) = match errno {
        Errno::ENOENT => (Kind::CommandNotFound, "no such file or directory"),
        Errno::ENOTDIR => (Kind::CommandNotFound, "not a directory"),
        Errno::ENOEXEC => (Kind::CommandNotExecutable, "exec format error"),
        Errno::EACCES => (Kind::CommandNotExecutable, "permission denied"),
        Errno::EISDIR => (Kind::CommandNotExecutable, "is a directory"),
        other => (Kind::CommandNotExecutable, other.desc()),
    };
    Error::new(kind, format!("exec: \"{name}\": {why}"))
}

// libcontainer's errors are nested and say first what it was doing; what the user can act on is the innermost.
fn explain(e: libcontainer::error::LibcontainerError) -> Error {
    let mut text = e.to_string();
    let mut source: Option<&dyn std::error::Error> = std::error::Error::source(&e);
    while let Some(s) = source {
        let inner = s.to_string();
        if !text.contains(&inner) {
            text = format!("{text}: {inner}");
        }
        source = s.source();
    }
    if let Some(i) = text.find("exec: \"") {
        let message = text[i..].to_owned();
        let kind = if message.contains("not found in $PATH")
            || message.contains("no such file")
            || message.contains("not a directory")
        {
            Kind::CommandNotFound
        } else {
            Kind::CommandNotExecutable
        };
        return Error::new(kind, message);
    }
    Error::internal(format!("container runtime: {text}"))
}

nix::ioctl_write_ptr_bad!(set_flags, nix::libc::SIOCSIFFLAGS, nix::libc::ifreq);

/// Brings `lo` up in the network namespace of `pid`. Changes this (throw-away) process's own namespace.
fn loopback_up(pid: i32) -> Result<()> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
    let what = || "bringing the container's loopback interface up".to_owned();
    let space = File::open(format!("/proc/{pid}/ns/net")).context(what)?;
    nix::sched::setns(space, nix::sched::CloneFlags::CLONE_NEWNET).context(what)?;
    let s = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None).context(what)?;
    // SAFETY: an all-zero ifreq is valid.
    let mut request: nix::libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as nix::libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (nix::libc::IFF_UP | nix::libc::IFF_RUNNING) as i16;
    // SAFETY: the request lives through the call and names an interface and its flags, as this ioctl expects.
    unsafe { set_flags(s.as_raw_fd(), &request) }.context(what)?;
    Ok(())
}

/// Takes the terminal that libcontainer passes over the console socket.
pub(super) fn receive_terminal(listener: &std::os::unix::net::UnixListener) -> Result<OwnedFd> {
    use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
    let (stream, _) = listener.accept().context(|| "accepting the terminal".into())?;
    let mut buf = [0u8; 4096];
    let mut iov = [std::io::IoSliceMut::new(&mut buf)];
    let mut space = nix::cmsg_space!([RawFd; 2]);
    let message = recvmsg::<()>(stream.as_raw_fd(), &mut iov, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)
        .context(|| "receiving the terminal".into())?;
    for c in message.cmsgs().context(|| "receiving the terminal".into())? {
        if let ControlMessageOwned::ScmRights(fds) = c
            && let Some(fd) = fds.first()
        {
            // SAFETY: the kernel just gave this descriptor to us alone.
            return Ok(unsafe { OwnedFd::from_raw_fd(*fd) });
        }
    }
    Err(Error::internal("no terminal came over the console socket"))
}
