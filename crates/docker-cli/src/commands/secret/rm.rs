//! `docker secret rm` and `docker config rm`

use super::Noun;
use crate::client::path;
use crate::command::{Arity, Command};
use crate::context::Context;
use crate::error::Result;
use crate::flags::Parsed;
use crate::handler;

pub(super) fn command(usage: &'static str) -> Command {
    Command::new("rm", usage, "Remove them", Arity::AtLeast(1), handler!(run)).aliases(&["remove"])
}

async fn run(context: &Context, flags: Parsed) -> Result {
    let noun = Noun::of(context);
    let remove = async |name: &str| {
        context.client.delete(&path(noun.path(), name, ""), "").await?;
        Ok(name.to_owned())
    };
    context.each(&flags.args, remove).await
}
