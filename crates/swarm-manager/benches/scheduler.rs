//! How long the scheduler takes to place tasks, at sizes from 1k nodes and 1k tasks to 100k nodes and 1M tasks.
//!
//! `cargo bench -p swarm-manager --bench scheduler` prints a table for people, then one JSON object a line. Only the
//! placing is timed, not the making of nodes and tasks, nor the raft log that placements go through in a cluster.

// A benchmark reads the clock; the crate that it measures does not.
#![allow(clippy::disallowed_methods)]

use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use swarm_manager::scheduler::{Group, NodeSet, place};
use swarm_types::*;

/// One size.
struct Case {
    nodes: u64,
    tasks: u64,
    /// The tasks need a volume plugin that every third node has.
    plugin: bool,
}

const fn case(nodes: u64, tasks: u64) -> Case {
    Case { nodes, tasks, plugin: false }
}

const CASES: [Case; 7] = [
    case(1_000, 1_000),
    case(1_000, 10_000),
    case(1_000, 100_000),
    Case { plugin: true, ..case(5_000, 100_000) },
    case(100_000, 1_000),
    case(100_000, 100_000),
    case(100_000, 1_000_000),
];

/// Each case runs so often; the fastest counts, as the others only add what else the machine did.
const RUNS: usize = 3;

fn main() -> std::io::Result<()> {
    // `cargo test` runs benches once in debug with `--test`: nothing to measure there.
    if std::env::args().any(|arg| arg == "--test") {
        return Ok(());
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "{:>8} {:>9} {:>8} {:>12} {:>14}", "nodes", "tasks", "plugin", "seconds", "tasks/second")?;
    let mut lines = Vec::new();
    for case in &CASES {
        let times = (0..RUNS).map(|_| measure(case));
        let seconds = times.fold(f64::INFINITY, f64::min);
        let rate = case.tasks as f64 / seconds;
        let plugin = if case.plugin { "1 in 3" } else { "-" };
        writeln!(out, "{:>8} {:>9} {plugin:>8} {seconds:>12.4} {rate:>14.0}", case.nodes, case.tasks)?;
        out.flush()?;
        lines.push(format!(
            r#"{{"bench":"scheduler","nodes":{},"tasks":{},"plugin":{},"seconds":{seconds:.6}}}"#,
            case.nodes, case.tasks, case.plugin
        ));
    }
    for line in lines {
        writeln!(out, "{line}")?;
    }
    Ok(())
}

fn measure(case: &Case) -> f64 {
    let mut nodes = NodeSet::new();
    for number in 0..case.nodes {
        nodes.put(Arc::new(node(number)));
    }
    let group = group(case);
    let start = Instant::now();
    let placed = place(&mut nodes, std::slice::from_ref(&group), Timestamp::from_secs(1));
    let seconds = start.elapsed().as_secs_f64();
    let count: usize = placed.iter().map(|placed| placed.placements.len()).sum();
    assert_eq!(count as u64, case.tasks, "every task finds a node");
    seconds
}

fn node(number: u64) -> Node {
    let mut plugins = vec![("Network".to_owned(), "overlay".to_owned())];
    if number.is_multiple_of(3) {
        plugins.push(("Volume".to_owned(), "nfs".to_owned()));
    }
    Node {
        id: NodeId::from_bits(u128::from(number)),
        meta: Meta::default(),
        spec: NodeSpec::default(),
        role: NodeRole::Worker,
        description: Some(NodeDescription {
            hostname: format!("worker{number}"),
            resources: Resources { nano_cpus: 64_000_000_000, memory_bytes: 256 << 30, ..Resources::default() },
            plugins,
            ..NodeDescription::default()
        }),
        status: NodeStatus { state: NodeState::Ready, ..NodeStatus::default() },
        manager_status: None,
        certificate: NodeCertificate::default(),
        attachments: Default::default(),
    }
}

fn group(case: &Case) -> Group {
    let reserved = Resources { nano_cpus: 1_000_000, memory_bytes: 1 << 20, ..Resources::default() };
    let mut spec = TaskSpec {
        resources: Some(ResourceRequirements { reservations: Some(reserved), ..ResourceRequirements::default() }),
        ..TaskSpec::default()
    };
    if case.plugin {
        let driver = Some(Driver { name: "nfs".to_owned(), ..Driver::default() });
        let mount = Mount { kind: MountKind::Volume, volume_driver: driver, ..Mount::default() };
        spec.container.mounts.push(mount);
    }
    Group {
        service: ServiceId::from_bits(1),
        spec_version: Version(1),
        spec: Arc::new(spec),
        endpoint: None,
        network_drivers: Vec::new(),
        tasks: (0..case.tasks).map(|number| TaskId::from_bits(u128::from(number))).collect(),
    }
}
