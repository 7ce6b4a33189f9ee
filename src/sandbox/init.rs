//! sandbox-init: PID 1 of the lab. Builds the sandbox from within, starts the node inits, kills, freezes and restarts
//! them on request, and ends, and with it everything, when it is told to or when its runner has gone.
//!
//! One thread and one poll loop. It must stay single-threaded: it makes processes by plain clone.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sched::CloneFlags;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use overlay_network::apply::{Delay, DelayLine, LineNames, NETEM_REMEDY, tap_remedy};
use overlay_network::plan::{LinkKind, LinkPlan, Namespace, NetPlan, RoutePlan};
use overlay_network::{Cidr, Mac, NetNamespace};

use super::cgroup::{self, Hierarchy};
use super::fault::{self, Fault, NodeFaults, Protocol};
use super::forwarded::Forwards;
use super::protocol::{Broken, DownNode, Reply, Request};
use super::{NodeSpec, SandboxError, SandboxSpec, guard, io_error, node, protocol, root};

/// The bridge that joins the nodes.
const BRIDGE: &str = "lab0";
/// Its address: the nodes' default route, where packets to nowhere get their "unreachable" at once.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const PREFIX: u8 = 24;
/// Longest time for one node init to report that it is ready. Takes a few milliseconds.
const NODE_TIMEOUT: Duration = Duration::from_secs(30);

/// Never returns: this process is PID 1 and its exit ends the sandbox.
pub fn main(dir: &Path, spec: &SandboxSpec, socket: &OwnedFd, with_cgroups: bool) -> ! {
    let code = match Init::build(dir, spec, with_cgroups) {
        Ok(mut init) => {
            let told = protocol::send(socket.as_fd(), &Reply::Done, &[]);
            if told.is_ok() {
                init.serve(socket);
            }
            0
        }
        Err(error) => {
            let message = error.to_string();
            let _ = protocol::send(socket.as_fd(), &Reply::Failed { message }, &[]);
            1
        }
    };
    // SAFETY: ends this forked process without running destructors of the guard it was copied from.
    unsafe { libc::_exit(code) }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    Paused,
    Dead,
}

struct Node {
    spec: NodeSpec,
    pid: Pid,
    state: State,
    /// The program that holds its packets back, where the kernel cannot.
    delay_line: Option<(Delay, Pid)>,
}

struct Init<'a> {
    spec: &'a SandboxSpec,
    hierarchies: Option<Vec<Hierarchy>>,
    nodes: Vec<Node>,
    faults: Vec<Fault>,
    /// What the forwarder told, and by which connection.
    forwards: Option<(RawFd, Forwards)>,
    runtime: tokio::runtime::Runtime,
    listener: OwnedFd,
    signals: SignalFd,
}

/// A node init that has been started, and the pipes to tell it to go on and to hear that it is ready.
struct Starting {
    pid: Pid,
    go: OwnedFd,
    ready: fs::File,
}

