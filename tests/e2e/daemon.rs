//! A node's daemon killed and a node's power cut: what ran is found again, what was written is kept.
#![allow(clippy::unwrap_used)]

use crate::support::Cluster;

#[test]
fn a_cut_power_loses_nothing_that_was_acknowledged() {
    for c in Cluster::each(1, 1) {
        c.ok("manager1 service create -d --name web --replicas 2 swarmlab/tools:1.0 sleep 1000");
        c.until("manager1 service ls --format {{.Replicas}}", |out| out == "2/2");
        c.ok("manager1 run -d --name always --restart always swarmlab/tools:1.0 sleep 1000");
        c.ok("manager1 run -d --name never swarmlab/tools:1.0 sleep 1000");
        let id = c.ok("manager1 info --format {{.Swarm.NodeID}}");
        let token = c.ok("manager1 swarm join-token -q worker");
        c.power("manager1", "kill");
        c.power("manager1", "start");
        c.until("manager1 info --format {{.Swarm.NodeID}}", |out| out == id);
        c.until("manager1 swarm join-token -q worker", |out| out == token);
        c.until("manager1 service ls --format {{.Replicas}}", |out| out == "2/2");
        c.until("manager1 inspect -f {{.State.Running}} always", |out| out == "true");
        assert_eq!(c.ok("manager1 inspect -f {{.State.Running}} never"), "false");
        c.until("manager1 node ls --format {{.Status}}", |out| out == "Ready\nReady");
    }
}

#[test]
fn a_killed_daemon_comes_back_to_running_containers() {
    let c = Cluster::one(1, 0);
    c.ok("manager1 run -d --name kept swarmlab/tools:1.0 sleep 1000");
    let state = "manager1 inspect -f '{{.State.Pid}} {{.State.StartedAt}} {{.State.Running}}' kept";
    let before = c.ok(state);
    // within the node: its own processes only
    let again = "for p in /proc/[0-9]*; do line=$(tr '\\0' ' ' <$p/cmdline); case $line in 'swarmlab node-daemon '*) \
                 kill -9 ${p#/proc/}; while [ -e $p ]; do :; done; $line </dev/null >/tmp/again.log 2>&1 & echo $line;; \
                 esac; done 2>/dev/null";
    let killed = c.user.sh("manager1", again);
    assert_eq!(killed.lines().count(), 1, "one daemon: {killed:?}");
    assert_eq!(c.until(state, |out| !out.is_empty()), before);
    c.until("manager1 node ls --format {{.ManagerStatus}}", |out| out == "Leader");
    assert_eq!(c.ok("manager1 exec kept echo alive"), "alive");
}
