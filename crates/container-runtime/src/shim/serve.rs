//! The shim's event loop: signals, clients, output. Everything happens on one thread, driven by poll(2).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::signalfd::SignalFd;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::conn::{BACKLOG, Conn, Role};
use super::launch;
use super::process::{INPUT_BACKLOG, Process};
use super::wire::{ExecSpec, Kind, Notice, Reply, Request};
use super::{Created, cgroup};
use crate::durable;
use crate::error::{Context, Error, Result};
use crate::log::{LogWriter, Stream};
use crate::plan::{ExitState, Paths, Plan, RunState};
use crate::{rootfs, spec};

/// How long a container that has ended waits for slow clients to take its last output.
const LINGER: Duration = Duration::from_secs(2);
const MAX_CLIENTS: usize = 512;

pub(super) struct Shim {
    dir: PathBuf,
    plan: Plan,
    run: RunState,
    init: Process,
    report: Option<OwnedFd>,
    log: LogWriter,
    listener: UnixListener,
    signals: SignalFd,
    conns: BTreeMap<u64, Conn>,
    execs: BTreeMap<u64, Exec>,
    next: u64,
    /// Ended children that nobody has claimed yet: an exec may end before its helper has reported its number.
    reaped: BTreeMap<i32, i32>,
    ended: Option<Instant>,
    log_failed: bool,
    buf: Vec<u8>,
}

/// A process run by `exec`; its connection has the same number.
struct Exec {
    spec: ExecSpec,
    process: Process,
    /// The helper's pipe and what it said so far, until the process runs.
    starting: Option<(OwnedFd, Vec<u8>, Pid)>,
    console: Option<super::Console>,
}

#[derive(Clone, Copy)]
enum Token {
    Signal,
    Listener,
    Init(Stream),
    InitInput,
    Conn(u64),
    Exec(u64, Stream),
    ExecInput(u64),
    ExecStarting(u64),
}

impl Shim {
    pub(super) fn new(dir: &Path, created: Created, signals: SignalFd) -> Shim {
        let Created { plan, init, run, report, listener, log } = created;
        let _ = listener.set_nonblocking(true);
        Shim {
            dir: dir.into(),
            plan,
            run,
            init,
            report: Some(report),
            log,
            listener,
            signals,
            conns: BTreeMap::new(),
            execs: BTreeMap::new(),
            next: 0,
            reaped: BTreeMap::new(),
            ended: None,
            log_failed: false,
            buf: vec![0; 16 << 10],
        }
    }

    pub(super) fn run(mut self) -> Result<()> {
        loop {
            if let Some(at) = self.ended {
                let waiting = self.conns.values().any(|c| c.backlog() > 0 && !c.dead) || !self.execs.is_empty();
                if !waiting || at.elapsed() > LINGER {
                    return Ok(());
                }
            }
            for (token, ready) in self.wait()? {
                self.handle(token, ready);
            }
            self.settle();
        }
    }

