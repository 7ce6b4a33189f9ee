//! Checks of a service's spec: first in itself, then against what else is in the store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use swarm_types::*;

use super::error::{invalid, rpc};
use super::{ControlError, ControlErrorKind, lookup, validate};
use crate::constraint;
use crate::store::Store;

/// More replicas than any swarm runs: a slip of the keyboard, not a wish.
const MAX_REPLICAS: u64 = 1_000_000;

/// The least processor time and memory that can be asked for.
const MIN_NANO_CPUS: i64 = 1_000_000;
const MIN_MEMORY: i64 = 4 * 1024 * 1024;

/// Networks that every node has of its own. Tasks use those of them that the swarm has a name for, too.
const NODE_NETWORKS: [&str; 3] = ["bridge", "host", "none"];

/// Checks a spec in itself.
pub(super) fn check(spec: &ServiceSpec) -> Result<(), ControlError> {
    validate::dns_name(&spec.annotations.name)?;
    validate::size("service spec", spec)?;
    check_task(&spec.annotations, &spec.task)?;
    check_mode(&spec.mode)?;
    if spec.mode.is_job() {
        if spec.update.is_some() {
            return Err(invalid("Jobs may not have an update config"));
        }
    } else {
        for config in [&spec.update, &spec.rollback].into_iter().flatten() {
            // Written so that NaN is refused too.
            if !(0.0..=1.0).contains(&config.max_failure_ratio) {
                return Err(invalid("TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1"));
            }
        }
    }
    spec.endpoint.as_ref().map_or(Ok(()), check_endpoint)
}

fn check_mode(mode: &ServiceMode) -> Result<(), ControlError> {
    // Negative numbers arrive as very large ones.
    let negative = |number: u64| i64::try_from(number).is_err();
    match *mode {
        ServiceMode::Replicated { replicas } => {
            if negative(replicas) {
                return Err(invalid("Number of replicas must be non-negative"));
            }
            at_most("Number of replicas", replicas)
        }
        ServiceMode::ReplicatedJob { max_concurrent, total_completions } => {
            if negative(max_concurrent) {
                return Err(invalid("Maximum concurrent jobs must not be negative"));
            }
            if negative(total_completions) {
                return Err(invalid("Total completed jobs must not be negative"));
            }
            at_most("Maximum concurrent jobs", max_concurrent)?;
            at_most("Total completed jobs", total_completions)
        }
        ServiceMode::Global | ServiceMode::GlobalJob => Ok(()),
    }
}

fn at_most(what: &str, number: u64) -> Result<(), ControlError> {
    if number > MAX_REPLICAS {
        return Err(invalid(format!("{what} must not be larger than {MAX_REPLICAS}")));
    }
    Ok(())
}

fn check_task(service: &Annotations, task: &TaskSpec) -> Result<(), ControlError> {
    if let Some(resources) = &task.resources {
        for resources in [&resources.limits, &resources.reservations].into_iter().flatten() {
            check_resources(resources)?;
        }
    }
    if let Some(placement) = &task.placement {
        // Swarmkit returns this one without a code of its own.
        constraint::parse_all(&placement.constraints).map_err(|error| rpc(ControlErrorKind::Internal, error))?;
    }
    check_references(&task.container)?;
    if !matches!(task.runtime.as_str(), "" | "container") {
        return Err(rpc(ControlErrorKind::Unimplemented, "RuntimeSpec: unimplemented runtime in service spec"));
    }
    check_container(service, &task.container)
}

fn check_resources(resources: &Resources) -> Result<(), ControlError> {
    if resources.nano_cpus != 0 && resources.nano_cpus < MIN_NANO_CPUS {
        #[allow(clippy::cast_precision_loss)]
        let cpus = resources.nano_cpus as f64 / 1e9;
        return Err(invalid(format!("invalid cpu value {cpus}: Must be at least 0.001")));
    }
    if resources.memory_bytes != 0 && resources.memory_bytes < MIN_MEMORY {
        return Err(invalid(format!("invalid memory value {}: Must be at least 4MiB", resources.memory_bytes)));
    }
    Ok(())
}

fn check_container(service: &Annotations, container: &ContainerSpec) -> Result<(), ControlError> {
    validate::templates(service, container)?;
    if container.image.is_empty() {
        return Err(invalid("ContainerSpec: image reference must be provided"));
    }
    if !validate::is_image_reference(&container.image) {
        return Err(invalid(format!("ContainerSpec: {:?} is not a valid repository/tag", container.image)));
    }
    let mut targets = BTreeSet::new();
    for mount in &container.mounts {
        if mount.target.is_empty() {
            return Err(invalid("ContainerSpec: invalid mount: a target must be given"));
        }
        if !targets.insert(&mount.target) {
            return Err(invalid(format!("ContainerSpec: duplicate mount point: {}", mount.target)));
        }
    }
    container.healthcheck.as_ref().map_or(Ok(()), check_health)
}

fn check_health(health: &HealthConfig) -> Result<(), ControlError> {
    for (name, duration) in [
        ("Interval", health.interval),
        ("Timeout", health.timeout),
        ("StartPeriod", health.start_period),
        ("StartInterval", health.start_interval),
    ] {
        if !duration.is_zero() && duration < Duration::from_millis(1) {
            return Err(invalid(format!("ContainerSpec: {name} in HealthConfig cannot be less than 1ms")));
        }
    }
    if i64::try_from(health.retries).is_err() {
        return Err(invalid("ContainerSpec: Retries in HealthConfig cannot be negative"));
    }
    Ok(())
}

