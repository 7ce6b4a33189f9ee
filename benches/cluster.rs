//! `cargo bench --bench cluster`: whole clusters, side by side with genuine Docker in one run where that is possible
//! (root, `dockerd`).
//!
//! Measured from outside, through the command line and the Docker API, alike for both engines: five nodes booted and
//! joined, 10 and 50 tasks running, memory of an idle node and of a container's shim. Prints a table, one line of
//! JSON for each figure, and writes them to `target/bench/cluster.json`. The scheduler's figures are in
//! `crates/swarm-manager/benches/scheduler.rs`, those of networks in `network.rs`.
//!
//! Genuine Docker is not charged for the lab images, which our engine has built in: they are packed by a boot that is not
//! measured, and loaded after the boots that are. Memory is the private part (what ending the process would give
//! back), of processes of the measured cluster only.

mod common;

use std::time::{Duration, Instant};

use common::report::{Figure, report};
use common::{Cluster, Outcome, node_memory, shim_memory};

const RUNS: usize = 3;
const IDLE_AFTER: Duration = Duration::from_secs(5);

/// How long until so many more tasks run.
fn tasks(cluster: &Cluster, name: &str, replicas: usize) -> Outcome<Duration> {
    let began = Instant::now();
    let count = replicas.to_string();
    let image = "swarmlab/tools:1.0";
    cluster.docker(&["service", "create", "-d", "--name", name, "--replicas", &count, image, "sleep", "infinity"])?;
    cluster.until_running(name, replicas)?;
    Ok(began.elapsed())
}

fn measure(engine: &'static str) -> Outcome<Vec<Figure>> {
    let mut boot = Figure::new("five nodes booted and joined", "s", Vec::new());
    let mut ten = Figure::new("10 tasks running", "s", Vec::new());
    let mut fifty = Figure::new("50 more tasks running", "s", Vec::new());
    let mut node = Figure::new("memory of an idle node", "MiB", Vec::new());
    let mut shim = Figure::new("memory of a container's shim", "MiB", Vec::new());
    if engine != "embedded" {
        // packs the images
        Cluster::up(engine, true)?;
    }
    for _ in 0..RUNS {
        let (cluster, took) = Cluster::up(engine, false)?;
        boot.values.push(took.as_secs_f64());
        // idle is what remains once the daemons have let go of what they started with
        std::thread::sleep(IDLE_AFTER);
        node.values.extend(node_memory(&cluster.name));
        cluster.load_images()?;
        ten.values.push(tasks(&cluster, "ten", 10)?.as_secs_f64());
        fifty.values.push(tasks(&cluster, "fifty", 50)?.as_secs_f64());
        shim.values.extend(shim_memory(&cluster.name));
    }
    Ok(vec![boot, ten, fifty, node, shim])
}

fn main() -> Outcome<()> {
    // `cargo test --benches` runs this too, in debug: nothing to measure there
    if !std::env::args().any(|arg| arg == "--bench") {
        return Ok(());
    }
    let ours = measure("embedded")?;
    let genuine = measure("dockerd");
    if let Err(error) = &genuine {
        println!("genuine Docker was not measured: {error}");
    }
    report("median of 3 runs", "cluster.json", &ours, &genuine.unwrap_or_default())
}
