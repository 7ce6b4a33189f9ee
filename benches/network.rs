//! `cargo bench --bench network`: the swarm's networks with real packets, side by side with genuine Docker in one run where
//! that is possible. As root, since it makes its traffic inside the containers' network namespaces.
//!
//! Whole clusters of five nodes are booted, traffic is made by threads of this process (`traffic`), and what is compared is
//! measured in turn. Prints a table, one line of JSON for each figure, and writes them to `target/bench/network.json`.
//! What every figure compares is said in `benches/README.md`. Arguments choose parts: `cargo bench --bench network --
//! connections`; there are `throughput`, `mesh`, `connections`, `answers`, `endpoints` and `memory`.

#[path = "network/answers.rs"]
mod answers;
#[path = "network/bare.rs"]
mod bare;
mod common;
#[path = "network/containers.rs"]
mod containers;
#[path = "network/endpoints.rs"]
mod endpoints;
#[path = "network/memory.rs"]
mod memory;
#[path = "network/traffic.rs"]
mod traffic;

use std::net::{IpAddr, SocketAddr};

use bare::Bare;
use common::report::{Figure, Goal, report};
use common::{Cluster, Outcome};
use containers::{Node, Task, virtual_ip};
use traffic::{Compared, Rate, Way};

/// Pairs of measurements; the middle one counts.
const ROUNDS: usize = 11;
/// Where the load generator listens in a task.
const PORT: u16 = 9000;
/// The port that is published on all nodes.
const PUBLISHED: u16 = 8900;
const NETWORK: &str = "bench";
const IMAGE: &str = "swarmlab/tools:1.0";
/// Where the task is, and where a client in a container is.
const SERVER: &str = "worker1";
const CLIENT: &str = "worker2";

fn clock(rate: &Rate) -> f64 {
    rate.by_clock
}

fn work(rate: &Rate) -> f64 {
    rate.by_work
}

fn giga(values: Vec<f64>) -> Vec<f64> {
    values.into_iter().map(|value| value / 1e9).collect()
}

/// A cluster with a network on it, and on that a server and a client on two nodes.
struct Stage {
    cluster: Cluster,
    server: Task,
    client: Task,
}

impl Stage {
    fn set(engine: &'static str) -> Outcome<Self> {
        if engine != "embedded" {
            // packs the images
            Cluster::up(engine, true)?;
        }
        let (cluster, _) = Cluster::up(engine, false)?;
        cluster.load_images()?;
        cluster.docker(&["network", "create", "-d", "overlay", "--subnet", "10.50.0.0/16", NETWORK])?;
        let published = format!("{PUBLISHED}:{PORT}");
        for (name, node) in [("server", SERVER), ("client", CLIENT)] {
            let at = format!("node.hostname=={node}");
            let mut create = vec!["service", "create", "-d", "--name", name, "--network", NETWORK, "--constraint", &at];
            if name == "server" && engine == "embedded" {
                create.extend(["--publish", &published]);
            }
            create.extend([IMAGE, "sleep", "infinity"]);
            cluster.docker(&create)?;
        }
        let server = Task::of(&cluster, "server", SERVER, NETWORK)?;
        let client = Task::of(&cluster, "client", CLIENT, NETWORK)?;
        Ok(Self { cluster, server, client })
    }

    /// To the task's own address.
    fn direct(&self) -> Way<'_> {
        Way::new(&self.server.place, &self.client.place, self.server.address, PORT)
    }
}

/// From a container to a container on another node.
fn throughput(stage: &Stage, bare: &Bare) -> Outcome<Vec<Figure>> {
    let plain = Way::new(&bare.other, &bare.one, bare.address, PORT);
    let compared = Compared::rounds(ROUNDS, || stage.direct().stream(), || plain.stream())?;
    Ok(vec![
        Figure::new("bare VXLAN", "Gbit/s", giga(compared.others(clock))),
        Figure::new("overlay", "Gbit/s", giga(compared.ones(clock))),
        Figure::new("overlay to bare VXLAN, by clock", "", compared.ratios(clock)).goal(Goal::Least(0.9)),
        Figure::new("overlay to bare VXLAN, by work", "", compared.ratios(work)).goal(Goal::Least(0.9)),
    ])
}

