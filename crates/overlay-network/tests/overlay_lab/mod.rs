//! Nodes with overlay networks, for tests: network namespaces at a bridge, with a driver each, and their containers.
#![allow(dead_code, clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use overlay_network::NetNamespace;
use overlay_network::overlay::{OverlayConfig, OverlayDriver, OverlayNetwork, OverlayPort, Peer, Subnet};
use overlay_network::plan::{Cidr, LinkKind, LinkPlan, Mac, Namespace, NetPlan};

use crate::kernel::Container;

pub const NETWORK: &str = "aaaaaaaaaaaaaaaaaaaaaaaaa";
pub const OTHER: &str = "bbbbbbbbbbbbbbbbbbbbbbbbb";

/// Nodes at a bridge in the test's namespace: 10.99.0.N.
pub struct Lab {
    dir: tempfile::TempDir,
}

impl Lab {
    pub async fn new() -> Self {
        let plan = NetPlan {
            links: vec![LinkPlan::new("lo", LinkKind::Existing), LinkPlan::new("lab0", LinkKind::Bridge)],
            sysctls_if_present: vec![("net/bridge/bridge-nf-call-iptables".into(), "0".into())],
            ..NetPlan::default()
        };
        NetNamespace::current().unwrap().apply(&plan).await.unwrap();
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub async fn node(&self, number: u8) -> Node {
        let namespace = self.dir.path().join(format!("node{number}"));
        let inside = NetNamespace::pinned(&namespace).unwrap();
        let kind =
            LinkKind::Veth { peer: "eth0".into(), peer_mac: None, peer_namespace: Namespace::Path(namespace.clone()) };
        let mut cable = LinkPlan::new(format!("port{number}"), kind);
        cable.master = Some("lab0".into());
        let plan = NetPlan { links: vec![cable], ..NetPlan::default() };
        NetNamespace::current().unwrap().apply(&plan).await.unwrap();
        let address = Ipv4Addr::new(10, 99, 0, number);
        let mut eth0 = LinkPlan::new("eth0", LinkKind::Existing);
        eth0.addresses.extend(Cidr::new(address, 24));
        let links = vec![LinkPlan::new("lo", LinkKind::Existing), eth0];
        inside.apply(&NetPlan { links, ..NetPlan::default() }).await.unwrap();
        let netns_dir = self.dir.path().join(format!("netns{number}"));
        let config = OverlayConfig { data_path: address.into(), port: 4789, netns_dir };
        Node { driver: open(&namespace, &config).await, namespace, config }
    }
}

/// A driver belongs to the namespace of the thread that opens it.
async fn open(namespace: &Path, config: &OverlayConfig) -> OverlayDriver {
    let here = std::fs::File::open("/proc/thread-self/ns/net").unwrap();
    let there = std::fs::File::open(namespace).unwrap();
    nix::sched::setns(there, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
    let driver = OverlayDriver::open(config.clone()).await;
    nix::sched::setns(here, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
    driver.unwrap()
}

pub struct Node {
    pub driver: OverlayDriver,
    pub namespace: PathBuf,
    pub config: OverlayConfig,
}

impl Node {
    /// The daemon dies, and another one starts.
    pub async fn restart(&mut self) {
        self.driver = open(&self.namespace, &self.config).await;
    }

    pub async fn run(&mut self, network: &str, place: &Place) -> Container {
        let container = Container::start();
        self.driver.attach(network, &place.port(container.pid())).await.unwrap();
        container
    }

    /// The steps that a network's namespace needs: none when it is as it should be.
    pub async fn missing(&self, network: &str) -> usize {
        let namespace = NetNamespace::at(&self.driver.pin(network)).unwrap();
        let plan = self.driver.plan(network).unwrap();
        overlay_network::plan::diff(&namespace.observe(&plan).await.unwrap(), &plan).len()
    }
}

/// Where a container is on the network: 10.0.1.N and fd00:1::N.
pub struct Place {
    pub number: u8,
    pub node: u8,
}

pub fn place(number: u8, node: u8) -> Place {
    Place { number, node }
}

impl Place {
    pub fn v4(&self) -> IpAddr {
        Ipv4Addr::new(10, 0, 1, self.number).into()
    }

    pub fn v6(&self) -> IpAddr {
        format!("fd00:1::{:x}", self.number).parse().unwrap()
    }

    pub fn port(&self, pid: u32) -> OverlayPort {
        OverlayPort {
            endpoint: format!("{:064x}", self.number).chars().rev().collect(),
            pid,
            interface: "eth0".into(),
            addresses: vec![Cidr { address: self.v4(), prefix: 24 }, Cidr { address: self.v6(), prefix: 64 }],
            mac: Mac::of_ip(self.v4()),
        }
    }

    pub fn peer(&self) -> Peer {
        let vtep = Ipv4Addr::new(10, 99, 0, self.node).into();
        Peer { addresses: vec![self.v4(), self.v6()], mac: Mac::of_ip(self.v4()), vtep }
    }
}

pub fn peers<const N: usize>(places: [&Place; N]) -> BTreeSet<Peer> {
    places.into_iter().map(Place::peer).collect()
}

pub fn network(id: &str, vni: u32, node: u8) -> OverlayNetwork {
    let subnet =
        |subnet: &str, gateway: &str| Subnet { subnet: subnet.parse().unwrap(), gateway: gateway.parse().unwrap() };
    OverlayNetwork {
        id: id.into(),
        vni,
        subnets: vec![subnet("10.0.1.0/24", "10.0.1.1"), subnet("fd00:1::/64", "fd00:1::1")],
        mtu: 1450,
        load_balancer: vec![Cidr { address: Ipv4Addr::new(10, 0, 1, 200 + node).into(), prefix: 24 }],
        ingress: false,
    }
}

/// Two nodes that share a network, with one container each.
pub async fn two_nodes(lab: &Lab) -> ([Node; 2], [Place; 2], [Container; 2]) {
    let (mut one, mut two) = (lab.node(1).await, lab.node(2).await);
    let (here, there) = (place(3, 1), place(4, 2));
    one.driver.ensure(&network(NETWORK, 4097, 1)).await.unwrap();
    two.driver.ensure(&network(NETWORK, 4097, 2)).await.unwrap();
    let containers = [one.run(NETWORK, &here).await, two.run(NETWORK, &there).await];
    one.driver.set_peers(NETWORK, &peers([&there])).await.unwrap();
    two.driver.set_peers(NETWORK, &peers([&here])).await.unwrap();
    ([one, two], [here, there], containers)
}
