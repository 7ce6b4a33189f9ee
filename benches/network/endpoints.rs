//! How soon 1,000 endpoints are known everywhere: not to the daemons only, but in the kernels' tables.
//!
//! The containers themselves are left out: starting 1,000 would measure something else. Beside each of the five nodes, in
//! its namespace and at its address but on a port of its own, a further member of the gossip is started with the swarm's
//! keys. At one moment each of the five publishes 200 tasks' records, of ten services with 100 tasks each. From there
//! on everything is the real thing: sealed packets, the five daemons, their plans, and what they write into their
//! kernels. A node's own 200 count as its own containers, which need no entries; so each of the five has to write 800
//! neighbours, 800 forwarding entries of the bridge and 800 of the VXLAN, and the rules of ten services with 100
//! backends each.
//!
//! The moment of the last change in a node's kernel is taken from the kernel's own notices; that nothing is missing then
//! is read from its tables.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, setsockopt, socket, sockopt,
};
use overlay_network::NetNamespace;
use overlay_network::look::View;
use swarm_gossip::Event;
use swarm_node::gossip_io::GossipHandle;
use swarm_node::networking::NetworkFacts;
use swarm_node::storage::CheckedFile;
use swarm_types::{EndpointKind, EndpointRecord, NetworkId, NetworkPeer, NodeId, ServiceBinding, ServiceId};
use tokio::sync::{mpsc, watch};

use super::containers::{Node, network_id};
use super::traffic::Place;
use crate::common::report::{Figure, Goal};
use crate::common::{Cluster, NODES, Outcome, daemon_memory, daemon_work};

const NETWORK: &str = "many";
const SERVICES: u16 = 10;
/// Tasks of each service.
const TASKS: u16 = 100;
/// Records of each of the five.
const EACH: u16 = SERVICES * TASKS / 5;
/// Where the further members gossip; the nodes have 7946.
const PORT: u16 = 7950;
const ENOUGH: Duration = Duration::from_secs(60);
/// Notices of changes of neighbours and forwarding entries: `RTMGRP_NEIGH`.
const NEIGHBOURS: u32 = 1 << 2;
/// Of the packet filter: `NFNLGRP_NFTABLES`.
const RULES: u32 = 1 << 6;

