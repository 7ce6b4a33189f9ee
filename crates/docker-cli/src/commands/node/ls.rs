//! `docker node ls`

use crate::command::{Arity, Command};
use crate::commands::{filters, list_flags};
use crate::context::Context;
use crate::error::Result;
use crate::flags::Parsed;
use crate::formatter::{list, natural_order, node};
use crate::handler;
use crate::spec::json::text;
use docker_api::query::ListFiltered;
use serde_json::Value;

pub fn command() -> Command {
    Command::new("ls", "[OPTIONS]", "List nodes of the swarm", Arity::None, handler!(run))
        .aliases(&["list"])
        .flags(list_flags())
}

async fn run(context: &Context, flags: Parsed) -> Result {
    let query = ListFiltered { filters: filters(flags.list("filter")) };
    let mut nodes = context.client.list("/nodes", &query).await?;
    let quiet = flags.bool("quiet");
    let info = if nodes.is_empty() || quiet { Value::Null } else { context.client.get("/info").await? };
    let hostname = |node: &Value| text(node, "Description.Hostname").to_owned();
    nodes.sort_by(|a, b| natural_order(&hostname(a), &hostname(b)));
    let rows: Vec<Value> = nodes.iter().map(|n| node::list_row(n, &info)).collect();
    context.print(&list::render(node::LIST, flags.string("format"), quiet, &rows)?);
    Ok(())
}
