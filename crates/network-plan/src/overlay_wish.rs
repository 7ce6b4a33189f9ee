//! All that is wished for one overlay network on one node, and what follows from it: the plan of its namespace and the rules of
//! its packet filter. The wishes of a daemon that has just started are incomplete: what nobody has wished for yet stays as it
//! is. Leaves out when they are carried out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::overlay::{
    self, BRIDGE, INGRESS, IngressLink, OverlayNetwork, OverlayPort, Peer, Surroundings, VXLAN, cable_name, speaks_of,
};
use crate::rules::{OverlayRules, VirtualService};
use crate::{NetPlan, Observed};

/// Where a node's VXLAN packets come from and go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Underlay {
    /// The node's address, at which others send VXLAN packets to it.
    pub data_path: IpAddr,
    /// Their UDP port.
    pub port: u16,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverlayWish {
    /// The network, with this node's place on it.
    pub network: OverlayNetwork,
    /// The endpoints on other nodes; `None`: nobody has said yet.
    pub peers: Option<BTreeSet<Peer>>,
    /// The network's services; `None`: nobody has said yet.
    pub services: Option<Vec<VirtualService>>,
    /// The way in for published ports.
    pub ingress: Option<IngressLink>,
    /// This node's containers on it, by endpoint.
    pub ports: BTreeMap<String, OverlayPort>,
}

impl OverlayWish {
    /// The network alone.
    pub fn new(network: OverlayNetwork) -> Self {
        Self { network, peers: None, services: None, ingress: None, ports: BTreeMap::new() }
    }

    /// What the network's namespace should look like, with the near ends of its containers' cables.
    pub fn plan(&self, underlay: Underlay) -> NetPlan {
        let virtual_ips: Option<BTreeSet<IpAddr>> =
            self.services.as_ref().map(|all| all.iter().flat_map(|one| one.virtual_ips.iter().copied()).collect());
        let around = Surroundings {
            data_path: underlay.data_path,
            port: underlay.port,
            peers: self.peers.as_ref(),
            virtual_ips: virtual_ips.as_ref(),
        };
        let mut plan = overlay::namespace(&self.network, around, self.ports.values());
        for cable in self.ports.values().map(|port| overlay::cable(&self.network, port)) {
            plan.links.extend(cable.links);
            plan.forwarding.extend(cable.forwarding);
        }
        plan
    }

    /// The plan without the cables that are not there: their containers may be gone, and only who looks at those can tell.
    pub fn without_missing_cables(&self, mut plan: NetPlan, observed: &Observed) -> NetPlan {
        for cable in self.ports.keys().map(|endpoint| cable_name(endpoint)) {
            if !observed.links.contains_key(&cable) {
                plan.links.retain(|link| link.name != cable);
                plan.forwarding.remove(&cable);
            }
        }
        plan
    }

    /// The plan for when only tables and addresses may have changed: without the kernel's settings.
    pub fn tables(&self, underlay: Underlay) -> NetPlan {
        let mut plan = self.plan(underlay);
        plan.sysctls.clear();
        plan.sysctls_if_present.clear();
        plan
    }

    /// Whether the links are there that [`Self::tables`] builds on: those that are made anew need their settings.
    pub fn has_its_links(observed: &Observed) -> bool {
        [BRIDGE, VXLAN].iter().all(|link| observed.links.contains_key(*link))
    }

    /// The rules of its packet filter; `None` while nobody has said which services there are.
    pub fn rules(&self) -> Option<OverlayRules> {
        Some(OverlayRules {
            subnets: self.network.subnets.iter().map(|one| one.subnet).collect(),
            load_balancer: self.network.load_balancer.iter().map(|cidr| cidr.address).collect(),
            services: self.services.clone()?,
            ingress_interface: self.ingress.as_ref().map(|_| INGRESS.to_owned()),
        })
    }

    /// Whether any of the peers claims what the container has: then its coming or going changes the tables.
    pub fn is_claimed(&self, port: &OverlayPort) -> bool {
        self.peers.iter().flatten().any(|peer| speaks_of(peer, port))
    }
}