impl<'a> Init<'a> {
    fn build(dir: &Path, spec: &'a SandboxSpec, with_cgroups: bool) -> Result<Self, SandboxError> {
        let hierarchies = with_cgroups.then(cgroup::hierarchies);
        if hierarchies.is_some() {
            nix::sched::unshare(CloneFlags::CLONE_NEWCGROUP).map_err(io_error("create cgroup namespace"))?;
        }
        root::enter_sandbox(dir, spec, hierarchies.as_deref())?;
        if let Some(hierarchies) = &hierarchies {
            root::make_way_in_cgroups(hierarchies)?;
        }
        nix::unistd::sethostname(&spec.name).map_err(io_error("set hostname"))?;
        let mut mask = SigSet::empty();
        for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
            mask.add(signal);
        }
        nix::sys::signal::sigprocmask(SigmaskHow::SIG_SETMASK, Some(&mask), None).map_err(io_error("block signals"))?;
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
            .map_err(io_error("create signal file"))?;
        let listener = protocol::listen_at(&Path::new(root::STATE).join("init.sock"))?;
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(io_error("start event loop"))?;
        let mut init = Self {
            spec,
            hierarchies,
            nodes: Vec::new(),
            faults: Vec::new(),
            forwards: None,
            runtime,
            listener,
            signals,
        };
        init.make_bridge()?;
        init.start_all()?;
        Ok(init)
    }

    fn make_bridge(&self) -> Result<(), SandboxError> {
        let mut bridge = LinkPlan::new(BRIDGE, LinkKind::Bridge);
        bridge.mac = Some(Mac::of_ip(GATEWAY));
        bridge.addresses.extend(Cidr::new(GATEWAY, PREFIX));
        let plan = NetPlan {
            links: vec![LinkPlan::new("lo", LinkKind::Existing), bridge],
            // where the machine has br_netfilter loaded, its firewall rules have no say between our nodes
            sysctls_if_present: vec![("net/bridge/bridge-nf-call-iptables".into(), "0".into())],
            // Only who forwards says "unreachable". By default it would do so once a second; without the bit for that
            // message (3) in this mask, there are five at once before the routes' own limit, which no namespace sets.
            sysctls: vec![("net/ipv4/ip_forward".into(), "1".into()), ("net/ipv4/icmp_ratemask".into(), "6160".into())],
            ..NetPlan::default()
        };
        self.runtime.block_on(async { NetNamespace::current()?.apply(&plan).await }).map(drop).map_err(network_error)
    }

    /// All nodes at the same time: clone all, wire all, then hear from all.
    fn start_all(&mut self) -> Result<(), SandboxError> {
        let mut started = Vec::new();
        for node in &self.spec.nodes {
            started.push(self.clone_node(node)?);
        }
        for (index, starting) in started.iter().enumerate() {
            self.wire(index, starting.pid)?;
            release(starting)?;
        }
        for (node, starting) in self.spec.nodes.iter().zip(started) {
            await_ready(node, &starting)?;
            self.nodes.push(Node { spec: node.clone(), pid: starting.pid, state: State::Running, delay_line: None });
        }
        Ok(())
    }

    fn restart(&mut self, index: usize) -> Result<(), SandboxError> {
        let spec = self.nodes[index].spec.clone();
        self.end_delay_line(index);
        let starting = self.clone_node(&spec)?;
        self.nodes[index].pid = starting.pid;
        self.wire(index, starting.pid)?;
        if let Some(broken) = fault::compile(&self.faults, &self.spec.nodes).remove(&spec.name) {
            self.break_node(index, &broken)?;
        }
        release(&starting)?;
        await_ready(&spec, &starting)?;
        self.nodes[index].state = State::Running;
        Ok(())
    }

    fn clone_node(&self, node: &NodeSpec) -> Result<Starting, SandboxError> {
        let (go_read, go) = guard::pipe()?;
        let (ready, ready_write) = guard::pipe()?;
        let flags =
            libc::CLONE_NEWNS | libc::CLONE_NEWPID | libc::CLONE_NEWNET | libc::CLONE_NEWUTS | libc::CLONE_NEWIPC;
        let pid = guard::clone_process(flags).map_err(io_error(format!("create namespaces of node {}", node.name)))?;
        let Some(pid) = pid else {
            drop(go);
            drop(ready);
            node::main(self.spec, node, self.hierarchies.as_deref(), go_read, ready_write);
        };
        if let Some(hierarchies) = &self.hierarchies {
            let groups = cgroup::node_groups(Path::new(root::CGROUP), hierarchies, &node.name);
            for group in &groups {
                cgroup::make_group(group).map_err(io_error(format!("make cgroup {}", group.display())))?;
            }
            cgroup::enter(&groups, pid.as_raw())?;
        }
        Ok(Starting { pid, go, ready })
    }

    /// The cable from the bridge to the node's eth0.
    fn wire(&self, index: usize, pid: Pid) -> Result<(), SandboxError> {
        let port = line_names(index).port;
        let address = self.spec.nodes[index].address;
        let process = pid.as_raw().cast_unsigned();
        self.runtime
            .block_on(async {
                let here = NetNamespace::current()?;
                // the namespace of a killed node may take a moment to go, and its cable with it
                here.delete_link(&port).await?;
                let mut cable = LinkPlan::new(
                    &port,
                    LinkKind::Veth {
                        peer: "eth0".into(),
                        peer_mac: Some(Mac::of_ip(address)),
                        peer_namespace: Namespace::Pid(process),
                    },
                );
                cable.master = Some(BRIDGE.into());
                let plan = NetPlan { links: vec![cable], ..NetPlan::default() };
                here.apply(&plan).await?;
                let mut eth0 = LinkPlan::new("eth0", LinkKind::Existing);
                eth0.addresses.extend(Cidr::new(address, PREFIX));
                let plan = NetPlan {
                    links: vec![LinkPlan::new("lo", LinkKind::Existing), eth0],
                    routes: vec![RoutePlan {
                        destination: Cidr::ALL_IPV4,
                        via: Some(GATEWAY.into()),
                        dev: "eth0".into(),
                    }],
                    sysctls: vec![("net/ipv4/ip_forward".into(), "1".into())],
                    ..NetPlan::default()
                };
                NetNamespace::of_pid(process)?.apply(&plan).await
            })
            .map(drop)
            .map_err(network_error)
    }

    /// Until told to end.
    fn serve(&mut self, runner: &OwnedFd) {
        let mut tied = true;
        let mut clients: Vec<OwnedFd> = Vec::new();
        loop {
            let mut fds = vec![
                PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.listener.as_fd(), PollFlags::POLLIN),
            ];
            for client in &clients {
                fds.push(PollFd::new(client.as_fd(), PollFlags::POLLIN));
            }
            if tied {
                fds.push(PollFd::new(runner.as_fd(), PollFlags::POLLIN));
            }
            match nix::poll::poll(&mut fds, PollTimeout::NONE) {
                Ok(_) => {}
                Err(Errno::EINTR) => continue,
                Err(_) => return,
            }
            let ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(false)).collect();
            if ready[0] && self.on_signals() {
                return;
            }
            if tied && ready[ready.len() - 1] {
                // all that the runner says after the spec; else it has closed, or died
                let Ok(Some((Request::Detach, _))) = protocol::recv(runner.as_fd()) else { return };
                // before it is told, so that it is not believed to hold us when it is not
                tied = false;
                let _ = protocol::send(runner.as_fd(), &Reply::Done, &[]);
            }
            let mut index = 2;
            let mut end = false;
            clients.retain(|client| {
                let readable = ready[index];
                index += 1;
                if !readable {
                    return true;
                }
                match protocol::recv::<Request>(client.as_fd()) {
                    Ok(Some((request, _))) => {
                        end |= matches!(request, Request::Shutdown);
                        self.serve_client(client, &request).is_ok()
                    }
                    Ok(None) | Err(_) => {
                        self.forwards.take_if(|(by, _)| *by == client.as_raw_fd());
                        false
                    }
                }
            });
            if end {
                return;
            }
            if ready[1]
                && let Ok(client) = protocol::accept(self.listener.as_fd())
            {
                clients.push(client);
            }
        }
    }

    /// Answers one request; the error says that the client is gone.
    fn serve_client(&mut self, client: &OwnedFd, request: &Request) -> Result<(), SandboxError> {
        let (reply, file) = match request {
            Request::Socket { protocol } => match open_socket(*protocol) {
                Ok(file) => (Reply::Done, Some(file)),
                Err(error) => (Reply::Failed { message: error.to_string() }, None),
            },
            Request::SetForwards { forwards } => {
                self.forwards = Some((client.as_raw_fd(), forwards.clone()));
                (Reply::Done, None)
            }
            request => {
                let reply = self.answer(request).unwrap_or_else(|error| match error {
                    SandboxError::Refused(message) => Reply::Refused { message },
                    error => Reply::Failed { message: error.to_string() },
                });
                (reply, None)
            }
        };
        let files: Vec<_> = file.iter().map(AsFd::as_fd).collect();
        protocol::send(client.as_fd(), &reply, &files)
    }

    /// Whether one of them asks us to end.
    fn on_signals(&mut self) -> bool {
        let mut end = false;
        while let Ok(Some(info)) = self.signals.read_signal() {
            let child = u32::try_from(libc::SIGCHLD).unwrap_or_default();
            end |= info.ssi_signo != child;
        }
        while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            let pid = match status {
                WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, _, _) => pid,
                WaitStatus::StillAlive => break,
                _ => continue,
            };
            self.reaped(pid);
        }
        end
    }

    fn reaped(&mut self, pid: Pid) {
        if let Some(node) = self.nodes.iter_mut().find(|node| node.pid == pid) {
            node.state = State::Dead;
        }
        let held_back = |node: &Node| node.delay_line.is_some_and(|(_, line)| line == pid);
        if let Some(index) = self.nodes.iter().position(held_back) {
            // somebody killed it, or memory ran out: the node is not cut off for that
            let node = &mut self.nodes[index];
            node.delay_line = None;
            let name = &node.spec.name;
            self.faults.retain(|fault| !matches!(fault, Fault::Delay { node, .. } if node == name));
            let _ = self.plug_directly(index);
        }
    }

    fn answer(&mut self, request: &Request) -> Result<Reply, SandboxError> {
        match request {
            Request::KillNode { node } => {
                let index = self.index(node)?;
                self.kill_node(index)?;
                Ok(Reply::Done)
            }
            Request::PauseNode { node } => {
                let index = self.index(node)?;
                match self.nodes[index].state {
                    State::Dead => Err(SandboxError::Remote(format!("node {node} is down"))),
                    State::Paused => Ok(Reply::Done),
                    State::Running => {
                        signal_tree(self.nodes[index].pid, Signal::SIGSTOP);
                        self.nodes[index].state = State::Paused;
                        Ok(Reply::Done)
                    }
                }
            }
            Request::StartNode { node } => {
                let index = self.index(node)?;
                match self.nodes[index].state {
                    State::Running => Ok(Reply::Started { fresh: false }),
                    State::Paused => {
                        signal_tree(self.nodes[index].pid, Signal::SIGCONT);
                        self.nodes[index].state = State::Running;
                        Ok(Reply::Started { fresh: false })
                    }
                    State::Dead => {
                        self.restart(index)?;
                        Ok(Reply::Started { fresh: true })
                    }
                }
            }
            Request::Fault { fault } => {
                for name in fault.nodes() {
                    self.index(name)?;
                }
                if let Some(node) = fault.at().filter(|node| self.state(node) == Some(State::Dead)) {
                    let why = format!("{node} is switched off: `swarmlab fault start {node}` first");
                    return Err(SandboxError::Refused(why));
                }
                let wanted = fault::add(&self.faults, fault.clone()).map_err(SandboxError::Refused)?;
                self.set_faults(wanted)
            }
            Request::Heal { node } => {
                if let Some(node) = node {
                    self.index(node)?;
                }
                self.set_faults(fault::heal(&self.faults, node.as_deref()))
            }
            Request::Faults => {
                let down = |node: &Node| DownNode { name: node.spec.name.clone(), paused: node.state == State::Paused };
                Ok(Reply::Faults(Broken {
                    faults: self.faults.clone(),
                    nodes: self.nodes.iter().filter(|node| node.state != State::Running).map(down).collect(),
                }))
            }
            Request::Forwards => Ok(Reply::Forwards(self.forwards.as_ref().map(|(_, forwards)| forwards.clone()))),
            Request::Shutdown => Ok(Reply::Done),
            Request::Detach => Err(SandboxError::Remote("only who boots a sandbox can let go of it".into())),
            Request::Spawn { .. } | Request::Signal { .. } | Request::Socket { .. } | Request::SetForwards { .. } => {
                Err(SandboxError::Remote("programs are run by the nodes, not by sandbox-init".into()))
            }
        }
    }

    fn state(&self, name: &str) -> Option<State> {
        self.nodes.iter().find(|node| node.spec.name == name).map(|node| node.state)
    }

    /// Makes the faults these in every node that runs. Where one node refuses, those before it are mended again.
    fn set_faults(&mut self, wanted: Vec<Fault>) -> Result<Reply, SandboxError> {
        let before = fault::compile(&self.faults, &self.spec.nodes);
        let after = fault::compile(&wanted, &self.spec.nodes);
        let names: Vec<String> = self.nodes.iter().map(|node| node.spec.name.clone()).collect();
        let of = |all: &BTreeMap<String, NodeFaults>, index: usize| all.get(&names[index]).cloned().unwrap_or_default();
        let running = (0..self.nodes.len()).filter(|index| self.nodes[*index].state != State::Dead);
        let changed: Vec<usize> = running.filter(|index| of(&before, *index) != of(&after, *index)).collect();
        for (done, index) in changed.iter().enumerate() {
            if let Err(error) = self.break_node(*index, &of(&after, *index)) {
                for index in &changed[..=done] {
                    // what could be done before can be done again; if not, the first error says more
                    let _ = self.break_node(*index, &of(&before, *index));
                }
                return Err(error);
            }
        }
        self.faults = wanted;
        Ok(Reply::Done)
    }

    /// Makes the faults of one node these, by its own network namespace.
    fn break_node(&mut self, index: usize, faults: &NodeFaults) -> Result<(), SandboxError> {
        let pid = self.nodes[index].pid.as_raw().cast_unsigned();
        let name = self.nodes[index].spec.name.clone();
        let refused = |error: overlay_network::NetError| SandboxError::Refused(format!("{name}: {error}"));
        // first what may be refused
        let delayed = async { NetNamespace::of_pid(pid)?.set_delay("eth0", faults.delay).await };
        let by_kernel = self.runtime.block_on(delayed).map_err(refused)?;
        self.hold_back(index, if by_kernel { None } else { faults.delay })?;
        let filtered = async { NetNamespace::of_pid(pid)?.apply_faults(&faults.rules).await };
        self.runtime.block_on(filtered).map(drop).map_err(refused)
    }

    /// Has a program hold back what the node sends, or none any more.
    fn hold_back(&mut self, index: usize, wanted: Option<Delay>) -> Result<(), SandboxError> {
        if self.nodes[index].delay_line.map(|(delay, _)| delay) == wanted {
            return Ok(());
        }
        if self.nodes[index].delay_line.is_some() {
            self.plug_directly(index)?;
            self.end_delay_line(index);
        }
        let Some(delay) = wanted else { return Ok(()) };
        let names = line_names(index);
        let inserted = self.runtime.block_on(async { NetNamespace::current()?.insert_delay_line(&names).await });
        let line = inserted.map_err(|error| {
            let name = &self.nodes[index].spec.name;
            let tap = tap_remedy(&error.to_string());
            SandboxError::Refused(format!(
                "{name}: {error}; this kernel has no queueing discipline netem either, which delays packets. Remedy, \
                 one of both: {tap}; or {NETEM_REMEDY}"
            ))
        })?;
        let program = match guard::clone_process(0) {
            Ok(Some(pid)) => pid,
            Ok(None) => delay_line(line, delay),
            Err(errno) => {
                let _ = self.plug_directly(index);
                return Err(io_error("start a program that holds packets back")(errno));
            }
        };
        self.nodes[index].delay_line = Some((delay, program));
        Ok(())
    }

    /// The node's cable leads to the bridge again.
    fn plug_directly(&self, index: usize) -> Result<(), SandboxError> {
        let names = line_names(index);
        self.runtime.block_on(async { NetNamespace::current()?.remove_delay_line(&names).await }).map_err(network_error)
    }

    fn end_delay_line(&mut self, index: usize) {
        if let Some((_, program)) = self.nodes[index].delay_line.take() {
            let _ = kill(program, Signal::SIGKILL);
            while waitpid(program, None) == Err(Errno::EINTR) {}
        }
    }

    fn kill_node(&mut self, index: usize) -> Result<(), SandboxError> {
        let node = &mut self.nodes[index];
        if node.state == State::Dead {
            return Ok(());
        }
        let _ = kill(node.pid, Signal::SIGKILL);
        // returns when every process of its namespace is gone
        while waitpid(node.pid, None) == Err(Errno::EINTR) {}
        node.state = State::Dead;
        let name = node.spec.name.clone();
        self.end_delay_line(index);
        if let Some(hierarchies) = &self.hierarchies {
            for group in cgroup::node_groups(Path::new(root::CGROUP), hierarchies, &name) {
                cgroup::remove_group(&group).map_err(io_error(format!("remove cgroup {}", group.display())))?;
            }
        }
        let names = line_names(index);
        let remove = async {
            let here = NetNamespace::current()?;
            here.delete_link(&names.between).await?;
            here.delete_link(&names.port).await
        };
        self.runtime.block_on(remove).map_err(network_error)
    }

    fn index(&self, name: &str) -> Result<usize, SandboxError> {
        self.nodes
            .iter()
            .position(|node| node.spec.name == name)
            .ok_or_else(|| SandboxError::Remote(format!("no node named {name:?}")))
    }
}

