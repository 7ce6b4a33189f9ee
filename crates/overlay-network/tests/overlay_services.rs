//! Services on overlay networks in a real kernel: virtual addresses, and ports published through the ingress network.
#![allow(clippy::unwrap_used)]

mod kernel;
mod overlay_lab;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use kernel::{Server, ask, in_namespaces, ping, tcp_echo, within};
use overlay_lab::{Lab, NETWORK, Node, network, peers, place, two_nodes};
use overlay_network::NetNamespace;
use overlay_network::overlay::{IngressLink, Peer};
use overlay_network::plan::{BridgePort, Cidr, LinkKind, LinkPlan, Mac, NetPlan};
use overlay_network::rules::{BridgeRules, IngressRules, NodeRules, Protocol, ServicePort, VirtualService};

const VIRTUAL: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 1, 50));

fn balancer(node: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 1, 200 + node).into()
}

fn balancer_of(node: u8) -> Peer {
    let vtep = Ipv4Addr::new(10, 99, 0, node).into();
    Peer { addresses: vec![balancer(node)], mac: Mac::of_ip(balancer(node)), vtep }
}

fn service(backends: &[IpAddr], ports: Vec<ServicePort>) -> VirtualService {
    VirtualService { name: "web".into(), virtual_ips: vec![VIRTUAL], backends: backends.to_vec(), ports }
}

/// Tells two nodes of each other's containers and balancers; what the first one knows then.
async fn acquaint([one, two]: [&mut Node; 2], of_one: &BTreeSet<Peer>, of_two: &BTreeSet<Peer>) -> BTreeSet<Peer> {
    let with = |peers: &BTreeSet<Peer>, node| peers.iter().cloned().chain([balancer_of(node)]).collect();
    let (of_one, of_two): (BTreeSet<Peer>, BTreeSet<Peer>) = (with(of_one, 1), with(of_two, 2));
    one.driver.set_peers(NETWORK, &of_two).await.unwrap();
    two.driver.set_peers(NETWORK, &of_one).await.unwrap();
    of_two
}

/// Asks so often; how often each word was the answer.
fn survey(client: &std::path::Path, at: SocketAddr, times: usize) -> BTreeMap<String, usize> {
    let mut answers = BTreeMap::new();
    for _ in 0..times {
        *answers.entry(ask(client, at).unwrap().0).or_default() += 1;
    }
    answers
}

#[test]
fn a_virtual_address_leads_to_tasks_of_all_nodes_in_turn() {
    in_namespaces("a_virtual_address_leads_to_tasks_of_all_nodes_in_turn", async || {
        let lab = Lab::new().await;
        let ([mut one, mut two], [here, there], [a, b]) = two_nodes(&lab).await;
        let client_place = place(7, 1);
        let client = one.run(NETWORK, &client_place).await;
        acquaint([&mut one, &mut two], &peers([&here, &client_place]), &peers([&there])).await;
        let web = service(&[here.v4(), there.v4()], vec![]);
        for node in [&mut one, &mut two] {
            node.driver.set_services(NETWORK, std::slice::from_ref(&web)).await.unwrap();
            assert_eq!(node.missing(NETWORK).await, 0);
        }
        let _servers = [Server::start(&a.namespace(), 80, "one"), Server::start(&b.namespace(), 80, "two")];
        let at = (VIRTUAL, 80).into();
        assert_eq!(survey(&client.namespace(), at, 10), BTreeMap::from([("one".into(), 5), ("two".into(), 5)]));
        assert_eq!(ask(&client.namespace(), at).unwrap().1, balancer(1), "the address of the client's node");
        assert_eq!(ask(&b.namespace(), at).unwrap().1, balancer(2));
        ping(&client.namespace(), VIRTUAL).unwrap();
        // a task asks its own service, and may be given itself
        assert_eq!(survey(&a.namespace(), at, 4).len(), 2);

        // nobody serves: refused at once, not silence
        one.driver.set_services(NETWORK, &[service(&[], vec![])]).await.unwrap();
        let refused = ask(&client.namespace(), at).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        // a new daemon leaves that as it is until it is told, and repairs it then
        one.restart().await;
        one.driver.ensure(&network(NETWORK, 4097, 1)).await.unwrap();
        ping(&client.namespace(), VIRTUAL).unwrap();
        one.driver.set_services(NETWORK, &[web]).await.unwrap();
        assert_eq!(survey(&client.namespace(), at, 4).len(), 2);
        // the service goes, and its address with it
        one.driver.set_services(NETWORK, &[]).await.unwrap();
        ping(&client.namespace(), VIRTUAL).unwrap_err();
        tcp_echo(&b.namespace(), &a.namespace(), there.v4()).unwrap();
    });
}

