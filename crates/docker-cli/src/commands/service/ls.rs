//! `docker service ls`

use crate::command::{Arity, Command};
use crate::commands::{filters, list_flags};
use crate::context::Context;
use crate::error::Result;
use crate::flags::Parsed;
use crate::formatter::{list, natural_order, service};
use crate::handler;
use crate::spec::json::{at, text};
use docker_api::query::{ListFiltered, ListServices};
use serde_json::{Value, json};

pub fn command() -> Command {
    Command::new("ls", "[OPTIONS]", "List services", Arity::None, handler!(run)).aliases(&["list"]).flags(list_flags())
}

async fn run(context: &Context, flags: Parsed) -> Result {
    let quiet = flags.bool("quiet");
    let query = ListServices { filters: filters(flags.list("filter")), status: !quiet };
    let mut services = context.client.list("/services", &query).await?;
    if !quiet {
        count_tasks(context, &mut services).await?;
    }
    services.sort_by(|a, b| natural_order(text(a, "Spec.Name"), text(b, "Spec.Name")));
    let rows: Vec<Value> = services.iter().map(service::list_row).collect();
    context.print(&list::render(service::LIST, flags.string("format"), quiet, &rows)?);
    Ok(())
}

/// Engines before API 1.41 do not count tasks; then it is done here.
async fn count_tasks(context: &Context, services: &mut [Value]) -> Result {
    if services.iter().all(|service| at(service, "ServiceStatus").is_some()) {
        return Ok(());
    }
    let tasks = context.client.list("/tasks", &ListFiltered::default()).await?;
    let nodes = super::wait::active_nodes(context).await?;
    for service in services.iter_mut().filter(|service| at(service, "ServiceStatus").is_none()) {
        let own = |task: &&Value| text(task, "ServiceID") == text(service, "ID");
        let desired = tasks.iter().filter(own).filter(|task| text(task, "DesiredState") != "shutdown").count();
        let running = tasks
            .iter()
            .filter(own)
            .filter(|task| text(task, "Status.State") == "running" && nodes.contains(text(task, "NodeID")))
            .count();
        service["ServiceStatus"] = json!({ "RunningTasks": running, "DesiredTasks": desired });
    }
    Ok(())
}
