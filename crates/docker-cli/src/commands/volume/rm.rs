//! `docker volume rm`

use crate::client::path;
use crate::command::{Arity, Command};
use crate::context::Context;
use crate::error::Result;
use crate::flags::{Kind, Parsed, short};
use crate::handler;
use docker_api::query::{Forced, QueryParams};

pub(super) fn command() -> Command {
    Command::new(
        "rm",
        "[OPTIONS] VOLUME [VOLUME...]",
        "Remove volumes that nothing uses",
        Arity::AtLeast(1),
        handler!(run),
    )
    .aliases(&["remove"])
    .flags(vec![short('f', "force", Kind::Bool, "No error where there is no such volume")])
}

async fn run(context: &Context, flags: Parsed) -> Result {
    let query = Forced { force: flags.bool("force") }.to_query();
    let remove = async |name: &str| {
        context.client.delete(&path("/volumes", name, ""), &query).await?;
        Ok(name.to_owned())
    };
    context.each(&flags.args, remove).await
}
