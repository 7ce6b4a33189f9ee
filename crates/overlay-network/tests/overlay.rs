//! Overlay networks in a real kernel, with real packets: nodes as network namespaces at a common bridge.
#![allow(clippy::unwrap_used)]

mod kernel;
mod overlay_lab;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use kernel::{Capture, in_namespaces, ping, tcp_echo, udp_echo, until, within};
use overlay_lab::{Lab, NETWORK, OTHER, network, peers, place, two_nodes};
use overlay_network::overlay::Peer;
use overlay_network::plan::overlay::cable_name;
use overlay_network::plan::{Cidr, LinkKind, LinkPlan, Mac, Namespace, Neighbor, NetPlan};
use overlay_network::{NetError, NetNamespace};

#[test]
fn containers_on_two_nodes_reach_each_other_by_both_families() {
    in_namespaces("containers_on_two_nodes_reach_each_other_by_both_families", async || {
        let lab = Lab::new().await;
        let (_nodes, [here, there], [one, two]) = two_nodes(&lab).await;
        let (one, two) = (one.namespace(), two.namespace());
        // at once: no duplicate address detection, no learning
        tcp_echo(&two, &one, there.v6()).unwrap();
        tcp_echo(&one, &two, here.v6()).unwrap();
        ping(&one, there.v4()).unwrap();
        ping(&two, here.v4()).unwrap();
        tcp_echo(&two, &one, there.v4()).unwrap();
        udp_echo(&two, &one, there.v4(), 100).unwrap();
        udp_echo(&one, &two, here.v6(), 100).unwrap();
        // the network's gateway is on every node
        ping(&one, Ipv4Addr::new(10, 0, 1, 1).into()).unwrap();
    });
}

#[test]
fn an_address_that_nobody_has_is_no_packet_between_nodes() {
    in_namespaces("an_address_that_nobody_has_is_no_packet_between_nodes", async || {
        let lab = Lab::new().await;
        let ([one, _two], [_, there], [a, b]) = two_nodes(&lab).await;
        let (a, b) = (a.namespace(), b.namespace());
        let underlay = Capture::on(&one.namespace, "eth0");
        udp_echo(&b, &a, there.v4(), 10).unwrap();
        assert!(underlay.udp_to(4789) >= 2, "what is meant for another node is seen");
        for nobody in ["10.0.1.77", "fd00:1::77"] {
            let result = within(&a, || {
                let nobody: IpAddr = nobody.parse().unwrap();
                std::net::TcpStream::connect_timeout(&(nobody, 80).into(), std::time::Duration::from_millis(500))
            });
            assert!(result.is_err());
        }
        // a broadcast, and a group
        for to in ["10.0.1.255:99", "224.0.0.251:5353", "[ff02::1%2]:99"] {
            within(&a, || {
                let any = if to.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
                let socket = std::net::UdpSocket::bind(any).unwrap();
                socket.set_broadcast(true).unwrap();
                // some are refused for want of a route: then nothing travels anyway
                let _ = socket.send_to(b"everybody?", to);
            });
        }
        udp_echo(&b, &a, there.v4(), 10).unwrap();
        assert_eq!(underlay.udp_to(4789), 2, "only the datagram and its answer");
    });
}

#[test]
fn containers_see_nothing_that_is_meant_for_others() {
    in_namespaces("containers_see_nothing_that_is_meant_for_others", async || {
        let lab = Lab::new().await;
        let ([mut one, _two], [_, there], [a, b]) = two_nodes(&lab).await;
        let curious = one.run(NETWORK, &place(8, 1)).await;
        let seen = Capture::on(&curious.namespace(), "eth0");
        let server = std::net::UdpSocket::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port();
        let _listening = within(&b.namespace(), || std::net::UdpSocket::bind(("0.0.0.0", server)).unwrap());
        // a link-layer address that nobody has
        let nobody: IpAddr = Ipv4Addr::new(10, 0, 1, 77).into();
        let known = BTreeSet::from([Neighbor { ip: nobody, mac: Mac::of_ip(nobody) }]);
        let plan = NetPlan { neighbors: BTreeMap::from([("eth0".into(), known)]), ..NetPlan::default() };
        NetNamespace::at(&a.namespace()).unwrap().apply(&plan).await.unwrap();
        for to in [there.v4(), nobody] {
            within(&a.namespace(), || {
                let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
                socket.send_to(b"for one only", (to, server)).unwrap();
            });
        }
        // what is meant for it, it sees: so what was before that has passed
        within(&a.namespace(), || {
            let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.send_to(b"for you", (place(8, 1).v4(), server)).unwrap();
        });
        let mut count = 0;
        until("its own datagram", || {
            count += seen.udp_to(server);
            count > 0
        });
        assert_eq!(count, 1);
    });
}

