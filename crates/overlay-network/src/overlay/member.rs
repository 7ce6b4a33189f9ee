//! One overlay network on this node: its namespace, and what is wished for it. What that comes to is
//! [`OverlayWish`]'s business.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::OverlayConfig;
use crate::apply::{NetError, NetNamespace, io};
use crate::plan::overlay::{self, INGRESS, OverlayNetwork, OverlayPort, cable_name, ingress_cable_name};
use crate::plan::{NetPlan, Observed, OverlayWish, diff};
use crate::rules::Protocol;

/// See the module.
pub(super) struct Member {
    pub wish: OverlayWish,
    pub namespace: NetNamespace,
    pin: PathBuf,
    /// By endpoint, which namespace the process of a container was in: when it has gone, its number may be another's.
    inside: BTreeMap<String, NamespaceId>,
    /// To whom connections were handed on: those who serve, and those who stopped and are not gone yet.
    backends: BTreeSet<IpAddr>,
}

/// Device and file number of a namespace.
type NamespaceId = (u64, u64);

fn namespace_id(pid: u32) -> Result<NamespaceId, NetError> {
    let path = format!("/proc/{pid}/ns/net");
    let found = std::fs::metadata(&path).map_err(io(format!("look at network namespace {path}")))?;
    Ok((found.dev(), found.ino()))
}

impl Member {
    pub fn new(network: OverlayNetwork, namespace: NetNamespace, pin: PathBuf) -> Self {
        let wish = OverlayWish::new(network);
        Self { wish, namespace, pin, inside: BTreeMap::new(), backends: BTreeSet::new() }
    }

    /// What the namespace should look like, with its containers' cables.
    pub fn plan(&self, config: &OverlayConfig) -> NetPlan {
        self.wish.plan(config.underlay())
    }

    /// Makes the namespace so, but for cables that are missing: their containers may be gone.
    pub async fn settle(&self, config: &OverlayConfig, node: &NetNamespace) -> Result<(), NetError> {
        let plan = self.plan(config);
        let observed = self.namespace.observe(&plan).await.map_err(self.named())?;
        self.make(plan, &observed, node).await
    }

    /// The same where only tables and addresses change. The kernel's settings are left to [`Self::settle`], which
    /// precedes it whenever a node hears something new: to read them takes a thread, and so a turn of its own on a
    /// busy machine, while whoever asks for the new task waits.
    pub async fn settle_tables(&self, config: &OverlayConfig, node: &NetNamespace) -> Result<(), NetError> {
        let plan = self.wish.tables(config.underlay());
        let observed = self.namespace.observe(&plan).await.map_err(self.named())?;
        if OverlayWish::has_its_links(&observed) {
            self.make(plan, &observed, node).await
        } else {
            // somebody took them: what is made anew needs its settings
            self.settle(config, node).await
        }
    }

    async fn make(&self, plan: NetPlan, observed: &Observed, node: &NetNamespace) -> Result<(), NetError> {
        let plan = self.wish.without_missing_cables(plan, observed);
        self.namespace.execute_all(&diff(observed, &plan), node).await.map_err(self.named())
    }

    /// The rest: rules, and cables that are missing or carry nothing.
    pub async fn repair(&mut self, config: &OverlayConfig, node: &NetNamespace) -> Result<(), NetError> {
        self.apply_rules().await?;
        if self.wish.ingress.is_some() {
            self.connect_ingress(node).await?;
        }
        let near = self.namespace.observe(&NetPlan::default()).await.map_err(self.named())?;
        let carries = |endpoint: &str| near.links.get(&cable_name(endpoint)).is_some_and(|link| link.carrier);
        let broken = self.wish.ports.values().filter(|port| !carries(&port.endpoint));
        let alive = |port: &&OverlayPort| namespace_id(port.pid).ok().as_ref() == self.inside.get(&port.endpoint);
        let broken: Vec<OverlayPort> = broken.filter(alive).cloned().collect();
        for port in broken {
            // one container's trouble is not the network's
            if let Err(error) = self.attach(config, node, &port).await {
                tracing::warn!(endpoint = port.endpoint, "repairing a container's interface: {error}");
            }
        }
        Ok(())
    }

    pub async fn apply_rules(&self) -> Result<(), NetError> {
        let Some(rules) = self.wish.rules() else { return Ok(()) };
        self.namespace.apply_overlay_rules(&rules).await.map_err(self.named())?;
        Ok(())
    }

