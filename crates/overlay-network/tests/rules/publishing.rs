//! Ports of the node that lead to a container, or into the ingress network.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use overlay_network::rules::{IngressRules, NodeRules, Protocol, ServicePort, VirtualService};

use super::namespaces::{NEVER, Net, SOON, ask, in_namespaces};
use super::node::{self, *};
use super::overlay::{self, FAMILIES, Overlay, PORT};

const LOCALHOST: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Who answers by TCP and by UDP, which has to be the same, and whom it sees.
#[track_caller]
fn answers(from: &Net, to: SocketAddr) -> (String, IpAddr) {
    let mut talk = from.connect(to).unwrap_or_else(|error| panic!("{to}: {error}"));
    assert!(talk.goes_on().unwrap());
    assert_eq!(from.ask(to).unwrap(), (talk.server.clone(), talk.seen));
    (talk.server, talk.seen)
}

#[test]
fn a_published_port_is_there_at_every_address_for_everyone() {
    in_namespaces("publishing::a_published_port_is_there_at_every_address_for_everyone", || {
        let node = Node::new();
        for v4 in FAMILIES {
            node.net.node(&node::rules(published(v4, None, 8080).into()));
            let at = |address| SocketAddr::new(address, 8080);
            let it = |seen| ("docker0-0".to_owned(), seen);
            assert_eq!(answers(&node.outside, at(node_address(v4))), it(outside_address(v4)), "sees who asks");
            assert_eq!(answers(&node.net, at(node_address(v4))), it(node_address(v4)));
            assert_eq!(answers(&node.net, at(gateway(v4))), it(gateway(v4)));
            if v4 {
                assert_eq!(answers(&node.net, at(LOCALHOST)), it(gateway(v4)));
            } else {
                println!("note: {:?}", node.net.connect(at("::1".parse().unwrap())).map(|t| t.seen));
            }
            for address in [node_address(v4), gateway(v4)] {
                assert_eq!(answers(&node.docker0[1], at(address)), it(gateway(v4)), "from the same bridge");
                assert_eq!(answers(&node.docker0[0], at(address)), it(gateway(v4)), "from itself");
                assert_eq!(answers(&node.user[0], at(address)), it(gateway(v4)), "from another bridge");
            }
            assert!(node.internal[0].is_silent(at(node_address(v4))), "not from an internal one");
            let refused = node.outside.connect((node_address(v4), 8081).into()).err().unwrap();
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
            assert_eq!(node.outside.connect((node_address(v4), NODE_PORT).into()).unwrap().server, "node");
        }
    });
}

#[test]
fn a_port_may_be_published_at_one_address_only() {
    in_namespaces("publishing::a_port_may_be_published_at_one_address_only", || {
        let node = Node::new();
        for v4 in FAMILIES {
            let everywhere: IpAddr = if v4 { "0.0.0.0" } else { "::" }.parse().unwrap();
            let ports = [published(v4, Some(gateway(v4)), 81), published(v4, Some(everywhere), 82)];
            node.net.node(&node::rules(ports.concat()));
            let kind = |address, port| node.net.connect((address, port).into()).err().map(|error| error.kind());
            assert_eq!(kind(gateway(v4), 81), None);
            assert_eq!(kind(node_address(v4), 81), Some(ErrorKind::ConnectionRefused));
            assert_eq!((kind(gateway(v4), 82), kind(node_address(v4), 82)), (None, None));
        }
        node.net.node(&node::rules(published(true, Some(LOCALHOST), 81).into()));
        assert_eq!(answers(&node.net, (LOCALHOST, 81).into()).0, "docker0-0");
        assert!(node.net.connect((node_address(true), 81).into()).is_err());
    });
}

#[test]
fn what_listens_on_the_loopback_only_stays_there() {
    in_namespaces("publishing::what_listens_on_the_loopback_only_stays_there", || {
        let node = Node::new();
        node.net.node(&node::rules(published(true, Some(LOCALHOST), 81).into()));
        // a neighbour that sends packets for 127.0.0.1 to the node
        for (neighbour, via) in [(&node.outside, node_address(true)), (&node.docker0[1], gateway(true))] {
            neighbour.setting("net/ipv4/conf/eth0/route_localnet", "1");
            neighbour.ip("address del 127.0.0.1/8 dev lo");
            neighbour.ip(&format!("route add 127.0.0.1/32 via {via}"));
            assert!(neighbour.is_silent((LOCALHOST, NODE_PORT).into()));
            assert!(neighbour.is_silent((LOCALHOST, 81).into()));
        }
        assert_eq!(node.net.connect((LOCALHOST, NODE_PORT).into()).unwrap().server, "node");
    });
}

#[test]
fn udp_follows_a_port_to_another_container() {
    in_namespaces("publishing::udp_follows_a_port_to_another_container", || {
        let node = Node::new();
        for v4 in FAMILIES {
            node.net.node(&node::rules(published(v4, None, 8080).into()));
            let socket = node.outside.udp((node_address(v4), 8080).into());
            assert_eq!(ask(&socket, SOON).unwrap().0, "docker0-0");
            let mut moved = published(v4, None, 8080);
            moved.iter_mut().for_each(|port| port.to = served(at_docker0(v4, 1)));
            node.net.node(&node::rules(moved.into()));
            assert_eq!(ask(&socket, SOON).unwrap().0, "docker0-1");
            node.net.node(&node::rules(vec![]));
            assert!(ask(&socket, NEVER).is_err());
        }
    });
}

