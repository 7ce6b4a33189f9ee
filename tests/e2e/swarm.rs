//! `docker swarm`: who may come in, with what token, and how one leaves.
#![allow(clippy::unwrap_used)]

use crate::support::Cluster;

const NO_MANAGER: &str = "This node is not a swarm manager.";

#[test]
fn a_swarm_is_made_joined_and_left() {
    let c = Cluster::plain(3);
    c.refused("node1 node ls", 1, NO_MANAGER);
    c.refused("node1 swarm leave", 1, "This node is not part of a swarm");
    let made = c.ok("node1 swarm init --advertise-addr 10.77.0.11");
    assert!(made.contains("docker swarm join --token SWMTKN-1-") && made.contains(" 10.77.0.11:2377"), "{made}");
    c.refused("node1 swarm init", 1, "This node is already part of a swarm.");
    let worker = c.ok("node1 swarm join-token -q worker");
    let manager = c.ok("node1 swarm join-token -q manager");
    assert_ne!(worker, manager);

    let join = |token: &str, address: &str| format!("node2 swarm join --token {token} {address}");
    c.refused(&join("garbage", "10.77.0.11:2377"), 1, "invalid join token");
    c.refused(&join("SWMTKN-1-aa-bb", "10.77.0.11:2377"), 1, "invalid join token");
    c.refused(&join(&worker, "10.77.0.11:9999"), 1, "refused");
    // a token of right form with another secret
    let wrong = format!("{}{}", &worker[..worker.len() - 1], if worker.ends_with('x') { 'y' } else { 'x' });
    c.refused(&join(&wrong, "10.77.0.11:2377"), 1, "A valid join token is necessary");
    assert_eq!(c.ok("node2 info --format {{.Swarm.LocalNodeState}}"), "inactive");

    let joined = c.ok(&join(&worker, "10.77.0.11:2377"));
    assert_eq!(joined, "This node joined a swarm as a worker.");
    c.refused(&join(&worker, "10.77.0.11:2377"), 1, "already part of a swarm");
    c.refused("node2 node ls", 1, NO_MANAGER);
    c.refused("node2 swarm join-token worker", 1, NO_MANAGER);
    c.refused("node2 service ls", 1, NO_MANAGER);

    let rotated = c.ok("node1 swarm join-token --rotate -q worker");
    assert_ne!(rotated, worker);
    c.refused(&join(&worker, "10.77.0.11:2377").replace("node2", "node3"), 1, "A valid join token is necessary");
    assert_eq!(c.ok("node1 swarm join-token -q manager"), manager, "the other role's token stays");
    c.ok(&join(&rotated, "10.77.0.11").replace("node2", "node3"));
    c.until("node1 node ls --format {{.Status}}", |out| out == "Ready\nReady\nReady");

    assert_eq!(c.ok("node3 swarm leave"), "Node left the swarm.");
    c.until("node1 node ls --format '{{.Hostname}} {{.Status}}'", |out| out.contains("node3 Down"));
    c.ok("node1 node rm node3");
    c.refused("node1 swarm leave", 1, "Use `--force` to ignore this message.");
    c.ok("node1 swarm leave --force");
    assert_eq!(c.ok("node1 info --format {{.Swarm.LocalNodeState}}"), "inactive");
    c.refused("node1 node ls", 1, NO_MANAGER);
}

#[test]
fn settings_of_the_swarm_are_kept_and_wrong_ones_refused() {
    let c = Cluster::one(1, 0);
    c.ok("manager1 swarm update --task-history-limit 2 --dispatcher-heartbeat 7s");
    let spec = c.ok("manager1 info --format '{{json .Swarm.Cluster.Spec}}'");
    assert!(spec.contains("\"TaskHistoryRetentionLimit\":2") && spec.contains("7000000000"), "{spec}");
    c.refused("manager1 swarm update --dispatcher-heartbeat -1s", 1, "");
    c.refused("manager1 swarm update --nonsense", 125, "unknown flag: --nonsense");
    c.refused("manager1 swarm join-token cook", 1, "unknown role cook");
}
