//! `docker service`.

use std::collections::BTreeMap;
use std::sync::Arc;

use docker_api::query::{InspectService, ListServices, UpdateService};
use http::StatusCode;
use serde_json::{Value, json};
use swarm_manager::control_api::{ControlRequest, ControlResponse, NodeFilters, ServiceFilters, TaskFilters};
use swarm_types::{DesiredState, NodeId, NodeState, Object, Service, ServiceId, ServiceMode, Task, TaskState};

use super::call::{Call, required_version, unexpected};
use super::reply::{self, ApiError, Result};
use crate::convert;
use crate::convert::service::ServiceStatus;

/// `GET /services`
pub(crate) async fn list(call: &Call) -> Result {
    let ListServices { filters, status } = call.query()?;
    filters.validate(&["name", "id", "label", "mode", "runtime"])?;
    let all = |key| filters.get(key).map(str::to_owned).collect::<Vec<_>>();
    for mode in filters.get("mode") {
        if !["replicated", "global", "replicated-job", "global-job"].contains(&mode) {
            return Err(ApiError::bad_request(format!("invalid filter 'mode=[{mode}]'")));
        }
    }
    let request = ServiceFilters {
        ids: all("id"),
        names: all("name"),
        labels: all("label"),
        modes: all("mode"),
        runtimes: all("runtime"),
    };
    let services = services(call.objects(ControlRequest::ListServices(request)).await?)?;
    let statuses = if status { statuses(call, &services).await? } else { BTreeMap::new() };
    let shown = services.iter().map(|service| {
        convert::service::service(
            service,
            status.then(|| statuses.get(&service.id).copied().unwrap_or_default()),
            false,
        )
    });
    Ok(reply::json(shown.collect::<Vec<Value>>()))
}

fn services(objects: Vec<Object>) -> Result<Vec<Arc<Service>>> {
    let service = |object| match object {
        Object::Service(service) => Ok(service),
        other => Err(unexpected(&ControlResponse::Object(other))),
    };
    objects.into_iter().map(service).collect()
}

/// Counts tasks as `docker service ls` shows them: only those on nodes that live.
async fn statuses(call: &Call, services: &[Arc<Service>]) -> Result<BTreeMap<ServiceId, ServiceStatus>> {
    let nodes = call.objects(ControlRequest::ListNodes(NodeFilters::default())).await?;
    let down: Vec<NodeId> = nodes
        .iter()
        .filter_map(|object| match object {
            Object::Node(node) if node.status.state == NodeState::Down => Some(node.id),
            _ => None,
        })
        .collect();
    let tasks = call.objects(ControlRequest::ListTasks(TaskFilters::default())).await?;
    let mut statuses: BTreeMap<ServiceId, ServiceStatus> = BTreeMap::new();
    for service in services {
        let status = statuses.entry(service.id).or_default();
        let run = service.job_status.map(|job| job.iteration);
        for object in &tasks {
            let Object::Task(task) = object else { continue };
            if task.service_id != Some(service.id) || (service.spec.mode.is_job() && task.job_iteration != run) {
                continue;
            }
            count(status, service, task, &down);
        }
        match service.spec.mode {
            ServiceMode::Replicated { replicas } => status.desired = replicas,
            ServiceMode::ReplicatedJob { max_concurrent, total_completions } => {
                status.desired = max_concurrent.min(total_completions.saturating_sub(status.completed));
            }
            ServiceMode::Global | ServiceMode::GlobalJob => {}
        }
    }
    Ok(statuses)
}

fn count(status: &mut ServiceStatus, service: &Service, task: &Task, down: &[NodeId]) {
    let lives = task.node_id.is_none_or(|node| !down.contains(&node));
    if task.status.state == TaskState::Running && lives {
        status.running += 1;
    }
    if task.status.state == TaskState::Complete {
        status.completed += 1;
    }
    let wanted = match service.spec.mode {
        ServiceMode::Global => task.desired_state == DesiredState::Running,
        // a job's finished tasks count as wanted no more
        ServiceMode::GlobalJob => task.desired_state == DesiredState::Complete && !task.status.state.is_terminal(),
        _ => false,
    };
    if wanted && lives {
        status.desired += 1;
    }
}

/// `GET /services/{id}`
pub(crate) async fn inspect(call: &Call, id: &str) -> Result {
    let InspectService { insert_defaults } = call.query()?;
    match call.object(ControlRequest::GetService(id.to_owned())).await? {
        Object::Service(service) => Ok(reply::json(convert::service::service(&service, None, insert_defaults))),
        other => Err(unexpected(&ControlResponse::Object(other))),
    }
}

/// `POST /services/create`
pub(crate) async fn create(mut call: Call) -> Result {
    let spec = convert::service::read_service_spec(&call.json().await?)?;
    let (id, warnings) = call.create(ControlRequest::CreateService(Box::new(spec))).await?;
    let warnings = if warnings.is_empty() { Value::Null } else { json!(warnings) };
    Ok(reply::json_with(StatusCode::CREATED, json!({"ID": id, "Warnings": warnings})))
}

/// `POST /services/{id}/update`
pub(crate) async fn update(mut call: Call, id: &str) -> Result {
    let query: UpdateService = call.query()?;
    let body = call.json().await?;
    let version = required_version(query.version, "", "service")?;
    let rollback = match query.rollback.as_str() {
        "" | "none" => false,
        "previous" => true,
        _ => return Err(ApiError::bad_request("unrecognized rollback option")),
    };
    let spec = Box::new(convert::service::read_service_spec(&body)?);
    call.control(ControlRequest::UpdateService { service: id.to_owned(), version, spec, rollback }).await?;
    Ok(reply::json(json!({"Warnings": null})))
}

/// `DELETE /services/{id}`
pub(crate) async fn remove(call: &Call, id: &str) -> Result {
    call.control(ControlRequest::RemoveService(id.to_owned())).await?;
    Ok(reply::empty(StatusCode::OK))
}
