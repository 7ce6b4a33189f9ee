//! `docker swarm leave`

use crate::command::{Arity, Command};
use crate::context::Context;
use crate::error::Result;
use crate::flags::{Kind, Parsed, short};
use crate::handler;
use docker_api::query::{Forced, QueryParams};

pub fn command() -> Command {
    Command::new("leave", "[OPTIONS]", "Take this node out of its swarm", Arity::None, handler!(run))
        .flags(vec![short('f', "force", Kind::Bool, "Leave although something is lost by it")])
}

async fn run(context: &Context, flags: Parsed) -> Result {
    let query = Forced { force: flags.bool("force") };
    context.client.post("/swarm/leave", &query.to_query(), None).await?;
    context.line("Node left the swarm.");
    Ok(())
}
