//! A container's networks at its start and its end.

use container_runtime::{ContainerId, Result};
use overlay_network::plan::{LinkKind, LinkPlan, NetPlan};
use overlay_network::{BridgeDriver, EndpointInfo, GATEWAY_BRIDGE, NetNamespace};

use super::super::{Engine, Entry, lock};
use super::attachment::{Attachment, Endpoint, endpoint_id};
use super::manage::no_bridge;
use super::registry::LocalNetwork;
use super::swarm::place_of;
use super::{internal, of_net, setup_failed};
use crate::networking::SwarmAttachment;

/// A container on a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkMember {
    /// The container's id.
    pub container: String,
    /// Its name.
    pub name: String,
    /// The endpoint's id.
    pub endpoint: String,
    /// Its place; `None` on `host` and `none`.
    pub place: Option<EndpointInfo>,
}

/// A network that an attachment means; of the swarm's, the place there.
#[derive(Debug, Clone)]
pub(in super::super) enum Found {
    Local(LocalNetwork),
    Swarm(SwarmAttachment),
}

/// What is to become an endpoint: the wish, the network, the interface's name (empty: none).
pub(in super::super) type Wanted = (Attachment, Found, String);

impl Found {
    pub(super) fn id(&self) -> String {
        match self {
            Self::Local(network) => network.id.clone(),
            Self::Swarm(place) => place.network.to_string(),
        }
    }

    pub(super) fn name(&self) -> &str {
        match self {
            Self::Local(network) => &network.name,
            Self::Swarm(place) => &place.name,
        }
    }

    pub(super) fn driver(&self) -> &str {
        match self {
            Self::Local(network) => &network.driver,
            Self::Swarm(_) => "overlay",
        }
    }

    /// Whether containers may know the network by its name only: the three that are always there mean the same after
    /// everything.
    fn is_predefined(&self) -> bool {
        matches!(self, Self::Local(network) if network.is_predefined())
    }

    /// The attachment with what is known of its network now.
    pub(super) fn named(&self, attachment: &Attachment) -> Attachment {
        Attachment {
            network: self.name().to_owned(),
            network_id: if self.is_predefined() { String::new() } else { self.id() },
            ..attachment.clone()
        }
    }
}

impl Engine {
    /// The network that an attachment means: one of the node's own, or a place on one of the swarm's, which the managers
    /// are asked for when the container has none there yet.
    pub(super) async fn find_for(&self, id: &ContainerId, entry: &Entry, attachment: &Attachment) -> Result<Found> {
        if let Some(network) = self.find_network(attachment.key())? {
            return Ok(Found::Local(network));
        }
        let (v4, v6) = (attachment.wish.ipv4, attachment.wish.ipv6);
        let addresses = v4.iter().map(ToString::to_string).chain(v6.iter().map(ToString::to_string)).collect();
        let mut place = self.swarm_place(id, entry, attachment.key(), addresses).await?;
        let new: Vec<String> =
            attachment.aliases.iter().filter(|alias| !place.aliases.contains(alias)).cloned().collect();
        place.aliases.extend(new);
        Ok(Found::Swarm(place))
    }

    /// What a container's attachments mean. Before anything is made for its start, so that a network that is missing
    /// costs nothing.
    pub(in super::super) async fn find_networks(&self, id: &ContainerId, entry: &Entry) -> Result<Vec<Wanted>> {
        let mut wanted = Vec::new();
        let attachments = entry.record().attachments();
        for attachment in attachments {
            let found = self.find_for(id, entry, &attachment).await.map_err(setup_failed)?;
            let interface = match found.driver() {
                "host" | "null" => String::new(),
                _ => format!("eth{}", wanted.len()),
            };
            wanted.push((found.named(&attachment), found, interface));
        }
        Ok(wanted)
    }

    /// Gives a prepared container its networks. What was done is undone by [`release`](Self::release) when a step fails.
    pub(in super::super) async fn plug(
        &self,
        id: &ContainerId,
        entry: &Entry,
        pid: i32,
        wanted: Vec<Wanted>,
    ) -> Result<()> {
        let pid = u32::try_from(pid).map_err(internal)?;
        let plugged = async {
            entry.record().attachments = Some(wanted.iter().map(|(attachment, ..)| attachment.clone()).collect());
            if wanted.iter().any(|(_, found, _)| found.driver() == "null") {
                loopback(pid).await?;
            }
            // a task tells itself when it serves; a container of a user does from the start
            let serving = entry.record().task.is_none();
            let endpoints = self.join_all(id, entry, pid, &wanted, serving).await?;
            entry.record().endpoints = endpoints;
            self.lead_out(id, entry, pid).await?;
            self.write_names(id, entry, pid).await
        };
        plugged.await.map_err(setup_failed)?;
        self.save(id, entry)?;
        let endpoints = entry.record().endpoints.clone();
        for endpoint in endpoints.iter().filter(|one| !one.is_added_gateway()) {
            self.tell_endpoint(id, endpoint, "connect");
        }
        Ok(())
    }

