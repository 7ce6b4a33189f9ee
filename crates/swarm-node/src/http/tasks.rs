//! Tasks, which `docker service ps` and `docker node ps` show.

use std::collections::BTreeMap;
use std::sync::Arc;

use docker_api::query::ListFiltered;
use serde_json::Value;
use swarm_manager::control_api::{ControlRequest, ControlResponse, ObjectFilters, TaskFilters};
use swarm_types::{Network, NetworkId, Object};

use super::call::{Call, unexpected};
use super::reply::{self, ApiError, Result};
use crate::convert;

/// `GET /tasks`
pub(crate) async fn list(call: &Call) -> Result {
    let ListFiltered { filters } = call.query()?;
    filters.validate(&[
        "name",
        "id",
        "label",
        "service",
        "node",
        "desired-state",
        "up-to-date",
        "runtime",
        "_up-to-date",
    ])?;
    let all = |key| filters.get(key).map(str::to_owned).collect::<Vec<_>>();
    for state in filters.get("desired-state") {
        if !["running", "shutdown", "accepted", "ready", "complete", "remove"].contains(&state.to_lowercase().as_str())
        {
            return Err(ApiError::bad_request(format!("invalid filter 'desired-state=[{state}]'")));
        }
    }
    let mut request = TaskFilters {
        ids: all("id"),
        names: all("name"),
        labels: all("label"),
        services: all("service"),
        nodes: all("node"),
        desired_states: all("desired-state"),
    };
    for node in request.nodes.iter_mut().filter(|node| *node == "self") {
        if let Some(id) = call.api.node.swarm_info().await.node_id {
            *node = id.to_string();
        }
    }
    let objects = call.objects(ControlRequest::ListTasks(request)).await?;
    let networks = networks(call).await?;
    Ok(reply::json(objects.iter().map(|object| task(object, &networks)).collect::<Result<Vec<Value>>>()?))
}

/// `GET /tasks/{id}`
pub(crate) async fn inspect(call: &Call, id: &str) -> Result {
    let object = call.object(ControlRequest::GetTask(id.to_owned())).await?;
    let networks = networks(call).await?;
    Ok(reply::json(task(&object, &networks)?))
}

type Networks = BTreeMap<NetworkId, Arc<Network>>;

async fn networks(call: &Call) -> Result<Networks> {
    let objects = call.objects(ControlRequest::ListNetworks(ObjectFilters::default())).await?;
    let by_id = |object| match object {
        Object::Network(network) => Some((network.id, network)),
        _ => None,
    };
    Ok(objects.into_iter().filter_map(by_id).collect())
}

fn task(object: &Object, networks: &Networks) -> Result<Value> {
    match object {
        Object::Task(task) => Ok(convert::task::task(task, |id| networks.get(&id).map(Arc::as_ref))),
        other => Err(unexpected(&ControlResponse::Object(other.clone()))),
    }
}
