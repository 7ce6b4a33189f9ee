//! `docker node update`, `promote` and `demote`

use crate::client::path;
use crate::command::{Arity, Command};
use crate::context::Context;
use crate::error::{CliError, Result};
use crate::flags::{Kind, Parsed, flag};
use crate::handler;
use crate::spec::json::{child, int, key_values, object_mut, text};
use docker_api::query::{QueryParams, UpdateVersioned};
use serde_json::{Value, json};

pub fn command() -> Command {
    Command::new("update", "[OPTIONS] NODE", "Change a node", Arity::Exactly(1), handler!(update)).flags(vec![
        flag("availability", Kind::String, "\"active\", \"pause\" or \"drain\""),
        flag("label-add", Kind::Label, "Set a label, KEY=VALUE"),
        flag("label-rm", Kind::List, "Take a label away"),
        flag("role", Kind::String, "\"worker\" or \"manager\""),
    ])
}

pub fn promote_command() -> Command {
    Command::new("promote", "NODE [NODE...]", "Make workers managers", Arity::AtLeast(1), handler!(promote))
}

pub fn demote_command() -> Command {
    Command::new("demote", "NODE [NODE...]", "Make managers workers", Arity::AtLeast(1), handler!(demote))
}

async fn get(context: &Context, name: &str) -> Result<Value> {
    Ok(context.client.get(&path("/nodes", name, "")).await?)
}

async fn put(context: &Context, node: &Value) -> Result {
    let query = UpdateVersioned { version: Some(int(node, "Version.Index") as u64) };
    let target = path("/nodes", text(node, "ID"), "/update");
    context.client.post(&target, &query.to_query(), Some(node["Spec"].clone())).await?;
    Ok(())
}

async fn update(context: &Context, flags: Parsed) -> Result {
    let name = &flags.args[0];
    let mut node = get(context, name).await?;
    let spec = child(&mut node, "Spec");
    for (flag, key) in [("role", "Role"), ("availability", "Availability")] {
        if flags.changed(flag) {
            object_mut(spec).insert(key.into(), json!(flags.string(flag)));
        }
    }
    let labels = object_mut(child(spec, "Labels"));
    labels.extend(object_mut(&mut key_values(flags.list("label-add"))).clone());
    for key in flags.list("label-rm") {
        if labels.shift_remove(key).is_none() {
            return Err(CliError::new(format!("key {key} doesn't exist in node's labels")));
        }
    }
    put(context, &node).await?;
    context.line(name);
    Ok(())
}

async fn promote(context: &Context, flags: Parsed) -> Result {
    for name in &flags.args {
        let mut node = get(context, name).await?;
        if text(&node, "Spec.Role") == "manager" {
            context.line(format_args!("Node {} is already a manager.", text(&node, "ID")));
            continue;
        }
        node["Spec"]["Role"] = json!("manager");
        put(context, &node).await?;
        context.line(format_args!("Node {name} promoted to a manager in the swarm."));
    }
    Ok(())
}

async fn demote(context: &Context, flags: Parsed) -> Result {
    for name in &flags.args {
        let mut node = get(context, name).await?;
        if text(&node, "Spec.Role") == "worker" {
            context.line(format_args!("Node {} is already a worker.", text(&node, "ID")));
            continue;
        }
        node["Spec"]["Role"] = json!("worker");
        put(context, &node).await?;
        context.line(format_args!("Manager {name} demoted in the swarm."));
    }
    Ok(())
}
