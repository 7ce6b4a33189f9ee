//! `docker node`.

use docker_api::Filters;
use docker_api::query::{Forced, ListFiltered, UpdateVersioned};
use http::StatusCode;
use serde_json::Value;
use swarm_manager::control_api::{ControlRequest, ControlResponse, NodeFilters};
use swarm_types::{NodeMembership, Object};

use super::call::{Call, required_version, unexpected};
use super::reply::{self, ApiError, Result};
use crate::convert;

/// `GET /nodes`
pub(crate) async fn list(call: &Call) -> Result {
    let ListFiltered { filters } = call.query()?;
    let objects = call.objects(ControlRequest::ListNodes(node_filters(&filters)?)).await?;
    Ok(reply::json(objects.iter().map(node).collect::<Result<Vec<Value>>>()?))
}

fn node(object: &Object) -> Result<Value> {
    match object {
        Object::Node(node) => Ok(convert::node::node(node)),
        other => Err(unexpected(&ControlResponse::Object(other.clone()))),
    }
}

fn node_filters(filters: &Filters) -> Result<NodeFilters> {
    filters.validate(&["name", "id", "label", "node.label", "role", "membership"])?;
    let all = |key| filters.get(key).map(str::to_owned).collect::<Vec<_>>();
    let role = |text| {
        convert::node::read_role(text).map_err(|_| ApiError::bad_request(format!("Invalid role filter: '{text}'")))
    };
    let membership = |text| match text {
        "accepted" => Ok(NodeMembership::Accepted),
        "pending" => Ok(NodeMembership::Pending),
        other => Err(ApiError::bad_request(format!("Invalid membership filter: '{other}'"))),
    };
    Ok(NodeFilters {
        ids: all("id"),
        names: all("name"),
        engine_labels: all("label"),
        node_labels: all("node.label"),
        roles: filters.get("role").map(role).collect::<Result<_>>()?,
        memberships: filters.get("membership").map(membership).collect::<Result<_>>()?,
    })
}

/// `GET /nodes/{id}`
pub(crate) async fn inspect(call: &Call, id: &str) -> Result {
    let object = call.object(ControlRequest::GetNode(own(call, id).await)).await?;
    Ok(reply::json(node(&object)?))
}

/// `self` names the node that is asked.
async fn own(call: &Call, id: &str) -> String {
    if id != "self" {
        return id.to_owned();
    }
    call.api.node.swarm_info().await.node_id.map_or_else(|| id.to_owned(), |id| id.to_string())
}

/// `POST /nodes/{id}/update`
pub(crate) async fn update(mut call: Call, id: &str) -> Result {
    let UpdateVersioned { version } = call.query()?;
    let body = call.json().await?;
    let version = required_version(version, "", "node")?;
    let spec = convert::node::read_node_spec(&body)?;
    call.control(ControlRequest::UpdateNode { node: own(&call, id).await, version, spec }).await?;
    Ok(reply::empty(StatusCode::OK))
}

/// `DELETE /nodes/{id}`
pub(crate) async fn remove(call: &Call, id: &str) -> Result {
    let Forced { force } = call.query()?;
    call.control(ControlRequest::RemoveNode { node: own(call, id).await, force }).await?;
    Ok(reply::empty(StatusCode::OK))
}
