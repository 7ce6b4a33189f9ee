//! Tables as text: what the rules come to, to be read.

use std::collections::BTreeSet;

use super::table::Table;
use super::*;

/// The text, without the indentation of this file.
fn text(table: Option<Table>) -> String {
    table.unwrap().to_string()
}

fn address(text: &str) -> std::net::IpAddr {
    text.parse().unwrap()
}

fn service(name: &str, virtual_ips: &[&str], backends: &[&str]) -> VirtualService {
    VirtualService {
        name: name.into(),
        virtual_ips: virtual_ips.iter().map(|text| address(text)).collect(),
        backends: backends.iter().map(|text| address(text)).collect(),
        ports: Vec::new(),
    }
}

fn overlay(services: Vec<VirtualService>) -> OverlayRules {
    OverlayRules {
        subnets: vec!["10.0.1.0/24".parse().unwrap()],
        load_balancer: vec![address("10.0.1.4")],
        services,
        ingress_interface: None,
    }
}

#[test]
fn a_service_is_a_chain_that_takes_turns() {
    let rules =
        overlay(vec![service("web", &["10.0.1.2"], &["10.0.1.7", "10.0.1.5"]), service("idle", &["10.0.1.3"], &[])]);
    assert_eq!(text(overlay_table(&rules)), include_str!("overlay.nft"));
}

#[test]
fn published_ports_come_in_by_the_ingress_interface() {
    let mut web = service("web", &["10.0.0.2", "fd00::2"], &["10.0.0.5", "10.0.0.6", "fd00::5"]);
    web.ports = vec![ServicePort { protocol: Protocol::Tcp, published: 8080, target: 80 }];
    let mut dns = service("dns", &[], &[]);
    dns.ports = vec![ServicePort { protocol: Protocol::Udp, published: 53, target: 53 }];
    let rules = OverlayRules {
        load_balancer: vec![address("10.0.0.3"), address("fd00::3")],
        ingress_interface: Some("eth1".into()),
        ..overlay(vec![web, dns])
    };
    assert_eq!(text(overlay_table(&rules)), include_str!("ingress.nft"));
}

#[test]
fn neither_order_nor_repetition_makes_another_table() {
    let one = service("web", &["10.0.1.2"], &["10.0.1.7", "10.0.1.5"]);
    let two = service("db", &["10.0.1.3"], &["10.0.1.8"]);
    let other = service("web", &["10.0.1.2", "10.0.1.2"], &["10.0.1.5", "10.0.1.7", "10.0.1.5"]);
    let tables = [vec![one.clone(), two.clone()], vec![two, other]].map(|services| overlay_table(&overlay(services)));
    assert_eq!(tables[0], tables[1]);
}

/// Seed 24 of the simulator: the one had published a port, and its tasks of before still told of its address.
#[test]
fn a_service_without_backends_keeps_no_address_from_one_that_has_some() {
    let (old, new) = (service("api", &["10.0.1.2"], &[]), service("web", &["10.0.1.2"], &["10.0.1.7"]));
    let text = text(overlay_table(&overlay(vec![old, new])));
    assert!(text.contains("10.0.1.2 : goto service-web") && !text.contains("refused"), "{text}");
}

#[test]
fn of_two_services_with_one_address_the_first_by_name_has_it() {
    let rules =
        overlay(vec![service("web", &["10.0.1.2"], &["10.0.1.7"]), service("api", &["10.0.1.2"], &["10.0.1.8"])]);
    let text = text(overlay_table(&rules));
    assert!(text.contains("{ 10.0.1.2 : goto service-api }"), "{text}");
    assert!(!text.contains("10.0.1.7"), "{text}");
}