/// Seconds until the last node has it all, and what an endpoint costs a node.
pub async fn measure(cluster: &Cluster) -> Outcome<Vec<Figure>> {
    cluster.docker(&["network", "create", "-d", "overlay", "--subnet", "10.60.0.0/16", NETWORK])?;
    let service = ["service", "create", "-d", "--name", "everywhere", "--network", NETWORK, "--mode", "global"];
    cluster.docker(&[&service[..], &["swarmlab/tools:1.0", "sleep", "infinity"]].concat())?;
    cluster.until_running("everywhere", NODES.len())?;
    let network = network_id(cluster, NETWORK)?;
    let nodes: Vec<Node> = NODES.iter().map(|name| Node::find(cluster, name)).collect::<Outcome<_>>()?;
    let namespaces: Vec<NetNamespace> =
        nodes.iter().map(|node| Ok(NetNamespace::at(&node.overlay(&network))?)).collect::<Outcome<_>>()?;

    let (go, started) = watch::channel(false);
    let (ready, mut readies) = mpsc::unbounded_channel();
    let mut members = Vec::new();
    for (number, node) in (0..).zip(&nodes) {
        let member = Member::beside(node, number, network.parse()?)?;
        let (started, ready) = (started.clone(), ready.clone());
        members.push(std::thread::spawn(move || member.run(&ready, started)));
    }
    for _ in &members {
        let member = tokio::time::timeout(ENOUGH, readies.recv()).await;
        member.map_err(|_| "the gossip's members do not find each other")?.ok_or("no members")??;
    }
    let before = (daemon_memory(&cluster.name), kernel_memory());
    let worked = daemon_work(&cluster.name);
    let watches: Vec<Watch> =
        nodes.iter().map(|node| Watch::start(&Place::at(&node.overlay(&network))?)).collect::<Outcome<_>>()?;
    let began = Instant::now();
    go.send(true)?;
    let mut last = Duration::ZERO;
    for (namespace, watch) in namespaces.iter().zip(&watches) {
        // a look may fail on a table that is replaced just then
        while let Some(missing) =
            namespace.look().await.map_or_else(|error| Some(error.to_string()), |view| missing(&view))
        {
            if began.elapsed() > ENOUGH {
                return Err(format!("after {ENOUGH:?} a node has not all: {missing}").into());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        last = last.max(watch.last().duration_since(began));
    }
    let work = worked.iter().zip(daemon_work(&cluster.name)).map(|(before, after)| after - before).collect();
    let after = (daemon_memory(&cluster.name), kernel_memory());
    go.send(false)?;
    for member in members {
        member.join().map_err(|_| "a thread panicked")?;
    }
    let count = f64::from(SERVICES * TASKS);
    let each = before.0.iter().zip(&after.0).map(|(before, after)| (after - before) * 1024.0 / count).collect();
    let kernel = (after.1 - before.1) / (count * nodes.len() as f64);
    Ok(vec![
        Figure::new("1,000 endpoints in five kernels", "s", vec![last.as_secs_f64()]).goal(Goal::Most(2.0)),
        Figure::new("1,000 endpoints: processor time of a node", "s", work),
        Figure::new("memory of an endpoint: a node's daemon", "KiB", each),
        Figure::new("memory of an endpoint: a node's kernel", "KiB", vec![kernel]),
    ])
}

/// Kernel memory of the whole machine in KiB: what others do at the same time is in it.
pub fn kernel_memory() -> f64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let of = |field: &str| -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(field));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
    };
    of("Slab:") + of("Percpu:")
}

/// What a node still lacks.
fn missing(view: &View) -> Option<String> {
    let remote = usize::from(EACH) * (NODES.len() - 1);
    let ours = |ip: IpAddr| matches!(ip, IpAddr::V4(ip) if (100..105).contains(&ip.octets()[2]));
    let neighbours = view.neighbors.iter().filter(|entry| entry.state == "permanent" && ours(entry.ip)).count();
    let ends = view.forwarding.iter().filter(|entry| entry.remote.is_some()).count();
    let whole = format!("mod {TASKS} ");
    let rules = view.tables.iter().flat_map(|table| &table.chains).flat_map(|chain| &chain.rules);
    let services = rules.filter(|rule| rule.contains(&whole)).count();
    let lacks = neighbours < remote || ends < remote || services < usize::from(SERVICES);
    lacks.then(|| format!("{neighbours} of {remote} neighbours, {ends} remote ends, {services} of {SERVICES} services"))
}

/// A member of the gossip beside a node.
struct Member {
    number: u16,
    place: Place,
    facts: NetworkFacts,
    network: NetworkId,
}

impl Member {
    fn beside(node: &Node, number: u16, network: NetworkId) -> Outcome<Self> {
        let file = CheckedFile::new(node.path("/var/lib/swarmlab/swarm-networks"));
        let bytes = file.read()?.0.ok_or("a node that knows no networks")?;
        Ok(Self { number, place: node.place()?, facts: rmp_serde::from_slice(&bytes)?, network })
    }

    fn record(&self, at: u16) -> EndpointRecord {
        let (overall, service) = (self.number * EACH + at, at % SERVICES);
        let host = |third: u16, last: u16| IpAddr::from([10, 60, third as u8, last as u8]);
        EndpointRecord {
            network: self.network,
            id: format!("{overall:064x}"),
            kind: EndpointKind::Task,
            name: format!("many{service}.{at}.{overall:025}"),
            addresses: vec![host(100 + self.number, at + 1)],
            aliases: Vec::new(),
            service: Some(ServiceBinding {
                id: ServiceId::from_bits(u128::from(service) + 1),
                name: format!("many{service}"),
                virtual_ips: vec![host(200, service + 1)],
                aliases: Vec::new(),
                ports: Vec::new(),
            }),
            serving: true,
        }
    }

