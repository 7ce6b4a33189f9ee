//! The shim: one small single-threaded process per running container.
//!
//! It makes the container by libcontainer, holds its standard streams, stores its output, serves its control
//! socket, runs execs, and records how it ended. It outlives the node daemon, and dies when its container has
//! ended; if the shim itself is killed, the kernel kills the container with it. Leaves out policy: restarts, health
//! checks and grace periods belong to the daemon.
//!
//! Started as `swarmlab shim DIR` with the container's directory. Standard output carries one JSON line, the
//! result of creating the container, and is then closed; standard error is the container's `shim.log`.

pub(crate) mod cgroup;
mod conn;
mod launch;
mod process;
mod serve;
pub(crate) mod wire;

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{dup2_stdin, dup2_stdout, pipe2, setsid};

use crate::durable;
use crate::error::{Context, Error, Result};
use crate::log::LogWriter;
use crate::plan::{Paths, Plan, ProcessId, RunState};
use crate::rootfs;
use crate::spec;
use launch::Stdio;
use process::Process;

/// Entry of the mode `swarmlab shim DIR`. Must be called before any thread exists.
pub fn main(args: impl IntoIterator<Item = String>) -> ExitCode {
    let Some(dir) = args.into_iter().next().map(PathBuf::from) else {
        eprintln!("swarmlab shim: expected the container's directory");
        return ExitCode::from(2);
    };
    match run(&dir) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("swarmlab shim: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run(dir: &Path) -> Result<()> {
    let _ = setsid(); // already a leader is fine
    let mut ready = detach_stdio()?;
    let signals = watch_signals()?;
    let _ = prctl::set_child_subreaper(true);
    let _ = prctl::set_name(c"swarmlab-shim");
    let created = create(dir);
    let line = match &created {
        Ok(c) => serde_json::to_vec(&Ok::<i32, Error>(c.init.pid)),
        Err(e) => serde_json::to_vec(&Err::<i32, Error>(e.clone())),
    };
    // Ended by a newline, not by closing: the waiting container process still holds a copy of this pipe.
    let mut line = line.unwrap_or_default();
    line.push(b'\n');
    ready.write_all(&line).context(|| "reporting to the daemon".into())?;
    drop(ready);
    let created = created?;
    serve::Shim::new(dir, created, signals).run()
}

/// A container whose namespaces exist and whose process waits to be started.
struct Created {
    plan: Plan,
    init: Process,
    run: RunState,
    /// Tells whether the program could be executed.
    report: OwnedFd,
    listener: UnixListener,
    log: LogWriter,
}

fn create(dir: &Path) -> Result<Created> {
    let text =
        std::fs::read(dir.join(Paths::PLAN)).context(|| format!("reading {}", dir.join(Paths::PLAN).display()))?;
    let plan: Plan = serde_json::from_slice(&text).map_err(|e| Error::internal(format!("reading the plan: {e}")))?;
    let log = LogWriter::open(&dir.join(Paths::LOGS), plan.log.clone())?;
    let _ = std::fs::remove_dir_all(dir.join("oci"));
    let rootfs = rootfs::mount_overlay(&plan, dir)?;
    {
        let root = rootfs::Root::open(&rootfs)?;
        let user = rootfs::resolve_user(&root, &plan.user, &plan.groups, plan.rootless)?;
        root.mkdir_all(&plan.cwd, 0o755)?;
        rootfs::fill_volumes(&plan, &root)?;
        let config = spec::config(&plan, dir, &rootfs, &user)?;
        std::fs::write(dir.join("bundle/config.json"), config.to_string()).context(|| "writing config.json".into())?;
    }
    let (mut init, stdio, console) = streams(dir, plan.tty, plan.open_stdin, "console")?;
    let (report, report_write) = pipe2(nix::fcntl::OFlag::O_CLOEXEC).context(|| "making a pipe".into())?;
    let made = launch::create(
        &plan.id,
        dir,
        stdio,
        console.as_ref().map(|c| c.path.clone()),
        report_write,
        plan.network == crate::config::Network::New,
    )
    .and_then(launch::wait)
    .and_then(|pid| {
        init.pid = pid;
        if let Some(c) = &console {
            init.adopt_terminal(launch::receive_terminal(&c.listener)?)?;
            // before the process starts, so that its first look at it is right
            if let Some((height, width)) = plan.console_size {
                init.resize(height, width);
            }
        }
        let listener = listen(dir, Paths::SOCKET)?;
        let gone = || Error::internal("the container's process ended before it was started");
        let run = RunState {
            shim: ProcessId::of(std::process::id() as i32).ok_or_else(gone)?,
            init: ProcessId::of(pid).ok_or_else(gone)?,
            started_at: None,
        };
        durable::write(&dir.join(Paths::RUN), &run)?;
        Ok((listener, run))
    });
    match made {
        Ok((listener, run)) => Ok(Created { plan, init, run, report, listener, log }),
        Err(e) => {
            if init.pid > 0 {
                let pid = nix::unistd::Pid::from_raw(init.pid);
                let _ = nix::sys::signal::kill(pid, Signal::SIGKILL);
                let _ = nix::sys::wait::waitpid(pid, None);
            }
            cgroup::remove(&plan.cgroup);
            Err(e)
        }
    }
}

struct Console {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for Console {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The shim's and the process's ends of standard streams, or the socket over which a terminal comes.
fn streams(dir: &Path, tty: bool, stdin: bool, name: &str) -> Result<(Process, Stdio, Option<Console>)> {
    let mut ours = Process::default();
    let mut theirs = Stdio::default();
    if tty {
        let name = format!("{name}.sock");
        let listener = listen(dir, &name)?;
        return Ok((ours, theirs, Some(Console { listener, path: dir.join(name) })));
    }
    let pipe = || pipe2(nix::fcntl::OFlag::O_CLOEXEC).context(|| "making a pipe".into());
    let (out, their_out) = pipe()?;
    let (err, their_err) = pipe()?;
    (ours.out, theirs.stdout) = (Some(nonblocking(out)?), Some(their_out));
    (ours.err, theirs.stderr) = (Some(nonblocking(err)?), Some(their_err));
    if stdin {
        let (their_in, input) = pipe()?;
        (ours.stdin, theirs.stdin) = (Some(nonblocking(input)?), Some(their_in));
    }
    Ok((ours, theirs, None))
}

fn nonblocking(fd: OwnedFd) -> Result<OwnedFd> {
    fcntl(fd.as_fd(), FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK)).context(|| "making a pipe".into())?;
    Ok(fd)
}

fn listen(dir: &Path, name: &str) -> Result<UnixListener> {
    let handle = File::open(dir).context(|| format!("opening {}", dir.display()))?;
    let _ = std::fs::remove_file(dir.join(name));
    UnixListener::bind(Paths::short_socket(&handle, name))
        .context(|| format!("listening on {}", dir.join(name).display()))
}

/// Moves the readiness pipe out of the way, so that no process of the container inherits it as its output.
fn detach_stdio() -> Result<File> {
    let ready = std::io::stdout().as_fd().try_clone_to_owned().context(|| "keeping the readiness pipe".into())?;
    let null = File::options().read(true).write(true).open("/dev/null").context(|| "opening /dev/null".into())?;
    dup2_stdin(&null).context(|| "detaching standard input".into())?;
    dup2_stdout(&null).context(|| "detaching standard output".into())?;
    Ok(File::from(ready))
}

fn watch_signals() -> Result<SignalFd> {
    let mut set = SigSet::empty();
    for s in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        set.add(s);
    }
    set.thread_block().context(|| "blocking signals".into())?;
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).context(|| "making a signalfd".into())
}
