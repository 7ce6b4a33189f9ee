//! `swarmlab shell`: a shell in a node of the open lab.

use std::process::ExitCode;

use super::lesson::Lesson;
use super::support::{Failure, LabsDir};
use crate::content::nearest;

/// Arguments of `swarmlab shell`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The node
    #[arg(default_value = "manager1")]
    node: String,
    #[command(flatten)]
    labs: LabsDir,
}

/// Runs the command.
pub fn run(args: Args) -> ExitCode {
    execute(&args).unwrap_or_else(Failure::report)
}

fn execute(args: &Args) -> Result<ExitCode, Failure> {
    let lesson = Lesson::open(&args.labs)?;
    let nodes = lesson.lab.cluster.nodes();
    if !nodes.contains(&args.node) {
        let known: Vec<&str> = nodes.iter().map(String::as_str).collect();
        return Err(Failure::usage(format!("no node `{}`{}", args.node, nearest(&args.node, &known))));
    }
    let code = lesson.cluster()?.shell(&args.node)?;
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(1)))
}
