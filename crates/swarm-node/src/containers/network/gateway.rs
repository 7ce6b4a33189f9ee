//! docker_gwbridge: the way out of containers that only overlays lead to, and where the ingress network is plugged in.
//! Made when it is needed first.

use std::net::SocketAddr;

use container_runtime::Result;
use overlay_network::rules::IngressRules;
use overlay_network::{
    EndpointInfo, EndpointWish, GATEWAY_BRIDGE, HostPorts, INGRESS_ENDPOINT, IngressLink, PortAllocator,
};

use super::super::{Engine, lock};
use super::attachment::endpoint_id;
use super::manage::no_bridge;
use super::{NetworkMember, Networks, internal, of_net};
use crate::networking::{Gateway, GatewayFuture};

/// In whose name ports of the ingress network are taken.
const INGRESS: &str = "ingress";

impl Networks {
    /// Gives a container an interface on docker_gwbridge. Idempotent. The default route is not changed.
    pub(super) async fn gateway_attach(&self, container: &str, pid: u32, interface: &str) -> Result<EndpointInfo> {
        let network = self.ensure_gateway().await?;
        let mut driver = self.driver.lock().await;
        let driver = driver.as_mut().map_err(|reason| internal(no_bridge(reason)))?;
        // before anybody else can have its address
        driver.reserve_ingress(&network.id).map_err(of_net)?;
        let wish = EndpointWish::default();
        driver.attach(&network.id, container, &wish, pid, interface).await.map_err(of_net)
    }

    /// Takes it back; nothing when there is none.
    pub(super) async fn gateway_detach(&self, container: &str) {
        let known = lock(&self.registry).by_name(GATEWAY_BRIDGE).map(|network| network.id.clone());
        let mut driver = self.driver.lock().await;
        if let (Some(id), Ok(driver)) = (known, &mut *driver)
            && let Err(error) = driver.detach(&id, container).await
        {
            tracing::warn!(container, "taking it from {GATEWAY_BRIDGE}: {error}");
        }
    }

    /// Where the ingress network's namespace is to be plugged in: 172.18.0.2 as a rule.
    async fn link(&self) -> Result<IngressLink> {
        let network = self.ensure_gateway().await?;
        let mut driver = self.driver.lock().await;
        let driver = driver.as_mut().map_err(|reason| internal(no_bridge(reason)))?;
        let place = driver.reserve_ingress(&network.id).map_err(of_net)?;
        match (place.addresses.first(), place.gateways.first()) {
            (Some(address), Some(gateway)) => {
                Ok(IngressLink { bridge: GATEWAY_BRIDGE.into(), address: *address, gateway: *gateway })
            }
            _ => Err(internal(format!("{GATEWAY_BRIDGE} has no addresses"))),
        }
    }

    /// The ports are taken as containers' are; one that another has is left to it, with a warning.
    async fn hand_over_to(&self, rules: Option<IngressRules>) -> Result<()> {
        let mut driver = self.driver.lock().await;
        let before = self.filter.lock().await.set_ingress(rules.clone());
        let ports_of = |rules: Option<IngressRules>| rules.map(|rules| rules.ports).unwrap_or_default();
        let to = rules.as_ref().and_then(|rules| rules.to.first().copied());
        let (old, new) = (ports_of(before), ports_of(rules));
        for (protocol, port) in old.difference(&new) {
            self.ports.release_port(INGRESS, *protocol, *port);
        }
        for (protocol, port) in new.difference(&old) {
            let (everywhere, wanted) = (PortAllocator::any_address(), HostPorts::Range(*port, *port));
            if let Err(error) = self.ports.reserve(INGRESS, *protocol, &everywhere, wanted) {
                tracing::warn!("the routing mesh on this node: {error}");
            } else if let Some(to) = to {
                self.ports.forward(INGRESS, *protocol, *port, SocketAddr::new(to, *port));
            }
        }
        match &mut *driver {
            Ok(driver) => self.follow(driver).await.map_err(internal),
            Err(reason) => Err(internal(no_bridge(reason))),
        }
    }
}

impl Gateway for Networks {
    fn ingress_link(&self) -> GatewayFuture<'_, IngressLink> {
        Box::pin(async move { self.link().await.map_err(|error| error.message) })
    }

    fn hand_over(&self, rules: Option<IngressRules>) -> GatewayFuture<'_, ()> {
        Box::pin(async move { self.hand_over_to(rules).await.map_err(|error| error.message) })
    }
}

impl Engine {
    /// The endpoints on a network of this node: containers' and, on docker_gwbridge, the ingress network's.
    pub async fn network_members(&self, network_id: &str) -> Vec<NetworkMember> {
        let mut members = self.network_endpoints(network_id);
        let networks = &self.inner.networks;
        let driver = networks.driver.lock().await;
        if let Ok(driver) = &*driver
            && networks.filter.lock().await.has_ingress()
            && let Some(place) = driver.lookup(network_id, INGRESS_ENDPOINT)
        {
            members.push(NetworkMember {
                container: INGRESS_ENDPOINT.into(),
                name: format!("gateway_{INGRESS_ENDPOINT}"),
                endpoint: endpoint_id(network_id, INGRESS_ENDPOINT),
                place: Some(place),
            });
        }
        members
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use swarm_types::PortProtocol;

    use super::*;

    #[tokio::test]
    async fn the_gateway_bridge_is_made_on_demand_with_the_ingress_networks_place_and_ports() {
        // as root: in a network namespace of this thread's own, not on the machine
        let _ = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET);
        let dir = tempfile::tempdir().unwrap();
        let networks = Networks::open(dir.path(), Arc::default()).await.unwrap();
        if let Err(reason) = &*networks.driver.lock().await {
            eprintln!("skipped: {reason}");
            return;
        }
        assert!(lock(&networks.registry).by_name(GATEWAY_BRIDGE).is_none());
        let link = networks.ingress_link().await.unwrap();
        assert_eq!((link.bridge.as_str(), link.address.to_string().as_str()), ("docker_gwbridge", "172.18.0.2/16"));
        assert_eq!(link.gateway.to_string(), "172.18.0.1");
        let rules = |ports: &[u16]| IngressRules {
            bridge: GATEWAY_BRIDGE.into(),
            to: vec![link.address.address],
            ports: ports.iter().map(|port| (PortProtocol::Tcp, *port)).collect::<BTreeSet<_>>(),
        };
        let free = |port: u16| std::net::TcpListener::bind(("0.0.0.0", port)).is_ok();
        networks.hand_over(Some(rules(&[8080, 8081]))).await.unwrap();
        assert!(!free(8080) && !free(8081), "nobody else gets a published port");
        networks.hand_over(Some(rules(&[8081]))).await.unwrap();
        assert!(free(8080) && !free(8081));
        networks.hand_over(None).await.unwrap();
        assert!(free(8081));
        drop(networks);
        let networks = Networks::open(dir.path(), Arc::default()).await.unwrap();
        assert_eq!(networks.ingress_link().await.unwrap(), link, "the same after a restart");
    }
}
