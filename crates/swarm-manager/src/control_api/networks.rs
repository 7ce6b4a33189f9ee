//! Swarm-scoped networks.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use swarm_types::*;

use super::error::{invalid, name_taken, precondition, rpc};
use super::{ControlError, ControlErrorKind, Decision, lookup, validate};
use crate::address_pools;
use crate::store::{Store, StoreAction};
use crate::subnet::{Subnet, address_of, bits};

pub(super) fn create(ids: &mut IdSource, store: &Store, spec: &NetworkSpec) -> Result<Decision, ControlError> {
    if let Some(holder) = store.networks().by_name(&spec.annotations.name).filter(|_| !spec.annotations.name.is_empty())
    {
        return Err(name_taken(ObjectId::Network(holder.id), &spec.annotations.name));
    }
    if spec.attachable && spec.ingress {
        return Err(invalid("ingress network cannot be attachable"));
    }
    validate::dns_name(&spec.annotations.name)?;
    validate::size("network spec", spec)?;
    if spec.annotations.labels.contains_key(PREDEFINED_LABEL) {
        return Err(rpc(
            ControlErrorKind::PermissionDenied,
            format!(
                "label {PREDEFINED_LABEL} is for internally created predefined networks and cannot be applied by users"
            ),
        ));
    }
    if spec.scope == "local" {
        let message = "cannot downgrade network scope for overlay networks";
        return Err(plain(ControlErrorKind::PermissionDenied, message));
    }
    check_driver(store, spec)?;
    check_ipam(store, spec)?;
    if let Some(ingress) = ingress(store).filter(|_| spec.ingress) {
        return Err(rpc(
            ControlErrorKind::AlreadyExists,
            format!("ingress network ({}) is already present", ingress.id),
        ));
    }
    Ok(Decision::created(Object::Network(Arc::new(Network {
        id: ids.id(),
        meta: Meta::default(),
        spec: spec.clone(),
        driver_state: None,
        ipam: None,
        pending_delete: false,
    }))))
}

pub(super) fn remove(store: &Store, text: &str) -> Result<Decision, ControlError> {
    let network = lookup::network(store, text)?;
    let id = network.id;
    if network.is_predefined() {
        let name = &network.spec.annotations.name;
        return Err(precondition(format!("network {id} ({name}) is a swarm predefined network and cannot be removed")));
    }
    for service in store.services().iter() {
        if network.spec.ingress && needs_ingress(&service.spec) {
            return Err(precondition(format!(
                "ingress network cannot be removed because service {} depends on it",
                service.id
            )));
        }
        if service.spec.task.networks.iter().any(|attachment| attachment.target == id.to_string()) {
            return Err(precondition(format!("network {id} is in use by service {}", service.id)));
        }
    }
    let uses = |task: &&Arc<Task>| {
        task.desired_state <= DesiredState::Running
            && !task.status.state.is_terminal()
            && (task.networks.iter().any(|attachment| attachment.network_id == id)
                || task.spec.networks.iter().any(|config| config.target == id.to_string()))
    };
    if let Some(task) = store.tasks().iter().find(uses).filter(|_| !network.spec.ingress) {
        return Err(precondition(format!("network {id} is in use by task {}", task.id)));
    }
    Ok(Decision::done(vec![StoreAction::Remove(ObjectId::Network(id))]))
}

/// The routing mesh's network.
pub(super) fn ingress(store: &Store) -> Option<&Arc<Network>> {
    store.networks().iter().find(|network| network.spec.ingress)
}

/// Whether a service publishes ports through the routing mesh.
pub(super) fn needs_ingress(spec: &ServiceSpec) -> bool {
    spec.endpoint
        .as_ref()
        .is_some_and(|endpoint| endpoint.ports.iter().any(|port| port.publish_mode == PublishMode::Ingress))
}

/// The overlay driver's option for VXLAN ids.
const VXLAN_OPTION: &str = "com.docker.network.driver.overlay.vxlanid_list";

fn check_driver(store: &Store, spec: &NetworkSpec) -> Result<(), ControlError> {
    let Some(driver) = spec.driver.as_ref() else { return Ok(()) };
    let name: String = driver.name.chars().take(64).collect();
    if !matches!(driver.name.as_str(), "" | "overlay") {
        return Err(match driver.name.as_str() {
            "bridge" | "host" | "ipvlan" | "macvlan" if spec.ingress => {
                plain(ControlErrorKind::PermissionDenied, "Ingress network can only be global scope network")
            }
            "bridge" | "host" | "ipvlan" | "macvlan" => rpc(
                ControlErrorKind::Unimplemented,
                format!("network driver {name} is not supported for networks of a swarm: use overlay"),
            ),
            _ => invalid(format!("error during lookup of plugin {name}")),
        });
    }
    let Some(list) = driver.options.get(VXLAN_OPTION) else { return Ok(()) };
    let list_of = |network: &Network| network.driver_state.as_ref().and_then(|s| s.options.get(VXLAN_OPTION)).cloned();
    let used: Vec<String> = store.networks().iter().filter_map(|network| list_of(network)).collect();
    let used: Vec<u32> = used.iter().flat_map(|list| list.split(',')).filter_map(|id| id.parse().ok()).collect();
    for text in list.split(',').map(str::trim) {
        let shown: String = text.chars().take(16).collect();
        let id: u32 = text.parse().ok().filter(|id| *id < 1 << 24).ok_or_else(|| {
            plain(ControlErrorKind::InvalidArgument, format!("invalid vxlan id value {shown:?} passed"))
        })?;
        if used.contains(&id) {
            let message = format!("could not assign vxlan id {id}: it is in use by another network");
            return Err(plain(ControlErrorKind::InvalidArgument, message));
        }
    }
    Ok(())
}

