//! One host's kernel, as far as overlay networks go: a namespace for each network and one for each container, the cables
//! between them, and the tables of the packet filter. It outlives the daemon, and not the machine's power.

use std::collections::{BTreeMap, BTreeSet};

use network_plan::model::ModelNamespace;
use network_plan::overlay::{INGRESS, VXLAN};
use network_plan::rules::table::Table;
use network_plan::{LinkKind, Mac, Namespace, Step};
use swarm_types::*;

/// The namespace of an overlay network.
#[derive(Default)]
pub(crate) struct Overlay {
    pub namespace: ModelNamespace,
    /// Its packet filter's table of ours.
    pub table: Option<Table>,
    /// Where the far ends of its cables are, by the names of the near ones: the container, and the interface in it.
    pub cables: BTreeMap<String, (u32, String)>,
}

/// A container's namespace.
pub(crate) struct Inside {
    /// The container's id.
    pub container: String,
    pub namespace: ModelNamespace,
}

#[derive(Default)]
pub(crate) struct Kernel {
    pub overlays: BTreeMap<NetworkId, Overlay>,
    /// By the number of a process in it.
    pub containers: BTreeMap<u32, Inside>,
    started: u32,
}

/// Why a step was not made.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The VXLAN id belongs to another network's namespace.
    VniTaken(NetworkId),
    /// A plan should not ask for it.
    Wrong(String),
}

impl Kernel {
    /// Containers start and end, whether a daemon is there or not. Those that end take their cables along.
    pub fn run(&mut self, running: &BTreeSet<String>) {
        let ended: Vec<u32> =
            self.containers.iter().filter(|(_, one)| !running.contains(&one.container)).map(|(pid, _)| *pid).collect();
        for pid in ended {
            self.containers.remove(&pid);
            for overlay in self.overlays.values_mut() {
                overlay.unplug_all(|(of, _)| *of == pid);
            }
        }
        let there: BTreeSet<&String> = self.containers.values().map(|one| &one.container).collect();
        let new: Vec<String> = running.iter().filter(|one| !there.contains(one)).cloned().collect();
        for container in new {
            self.started += 1;
            let inside = Inside { container, namespace: ModelNamespace::default() };
            self.containers.insert(self.started, inside);
        }
    }

    /// The process of a container.
    pub fn pid_of(&self, container: &str) -> Option<u32> {
        self.containers.iter().find(|(_, one)| one.container == container).map(|(pid, _)| *pid)
    }

    /// Whether a near end is of the cable to this interface of the container.
    pub fn is_pair(&self, network: NetworkId, near: &str, pid: u32, interface: &str) -> bool {
        let far = self.overlays.get(&network).and_then(|overlay| overlay.cables.get(near));
        far.is_some_and(|(at, name)| *at == pid && name == interface)
    }

    /// Whether packets can pass a cable: both ends are up.
    pub fn carries(&self, network: NetworkId, near: &str) -> bool {
        let Some(overlay) = self.overlays.get(&network) else { return false };
        let far = overlay.cables.get(near).and_then(|(pid, name)| Some((self.containers.get(pid)?, name)));
        overlay.namespace.is_up(near) && far.is_some_and(|(inside, name)| inside.namespace.is_up(name))
    }

    /// Makes a step in the namespace of a network.
    pub fn execute(&mut self, network: NetworkId, step: &Step) -> Result<(), Refusal> {
        if let Step::Create(link) = step
            && let LinkKind::Vxlan(wanted) = &link.kind
        {
            let same =
                |overlay: &Overlay| overlay.namespace.vxlan_of(VXLAN).is_some_and(|vxlan| vxlan.vni == wanted.vni);
            let holder = self.overlays.iter().find(|(id, overlay)| **id != network && same(overlay));
            if let Some((holder, _)) = holder {
                return Err(Refusal::VniTaken(*holder));
            }
        }
        let wrong = |why: String| Refusal::Wrong(format!("network {network}: {why}: {step:?}"));
        let overlay = self.overlays.get_mut(&network).ok_or_else(|| wrong("it has no namespace".into()))?;
        if let Step::Create(link) = step
            && let LinkKind::Veth { peer, peer_mac, peer_namespace: Namespace::Pid(pid) } = &link.kind
        {
            let inside = self.containers.get_mut(pid).ok_or_else(|| wrong("its container is gone".into()))?;
            overlay.namespace.execute(step).map_err(wrong)?;
            inside.namespace.appear_far_end(peer, *peer_mac, link.mtu.unwrap_or(1500)).map_err(wrong)?;
            overlay.cables.insert(link.name.clone(), (*pid, peer.clone()));
            return Ok(());
        }
        overlay.namespace.execute(step).map_err(wrong)
    }

    /// Makes a step in a container.
    pub fn execute_inside(&mut self, pid: u32, step: &Step) -> Result<(), Refusal> {
        let wrong = |why: String| Refusal::Wrong(format!("process {pid}: {why}: {step:?}"));
        let inside = self.containers.get_mut(&pid).ok_or_else(|| wrong("it is gone".into()))?;
        inside.namespace.execute(step).map_err(wrong)
    }

    /// Removes a link of a network's namespace, with its far end; whether it was there.
    pub fn delete_link(&mut self, network: NetworkId, name: &str) -> bool {
        let Some(overlay) = self.overlays.get_mut(&network) else { return false };
        if let Some((pid, far)) = overlay.cables.remove(name)
            && let Some(inside) = self.containers.get_mut(&pid)
        {
            inside.namespace.delete_link(&far);
        }
        overlay.namespace.delete_link(name)
    }

    /// The links of a network's namespace that are ours to remove.
    pub fn own_links(&self, network: NetworkId) -> Vec<String> {
        let ours = |name: &&str| *name != "lo" && *name != INGRESS;
        let links = self.overlays.get(&network).into_iter().flat_map(|overlay| overlay.namespace.links());
        links.filter(ours).map(str::to_owned).collect()
    }
}

impl Overlay {
    fn unplug_all(&mut self, of: impl Fn(&(u32, String)) -> bool) {
        let gone: Vec<String> = self.cables.iter().filter(|(_, far)| of(far)).map(|(near, _)| near.clone()).collect();
        for near in gone {
            self.cables.remove(&near);
            self.namespace.delete_link(&near);
        }
    }

    /// The container and interface behind a port, if its link-layer address is this one.
    pub fn behind<'a>(&self, kernel: &'a Kernel, port: &str, mac: Mac) -> Option<(&'a Inside, &str)> {
        let (pid, interface) = self.cables.get(port)?;
        let inside = kernel.containers.get(pid)?;
        let takes_it = inside.namespace.mac_of(interface) == Some(mac) && inside.namespace.is_up(interface);
        (takes_it && self.namespace.is_up(port)).then_some((inside, interface.as_str()))
    }
}
