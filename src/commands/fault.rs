//! `swarmlab fault`: breaks a node or the network of the open lab, or mends it. The same words as chapters use on the
//! learner's own machine, `lab$`.

use std::process::ExitCode;

use super::lesson::open_cluster;
use super::support::{Failure, LabsDir};
use crate::lab_line::FaultAction;

/// Arguments of `swarmlab fault`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: FaultAction,
    /// A playground of `swarmlab cluster up` instead of the open lab
    #[arg(long, value_name = "NAME", global = true)]
    cluster: Option<String>,
    #[command(flatten)]
    labs: LabsDir,
}

/// Runs the command.
pub fn run(args: Args) -> ExitCode {
    execute(&args).map_or_else(Failure::report, |()| ExitCode::SUCCESS)
}

fn execute(args: &Args) -> Result<(), Failure> {
    let cluster = open_cluster(args.cluster.as_deref(), &args.labs)?;
    say!("{}", args.action.run(&*cluster)?.trim_end());
    Ok(())
}
