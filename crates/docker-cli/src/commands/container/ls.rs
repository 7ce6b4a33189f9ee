//! `docker ps`

use crate::command::{Arity, Command};
use crate::commands::{filters, list_flags};
use crate::context::Context;
use crate::error::Result;
use crate::flags::{Kind, Parsed, flag, short};
use crate::formatter::{container, list};
use crate::handler;
use docker_api::query::ListContainers;

/// Its flags.
pub fn command() -> Command {
    let mut flags = list_flags();
    flags.extend([
        short('a', "all", Kind::Bool, "Stopped ones too"),
        short('n', "last", Kind::Int, "Only so many, the newest, stopped ones too").default("-1"),
        short('l', "latest", Kind::Bool, "Only the newest, stopped or not"),
        flag("no-trunc", Kind::Bool, "Show everything in full"),
        short('s', "size", Kind::Bool, "Show sizes of files"),
    ]);
    Command::new("ls", "[OPTIONS]", "List containers", Arity::None, handler!(run))
        .aliases(&["ps", "list"])
        .flags(flags)
        .also(&["docker container ls", "docker container list", "docker container ps", "docker ps"])
}

async fn run(context: &Context, flags: Parsed) -> Result {
    let mut format = flags.string("format");
    if flags.bool("quiet") && !format.is_empty() {
        context.warn("WARNING: Ignoring custom format, because both --format and --quiet are set.");
        if format != "raw" {
            format = "";
        }
    }
    let size = flags.bool("size") || format.contains(".Size");
    let last = if flags.bool("latest") { 1 } else { flags.i64("last").unwrap_or(-1) };
    let query = ListContainers {
        all: flags.bool("all"),
        limit: (last > 0).then_some(last),
        size,
        filters: filters(flags.list("filter")),
        ..Default::default()
    };
    let containers = context.client.list("/containers/json", &query).await?;
    let now = context.host().now();
    let trunc = !flags.bool("no-trunc");
    let rows: Vec<_> = containers.iter().map(|c| container::list_row(c, now, trunc)).collect();
    let kind = if flags.bool("size") { container::LIST_WITH_SIZE } else { container::LIST };
    context.print(&list::render(kind, format, flags.bool("quiet"), &rows)?);
    Ok(())
}
