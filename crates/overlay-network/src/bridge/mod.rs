//! Local bridge networks of one node: `docker0`, users' `br-...`, `docker_gwbridge`; their addresses, and the cables of
//! containers to them.
//!
//! Leaves out: what networks there are and what users call them (the engine's registry), masquerading and published
//! ports (rules; [`BridgeDriver::networks`] says what they need to know), and overlays.
//!
//! Leases are stored before a cable is made and dropped after it is gone, and [`BridgeDriver::reconcile`] drops those
//! of containers that no longer exist, so a daemon that dies at any moment leaks no address for longer than its next
//! start.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use crate::apply::{NetError, NetNamespace};
use crate::plan::{Cidr, LinkKind, LinkPlan, Mac, Namespace, NetPlan, RoutePlan, choose_local};

mod gateway;
mod leases;
mod network;
mod ports;
mod proxy;

pub use gateway::{GATEWAY_BRIDGE, INGRESS_ENDPOINT};
pub use network::{BridgeNetwork, EndpointInfo, EndpointWish};
pub use ports::{HostPorts, PortAllocator, PortError, protocol_name};

use leases::{Leases, on_interface, sum};

/// The local bridge networks of one node. One value per node; calls are not concurrent (`&mut self`).
pub struct BridgeDriver {
    dir: PathBuf,
    namespace: NetNamespace,
    networks: BTreeMap<String, Bridge>,
}

struct Bridge {
    network: BridgeNetwork,
    leases: Leases,
}

impl BridgeDriver {
    /// Keeps its leases in `dir`; makes bridges in the caller's namespace. Nothing is made until
    /// [`ensure`](Self::ensure).
    pub async fn open(dir: &Path) -> Result<Self, NetError> {
        std::fs::create_dir_all(dir)
            .map_err(|source| NetError::Io { what: format!("make {}", dir.display()), source })?;
        Ok(Self { dir: dir.to_owned(), namespace: NetNamespace::current()?, networks: BTreeMap::new() })
    }

    /// Makes the network's bridge if it is missing, corrects what differs, and reads the leases of an earlier life.
    /// Idempotent.
    pub async fn ensure(&mut self, network: &BridgeNetwork) -> Result<(), NetError> {
        let mut link = LinkPlan::new(&network.bridge, LinkKind::Bridge);
        link.mtu = Some(network.mtu);
        link.mac = network.pools.first().map(|pool| Mac::of_ip(pool.gateway));
        link.addresses = network.pools.iter().map(|pool| on_interface(pool.gateway, pool.subnet)).collect();
        let mut plan = NetPlan {
            links: vec![LinkPlan::new("lo", LinkKind::Existing), link],
            sysctls: vec![("net/ipv4/ip_forward".into(), "1".into())],
            ..NetPlan::default()
        };
        if network.pools.iter().any(|pool| pool.subnet.is_ipv6()) {
            plan.sysctls.push(("net/ipv6/conf/all/forwarding".into(), "1".into()));
        }
        self.namespace.apply(&plan).await?;
        if self.networks.get(&network.id).is_none_or(|known| known.network != *network) {
            let leases = Leases::open(&self.dir, network)?;
            self.networks.insert(network.id.clone(), Bridge { network: network.clone(), leases });
        }
        Ok(())
    }

    /// Removes the network's bridge, whatever is on it, and its leases. Idempotent.
    pub async fn remove(&mut self, network: &str) -> Result<(), NetError> {
        let Some(known) = self.networks.get(network) else { return Ok(()) };
        self.namespace.delete_link(&known.network.bridge).await?;
        if let Some(known) = self.networks.remove(network) {
            known.leases.delete();
        }
        Ok(())
    }

    /// The networks that are there.
    pub fn networks(&self) -> impl Iterator<Item = &BridgeNetwork> {
        self.networks.values().map(|known| &known.network)
    }

    /// The addresses that networks and the node itself use: a new network must not have any of them.
    pub async fn occupied(&self) -> Result<Vec<Cidr>, NetError> {
        // a plan with a route makes the routes part of what is observed
        let plan =
            NetPlan { routes: vec![default_route(IpAddr::V4(Ipv4Addr::UNSPECIFIED), "lo")], ..NetPlan::default() };
        let observed = self.namespace.observe(&plan).await?;
        let mut occupied: Vec<Cidr> =
            self.networks().flat_map(|network| network.pools.iter().map(|pool| pool.subnet)).collect();
        occupied.extend(observed.links.values().flat_map(|link| link.addresses.iter().map(|cidr| cidr.network())));
        occupied.extend(observed.routes.iter().map(|route| route.destination.network()));
        Ok(occupied)
    }

    /// Whether the node has an interface of this name.
    pub async fn has_link(&self, name: &str) -> Result<bool, NetError> {
        Ok(self.namespace.observe(&NetPlan::default()).await?.links.contains_key(name))
    }

    /// A subnet of Docker's default pools that nobody uses; `None` when all are in use.
    pub async fn choose_subnet(&self) -> Result<Option<Cidr>, NetError> {
        Ok(choose_local(&self.occupied().await?))
    }

