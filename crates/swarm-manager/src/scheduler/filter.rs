//! Which nodes a task may run on, and how to say that none will do.

use swarm_types::*;

use super::demand::Demand;
use super::node_set::NodeInfo;
use crate::constraint::{self, Constraint};

/// The filters, in the order in which a node meets them. The first that turns it down is the reason that is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Filter {
    Ready,
    Resources,
    Plugins,
    Constraints,
    Platforms,
    HostPorts,
    MaxReplicas,
}

const FILTERS: usize = 7;

/// What a group of equal tasks asks of a node.
#[derive(Debug)]
pub(super) struct Requirements {
    pub service: ServiceId,
    pub demand: Demand,
    constraints: Vec<Constraint>,
    platforms: Vec<Platform>,
    /// Kind and name.
    plugins: Vec<(&'static str, String)>,
    log_plugin: Option<String>,
    max_replicas: u64,
}

impl Requirements {
    pub fn new(service: ServiceId, spec: &TaskSpec, endpoint: Option<&Endpoint>, network_drivers: &[String]) -> Self {
        let placement = spec.placement.as_ref();
        let volume_driver = |mount: &Mount| match mount.kind {
            MountKind::Volume => mount.volume_driver.as_ref().map(|driver| driver.name.clone()),
            _ => None,
        };
        let volumes = spec.container.mounts.iter().filter_map(volume_driver);
        let volumes = volumes.filter(|name| !name.is_empty() && name != "local").map(|name| ("Volume", name));
        let networks = network_drivers.iter().filter(|name| !is_builtin_network(name));
        let networks = networks.map(|name| ("Network", name.clone()));
        Self {
            service,
            demand: Demand::of(spec, endpoint),
            // The control API refused what does not parse.
            constraints: placement.and_then(|p| constraint::parse_all(&p.constraints).ok()).unwrap_or_default(),
            platforms: placement.map(|p| p.platforms.clone()).unwrap_or_default(),
            plugins: volumes.chain(networks).collect(),
            log_plugin: spec.log_driver.as_ref().map(|d| d.name.clone()).filter(|n| !n.is_empty() && n != "none"),
            max_replicas: placement.map_or(0, |p| p.max_replicas),
        }
    }

    /// The first filter that turns the node down.
    pub fn check(&self, info: &NodeInfo) -> Result<(), Filter> {
        let node = info.node.as_ref();
        if !is_ready(node) {
            return Err(Filter::Ready);
        }
        if !info.usage.has_room(info.offered(), &self.demand) {
            return Err(Filter::Resources);
        }
        if !self.has_plugins(node) {
            return Err(Filter::Plugins);
        }
        if !constraint::all_match(&self.constraints, node) {
            return Err(Filter::Constraints);
        }
        if !self.has_platform(node) {
            return Err(Filter::Platforms);
        }
        if !info.usage.ports_free(&self.demand) {
            return Err(Filter::HostPorts);
        }
        if self.max_replicas != 0 && u64::from(info.tasks_of(self.service)) >= self.max_replicas {
            return Err(Filter::MaxReplicas);
        }
        Ok(())
    }

    /// Whether a node that passed before has room for one more: all else does not change by placing tasks.
    pub fn still_fits(&self, info: &NodeInfo) -> bool {
        info.usage.has_room(info.offered(), &self.demand)
            && info.usage.ports_free(&self.demand)
            && (self.max_replicas == 0 || u64::from(info.tasks_of(self.service)) < self.max_replicas)
    }

    fn has_plugins(&self, node: &Node) -> bool {
        if self.plugins.is_empty() && self.log_plugin.is_none() {
            return true;
        }
        // A node that has not said what it has is not turned down for it.
        let Some(description) = &node.description else { return true };
        let has = |kind: &str, name: &str| {
            description.plugins.iter().any(|(k, n)| k == kind && (n == name || n.strip_suffix(":latest") == Some(name)))
        };
        let logs = description.plugins.iter().any(|(kind, _)| kind == "Log");
        self.plugins.iter().all(|(kind, name)| has(kind, name))
            && self.log_plugin.as_ref().is_none_or(|name| !logs || has("Log", name))
    }

    fn has_platform(&self, node: &Node) -> bool {
        if self.platforms.is_empty() {
            return true;
        }
        let Some(description) = &node.description else { return true };
        self.platforms.iter().any(|platform| {
            (platform.os.is_empty() || platform.os == description.os)
                && (platform.architecture.is_empty()
                    || architecture(&platform.architecture) == architecture(&description.architecture))
        })
    }
}

/// Whether a node takes new tasks.
pub(super) fn is_ready(node: &Node) -> bool {
    node.status.state == NodeState::Ready && node.spec.availability == NodeAvailability::Active
}

/// Networks that every node knows how to make.
fn is_builtin_network(driver: &str) -> bool {
    matches!(driver, "" | "overlay" | "bridge" | "host" | "null")
}

/// Kernel and Go name the same machine differently.
fn architecture(name: &str) -> &str {
    match name {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// How many nodes each filter turned down.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Refusals {
    counts: [usize; FILTERS],
}

impl Refusals {
    pub fn count(&mut self, filter: Filter) {
        self.counts[filter as usize] += 1;
    }

    /// In swarmkit's words, the most frequent reason first.
    pub fn explain(&self) -> String {
        let order = [
            Filter::Ready,
            Filter::Resources,
            Filter::Plugins,
            Filter::Constraints,
            Filter::Platforms,
            Filter::HostPorts,
            Filter::MaxReplicas,
        ];
        let mut reasons: Vec<(usize, Filter)> = order.into_iter().map(|f| (self.counts[f as usize], f)).collect();
        reasons.retain(|(count, _)| *count > 0);
        reasons.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
        let texts: Vec<String> = reasons.into_iter().map(|(count, filter)| filter.explain(count)).collect();
        texts.join("; ")
    }
}

impl Filter {
    fn explain(self, nodes: usize) -> String {
        let on_nodes = |what: &str| match nodes {
            1 => format!("{what} on 1 node"),
            _ => format!("{what} on {nodes} nodes"),
        };
        match self {
            Self::Ready if nodes == 1 => "1 node not available for new tasks".to_owned(),
            Self::Ready => format!("{nodes} nodes not available for new tasks"),
            Self::Resources => on_nodes("insufficient resources"),
            Self::Plugins => on_nodes("missing plugin"),
            Self::Constraints => on_nodes("scheduling constraints not satisfied"),
            Self::Platforms => on_nodes("unsupported platform"),
            Self::HostPorts => on_nodes("host-mode port already in use"),
            Self::MaxReplicas => "max replicas per node limit exceed".to_owned(),
        }
    }
}