    /// Publishes when it is told to, and leaves when it is told so.
    fn run(self, ready: &mpsc::UnboundedSender<Outcome<()>>, started: watch::Receiver<bool>) {
        let inside = setns(self.place.file(), CloneFlags::CLONE_NEWNET).map_err(Into::into);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Into::into);
        let run = |runtime: tokio::runtime::Runtime| runtime.block_on(self.gossip(ready, started));
        if let Err(error) = inside.and(runtime).and_then(run) {
            // nobody waits any more: the measurement has failed for another reason
            let _ = ready.send(Err(error));
        }
    }

    async fn gossip(
        &self,
        ready: &mpsc::UnboundedSender<Outcome<()>>,
        mut started: watch::Receiver<bool>,
    ) -> Outcome<()> {
        let me = NetworkPeer {
            id: NodeId::from_bits(u128::from(self.number) + 1),
            name: format!("member{}", self.number),
            addr: SocketAddr::new(self.facts.address, PORT),
            data_path: self.facts.data_path,
        };
        let everywhere = IpAddr::from([0, 0, 0, 0]);
        let (gossip, mut events) = GossipHandle::start(me, everywhere, PORT, self.facts.keys.clone()).await?;
        gossip.seeds(vec![SocketAddr::new(self.facts.address, 7946)]);
        let mut known = 1;
        while known < 2 * NODES.len() {
            match events.recv().await.ok_or("gossip has ended")? {
                Event::Up(_) => known += 1,
                Event::Down(_) => known -= 1,
                _ => {}
            }
        }
        ready.send(Ok(()))?;
        started.wait_for(|go| *go).await?;
        for at in 0..EACH {
            gossip.publish(self.record(at));
        }
        // when the sender is gone, too
        let _ = started.wait_for(|go| !go).await;
        gossip.leave().await;
        Ok(())
    }
}

/// Notes when a namespace's tables were last changed.
struct Watch {
    last: Arc<Mutex<Instant>>,
    ended: Arc<AtomicBool>,
}

impl Watch {
    fn start(place: &Place) -> Outcome<Self> {
        let (last, ended) = (Arc::new(Mutex::new(Instant::now())), Arc::new(AtomicBool::new(false)));
        let open = |protocol, groups| -> nix::Result<_> {
            let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol)?;
            // a burst that is too large for it is a notice as well
            let _ = setsockopt(&socket, sockopt::RcvBufForce, &(1 << 20));
            bind(std::os::fd::AsRawFd::as_raw_fd(&socket), &NetlinkAddr::new(0, groups))?;
            Ok(socket)
        };
        let (routes, filter) = (SockProtocol::NetlinkRoute, SockProtocol::NetlinkNetFilter);
        let sockets = place.run(|| Ok::<_, nix::Error>([open(routes, NEIGHBOURS)?, open(filter, RULES)?]))??;
        let watch = Self { last: Arc::clone(&last), ended: Arc::clone(&ended) };
        std::thread::spawn(move || {
            use std::os::fd::{AsFd, AsRawFd};
            let mut buffer = vec![0; 1 << 16];
            while !ended.load(Ordering::Relaxed) {
                let mut waiting = sockets.each_ref().map(|one| PollFd::new(one.as_fd(), PollFlags::POLLIN));
                if poll(&mut waiting, PollTimeout::from(100u8)).is_ok_and(|ready| ready > 0) {
                    *last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
                    for socket in &sockets {
                        while recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT).is_ok() {}
                    }
                }
            }
        });
        Ok(watch)
    }

    fn last(&self) -> Instant {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}
