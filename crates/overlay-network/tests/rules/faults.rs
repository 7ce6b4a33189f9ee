//! Faults between a node and its neighbour.

use std::net::IpAddr;

use overlay_network::rules::{Direction, FaultRule, Protocol};

use super::namespaces::{NEVER, Net, ask, in_namespaces};
use super::node::*;
use super::overlay::{FAMILIES, PORT};

fn drop_of(peer: Option<IpAddr>, protocol: Option<Protocol>, port: Option<u16>, direction: Direction) -> FaultRule {
    FaultRule::Drop { peer, protocol, port, direction }
}

/// Whether a datagram from this port comes to the same port at the other end.
fn datagram(from: &Net, to: IpAddr, at: &Net, port: u16) -> bool {
    let any: IpAddr = if to.is_ipv4() { "0.0.0.0" } else { "::" }.parse().unwrap();
    let socket = |net: &Net| net.run(|| std::net::UdpSocket::bind((any, port)).unwrap());
    let (sender, receiver) = (socket(from), socket(at));
    receiver.set_read_timeout(Some(NEVER)).unwrap();
    // the sender's own machine may tell it that the packet was dropped
    let _ = sender.send_to(b"x", (to, port));
    receiver.recv_from(&mut [0; 8]).is_ok()
}

#[test]
fn the_ports_of_the_swarm_can_be_cut_one_by_one() {
    in_namespaces("faults::the_ports_of_the_swarm_can_be_cut_one_by_one", || {
        let node = Node::new();
        for v4 in FAMILIES {
            let (out, into) = (outside_address(v4), node_address(v4));
            for port in [4789, 7946] {
                let passes = || {
                    let there = datagram(&node.net, out, &node.outside, port);
                    (there, datagram(&node.outside, into, &node.net, port))
                };
                assert_eq!(passes(), (true, true));
                let cut =
                    |direction| node.net.faults(&[drop_of(Some(out), Some(Protocol::Udp), Some(port), direction)]);
                cut(Direction::Both);
                assert_eq!(passes(), (false, false));
                cut(Direction::In);
                assert_eq!(passes(), (true, false));
                cut(Direction::Out);
                assert_eq!(passes(), (false, true));
                node.net.faults(&[drop_of(Some(out), None, Some(port + 1), Direction::Both)]);
                assert_eq!(passes(), (true, true));
                node.net.faults(&[]);
                assert_eq!(passes(), (true, true));
            }
        }
    });
}

#[test]
fn a_cut_tcp_port_is_silent_and_others_are_not() {
    in_namespaces("faults::a_cut_tcp_port_is_silent_and_others_are_not", || {
        let node = Node::new();
        node.net.serve("manager", 2377);
        node.net.serve("gossip", 7946);
        for v4 in FAMILIES {
            let (manager, gossip) = ((node_address(v4), 2377).into(), (node_address(v4), 7946).into());
            let mut talk = node.outside.connect(manager).unwrap();
            assert!(talk.goes_on().unwrap());
            node.net.faults(&[drop_of(Some(outside_address(v4)), None, Some(2377), Direction::Both)]);
            assert!(node.outside.is_silent(manager));
            assert!(node.outside.connect(gossip).is_ok());
            node.net.faults(&[drop_of(None, None, None, Direction::Both)]);
            assert!(node.outside.is_silent(gossip));
            assert!(node.net.connect(([127, 0, 0, 1], 2377).into()).is_ok(), "its loopback is spared");
            assert!(node.net.connect(manager).is_ok(), "so it is by its own address");
            node.net.faults(&[]);
            assert!(talk.goes_on().unwrap(), "what was lost is sent again");
        }
    });
}

