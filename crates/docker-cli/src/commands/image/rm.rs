//! `docker rmi`

use crate::client::path;
use crate::command::{Arity, Command};
use crate::context::Context;
use crate::error::{CliError, Result};
use crate::flags::{Kind, Parsed, flag, short};
use crate::handler;
use crate::spec::json::text;
use docker_api::query::{QueryParams, RemoveImage};

/// Its flags.
pub fn command() -> Command {
    Command::new("rm", "[OPTIONS] IMAGE [IMAGE...]", "Remove images", Arity::AtLeast(1), handler!(run))
        .aliases(&["remove"])
        .also(&["docker image rm", "docker image remove", "docker rmi"])
        .flags(vec![
            short('f', "force", Kind::Bool, "Although something refers to it"),
            flag("no-prune", Kind::Bool, "Keep parents without a name"),
        ])
}

async fn run(context: &Context, flags: Parsed) -> Result {
    let force = flags.bool("force");
    let query = RemoveImage { force, noprune: flags.bool("no-prune") }.to_query();
    let mut errors = Vec::new();
    let mut fatal = false;
    for name in &flags.args {
        match context.client.delete(&path("/images", name, ""), &query).await {
            Ok(removed) => {
                for entry in removed.as_array().map_or(&[][..], Vec::as_slice) {
                    match text(entry, "Deleted") {
                        "" => context.line(format_args!("Untagged: {}", text(entry, "Untagged"))),
                        id => context.line(format_args!("Deleted: {id}")),
                    }
                }
            }
            Err(error) => {
                fatal |= !error.is_not_found();
                errors.push(error.to_string());
            }
        }
    }
    if errors.is_empty() {
        return Ok(());
    }
    if force && !fatal {
        context.warn(errors.join("\n"));
        return Ok(());
    }
    Err(CliError::new(errors.join("\n")))
}
