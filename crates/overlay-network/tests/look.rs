//! What is read back from a real kernel is what was put there.
#![allow(clippy::unwrap_used)]

mod kernel;
mod overlay_lab;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use kernel::in_namespaces;
use overlay_lab::{Lab, NETWORK, two_nodes};
use overlay_network::NetNamespace;
use overlay_network::look::View;
use overlay_network::plan::{Cidr, Mac};
use overlay_network::rules::{
    BridgeRules, Direction, FaultRule, IngressRules, NodeRules, OverlayRules, Protocol, PublishedPort, ServicePort,
    VirtualService, fault_table, node_table, overlay_table,
};

fn ip(last: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 1, last).into()
}

/// The lines of a table that was read, one for each set, member, chain and rule.
fn read(view: &View, name: &str) -> Vec<String> {
    let table = view.tables.iter().find(|table| table.name == name).unwrap();
    let mut lines = vec![format!("table {} {} {{", table.family, table.name)];
    for set in &table.sets {
        lines.push(format!("{} {} {{", if set.map { "map" } else { "set" }, set.name));
        lines.push(format!("type {}", set.holds));
        lines.extend(set.elements.iter().cloned());
    }
    for chain in &table.chains {
        lines.push(format!("chain {} {{", chain.name));
        lines.extend(chain.base.iter().chain(&chain.rules).cloned());
    }
    lines
}

/// The same of one that was written, by its text.
fn written(text: &str) -> Vec<String> {
    let lines = text.lines().map(str::trim).filter(|line| !matches!(*line, "" | "}"));
    let member =
        |line: &str| line.trim_start_matches("elements = { ").trim_end_matches(" }").trim_end_matches(',').to_owned();
    lines
        .map(|line| match line.contains(" map { ") || line.contains("l4proto { ") {
            true => line.to_owned(),
            false => member(line),
        })
        // what is the default, or implied by a field of it, nft leaves out
        .map(|line| line.replace("reject with icmpx port-unreachable", "reject"))
        .map(|line| line.replace("meta nfproto ipv4 dnat ip to ip daddr", "dnat ip to ip daddr"))
        .collect()
}

fn overlay() -> OverlayRules {
    let ports = vec![ServicePort { protocol: Protocol::Tcp, published: 8080, target: 80 }];
    let web = VirtualService {
        name: "web".into(),
        virtual_ips: vec![ip(50), "fd00:1::50".parse().unwrap()],
        backends: (1..=12).map(ip).chain(["fd00:1::1".parse().unwrap()]).collect(),
        ports,
    };
    let db = VirtualService { name: "db".into(), virtual_ips: vec![ip(51)], backends: vec![], ports: vec![] };
    OverlayRules {
        subnets: vec![Cidr::new(ip(0), 24).unwrap()],
        load_balancer: vec![ip(200), "fd00:1::200".parse().unwrap()],
        services: vec![web, db],
        ingress_interface: Some("eth1".into()),
    }
}

fn node() -> NodeRules {
    let bridge = |name: &str, subnet: &str, internal: bool| BridgeRules {
        name: name.into(),
        subnets: vec![subnet.parse().unwrap()],
        masquerade: !internal,
        internal,
    };
    let port = |protocol, host: Option<&str>, host_port, to: &str| PublishedPort {
        protocol,
        host_ip: host.map(|host| host.parse().unwrap()),
        host_port,
        to: to.parse().unwrap(),
        bridge: "docker0".into(),
    };
    NodeRules {
        bridges: vec![
            bridge("docker_gwbridge", "172.18.0.0/16", false),
            bridge("docker0", "172.17.0.0/16", false),
            bridge("br-0123456789ab", "172.19.0.0/25", true),
        ],
        published: vec![
            port(Protocol::Tcp, None, 8080, "172.17.0.2:80"),
            port(Protocol::Udp, Some("192.0.2.1"), 53, "172.17.0.3:53"),
            port(Protocol::Tcp, None, 8080, "[fd17::2]:80"),
        ],
        ingress: Some(IngressRules {
            bridge: "docker_gwbridge".into(),
            to: vec!["172.18.0.2".parse().unwrap()],
            ports: BTreeSet::from([(Protocol::Tcp, 30000), (Protocol::Udp, 30000)]),
        }),
    }
}

