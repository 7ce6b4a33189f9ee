//! `docker system`, `info`, `version` and `events`.

pub mod events;
pub mod info;
pub mod version;

use crate::command::{Arity, Command};
use crate::context::Context;
use crate::error::{CliError, Result};
use crate::flags::Parsed;
use crate::handler;

/// The group.
pub fn group() -> Command {
    let df = Command::new("df", "[OPTIONS]", "Show how much disk is used", Arity::AtLeast(0), handler!(unsupported))
        .flags_first();
    let prune = Command::new("prune", "[OPTIONS]", "Remove what is not used", Arity::AtLeast(0), handler!(unsupported))
        .flags_first();
    Command::group("system", "The engine", vec![df, events::command(), info::command(), prune])
}

async fn unsupported(context: &Context, _: Parsed) -> Result {
    Err(CliError::new(format!("{}: not supported by this version of swarmlab", context.path)))
}
