//! What a task takes of a node, and what a node has left.

use std::collections::{BTreeMap, BTreeSet};

use swarm_types::*;

/// What each task of a group takes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Demand {
    pub nano_cpus: i64,
    pub memory_bytes: i64,
    /// How many of each kind of generic resource.
    pub generic: Vec<(String, i64)>,
    /// Ports that it publishes on the node itself.
    pub host_ports: Vec<(PortProtocol, u16)>,
}

impl Demand {
    pub fn of(spec: &TaskSpec, endpoint: Option<&Endpoint>) -> Self {
        let reserved = spec.resources.as_ref().and_then(|resources| resources.reservations.as_ref());
        let ports = endpoint.map_or(&[][..], |endpoint| &endpoint.ports);
        let mut generic: BTreeMap<String, i64> = BTreeMap::new();
        for resource in reserved.into_iter().flat_map(|r| &r.generic) {
            let count = match resource {
                GenericResource::Discrete { value, .. } => *value,
                GenericResource::Named { .. } => 1,
            };
            let sum = generic.entry(resource.kind().to_owned()).or_default();
            *sum = sum.saturating_add(count);
        }
        Self {
            nano_cpus: reserved.map_or(0, |r| r.nano_cpus),
            memory_bytes: reserved.map_or(0, |r| r.memory_bytes),
            generic: generic.into_iter().collect(),
            host_ports: ports
                .iter()
                .filter(|port| port.publish_mode == PublishMode::Host && port.published_port != 0)
                .map(|port| (port.protocol, port.published_port))
                .collect(),
        }
    }
}

/// What the tasks of a node use together.
#[derive(Debug, Clone, Default)]
pub(super) struct Usage {
    nano_cpus: i64,
    memory_bytes: i64,
    /// Counted kinds, and for named ones which are taken.
    discrete: BTreeMap<String, i64>,
    named: BTreeMap<String, BTreeSet<String>>,
    host_ports: BTreeMap<(PortProtocol, u16), u32>,
}

impl Usage {
    pub fn add(&mut self, demand: &Demand, claimed: &[GenericResource]) {
        self.nano_cpus = self.nano_cpus.saturating_add(demand.nano_cpus);
        self.memory_bytes = self.memory_bytes.saturating_add(demand.memory_bytes);
        for port in &demand.host_ports {
            *self.host_ports.entry(*port).or_default() += 1;
        }
        for resource in claimed {
            match resource {
                GenericResource::Discrete { kind, value } => {
                    let sum = self.discrete.entry(kind.clone()).or_default();
                    *sum = sum.saturating_add(*value);
                }
                GenericResource::Named { kind, value } => {
                    self.named.entry(kind.clone()).or_default().insert(value.clone());
                }
            }
        }
    }

    pub fn subtract(&mut self, demand: &Demand, claimed: &[GenericResource]) {
        self.nano_cpus = self.nano_cpus.saturating_sub(demand.nano_cpus);
        self.memory_bytes = self.memory_bytes.saturating_sub(demand.memory_bytes);
        for port in &demand.host_ports {
            if let Some(count) = self.host_ports.get_mut(port) {
                *count -= 1;
                if *count == 0 {
                    self.host_ports.remove(port);
                }
            }
        }
        for resource in claimed {
            match resource {
                GenericResource::Discrete { kind, value } => {
                    if let Some(sum) = self.discrete.get_mut(kind) {
                        *sum = sum.saturating_sub(*value);
                    }
                }
                GenericResource::Named { kind, value } => {
                    if let Some(names) = self.named.get_mut(kind) {
                        names.remove(value);
                    }
                }
            }
        }
    }

    /// Whether a node that offers this much has room for one more.
    pub fn has_room(&self, offered: Option<&Resources>, demand: &Demand) -> bool {
        if demand.nano_cpus == 0 && demand.memory_bytes == 0 && demand.generic.is_empty() {
            return true;
        }
        let Some(offered) = offered else { return false };
        demand.nano_cpus <= offered.nano_cpus.saturating_sub(self.nano_cpus)
            && demand.memory_bytes <= offered.memory_bytes.saturating_sub(self.memory_bytes)
            && demand.generic.iter().all(|(kind, count)| self.left(offered, kind) >= *count)
    }

    /// Whether none of these ports is in use.
    pub fn ports_free(&self, demand: &Demand) -> bool {
        demand.host_ports.iter().all(|port| !self.host_ports.contains_key(port))
    }

    fn left(&self, offered: &Resources, kind: &str) -> i64 {
        let taken = self.named.get(kind);
        let mut left = -self.discrete.get(kind).copied().unwrap_or(0);
        for resource in offered.generic.iter().filter(|r| r.kind() == kind) {
            match resource {
                GenericResource::Discrete { value, .. } => left = left.saturating_add(*value),
                GenericResource::Named { value, .. } => left += i64::from(taken.is_none_or(|t| !t.contains(value))),
            }
        }
        left
    }

    /// Sets generic resources aside for a task; there is room for it.
    pub fn claim(&self, offered: Option<&Resources>, demand: &Demand) -> Vec<GenericResource> {
        let mut claimed = Vec::new();
        for (kind, count) in &demand.generic {
            let mut wanted = *count;
            let taken = self.named.get(kind);
            let names = offered.into_iter().flat_map(|o| &o.generic).filter(|r| r.kind() == kind);
            for resource in names {
                if let GenericResource::Named { value, .. } = resource
                    && wanted > 0
                    && taken.is_none_or(|taken| !taken.contains(value))
                {
                    claimed.push(resource.clone());
                    wanted -= 1;
                }
            }
            if wanted > 0 {
                claimed.push(GenericResource::Discrete { kind: kind.clone(), value: wanted });
            }
        }
        claimed
    }
}