fn faults() -> Vec<FaultRule> {
    let peer = Some(ip(7));
    vec![
        FaultRule::Drop { peer, protocol: None, port: None, direction: Direction::Both },
        FaultRule::Drop { peer, protocol: Some(Protocol::Udp), port: Some(4789), direction: Direction::In },
        FaultRule::Drop { peer: None, protocol: None, port: Some(2377), direction: Direction::Out },
        FaultRule::Loss { peer, percent: 12.5 },
    ]
}

#[test]
fn every_rule_of_ours_is_read_back_as_it_was_written() {
    in_namespaces("every_rule_of_ours_is_read_back_as_it_was_written", async || {
        let here = NetNamespace::current().unwrap();
        here.apply_overlay_rules(&overlay()).await.unwrap();
        here.apply_faults(&faults()).await.unwrap();
        let view = here.look().await.unwrap();
        let table = overlay_table(&overlay()).unwrap();
        assert_eq!(read(&view, &table.name).join("\n"), written(&table.to_string()).join("\n"));
        let table = fault_table(&faults()).unwrap();
        assert_eq!(read(&view, &table.name).join("\n"), written(&table.to_string()).join("\n"));

        here.apply_overlay_rules(&OverlayRules::default()).await.unwrap();
        here.apply_node_rules(&node()).await.unwrap();
        let table = node_table(&node()).unwrap();
        let view = here.look().await.unwrap();
        assert_eq!(read(&view, &table.name).join("\n"), written(&table.to_string()).join("\n"));
    });
}

#[test]
fn an_overlay_s_links_and_static_tables_are_seen() {
    in_namespaces("an_overlay_s_links_and_static_tables_are_seen", async || {
        let lab = Lab::new().await;
        let ([one, _two], [here, there], _containers) = two_nodes(&lab).await;
        let view = NetNamespace::at(&one.driver.pin(NETWORK)).unwrap().look().await.unwrap();
        let link = |name: &str| view.links.iter().find(|link| link.name == name).unwrap();
        let vxlan = link("vxlan0");
        assert_eq!((vxlan.kind.as_str(), vxlan.master.as_deref(), vxlan.mtu), ("vxlan", Some("br0"), 1450));
        let details = vxlan.vxlan.as_ref().unwrap();
        assert_eq!((details.vni, details.port, details.local), (4097, 4789, "10.99.0.1".parse().ok()));
        assert!(details.proxy && !details.learning);
        assert_eq!(link("br0").kind, "bridge");
        assert!(link("br0").addresses.contains(&"10.0.1.1/24".to_owned()), "{:?}", link("br0"));
        let port = view.links.iter().find(|link| link.kind == "veth").unwrap();
        assert!(port.up && port.carrier && port.peer.is_some() && port.master.as_deref() == Some("br0"));

        let mac = Mac::of_ip(there.v4()).to_string();
        let of_bridge = view.forwarding.iter().find(|entry| entry.mac == mac && entry.bridge.is_some()).unwrap();
        assert_eq!((of_bridge.dev.as_str(), of_bridge.bridge.as_deref()), ("vxlan0", Some("br0")));
        let remote = view.forwarding.iter().find(|entry| entry.mac == mac && entry.bridge.is_none()).unwrap();
        assert_eq!((remote.dev.as_str(), remote.remote, remote.state), ("vxlan0", "10.99.0.2".parse().ok(), "static"));
        let neighbor = view.neighbors.iter().find(|entry| entry.ip == there.v4()).unwrap();
        assert_eq!((neighbor.mac.as_deref(), neighbor.state), (Some(mac.as_str()), "permanent"));
        let own = Mac::of_ip(here.v4()).to_string();
        assert!(
            view.forwarding.iter().all(|entry| entry.mac != own || entry.remote.is_none()),
            "{:?}",
            view.forwarding
        );
        assert!(view.routes.iter().any(|route| route.destination == "10.0.1.0/24" && route.dev == "br0"));
    });
}
