//! Making, listing and removing the node's own networks.

use container_runtime::{Error, Kind, Result};
use overlay_network::{GATEWAY_BRIDGE, INGRESS_ENDPOINT};
use swarm_types::{IpamConfig, Labels, NetworkSpec};

use super::super::{Engine, lock, random_name};
use super::define::{Definition, forbidden};
use super::registry::{LocalNetwork, PREDEFINED};
use super::{Networks, internal};

impl Engine {
    /// The node's own networks.
    pub fn networks(&self) -> Vec<LocalNetwork> {
        self.inner.networks.all()
    }

    /// The local network of this name, id or unique id prefix, if there is one.
    pub fn find_network(&self, term: &str) -> Result<Option<LocalNetwork>> {
        Ok(lock(&self.inner.networks.registry).find(term)?.cloned())
    }

    /// Makes a bridge network. `spec.driver` names its driver; overlays are made by the managers.
    pub async fn create_network(&self, spec: NetworkSpec) -> Result<String> {
        let name = spec.annotations.name.clone();
        if PREDEFINED.contains(&name.as_str()) || name == "default" {
            return Err(forbidden(format!("operation is not permitted on predefined {name} network")));
        }
        let driver = spec.driver.as_ref().map(|driver| driver.name.as_str()).unwrap_or_default();
        match driver {
            "" | "bridge" => {}
            "host" | "null" => return Err(forbidden(format!("only one instance of \"{driver}\" network is allowed"))),
            "macvlan" | "ipvlan" => {
                let message = format!("network driver {driver} is not supported by this engine: use bridge or overlay");
                return Err(Error::new(Kind::Unsupported, message));
            }
            other => return Err(Error::new(Kind::NotFound, format!("plugin \"{other}\" not found"))),
        }
        let asked = spec.ipam.as_ref().map(|ipam| ipam.configs.clone()).unwrap_or_default();
        let definition = Definition::read(spec, random_name()?)?;
        Ok(self.inner.networks.make(definition, &name, &asked).await?.id)
    }

    /// Removes a network that no running container is on.
    pub async fn remove_network(&self, network: &LocalNetwork) -> Result<()> {
        if network.is_predefined() {
            return Err(forbidden(format!("{} is a pre-defined network and cannot be removed", network.name)));
        }
        let networks = &self.inner.networks;
        let mut driver = networks.driver.lock().await;
        let driver = driver.as_mut().map_err(|reason| internal(no_bridge(reason)))?;
        let mut active: Vec<String> = self
            .network_endpoints(&network.id)
            .iter()
            .map(|one| format!("name:{:?} id:{:?}", one.name, &one.endpoint[..12]))
            .collect();
        if network.name == GATEWAY_BRIDGE && networks.filter.lock().await.has_ingress() {
            active.push(format!("name:\"gateway_{INGRESS_ENDPOINT}\""));
        }
        if !active.is_empty() {
            return Err(forbidden(format!(
                "error while removing network: network {} has active endpoints ({})",
                network.name,
                active.join(", ")
            )));
        }
        driver.remove(&network.id).await.map_err(internal)?;
        lock(&networks.registry).remove(&network.id);
        self.dns().update(|names| names.remove_network(&network.id));
        networks.apply_rules(driver).await;
        networks.events.tell("network", "destroy", &network.id, &[("name", &network.name), ("type", &network.driver)]);
        Ok(())
    }
}

impl Networks {
    fn all(&self) -> Vec<LocalNetwork> {
        lock(&self.registry).all()
    }

    /// One at a time, by the driver's lock: no two networks get the same name or subnet.
    async fn make(&self, definition: Definition, name: &str, asked: &[IpamConfig]) -> Result<LocalNetwork> {
        let mut driver = self.driver.lock().await;
        let driver = driver.as_mut().map_err(|reason| internal(no_bridge(reason)))?;
        if lock(&self.registry).by_name(name).is_some() {
            return Err(Error::new(Kind::Conflict, format!("network with name {name} already exists")));
        }
        let others = self.all();
        let bridge = definition.bridge();
        let known = others.iter().any(|one| one.bridge.as_ref().is_some_and(|known| known.bridge == bridge));
        if name != GATEWAY_BRIDGE && !known && driver.has_link(bridge).await.map_err(internal)? {
            return Err(forbidden(format!(
                "cannot create network {name}: the node has an interface {bridge} already that is no network's"
            )));
        }
        let chosen = match definition.needs_subnet() {
            true => driver.choose_subnet().await.map_err(internal)?,
            false => None,
        };
        let network = definition.complete(chosen, &random_name()?, &others)?;
        let network = Definition::with_asked(network, asked);
        if let Some(bridge) = &network.bridge {
            // on disk before it is in the kernel: what a dying daemon leaves is found again
            lock(&self.registry).insert(network.clone())?;
            if let Err(error) = driver.ensure(bridge).await {
                let _ = driver.remove(&network.id).await;
                lock(&self.registry).remove(&network.id);
                return Err(internal(error));
            }
        }
        self.apply_rules(driver).await;
        self.events.tell("network", "create", &network.id, &[("name", &network.name), ("type", &network.driver)]);
        Ok(network)
    }

    /// The network docker_gwbridge, made if it is missing.
    pub(super) async fn ensure_gateway(&self) -> Result<LocalNetwork> {
        let known = lock(&self.registry).by_name(GATEWAY_BRIDGE).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let mut options = Labels::new();
        for (key, value) in [("enable_icc", "false"), ("enable_ip_masquerade", "true"), ("name", GATEWAY_BRIDGE)] {
            options.insert(format!("com.docker.network.bridge.{key}"), value.into());
        }
        let spec = NetworkSpec {
            annotations: swarm_types::Annotations { name: GATEWAY_BRIDGE.into(), ..Default::default() },
            driver: Some(swarm_types::Driver { name: "bridge".into(), options }),
            ..NetworkSpec::default()
        };
        let definition = Definition::read(spec, random_name()?)?;
        match self.make(definition, GATEWAY_BRIDGE, &[]).await {
            // somebody else was quicker
            Err(error) if error.kind == Kind::Conflict => {
                lock(&self.registry).by_name(GATEWAY_BRIDGE).cloned().ok_or(error)
            }
            made => made,
        }
    }
}

pub(super) fn no_bridge(reason: &str) -> String {
    format!("no bridge network on this node: {reason}: use --network none or host")
}
