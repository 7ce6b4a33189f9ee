//! Every host's data plane: a modelled kernel ([`kernel`]), and a daemon that makes it follow the gossip and the managers'
//! word ([`daemon`]) by the plans and steps that a node makes ([`network_plan`]).
//!
//! A daemon has its turn when the world is looked at, if anything changed for it. Faults, drawn from a source of their own: the
//! daemon dies in the middle of a turn, so that only the first of its steps were made, and another one finds the kernel as
//! it is; and somebody takes away entries, links or tables by hand, which the next audit mends. Checked after each turn:
//! another one would change nothing. How packets then go is looked at in [`walk`].

mod daemon;
mod kernel;
mod walk;

use std::collections::BTreeSet;
use std::time::Duration;

use network_plan::overlay::{BRIDGE, VXLAN};
use network_plan::{Step, Underlay};
use swarm_gossip::view::network_view;
use swarm_types::*;

use crate::endpoints;
use crate::gossip::{Member, Talk, address};
use crate::host::Host;
use crate::invariants::Digest;
pub(crate) use daemon::Local;
use daemon::{Daemon, Knowledge, Stop, Work};
use kernel::Kernel;

const PORT: u16 = 4789;
/// A daemon that starts leaves everything as it is for so long, as a node's does.
const HOLD: Duration = Duration::from_secs(2);
/// So often it compares the kernel with what it should have, as a node's does.
const AUDIT: Duration = Duration::from_secs(30);
/// Of so many turns one is cut short by the daemon's death, and in so many looks somebody changes something by hand.
const DEATHS: u64 = 6;
const DRIFTS: u64 = 12;
/// A daemon that dies has made less than so many steps.
const LONGEST: u64 = 60;

/// One host's data plane.
#[derive(Default)]
pub(crate) struct Plane {
    kernel: Kernel,
    daemon: Daemon,
    /// Whose it is, in which life and since which boot.
    node: Option<NodeId>,
    life: u64,
    boots: u64,
    since: Timestamp,
    audited: Timestamp,
    /// What the daemon's last turn was made of.
    seen: Option<(u64, u64, u64)>,
    /// What it could not have then.
    again: BTreeSet<NetworkId>,
    /// Networks in which somebody changed something since the last audit.
    drifted: BTreeSet<NetworkId>,
    /// Whether it has followed all that the host knows.
    pub follows: bool,
}

pub(crate) struct Planes {
    pub hosts: Vec<Plane>,
    random: IdSource,
    digest: Digest,
}

impl Planes {
    pub fn new(seed: u64, hosts: usize) -> Self {
        Self {
            hosts: (0..hosts).map(|_| Plane::default()).collect(),
            // Far from what the world and the gossip draw with the same seed.
            random: IdSource::from_seed(seed ^ 0x0e1a_4000_0e1a_4000),
            digest: Digest::default(),
        }
    }

    /// Lets every daemon follow. `faults`: it may fail in doing so; `at_rest`: all is audited.
    pub fn follow(
        &mut self,
        talk: &Talk,
        hosts: &[Host],
        now: Timestamp,
        faults: bool,
        at_rest: bool,
    ) -> Result<(), String> {
        for (number, host) in hosts.iter().enumerate() {
            let (Some(plane), Some(member)) = (self.hosts.get_mut(number), talk.members.get(number)) else { continue };
            let mut fate = Fate { random: &mut self.random, faults, made: 0 };
            plane
                .turn(&Place { number, host, member, now, at_rest }, &mut fate)
                .map_err(|reason| format!("host {number}'s data plane: {reason}"))?;
            self.digest.add(fate.made);
        }
        Ok(())
    }

    /// Of all steps that were made.
    pub fn digest(&self) -> u64 {
        self.digest.value()
    }
}

/// A host when its daemon has its turn.
struct Place<'a> {
    number: usize,
    host: &'a Host,
    member: &'a Member,
    now: Timestamp,
    at_rest: bool,
}

/// What befalls it.
struct Fate<'a> {
    random: &'a mut IdSource,
    faults: bool,
    /// Steps that were made.
    made: u64,
}

impl Fate<'_> {
    /// Whether a fault that comes once in so many times comes now.
    fn strikes(&mut self, times: u64) -> bool {
        self.faults && self.random.below(times) == 0
    }
}

