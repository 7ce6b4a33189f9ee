//! Containers' places on the swarm's networks: where their addresses come from, and how they are plugged in.
//!
//! A task comes with its addresses. A container that a user attaches (`docker run --network`) has them asked for: the
//! managers answer with a task of its own, which only holds the addresses and reaches this node like any other.

use std::collections::BTreeMap;
use std::time::Duration;

use container_runtime::{ContainerId, Error, HealthStatus, Kind, Result};
use overlay_network::EndpointInfo;
use swarm_types::{EndpointKind, Task, TaskId};
use tokio::sync::watch;

use super::super::{Engine, Entry, lock};
use super::internal;
use crate::core::NodeHandle;
use crate::networking::{Joining, SwarmAttachment, task_networks};
use crate::runner::TaskInputs;

/// So long an attachment may take to come from the managers; Docker's figure.
const ATTACH_PATIENCE: Duration = Duration::from_secs(20);

/// The attachments that the managers made for containers of this node, by their tasks.
#[derive(Default)]
pub(in super::super) struct SwarmPlaces {
    tasks: watch::Sender<BTreeMap<TaskId, (String, SwarmAttachment)>>,
}

impl SwarmPlaces {
    /// Takes in an attachment's task; the container's id.
    pub fn arrived(&self, task: &Task, inputs: &TaskInputs) -> std::result::Result<Option<String>, String> {
        let Some(attachment) = &task.spec.attachment else { return Ok(None) };
        let container = attachment.container_id.clone();
        let networks = task_networks(task, &inputs.networks)?;
        let [network] =
            <[SwarmAttachment; 1]>::try_from(networks.swarm).map_err(|_| "an attachment has one network".to_owned())?;
        self.tasks.send_modify(|tasks| drop(tasks.insert(task.id, (container.clone(), network))));
        Ok(Some(container))
    }

    /// The container of an attachment that is known.
    pub fn container(&self, task: TaskId) -> Option<String> {
        self.tasks.borrow().get(&task).map(|(container, _)| container.clone())
    }

    /// The managers took it back.
    pub fn removed(&self, task: TaskId) -> Option<(String, SwarmAttachment)> {
        let mut removed = None;
        self.tasks.send_if_modified(|tasks| {
            removed = tasks.remove(&task);
            removed.is_some()
        });
        removed
    }

    async fn wait(&self, task: TaskId) -> Result<SwarmAttachment> {
        let mut tasks = self.tasks.subscribe();
        let arrived = tokio::time::timeout(ATTACH_PATIENCE, tasks.wait_for(|tasks| tasks.contains_key(&task))).await;
        match arrived {
            Ok(Ok(tasks)) => tasks.get(&task).map(|(_, one)| one.clone()).ok_or_else(|| timed_out(task)),
            _ => Err(timed_out(task)),
        }
    }
}

fn timed_out(task: TaskId) -> Error {
    let seconds = ATTACH_PATIENCE.as_secs();
    Error::new(
        Kind::Internal,
        format!("attaching to network failed: attachment {task} did not come within {seconds} s"),
    )
}

impl Engine {
    /// The way to the managers, once there is one.
    pub fn set_node(&self, node: NodeHandle) {
        let _ = self.inner.node.set(node);
    }

    /// A container's place on a network of the swarm, by the network's name or id: one that it has, or a new one that
    /// the managers are asked for, as `docker run --network` wants it.
    pub(super) async fn swarm_place(
        &self,
        id: &ContainerId,
        entry: &Entry,
        network: &str,
        addresses: Vec<String>,
    ) -> Result<SwarmAttachment> {
        let has = |one: &&SwarmAttachment| one.name == network || one.network.to_string() == network;
        let known = entry.record().swarm.iter().find(has).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let unknown = || Error::new(Kind::NotFound, format!("network {network} not found"));
        let node = self.inner.node.get().ok_or_else(unknown)?;
        if node.swarm_info().await.node_id.is_none() {
            return Err(unknown());
        }
        let task = node.attach_network(network, id.as_str(), addresses).await.map_err(|error| {
            use crate::core::NodeErrorKind as From;
            let kind = match error.kind {
                From::NotFound => return unknown(),
                From::InvalidArgument => Kind::InvalidArgument,
                From::PermissionDenied => Kind::Forbidden,
                _ => Kind::Internal,
            };
            Error::new(kind, error.message)
        })?;
        let place = match self.inner.attachments.wait(task).await {
            Ok(place) => place,
            Err(error) => {
                let _ = node.detach_network(task).await;
                return Err(error);
            }
        };
        {
            let mut record = entry.record();
            record.swarm.push(place.clone());
            record.swarm_attachments.push(task.to_string());
        }
        self.save(id, entry)?;
        Ok(place)
    }