/// The node's port of the bridge, and what comes between while its packets are held back.
fn line_names(index: usize) -> LineNames {
    let named = |kind: &str| format!("{kind}{}", index + 1);
    let (port, between, near, far) = (named("port"), named("slow"), named("near"), named("far"));
    LineNames { port, bridge: BRIDGE.into(), between, near, far }
}

/// The program that holds packets back: a process of its own, which sandbox-init ends.
fn delay_line(line: DelayLine, delay: Delay) -> ! {
    let _ = nix::sys::prctl::set_name(c"delay-line");
    // sandbox-init's connections would otherwise stay open as long as this
    let ends = line.ends().map(|end| end.as_raw_fd());
    node::close_all_but(&ends);
    let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |now| now.as_micros());
    line.run(delay, u64::try_from(seed).unwrap_or_default());
    // SAFETY: ends this forked process without running destructors of what it was copied from.
    unsafe { libc::_exit(1) }
}

/// A socket of the lab's network: whoever holds it speaks there, from the bridge's address.
fn open_socket(protocol: Protocol) -> Result<OwnedFd, SandboxError> {
    let kind = match protocol {
        Protocol::Tcp => SockType::Stream,
        Protocol::Udp => SockType::Datagram,
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    socket(AddressFamily::Inet, kind, flags, None).map_err(io_error("open a socket in the lab's network"))
}

fn release(starting: &Starting) -> Result<(), SandboxError> {
    nix::unistd::write(&starting.go, b"g").map(drop).map_err(io_error("wake node init"))
}

/// A node init sends nothing but one byte when it is ready, or its reason for failing.
fn await_ready(node: &NodeSpec, starting: &Starting) -> Result<(), SandboxError> {
    let failed = |why: String| SandboxError::Remote(format!("node {}: {why}", node.name));
    if !protocol::wait_readable(starting.ready.as_fd(), Instant::now() + NODE_TIMEOUT) {
        return Err(failed("its init does not become ready".into()));
    }
    let mut said = String::new();
    let mut first = [0u8; 1];
    match (&starting.ready).read(&mut first) {
        Ok(1) if first[0] == node::READY => Ok(()),
        Ok(1) => {
            said.push(char::from(first[0]));
            let _ = (&starting.ready).read_to_string(&mut said);
            Err(failed(said))
        }
        _ => Err(failed("its init ended while starting".into())),
    }
}

/// Signals a process and all that descend from it. Stopping goes from the top down, in rounds, until a round finds
/// nobody new: a process that is stopped makes no more children.
fn signal_tree(top: Pid, signal: Signal) {
    let mut done: Vec<i32> = Vec::new();
    loop {
        let parents = parents();
        let fresh: Vec<i32> = parents
            .iter()
            .map(|(pid, _)| *pid)
            .filter(|pid| !done.contains(pid) && descends(*pid, top.as_raw(), &parents))
            .collect();
        if fresh.is_empty() {
            return;
        }
        for pid in &fresh {
            let _ = kill(Pid::from_raw(*pid), signal);
        }
        if signal == Signal::SIGSTOP {
            fresh.iter().for_each(|pid| await_stopped(*pid));
        }
        done.extend(fresh);
    }
}

/// A signal is only delivered when its process next runs, and nothing tells of a stopped process that is not a child of
/// ours: hence the looking. Bounded, because a process in the middle of disk access stops when that is over.
fn await_stopped(pid: i32) {
    for _ in 0..500 {
        match field(pid, "State:") {
            Some(state) if !state.starts_with(['T', 't', 'Z', 'X']) => std::thread::sleep(Duration::from_millis(1)),
            _ => return,
        }
    }
}

/// A line of /proc/PID/status, by its name.
fn field(pid: i32, name: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned())
}

fn descends(pid: i32, top: i32, parents: &[(i32, i32)]) -> bool {
    let mut at = pid;
    // no chain is longer than the number of processes
    for _ in 0..=parents.len() {
        if at == top {
            return true;
        }
        match parents.iter().find(|(pid, _)| *pid == at) {
            Some((_, parent)) => at = *parent,
            None => return false,
        }
    }
    false
}

/// (process, its parent) of everything in the sandbox.
fn parents() -> Vec<(i32, i32)> {
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let parent = field(pid, "PPid:")?.parse().ok()?;
            Some((pid, parent))
        })
        .collect()
}

fn network_error(error: overlay_network::NetError) -> SandboxError {
    SandboxError::Remote(format!("lab network: {error}"))
}
