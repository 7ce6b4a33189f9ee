//! `docker swarm join`

use super::{address_flags, availability};
use crate::command::{Arity, Command};
use crate::context::Context;
use crate::error::Result;
use crate::flags::{Kind, Parsed, flag};
use crate::handler;
use crate::spec::json::truth;
use serde_json::json;

pub fn command() -> Command {
    let mut flags = address_flags();
    flags.push(flag("token", Kind::String, "Token that says which swarm and role"));
    Command::new(
        "join",
        "[OPTIONS] HOST:PORT",
        "Make this node a worker or manager of a swarm",
        Arity::Exactly(1),
        handler!(run),
    )
    .flags(flags)
}

async fn run(context: &Context, flags: Parsed) -> Result {
    let request = json!({
        "ListenAddr": flags.string("listen-addr"),
        "AdvertiseAddr": flags.string("advertise-addr"),
        "DataPathAddr": flags.string("data-path-addr"),
        "RemoteAddrs": [flags.args[0]],
        "JoinToken": flags.string("token"),
        "Availability": availability(&flags)?.unwrap_or_default(),
    });
    context.client.post("/swarm/join", "", Some(request)).await?;
    let info = context.client.get("/info").await?;
    let role = if truth(&info, "Swarm.ControlAvailable") { "manager" } else { "worker" };
    context.line(format_args!("This node joined a swarm as a {role}."));
    Ok(())
}
