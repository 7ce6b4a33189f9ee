//! `swarmlab stop`: ends the open lab's cluster. What was done stays noted; `start` does it again.

use std::process::ExitCode;

use super::support::Failure;
use crate::engine::{self, EngineError};
use crate::session::Session;

/// Arguments of `swarmlab stop`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the command.
pub fn run(_: Args) -> ExitCode {
    execute().map_or_else(Failure::report, |()| ExitCode::SUCCESS)
}

fn execute() -> Result<(), Failure> {
    let mut session = Session::load()?;
    let chapter = session.open()?.chapter.clone();
    match engine::attach(&format!("lab-{chapter}")) {
        Ok(cluster) => {
            cluster.shutdown()?;
            say!("The cluster of {chapter} is gone; your progress is kept.");
        }
        Err(EngineError::NoSuchCluster { .. }) => say!("The cluster of {chapter} was not running."),
        Err(error) => return Err(error.into()),
    }
    session.leave();
    session.save()?;
    Ok(())
}