/// The ingress network on a node: its namespace is container 0's neighbour on `docker_gwbridge`.
pub fn ingress(node: &Node, containers: usize) -> (Overlay, NodeRules) {
    let net = Overlay::new(containers);
    node.net.ip("link add docker_gwbridge type bridge forward_delay 0\nlink set docker_gwbridge up");
    node.net.ip("address add 172.18.0.1/16 dev docker_gwbridge\naddress add fd18::1/64 dev docker_gwbridge");
    node.net.cable("veth-ingress", &net.balancer, "eth1");
    node.net.ip("link set veth-ingress master docker_gwbridge");
    net.balancer.ip("address add 172.18.0.2/16 dev eth1\naddress add fd18::2/64 dev eth1");
    net.balancer.ip("route add 0.0.0.0/0 via 172.18.0.1\nroute add ::/0 via fd18::1");
    let mut rules = node::rules(vec![]);
    rules.bridges.push(overlay_network::rules::BridgeRules {
        name: "docker_gwbridge".into(),
        subnets: vec!["172.18.0.0/16".parse().unwrap(), "fd18::/64".parse().unwrap()],
        masquerade: true,
        internal: false,
    });
    let ports = [(Protocol::Tcp, 8080), (Protocol::Udp, 8080), (Protocol::Tcp, 8081), (Protocol::Udp, 8081)];
    rules.ingress = Some(IngressRules {
        bridge: "docker_gwbridge".into(),
        to: vec!["172.18.0.2".parse().unwrap(), "fd18::2".parse().unwrap()],
        ports: ports.into(),
    });
    (net, rules)
}

pub fn mesh(backends: &[usize], published: u16) -> VirtualService {
    let port = |protocol| ServicePort { protocol, published, target: PORT };
    VirtualService { ports: [Protocol::Tcp, Protocol::Udp].map(port).into(), ..overlay::service(0, backends) }
}

#[test]
fn a_port_of_the_mesh_leads_to_the_tasks_in_turn() {
    in_namespaces("publishing::a_port_of_the_mesh_leads_to_the_tasks_in_turn", || {
        let node = Node::new();
        let (net, rules) = ingress(&node, 3);
        node.net.node(&rules);
        let mut services = overlay::rules(vec![mesh(&[0, 1, 2], 8080)]);
        services.ingress_interface = Some("eth1".into());
        net.balancer.overlay(&services);
        for v4 in FAMILIES {
            let mut sources = vec![(&node.outside, node_address(v4)), (&node.net, node_address(v4))];
            sources.extend([(&node.net, gateway(v4)), (&node.docker0[0], gateway(v4)), (&node.user[0], gateway(v4))]);
            if v4 {
                sources.push((&node.net, LOCALHOST));
            }
            for (from, address) in sources {
                let to = SocketAddr::new(address, 8080);
                // all open at once: with equal ports they would be one conversation
                let sockets: Vec<_> = (0..6).map(|_| from.udp(to)).collect();
                let udp = sockets.iter().map(|socket| ask(socket, SOON).unwrap()).collect();
                let tcp = (0..6).map(|_| from.connect(to).unwrap()).map(|talk| (talk.server, talk.seen)).collect();
                for answers in [udp, tcp] {
                    let answers: Vec<(String, IpAddr)> = answers;
                    assert!(answers.iter().all(|(_, seen)| *seen == overlay::balancer(v4)));
                    let mut servers: Vec<String> = answers.into_iter().map(|(server, _)| server).collect();
                    servers.sort();
                    assert_eq!(servers, ["0", "0", "1", "1", "2", "2"], "to {to}");
                }
            }
            // published, but without a task; and a port of nobody
            for port in [8081, 8082] {
                let refused = node.outside.connect((node_address(v4), port).into()).err().unwrap();
                assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
            }
            assert!(node.internal[0].is_silent((node_address(v4), 8080).into()));
        }
        // the containers of the network do not come in by the ingress interface
        let inside = net.containers[0].connect((overlay::balancer(true), 8080).into()).err().unwrap();
        assert_eq!(inside.kind(), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn a_port_of_the_mesh_without_tasks_refuses_at_once() {
    in_namespaces("publishing::a_port_of_the_mesh_without_tasks_refuses_at_once", || {
        let node = Node::new();
        let (net, rules) = ingress(&node, 1);
        node.net.node(&rules);
        let mut services = overlay::rules(vec![mesh(&[], 8080)]);
        services.ingress_interface = Some("eth1".into());
        net.balancer.overlay(&services);
        for v4 in FAMILIES {
            let to = SocketAddr::new(node_address(v4), 8080);
            assert_eq!(node.outside.connect(to).err().unwrap().kind(), ErrorKind::ConnectionRefused);
            assert_eq!(node.outside.ask(to).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        }
    });
}