#[test]
fn connections_live_on_while_their_task_drains_and_are_reset_once_it_is_gone() {
    in_namespaces("connections_live_on_while_their_task_drains_and_are_reset_once_it_is_gone", async || {
        let lab = Lab::new().await;
        let ([mut one, mut two], [here, there], [a, b]) = two_nodes(&lab).await;
        let client_place = place(7, 1);
        let client = one.run(NETWORK, &client_place).await;
        let of_two = acquaint([&mut one, &mut two], &peers([&here, &client_place]), &peers([&there])).await;
        // one connection to a task on another node, and one to a task on the same
        for (container, place, other) in [(&b, &there, &here), (&a, &here, &there)] {
            one.driver.set_services(NETWORK, &[service(&[place.v4()], vec![])]).await.unwrap();
            let listener = within(&container.namespace(), || TcpListener::bind("0.0.0.0:80").unwrap());
            let mut asking = within(&client.namespace(), || TcpStream::connect((VIRTUAL, 80)).unwrap());
            asking.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            let (mut answering, _) = listener.accept().unwrap();
            let mut goes_on = || -> std::io::Result<()> {
                asking.write_all(b"x")?;
                answering.read_exact(&mut [0])?;
                answering.write_all(b"y")?;
                asking.read_exact(&mut [0])
            };
            goes_on().unwrap();
            one.driver.set_services(NETWORK, &[service(&[other.v4()], vec![])]).await.unwrap();
            goes_on().unwrap();
            if place.v4() == here.v4() {
                one.driver.detach(NETWORK, &here.port(a.pid()).endpoint).await.unwrap();
            } else {
                one.driver.set_peers(NETWORK, &BTreeSet::from([balancer_of(2)])).await.unwrap();
            }
            one.driver.set_services(NETWORK, &[service(&[other.v4()], vec![])]).await.unwrap();
            let mut word = [0];
            let ended = asking.write_all(b"x").and_then(|()| asking.read_exact(&mut word)).unwrap_err();
            assert_eq!(ended.kind(), std::io::ErrorKind::ConnectionReset, "of {}", place.v4());
            one.driver.set_peers(NETWORK, &of_two).await.unwrap();
        }
    });
}

#[test]
fn a_balancers_address_may_change() {
    in_namespaces("a_balancers_address_may_change", async || {
        let lab = Lab::new().await;
        let ([mut one, mut two], [here, there], [a, b]) = two_nodes(&lab).await;
        let mut moved = network(NETWORK, 4097, 1);
        moved.load_balancer = vec![Cidr { address: balancer(9), prefix: 24 }];
        one.driver.set_services(NETWORK, &[service(&[there.v4()], vec![])]).await.unwrap();
        one.driver.ensure(&moved).await.unwrap();
        let vtep = Ipv4Addr::new(10, 99, 0, 1).into();
        let mut of_one = peers([&here]);
        of_one.insert(Peer { addresses: vec![balancer(9)], mac: Mac::of_ip(balancer(9)), vtep });
        two.driver.set_peers(NETWORK, &of_one).await.unwrap();
        let _server = Server::start(&b.namespace(), 80, "two");
        assert_eq!(ask(&a.namespace(), (VIRTUAL, 80).into()).unwrap(), ("two".into(), balancer(9)));
        assert_eq!(one.missing(NETWORK).await, 0);
    });
}

