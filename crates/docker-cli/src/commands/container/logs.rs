//! `docker logs`

use super::get;
use crate::client::{Body, path};
use crate::command::{Arity, Command};
use crate::commands::service::logs_copy;
use crate::context::Context;
use crate::error::Result;
use crate::flags::{Kind, Parsed, flag, short};
use crate::handler;
use crate::spec::json::{text, truth};
use docker_api::query::{Logs, QueryParams};

pub fn command() -> Command {
    Command::new("logs", "[OPTIONS] CONTAINER", "Show what a container wrote", Arity::Exactly(1), handler!(run))
        .flags(vec![
            flag("details", Kind::Bool, "Show further details of each message"),
            short('f', "follow", Kind::Bool, "Go on with what comes"),
            flag("since", Kind::String, "Only messages after a time, or as old as 42m"),
            short('n', "tail", Kind::Tail, "Number of messages from the end").default("all"),
            short('t', "timestamps", Kind::Bool, "Show times"),
            flag("until", Kind::String, "Only messages before a time, or as old as 42m"),
        ])
        .also(&["docker container logs", "docker logs"])
}

async fn run(context: &Context, flags: Parsed) -> Result {
    let container = get(context, &flags.args[0]).await?;
    let query = Logs {
        stdout: true,
        stderr: true,
        since: logs_copy::since(context, flags.string("since"), "since")?,
        until: logs_copy::since(context, flags.string("until"), "until")?,
        timestamps: flags.bool("timestamps"),
        follow: flags.bool("follow"),
        tail: flags.string("tail").to_owned(),
        details: flags.bool("details"),
    };
    let target = path("/containers", text(&container, "Id"), "/logs");
    let response = context.client.send("GET", &target, &query.to_query(), Body::Empty).await?;
    logs_copy::copy(context, response, truth(&container, "Config.Tty")).await
}
