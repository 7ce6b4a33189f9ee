//! `docker node inspect`

use crate::command::{Arity, Command};
use crate::commands::resolve::node_reference;
use crate::commands::{inspect, page_flags, page_or_format};
use crate::context::Context;
use crate::error::Result;
use crate::flags::Parsed;
use crate::formatter::node;
use crate::handler;
use serde_json::Value;

pub fn command() -> Command {
    Command::new("inspect", "[OPTIONS] self|NODE [NODE...]", "Show nodes in full", Arity::AtLeast(1), handler!(run))
        .flags(page_flags())
}

async fn run(context: &Context, flags: Parsed) -> Result {
    let format = page_or_format(&flags)?;
    if format == "pretty" {
        for name in &flags.args {
            context.print(&node::page(&get(context, name).await?));
        }
        return Ok(());
    }
    inspect::each(context, format, &flags.args, Some("swarm.Node"), async |name: &str| get(context, name).await).await
}

async fn get(context: &Context, name: &str) -> Result<Value> {
    let reference = node_reference(&context.client, name).await?;
    inspect::object(context, "/nodes", &reference, "").await
}
