//! Commands of Docker's that this program does not have yet: they say so, and fail.

use crate::command::{Arity, Command};
use crate::context::Context;
use crate::error::{CliError, Result};
use crate::flags::Parsed;
use crate::handler;

const NAMES: &[(&str, &str, &str)] = &[
    ("build", "Build an image", "Common Commands"),
    ("pull", "Download an image", "Common Commands"),
    ("push", "Upload an image", "Common Commands"),
    ("login", "Log in to a registry", "Common Commands"),
    ("logout", "Log out from a registry", "Common Commands"),
    ("search", "Search for images", "Common Commands"),
    ("stack", "Stacks of services", "Swarm Commands"),
    ("context", "Engines to talk to", "Management Commands"),
    ("plugin", "Plugins", "Management Commands"),
    ("commit", "Make an image of a container", "Commands"),
    ("cp", "Copy between a container and here", "Commands"),
    ("diff", "Show what changed in a container's files", "Commands"),
    ("export", "Write a container's files as an archive", "Commands"),
    ("import", "Make an image of an archive", "Commands"),
    ("save", "Write images as an archive", "Commands"),
    ("update", "Change limits of a container", "Commands"),
];

/// All of them. They take any arguments, so that the answer is the same however they are called.
pub fn commands() -> Vec<Command> {
    NAMES
        .iter()
        .map(|(name, about, section)| {
            Command::new(name, "[ARG...]", about, Arity::AtLeast(0), handler!(run)).flags_first().section(section)
        })
        .collect()
}

async fn run(context: &Context, _: Parsed) -> Result {
    Err(CliError::new(format!("{}: not supported by this version of swarmlab", context.path)))
}