#[test]
fn names_of_services_make_names_of_chains_whatever_they_are() {
    let long = "x".repeat(500);
    let names = ["a b", "a_b", "a\"\n}", "", "-", "ä", &long];
    let services = names.iter().enumerate();
    let services: Vec<VirtualService> =
        services.map(|(n, name)| service(name, &[&format!("10.0.1.{n}")], &["10.0.1.99"])).collect();
    let table = overlay_table(&overlay(services)).unwrap();
    let chains: BTreeSet<&str> = table.chains.iter().map(|chain| chain.name.as_str()).collect();
    assert_eq!(chains.len(), 2 + names.len(), "one each, besides the two that packets enter: {chains:?}");
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    assert!(chains.iter().all(|name| name.len() < 100 && name.chars().all(plain)), "{chains:?}");
}

#[test]
fn connections_leave_with_the_address_of_the_subnet_that_they_go_to() {
    let rules = OverlayRules {
        subnets: vec!["10.0.1.0/24".parse().unwrap(), "10.0.2.0/24".parse().unwrap()],
        load_balancer: vec![address("10.0.1.4"), address("10.0.2.4")],
        ..overlay(vec![service("web", &["10.0.1.2"], &["10.0.2.7"])])
    };
    let text = text(overlay_table(&rules));
    let leaving = "\t\tip daddr 10.0.1.0/24 ct status dnat snat ip to 10.0.1.4\n\
                   \t\tip daddr 10.0.2.0/24 ct status dnat snat ip to 10.0.2.4\n\
                   \t\tmeta nfproto ipv4 ct status dnat snat ip to 10.0.1.4\n";
    assert!(text.contains(leaving), "{text}");
}

#[test]
fn nothing_to_do_is_no_table() {
    assert_eq!(overlay_table(&overlay(vec![])), None);
    assert_eq!(overlay_table(&overlay(vec![service("web", &[], &["10.0.1.7"])])), None);
    let mut ported = service("web", &[], &["10.0.1.7"]);
    ported.ports = vec![ServicePort { protocol: Protocol::Tcp, published: 80, target: 80 }];
    assert_eq!(overlay_table(&overlay(vec![ported])), None, "not the ingress network");
    assert_eq!(node_table(&NodeRules::default()), None);
    let ingress = IngressRules { bridge: "docker_gwbridge".into(), to: vec![address("172.18.0.2")], ports: [].into() };
    assert_eq!(node_table(&NodeRules { ingress: Some(ingress), ..NodeRules::default() }), None);
    assert_eq!(node_settings(&NodeRules::default()), []);
    assert_eq!(fault_table(&[]), None);
}

fn bridge(name: &str, subnets: &[&str], internal: bool) -> BridgeRules {
    let subnets = subnets.iter().map(|subnet| subnet.parse().unwrap()).collect();
    BridgeRules { name: name.into(), subnets, masquerade: true, internal }
}

fn port(protocol: Protocol, host_ip: Option<&str>, host_port: u16, to: &str) -> PublishedPort {
    let (host_ip, to) = (host_ip.map(address), to.parse().unwrap());
    PublishedPort { protocol, host_ip, host_port, to, bridge: "docker0".into() }
}

fn node() -> NodeRules {
    NodeRules {
        bridges: vec![
            bridge("docker_gwbridge", &["172.18.0.0/16"], false),
            bridge("docker0", &["172.17.0.0/16", "fd17::/64"], false),
            bridge("br-0123456789ab", &["172.19.0.0/16"], true),
        ],
        published: vec![
            port(Protocol::Tcp, None, 8080, "172.17.0.2:80"),
            port(Protocol::Tcp, Some("127.0.0.1"), 5432, "172.17.0.3:5432"),
            port(Protocol::Tcp, Some("::"), 8080, "[fd17::2]:80"),
        ],
        ingress: Some(IngressRules {
            bridge: "docker_gwbridge".into(),
            to: vec![address("172.18.0.2")],
            ports: BTreeSet::from([(Protocol::Tcp, 30000), (Protocol::Udp, 30000)]),
        }),
    }
}

