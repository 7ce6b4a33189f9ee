//! An overlay network's namespace with containers around it, as on one node.

use std::net::{IpAddr, SocketAddr};

use overlay_network::rules::{OverlayRules, VirtualService};

use super::namespaces::Net;

/// Where the servers of the containers listen.
pub const PORT: u16 = 80;

/// The namespace of the network, and containers at its bridge.
pub struct Overlay {
    /// Has the rules.
    pub balancer: Net,
    /// Container `n` has the addresses that [`address`] says, and serves by the name of its number.
    pub containers: Vec<Net>,
}

/// IPv4 or IPv6: what is true of the one has to be true of the other.
pub const FAMILIES: [bool; 2] = [true, false];

fn of(v4: bool, host: u16) -> IpAddr {
    if v4 { format!("10.0.1.{host}") } else { format!("fd00:1::{host}") }.parse().unwrap()
}

/// The address of a container.
pub fn address(v4: bool, container: usize) -> IpAddr {
    of(v4, 10 + container as u16)
}

/// The node's load balancer address.
pub fn balancer(v4: bool) -> IpAddr {
    of(v4, 254)
}

/// The virtual address of service `n`, 0 to 3.
pub fn virtual_ip(v4: bool, service: u16) -> IpAddr {
    of(v4, 2 + service)
}

/// The same with the servers' port.
pub fn target(v4: bool, service: u16) -> SocketAddr {
    SocketAddr::new(virtual_ip(v4, service), PORT)
}

impl Overlay {
    /// With so many containers.
    pub fn new(containers: usize) -> Self {
        let net = Net::new();
        for (key, value) in [
            ("net/ipv4/ip_forward", "1"),
            ("net/ipv4/conf/all/send_redirects", "0"),
            ("net/ipv4/conf/default/send_redirects", "0"),
            ("net/ipv6/conf/all/forwarding", "1"),
            ("net/ipv6/conf/default/accept_dad", "0"),
        ] {
            net.setting(key, value);
        }
        for key in ["net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables"] {
            if std::path::Path::new("/proc/sys").join(key).exists() {
                net.setting(key, "0");
            }
        }
        net.ip("link add br0 type bridge forward_delay 0\nlink set br0 up");
        for (v4, prefix, whole) in [(true, 24, 32), (false, 64, 128)] {
            let mut commands = format!("address add {}/{prefix} dev br0\n", of(v4, 1));
            commands += &format!("address add {}/{prefix} dev br0\n", balancer(v4));
            for service in 0..4 {
                commands += &format!("address add {}/{whole} dev br0\n", virtual_ip(v4, service));
            }
            net.ip(&commands);
        }
        let containers = (0..containers)
            .map(|number| {
                let container = Net::new();
                container.setting("net/ipv6/conf/default/accept_dad", "0");
                net.cable(&format!("veth{number}"), &container, "eth0");
                net.ip(&format!("link set veth{number} master br0"));
                container.ip(&format!("address add {}/24 dev eth0", address(true, number)));
                container.ip(&format!("address add {}/64 dev eth0", address(false, number)));
                container.serve(&number.to_string(), PORT);
                container
            })
            .collect();
        Self { balancer: net, containers }
    }
}

/// Service `n` with these containers behind it, by both families.
pub fn service(number: u16, backends: &[usize]) -> VirtualService {
    VirtualService {
        name: format!("service{number}"),
        virtual_ips: FAMILIES.map(|v4| virtual_ip(v4, number)).into(),
        backends: FAMILIES.into_iter().flat_map(|v4| backends.iter().map(move |n| address(v4, *n))).collect(),
        ports: Vec::new(),
    }
}

/// Rules for these services.
pub fn rules(services: Vec<VirtualService>) -> OverlayRules {
    OverlayRules {
        subnets: vec!["10.0.1.0/24".parse().unwrap(), "fd00:1::/64".parse().unwrap()],
        load_balancer: FAMILIES.map(balancer).into(),
        services,
        ingress_interface: None,
    }
}
