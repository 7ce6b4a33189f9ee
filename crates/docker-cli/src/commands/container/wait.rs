//! `docker wait`

use super::session::Exit;
use crate::command::{Arity, Command};
use crate::context::Context;
use crate::error::Result;
use crate::flags::Parsed;
use crate::handler;

pub fn command() -> Command {
    Command::new(
        "wait",
        "CONTAINER [CONTAINER...]",
        "Wait until containers end, and print their exit codes",
        Arity::AtLeast(1),
        handler!(run),
    )
    .also(&["docker container wait", "docker wait"])
}

async fn run(context: &Context, flags: Parsed) -> Result {
    let wait = async |name: &str| Ok(Exit::new(context, name, "").code().await?.to_string());
    context.each(&flags.args, wait).await
}
