//! `docker network ls`

use crate::command::{Arity, Command};
use crate::commands::{filters, list_flags};
use crate::context::Context;
use crate::error::Result;
use crate::flags::{Kind, Parsed, flag};
use crate::formatter::{list, natural_order, network};
use crate::handler;
use crate::spec::json::text;
use docker_api::query::ListFiltered;

pub(super) fn command() -> Command {
    let mut flags = list_flags();
    flags.push(flag("no-trunc", Kind::Bool, "Show everything in full"));
    Command::new("ls", "[OPTIONS]", "List networks", Arity::None, handler!(run)).aliases(&["list"]).flags(flags)
}

async fn run(context: &Context, flags: Parsed) -> Result {
    let query = ListFiltered { filters: filters(flags.list("filter")) };
    let mut networks = context.client.list("/networks", &query).await?;
    networks.sort_by(|a, b| natural_order(text(a, "Name"), text(b, "Name")));
    let trunc = !flags.bool("no-trunc");
    let rows: Vec<_> = networks.iter().map(|n| network::list_row(n, trunc)).collect();
    context.print(&list::render(network::LIST, flags.string("format"), flags.bool("quiet"), &rows)?);
    Ok(())
}
