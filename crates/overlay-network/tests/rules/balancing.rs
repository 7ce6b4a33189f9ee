//! Virtual addresses: who gets a connection, whom it sees, and what becomes of it when the rules change.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use overlay_network::rules::{OverlayRules, Protocol};

use super::namespaces::{NEVER, SOON, ask, has, in_namespaces};
use super::overlay::*;

/// How often each name is there.
fn count(names: impl IntoIterator<Item = String>) -> BTreeMap<String, usize> {
    names.into_iter().fold(BTreeMap::new(), |mut counts, name| {
        *counts.entry(name).or_default() += 1;
        counts
    })
}

#[test]
fn backends_take_turns_and_see_the_load_balancer() {
    in_namespaces("balancing::backends_take_turns_and_see_the_load_balancer", || {
        let net = Overlay::new(4);
        net.balancer.overlay(&rules(vec![service(0, &[1, 2, 3])]));
        let client = &net.containers[0];
        let even: BTreeMap<String, usize> = ["1", "2", "3"].map(|name| (name.to_owned(), 20)).into();
        for v4 in FAMILIES {
            let tcp: Vec<_> = (0..60).map(|_| client.connect(target(v4, 0)).unwrap()).collect();
            assert!(tcp.iter().all(|talk| talk.seen == balancer(v4)));
            assert_eq!(count(tcp.into_iter().map(|talk| talk.server)), even);
            // all open at once, so that no two have the same port: they would be one conversation
            let sockets: Vec<_> = (0..60).map(|_| client.udp(target(v4, 0))).collect();
            let udp: Vec<_> = sockets.iter().map(|socket| ask(socket, SOON).unwrap()).collect();
            assert!(udp.iter().all(|(_, seen)| *seen == balancer(v4)));
            assert_eq!(count(udp.into_iter().map(|(server, _)| server)), even);
        }
    });
}

#[test]
fn a_conversation_stays_with_its_backend() {
    in_namespaces("balancing::a_conversation_stays_with_its_backend", || {
        let net = Overlay::new(3);
        net.balancer.overlay(&rules(vec![service(0, &[1, 2])]));
        for v4 in FAMILIES {
            let socket = net.containers[0].udp(target(v4, 0));
            let servers: BTreeSet<String> = (0..20).map(|_| ask(&socket, SOON).unwrap().0).collect();
            assert_eq!(servers.len(), 1);
            let mut talk = net.containers[0].connect(target(v4, 0)).unwrap();
            assert!((0..20).all(|_| talk.goes_on().unwrap()));
        }
    });
}

#[test]
fn a_backend_that_leaves_keeps_its_connections_and_gets_no_new_ones() {
    in_namespaces("balancing::a_backend_that_leaves_keeps_its_connections_and_gets_no_new_ones", || {
        let net = Overlay::new(4);
        let client = &net.containers[0];
        for v4 in FAMILIES {
            net.balancer.overlay(&rules(vec![service(0, &[1, 2, 3])]));
            let mut talks: Vec<_> = (0..6).map(|_| client.connect(target(v4, 0)).unwrap()).collect();
            net.balancer.overlay(&rules(vec![service(0, &[1, 3])]));
            let fresh = count((0..20).map(|_| client.connect(target(v4, 0)).unwrap().server));
            assert_eq!(fresh, [("1".to_owned(), 10), ("3".to_owned(), 10)].into());
            assert_eq!(talks.iter().filter(|talk| talk.server == "2").count(), 2);
            assert!(talks.iter_mut().all(|talk| talk.goes_on().unwrap()));
            // and when the last one left
            net.balancer.overlay(&rules(vec![service(0, &[])]));
            assert!(talks.iter_mut().all(|talk| talk.goes_on().unwrap()));
            assert_eq!(client.connect(target(v4, 0)).err().unwrap().kind(), ErrorKind::ConnectionRefused);
        }
    });
}

#[test]
fn without_backends_a_service_refuses_at_once() {
    in_namespaces("balancing::without_backends_a_service_refuses_at_once", || {
        let net = Overlay::new(1);
        net.balancer.overlay(&rules(vec![service(0, &[]), service(1, &[0])]));
        for v4 in FAMILIES {
            let begun = Instant::now();
            let tcp = net.containers[0].connect(target(v4, 0)).err().unwrap();
            let udp = net.containers[0].ask(target(v4, 0)).unwrap_err();
            assert_eq!((tcp.kind(), udp.kind()), (ErrorKind::ConnectionRefused, ErrorKind::ConnectionRefused));
            assert!(begun.elapsed() < SOON / 5, "took {:?}", begun.elapsed());
        }
    });
}

#[test]
fn a_client_may_be_its_own_backend() {
    in_namespaces("balancing::a_client_may_be_its_own_backend", || {
        let net = Overlay::new(1);
        net.balancer.overlay(&rules(vec![service(0, &[0])]));
        for v4 in FAMILIES {
            let mut talk = net.containers[0].connect(target(v4, 0)).unwrap();
            assert_eq!((talk.server.as_str(), talk.seen), ("0", balancer(v4)));
            assert!(talk.goes_on().unwrap());
            assert_eq!(net.containers[0].ask(target(v4, 0)).unwrap().0, "0");
        }
    });
}