#[test]
fn the_underlay_may_be_ipv6() {
    in_namespaces("the_underlay_may_be_ipv6", async || {
        let lab = Lab::new().await;
        let mut nodes = [lab.node(1).await, lab.node(2).await];
        let ends = [1, 2].map(|n| format!("fd99::{n}").parse::<IpAddr>().unwrap());
        let places = [place(3, 1), place(4, 2)];
        let mut containers = Vec::new();
        for (index, node) in nodes.iter_mut().enumerate() {
            let mut eth0 = LinkPlan::new("eth0", LinkKind::Existing);
            eth0.addresses.extend(Cidr::new(ends[index], 64));
            let plan = NetPlan { links: vec![eth0], ..NetPlan::default() };
            NetNamespace::at(&node.namespace).unwrap().apply(&plan).await.unwrap();
            node.config.data_path = ends[index];
            node.restart().await;
            let mut network = network(NETWORK, 4097, places[index].node);
            network.mtu = 1430;
            node.driver.ensure(&network).await.unwrap();
            containers.push(node.run(NETWORK, &places[index]).await);
            let mut peer = places[1 - index].peer();
            peer.vtep = ends[1 - index];
            node.driver.set_peers(NETWORK, &BTreeSet::from([peer])).await.unwrap();
            assert_eq!(node.missing(NETWORK).await, 0);
        }
        let [one, two] = [containers[0].namespace(), containers[1].namespace()];
        tcp_echo(&two, &one, places[1].v4()).unwrap();
        tcp_echo(&one, &two, places[0].v6()).unwrap();
        udp_echo(&two, &one, places[1].v4(), 1430 - 28).unwrap();
    });
}

#[test]
fn packets_of_1450_bytes_pass_whole_and_larger_ones_do_not() {
    in_namespaces("packets_of_1450_bytes_pass_whole_and_larger_ones_do_not", async || {
        let lab = Lab::new().await;
        let (_nodes, [_, there], [one, two]) = two_nodes(&lab).await;
        let (one, two) = (one.namespace(), two.namespace());
        // headers: 20 or 40, and 8
        udp_echo(&two, &one, there.v4(), 1450 - 28).unwrap();
        udp_echo(&two, &one, there.v6(), 1450 - 48).unwrap();
        assert!(udp_echo(&two, &one, there.v4(), 1450 - 28 + 1).unwrap_err().starts_with("send"));
        assert!(udp_echo(&two, &one, there.v6(), 1450 - 48 + 1).unwrap_err().starts_with("send"));
    });
}

#[test]
fn networks_do_not_see_each_other() {
    in_namespaces("networks_do_not_see_each_other", async || {
        let lab = Lab::new().await;
        let ([mut one, mut two], [_, there], [_a, _b]) = two_nodes(&lab).await;
        // the same addresses, another network
        one.driver.ensure(&network(OTHER, 4098, 1)).await.unwrap();
        two.driver.ensure(&network(OTHER, 4098, 2)).await.unwrap();
        let (near, far, local) = (place(5, 1), place(6, 2), place(7, 1));
        let x = one.run(OTHER, &near).await;
        let y = two.run(OTHER, &far).await;
        let z = one.run(OTHER, &local).await;
        one.driver.set_peers(OTHER, &peers([&far])).await.unwrap();
        two.driver.set_peers(OTHER, &peers([&near, &local])).await.unwrap();
        tcp_echo(&y.namespace(), &x.namespace(), far.v4()).unwrap();
        tcp_echo(&z.namespace(), &x.namespace(), local.v4()).unwrap();
        for stranger in [there.v4(), there.v6(), place(3, 1).v4()] {
            let connected = within(&x.namespace(), || {
                std::net::TcpStream::connect_timeout(&(stranger, 80).into(), std::time::Duration::from_millis(300))
            });
            let error = connected.unwrap_err();
            assert_ne!(error.kind(), std::io::ErrorKind::ConnectionRefused, "{stranger} answered");
        }
    });
}

