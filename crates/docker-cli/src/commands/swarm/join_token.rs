//! `docker swarm join-token`

use super::print_join_command;
use crate::command::{Arity, Command};
use crate::context::Context;
use crate::error::{CliError, Result};
use crate::flags::{Kind, Parsed, flag, short};
use crate::handler;
use crate::spec::json::{int, text};
use docker_api::query::{QueryParams, UpdateSwarm};

pub fn command() -> Command {
    Command::new(
        "join-token",
        "[OPTIONS] (worker|manager)",
        "Show or change the tokens that nodes join with",
        Arity::Exactly(1),
        handler!(run),
    )
    .flags(vec![
        short('q', "quiet", Kind::Bool, "Show the token only"),
        flag("rotate", Kind::Bool, "Make a new token; the old one ends"),
    ])
}

async fn run(context: &Context, flags: Parsed) -> Result {
    let role = flags.args[0].as_str();
    let (worker, manager) = (role == "worker", role == "manager");
    if !worker && !manager {
        return Err(CliError::new(format!("unknown role {role}")));
    }
    let quiet = flags.bool("quiet");
    if flags.bool("rotate") {
        let swarm = context.client.get("/swarm").await?;
        let query = UpdateSwarm {
            version: Some(int(&swarm, "Version.Index") as u64),
            rotate_worker_token: worker,
            rotate_manager_token: manager,
            ..Default::default()
        };
        context.client.post("/swarm/update", &query.to_query(), Some(swarm["Spec"].clone())).await?;
        if !quiet {
            context.print(&format!("Successfully rotated {role} join token.\n\n"));
        }
    }
    let swarm = context.client.get("/swarm").await?;
    if quiet {
        context.line(text(&swarm, if worker { "JoinTokens.Worker" } else { "JoinTokens.Manager" }));
        return Ok(());
    }
    let info = context.client.get("/info").await?;
    print_join_command(context, text(&info, "Swarm.NodeID"), worker, manager).await
}