#[test]
fn a_virtual_address_answers_pings_itself_and_other_addresses_are_direct() {
    in_namespaces("balancing::a_virtual_address_answers_pings_itself_and_other_addresses_are_direct", || {
        let net = Overlay::new(2);
        net.balancer.overlay(&rules(vec![service(0, &[])]));
        let client = &net.containers[0];
        for v4 in FAMILIES {
            let direct = client.connect((address(v4, 1), PORT).into()).unwrap();
            assert_eq!(direct.seen, address(v4, 0));
            if has("ping") {
                let to = virtual_ip(v4, 0).to_string();
                let ping = || Command::new("ping").args(["-c1", "-W2", &to]).stdout(Stdio::null()).status().unwrap();
                assert!(client.run(ping).success());
            }
        }
    });
}

#[test]
fn udp_conversations_leave_a_backend_that_left() {
    in_namespaces("balancing::udp_conversations_leave_a_backend_that_left", || {
        let net = Overlay::new(3);
        let client = &net.containers[0];
        for v4 in FAMILIES {
            net.balancer.overlay(&rules(vec![service(0, &[1]), service(1, &[1])]));
            let (socket, other) = (client.udp(target(v4, 0)), client.udp(target(v4, 1)));
            assert_eq!(ask(&socket, SOON).unwrap().0, "1");
            assert_eq!(ask(&other, SOON).unwrap().0, "1");
            net.balancer.overlay(&rules(vec![service(0, &[2]), service(1, &[1, 2])]));
            assert_eq!(ask(&socket, SOON).unwrap().0, "2", "the backend is of this service no more");
            assert_eq!(ask(&other, SOON).unwrap().0, "1", "but still of that one");
            net.balancer.overlay(&rules(vec![service(1, &[1, 2])]));
            assert!(ask(&socket, NEVER).is_err(), "the service is gone");
        }
    });
}

#[test]
fn tcp_to_a_container_that_is_gone_is_reset_when_told_to_forget() {
    in_namespaces("balancing::tcp_to_a_container_that_is_gone_is_reset_when_told_to_forget", || {
        let net = Overlay::new(3);
        for v4 in FAMILIES {
            net.balancer.overlay(&rules(vec![service(0, &[1])]));
            let mut talk = net.containers[0].connect(target(v4, 0)).unwrap();
            assert!(talk.goes_on().unwrap());
            net.balancer.overlay(&rules(vec![service(0, &[2])]));
            assert!(talk.goes_on().unwrap());
            let gone = BTreeSet::from([address(v4, 1)]);
            let forget = |protocol| {
                net.balancer.with(async |namespace| namespace.flush_conntrack(protocol, &gone).await.unwrap())
            };
            assert_eq!((forget(Protocol::Udp), forget(Protocol::Tcp), forget(Protocol::Tcp)), (0, 1, 0));
            assert_eq!(talk.goes_on().unwrap_err().kind(), ErrorKind::ConnectionReset);
        }
    });
}

#[test]
fn no_connection_fails_while_the_rules_are_replaced() {
    in_namespaces("balancing::no_connection_fails_while_the_rules_are_replaced", || {
        let net = Overlay::new(4);
        net.balancer.overlay(&rules(vec![service(0, &[1, 2, 3])]));
        let done = AtomicBool::new(false);
        let made = std::thread::scope(|scope| {
            let connecting = scope.spawn(|| {
                let mut made = 0;
                while !done.load(Ordering::Relaxed) {
                    for v4 in FAMILIES {
                        net.containers[0].connect(target(v4, 0)).unwrap();
                        net.containers[0].ask(target(v4, 0)).unwrap();
                    }
                    made += 4;
                }
                made
            });
            for round in 0..200 {
                let backends: &[usize] = if round % 2 == 0 { &[1, 2] } else { &[1, 2, 3] };
                assert!(net.balancer.overlay(&rules(vec![service(0, backends)])));
            }
            done.store(true, Ordering::Relaxed);
            connecting.join().unwrap()
        });
        println!("note: {made} connections during 200 replacements");
        assert!(made >= 100, "only {made} connections were made meanwhile");
    });
}

#[test]
fn without_an_address_of_the_load_balancer_a_service_refuses() {
    in_namespaces("balancing::without_an_address_of_the_load_balancer_a_service_refuses", || {
        let net = Overlay::new(2);
        let only_v4 = OverlayRules { load_balancer: vec![balancer(true)], ..rules(vec![service(0, &[1])]) };
        net.balancer.overlay(&only_v4);
        assert_eq!(net.containers[0].connect(target(true, 0)).unwrap().server, "1");
        let refused = net.containers[0].connect(target(false, 0)).err().unwrap();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    });
}