#[test]
fn a_second_wish_makes_no_step() {
    in_namespaces("a_second_wish_makes_no_step", async || {
        let lab = Lab::new().await;
        let ([mut one, _two], [here, _], [a, _b]) = two_nodes(&lab).await;
        assert_eq!(one.missing(NETWORK).await, 0);
        one.driver.ensure(&network(NETWORK, 4097, 1)).await.unwrap();
        one.driver.attach(NETWORK, &here.port(a.pid())).await.unwrap();
        assert_eq!(one.missing(NETWORK).await, 0);
        one.restart().await;
        one.driver.ensure(&network(NETWORK, 4097, 1)).await.unwrap();
        one.driver.attach(NETWORK, &here.port(a.pid())).await.unwrap();
        assert_eq!(one.missing(NETWORK).await, 0);
    });
}

#[test]
fn a_new_daemon_changes_nothing_under_its_containers() {
    in_namespaces("a_new_daemon_changes_nothing_under_its_containers", async || {
        let lab = Lab::new().await;
        let ([mut one, _two], [here, there], [a, b]) = two_nodes(&lab).await;
        let (ns_a, ns_b) = (a.namespace(), b.namespace());
        one.restart().await;
        tcp_echo(&ns_b, &ns_a, there.v4()).unwrap();
        one.driver.ensure(&network(NETWORK, 4097, 1)).await.unwrap();
        // it has not heard of other nodes yet
        tcp_echo(&ns_b, &ns_a, there.v4()).unwrap();
        one.driver.attach(NETWORK, &here.port(a.pid())).await.unwrap();
        tcp_echo(&ns_a, &ns_b, here.v4()).unwrap();
        one.driver.set_peers(NETWORK, &peers([&there])).await.unwrap();
        tcp_echo(&ns_a, &ns_b, here.v6()).unwrap();
        one.driver.retain(&BTreeSet::from([NETWORK.to_owned()])).await.unwrap();
        tcp_echo(&ns_b, &ns_a, there.v6()).unwrap();
    });
}

#[test]
fn removing_leaves_nothing_behind() {
    in_namespaces("removing_leaves_nothing_behind", async || {
        let lab = Lab::new().await;
        let ([mut one, _two], [here, there], [a, _b]) = two_nodes(&lab).await;
        let links = async |namespace: &Path| {
            let namespace = NetNamespace::at(namespace).unwrap();
            namespace.observe(&NetPlan::default()).await.unwrap().links.into_keys().collect::<Vec<_>>()
        };
        let pin = one.driver.pin(NETWORK);
        assert!(pin.ends_with("1-aaaaaaaaaa") && NetNamespace::is_pinned(&pin));
        let cable = cable_name(&here.port(0).endpoint);
        assert_eq!(links(&pin).await, ["br0", "lo", &cable, "vxlan0"]);
        one.driver.detach(NETWORK, &here.port(0).endpoint).await.unwrap();
        one.driver.detach(NETWORK, &here.port(0).endpoint).await.unwrap();
        assert_eq!(links(&pin).await, ["br0", "lo", "vxlan0"]);
        assert_eq!(links(&a.namespace()).await, ["lo"], "the container lost its interface");
        // somebody looks into the namespace while it is removed, and a container is still there
        one.driver.attach(NETWORK, &here.port(a.pid())).await.unwrap();
        let looking = std::fs::File::open(&pin).unwrap();
        one.driver.remove(NETWORK).await.unwrap();
        one.driver.remove(NETWORK).await.unwrap();
        assert_eq!(links(&a.namespace()).await, ["lo"]);
        assert_eq!(std::fs::read_dir(&one.config.netns_dir).unwrap().count(), 0);
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        assert!(!mounts.contains(one.config.netns_dir.to_str().unwrap()));
        assert_eq!(links(&one.namespace).await, ["eth0", "lo"]);
        let error = one.driver.set_peers(NETWORK, &peers([&there])).await.unwrap_err();
        assert!(error.to_string().contains("not set up on this node"), "{error}");
        // and it can come back at once, with its VXLAN id
        one.driver.ensure(&network(NETWORK, 4097, 1)).await.unwrap();
        drop(looking);
    });
}

