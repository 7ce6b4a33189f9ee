//! `docker network inspect`

use crate::client::path;
use crate::command::{Arity, Command};
use crate::commands::{inspect, inspect_format};
use crate::context::Context;
use crate::error::Result;
use crate::flags::{Kind, Parsed, short};
use crate::handler;
use docker_api::query::InspectNetwork;

pub(super) fn command() -> Command {
    Command::new("inspect", "[OPTIONS] NETWORK [NETWORK...]", "Show networks in full", Arity::AtLeast(1), handler!(run))
        .flags(vec![inspect_format(), short('v', "verbose", Kind::Bool, "Add tasks and nodes")])
}

async fn run(context: &Context, flags: Parsed) -> Result {
    let query = InspectNetwork { verbose: flags.bool("verbose"), scope: String::new() };
    let find = async |name: &str| Ok(context.client.get_with(&path("/networks", name, ""), &query).await?);
    inspect::each(context, flags.string("format"), &flags.args, None, find).await
}
