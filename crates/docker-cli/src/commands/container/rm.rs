//! `docker rm`

use crate::client::path;
use crate::command::{Arity, Command};
use crate::context::Context;
use crate::error::{CliError, Result};
use crate::flags::{Kind, Parsed, short};
use crate::handler;
use docker_api::query::{QueryParams, RemoveContainer};

pub fn command() -> Command {
    Command::new("rm", "[OPTIONS] CONTAINER [CONTAINER...]", "Remove containers", Arity::AtLeast(1), handler!(run))
        .aliases(&["remove"])
        .also(&["docker container rm", "docker container remove", "docker rm"])
        .flags(vec![
            short('f', "force", Kind::Bool, "Kill running ones first"),
            short('l', "link", Kind::Bool, "Remove a link only"),
            short('v', "volumes", Kind::Bool, "Remove their anonymous volumes too"),
        ])
}

async fn run(context: &Context, flags: Parsed) -> Result {
    let force = flags.bool("force");
    let query = RemoveContainer { volumes: flags.bool("volumes"), force, link: flags.bool("link") }.to_query();
    let remove = async |name: &str| {
        let name = name.trim_matches('/');
        if name.is_empty() {
            return Err(CliError::new("container name cannot be empty"));
        }
        match context.client.delete(&path("/containers", name, ""), &query).await {
            Err(error) if force && error.is_not_found() => {
                context.warn(error);
                Ok(String::new())
            }
            Err(error) => Err(error.into()),
            Ok(_) => Ok(name.to_owned()),
        }
    };
    context.each(&flags.args, remove).await
}