#[test]
fn networks_that_are_not_kept_go_whoever_made_them() {
    in_namespaces("networks_that_are_not_kept_go_whoever_made_them", async || {
        let lab = Lab::new().await;
        let mut one = lab.node(1).await;
        for (id, vni) in [(NETWORK, 4097), (OTHER, 4098), ("ccccccccccccccccccccccccc", 4099)] {
            one.driver.ensure(&network(id, vni, 1)).await.unwrap();
        }
        // what others keep there is theirs
        let foreign = one.config.netns_dir.join("0123456789ab");
        NetNamespace::pinned(&foreign).unwrap();
        one.restart().await;
        one.driver.ensure(&network(OTHER, 4098, 1)).await.unwrap();
        one.driver.retain(&BTreeSet::from([NETWORK.to_owned()])).await.unwrap();
        let mut left: Vec<_> =
            std::fs::read_dir(&one.config.netns_dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["0123456789ab", "1-aaaaaaaaaa"]);
        assert!(NetNamespace::is_pinned(&foreign));
        // the id of a network that a former daemon had is taken over by another network
        one.restart().await;
        one.driver.ensure(&network(OTHER, 4097, 1)).await.unwrap();
        assert!(!NetNamespace::is_pinned(&one.driver.pin(NETWORK)));
    });
}

#[test]
fn what_others_broke_is_repaired() {
    in_namespaces("what_others_broke_is_repaired", async || {
        let lab = Lab::new().await;
        let ([mut one, _two], [here, there], [a, b]) = two_nodes(&lab).await;
        let (ns_a, ns_b) = (a.namespace(), b.namespace());
        let pin = one.driver.pin(NETWORK);
        let inside = NetNamespace::at(&pin).unwrap();
        let wish = network(NETWORK, 4097, 1);
        let cable = cable_name(&here.port(0).endpoint);
        for link in ["vxlan0", "br0", cable.as_str()] {
            inside.delete_link(link).await.unwrap();
            one.driver.ensure(&wish).await.unwrap();
            tcp_echo(&ns_b, &ns_a, there.v4()).unwrap_or_else(|error| panic!("after the loss of {link}: {error}"));
            tcp_echo(&ns_a, &ns_b, here.v6()).unwrap_or_else(|error| panic!("after the loss of {link}: {error}"));
            assert_eq!(one.missing(NETWORK).await, 0);
        }
        inside.set_up("vxlan0", false).await.unwrap();
        one.driver.ensure(&wish).await.unwrap();
        tcp_echo(&ns_b, &ns_a, there.v4()).unwrap();
        // all entries gone, and one too many
        let mut plan = one.driver.plan(NETWORK).unwrap();
        plan.neighbors.values_mut().for_each(BTreeSet::clear);
        plan.forwarding.values_mut().for_each(BTreeSet::clear);
        inside.apply(&plan).await.unwrap();
        assert_eq!(one.missing(NETWORK).await, 3, "neighbours, remote ends, and the container's own");
        one.driver.set_peers(NETWORK, &peers([&there, &place(9, 2)])).await.unwrap();
        one.driver.set_peers(NETWORK, &peers([&there])).await.unwrap();
        assert_eq!(one.missing(NETWORK).await, 0);
        tcp_echo(&ns_b, &ns_a, there.v4()).unwrap();
        // the container's own side
        let container = NetNamespace::at(&ns_a).unwrap();
        container.set_up("eth0", false).await.unwrap();
        one.driver.ensure(&wish).await.unwrap();
        tcp_echo(&ns_b, &ns_a, there.v6()).unwrap();
        // the name: the namespace lives through the daemon
        NetNamespace::unpin(&pin).unwrap();
        one.driver.ensure(&wish).await.unwrap();
        assert!(NetNamespace::is_pinned(&pin));
        tcp_echo(&ns_b, &ns_a, there.v4()).unwrap();
    });
}

