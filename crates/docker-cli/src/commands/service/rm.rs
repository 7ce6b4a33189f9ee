//! `docker service rm`

use crate::client::path;
use crate::command::{Arity, Command};
use crate::context::Context;
use crate::error::Result;
use crate::flags::Parsed;
use crate::handler;

pub fn command() -> Command {
    Command::new("rm", "SERVICE [SERVICE...]", "Remove services", Arity::AtLeast(1), handler!(run)).aliases(&["remove"])
}

async fn run(context: &Context, flags: Parsed) -> Result {
    let remove = async |name| {
        context.client.delete(&path("/services", name, ""), "").await?;
        Ok(name.to_owned())
    };
    context.each(&flags.args, remove).await
}
