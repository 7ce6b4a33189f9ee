//! `docker volume`

mod create;
mod prune;
mod rm;

use crate::command::{Arity, Command};
use crate::commands::{filters, inspect, inspect_format, list_flags};
use crate::context::Context;
use crate::error::Result;
use crate::flags::Parsed;
use crate::formatter::{list, natural_order, volume};
use crate::handler;
use crate::spec::json::{array, text};
use docker_api::query::ListFiltered;

/// The group.
pub fn group() -> Command {
    let ls = Command::new("ls", "[OPTIONS]", "List volumes", Arity::None, handler!(ls))
        .aliases(&["list"])
        .flags(list_flags());
    let show = Command::new(
        "inspect",
        "[OPTIONS] VOLUME [VOLUME...]",
        "Show volumes in full",
        Arity::AtLeast(1),
        handler!(show),
    )
    .flags(vec![inspect_format()]);
    let commands = vec![create::command(), ls, show, prune::command(), rm::command()];
    Command::group("volume", "Volumes of this node", commands)
}

async fn ls(context: &Context, flags: Parsed) -> Result {
    let query = ListFiltered { filters: filters(flags.list("filter")) };
    let answer = context.client.get_with("/volumes", &query).await?;
    for warning in crate::spec::json::strings(&answer, "Warnings") {
        context.warn(format_args!("WARNING: {warning}"));
    }
    let mut volumes = array(&answer, "Volumes").to_vec();
    volumes.sort_by(|a, b| natural_order(text(a, "Name"), text(b, "Name")));
    let rows: Vec<_> = volumes.iter().map(volume::list_row).collect();
    let format = match (flags.bool("quiet"), flags.string("format")) {
        // Volumes have names where others have ids.
        (true, "" | "table") => "{{.Name}}",
        (_, format) => format,
    };
    context.print(&list::render(volume::LIST, format, flags.bool("quiet"), &rows)?);
    Ok(())
}

async fn show(context: &Context, flags: Parsed) -> Result {
    let find = async |name: &str| inspect::object(context, "/volumes", name, "").await;
    inspect::each(context, flags.string("format"), &flags.args, None, find).await
}