#[test]
fn a_node_that_restarted_finds_names_without_namespaces() {
    in_namespaces("a_node_that_restarted_finds_names_without_namespaces", async || {
        let lab = Lab::new().await;
        let mut one = lab.node(1).await;
        let pin = one.driver.pin(NETWORK);
        std::fs::create_dir_all(pin.parent().unwrap()).unwrap();
        std::fs::write(&pin, "").unwrap();
        std::fs::write(one.driver.pin(OTHER), "").unwrap();
        one.driver.ensure(&network(NETWORK, 4097, 1)).await.unwrap();
        assert!(NetNamespace::is_pinned(&pin));
        one.driver.retain(&BTreeSet::from([NETWORK.to_owned()])).await.unwrap();
        assert!(!one.driver.pin(OTHER).exists());
    });
}

#[test]
fn a_daemon_that_died_half_way_is_no_obstacle() {
    in_namespaces("a_daemon_that_died_half_way_is_no_obstacle", async || {
        let lab = Lab::new().await;
        let ([mut one, two], [here, there], [a, b]) = two_nodes(&lab).await;
        let whole = one.driver.plan(NETWORK).unwrap();
        let wish = network(NETWORK, 4097, 1);
        let underlay = NetNamespace::at(&one.namespace).unwrap();
        // after the name, after each of the links, and before it was told of the others
        for links in 0..=whole.links.len() {
            one.driver.remove(NETWORK).await.unwrap();
            let mut half = NetPlan { links: whole.links.clone(), ..NetPlan::default() };
            half.links.truncate(links);
            if let Some(last) = half.links.last_mut() {
                (last.master, last.mac, last.mtu) = (None, None, None);
            }
            let namespace = NetNamespace::pinned(&one.driver.pin(NETWORK)).unwrap();
            namespace.apply_over(&half, &underlay).await.unwrap();
            if links == whole.links.len() {
                // a cable whose ends have neither bridge nor address
                let port = here.port(a.pid());
                let kind = LinkKind::Veth {
                    peer: port.interface.clone(),
                    peer_mac: None,
                    peer_namespace: Namespace::Pid(port.pid),
                };
                let links = vec![LinkPlan::new(cable_name(&port.endpoint), kind)];
                namespace.apply(&NetPlan { links, ..NetPlan::default() }).await.unwrap();
            }
            one.restart().await;
            one.driver.ensure(&wish).await.unwrap();
            one.driver.attach(NETWORK, &here.port(a.pid())).await.unwrap();
            one.driver.set_peers(NETWORK, &peers([&there])).await.unwrap();
            tcp_echo(&b.namespace(), &a.namespace(), there.v4()).unwrap();
            assert_eq!(one.missing(NETWORK).await, 0);
        }
        assert_eq!(two.missing(NETWORK).await, 0);
    });
}

#[test]
fn a_container_that_moves_is_found_at_once() {
    in_namespaces("a_container_that_moves_is_found_at_once", async || {
        let lab = Lab::new().await;
        let ([mut one, mut two], [here, there], [a, b]) = two_nodes(&lab).await;
        tcp_echo(&b.namespace(), &a.namespace(), there.v4()).unwrap();
        // its address appears on the first node, before that has heard that it left the second
        two.driver.detach(NETWORK, &there.port(0).endpoint).await.unwrap();
        drop(b);
        let moved = place(4, 1);
        let b = one.run(NETWORK, &moved).await;
        assert_eq!(one.missing(NETWORK).await, 0, "what the others say of it counts no more");
        tcp_echo(&b.namespace(), &a.namespace(), moved.v4()).unwrap();
        two.driver.set_peers(NETWORK, &peers([&here, &moved])).await.unwrap();
        let c = two.run(NETWORK, &place(5, 2)).await;
        one.driver.set_peers(NETWORK, &peers([&place(5, 2)])).await.unwrap();
        tcp_echo(&b.namespace(), &c.namespace(), moved.v4()).unwrap();
        // and back, while both ends still think that they know each other's link-layer address
        one.driver.detach(NETWORK, &moved.port(0).endpoint).await.unwrap();
        drop(b);
        let b = two.run(NETWORK, &there).await;
        one.driver.set_peers(NETWORK, &peers([&there, &place(5, 2)])).await.unwrap();
        two.driver.set_peers(NETWORK, &peers([&here])).await.unwrap();
        tcp_echo(&b.namespace(), &a.namespace(), there.v4()).unwrap();
        tcp_echo(&b.namespace(), &c.namespace(), there.v6()).unwrap();
    });
}

