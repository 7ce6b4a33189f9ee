//! The sandbox: what its nodes are to each other and to the machine, and that nothing of it survives its end, however
//! that comes. The engine is `bare`: no daemon is involved.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{User, eventually, parent, processes, users};

/// Boots cluster `c` of two bare nodes that ends with the returned process.
fn foreground(user: &User) -> Child {
    let args = ["cluster", "up", "c", "--plain", "2", "--engine", "bare", "--foreground"];
    let mut child = user.command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert!(line.starts_with("Use it"), "as {}: not up: {line:?}", user.name());
    child
}

fn up(user: &User) {
    user.ok(&["cluster", "up", "c", "--plain", "2", "--engine", "bare"]);
}

fn kill_hard(pid: i32) {
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
}

/// (guard, sandbox-init, node inits) by who is whose parent.
fn tree(user: &User) -> (i32, i32, Vec<i32>) {
    let inits: Vec<i32> =
        user.processes().into_iter().filter(|(_, line)| line.contains("sandbox-init")).map(|(pid, _)| pid).collect();
    let child_of = |pid: i32| inits.iter().copied().filter(|child| parent(*child) == Some(pid)).collect::<Vec<_>>();
    let guard = *inits.iter().find(|pid| !parent(**pid).is_some_and(|up| inits.contains(&up))).unwrap();
    let init = child_of(guard)[0];
    (guard, init, child_of(init))
}

fn leaves_nothing(user: &User, marker: &str) {
    eventually(&format!("as {}: nothing is left", user.name()), || {
        let mut left = user.traces();
        left.extend(processes(marker).into_iter().map(|(pid, line)| format!("process {pid}: {line}")));
        if left.is_empty() { Ok(()) } else { Err(left.join("\n")) }
    });
}

/// Starts a process in the background of a node that only a recognizable argument tells from others.
fn sleeper(user: &User, node: &str) -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let marker = format!("{}{:04}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    user.sh(node, &format!("sleep 9{marker} >/dev/null 2>&1 &"));
    assert_eq!(processes(&format!("9{marker}")).len(), 1, "the sleeper runs");
    format!("9{marker}")
}

#[test]
fn a_command_returns_its_output_and_exit_code() {
    for user in users() {
        up(&user);
        let output = user.run(&["cluster", "exec", "c", "node2", "sh", "-c", "echo out; echo err >&2; exit 7"]);
        assert_eq!(output.status.code(), Some(7));
        assert_eq!(output.stdout, b"out\n");
        assert_eq!(output.stderr, b"err\n");
        let missing = user.run(&["cluster", "exec", "c", "node2", "no-such-program"]);
        assert!(String::from_utf8_lossy(&missing.stderr).contains("No such file"), "{missing:?}");
        user.ok(&["cluster", "down", "c"]);
        leaves_nothing(&user, "no-such-process");
    }
}

#[test]
fn nodes_reach_each_other_by_name_and_share_nothing_else() {
    for user in users() {
        up(&user);
        assert_eq!(user.sh("node1", "hostname; cat /etc/hostname"), "node1\nnode1\n");
        // refused, hence reached: nobody listens there
        let reach = user.sh("node1", "bash -c ': </dev/tcp/node2/9' 2>&1 || true");
        assert!(reach.contains("refused"), "{reach}");
        user.sh("node1", "echo secret > /tmp/f; echo secret > /var/lib/swarmlab/f; echo secret > /etc/f");
        let seen = user.sh("node2", "cat /tmp/f /var/lib/swarmlab/f /etc/f /.state/nodes/node1/data/f 2>&1 || true");
        assert!(!seen.contains("secret"), "{seen}");
        let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        assert!(!machine.starts_with("node1"), "the machine keeps its name");
        assert!(!std::path::Path::new("/etc/f").exists(), "the machine's files stay as they are");
        let pids = user.sh("node1", "ls -d /proc/[0-9]* | wc -l");
        assert!(pids.trim().parse::<u32>().unwrap() < 8, "a node sees its own processes only: {pids}");
        user.ok(&["cluster", "down", "c"]);
    }
}

#[test]
fn a_clusters_name_is_taken_while_it_runs_and_free_afterwards() {
    for user in users() {
        up(&user);
        let again = user.run(&["cluster", "up", "c", "--plain", "1", "--engine", "bare"]);
        assert_eq!(again.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&again.stderr).contains("already running"), "{again:?}");
        assert!(user.ok(&["cluster", "ls", "--format", "json"]).contains("\"name\": \"c\""));
        user.ok(&["cluster", "down", "c"]);
        up(&user);
        user.ok(&["cluster", "down", "c"]);
    }
}

#[test]
fn killing_the_runner_leaves_nothing() {
    for user in users() {
        let mut runner = foreground(&user);
        let marker = sleeper(&user, "node1");
        runner.kill().unwrap();
        runner.wait().unwrap();
        leaves_nothing(&user, &marker);
    }
}