#[test]
fn a_published_port_of_any_node_leads_to_a_task_of_any_node() {
    in_namespaces("a_published_port_of_any_node_leads_to_a_task_of_any_node", async || {
        let lab = Lab::new().await;
        let mut nodes = [lab.node(1).await, lab.node(2).await];
        let task_place = place(4, 2);
        let port = ServicePort { protocol: Protocol::Tcp, published: 8080, target: 80 };
        let link = IngressLink {
            bridge: "docker_gwbridge".into(),
            address: "172.18.0.2/16".parse().unwrap(),
            gateway: Ipv4Addr::new(172, 18, 0, 1).into(),
        };
        for (node, number) in nodes.iter_mut().zip(1..) {
            let inside = NetNamespace::at(&node.namespace).unwrap();
            let mut bridge = LinkPlan::new("docker_gwbridge", LinkKind::Bridge);
            bridge.addresses = vec!["172.18.0.1/16".parse().unwrap()];
            let sysctls = vec![("net/ipv4/ip_forward".into(), "1".into())];
            inside.apply(&NetPlan { links: vec![bridge], sysctls, ..NetPlan::default() }).await.unwrap();
            let mut ingress = network(NETWORK, 4096, number);
            ingress.ingress = true;
            node.driver.ensure(&ingress).await.unwrap();
            node.driver.connect_ingress(NETWORK, &link).await.unwrap();
            node.driver.connect_ingress(NETWORK, &link).await.unwrap();
            node.driver.set_services(NETWORK, &[service(&[task_place.v4()], vec![port])]).await.unwrap();
            let gwbridge = BridgeRules {
                name: "docker_gwbridge".into(),
                subnets: vec!["172.18.0.0/16".parse().unwrap()],
                masquerade: true,
                internal: false,
            };
            let to = vec![link.address.address];
            let ports = BTreeSet::from([(Protocol::Tcp, 8080)]);
            let ingress = Some(IngressRules { bridge: "docker_gwbridge".into(), to, ports });
            let rules = NodeRules { bridges: vec![gwbridge], published: vec![], ingress };
            inside.apply_node_rules(&rules).await.unwrap();
        }
        let task = nodes[1].run(NETWORK, &task_place).await;
        let mut of_two = peers([&task_place]);
        of_two.insert(balancer_of(2));
        nodes[0].driver.set_peers(NETWORK, &of_two).await.unwrap();
        nodes[1].driver.set_peers(NETWORK, &BTreeSet::from([balancer_of(1)])).await.unwrap();
        let _server = Server::start(&task.namespace(), 80, "task");
        let outside = lab.node(9).await;
        for (node, balancer) in [(1, balancer(1)), (2, balancer(2))] {
            let at = (Ipv4Addr::new(10, 99, 0, node), 8080).into();
            assert_eq!(ask(&outside.namespace, at).unwrap(), ("task".into(), balancer), "by node {node}");
        }

        let cable = overlay_network::plan::overlay::ingress_cable_name(NETWORK);
        let node = NetNamespace::at(&nodes[0].namespace).unwrap();
        let port = &node.observe(&NetPlan::default()).await.unwrap().links[&cable];
        assert_eq!(port.port, BridgePort { isolated: true, ..BridgePort::default() });
        // the cable is pulled out, on either side
        let ingress = NetNamespace::at(&nodes[0].driver.pin(NETWORK)).unwrap();
        let mut wish = network(NETWORK, 4096, 1);
        wish.ingress = true;
        let at = (Ipv4Addr::new(10, 99, 0, 1), 8080).into();
        node.delete_link(&cable).await.unwrap();
        nodes[0].driver.ensure(&wish).await.unwrap();
        ask(&outside.namespace, at).unwrap();
        ingress.set_up("eth1", false).await.unwrap();
        nodes[0].driver.ensure(&wish).await.unwrap();
        ask(&outside.namespace, at).unwrap();
        nodes[0].driver.remove(NETWORK).await.unwrap();
        assert!(!node.observe(&NetPlan::default()).await.unwrap().links.contains_key(&cable));
    });
}
