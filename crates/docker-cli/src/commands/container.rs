//! `docker container`, and the same commands without the word `container`.

mod attach;
mod create;
pub mod exec;
mod flags;
mod lifecycle;
mod logs;
pub mod ls;
mod prune;
mod rm;
pub mod run;
mod session;
mod start;
mod stats;
mod top;
mod wait;

use crate::client::path;
use crate::command::{Arity, Command};
use crate::commands::{inspect, inspect_format};
use crate::context::Context;
use crate::error::Result;
use crate::flags::{Kind, Parsed, short};
use crate::handler;
use docker_api::query::InspectContainer;
use serde_json::Value;

/// The group.
pub fn group() -> Command {
    let inspect = Command::new(
        "inspect",
        "[OPTIONS] CONTAINER [CONTAINER...]",
        "Show containers in full",
        Arity::AtLeast(1),
        handler!(show),
    )
    .flags(vec![inspect_format(), short('s', "size", Kind::Bool, "Add sizes")]);
    let mut commands = shortcuts();
    commands.extend([run::command(), exec::command(), ls::command(), prune::command(), inspect]);
    Command::group("container", "Containers of this node", commands)
}

/// Those that `docker` knows under the same name without the word `container`.
pub fn shortcuts() -> Vec<Command> {
    let mut commands = vec![
        attach::command(),
        create::command(),
        logs::command(),
        rm::command(),
        start::command(),
        stats::command(),
        top::command(),
        wait::command(),
    ];
    commands.extend(lifecycle::commands());
    commands
}

async fn show(context: &Context, flags: Parsed) -> Result {
    let query = InspectContainer { size: flags.bool("size") };
    let find = async |name: &str| Ok(context.client.get_with(&path("/containers", name, "/json"), &query).await?);
    inspect::each(context, flags.string("format"), &flags.args, None, find).await
}

async fn get(context: &Context, name: &str) -> Result<Value> {
    Ok(context.client.get(&path("/containers", name, "/json")).await?)
}
