//! `docker service rollback`

use super::{get, put, wait};
use crate::command::{Arity, Command};
use crate::context::Context;
use crate::error::Result;
use crate::flags::{Kind, Parsed, short};
use crate::handler;
use docker_api::query::UpdateService;

pub fn command() -> Command {
    Command::new(
        "rollback",
        "[OPTIONS] SERVICE",
        "Go back to a service's specification before this one",
        Arity::Exactly(1),
        handler!(run),
    )
    .flags(vec![
        short('d', "detach", Kind::Bool, "Do not wait until the service is as it should be"),
        short('q', "quiet", Kind::Bool, "No progress"),
    ])
}

async fn run(context: &Context, flags: Parsed) -> Result {
    let name = flags.args[0].as_str();
    let service = get(context, name).await?;
    let query = UpdateService { rollback: "previous".into(), ..Default::default() };
    for warning in put(context, &service, query).await? {
        context.warn(warning);
    }
    context.line(name);
    if flags.bool("detach") {
        return Ok(());
    }
    wait::converged(context, name, flags.bool("quiet")).await
}
