//! The packet filter of the node's own namespace: bridges, ports of containers, ports of services, put together from
//! who knows what of it, and applied as a whole.

use std::collections::BTreeMap;

use overlay_network::rules::{BridgeRules, IngressRules, NodeRules, PublishedPort};
use overlay_network::{NetError, NetNamespace};

/// What the filter is made of.
#[derive(Default)]
pub(super) struct Filter {
    namespace: Option<NetNamespace>,
    bridges: Vec<BridgeRules>,
    published: BTreeMap<String, Vec<PublishedPort>>,
    ingress: Option<IngressRules>,
}

impl Filter {
    /// The bridges of the node as they are now.
    pub fn set_bridges(&mut self, bridges: Vec<BridgeRules>) {
        self.bridges = bridges;
    }

    /// A container's ports; none takes them back. Whether they were others before.
    pub fn set_published(&mut self, container: &str, ports: Vec<PublishedPort>) -> bool {
        match ports.is_empty() {
            true => self.published.remove(container).is_some(),
            false => self.published.insert(container.to_owned(), ports.clone()) != Some(ports),
        }
    }

    /// The services' ports; what they were before.
    pub fn set_ingress(&mut self, ingress: Option<IngressRules>) -> Option<IngressRules> {
        std::mem::replace(&mut self.ingress, ingress)
    }

    /// Whether services' ports are handed over.
    pub fn has_ingress(&self) -> bool {
        self.ingress.is_some()
    }

    /// Makes the kernel's rules these. Idempotent.
    pub async fn apply(&mut self) -> Result<(), NetError> {
        let rules = NodeRules {
            bridges: self.bridges.clone(),
            published: self.published.values().flatten().cloned().collect(),
            ingress: self.ingress.clone(),
        };
        let namespace = match &self.namespace {
            Some(namespace) => namespace,
            None => self.namespace.insert(NetNamespace::current()?),
        };
        namespace.apply_node_rules(&rules).await.map(drop)
    }
}