    /// Interfaces on all these networks, and on docker_gwbridge when only overlays would lead out; the endpoints in the
    /// same order.
    pub(super) async fn join_all(
        &self,
        id: &ContainerId,
        entry: &Entry,
        pid: u32,
        wanted: &[Wanted],
        serving: bool,
    ) -> Result<Vec<Endpoint>> {
        let mut endpoints = Vec::new();
        let mut swarm = Vec::new();
        for (attachment, found, interface) in wanted {
            let place = match found {
                Found::Local(network) if network.driver == "bridge" => {
                    let mut driver = self.inner.networks.driver.lock().await;
                    let driver = driver.as_mut().map_err(|reason| internal(no_bridge(reason)))?;
                    let place = driver.attach(&network.id, id.as_str(), &attachment.wish, pid, interface).await;
                    Some(place.map_err(of_net)?)
                }
                Found::Local(_) => None,
                Found::Swarm(place) => {
                    swarm.push((place.clone(), interface.clone()));
                    place_of(place)
                }
            };
            endpoints.push(Endpoint {
                id: endpoint_id(&found.id(), id.as_str()),
                network: found.name().to_owned(),
                network_id: found.id(),
                driver: found.driver().to_owned(),
                interface: interface.clone(),
                place,
                gateway_priority: attachment.gateway_priority,
            });
        }
        if swarm.is_empty() {
            return Ok(endpoints);
        }
        let wants_way_out = swarm.iter().any(|(place, _)| !place.internal);
        self.join_swarm(id, entry, pid, swarm, serving).await?;
        let before = entry.record().endpoints.clone();
        let has_way_out = way_out(&endpoints).is_some() || way_out(&before).is_some();
        if wants_way_out && !has_way_out {
            let used: Vec<String> = endpoints.iter().chain(&before).map(|one| one.interface.clone()).collect();
            let interface = free_interface(&used);
            let place = self.inner.networks.gateway_attach(id.as_str(), pid, &interface).await?;
            let network = self.inner.networks.ensure_gateway().await?;
            endpoints.push(Endpoint {
                id: endpoint_id(&network.id, id.as_str()),
                network: GATEWAY_BRIDGE.into(),
                network_id: network.id,
                driver: "bridge".into(),
                interface,
                place: Some(place),
                gateway_priority: i64::MIN,
            });
        }
        Ok(endpoints)
    }

    /// The default route by the endpoint that has it, and ports published there. After every change of the endpoints.
    pub(super) async fn lead_out(&self, id: &ContainerId, entry: &Entry, pid: u32) -> Result<()> {
        let endpoints = entry.record().endpoints.clone();
        let way_out = way_out(&endpoints);
        if let Some(Endpoint { interface, place: Some(place), .. }) = way_out {
            BridgeDriver::route(pid, interface, place).await.map_err(internal)?;
        }
        self.publish(id, entry, way_out).await
    }

    /// Takes interfaces, addresses and ports back; the namespace is gone or about to be. Tells of it.
    pub(in super::super) async fn unplug(&self, id: &ContainerId, entry: &Entry) {
        let endpoints = entry.record().endpoints.clone();
        self.release(id, entry).await;
        for endpoint in endpoints.iter().filter(|one| !one.is_added_gateway()) {
            self.tell_endpoint(id, endpoint, "disconnect");
        }
    }

