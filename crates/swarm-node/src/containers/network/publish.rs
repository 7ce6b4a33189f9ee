//! Ports of the node that lead to containers: taken at their start, given back at their end, and the rules for them.

use std::net::{IpAddr, SocketAddr};

use container_runtime::{ContainerId, Error, Kind, Result};
use overlay_network::rules::{BridgeRules, PublishedPort};
use overlay_network::{BridgeDriver, EndpointInfo, HostPorts, PortAllocator};

use super::super::{Engine, Entry, Record};
use super::Networks;
use super::attachment::{Endpoint, Published};
use super::plug::way_out;

impl Engine {
    /// The node's ports. Whoever else has ports of the node lead to something takes them here too.
    pub fn ports(&self) -> &PortAllocator {
        &self.inner.networks.ports
    }

    /// Takes the ports that the container wants (those that it has it keeps), and leads them to its way out.
    pub(super) async fn publish(&self, id: &ContainerId, entry: &Entry, way_out: Option<&Endpoint>) -> Result<()> {
        let wishes = entry.record().ports.all();
        let place = way_out.and_then(|endpoint| Some((endpoint, endpoint.place.as_ref()?)));
        match place {
            Some((endpoint, place)) if !wishes.is_empty() => {
                if entry.record().published.is_empty() {
                    let taken = self.take_ports(id, entry, endpoint)?;
                    entry.record().published = taken;
                }
                self.forward(id, &entry.record().published, place);
            }
            // nothing to publish, or nowhere to lead it
            _ => {
                self.ports().release(id.as_str());
                entry.record().published.clear();
            }
        }
        self.lead_ports(id, entry).await;
        Ok(())
    }

    /// Makes the node's rules follow the container's ports.
    pub(super) async fn lead_ports(&self, id: &ContainerId, entry: &Entry) {
        let networks = &self.inner.networks;
        let mut driver = networks.driver.lock().await;
        if let Ok(driver) = &mut *driver {
            let rules = published_rules(&entry.record().clone(), driver);
            let changed = networks.filter.lock().await.set_published(id.as_str(), rules);
            if changed {
                networks.apply_rules(driver).await;
            }
        }
    }

    fn take_ports(&self, id: &ContainerId, entry: &Entry, endpoint: &Endpoint) -> Result<Vec<Published>> {
        let network = self.find_network(&endpoint.network_id)?;
        let binding = network.and_then(|network| network.host_binding());
        let mut taken = Vec::new();
        for wish in entry.record().ports.all() {
            let addresses = match wish.host_ip.filter(|ip| *ip != IpAddr::from([0, 0, 0, 0])).or(binding) {
                Some(ip) => vec![ip],
                // `-p 0.0.0.0:80:80` means IPv4 alone
                None if wish.host_ip.is_some() => vec![IpAddr::from([0, 0, 0, 0])],
                None => PortAllocator::any_address(),
            };
            let wanted = match wish.host_ports {
                (0, _) => HostPorts::Any,
                (first, last) => HostPorts::Range(first, last),
            };
            match self.ports().reserve(id.as_str(), wish.port.protocol, &addresses, wanted) {
                Ok(host_port) => taken.extend(addresses.into_iter().map(|host_ip| Published {
                    port: wish.port.number,
                    protocol: wish.port.protocol,
                    host_ip,
                    host_port,
                })),
                Err(error) => {
                    self.ports().release(id.as_str());
                    let name = self.inner.runtime.inspect(id).map(|one| one.name).unwrap_or_default();
                    return Err(Error::new(
                        Kind::Internal,
                        format!(
                            "driver failed programming external connectivity on endpoint {name} ({}): {error}",
                            endpoint.id
                        ),
                    ));
                }
            }
        }
        Ok(taken)
    }

    fn forward(&self, id: &ContainerId, published: &[Published], place: &EndpointInfo) {
        for one in published {
            if let Some(to) = target(place, one).or_else(|| place.addresses.first().map(|cidr| cidr.address)) {
                let to = SocketAddr::new(to, one.port);
                self.ports().forward(id.as_str(), one.protocol, one.host_port, to);
            }
        }
    }

    /// Takes the ports of a container again that was found running.
    pub(super) fn republish(&self, id: &ContainerId, entry: &Entry) {
        let record = entry.record().clone();
        for one in &record.published {
            let wanted = HostPorts::Range(one.host_port, one.host_port);
            if let Err(error) = self.ports().reserve(id.as_str(), one.protocol, &[one.host_ip], wanted) {
                tracing::warn!(container = %id, "its published port: {error}");
            }
        }
        if let Some(Endpoint { place: Some(place), .. }) = way_out(&record.endpoints) {
            self.forward(id, &record.published, place);
        }
    }

    /// The ports of the node that lead to a container now.
    pub fn published(&self, id: &ContainerId) -> Vec<Published> {
        self.entry(id).map(|entry| entry.record().published.clone()).unwrap_or_default()
    }
}

impl Networks {
    /// Makes the node's rules follow what there is. Under the driver's lock, so that no older state comes after a newer.
    pub(super) async fn follow(&self, driver: &BridgeDriver) -> std::result::Result<(), overlay_network::NetError> {
        let bridges = driver.networks().map(|network| BridgeRules {
            name: network.bridge.clone(),
            subnets: network.pools.iter().map(|pool| pool.subnet).collect(),
            masquerade: network.masquerade,
            internal: network.internal,
        });
        let mut filter = self.filter.lock().await;
        filter.set_bridges(bridges.collect());
        filter.apply().await
    }

    /// The same where nobody waits for it. A machine without nftables does without: its sockets hand on what they can.
    pub(super) async fn apply_rules(&self, driver: &BridgeDriver) {
        if let Err(error) = self.follow(driver).await {
            tracing::warn!("the node's packet filter: {error}");
        }
    }
}

fn published_rules(record: &Record, driver: &BridgeDriver) -> Vec<PublishedPort> {
    let Some(Endpoint { network_id, place: Some(place), .. }) = way_out(&record.endpoints) else { return Vec::new() };
    let Some(bridge) = driver.networks().find(|network| network.id == *network_id) else { return Vec::new() };
    let rule = |one: &Published| {
        Some(PublishedPort {
            protocol: one.protocol,
            host_ip: Some(one.host_ip).filter(|ip| !ip.is_unspecified()),
            host_port: one.host_port,
            to: SocketAddr::new(target(place, one)?, one.port),
            bridge: bridge.bridge.clone(),
        })
    };
    record.published.iter().filter_map(rule).collect()
}

/// The container's address of the family of the node's.
fn target(place: &EndpointInfo, published: &Published) -> Option<IpAddr> {
    place.addresses.iter().map(|cidr| cidr.address).find(|ip| ip.is_ipv4() == published.host_ip.is_ipv4())
}
