//! `swarmlab net`: looks into the kernel's network of the open lab's nodes, by each node's own `netview`.

use std::process::ExitCode;

use super::lesson::open_cluster;
use super::support::{Failure, LabsDir};
use crate::engine::EngineError;
use crate::lab_line::Format;
use crate::netview::What;

/// Arguments of `swarmlab net`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The node; without it all nodes, one after the other
    node: Option<String>,
    #[command(flatten)]
    what: What,
    /// A playground of `swarmlab cluster up` instead of the open lab
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    #[command(flatten)]
    labs: LabsDir,
}

/// Runs the command.
pub fn run(args: Args) -> ExitCode {
    execute(&args).unwrap_or_else(Failure::report)
}

fn execute(args: &Args) -> Result<ExitCode, Failure> {
    let cluster = open_cluster(args.cluster.as_deref(), &args.labs)?;
    let known: Vec<String> = cluster.nodes().iter().map(|node| node.name.clone()).collect();
    let nodes = match &args.node {
        Some(node) if known.contains(node) => vec![node.clone()],
        Some(node) => return Err(EngineError::NoSuchNode { node: node.clone(), known }.into()),
        None => known,
    };
    let mut worst = 0;
    for (at, node) in nodes.iter().enumerate() {
        if at > 0 && args.what.format == Format::Table {
            say!("");
        }
        worst = worst.max(cluster.run(node, &args.what.argv())?);
    }
    Ok(ExitCode::from(u8::try_from(worst).unwrap_or(1)))
}