/// A swarm that is just booting: its runner stands still, in the middle of it.
fn booting(user: &User) -> Child {
    let args = ["cluster", "up", "c", "--managers", "1", "--workers", "4"];
    let mut child = user.command(&args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stderr.as_mut().unwrap()).read_line(&mut line).unwrap();
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGSTOP).unwrap();
    assert_eq!(line, "Booting 5 nodes\n", "as {}", user.name());
    let early = user.run(&["cluster", "env", "c"]);
    let words = String::from_utf8_lossy(&early.stderr);
    assert!(words.contains("is just being started: wait until it is up, or end it"), "as {}: {words}", user.name());
    child
}

#[test]
fn a_boot_that_is_interrupted_leaves_nothing() {
    for user in users() {
        let mut runner = booting(&user);
        runner.kill().unwrap();
        runner.wait().unwrap();
        leaves_nothing(&user, "no-such-process");
        up(&user);
        user.ok(&["cluster", "down", "c"]);
    }
}

#[test]
fn a_cluster_that_is_still_booting_can_be_ended() {
    for user in users() {
        let mut runner = booting(&user);
        assert_eq!(user.ok(&["cluster", "down", "c"]), "c is down.\n");
        kill(Pid::from_raw(runner.id().cast_signed()), Signal::SIGCONT).unwrap();
        assert_eq!(runner.wait().unwrap().code(), Some(2), "as {}", user.name());
        leaves_nothing(&user, "no-such-process");
    }
}

#[test]
fn killing_sandbox_init_leaves_nothing() {
    for user in users() {
        up(&user);
        let marker = sleeper(&user, "node2");
        let (_, init, _) = tree(&user);
        kill_hard(init);
        leaves_nothing(&user, &marker);
    }
}

#[test]
fn killing_the_guard_of_a_foreground_cluster_and_its_runner_is_mended_at_the_next_start() {
    for user in users() {
        let mut runner = foreground(&user);
        let marker = sleeper(&user, "node1");
        let (guard, _, _) = tree(&user);
        kill_hard(guard);
        assert_eq!(user.sh("node1", "echo alive"), "alive\n", "the cluster outlives its guard");
        runner.kill().unwrap();
        runner.wait().unwrap();
        eventually("processes end", || {
            let left = processes(&marker);
            if left.is_empty() && user.processes().is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
        });
        up(&user);
        user.ok(&["cluster", "down", "c"]);
        leaves_nothing(&user, &marker);
    }
}

#[test]
fn killing_a_node_init_ends_that_node_alone() {
    for user in users() {
        up(&user);
        let markers = [sleeper(&user, "node1"), sleeper(&user, "node2")];
        let inner = processes(&markers[0])[0].0;
        let (_, _, nodes) = tree(&user);
        let node1 = *nodes.iter().find(|node| Some(**node) == parent(inner)).unwrap();
        kill_hard(node1);
        eventually("the node's processes end", || {
            if processes(&markers[0]).is_empty() { Ok(()) } else { Err("still there".into()) }
        });
        assert_eq!(processes(&markers[1]).len(), 1, "the other node goes on");
        eventually("the loss is noticed", || {
            let output = user.run(&["cluster", "exec", "c", "node1", "true"]);
            if String::from_utf8_lossy(&output.stderr).contains("switched off") {
                Ok(())
            } else {
                Err(format!("{output:?}"))
            }
        });
        user.ok(&["cluster", "down", "c"]);
        leaves_nothing(&user, &markers[1]);
    }
}

#[test]
fn a_killed_node_keeps_its_disk_and_address_when_started_again() {
    for user in users() {
        up(&user);
        user.sh("node1", "echo kept > /var/lib/swarmlab/f; echo lost > /tmp/f");
        user.ok(&["cluster", "node", "c", "node1", "kill"]);
        user.ok(&["cluster", "node", "c", "node1", "start"]);
        assert_eq!(user.sh("node1", "cat /var/lib/swarmlab/f; ls /tmp"), "kept\n");
        let reach = user.sh("node2", "bash -c ': </dev/tcp/10.77.0.11/9' 2>&1 || true");
        assert!(reach.contains("refused"), "{reach}");
        user.ok(&["cluster", "down", "c"]);
    }
}

#[test]
fn a_paused_node_does_nothing_until_it_goes_on() {
    for user in users() {
        up(&user);
        let marker = sleeper(&user, "node1");
        let pid = processes(&marker)[0].0;
        let state = || {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            status.lines().find(|line| line.starts_with("State:")).unwrap().to_owned()
        };
        user.ok(&["cluster", "node", "c", "node1", "pause"]);
        assert!(state().contains("stopped"), "{}", state());
        user.ok(&["cluster", "node", "c", "node1", "start"]);
        eventually("it goes on", || if state().contains("stopped") { Err(state()) } else { Ok(()) });
        assert_eq!(user.sh("node1", "echo alive"), "alive\n");
        user.ok(&["cluster", "down", "c"]);
    }
}
