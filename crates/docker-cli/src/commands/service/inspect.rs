//! `docker service inspect`

use crate::client::path;
use crate::command::{Arity, Command};
use crate::commands::{inspect, page_flags, page_or_format};
use crate::context::Context;
use crate::error::{CliError, Result};
use crate::flags::Parsed;
use crate::formatter::service_page;
use crate::handler;
use crate::spec::json::{array, at, text};
use docker_api::query::{InspectNetwork, InspectService};
use serde_json::Value;
use std::collections::BTreeMap;

pub fn command() -> Command {
    Command::new("inspect", "[OPTIONS] SERVICE [SERVICE...]", "Show services in full", Arity::AtLeast(1), handler!(run))
        .flags(page_flags())
}

async fn run(context: &Context, flags: Parsed) -> Result {
    if flags.bool("pretty") && flags.changed("format") {
        return Err(CliError::new("--format is incompatible with human friendly format"));
    }
    let format = page_or_format(&flags)?;
    if format != "pretty" {
        return inspect::each(context, format, &flags.args, Some("swarm.Service"), async |name: &str| {
            find(context, name).await
        })
        .await;
    }
    for service in &flags.args {
        print_page(context, service).await?;
    }
    Ok(())
}

/// With the values that the engine uses where the specification has none.
async fn find(context: &Context, name: &str) -> Result<Value> {
    let query = InspectService { insert_defaults: true };
    match context.client.get_with(&path("/services", name, ""), &query).await {
        Err(error) if error.is_not_found() => Err(CliError::new(format!("Error: no such service: {name}"))),
        answer => Ok(answer?),
    }
}

async fn print_page(context: &Context, service: &str) -> Result {
    let service = find(context, service).await?;
    let mut networks = BTreeMap::new();
    for network in at(&service, "Spec.TaskTemplate").map_or(&[][..], |task| array(task, "Networks")) {
        let query = InspectNetwork { scope: "swarm".into(), ..Default::default() };
        if let Ok(found) = context.client.get_with(&path("/networks", text(network, "Target"), ""), &query).await {
            networks.insert(text(&found, "Id").to_owned(), text(&found, "Name").to_owned());
        }
    }
    context.print(&service_page::page(&service, &networks, context.host().now()));
    Ok(())
}
