//! What a host's daemon does for its overlay networks, in the order in which a node's `networking` and its `OverlayDriver` do
//! it, with their own plans, each step of which may be the last before it dies. What these know of a network they forget with
//! the process; what the managers said is on disk, and what containers run can be seen.
//!
//! Left out: the ingress network's way in from the node, names, and the flushing of connections.

use std::collections::{BTreeMap, BTreeSet};

use network_plan::overlay::{self, OverlayPort, cable_name};
use network_plan::rules::overlay_table;
use network_plan::{NetPlan, OverlayWish, Step, Underlay, diff, wishes};
use swarm_gossip::view::NetworkView;
use swarm_types::*;

use super::kernel::{Kernel, Refusal};

/// Why the daemon goes on with something else.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// It died.
    Died,
    /// The network cannot be had now; it is tried again later.
    Later,
    /// The kernel refused what no plan should ask for.
    Wrong(String),
}

/// A container that runs here, with its places on overlay networks.
pub(crate) struct Local {
    pub container: String,
    pub places: Vec<(NetworkId, Vec<String>)>,
}

/// What a daemon knows when it has its turn.
pub(crate) struct Knowledge<'a> {
    pub underlay: Underlay,
    pub networks: &'a BTreeMap<NetworkId, std::sync::Arc<Network>>,
    pub attachments: &'a BTreeMap<NetworkId, NetworkAttachment>,
    pub local: &'a [Local],
    pub view: &'a dyn Fn(NetworkId) -> NetworkView,
}

#[derive(Default)]
pub(crate) struct Daemon {
    /// What is wished for each network that has a namespace here.
    pub wishes: BTreeMap<NetworkId, OverlayWish>,
    /// The networks of containers that were plugged in, in the order of their interfaces.
    joined: BTreeMap<String, Vec<NetworkId>>,
}

/// A daemon at work on its host's kernel.
pub(crate) struct Work<'a> {
    pub daemon: &'a mut Daemon,
    pub kernel: &'a mut Kernel,
    pub knowledge: &'a Knowledge<'a>,
    /// So many steps are made before it dies; `None`: it lives.
    pub left: Option<u64>,
    /// Steps that were made.
    pub made: u64,
}

