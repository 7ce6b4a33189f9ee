//! What `nft` makes of our tables: the same as of their text.

use std::collections::BTreeSet;

use overlay_network::rules::table::Table;
use overlay_network::rules::*;

use super::namespaces::{Net, has, in_namespaces};

fn overlay() -> OverlayRules {
    let address = |text: &str| text.parse().unwrap();
    let service =
        |name: &str, virtual_ips: &[&str], backends: &[&str], ports: &[(Protocol, u16, u16)]| VirtualService {
            name: name.into(),
            virtual_ips: virtual_ips.iter().map(|text| address(text)).collect(),
            backends: backends.iter().map(|text| address(text)).collect(),
            ports: ports
                .iter()
                .map(|(protocol, published, target)| ServicePort {
                    protocol: *protocol,
                    published: *published,
                    target: *target,
                })
                .collect(),
        };
    OverlayRules {
        subnets: vec!["10.0.0.0/24".parse().unwrap()],
        load_balancer: vec![address("10.0.0.4"), address("fd00::4")],
        services: vec![
            service(
                "web",
                &["10.0.0.2", "fd00::2"],
                &["10.0.0.7", "10.0.0.5", "fd00::5"],
                &[(Protocol::Tcp, 8080, 80), (Protocol::Udp, 8080, 53)],
            ),
            service("empty", &["10.0.0.3", "fd00::3"], &[], &[(Protocol::Sctp, 9, 9)]),
        ],
        ingress_interface: Some("eth1".into()),
    }
}

fn node() -> NodeRules {
    let bridge = |name: &str, subnet: &str, internal| BridgeRules {
        name: name.into(),
        subnets: vec![subnet.parse().unwrap()],
        masquerade: true,
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
            port(Protocol::Udp, Some("127.0.0.1"), 53, "172.17.0.3:53"),
            port(Protocol::Tcp, None, 8080, "[fd17::2]:80"),
            port(Protocol::Tcp, Some("fd00::1"), 81, "[fd17::2]:80"),
        ],
        ingress: Some(IngressRules {
            bridge: "docker_gwbridge".into(),
            to: vec!["172.18.0.2".parse().unwrap()],
            ports: BTreeSet::from([(Protocol::Tcp, 30000), (Protocol::Udp, 30000)]),
        }),
    }
}

fn faults() -> Vec<FaultRule> {
    let peer = Some("192.0.2.7".parse().unwrap());
    vec![
        FaultRule::Drop { peer, protocol: None, port: None, direction: Direction::In },
        FaultRule::Drop { peer, protocol: Some(Protocol::Udp), port: Some(4789), direction: Direction::Both },
        FaultRule::Drop { peer: None, protocol: None, port: Some(2377), direction: Direction::Out },
        FaultRule::Loss { peer: None, percent: 12.5 },
        FaultRule::Loss { peer: Some("fd00::7".parse().unwrap()), percent: 100.0 },
    ]
}

#[test]
fn the_kernel_has_what_the_text_says() {
    in_namespaces("listing::the_kernel_has_what_the_text_says", || {
        if !has("nft") {
            return;
        }
        let same = |table: Option<Table>, apply: &dyn Fn(&Net) -> bool| {
            let table = table.unwrap();
            let (ours, theirs) = (Net::new(), Net::new());
            assert!(apply(&ours));
            let dir = tempfile::tempdir().unwrap();
            let file = dir.path().join("table");
            std::fs::write(&file, table.to_string()).unwrap();
            theirs.nft(&["-f", file.to_str().unwrap()]).unwrap();
            let list = |net: &Net| {
                let text = net.nft(&["list", "ruleset"]).unwrap();
                let lines = text.lines().filter(|line| !line.starts_with("\tcomment"));
                lines.map(|line| format!("{line}\n")).collect::<String>()
            };
            assert_eq!(list(&ours), list(&theirs));
            assert!(list(&ours).contains(&table.name));
        };
        same(overlay_table(&overlay()), &|net| net.overlay(&overlay()));
        same(node_table(&node()), &|net| net.node(&node()));
        same(fault_table(&faults()), &|net| net.faults(&faults()));
    });
}

#[test]
fn what_is_there_already_is_left_alone_and_nothing_removes_the_table() {
    in_namespaces("listing::what_is_there_already_is_left_alone_and_nothing_removes_the_table", || {
        let net = Net::new();
        assert!(net.overlay(&overlay()));
        assert!(!net.overlay(&overlay()), "by another daemon's eyes: each call opens the namespace anew");
        let mut fewer = overlay();
        fewer.services.pop();
        assert!(net.overlay(&fewer));
        assert!(!net.overlay(&fewer));
        assert!(net.overlay(&OverlayRules::default()));
        assert!(!net.overlay(&OverlayRules::default()));
        assert!(net.faults(&faults()) && !net.faults(&faults()));
        assert!(net.faults(&[]) && !net.faults(&[]));
    });
}

#[test]
fn tables_of_others_stay() {
    in_namespaces("listing::tables_of_others_stay", || {
        if !has("nft") {
            return;
        }
        let net = Net::new();
        net.nft(&["add table inet theirs; add chain inet theirs c; add table ip swarmlab"]).unwrap();
        assert!(net.overlay(&overlay()) && net.faults(&faults()));
        let tables = || net.nft(&["list", "tables"]).unwrap();
        assert_eq!(tables(), "table inet theirs\ntable ip swarmlab\ntable inet swarmlab\ntable inet swarmlab-fault\n");
        assert!(net.overlay(&OverlayRules::default()) && net.faults(&[]));
        assert_eq!(tables(), "table inet theirs\ntable ip swarmlab\n");
        assert!(net.nft(&["list", "table", "inet", "theirs"]).unwrap().contains("chain c"));
    });
}