/// By a published port of a node that has no task, against the task's own address.
fn mesh(stage: &Stage) -> Outcome<Vec<Figure>> {
    let node = Node::find(&stage.cluster, CLIENT)?.place()?;
    let to = SocketAddr::new(IpAddr::from([127, 0, 0, 1]), PUBLISHED);
    let mesh = Way { server: &stage.server.place, port: PORT, client: &node, to };
    let compared = Compared::rounds(ROUNDS, || mesh.stream(), || stage.direct().stream())?;
    Ok(vec![
        Figure::new("mesh", "Gbit/s", giga(compared.ones(clock))),
        Figure::new("mesh to the task's address, by clock", "", compared.ratios(clock)).goal(Goal::Least(0.8)),
        Figure::new("mesh to the task's address, by work", "", compared.ratios(work)).goal(Goal::Least(0.8)),
    ])
}

/// By a service's virtual address, against the address of its only task.
fn connections(stage: &Stage) -> Outcome<Vec<Figure>> {
    let to = virtual_ip(&stage.cluster, "server", NETWORK)?;
    let virtually = Way::new(&stage.server.place, &stage.client.place, to, PORT);
    let compared = Compared::rounds(ROUNDS, || virtually.connections(), || stage.direct().connections())?;
    Ok(vec![
        Figure::new("connections to a task", "/s", compared.others(clock)),
        Figure::new("connections to a virtual address", "/s", compared.ones(clock)),
        Figure::new("virtual address to task, by clock", "", compared.ratios(clock)).goal(Goal::Least(0.8)),
        Figure::new("virtual address to task, by work", "", compared.ratios(work)).goal(Goal::Least(0.8)),
    ])
}

/// Without a choice, everything.
fn wants(wanted: &[String], part: &str) -> bool {
    wanted.is_empty() || wanted.iter().any(|wanted| wanted == part)
}

async fn measure(engine: &'static str, bare: &Bare, wanted: &[String]) -> Outcome<Vec<Figure>> {
    let wants = |part| wants(wanted, part);
    let stage = Stage::set(engine)?;
    let mut figures = Vec::new();
    if wants("throughput") {
        figures.extend(throughput(&stage, bare)?);
    }
    if wants("mesh") && engine == "embedded" {
        figures.extend(mesh(&stage)?);
    }
    if wants("connections") && engine == "embedded" {
        figures.extend(connections(&stage)?);
    }
    if wants("answers") && engine == "embedded" {
        figures.push(answers::measure(&stage.cluster, &stage.client, NETWORK)?);
    }
    if wants("endpoints") && engine == "embedded" {
        figures.extend(endpoints::measure(&stage.cluster).await?);
    }
    if wants("memory") {
        figures.extend(memory::measure(&stage.cluster)?);
    }
    Ok(figures)
}

fn main() -> Outcome<()> {
    // `cargo test --benches` runs this too, in debug: nothing to measure there
    if !std::env::args().any(|arg| arg == "--bench") {
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let bare = runtime.block_on(Bare::new())?;
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let ours = runtime.block_on(measure("embedded", &bare, &wanted))?;
    let alike = ["throughput", "memory"].iter().any(|part| wants(&wanted, part));
    let genuine = if alike { runtime.block_on(measure("dockerd", &bare, &wanted)) } else { Ok(Vec::new()) };
    match &genuine {
        Err(error) => println!("genuine Docker was not measured: {error}"),
        Ok(_) => println!(
            "genuine Docker: no virtual addresses and no mesh, which need ip_vs of this machine's kernel; and its \
             gossip takes no members beside its nodes"
        ),
    }
    report("median", "network.json", &ours, &genuine.unwrap_or_default())
}