impl Work<'_> {
    /// Takes in who came and went, and makes the data plane follow. The networks that have to be tried again.
    pub fn turn(&mut self, holds: bool, audit: bool) -> Result<BTreeSet<NetworkId>, Stop> {
        let mut again = BTreeSet::new();
        self.leave()?;
        for local in self.knowledge.local {
            match self.join(local) {
                Err(Stop::Later) => again.extend(local.places.iter().map(|(network, _)| *network)),
                other => other?,
            }
        }
        if holds {
            return Ok(again);
        }
        let known: BTreeSet<NetworkId> =
            self.knowledge.networks.keys().chain(self.daemon.wishes.keys()).copied().collect();
        for network in known {
            match self.follow(network) {
                Err(Stop::Later) => drop(again.insert(network)),
                other => {
                    other?;
                    again.remove(&network);
                }
            }
        }
        if audit {
            self.retain()?;
        }
        Ok(again)
    }

    /// Counts a step; a daemon dies before the one that it has no life left for.
    fn step(&mut self) -> Result<(), Stop> {
        match &mut self.left {
            Some(0) => return Err(Stop::Died),
            Some(left) => *left -= 1,
            None => {}
        }
        self.made += 1;
        Ok(())
    }

    fn leave(&mut self) -> Result<(), Stop> {
        let there: BTreeSet<&String> = self.knowledge.local.iter().map(|one| &one.container).collect();
        let gone = |container: &&String| !there.contains(container);
        let left: Vec<String> = self.daemon.joined.keys().filter(gone).cloned().collect();
        for container in left {
            for network in self.daemon.joined.remove(&container).unwrap_or_default() {
                self.step()?;
                self.kernel.delete_link(network, &cable_name(&container));
                let Some(wish) = self.daemon.wishes.get_mut(&network) else { continue };
                if let Some(port) = wish.ports.remove(&container)
                    && wish.is_claimed(&port)
                {
                    self.settle(network)?;
                }
            }
        }
        Ok(())
    }

    fn join(&mut self, local: &Local) -> Result<(), Stop> {
        if self.daemon.joined.contains_key(&local.container) {
            return Ok(());
        }
        let Some(pid) = self.kernel.pid_of(&local.container) else { return Err(Stop::Later) };
        for (number, (network, addresses)) in local.places.iter().enumerate() {
            self.ensure(*network)?;
            let addresses = wishes::cidrs(addresses).map_err(|error| Stop::Wrong(error.to_string()))?;
            let hosts: Vec<_> = addresses.iter().map(|cidr| cidr.address).collect();
            let mac = wishes::mac(&hosts).ok_or_else(|| Stop::Wrong(format!("{} has no address", local.container)))?;
            let (endpoint, interface) = (local.container.clone(), format!("eth{number}"));
            self.attach(*network, &OverlayPort { endpoint, pid, interface, addresses, mac })?;
        }
        let networks = local.places.iter().map(|(network, _)| *network).collect();
        self.daemon.joined.insert(local.container.clone(), networks);
        Ok(())
    }

    fn follow(&mut self, id: NetworkId) -> Result<(), Stop> {
        if !self.knowledge.networks.get(&id).is_some_and(|network| wishes::is_overlay(network)) {
            let used = self.daemon.joined.values().any(|networks| networks.contains(&id));
            if !used && self.daemon.wishes.remove(&id).is_some() {
                self.remove(id)?;
            }
            return Ok(());
        }
        self.ensure(id)?;
        let view = (self.knowledge.view)(id);
        let (peers, services) = (wishes::peers(&view), wishes::services(&view));
        let Some(wish) = self.daemon.wishes.get_mut(&id) else { return Ok(()) };
        // what was wished for before has just been settled
        if wish.peers.replace(peers) != wish.peers {
            self.settle_tables(id)?;
        }
        let Some(wish) = self.daemon.wishes.get_mut(&id) else { return Ok(()) };
        if wish.services.replace(services) != wish.services {
            self.apply_rules(id)?;
            self.settle_tables(id)?;
        }
        Ok(())
    }

    fn ensure(&mut self, id: NetworkId) -> Result<(), Stop> {
        let network = self.knowledge.networks.get(&id).ok_or(Stop::Later)?;
        let network = wishes::overlay(network, self.knowledge.attachments.get(&id)).map_err(|_| Stop::Later)?;
        network.check().map_err(Stop::Wrong)?;
        self.kernel.overlays.entry(id).or_default();
        let wish = self.daemon.wishes.entry(id).or_insert_with(|| OverlayWish::new(network.clone()));
        wish.network = network;
        self.settle(id)?;
        self.repair(id)
    }

    fn settle(&mut self, id: NetworkId) -> Result<(), Stop> {
        let Some(wish) = self.daemon.wishes.get(&id) else { return Ok(()) };
        let plan = wish.plan(self.knowledge.underlay);
        self.make(id, plan)
    }

    fn settle_tables(&mut self, id: NetworkId) -> Result<(), Stop> {
        let Some(wish) = self.daemon.wishes.get(&id) else { return Ok(()) };
        let plan = wish.tables(self.knowledge.underlay);
        self.make(id, plan)
    }

    fn make(&mut self, id: NetworkId, plan: NetPlan) -> Result<(), Stop> {
        let (Some(wish), Some(overlay)) = (self.daemon.wishes.get(&id), self.kernel.overlays.get(&id)) else {
            return Ok(());
        };
        let observed = overlay.namespace.observe(&plan);
        let plan = wish.without_missing_cables(plan, &observed);
        self.execute(id, &diff(&observed, &plan))
    }

    fn execute(&mut self, id: NetworkId, steps: &[Step]) -> Result<(), Stop> {
        for step in steps {
            self.step()?;
            let mut done = self.kernel.execute(id, step);
            if let Err(Refusal::VniTaken(by)) = done {
                if self.daemon.wishes.contains_key(&by) {
                    return Err(Stop::Later);
                }
                // a network of an earlier life, which this daemon was never told to remove
                self.remove(by)?;
                done = self.kernel.execute(id, step);
            }
            match done {
                Ok(()) => {}
                Err(Refusal::VniTaken(_)) => return Err(Stop::Later),
                Err(Refusal::Wrong(why)) => return Err(Stop::Wrong(why)),
            }
        }
        Ok(())
    }

    fn repair(&mut self, id: NetworkId) -> Result<(), Stop> {
        self.apply_rules(id)?;
        let Some(wish) = self.daemon.wishes.get(&id) else { return Ok(()) };
        let broken = wish.ports.values().filter(|port| !self.kernel.carries(id, &cable_name(&port.endpoint)));
        let alive = |port: &&OverlayPort| self.kernel.pid_of(&port.endpoint) == Some(port.pid);
        let broken: Vec<OverlayPort> = broken.filter(alive).cloned().collect();
        broken.iter().try_for_each(|port| self.attach(id, port))
    }

    fn apply_rules(&mut self, id: NetworkId) -> Result<(), Stop> {
        let Some(rules) = self.daemon.wishes.get(&id).and_then(OverlayWish::rules) else { return Ok(()) };
        let table = overlay_table(&rules);
        if self.kernel.overlays.get(&id).is_some_and(|overlay| overlay.table != table) {
            self.step()?;
            if let Some(overlay) = self.kernel.overlays.get_mut(&id) {
                overlay.table = table;
            }
        }
        Ok(())
    }

    fn attach(&mut self, id: NetworkId, port: &OverlayPort) -> Result<(), Stop> {
        let name = cable_name(&port.endpoint);
        if !self.kernel.is_pair(id, &name, port.pid, &port.interface) {
            let inside = self.kernel.containers.get(&port.pid);
            if inside.is_some_and(|inside| inside.namespace.links().any(|link| link == port.interface)) {
                return Err(Stop::Wrong(format!("{} has another interface {}", port.endpoint, port.interface)));
            }
            self.step()?;
            self.kernel.delete_link(id, &name);
        }
        let Some(wish) = self.daemon.wishes.get(&id) else { return Ok(()) };
        let (cable, interface) = (overlay::cable(&wish.network, port), overlay::interface(&wish.network, port));
        let Some(overlay) = self.kernel.overlays.get(&id) else { return Ok(()) };
        self.execute(id, &diff(&overlay.namespace.observe(&cable), &cable))?;
        let Some(inside) = self.kernel.containers.get(&port.pid) else { return Ok(()) };
        for step in diff(&inside.namespace.observe(&interface), &interface) {
            self.step()?;
            self.kernel.execute_inside(port.pid, &step).map_err(|refusal| Stop::Wrong(format!("{refusal:?}")))?;
        }
        let Some(wish) = self.daemon.wishes.get_mut(&id) else { return Ok(()) };
        let before = wish.ports.insert(port.endpoint.clone(), port.clone());
        let was_there = before.is_some_and(|before| before.mac == port.mac && before.addresses == port.addresses);
        if !was_there && wish.is_claimed(port) {
            self.settle(id)?;
        }
        Ok(())
    }

    /// Removes a network's namespace, link by link.
    fn remove(&mut self, id: NetworkId) -> Result<(), Stop> {
        for link in self.kernel.own_links(id) {
            self.step()?;
            self.kernel.delete_link(id, &link);
        }
        self.step()?;
        self.kernel.overlays.remove(&id);
        Ok(())
    }

    /// Removes namespaces of networks that this node has no part in: of an earlier life, which ended before it came to it.
    fn retain(&mut self) -> Result<(), Stop> {
        let kept = |id: &NetworkId| {
            self.daemon.wishes.contains_key(id)
                || self.knowledge.networks.contains_key(id)
                || self.knowledge.local.iter().any(|one| one.places.iter().any(|(network, _)| network == id))
        };
        let left: Vec<NetworkId> = self.kernel.overlays.keys().copied().filter(|id| !kept(id)).collect();
        left.into_iter().try_for_each(|id| self.remove(id))
    }

    /// What is still to be done for a network. Nothing, once it was followed.
    pub fn due(&self, id: NetworkId) -> Vec<Step> {
        let (Some(wish), Some(overlay)) = (self.daemon.wishes.get(&id), self.kernel.overlays.get(&id)) else {
            return Vec::new();
        };
        let plan = wish.plan(self.knowledge.underlay);
        diff(&overlay.namespace.observe(&plan), &plan)
    }
}
