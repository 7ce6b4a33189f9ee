//! `docker network prune`

use crate::command::{Arity, Command};
use crate::commands::{filters, prune_flags};
use crate::context::Context;
use crate::error::Result;
use crate::flags::Parsed;
use crate::handler;
use crate::spec::json::strings;
use docker_api::query::{ListFiltered, QueryParams};

const WARNING: &str = "WARNING! This will remove all custom networks not used by at least one container.\nAre you sure you want to continue?";

pub(super) fn command() -> Command {
    Command::new("prune", "[OPTIONS]", "Remove networks that nothing uses", Arity::None, handler!(run))
        .flags(prune_flags())
}

async fn run(context: &Context, flags: Parsed) -> Result {
    if !flags.bool("force") && !context.confirm(WARNING)? {
        return Ok(());
    }
    let query = ListFiltered { filters: filters(flags.list("filter")) }.to_query();
    let answer = context.client.post("/networks/prune", &query, None).await?;
    context.print_deleted("Networks", &strings(&answer, "NetworksDeleted"));
    Ok(())
}