#[test]
fn containers_behind_the_node_are_cut_off_too() {
    in_namespaces("faults::containers_behind_the_node_are_cut_off_too", || {
        let node = Node::new();
        node.net.node(&rules(vec![]));
        for v4 in FAMILIES {
            let to = served(outside_address(v4));
            assert!(node.docker0[0].connect(to).is_ok());
            node.net.faults(&[drop_of(Some(outside_address(v4)), None, Some(PORT), Direction::Out)]);
            assert!(node.docker0[0].is_silent(to));
            assert!(node.docker0[0].connect(served(at_docker0(v4, 1))).is_ok());
            node.net.faults(&[]);
        }
    });
}

#[test]
fn loss_loses_as_much_as_it_says() {
    in_namespaces("faults::loss_loses_as_much_as_it_says", || {
        const PACKETS: u32 = 4000;
        let node = Node::new();
        for v4 in FAMILIES {
            for percent in [0.0, 25.0, 100.0] {
                node.net.faults(&[FaultRule::Loss { peer: Some(outside_address(v4)), percent }]);
                let to = (node_address(v4), 9999).into();
                let receiver = node.net.run(|| std::net::UdpSocket::bind(to).unwrap());
                let sender = node.outside.udp(to);
                receiver.set_nonblocking(true).unwrap();
                let mut came = 0;
                for _ in 0..PACKETS {
                    sender.send(b"x").unwrap();
                    // a cable of ours delivers before `send` is back, or soon after it
                    while receiver.recv(&mut [0; 8]).is_ok() {
                        came += 1;
                    }
                }
                receiver.set_nonblocking(false).unwrap();
                receiver.set_read_timeout(Some(NEVER)).unwrap();
                while receiver.recv(&mut [0; 8]).is_ok() {
                    came += 1;
                }
                let expected = f64::from(PACKETS) * (1.0 - percent / 100.0);
                // six standard deviations: wrong once in a billion runs
                let deviation = (f64::from(PACKETS) * percent / 100.0 * (1.0 - percent / 100.0)).sqrt();
                let off = (f64::from(came) - expected).abs();
                assert!(off <= 6.0 * deviation, "{came} of {PACKETS} came at {percent} % loss");
            }
        }
        node.net.faults(&[]);
        assert!(ask(&node.outside.udp((node_address(true), NODE_PORT).into()), NEVER).is_ok());
    });
}

#[test]
fn a_vxlan_tunnel_is_cut_with_its_port_and_leaves_no_trace_in_conntrack() {
    in_namespaces("faults::a_vxlan_tunnel_is_cut_with_its_port_and_leaves_no_trace_in_conntrack", || {
        let node = Node::new();
        let tunnel = |net: &Net, own: IpAddr, other: IpAddr, inside: &str| {
            net.ip(&format!("link add vxlan0 type vxlan id 4097 local {own} remote {other} dstport 4789 dev eth0"));
            net.ip(&format!("link set vxlan0 up\naddress add {inside}/24 dev vxlan0"));
        };
        let (own, other) = (node_address(true), outside_address(true));
        tunnel(&node.net, own, other, "10.9.9.1");
        tunnel(&node.outside, other, own, "10.9.9.2");
        node.net.node(&rules(vec![]));
        let through = ([10, 9, 9, 2], PORT).into();
        assert_eq!(node.net.connect(through).unwrap().server, "outside");
        let known = || node.net.run(|| std::fs::read_to_string("/proc/thread-self/net/nf_conntrack"));
        match known() {
            Ok(known) => assert!(known.contains("dst=10.9.9.2") && !known.contains("port=4789"), "{known}"),
            Err(error) => println!("note: what conntrack knows cannot be seen here: {error}"),
        }
        for direction in [Direction::In, Direction::Out] {
            node.net.faults(&[drop_of(Some(other), Some(Protocol::Udp), Some(4789), direction)]);
            assert!(node.net.is_silent(through));
            assert!(node.net.connect(served(other)).is_ok(), "other ports pass");
        }
        node.net.faults(&[]);
        assert!(node.net.connect(through).is_ok());
    });
}
