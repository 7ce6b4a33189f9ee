//! `docker node inspect`

use crate::command::{Arity, Command};
use crate::commands::resolve::node_reference;
use crate::commands::{inspect, inspect_format};
use crate::context::Context;
use crate::error::{CliError, Result};
use crate::flags::{Kind, Parsed, flag};
use crate::formatter::node;
use crate::handler;
use serde_json::Value;

pub fn command() -> Command {
    Command::new("inspect", "[OPTIONS] self|NODE [NODE...]", "Show nodes in full", Arity::AtLeast(1), handler!(run))
        .flags(vec![inspect_format(), flag("pretty", Kind::Bool, "Print a page to read rather than JSON")])
}

async fn run(context: &Context, flags: Parsed) -> Result {
    let format = if flags.bool("pretty") { "pretty" } else { flags.string("format") };
    if format.starts_with("pretty") && format != "pretty" {
        return Err(CliError::new("cannot supply extra formatting options to the pretty template"));
    }
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
