//! What a network costs a node that takes part in it with one container.

use std::time::Duration;

use super::endpoints::kernel_memory;
use crate::common::report::Figure;
use crate::common::{Cluster, NODES, Outcome, daemon_memory};

/// Networks that are made, all for one service.
const COUNT: usize = 10;
/// Until what was needed for making them is given back.
const IDLE_AFTER: Duration = Duration::from_secs(5);

/// Private memory of a node's daemons, and the kernel's of the whole machine by nodes.
pub fn measure(cluster: &Cluster) -> Outcome<Vec<Figure>> {
    std::thread::sleep(IDLE_AFTER);
    let before = (daemon_memory(&cluster.name), kernel_memory());
    let names: Vec<String> = (0..COUNT).map(|number| format!("memory{number}")).collect();
    let mut create = vec!["service", "create", "-d", "--name", "memory", "--mode", "global"];
    for name in &names {
        cluster.docker(&["network", "create", "-d", "overlay", name])?;
        create.extend(["--network", name]);
    }
    create.extend(["swarmlab/tools:1.0", "sleep", "infinity"]);
    cluster.docker(&create)?;
    cluster.until_running("memory", NODES.len())?;
    std::thread::sleep(IDLE_AFTER);
    let after = (daemon_memory(&cluster.name), kernel_memory());
    let count = COUNT as f64;
    let each = before.0.iter().zip(&after.0).map(|(before, after)| (after - before) * 1024.0 / count).collect();
    let kernel = (after.1 - before.1) / (count * NODES.len() as f64);
    Ok(vec![
        Figure::new("memory of a network: a node's daemon", "KiB", each),
        Figure::new("memory of a network: a node's kernel", "KiB", vec![kernel]),
    ])
}
