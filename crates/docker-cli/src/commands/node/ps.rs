//! `docker node ps`

use crate::client::path;
use crate::command::{Arity, Command};
use crate::commands::filters;
use crate::commands::resolve::node_reference;
use crate::commands::service::ps::{print_tasks, task_flags};
use crate::context::Context;
use crate::error::{CliError, Result};
use crate::flags::Parsed;
use crate::handler;
use crate::spec::json::text;
use docker_api::query::ListFiltered;
use serde_json::Value;

pub fn command() -> Command {
    Command::new(
        "ps",
        "[OPTIONS] [NODE...]",
        "List tasks on nodes, on this one by default",
        Arity::AtLeast(0),
        handler!(run),
    )
    .flags(task_flags())
}

async fn run(context: &Context, flags: Parsed) -> Result {
    let names = if flags.args.is_empty() { vec!["self".to_owned()] } else { flags.args.clone() };
    let (mut tasks, mut errors) = (Vec::new(), Vec::new());
    for name in &names {
        match node_tasks(context, name, &flags).await {
            Ok(found) => tasks.extend(found),
            Err(error) => errors.push(error.message),
        }
    }
    if errors.is_empty() || !tasks.is_empty() {
        print_tasks(context, tasks, &flags, !flags.bool("no-trunc")).await?;
    }
    match errors.is_empty() {
        true => Ok(()),
        false => Err(CliError::new(errors.join("\n"))),
    }
}

async fn node_tasks(context: &Context, name: &str, flags: &Parsed) -> Result<Vec<Value>> {
    let reference = node_reference(&context.client, name).await?;
    let node = context.client.get(&path("/nodes", &reference, "")).await?;
    let mut wanted = filters(flags.list("filter"));
    wanted.add("node", text(&node, "ID"));
    Ok(context.client.list("/tasks", &ListFiltered { filters: wanted }).await?)
}