    /// Ends the connections to backends that are gone: whoever is connected gets a reset for the next packet, and not
    /// silence. One that only serves no more keeps its connections until it goes.
    pub async fn forget_gone(&mut self) -> Result<(), NetError> {
        let serving: BTreeSet<IpAddr> =
            self.wish.services.iter().flatten().flat_map(|service| service.backends.iter().copied()).collect();
        let peers = self.wish.peers.iter().flatten().flat_map(|peer| peer.addresses.iter().copied());
        let ports = self.wish.ports.values().flat_map(|port| &port.addresses).map(|cidr| cidr.address);
        let there: BTreeSet<IpAddr> = peers.chain(ports).chain(serving.iter().copied()).collect();
        let gone: BTreeSet<IpAddr> = self.backends.difference(&there).copied().collect();
        for protocol in [Protocol::Tcp, Protocol::Sctp] {
            self.namespace.flush_conntrack(protocol, &gone).await.map_err(self.named())?;
        }
        self.backends.retain(|backend| !gone.contains(backend));
        self.backends.extend(serving);
        Ok(())
    }

    pub async fn attach(
        &mut self,
        config: &OverlayConfig,
        node: &NetNamespace,
        port: &OverlayPort,
    ) -> Result<(), NetError> {
        check(port).map_err(|error| NetError::Invalid(format!("network {}: {error}", self.wish.network.id)))?;
        let inside = NetNamespace::of_pid(port.pid)?;
        let identity = namespace_id(port.pid)?;
        let name = cable_name(&port.endpoint);
        let near = self.namespace.observe(&NetPlan::default()).await?;
        let far = inside.observe(&NetPlan::default()).await?;
        if !is_pair(&near, &name, &far, &port.interface) {
            if far.links.contains_key(&port.interface) {
                let (interface, pid) = (&port.interface, port.pid);
                return Err(NetError::Invalid(format!(
                    "network {}: the container of process {pid} has another interface {interface} already",
                    self.wish.network.id
                )));
            }
            // the near end of a cable whose far end is elsewhere: of an earlier process, or renamed
            self.namespace.delete_link(&name).await?;
        }
        self.namespace.apply_over(&overlay::cable(&self.wish.network, port), node).await.map_err(self.named())?;
        inside.apply(&overlay::interface(&self.wish.network, port)).await.map_err(self.named())?;
        self.inside.insert(port.endpoint.clone(), identity);
        let before = self.wish.ports.insert(port.endpoint.clone(), port.clone());
        let was_there = before.is_some_and(|before| before.mac == port.mac && before.addresses == port.addresses);
        if !was_there && self.wish.is_claimed(port) {
            self.settle(config, node).await?;
        }
        Ok(())
    }

    pub async fn detach(
        &mut self,
        config: &OverlayConfig,
        node: &NetNamespace,
        endpoint: &str,
    ) -> Result<(), NetError> {
        self.namespace.delete_link(&cable_name(endpoint)).await.map_err(self.named())?;
        self.inside.remove(endpoint);
        if let Some(gone) = self.wish.ports.remove(endpoint)
            && self.wish.is_claimed(&gone)
        {
            self.settle(config, node).await?;
        }
        Ok(())
    }

    pub async fn connect_ingress(&self, node: &NetNamespace) -> Result<(), NetError> {
        let Some(ingress) = &self.wish.ingress else { return Ok(()) };
        let name = ingress_cable_name(&self.wish.network.id);
        let near = node.observe(&NetPlan::default()).await?;
        let far = self.namespace.observe(&NetPlan::default()).await?;
        if !is_pair(&near, &name, &far, INGRESS) {
            node.delete_link(&name).await?;
            // the whole namespace is ours
            self.namespace.delete_link(INGRESS).await?;
        }
        node.apply(&overlay::ingress_cable(&self.wish.network, ingress, &self.pin)).await.map_err(self.named())?;
        self.namespace.apply(&overlay::ingress_interface(ingress)).await.map_err(self.named())?;
        Ok(())
    }

    /// Says of which network an error speaks.
    fn named(&self) -> impl Fn(NetError) -> NetError {
        let network = self.wish.network.id.clone();
        move |error| match error {
            NetError::Netlink { what, why, code } => {
                NetError::Netlink { what: format!("network {network}: {what}"), why, code }
            }
            NetError::Io { what, source } => NetError::Io { what: format!("network {network}: {what}"), source },
            other => other,
        }
    }
}

/// Whether two links are the two ends of one cable.
fn is_pair(near: &Observed, near_name: &str, far: &Observed, far_name: &str) -> bool {
    match (near.links.get(near_name), far.links.get(far_name)) {
        (Some(near), Some(far)) => near.peer == Some(far.index) && far.peer == Some(near.index),
        _ => false,
    }
}

fn check(port: &OverlayPort) -> Result<(), String> {
    let name = &port.interface;
    if name.is_empty() || name.len() > 15 || name.contains(|c: char| c == '/' || c == ':' || c.is_whitespace()) {
        return Err(format!("{name:?} is not a name for an interface: 1 to 15 bytes, without space, '/' and ':'"));
    }
    if !port.endpoint.contains(|c: char| c.is_ascii_alphanumeric()) {
        return Err(format!("{:?} is not the id of an endpoint", port.endpoint));
    }
    if port.mac.0[0] & 1 == 1 || port.mac.0 == [0; 6] {
        return Err(format!("{} is not the address of one interface", port.mac));
    }
    Ok(())
}
