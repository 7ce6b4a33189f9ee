//! `docker container prune`

use crate::command::{Arity, Command};
use crate::commands::{filters, prune_flags};
use crate::context::Context;
use crate::error::Result;
use crate::flags::Parsed;
use crate::formatter::units::human_size;
use crate::handler;
use crate::spec::json::{int, strings};
use docker_api::query::{ListFiltered, QueryParams};

const WARNING: &str = "WARNING! This will remove all stopped containers.\nAre you sure you want to continue?";

pub(super) fn command() -> Command {
    Command::new("prune", "[OPTIONS]", "Remove containers that do not run", Arity::None, handler!(run))
        .flags(prune_flags())
}

async fn run(context: &Context, flags: Parsed) -> Result {
    if !flags.bool("force") && !context.confirm(WARNING)? {
        return Ok(());
    }
    let query = ListFiltered { filters: filters(flags.list("filter")) }.to_query();
    let answer = context.client.post("/containers/prune", &query, None).await?;
    let deleted = strings(&answer, "ContainersDeleted");
    context.print_deleted("Containers", &deleted);
    let size = if deleted.is_empty() { 0 } else { int(&answer, "SpaceReclaimed") };
    context.line(format_args!("Total reclaimed space: {}", human_size(size as f64, 4)));
    Ok(())
}