    fn wait(&self) -> Result<Vec<(Token, PollFlags)>> {
        let mut tokens = vec![Token::Signal];
        let mut fds = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        let mut add = |token, fd, flags| {
            tokens.push(token);
            fds.push(PollFd::new(fd, flags));
        };
        if self.ended.is_none() && self.conns.len() < MAX_CLIENTS {
            add(Token::Listener, self.listener.as_fd(), PollFlags::POLLIN);
        }
        for s in [Stream::Stdout, Stream::Stderr] {
            if let Some(fd) = self.init.fd(s) {
                add(Token::Init(s), fd, PollFlags::POLLIN);
            }
        }
        if let (Some(fd), false) = (&self.init.stdin, self.init.pending.is_empty()) {
            add(Token::InitInput, fd.as_fd(), PollFlags::POLLOUT);
        }
        for (id, c) in &self.conns {
            let held = match c.role {
                Role::Attach { stdin: true, .. } => self.init.pending.len() > INPUT_BACKLOG,
                Role::Exec(n) => self.execs.get(&n).is_some_and(|e| e.process.pending.len() > INPUT_BACKLOG),
                _ => false,
            };
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::POLLIN, !held && !c.finish);
            flags.set(PollFlags::POLLOUT, c.backlog() > 0);
            add(Token::Conn(*id), c.stream.as_fd(), flags);
        }
        for (n, e) in &self.execs {
            if let Some((fd, ..)) = &e.starting {
                add(Token::ExecStarting(*n), fd.as_fd(), PollFlags::POLLIN);
                // A quick process may have written already: the acknowledgement goes first.
                continue;
            }
            // A process whose reader lags is held back, as by any full pipe: nothing of its output may be lost.
            let room = self.conns.get(n).is_none_or(|c| c.backlog() < BACKLOG);
            for s in [Stream::Stdout, Stream::Stderr] {
                if let (Some(fd), true) = (e.process.fd(s), room) {
                    add(Token::Exec(*n, s), fd, PollFlags::POLLIN);
                }
            }
            if let (Some(fd), false) = (&e.process.stdin, e.process.pending.is_empty()) {
                add(Token::ExecInput(*n), fd.as_fd(), PollFlags::POLLOUT);
            }
        }
        let timeout = if self.ended.is_some() { PollTimeout::from(200u16) } else { PollTimeout::NONE };
        match poll(&mut fds, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(e) => return Err(e).context(|| "waiting for events".into()),
        }
        let ready = fds.iter().map(|f| f.revents().unwrap_or(PollFlags::empty()));
        Ok(tokens.into_iter().zip(ready).filter(|(_, r)| !r.is_empty()).collect())
    }

    fn handle(&mut self, token: Token, ready: PollFlags) {
        match token {
            Token::Signal => self.signalled(),
            Token::Listener => {
                if let Ok((stream, _)) = self.listener.accept()
                    && let Ok(conn) = Conn::new(stream)
                {
                    self.next += 1;
                    self.conns.insert(self.next, conn);
                }
            }
            Token::Init(s) => {
                self.init_output(s);
            }
            Token::InitInput => self.init.write_pending(),
            Token::Conn(id) => {
                if ready.contains(PollFlags::POLLOUT)
                    && let Some(c) = self.conns.get_mut(&id)
                {
                    c.flush();
                }
                if ready.intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR) {
                    self.client(id);
                }
            }
            Token::Exec(n, s) => {
                self.exec_output(n, s);
            }
            Token::ExecInput(n) => {
                if let Some(e) = self.execs.get_mut(&n) {
                    e.process.write_pending();
                }
            }
            Token::ExecStarting(n) => self.exec_starting(n),
        }
    }

    /// Drops what is finished.
    fn settle(&mut self) {
        let gone: Vec<u64> =
            self.conns.iter().filter(|(_, c)| c.dead || (c.finish && c.backlog() == 0)).map(|(id, _)| *id).collect();
        for id in gone {
            if let Some(c) = self.conns.remove(&id) {
                self.left(id, c.role);
            }
        }
        let done: Vec<(u64, i32)> = self
            .execs
            .iter()
            .filter(|(_, e)| e.starting.is_none())
            .filter_map(|(n, e)| self.reaped.get(&e.process.pid).map(|code| (*n, *code)))
            .collect();
        for (n, code) in done {
            self.exec_ended(n, code);
        }
    }

    fn left(&mut self, id: u64, role: Role) {
        match role {
            Role::Attach { stdin: true, .. } if self.plan.stdin_once => self.init.end_input(),
            Role::Exec(n) => {
                debug_assert_eq!(id, n);
                if let Some(e) = self.execs.get_mut(&n) {
                    e.process.end_input();
                }
            }
            _ => {}
        }
    }

    fn signalled(&mut self) {
        while let Ok(Some(info)) = self.signals.read_signal() {
            if info.ssi_signo != Signal::SIGCHLD as u32 && self.ended.is_none() {
                // The node goes down: so does the container, at once.
                let _ = kill(Pid::from_raw(self.init.pid), Signal::SIGKILL);
            }
        }
        loop {
            let (pid, code) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, code),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, 128 + signal as i32),
                Ok(WaitStatus::StillAlive) | Err(nix::errno::Errno::ECHILD) => break,
                Ok(_) | Err(nix::errno::Errno::EINTR) => continue,
                Err(_) => break,
            };
            self.reaped.insert(pid.as_raw(), code);
        }
        if let (Some(code), None) = (self.reaped.get(&self.init.pid).copied(), self.ended) {
            self.init_ended(code);
        }
        // Helpers and libcontainer's intermediates are nobody's: forget them unless an exec is still starting.
        if self.execs.values().all(|e| e.starting.is_none()) {
            let mine: Vec<i32> = self.execs.values().map(|e| e.process.pid).collect();
            self.reaped.retain(|pid, _| mine.contains(pid));
        }
    }

    fn init_output(&mut self, stream: Stream) -> bool {
        let mut buf = std::mem::take(&mut self.buf);
        let n = self.init.read(stream, &mut buf);
        if n > 0 {
            // A full disk must not stop the container: its output is lost, and shim.log says so once.
            let stored = self.log.write(stream, &buf[..n], durable::now_nanos()).unwrap_or_else(|e| {
                if !std::mem::replace(&mut self.log_failed, true) {
                    eprintln!("storing output: {e}; some of it is lost");
                }
                false
            });
            let kind = if stream == Stream::Stdout { Kind::Data } else { Kind::Err };
            for c in self.conns.values_mut() {
                match c.role {
                    Role::Attach { stdout, stderr, .. } if if stream == Stream::Stdout { stdout } else { stderr } => {
                        c.send(kind, &buf[..n]);
                        c.dead |= c.backlog() > 4 * BACKLOG;
                    }
                    // One waiting wake-up is enough: the reader reads to the end of the log.
                    Role::Follow if stored && c.backlog() == 0 => c.send_json(&Reply::Notice(Notice::LogGrew)),
                    _ => {}
                }
            }
        }
        self.buf = buf;
        n > 0
    }

    fn init_ended(&mut self, code: i32) {
        for s in [Stream::Stdout, Stream::Stderr] {
            while self.init_output(s) {}
        }
        let at = durable::now_nanos();
        let _ = self.log.flush(at);
        let oom = code == 137 && cgroup::oom_killed(&self.plan.cgroup);
        let exit = ExitState { code, oom, at, error: None };
        if let Err(e) = durable::write(&self.dir.join(Paths::EXIT), &exit) {
            eprintln!("recording the exit: {e}");
        }
        cgroup::remove(&self.plan.cgroup);
        let _ = std::fs::remove_dir_all(self.dir.join("oci"));
        let _ = std::fs::remove_file(self.dir.join(Paths::SOCKET));
        for c in self.conns.values_mut() {
            if matches!(c.role, Role::Watch | Role::Attach { .. }) {
                c.send_json(&Reply::Notice(Notice::Exited { code, oom, at }));
            }
            c.finish |= !matches!(c.role, Role::Exec(_));
        }
        (self.init.out, self.init.err, self.init.stdin) = (None, None, None);
        self.ended = Some(Instant::now());
    }

    fn client(&mut self, id: u64) {
        let mut buf = std::mem::take(&mut self.buf);
        let open = self.conns.get_mut(&id).is_some_and(|c| c.fill(&mut buf));
        self.buf = buf;
        while let Some(c) = self.conns.get_mut(&id)
            && !c.dead
            && let Some((kind, payload)) = c.next_frame()
        {
            self.frame(id, kind, payload);
        }
        if !open && let Some(c) = self.conns.get_mut(&id) {
            c.dead = true;
        }
    }

    fn frame(&mut self, id: u64, kind: Kind, payload: Vec<u8>) {
        let Some(role) = self.conns.get(&id).map(|c| c.role) else {
            return;
        };
        let target = match role {
            Role::Attach { stdin: true, .. } => Some(&mut self.init),
            Role::Exec(n) => self.execs.get_mut(&n).map(|e| &mut e.process),
            _ => None,
        };
        match (kind, target) {
            (Kind::Data, Some(p)) => p.feed(&payload),
            // A container's input is shared: only with `stdin_once` does one client's end close it.
            (Kind::Eof, Some(p)) if self.plan.stdin_once || matches!(role, Role::Exec(_)) => p.end_input(),
            (Kind::Json, _) => match serde_json::from_slice::<Request>(&payload) {
                Ok(r) => self.request(id, role, r),
                Err(e) => self.answer(id, Reply::Error(Error::internal(format!("request: {e}")))),
            },
            _ => {}
        }
    }

    fn answer(&mut self, id: u64, reply: Reply) {
        if let Some(c) = self.conns.get_mut(&id) {
            c.send_json(&reply);
            c.finish |= c.role == Role::New;
        }
    }

    fn request(&mut self, id: u64, role: Role, request: Request) {
        let ok = Reply::Ok { pid: self.init.pid };
        match (role, request) {
            (Role::New, Request::Start) => {
                let reply = match self.start() {
                    Ok(()) => ok,
                    Err(e) => Reply::Error(e),
                };
                self.answer(id, reply);
            }
            (Role::New, Request::Status) => {
                let started = self.run.started_at.is_some();
                self.answer(id, Reply::Status { pid: self.init.pid, started });
            }
            (Role::New, Request::Signal { signal }) => {
                let reply = match send_signal(self.init.pid, signal) {
                    Ok(()) => ok,
                    Err(e) => Reply::Error(e),
                };
                self.answer(id, reply);
            }
            (Role::Exec(n), Request::Signal { signal }) => {
                if let Some(pid) = self.execs.get(&n).map(|e| e.process.pid).filter(|p| *p > 0) {
                    let _ = send_signal(pid, signal);
                }
            }
            (Role::New, Request::Resize { height, width }) => {
                self.init.resize(height, width);
                self.answer(id, ok);
            }
            (Role::Exec(n), Request::Resize { height, width }) => {
                if let Some(e) = self.execs.get_mut(&n) {
                    e.spec.size = Some((height, width));
                    e.process.resize(height, width);
                }
            }
            (Role::New, Request::Watch) => self.become_role(id, Role::Watch),
            (Role::New, Request::Follow) => self.become_role(id, Role::Follow),
            (Role::New, Request::Attach { stdin, stdout, stderr }) => {
                self.become_role(id, Role::Attach { stdin, stdout, stderr });
            }
            (Role::New, Request::Exec(spec)) => match self.exec(id, spec) {
                Ok(()) => {
                    if let Some(c) = self.conns.get_mut(&id) {
                        c.role = Role::Exec(id);
                    }
                }
                Err(e) => self.answer(id, Reply::Error(e)),
            },
            _ => self.answer(id, Reply::Error(Error::internal("a request that this connection cannot carry"))),
        }
    }

    // Streams begin with an acknowledgement: whoever has it misses nothing that comes after.
    fn become_role(&mut self, id: u64, role: Role) {
        let pid = self.init.pid;
        if let Some(c) = self.conns.get_mut(&id) {
            c.role = role;
            c.send_json(&Reply::Ok { pid });
        }
    }

    fn start(&mut self) -> Result<()> {
        let Some(report) = self.report.take() else {
            return Err(Error::conflict("the container has been started already"));
        };
        launch::start(&self.plan.id, &self.dir).and_then(launch::wait)?;
        let mut said = Vec::new();
        File::from(report).read_to_end(&mut said).context(|| "waiting for exec".into())?;
        if let Ok(e) = serde_json::from_slice::<Error>(&said) {
            return Err(e);
        }
        let at = durable::now_nanos();
        self.run.started_at = Some(at);
        durable::write(&self.dir.join(Paths::RUN), &self.run)?;
        for c in self.conns.values_mut().filter(|c| c.role == Role::Watch) {
            c.send_json(&Reply::Notice(Notice::Started { at }));
        }
        Ok(())
    }

    fn exec(&mut self, n: u64, exec: ExecSpec) -> Result<()> {
        if self.run.started_at.is_none() || self.ended.is_some() {
            return Err(Error::conflict("the container is not running"));
        }
        let file = self.dir.join(format!("bundle/process-{n}.json"));
        let user = {
            let root = rootfs::Root::open(&self.dir.join("bundle/rootfs"))?;
            rootfs::resolve_user(&root, exec.user.as_deref().unwrap_or(&self.plan.user), &[], self.plan.rootless)?
        };
        let mut env = self.plan.env.clone();
        crate::environment::merge(&mut env, &exec.env);
        let env = spec::env(&env, &user, exec.tty);
        let cwd = exec.cwd.as_deref().unwrap_or(&self.plan.cwd);
        let mut process = spec::process(&self.plan, &user, &exec.args, env, cwd, exec.tty)?;
        if exec.privileged {
            let all = crate::caps::resolve(&[], &[], true)?;
            process["capabilities"] = serde_json::json!({"bounding": all, "effective": all, "permitted": all});
            process["noNewPrivileges"] = false.into();
        }
        std::fs::write(&file, process.to_string()).context(|| "writing the exec's process file".into())?;
        let (ours, theirs, console) = super::streams(&self.dir, exec.tty, exec.stdin, &format!("exec-{n}"))?;
        let (report, report_write) =
            nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).context(|| "making a pipe".into())?;
        // libcontainer has its own way to tell that an exec's program could not be run.
        drop(report);
        let path = console.as_ref().map(|c| c.path.clone());
        let helper = launch::exec(&self.plan.id, &self.dir, file, theirs, path, report_write)?;
        let starting = Some((super::nonblocking(helper.result)?, Vec::new(), helper.pid));
        self.execs.insert(n, Exec { spec: exec, process: ours, starting, console });
        Ok(())
    }

    fn exec_starting(&mut self, n: u64) {
        let Some(e) = self.execs.get_mut(&n) else {
            return;
        };
        let Some((fd, said, _)) = &mut e.starting else {
            return;
        };
        let mut chunk = [0; 4096];
        match nix::unistd::read(&*fd, &mut chunk) {
            Ok(0) => {}
            Ok(k) => {
                said.extend_from_slice(&chunk[..k]);
                if !said.ends_with(b"\n") {
                    return;
                }
            }
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => return,
            Err(_) => {}
        }
        let outcome = launch::outcome(said);
        e.starting = None;
        let _ = std::fs::remove_file(self.dir.join(format!("bundle/process-{n}.json")));
        let started = outcome.and_then(|pid| {
            e.process.pid = pid;
            if let Some(c) = e.console.take() {
                e.process.adopt_terminal(launch::receive_terminal(&c.listener)?)?;
                if let Some((h, w)) = e.spec.size {
                    e.process.resize(h, w);
                }
            }
            Ok(pid)
        });
        let reply = match started {
            Ok(pid) => Reply::Ok { pid },
            Err(error) => {
                self.execs.remove(&n);
                if let Some(c) = self.conns.get_mut(&n) {
                    c.finish = true;
                }
                Reply::Error(error)
            }
        };
        self.answer(n, reply);
    }

    fn exec_output(&mut self, n: u64, stream: Stream) -> bool {
        let mut buf = std::mem::take(&mut self.buf);
        let got = self.execs.get_mut(&n).map_or(0, |e| e.process.read(stream, &mut buf));
        if got > 0
            && let Some(c) = self.conns.get_mut(&n)
        {
            c.send(if stream == Stream::Stdout { Kind::Data } else { Kind::Err }, &buf[..got]);
        }
        self.buf = buf;
        got > 0
    }

    fn exec_ended(&mut self, n: u64, code: i32) {
        for s in [Stream::Stdout, Stream::Stderr] {
            while self.exec_output(n, s) {}
        }
        let Some(e) = self.execs.remove(&n) else {
            return;
        };
        self.reaped.remove(&e.process.pid);
        let notice = Reply::Notice(Notice::ExecDied { id: e.spec.id, code });
        for (id, c) in &mut self.conns {
            if c.role == Role::Watch || *id == n {
                c.send_json(&notice);
                c.finish |= *id == n;
            }
        }
    }
}

fn send_signal(pid: i32, signal: i32) -> Result<()> {
    // By number: the realtime signals have no names in the enum.
    // SAFETY: a plain system call on a child that this process has not reaped, so the number is still its.
    match unsafe { nix::libc::kill(pid, signal) } {
        0 => Ok(()),
        _ => Err(Error::conflict(format!("cannot send signal {signal}: {}", nix::errno::Errno::last()))),
    }
}
