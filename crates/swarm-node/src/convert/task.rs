//! Tasks as `GET /tasks` shows them.

use serde_json::{Value, json};
use swarm_types::{Network, NetworkId, Task, TaskSpec, TaskStatus};

use super::network::{attachment, port};
use super::service::{generic, task_spec};
use super::{Writer, object, time};

/// `GET /tasks/{id}`; `network` finds a network that the answering node knows.
pub fn task<'a>(from: &Task, network: impl Fn(NetworkId) -> Option<&'a Network>) -> Value {
    object(from.id, &from.meta)
        .put("Labels", json!({}))
        .put("Spec", spec(&from.spec))
        .some("ServiceID", from.service_id.map(|id| id.to_string()))
        .number("Slot", i128::from(from.slot))
        .some("NodeID", from.node_id.map(|id| id.to_string()))
        .put("Status", status(&from.status))
        .put("DesiredState", from.desired_state.as_str())
        .list("NetworksAttachments", from.networks.iter().map(|a| attachment(a, network(a.network_id))))
        .list("GenericResources", from.assigned_resources.iter().map(generic))
        .some("JobIteration", from.job_iteration.map(|run| json!({"Index": run.0})))
        .put("Volumes", Value::Null)
        .build()
}

/// A task's spec names no runtime, unlike its service's.
fn spec(from: &TaskSpec) -> Value {
    let mut shown = task_spec(from);
    if let Some(shown) = shown.as_object_mut() {
        shown.shift_remove("Runtime");
        if let Some(attachment) = &from.attachment {
            shown.shift_remove("ContainerSpec");
            shown.insert("NetworkAttachmentSpec".to_owned(), json!({"ContainerID": attachment.container_id}));
        }
    }
    shown
}

fn status(from: &TaskStatus) -> Value {
    let container =
        from.container.as_ref().map(|c| json!({"ContainerID": c.container_id, "PID": c.pid, "ExitCode": c.exit_code}));
    Writer::default()
        .put("Timestamp", time(from.timestamp))
        .put("State", from.state.as_str())
        .text("Message", &from.message)
        .text("Err", &from.err)
        .some("ContainerStatus", container)
        .put("PortStatus", Writer::default().list("Ports", from.host_ports.iter().map(port)).build())
        .build()
}