    /// The same without telling, where there may be nothing to take back.
    pub(in super::super) async fn release(&self, id: &ContainerId, entry: &Entry) {
        let networks = &self.inner.networks;
        self.dns().stop(id.as_str());
        networks.ports.release(id.as_str());
        self.leave_swarm(id, entry).await;
        let endpoints = {
            let mut record = entry.record();
            record.published.clear();
            std::mem::take(&mut record.endpoints)
        };
        let mut driver = networks.driver.lock().await;
        if let Ok(driver) = &mut *driver {
            for network in driver.networks_of(id.as_str()) {
                if let Err(error) = driver.detach(&network, id.as_str()).await {
                    tracing::warn!(container = %id, "taking its cable back: {error}");
                }
            }
        }
        drop(driver);
        self.lead_ports(id, entry).await;
        for endpoint in endpoints.iter().filter(|endpoint| endpoint.has_names() && !endpoint.is_swarm()) {
            self.update_names(&endpoint.network_id, &endpoint.network);
        }
        // one that is being removed has no record any more to write
        if self.inner.runtime.inspect(id).is_ok()
            && let Err(error) = self.save(id, entry)
        {
            tracing::warn!(container = %id, "{error}");
        }
    }

    /// The containers that are on a network now.
    pub fn network_endpoints(&self, network_id: &str) -> Vec<NetworkMember> {
        let entries: Vec<_> = lock(&self.inner.entries).iter().map(|(id, entry)| (id.clone(), entry.clone())).collect();
        let mut members = Vec::new();
        for (id, entry) in entries {
            let found = entry.record().endpoints.iter().find(|one| one.network_id == network_id).cloned();
            let Some(endpoint) = found else { continue };
            let name = match endpoint.is_added_gateway() {
                true => format!("gateway_{}", &endpoint.id[..12]),
                false => self.inner.runtime.inspect(&id).map(|one| one.name).unwrap_or_default(),
            };
            members.push(NetworkMember {
                container: id.to_string(),
                name,
                endpoint: endpoint.id,
                place: endpoint.place,
            });
        }
        members
    }

    /// Tells that a container came to a network or left it.
    pub(super) fn tell_endpoint(&self, id: &ContainerId, endpoint: &Endpoint, action: &str) {
        let attributes = [("container", id.as_str()), ("name", &endpoint.network), ("type", &endpoint.driver)];
        self.tell_of("network", action, &endpoint.network_id, &attributes);
    }
}

/// The endpoint with the default route: of those that lead out the one with the highest priority, then the first.
pub(super) fn way_out(endpoints: &[Endpoint]) -> Option<&Endpoint> {
    let leads_out = |endpoint: &&Endpoint| endpoint.place.as_ref().is_some_and(|place| !place.gateways.is_empty());
    // the last of the greatest is what max_by_key gives, so from behind
    endpoints.iter().rev().filter(leads_out).max_by_key(|endpoint| endpoint.gateway_priority)
}

/// The first of eth0, eth1, ... that is not used.
pub(super) fn free_interface(used: &[String]) -> String {
    let mut names = (0..).map(|number: u32| format!("eth{number}"));
    names.find(|name| !used.contains(name)).unwrap_or_default()
}

async fn loopback(pid: u32) -> Result<()> {
    let plan = NetPlan { links: vec![LinkPlan::new("lo", LinkKind::Existing)], ..NetPlan::default() };
    NetNamespace::of_pid(pid).map_err(internal)?.apply(&plan).await.map_err(internal)?;
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn endpoint(network: &str, gateway: Option<&str>, gateway_priority: i64) -> Endpoint {
        let place = EndpointInfo {
            addresses: vec!["10.0.0.2/24".parse().unwrap()],
            gateways: gateway.iter().map(|ip| ip.parse().unwrap()).collect(),
            mac: overlay_network::Mac([2, 0, 0, 0, 0, 1]),
        };
        Endpoint {
            id: String::new(),
            network: network.into(),
            network_id: network.into(),
            driver: "bridge".into(),
            interface: String::new(),
            place: Some(place),
            gateway_priority,
        }
    }

    #[test]
    fn the_way_out_is_the_first_with_a_gateway_unless_another_has_priority() {
        let name = |endpoints: &[Endpoint]| way_out(endpoints).map(|one| one.network.clone());
        let gateway = Some("10.0.0.1");
        assert_eq!(name(&[]), None);
        assert_eq!(name(&[endpoint("internal", None, 9)]), None);
        let several = [endpoint("internal", None, 9), endpoint("a", gateway, 0), endpoint("b", gateway, 0)];
        assert_eq!(name(&several).as_deref(), Some("a"));
        let several = [endpoint("a", gateway, 0), endpoint("b", gateway, 5)];
        assert_eq!(name(&several).as_deref(), Some("b"));
    }

    #[test]
    fn a_new_interface_gets_the_lowest_name_that_is_free() {
        assert_eq!(free_interface(&[]), "eth0");
        assert_eq!(free_interface(&["eth0".into(), "eth2".into(), String::new()]), "eth1");
    }
}
