//! `docker volume prune`

use crate::command::{Arity, Command};
use crate::commands::{filters, prune_flags};
use crate::context::Context;
use crate::error::{CliError, Result};
use crate::flags::{Kind, Parsed, short};
use crate::formatter::units::human_size;
use crate::handler;
use crate::spec::json::{int, strings};
use docker_api::ApiVersion;
use docker_api::query::{ListFiltered, QueryParams};

const ANONYMOUS: &str = "WARNING! This will remove anonymous local volumes not used by at least one container.\nAre you sure you want to continue?";
const ALL: &str = "WARNING! This will remove all local volumes not used by at least one container.\nAre you sure you want to continue?";

pub(super) fn command() -> Command {
    let mut flags = prune_flags();
    flags.push(short('a', "all", Kind::Bool, "Named volumes too, not only anonymous ones"));
    Command::new("prune", "[OPTIONS]", "Remove local volumes that nothing uses", Arity::None, handler!(run))
        .flags(flags)
}

async fn run(context: &Context, flags: Parsed) -> Result {
    let mut wanted = filters(flags.list("filter"));
    let mut warning = ANONYMOUS;
    // Engines before API 1.42 make no difference between named and anonymous volumes.
    if context.client.version().await? < (ApiVersion { major: 1, minor: 42 }) {
        warning = ALL;
    } else if flags.bool("all") {
        if wanted.contains("all") {
            return Err(CliError::new("conflicting options: cannot specify both --all and --filter all=1"));
        }
        wanted.add("all", "true");
        warning = ALL;
    }
    if !flags.bool("force") && !context.confirm(warning)? {
        return Ok(());
    }
    let answer = context.client.post("/volumes/prune", &ListFiltered { filters: wanted }.to_query(), None).await?;
    let deleted = strings(&answer, "VolumesDeleted");
    context.print_deleted("Volumes", &deleted);
    let size = if deleted.is_empty() { 0 } else { int(&answer, "SpaceReclaimed") };
    context.line(format_args!("Total reclaimed space: {}", human_size(size as f64, 4)));
    Ok(())
}