    /// Drops the leases and cables of endpoints that `lives` (network, endpoint) does not know.
    pub async fn reconcile(&mut self, lives: impl Fn(&str, &str) -> bool) -> Result<(), NetError> {
        let mut dead = Vec::new();
        for (id, known) in &self.networks {
            dead.extend(known.leases.owners().into_iter().map(|owner| (id.clone(), owner)));
        }
        for (network, endpoint) in dead {
            if endpoint != INGRESS_ENDPOINT && !lives(&network, &endpoint) {
                self.detach(&network, &endpoint).await?;
            }
        }
        Ok(())
    }

    /// Reserves the endpoint's addresses, so that they are known before the container exists. Idempotent.
    pub fn reserve(&mut self, network: &str, endpoint: &str, wish: &EndpointWish) -> Result<EndpointInfo, NetError> {
        let known = self.networks.get_mut(network).ok_or_else(|| unknown(network))?;
        known.leases.lease(endpoint, wish)?;
        known.leases.get(endpoint, &known.network).ok_or_else(|| unknown(network))
    }

    /// Gives the container (by a process in its network namespace) an interface on the network. Idempotent.
    /// The default route is for [`route`](Self::route), since only one of a container's networks has it.
    pub async fn attach(
        &mut self,
        network: &str,
        endpoint: &str,
        wish: &EndpointWish,
        pid: u32,
        interface: &str,
    ) -> Result<EndpointInfo, NetError> {
        let place = self.reserve(network, endpoint, wish)?;
        let known = self.networks.get(network).ok_or_else(|| unknown(network))?;
        let inside = NetNamespace::of_pid(pid)?;
        let here = cable_name(network, endpoint);
        if !inside.observe(&NetPlan::default()).await?.links.contains_key(interface) {
            // the near end of a cable whose far end went away with an earlier process
            self.namespace.delete_link(&here).await?;
        }
        let kind =
            LinkKind::Veth { peer: interface.into(), peer_mac: Some(place.mac), peer_namespace: Namespace::Pid(pid) };
        let mut cable = LinkPlan::new(&here, kind);
        cable.mtu = Some(known.network.mtu);
        cable.master = Some(known.network.bridge.clone());
        cable.port.isolated = !known.network.icc;
        self.namespace.apply(&NetPlan { links: vec![cable], ..NetPlan::default() }).await?;
        let mut far = LinkPlan::new(interface, LinkKind::Existing);
        far.mac = Some(place.mac);
        far.mtu = Some(known.network.mtu);
        far.addresses = place.addresses.clone();
        let links = vec![LinkPlan::new("lo", LinkKind::Existing), far];
        // without an address of IPv6 no IPv6 at all, as Docker has it: nothing answers that no inspection shows
        let off = if place.ipv6().is_some() { "0" } else { "1" };
        let sysctls_if_present = vec![(format!("net/ipv6/conf/{interface}/disable_ipv6"), off.to_owned())];
        inside.apply(&NetPlan { links, sysctls_if_present, ..NetPlan::default() }).await?;
        Ok(place)
    }

    /// Takes the cable and the addresses back. Idempotent.
    pub async fn detach(&mut self, network: &str, endpoint: &str) -> Result<(), NetError> {
        self.namespace.delete_link(&cable_name(network, endpoint)).await?;
        match self.networks.get_mut(network) {
            Some(known) => known.leases.release(endpoint),
            None => Ok(()),
        }
    }

    /// Makes this interface the container's way to everywhere else; nothing when the place has no gateway.
    pub async fn route(pid: u32, interface: &str, place: &EndpointInfo) -> Result<(), NetError> {
        let routes: Vec<RoutePlan> = place.gateways.iter().map(|via| default_route(*via, interface)).collect();
        if !routes.is_empty() {
            NetNamespace::of_pid(pid)?.apply(&NetPlan { routes, ..NetPlan::default() }).await?;
        }
        Ok(())
    }

    /// The networks that a container has an endpoint on.
    pub fn networks_of(&self, endpoint: &str) -> Vec<String> {
        let has = |known: &&Bridge| known.leases.get(endpoint, &known.network).is_some();
        self.networks.values().filter(has).map(|known| known.network.id.clone()).collect()
    }

    /// The endpoint that a container has on a network, if any.
    pub fn lookup(&self, network: &str, endpoint: &str) -> Option<EndpointInfo> {
        let known = self.networks.get(network)?;
        known.leases.get(endpoint, &known.network)
    }
}

fn unknown(network: &str) -> NetError {
    let source = std::io::Error::from(std::io::ErrorKind::NotFound);
    NetError::Io { what: format!("find the bridge of network {network}"), source }
}

fn default_route(via: IpAddr, interface: &str) -> RoutePlan {
    let destination = if via.is_ipv4() { Cidr::ALL_IPV4 } else { Cidr::ALL_IPV6 };
    RoutePlan { destination, via: Some(via), dev: interface.into() }
}

/// `veth` and eleven digits that tell network and endpoint apart from all others: interface names have at most 15
/// bytes. Derived, not drawn, so that a daemon that died in between finds it again.
fn cable_name(network: &str, endpoint: &str) -> String {
    format!("veth{:011x}", sum(format!("{network}/{endpoint}").as_bytes()) >> 20)
}