/// References to secrets and configs: complete, and no two in the same place.
fn check_references(container: &ContainerSpec) -> Result<(), ControlError> {
    let mut targets: BTreeMap<&str, &str> = BTreeMap::new();
    for reference in &container.secrets {
        if reference.secret_name.is_empty() {
            return Err(invalid("malformed secret reference"));
        }
        if reference.target.name.is_empty() {
            return Err(invalid("malformed file secret reference, invalid target file name provided"));
        }
        let (name, target) = (reference.secret_name.as_str(), reference.target.name.as_str());
        if let Some(other) = targets.insert(target, name) {
            return Err(invalid(format!(
                "secret references '{other}' and '{name}' have a conflicting target: '{target}'"
            )));
        }
    }
    targets.clear();
    for reference in &container.configs {
        if reference.config_name.is_empty() {
            return Err(invalid("malformed config reference"));
        }
        let Some(file) = &reference.target else { continue };
        if file.name.is_empty() {
            return Err(invalid("malformed file config reference, invalid target file name provided"));
        }
        let name = reference.config_name.as_str();
        if let Some(other) = targets.insert(&file.name, name) {
            return Err(invalid(format!(
                "config references '{other}' and '{name}' have a conflicting target: '{}'",
                file.name
            )));
        }
    }
    Ok(())
}

fn check_endpoint(endpoint: &EndpointSpec) -> Result<(), ControlError> {
    let mut published = BTreeSet::new();
    for port in &endpoint.ports {
        if endpoint.mode == EndpointMode::DnsRoundRobin && port.publish_mode == PublishMode::Ingress {
            return Err(invalid("EndpointSpec: port published with ingress mode can't be used with dnsrr mode"));
        }
        if port.target_port == 0 {
            return Err(invalid("EndpointSpec: a published port needs a target port between 1 and 65535"));
        }
        // One that is to be assigned conflicts with nothing.
        if port.published_port != 0 && !published.insert((port.published_port, port.protocol)) {
            return Err(invalid("EndpointSpec: duplicate published ports provided"));
        }
    }
    Ok(())
}

/// The spec with the networks' names turned into their ids.
pub(super) fn with_network_ids(store: &Store, spec: &ServiceSpec) -> Result<ServiceSpec, ControlError> {
    let mut spec = spec.clone();
    let mut attachments = spec.task.networks.clone();
    for attachment in &mut attachments {
        let network = lookup::network(store, &attachment.target).map_err(|error| {
            let nodes_own = NODE_NETWORKS.contains(&attachment.target.as_str());
            let explained = "could not find the corresponding predefined swarm network";
            if nodes_own { ControlError::new(error.kind, format!("{explained}: {error}")) } else { error }
        })?;
        if network.spec.ingress {
            let name = &network.spec.annotations.name;
            return Err(invalid(format!("Service cannot be explicitly attached to the ingress network {name:?}")));
        }
        attachment.target = network.id.to_string();
    }
    if attachments != spec.task.networks {
        spec.task = Arc::new(TaskSpec { networks: attachments, ..TaskSpec::clone(&spec.task) });
    }
    Ok(spec)
}

/// Secrets and configs must be there, under the names that the references give.
pub(super) fn check_against_store(store: &Store, spec: &ServiceSpec) -> Result<(), ControlError> {
    let container = &spec.task.container;
    let secrets = container.secrets.iter().filter(|reference| {
        store
            .secrets()
            .get(reference.secret_id)
            .is_none_or(|secret| secret.spec.annotations.name != reference.secret_name)
    });
    all_there("secret", secrets.map(|reference| reference.secret_name.as_str()).collect())?;
    let configs = container.configs.iter().filter(|reference| {
        store
            .configs()
            .get(reference.config_id)
            .is_none_or(|config| config.spec.annotations.name != reference.config_name)
    });
    all_there("config", configs.map(|reference| reference.config_name.as_str()).collect())
}

fn all_there(kind: &str, missing: Vec<&str>) -> Result<(), ControlError> {
    let plural = match missing.len() {
        0 => return Ok(()),
        1 => "",
        _ => "s",
    };
    Err(invalid(format!("{kind}{plural} not found: {}", missing.join(", "))))
}

/// Published ports must not be another service's: those of the routing mesh are everywhere, so they exclude both
/// kinds; several services may publish the same port in host mode, on different nodes.
pub(super) fn check_ports_free(store: &Store, spec: &ServiceSpec, own: Option<ServiceId>) -> Result<(), ControlError> {
    let wanted: BTreeMap<_, _> = ports(spec).map(|port| ((port.published_port, port.protocol), port)).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    for service in store.services().iter().filter(|service| Some(service.id) != own) {
        for port in ports(&service.spec) {
            let Some(want) = wanted.get(&(port.published_port, port.protocol)) else { continue };
            let what = match (port.publish_mode, want.publish_mode) {
                (PublishMode::Host, PublishMode::Host) => continue,
                (PublishMode::Host, PublishMode::Ingress) => "a host-published port",
                (PublishMode::Ingress, _) => "an ingress port",
            };
            return Err(invalid(format!(
                "port '{}' is already in use by service '{}' ({}) as {what}",
                port.published_port, service.spec.annotations.name, service.id
            )));
        }
    }
    Ok(())
}

/// The ports that the spec itself names.
fn ports(spec: &ServiceSpec) -> impl Iterator<Item = &PortConfig> {
    spec.endpoint.iter().flat_map(|endpoint| &endpoint.ports).filter(|port| port.published_port != 0)
}