#[test]
fn a_nodes_rules_are_dockers_in_one_table() {
    assert_eq!(text(node_table(&node())), include_str!("node.nft"));
}

#[test]
fn settings_let_packets_through_and_are_not_made_for_internal_bridges() {
    let settings: Vec<String> = node_settings(&node()).iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(
        settings,
        [
            "net/ipv4/ip_forward=1",
            "net/bridge/bridge-nf-call-iptables=0",
            "net/bridge/bridge-nf-call-ip6tables=0",
            "net/ipv6/conf/all/forwarding=1",
            "net/ipv4/conf/docker0/route_localnet=1",
            "net/ipv4/conf/docker_gwbridge/route_localnet=1",
        ]
    );
}

#[test]
fn a_port_at_an_address_of_another_family_is_left_out() {
    let published = vec![port(Protocol::Tcp, Some("::1"), 80, "172.17.0.2:80")];
    let text = text(node_table(&NodeRules { published, ..NodeRules::default() }));
    assert!(!text.contains("172.17.0.2"), "{text}");
}

#[test]
fn of_two_containers_with_one_port_the_first_has_it() {
    let published =
        vec![port(Protocol::Tcp, None, 80, "172.17.0.3:80"), port(Protocol::Tcp, None, 80, "172.17.0.2:80")];
    let text = text(node_table(&NodeRules { published, ..NodeRules::default() }));
    assert!(text.contains("{ tcp . 80 : 172.17.0.2 . 80 }"), "{text}");
}

#[test]
fn faults_are_rules_at_every_place_that_packets_pass() {
    let peer = Some(address("192.0.2.7"));
    let faults = [
        FaultRule::Drop { peer, protocol: Some(Protocol::Udp), port: Some(4789), direction: Direction::Both },
        FaultRule::Drop { peer: None, protocol: Some(Protocol::Tcp), port: None, direction: Direction::Out },
        FaultRule::Loss { peer, percent: 12.5 },
    ];
    assert_eq!(text(fault_table(&faults)), include_str!("faults.nft"));
}

#[test]
fn a_loss_that_is_no_percentage_is_cut_off() {
    let drawn = |percent| text(fault_table(&[FaultRule::Loss { peer: None, percent }]));
    for (percent, expected) in [(-1.0, Some(0)), (f64::NAN, Some(0)), (0.0001, Some(1)), (100.0, None), (1e300, None)] {
        let text = drawn(percent);
        let rule = match expected {
            Some(chances) => format!("\t\tiifname != \"lo\" numgen random mod 1000000 < {chances} drop\n"),
            None => "\t\tiifname != \"lo\" drop\n".to_owned(),
        };
        assert!(text.contains(&rule), "{percent}: {text}");
    }
}

/// What chains and sets a table's rules and maps name.
fn named(table: &Table) -> (BTreeSet<&str>, BTreeSet<&str>) {
    use super::table::{Action, Match, Target};
    let rules = || table.chains.iter().flat_map(|chain| &chain.rules);
    let by_rules = rules().filter_map(|rule| match &rule.action {
        Action::Jump(chain) => Some(chain.as_str()),
        _ => None,
    });
    let by_maps = table.sets.iter().flat_map(|set| set.elements.values()).filter_map(|target| match target {
        Target::Chain(chain) => Some(chain.as_str()),
        _ => None,
    });
    let maps = rules().filter_map(|rule| match &rule.action {
        Action::Choose(_, set) | Action::Translate(_, _, set) => Some(set.as_str()),
        _ => None,
    });
    let sets = rules().flat_map(|rule| &rule.matches).filter_map(|matched| match matched {
        Match::Member(_, set) => Some(set.as_str()),
        _ => None,
    });
    (by_rules.chain(by_maps).collect(), maps.chain(sets).collect())
}

