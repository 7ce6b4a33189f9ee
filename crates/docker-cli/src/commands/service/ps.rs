//! `docker service ps`, and the list of tasks that `node ps` shows too.

use crate::command::{Arity, Command};
use crate::commands::resolve::{name_tasks, node_reference};
use crate::context::Context;
use crate::error::{CliError, Result};
use crate::flags::{Flag, Kind, Parsed, flag, short};
use crate::formatter::{list, task};
use crate::handler;
use crate::spec::json::text;
use docker_api::Filters;
use docker_api::query::{ListFiltered, ListServices};
use serde_json::Value;

pub(super) fn command() -> Command {
    Command::new("ps", "[OPTIONS] SERVICE [SERVICE...]", "List tasks of services", Arity::AtLeast(1), handler!(run))
        .flags(task_flags())
}

/// Flags of lists of tasks.
pub fn task_flags() -> Vec<Flag> {
    vec![
        short('f', "filter", Kind::Filter, "Show only what matches, KEY=VALUE"),
        flag("format", Kind::String, "\"table\" (default), \"table TEMPLATE\", \"json\", or a Go template"),
        flag("no-resolve", Kind::Bool, "Show ids rather than names"),
        flag("no-trunc", Kind::Bool, "Show everything in full"),
        short('q', "quiet", Kind::Bool, "Show ids only"),
    ]
}

async fn run(context: &Context, flags: Parsed) -> Result {
    let mut wanted = Filters::default();
    for text in flags.list("filter") {
        if let Some((key, value)) = text.split_once('=') {
            let key = key.trim().to_lowercase();
            let value = if key == "node" {
                node_reference(&context.client, value.trim()).await?
            } else {
                value.trim().to_owned()
            };
            wanted.add(key, value);
        }
    }
    let missing = add_services(context, &flags.args, &mut wanted).await?;
    let tasks = context.client.list("/tasks", &ListFiltered { filters: wanted }).await?;
    let trunc = !flags.bool("no-trunc") && !flags.bool("quiet");
    print_tasks(context, tasks, &flags, trunc).await?;
    match missing.is_empty() {
        true => Ok(()),
        false => Err(CliError::new(missing.join("\n"))),
    }
}

/// Adds the services to the filters; returns complaints about unknown ones, and fails when none is known.
async fn add_services(context: &Context, names: &[String], wanted: &mut Filters) -> Result<Vec<String>> {
    let (mut by_id, mut by_name) = (Filters::default(), Filters::default());
    for name in names {
        by_id.add("id", name);
        by_name.add("name", name);
    }
    let list = async |filters| context.client.list("/services", &ListServices { filters, status: false }).await;
    let (by_id, by_name) = (list(by_id).await?, list(by_name).await?);
    let (mut missing, mut found) = (Vec::new(), 0);
    for name in names {
        let exact = |service: &&Value| text(service, "ID") == name || text(service, "Spec.Name") == name;
        if let Some(service) = by_id.iter().chain(&by_name).find(exact) {
            wanted.add("service", text(service, "ID"));
            found += 1;
            continue;
        }
        let mut prefixed = by_id.iter().filter(|service| text(service, "ID").starts_with(name.as_str()));
        match (prefixed.next(), prefixed.next()) {
            (Some(service), None) => {
                wanted.add("service", text(service, "ID"));
                found += 1;
            }
            (Some(_), Some(_)) => {
                return Err(CliError::new(format!("multiple services found with provided prefix: {name}")));
            }
            (None, _) => missing.push(format!("no such service: {name}")),
        }
    }
    match found {
        0 => Err(CliError::new(missing.join("\n"))),
        _ => Ok(missing),
    }
}

/// Prints tasks with the names of their services and nodes.
pub async fn print_tasks(context: &Context, tasks: Vec<Value>, flags: &Parsed, trunc: bool) -> Result {
    let tasks = name_tasks(&context.client, tasks, !flags.bool("no-resolve")).await;
    let (format, quiet) = (flags.string("format"), flags.bool("quiet"));
    let is_table = !quiet && (format.is_empty() || format.starts_with("table"));
    let rows = task::list_rows(tasks, context.host().now(), trunc, is_table);
    context.print(&list::render(task::LIST, format, quiet, &rows)?);
    Ok(())
}
