//! Faults of the network between nodes: what they cut, what they spare, and that they end. The engine is `bare`: faults
//! act on the nodes' network, whatever runs there.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{User, eventually, users};

const PORT: u16 = 8000;

/// Cluster `c` of three nodes; the first has a web server.
fn up(user: &User) {
    user.ok(&["cluster", "up", "c", "--plain", "3", "--engine", "bare"]);
    serve(user);
}

fn serve(user: &User) {
    user.sh("node1", &format!("swarmlab lab-image web --port {PORT} >/dev/null 2>&1 &"));
    eventually("the server answers", || match probe(user, "node1") {
        true => Ok(()),
        false => Err("not yet".into()),
    });
}

/// Whether the web server of node1 is reached from this node within a second, long before TCP tries for the third time.
fn probe(user: &User, from: &str) -> bool {
    let line = format!("timeout 1 bash -c ': </dev/tcp/node1/{PORT}' 2>/dev/null && echo reached || true");
    user.sh(from, &line) == "reached\n"
}

fn fault(user: &User, line: &str) -> String {
    let mut args = vec!["fault", "--cluster", "c"];
    args.extend(line.split(' '));
    user.ok(&args)
}

fn refused(user: &User, line: &str, words: &str) {
    let mut args = vec!["fault", "--cluster", "c"];
    args.extend(line.split(' '));
    let output = user.run(&args);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && said.contains(words), "as {}: {line}: {said}", user.name());
}

#[test]
fn partitions_blocks_and_losses_cut_what_they_say_until_they_are_healed() {
    for user in users() {
        up(&user);
        assert_eq!(fault(&user, "partition node1 --from node2"), "node1 is cut off from node2\n");
        assert_eq!((probe(&user, "node2"), probe(&user, "node3")), (false, true));
        fault(&user, "partition node3 --from node1,node2");
        assert_eq!((probe(&user, "node2"), probe(&user, "node3")), (false, false));
        assert_eq!(
            fault(&user, "heal node2"),
            "no longer: node1 is cut off from node2\nno longer: node3 is cut off from node1, node2\nstill: node3 is cut off from node1\n"
        );
        assert_eq!((probe(&user, "node2"), probe(&user, "node3")), (true, false));
        fault(&user, "heal");
        assert_eq!(fault(&user, "ls"), "Nothing is broken.\n");
        assert!(probe(&user, "node3"));

        fault(&user, "block node1 --port 8000/udp");
        assert!(probe(&user, "node2"), "another protocol");
        fault(&user, "block node1 --port 8000/tcp --peer node3");
        assert_eq!((probe(&user, "node2"), probe(&user, "node3")), (true, false));
        fault(&user, "block node2 --port 7946,8000 --out");
        assert_eq!((probe(&user, "node2"), probe(&user, "node1")), (false, true));
        fault(&user, "heal");
        assert_eq!((probe(&user, "node2"), probe(&user, "node3")), (true, true));

        assert_eq!(fault(&user, "loss node3 100"), "node3: 100 % of the packets are lost\n");
        assert_eq!((probe(&user, "node2"), probe(&user, "node3")), (true, false));
        fault(&user, "heal node3");
        assert!(probe(&user, "node3"));
        user.ok(&["cluster", "down", "c"]);
    }
}

#[test]
fn a_node_that_is_started_again_finds_the_network_as_broken_as_it_was() {
    for user in users() {
        up(&user);
        fault(&user, "partition node1 --from node2");
        assert_eq!(fault(&user, "kill node1"), "node1: power cut\n");
        let told: Value = serde_json::from_str(&fault(&user, "ls --format json")).unwrap();
        assert_eq!(told["faults"], json!([{"kind": "partition", "nodes": ["node1"], "from": ["node2"]}]));
        assert_eq!(told["nodes"], json!([{"name": "node1", "paused": false}]));
        refused(&user, "block node1 --port 80", "node1 is switched off: `swarmlab fault start node1` first");
        assert_eq!(fault(&user, "start node1"), "node1: running\n");
        serve(&user);
        assert_eq!((probe(&user, "node2"), probe(&user, "node3")), (false, true));
        fault(&user, "pause node1");
        assert!(fault(&user, "heal").contains("node1: frozen; `swarmlab fault start node1` lets it run"));
        fault(&user, "start node1");
        assert!(probe(&user, "node2"), "the network of a frozen node is mended too");
        user.ok(&["cluster", "down", "c"]);
    }
}