/// Everything that is named is there, and everything there is named; names are unique.
fn hangs_together(table: &Table) {
    let (chains, sets) = named(table);
    let entered = table.chains.iter().filter(|chain| chain.base.is_none());
    assert_eq!(entered.map(|chain| chain.name.as_str()).collect::<BTreeSet<_>>(), chains, "{table}");
    assert_eq!(table.sets.iter().map(|set| set.name.as_str()).collect::<BTreeSet<_>>(), sets, "{table}");
    let names: BTreeSet<&str> = table.chains.iter().map(|chain| chain.name.as_str()).collect();
    assert_eq!(names.len(), table.chains.len(), "{table}");
    assert_eq!(sets.len(), table.sets.len(), "{table}");
    assert!(table.sets.iter().all(|set| !set.elements.is_empty()), "{table}");
}

mod properties {
    use std::net::{IpAddr, SocketAddr};

    use proptest::prelude::*;

    use super::*;

    fn an_address() -> impl Strategy<Value = IpAddr> {
        // few, so that they meet
        prop_oneof![
            (0..8_u8).prop_map(|n| IpAddr::from([10, 0, 0, n])),
            (0..8_u16).prop_map(|n| IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, n])),
            Just("0.0.0.0".parse().unwrap()),
            Just("::".parse().unwrap()),
        ]
    }

    fn a_protocol() -> impl Strategy<Value = Protocol> {
        prop_oneof![Just(Protocol::Tcp), Just(Protocol::Udp), Just(Protocol::Sctp)]
    }

    fn a_service() -> impl Strategy<Value = VirtualService> {
        let addresses = || proptest::collection::vec(an_address(), 0..4);
        let port = (a_protocol(), 0..4_u16, any::<u16>());
        let port = port.prop_map(|(protocol, published, target)| ServicePort { protocol, published, target });
        ("[a-c]{0,2}", addresses(), addresses(), proptest::collection::vec(port, 0..4))
            .prop_map(|(name, virtual_ips, backends, ports)| VirtualService { name, virtual_ips, backends, ports })
    }

    fn a_bridge() -> impl Strategy<Value = BridgeRules> {
        (0..3_u8, 0..4_u8, any::<bool>(), any::<bool>()).prop_map(|(n, subnets, masquerade, internal)| BridgeRules {
            name: format!("br-{n}"),
            subnets: (0..subnets).map(|m| format!("10.{n}.{m}.0/24").parse().unwrap()).collect(),
            masquerade,
            internal,
        })
    }

    fn a_port() -> impl Strategy<Value = PublishedPort> {
        (a_protocol(), proptest::option::of(an_address()), 0..4_u16, an_address(), 0..4_u8).prop_map(
            |(protocol, host_ip, host_port, to, n)| PublishedPort {
                protocol,
                host_ip,
                host_port,
                to: SocketAddr::new(to, 80),
                bridge: format!("br-{n}"),
            },
        )
    }

    proptest! {
        #[test]
        fn an_overlays_table_hangs_together(
            services in proptest::collection::vec(a_service(), 0..6),
            load_balancer in proptest::collection::vec(an_address(), 0..3),
            ingress in any::<bool>(),
        ) {
            let ingress_interface = ingress.then(|| "eth1".to_owned());
            let rules = OverlayRules { subnets: vec![], load_balancer, services, ingress_interface };
            if let Some(table) = overlay_table(&rules) {
                hangs_together(&table);
            }
        }

        #[test]
        fn a_nodes_table_hangs_together(
            bridges in proptest::collection::vec(a_bridge(), 0..5),
            published in proptest::collection::vec(a_port(), 0..6),
            to in proptest::collection::vec(an_address(), 0..3),
            ports in proptest::collection::btree_set((a_protocol(), 0..4_u16), 0..4),
        ) {
            let ingress = Some(IngressRules { bridge: "docker_gwbridge".into(), to, ports });
            if let Some(table) = node_table(&NodeRules { bridges, published, ingress }) {
                hangs_together(&table);
            }
        }
    }
}
