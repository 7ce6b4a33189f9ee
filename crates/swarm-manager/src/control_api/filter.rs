//! Lists of objects by filters. Every filter that is given must match; of several values of one filter any may,
//! except for labels, which must all match.

use swarm_types::*;

use super::{ControlError, ControlErrorKind, NodeFilters, ObjectFilters, ServiceFilters, TaskFilters, lookup};
use crate::store::Store;

pub(super) fn matches_nodes(filters: &NodeFilters, node: &Node) -> bool {
    let description = node.description.as_ref();
    let none = Labels::new();
    any_prefix(&filters.ids, &node.id.to_string())
        && any_prefix(&filters.names, description.map_or("", |d| &d.hostname))
        && all_labels(&filters.engine_labels, description.map_or(&none, |d| &d.engine_labels))
        && all_labels(&filters.node_labels, &node.spec.annotations.labels)
        && (filters.roles.is_empty() || filters.roles.contains(&node.role))
        && (filters.memberships.is_empty() || filters.memberships.contains(&node.spec.membership))
}

pub(super) fn matches_services(filters: &ServiceFilters, service: &Service) -> bool {
    let annotations = &service.spec.annotations;
    let runtime = match service.spec.task.runtime.as_str() {
        "" => "container",
        runtime => runtime,
    };
    any_prefix(&filters.ids, &service.id.to_string())
        && any_prefix(&filters.names, &annotations.name)
        && all_labels(&filters.labels, &annotations.labels)
        && any_equal(&filters.modes, mode_name(&service.spec.mode))
        && any_equal(&filters.runtimes, runtime)
}

fn mode_name(mode: &ServiceMode) -> &'static str {
    match mode {
        ServiceMode::Replicated { .. } => "replicated",
        ServiceMode::Global => "global",
        ServiceMode::ReplicatedJob { .. } => "replicated-job",
        ServiceMode::GlobalJob => "global-job",
    }
}

pub(super) fn matches_objects(filters: &ObjectFilters, id: &str, annotations: &Annotations) -> bool {
    any_prefix(&filters.ids, id)
        && any_prefix(&filters.names, &annotations.name)
        && all_labels(&filters.labels, &annotations.labels)
}

/// The tasks that match, in the order of their ids. Services and nodes in the filters must exist.
pub(super) fn tasks(filters: &TaskFilters, store: &Store) -> Result<Vec<Object>, ControlError> {
    let services: Vec<ServiceId> =
        filters.services.iter().map(|text| lookup::service(store, text).map(|s| s.id)).collect::<Result<_, _>>()?;
    let nodes: Vec<NodeId> =
        filters.nodes.iter().map(|text| lookup::node(store, text).map(|n| n.id)).collect::<Result<_, _>>()?;
    for state in &filters.desired_states {
        if !TaskState::ALL.iter().any(|known| known.as_str().eq_ignore_ascii_case(state)) {
            let shown: String = state.chars().take(64).collect();
            return Err(ControlError::new(
                ControlErrorKind::InvalidArgument,
                format!("invalid desired-state filter: '{shown}'"),
            ));
        }
    }
    let matches = |task: &Task| {
        // Attachments of single containers are no work of the swarm: Docker lists none of them.
        task.spec.attachment.is_none()
            && (services.is_empty() || task.service_id.is_some_and(|service| services.contains(&service)))
            && (nodes.is_empty() || task.node_id.is_some_and(|node| nodes.contains(&node)))
            && any_prefix(&filters.ids, &task.id.to_string())
            && (filters.names.is_empty() || any_prefix(&filters.names, &task.name()))
            && all_labels(&filters.labels, &task.service_annotations.labels)
            && (filters.desired_states.is_empty()
                || filters.desired_states.iter().any(|s| s.eq_ignore_ascii_case(task.desired_state.as_str())))
    };
    Ok(store.tasks().iter().filter(|task| matches(task)).cloned().map(Object::Task).collect())
}

fn any_prefix(wanted: &[String], actual: &str) -> bool {
    wanted.is_empty() || wanted.iter().any(|prefix| actual.starts_with(prefix.as_str()))
}

fn any_equal(wanted: &[String], actual: &str) -> bool {
    wanted.is_empty() || wanted.iter().any(|text| text == actual)
}

fn all_labels(wanted: &[String], actual: &Labels) -> bool {
    wanted.iter().all(|label| match label.split_once('=') {
        None | Some((_, "")) => actual.contains_key(label.trim_end_matches('=')),
        Some((key, value)) => actual.get(key).is_some_and(|actual| actual == value),
    })
}
