//! `docker node rm`

use crate::client::path;
use crate::command::{Arity, Command};
use crate::context::Context;
use crate::error::Result;
use crate::flags::{Kind, Parsed, short};
use crate::handler;
use docker_api::query::{Forced, QueryParams};

pub fn command() -> Command {
    Command::new("rm", "[OPTIONS] NODE [NODE...]", "Take nodes out of the swarm", Arity::AtLeast(1), handler!(run))
        .aliases(&["remove"])
        .flags(vec![short('f', "force", Kind::Bool, "Although the node is not down")])
}

async fn run(context: &Context, flags: Parsed) -> Result {
    let query = Forced { force: flags.bool("force") }.to_query();
    let remove = async |name| {
        context.client.delete(&path("/nodes", name, ""), &query).await?;
        Ok(name.to_owned())
    };
    context.each(&flags.args, remove).await
}