#[test]
fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let user = users().pop().unwrap();
    up(&user);
    refused(&user, "partition nod1", "no node `nod1` in this cluster; did you mean `node1`");
    refused(&user, "partition node1,node2,node3", "no node on the other side");
    refused(&user, "partition node1 --from node2,node1", "node1 cannot be on both sides");
    refused(&user, "loss node1 0", "above 0 and up to 100");
    refused(&user, "loss node1 5 --peer node1", "--peer wants another node");
    refused(&user, "block node1 --port 80/tpc", "tcp");
    refused(&user, "delay node1 10 --jitter 20", "a jitter of 20 ms is more than the delay");
    assert_eq!(fault(&user, "ls"), "Nothing is broken.\n");
    user.ok(&["cluster", "down", "c"]);
}

/// The shortest of some connections to node1.
fn connecting(user: &User) -> Duration {
    let once = || {
        let began = Instant::now();
        user.sh("node2", &format!("bash -c ': </dev/tcp/node1/{PORT}'"));
        began.elapsed()
    };
    (0..3).map(|_| once()).min().unwrap()
}

/// Whether packets can be delayed here: by the kernel's netem, or by a program between two tap devices.
fn delays(user: &User) -> bool {
    let told: Value = serde_json::from_str(&user.ok(&["doctor", "--format", "json"])).unwrap();
    let found = told["findings"].as_array().unwrap();
    ["netem", "tap"].iter().any(|way| found.iter().any(|one| one["id"] == *way && one["severity"] == "ok"))
}

#[test]
fn a_delay_holds_packets_back_until_it_is_healed_on_kernels_with_and_without_netem() {
    for user in users() {
        up(&user);
        if !delays(&user) {
            refused(&user, "delay node1 400", "Remedy, one of both: ");
            assert_eq!(fault(&user, "ls"), "Nothing is broken.\n");
            println!("not run as {}: no netem in this kernel, and no right to make tap devices", user.name());
            user.ok(&["cluster", "down", "c"]);
            continue;
        }
        assert_eq!(fault(&user, "delay node1 400"), "node1: what it sends arrives 400 ms later\n");
        assert!(connecting(&user) >= Duration::from_millis(400));
        let changed = "node1: what it sends arrives 700 ms later, 100 ms more or less\n";
        assert_eq!(fault(&user, "delay node1 700 --jitter 100"), changed);
        assert!(connecting(&user) >= Duration::from_millis(600));

        assert_eq!(fault(&user, "kill node1"), "node1: power cut\n");
        assert_eq!(fault(&user, "start node1"), "node1: running\n");
        user.sh("node1", &format!("swarmlab lab-image web --port {PORT} >/dev/null 2>&1 &"));
        eventually("the server answers again", || {
            let line = format!("timeout 5 bash -c ': </dev/tcp/node1/{PORT}' 2>/dev/null && echo reached || true");
            if user.sh("node2", &line) == "reached\n" { Ok(()) } else { Err("not yet".into()) }
        });
        assert!(connecting(&user) >= Duration::from_millis(600), "as broken as it was");
        assert!(fault(&user, "ls").ends_with(changed));

        fault(&user, "heal");
        assert_eq!(fault(&user, "ls"), "Nothing is broken.\n");
        eventually("nothing is held back", || match connecting(&user) {
            short if short < Duration::from_millis(300) => Ok(()),
            long => Err(format!("{long:?}")),
        });
        user.ok(&["cluster", "down", "c"]);
    }
}