impl Plane {
    fn turn(&mut self, place: &Place<'_>, fate: &mut Fate<'_>) -> Result<(), String> {
        let Place { number, host, member, now, at_rest } = *place;
        let local = self.world_goes_on(host, member);
        let Some(gossip) = &member.gossip else {
            self.follows = false;
            return Ok(());
        };
        if fate.strikes(DRIFTS) {
            self.drift(fate.random);
        }
        let holds = now.since(member.since) < HOLD;
        let audit = !holds && (at_rest || now.since(self.audited) >= AUDIT);
        let seen = (host.runtime.changes(), host.facts.changes, member.heard);
        if self.seen == Some(seen) && self.again.is_empty() && !audit {
            return Ok(());
        }
        let (addr, id) = (address(number), host.node);
        let me = NetworkPeer { id, name: String::new(), addr, data_path: addr.ip() };
        let peers = gossip.peers().cloned().chain([me]).map(|peer| (peer.id, peer)).collect();
        let view = |network| network_view(id, network, gossip.records(), &peers);
        let knowledge = Knowledge {
            underlay: Underlay { data_path: addr.ip(), port: PORT },
            networks: &host.facts.networks,
            attachments: &host.facts.attachments,
            local: &local,
            view: &view,
        };
        if fate.strikes(DEATHS) {
            let left = Some(fate.random.below(LONGEST));
            match self.work(&knowledge, left, fate, |work| work.turn(holds, audit)) {
                Ok(_) | Err(Stop::Died | Stop::Later) => {}
                Err(Stop::Wrong(why)) => return Err(why),
            }
            self.daemon = Daemon::default();
        }
        let again = self.work(&knowledge, None, fate, |work| match work.turn(holds, audit) {
            // what one network waited for may be free since
            Ok(again) if !again.is_empty() => work.turn(holds, audit),
            other => other,
        });
        self.again = again.map_err(|stop| format!("{stop:?}"))?;
        if !holds {
            for network in host.facts.networks.keys() {
                if self.again.contains(network) {
                    continue;
                }
                if let Some(step) = self.work(&knowledge, None, fate, |work| work.due(*network)).first() {
                    return Err(format!("network {network}: after all was done, there is still to do: {step:?}"));
                }
            }
        }
        (self.seen, self.follows) = (Some(seen), !holds);
        if audit {
            self.audited = now;
        }
        // to follow a network is to compare all of it
        self.drifted.clear();
        Ok(())
    }

    fn work<T>(
        &mut self,
        knowledge: &Knowledge<'_>,
        left: Option<u64>,
        fate: &mut Fate<'_>,
        what: impl FnOnce(&mut Work<'_>) -> T,
    ) -> T {
        let mut work = Work { daemon: &mut self.daemon, kernel: &mut self.kernel, knowledge, left, made: 0 };
        let done = what(&mut work);
        fate.made += work.made;
        done
    }

    /// What happens without the daemon: containers and power come and go, and so do daemons. The containers that run.
    fn world_goes_on(&mut self, host: &Host, member: &Member) -> Vec<Local> {
        if self.boots != host.boots {
            self.kernel = Kernel::default();
        }
        if self.life != host.life || self.boots != host.boots || self.since != member.since {
            (self.daemon, self.seen, self.drifted) = (Daemon::default(), None, BTreeSet::new());
        }
        if self.node != Some(host.node) {
            // who leaves a swarm takes its networks down
            self.kernel = Kernel::default();
        }
        (self.node, self.life, self.boots, self.since) = (Some(host.node), host.life, host.boots, member.since);
        let local: Vec<Local> = endpoints::places(host);
        self.kernel.run(&local.iter().map(|one| one.container.clone()).collect());
        local
    }

    /// Somebody changes something by hand.
    fn drift(&mut self, random: &mut IdSource) {
        let count = self.kernel.overlays.len() as u64;
        let Some(place) = usize::try_from(random.below(count.max(1))).ok() else { return };
        let Some((id, overlay)) = self.kernel.overlays.iter_mut().nth(place) else { return };
        let id = *id;
        self.drifted.insert(id);
        let cables: Vec<String> = overlay.cables.keys().cloned().collect();
        let cable = usize::try_from(random.below(cables.len().max(1) as u64)).ok().and_then(|n| cables.get(n)).cloned();
        let namespace = &mut overlay.namespace;
        match random.below(9) {
            0 => overlay.table = None,
            1 => drop(self.kernel.delete_link(id, VXLAN)),
            2 => drop(self.kernel.delete_link(id, BRIDGE)),
            3 => drop(namespace.set_down(if random.below(2) == 0 { VXLAN } else { BRIDGE })),
            4 => drop(cable.map(|cable| self.kernel.delete_link(id, &cable))),
            5 => drop(namespace.unplug(cable.as_deref().unwrap_or(VXLAN))),
            6 => drop(namespace.execute(&Step::Neighbors(
                VXLAN.into(),
                one_of(namespace.neighbors(VXLAN), random),
                vec![],
            ))),
            7 => {
                let entry = one_of(namespace.forwarding(VXLAN), random);
                drop(namespace.execute(&Step::Forwarding(VXLAN.into(), entry, vec![])));
            }
            _ => {
                let addresses = namespace.addresses_of(BRIDGE).iter().copied().collect();
                for cidr in one_of(addresses, random) {
                    drop(namespace.execute(&Step::RemoveAddress(BRIDGE.into(), cidr)));
                }
            }
        }
    }
}

fn one_of<T>(all: BTreeSet<T>, random: &mut IdSource) -> Vec<T> {
    let place = usize::try_from(random.below(all.len().max(1) as u64)).unwrap_or(0);
    all.into_iter().nth(place).into_iter().collect()
}