#[test]
fn an_interface_that_is_there_already_is_not_taken() {
    in_namespaces("an_interface_that_is_there_already_is_not_taken", async || {
        let lab = Lab::new().await;
        let ([mut one, _two], [here, there], [a, b]) = two_nodes(&lab).await;
        one.driver.ensure(&network(OTHER, 4098, 1)).await.unwrap();
        let error = one.driver.attach(OTHER, &here.port(a.pid())).await.unwrap_err();
        assert!(error.to_string().contains("has another interface eth0 already"), "{error}");
        let mut second = here.port(a.pid());
        second.interface = "eth1".into();
        one.driver.attach(OTHER, &second).await.unwrap();
        tcp_echo(&b.namespace(), &a.namespace(), there.v4()).unwrap();
        for bad in ["", "a b", "sixteen-and-more", "../up"] {
            second.interface = bad.into();
            assert!(matches!(one.driver.attach(OTHER, &second).await, Err(NetError::Invalid(_))), "{bad}");
        }
    });
}

#[test]
fn looking_after_many_containers_and_peers_is_cheap() {
    in_namespaces("looking_after_many_containers_and_peers_is_cheap", async || {
        let lab = Lab::new().await;
        let mut one = lab.node(1).await;
        let mut wide = network(NETWORK, 4097, 1);
        wide.subnets[0].subnet = "10.0.0.0/16".parse().unwrap();
        let begin = std::time::Instant::now();
        one.driver.ensure(&wide).await.unwrap();
        eprintln!("measured: a network made in {:?}", begin.elapsed());
        let many = (0..1000u32).map(|n| {
            let ip = Ipv4Addr::from(0x0a00_0200 + n);
            let vtep = Ipv4Addr::from(0x0a63_0100 + n / 10).into();
            Peer { addresses: vec![ip.into()], mac: Mac::of_ip(ip), vtep }
        });
        one.driver.set_peers(NETWORK, &many.collect()).await.unwrap();
        let mut containers = Vec::new();
        let begin = std::time::Instant::now();
        for number in 10..50 {
            containers.push(one.run(NETWORK, &place(number, 1)).await);
        }
        eprintln!("measured: 40 containers started and attached in {:?}", begin.elapsed());
        let begin = std::time::Instant::now();
        one.driver.ensure(&wide).await.unwrap();
        let took = begin.elapsed();
        eprintln!("measured: a look at a network with 40 containers and 1000 peers in {took:?}");
        assert!(took < std::time::Duration::from_secs(5), "{took:?}");
        assert_eq!(one.missing(NETWORK).await, 0);
    });
}

#[test]
fn a_thousand_peers_are_a_matter_of_milliseconds() {
    in_namespaces("a_thousand_peers_are_a_matter_of_milliseconds", async || {
        let lab = Lab::new().await;
        let mut one = lab.node(1).await;
        let mut wide = network(NETWORK, 4097, 1);
        wide.subnets[0].subnet = "10.0.0.0/16".parse().unwrap();
        one.driver.ensure(&wide).await.unwrap();
        let many: BTreeSet<Peer> = (0..1000u32)
            .map(|n| {
                let ip = Ipv4Addr::from(0x0a00_0200 + n);
                let vtep = Ipv4Addr::from(0x0a63_0100 + n / 10).into();
                Peer { addresses: vec![ip.into()], mac: Mac::of_ip(ip), vtep }
            })
            .collect();
        let mut took = async |what: &str, peers: &BTreeSet<Peer>| {
            let begin = std::time::Instant::now();
            one.driver.set_peers(NETWORK, peers).await.unwrap();
            let took = begin.elapsed();
            eprintln!("measured: {what} in {took:?}");
            // far more than it takes anywhere, far less than one request at a time to a thousand answers by people
            assert!(took < std::time::Duration::from_secs(5), "{what}: {took:?}");
            assert_eq!(one.missing(NETWORK).await, 0);
        };
        took("a thousand peers added", &many).await;
        took("the same again", &many).await;
        took("one less", &many.iter().skip(1).cloned().collect()).await;
        took("all removed", &BTreeSet::new()).await;
    });
}
