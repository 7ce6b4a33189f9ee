//! Who may talk to whom.

use super::namespaces::{Net, in_namespaces};
use super::node::*;
use super::overlay::FAMILIES;

/// Whom the server sees, by TCP.
fn seen(from: &Net, to: std::net::IpAddr) -> std::net::IpAddr {
    from.connect(served(to)).unwrap().seen
}

#[test]
fn containers_reach_the_world_by_the_nodes_address() {
    in_namespaces("isolation::containers_reach_the_world_by_the_nodes_address", || {
        let node = Node::new();
        node.net.node(&rules(vec![]));
        for v4 in FAMILIES {
            for container in [&node.docker0[0], &node.user[1]] {
                assert_eq!(seen(container, outside_address(v4)), node_address(v4));
                assert_eq!(container.ask(served(outside_address(v4))).unwrap().1, node_address(v4));
            }
            let gateway = (gateway(v4), NODE_PORT).into();
            assert_eq!(node.docker0[0].connect(gateway).unwrap().seen, at_docker0(v4, 0), "the node sees them");
        }
    });
}

#[test]
fn without_masquerade_they_keep_their_address() {
    in_namespaces("isolation::without_masquerade_they_keep_their_address", || {
        let node = Node::new();
        let mut rules = rules(vec![]);
        rules.bridges.iter_mut().for_each(|bridge| bridge.masquerade = false);
        node.net.node(&rules);
        for v4 in FAMILIES {
            assert_eq!(seen(&node.docker0[0], outside_address(v4)), at_docker0(v4, 0));
        }
    });
}

#[test]
fn containers_of_one_bridge_reach_each_other_and_no_other_bridge() {
    in_namespaces("isolation::containers_of_one_bridge_reach_each_other_and_no_other_bridge", || {
        let node = Node::new();
        node.net.node(&rules(vec![]));
        for v4 in FAMILIES {
            assert_eq!(seen(&node.docker0[0], at_docker0(v4, 1)), at_docker0(v4, 0));
            assert_eq!(seen(&node.user[0], at_user(v4, 1)), at_user(v4, 0));
            assert!(node.docker0[0].is_silent(served(at_user(v4, 0))));
            assert!(node.user[0].is_silent(served(at_docker0(v4, 0))));
            assert_eq!(node.net.connect(served(at_user(v4, 0))).unwrap().server, "br-0123456789ab-0");
        }
    });
}

#[test]
fn nobody_reaches_a_container_from_outside_but_by_a_published_port() {
    in_namespaces("isolation::nobody_reaches_a_container_from_outside_but_by_a_published_port", || {
        let node = Node::new();
        for v4 in FAMILIES {
            node.net.node(&rules(published(v4, None, 8080).into()));
            assert!(node.outside.is_silent(served(at_docker0(v4, 0))));
            assert!(node.outside.connect((node_address(v4), 8080).into()).is_ok());
        }
    });
}

#[test]
fn an_internal_bridge_is_for_itself() {
    in_namespaces("isolation::an_internal_bridge_is_for_itself", || {
        let node = Node::new();
        node.net.node(&rules(vec![]));
        for v4 in FAMILIES {
            assert_eq!(seen(&node.internal[0], at_internal(v4, 1)), at_internal(v4, 0));
            assert!(node.internal[0].is_silent(served(outside_address(v4))));
            assert!(node.internal[0].is_silent(served(at_docker0(v4, 0))));
            assert!(node.docker0[0].is_silent(served(at_internal(v4, 0))));
            assert!(node.outside.is_silent(served(at_internal(v4, 0))));
        }
    });
}
