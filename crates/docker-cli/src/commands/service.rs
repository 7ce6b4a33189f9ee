//! `docker service`

pub mod create;
mod flags;
mod inspect;
mod logs;
pub(in crate::commands) mod logs_copy;
mod ls;
pub mod ps;
mod rm;
mod rollback;
mod scale;
pub mod update;
mod wait;

use crate::client::path;
use crate::command::Command;
use crate::context::Context;
use crate::error::Result;
use crate::spec::json::{int, strings, text};
use docker_api::query::{QueryParams, UpdateService};
use serde_json::Value;

/// The group.
pub fn group() -> Command {
    Command::group(
        "service",
        "Services of the swarm",
        vec![
            create::command(),
            inspect::command(),
            logs::command(),
            ls::command(),
            ps::command(),
            rm::command(),
            rollback::command(),
            scale::command(),
            update::command(),
        ],
    )
}

async fn get(context: &Context, name: &str) -> Result<Value> {
    Ok(context.client.get(&path("/services", name, "")).await?)
}

/// Sends a changed specification; returns what the engine warns of.
async fn put(context: &Context, service: &Value, query: UpdateService) -> Result<Vec<String>> {
    let query = UpdateService { version: Some(int(service, "Version.Index") as u64), ..query };
    let target = path("/services", text(service, "ID"), "/update");
    let answer = context.client.post(&target, &query.to_query(), Some(service["Spec"].clone())).await?;
    Ok(strings(&answer, "Warnings"))
}
