//! A node with bridges and containers, and a machine next to it.

use std::net::{IpAddr, SocketAddr};

use overlay_network::rules::{BridgeRules, NodeRules, Protocol, PublishedPort};

use super::namespaces::Net;
use super::overlay::PORT;

/// The node, its containers, and its neighbour.
pub struct Node {
    /// The node itself: has the rules. Serves as `node` at port 7.
    pub net: Net,
    /// Two containers at `docker0`, serving as `docker0-0` and `docker0-1`.
    pub docker0: [Net; 2],
    /// Two at a bridge of a user.
    pub user: [Net; 2],
    /// Two at an internal bridge.
    pub internal: [Net; 2],
    /// Another machine, with routes to everything behind the node; serves as `outside`.
    pub outside: Net,
}

/// Name, and third byte or part of the subnet.
const BRIDGES: [(&str, u16); 3] = [("docker0", 17), ("br-0123456789ab", 19), ("br-ba9876543210", 20)];
/// Where the node itself serves.
pub const NODE_PORT: u16 = 7;

fn of(v4: bool, net: u16, host: u16) -> IpAddr {
    if v4 { format!("172.{net}.0.{host}") } else { format!("fd{net}::{host}") }.parse().unwrap()
}

/// The address of container `n` at `docker0`.
pub fn at_docker0(v4: bool, n: u16) -> IpAddr {
    of(v4, 17, 2 + n)
}

/// The address of container `n` at the user's bridge.
pub fn at_user(v4: bool, n: u16) -> IpAddr {
    of(v4, 19, 2 + n)
}

/// The address of container `n` at the internal bridge.
pub fn at_internal(v4: bool, n: u16) -> IpAddr {
    of(v4, 20, 2 + n)
}

/// The address of `docker0` itself.
pub fn gateway(v4: bool) -> IpAddr {
    of(v4, 17, 1)
}

/// The node's address towards its neighbour.
pub fn node_address(v4: bool) -> IpAddr {
    if v4 { "192.0.2.1" } else { "fd99::1" }.parse().unwrap()
}

/// The neighbour's address.
pub fn outside_address(v4: bool) -> IpAddr {
    if v4 { "192.0.2.2" } else { "fd99::2" }.parse().unwrap()
}

/// An address with the containers' port.
pub fn served(address: IpAddr) -> SocketAddr {
    (address, PORT).into()
}

impl Node {
    /// As described at the type; without any rules.
    pub fn new() -> Self {
        let fresh = || {
            let net = Net::new();
            net.setting("net/ipv6/conf/default/accept_dad", "0");
            net
        };
        let (net, outside) = (fresh(), fresh());
        net.cable("eth0", &outside, "eth0");
        net.serve("node", NODE_PORT);
        outside.serve("outside", PORT);
        for (v4, prefix) in [(true, 24), (false, 64)] {
            net.ip(&format!("address add {}/{prefix} dev eth0", node_address(v4)));
            outside.ip(&format!("address add {}/{prefix} dev eth0", outside_address(v4)));
            let default = if v4 { "0.0.0.0/0" } else { "::/0" };
            outside.ip(&format!("route add {default} via {}", node_address(v4)));
        }
        let [docker0, user, internal] = BRIDGES.map(|(bridge, subnet)| {
            let mut commands = format!("link add {bridge} type bridge forward_delay 0\nlink set {bridge} up\n");
            commands += &format!("address add {}/16 dev {bridge}\n", of(true, subnet, 1));
            commands += &format!("address add {}/64 dev {bridge}\n", of(false, subnet, 1));
            net.ip(&commands);
            [0, 1].map(|n| {
                let container = fresh();
                net.cable(&format!("veth{subnet}-{n}"), &container, "eth0");
                net.ip(&format!("link set veth{subnet}-{n} master {bridge}"));
                let mut commands = format!("address add {}/16 dev eth0\n", of(true, subnet, 2 + n));
                commands += &format!("address add {}/64 dev eth0\n", of(false, subnet, 2 + n));
                commands += &format!("route add 0.0.0.0/0 via {}\n", of(true, subnet, 1));
                commands += &format!("route add ::/0 via {}\n", of(false, subnet, 1));
                container.ip(&commands);
                container.serve(&format!("{bridge}-{n}"), PORT);
                container
            })
        });
        Self { net, docker0, user, internal, outside }
    }
}

/// Rules for the bridges, and these ports.
pub fn rules(published: Vec<PublishedPort>) -> NodeRules {
    let bridge = |(name, subnet): (&str, u16)| BridgeRules {
        name: name.into(),
        subnets: vec![format!("172.{subnet}.0.0/16").parse().unwrap(), format!("fd{subnet}::/64").parse().unwrap()],
        masquerade: true,
        internal: subnet == 20,
    };
    NodeRules { bridges: BRIDGES.map(bridge).into(), published, ingress: None }
}

/// A port of the node for container 0 at `docker0`, by TCP and UDP.
pub fn published(v4: bool, host_ip: Option<IpAddr>, host_port: u16) -> [PublishedPort; 2] {
    [Protocol::Tcp, Protocol::Udp].map(|protocol| PublishedPort {
        protocol,
        host_ip,
        host_port,
        to: served(at_docker0(v4, 0)),
        bridge: "docker0".into(),
    })
}