    /// Plugs a container into its overlays, each by the interface that is named with it. Idempotent.
    pub(super) async fn join_swarm(
        &self,
        id: &ContainerId,
        entry: &Entry,
        pid: u32,
        attachments: Vec<(SwarmAttachment, String)>,
        serving: bool,
    ) -> Result<()> {
        let kind = if entry.record().task.is_some() { EndpointKind::Task } else { EndpointKind::Container };
        let name = self.inner.runtime.inspect(id)?.name;
        let joining = Joining { container: id.to_string(), name, pid, kind, attachments, serving };
        self.inner.networking.join(joining).await.map_err(internal)
    }

    /// Whether what runs takes connections: a container of a user always, a task's once it is well.
    pub(super) fn is_serving(&self, id: &ContainerId) -> bool {
        let inspect = self.inner.runtime.inspect(id);
        let health = inspect.ok().and_then(|inspect| inspect.state.health);
        health.is_none_or(|health| health.status == HealthStatus::Healthy)
    }

    /// Takes a container from all its overlays; the managers hear of it if a user had attached it.
    pub(super) async fn leave_swarm(&self, id: &ContainerId, entry: &Entry) {
        if entry.record().swarm.is_empty() {
            return;
        }
        self.inner.networking.leave(id.as_str()).await;
        let attached = {
            let mut record = entry.record();
            let attached = std::mem::take(&mut record.swarm_attachments);
            if !attached.is_empty() {
                record.swarm.clear();
            }
            attached
        };
        self.give_back(id, attached);
    }

    /// Takes a container from one overlay.
    pub(super) async fn leave_overlay(&self, id: &ContainerId, entry: &Entry, network: &str) {
        let taken = {
            let mut record = entry.record();
            let at = record.swarm.iter().position(|one| one.network.to_string() == network);
            at.map(|at| {
                let place = record.swarm.remove(at);
                // a user's places and their tasks come and go together
                let task = (at < record.swarm_attachments.len()).then(|| record.swarm_attachments.remove(at));
                (place, task)
            })
        };
        if let Some((place, task)) = taken {
            self.inner.networking.leave_network(id.as_str(), place.network).await;
            self.give_back(id, task.into_iter().collect());
        }
    }

    fn give_back(&self, id: &ContainerId, tasks: Vec<String>) {
        let Some(node) = self.inner.node.get().cloned().filter(|_| !tasks.is_empty()) else { return };
        let id = id.clone();
        // The managers may be unreachable for long: the container's end does not wait for them.
        tokio::spawn(async move {
            for task in tasks.iter().filter_map(|text| text.parse().ok()) {
                if let Err(error) = node.detach_network(task).await {
                    tracing::warn!(container = %id, "giving its address back to the managers: {error}");
                }
            }
        });
    }

    /// Whether a container still holds the place that an attachment's task brought.
    pub(in super::super) fn holds_attachment(&self, container: &str, task: TaskId) -> bool {
        let task = task.to_string();
        let entries = lock(&self.inner.entries);
        entries.iter().any(|(id, entry)| id.as_str() == container && entry.record().swarm_attachments.contains(&task))
    }
}

/// A place on an overlay as an endpoint shows it; there is no way out by it.
pub(super) fn place_of(attachment: &SwarmAttachment) -> Option<EndpointInfo> {
    let first = attachment.addresses.first()?;
    let mac = overlay_network::Mac::of_ip(first.address);
    Some(EndpointInfo { addresses: attachment.addresses.clone(), gateways: Vec::new(), mac })
}