/// A refusal of the daemon's own, without swarmkit's gRPC code in front.
fn plain(kind: ControlErrorKind, message: impl Into<String>) -> ControlError {
    ControlError::new(kind, message)
}

/// The address management that a spec asks for: first in itself, in the words of Docker's daemon, then against the
/// other networks. (Swarmkit makes a network whose subnet overlaps another's all the same, and never gives it
/// addresses: its services wait for ever. Here it is refused as Docker refuses such a network of a single node.)
fn check_ipam(store: &Store, spec: &NetworkSpec) -> Result<(), ControlError> {
    let none = IpamOptions::default();
    let ipam = spec.ipam.as_ref().unwrap_or(&none);
    if !matches!(ipam.driver.name.as_str(), "" | "default") {
        let name: String = ipam.driver.name.chars().take(64).collect();
        return Err(invalid(format!("error during lookup of plugin {name}")));
    }
    let errors: Vec<String> = ipam.configs.iter().flat_map(config_errors).collect();
    let message = match errors.as_slice() {
        [] => None,
        [one] => Some(format!("invalid network config:\n{one}")),
        many => Some(format!("invalid network config:\n* {}", many.join("\n* "))),
    };
    if let Some(message) = message {
        return Err(plain(ControlErrorKind::InvalidArgument, message));
    }
    let mut used = address_pools::in_use(store);
    for config in &ipam.configs {
        let Ok(subnet) = config.subnet.parse::<Subnet>() else { continue };
        if used.iter().any(|other| other.overlaps(subnet)) {
            let message = "invalid pool request: Pool overlaps with other one on this address space";
            return Err(plain(ControlErrorKind::PermissionDenied, message));
        }
        used.push(subnet);
        check_own_addresses(config, subnet)?;
    }
    let has_ipv4 = ipam.configs.iter().any(|config| !config.subnet.contains(':'));
    if !has_ipv4 && address_pools::free_ipv4(store, &used).is_none() {
        let message = "all predefined address pools have been fully subnetted";
        return Err(plain(ControlErrorKind::InvalidArgument, message));
    }
    Ok(())
}

/// The gateway and the addresses set aside must be hosts', and different ones.
fn check_own_addresses(config: &IpamConfig, subnet: Subnet) -> Result<(), ControlError> {
    let (first, last) = subnet.hosts();
    let mut taken = BTreeSet::new();
    let mut take = |text: &str| {
        address_of(text).is_none_or(|address| (first..=last).contains(&bits(address)) && taken.insert(address))
    };
    let in_use = |what: String| {
        plain(ControlErrorKind::PermissionDenied, format!("failed to allocate {what}: Address already in use"))
    };
    if !take(&config.gateway) {
        return Err(in_use(format!("gateway ({})", config.gateway)));
    }
    for (name, address) in &config.reserved {
        if !take(address) {
            return Err(in_use(format!("secondary ip address ({name}:{address})")));
        }
    }
    Ok(())
}

/// What is wrong with one subnet's config in itself.
fn config_errors(config: &IpamConfig) -> Vec<String> {
    let IpamConfig { subnet, range, gateway, reserved } = config;
    let (Ok(net), Some(written)) = (subnet.parse::<Subnet>(), address_of(subnet)) else {
        return vec![format!("invalid subnet {subnet}: invalid CIDR block notation")];
    };
    let family = if net.is_ipv4() { "IPv4" } else { "IPv6" };
    let mut errors = Vec::new();
    if net.base() != written {
        errors.push(format!("invalid subnet {subnet}: it should be {net}"));
    }
    match (range.parse::<Subnet>(), address_of(range)) {
        _ if range.is_empty() => {}
        (Ok(part), _) if part.is_ipv4() != net.is_ipv4() => {
            errors.push(format!("invalid ip-range {range}: parent subnet is an {family} block"));
        }
        (Ok(part), Some(written)) => {
            if part.prefix() < net.prefix() {
                errors.push(format!("invalid ip-range {range}: CIDR block is bigger than its parent subnet {subnet}"));
            }
            if part.base() != written {
                errors.push(format!("invalid ip-range {range}: it should be {part}"));
            }
            if !net.overlaps(part) {
                errors.push(format!("invalid ip-range {range}: parent subnet {subnet} doesn't contain ip-range"));
            }
        }
        _ => errors.push(format!("invalid ip-range {range}: invalid CIDR block notation")),
    }
    let address_error = |text: &str| match text.parse::<IpAddr>() {
        _ if text.is_empty() => None,
        Err(_) => Some("invalid address".to_owned()),
        Ok(address) if address.is_ipv4() != net.is_ipv4() => Some(format!("parent subnet is an {family} block")),
        Ok(address) if !net.contains(address) => Some(format!("parent subnet {subnet} doesn't contain this address")),
        Ok(_) => None,
    };
    errors.extend(address_error(gateway).map(|error| format!("invalid gateway {gateway}: {error}")));
    for (name, address) in reserved {
        errors.extend(address_error(address).map(|error| format!("invalid auxiliary address {name}: {error}")));
    }
    errors
}
