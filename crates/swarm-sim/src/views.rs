//! What every host makes of the gossip must be what the others' containers are.
//!
//! Checked all the time, for hosts that have reached each other well for a while, whatever becomes of the managers
//! meanwhile: they know each other and each other's endpoints, and the views of their networks name exactly these, each
//! with its addresses and its node's data path, and behind each service's virtual address exactly its serving tasks. And
//! nowhere do two endpoints that are there share an address. At rest all that is compared with the managers' store.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use swarm_gossip::view::{NetworkView, RemoteEndpoint, network_view};
use swarm_manager::store::Store;
use swarm_types::*;

use crate::data_plane::Planes;
use crate::endpoints;
use crate::gossip::{Member, Talk, address};
use crate::host::Host;
use crate::network::Network;
use crate::world::World;

/// Hosts that reach each other again have found together after so long.
const REUNION: Duration = Duration::from_secs(15);
/// Among hosts that are together no word takes longer than this.
pub(crate) const NEWS: Duration = Duration::from_secs(2);

/// Checks what all hosts know now. What changed less than `news` ago may be known or not.
pub(crate) fn check(
    talk: &Talk,
    hosts: &[Host],
    network: &Network,
    now: Timestamp,
    news: Duration,
    planes: &Planes,
) -> Result<(), String> {
    nobody_shares_an_address(talk)?;
    // Who was here or gone a short while ago may be known or not, and so may whom it was taken for before.
    let steady = talk.members.iter().all(|member| now.since(member.since) >= REUNION);
    let up = talk.members.iter().filter(|member| member.gossip.is_some()).count();
    for (number, host) in hosts.iter().enumerate() {
        let Some(gossip) = talk.members.get(number).and_then(|member| member.gossip.as_ref()) else { continue };
        let stats = gossip.stats();
        if stats != swarm_gossip::Stats::default() {
            return Err(format!("host {number} refused gossip: {stats:?}"));
        }
        let is_near = |other: usize| near(talk, network, now, number, other);
        let near: BTreeMap<usize, &Member> =
            talk.members.iter().enumerate().filter(|(other, _)| is_near(*other)).collect();
        let me =
            NetworkPeer { id: host.node, name: String::new(), addr: address(number), data_path: address(number).ip() };
        let peers = gossip.peers().cloned().chain([me]).map(|peer| (peer.id, peer)).collect();
        let seen = Seen { number, near, news, now, peers, records: gossip.records().collect() };
        seen.knows_the_near(steady && seen.near.len() == up)?;
        for id in host.facts.networks.keys() {
            let view = network_view(host.node, *id, seen.records.iter().copied(), &seen.peers);
            seen.names_what_is_there(*id, &view)
                .and_then(|()| seen.spreads_connections(*id, &view))
                .map_err(|reason| format!("host {number} on network {id}: {reason}"))?;
            let Some(plane) = planes.hosts.get(number).filter(|plane| plane.is_steady(*id)) else { continue };
            plane
                .read_back(*id, &view)
                .and_then(|made| seen.names_what_is_there(*id, &made).and(seen.spreads_connections(*id, &made)))
                .map_err(|reason| format!("the kernel of host {number} on network {id}: {reason}"))?;
        }
    }
    planes.check_ways(talk, hosts, now, news, &|one, other| near(talk, network, now, one, other))
}

/// Whether one host must know all of another.
fn near(talk: &Talk, network: &Network, now: Timestamp, one: usize, other: usize) -> bool {
    one == other || talk.in_touch(one, other, network).is_some_and(|since| now.since(since) >= REUNION)
}

fn nobody_shares_an_address(talk: &Talk) -> Result<(), String> {
    let mut holders: BTreeMap<(NetworkId, IpAddr), (usize, &str)> = BTreeMap::new();
    for (number, member) in talk.members.iter().enumerate() {
        for told in member.told.values() {
            for ip in &told.record.addresses {
                let holder = (number, told.record.id.as_str());
                if let Some(other) = holders.insert((told.record.network, *ip), holder) {
                    let network = told.record.network;
                    return Err(format!("{ip} on network {network} belongs to both {other:?} and {holder:?}"));
                }
            }
        }
    }
    Ok(())
}

/// What one host knows, and what it should.
struct Seen<'a> {
    number: usize,
    /// The hosts that it must know all of, and itself.
    near: BTreeMap<usize, &'a Member>,
    news: Duration,
    now: Timestamp,
    peers: BTreeMap<NodeId, NetworkPeer>,
    records: Vec<(NodeId, &'a EndpointRecord)>,
}

impl<'a> Seen<'a> {
    /// What a host says, each with whether all who are near must have heard it.
    fn said(&self, member: &'a Member) -> impl Iterator<Item = (&'a EndpointRecord, bool)> {
        let (now, news) = (self.now, self.news);
        let told = member.told.values().map(move |told| (&told.record, now.since(told.since) >= news));
        let past = member.past.iter().filter(move |(until, _)| now.since(*until) < news);
        told.chain(past.map(|(_, record)| (record, false)))
    }

    /// `all`: nobody else is there, and nobody came or went lately.
    fn knows_the_near(&self, all: bool) -> Result<(), String> {
        let number = self.number;
        for (other, member) in &self.near {
            let Some(owner) = member.node else { continue };
            if !self.peers.contains_key(&owner) {
                return Err(format!("host {number} does not see host {other}"));
            }
            let held: Vec<&EndpointRecord> =
                self.records.iter().filter(|(of, _)| *of == owner).map(|(_, record)| *record).collect();
            if let Some((record, _)) = self.said(member).find(|(record, sure)| *sure && !held.contains(record)) {
                return Err(format!("host {number} does not know what host {other} says: {record:?}"));
            }
            if let Some(old) = held.iter().find(|record| !self.said(member).any(|(said, _)| said == **record)) {
                return Err(format!("host {number} knows what host {other} does not say any more: {old:?}"));
            }
        }
        let known: BTreeSet<NodeId> = self.near.values().filter_map(|member| member.node).collect();
        match self.peers.keys().find(|node| all && !known.contains(node)) {
            Some(ghost) => Err(format!("host {number} sees node {ghost}, which is gone")),
            None => Ok(()),
        }
    }

    /// The other hosts' endpoints.
    fn names_what_is_there(&self, id: NetworkId, view: &NetworkView) -> Result<(), String> {
        for (other, member) in self.near.iter().filter(|(other, _)| **other != self.number) {
            let data_path = address(*other).ip();
            let remote = |record: &EndpointRecord| RemoteEndpoint { addresses: record.addresses.clone(), data_path };
            let on_it = || self.said(member).filter(|(record, _)| record.network == id);
            if let Some((lost, _)) = on_it().find(|(record, sure)| *sure && !view.remote.contains(&remote(record))) {
                return Err(format!("{lost:?} of host {other} is not in the view"));
            }
            let there: BTreeSet<RemoteEndpoint> = on_it().map(|(record, _)| remote(record)).collect();
            if let Some(ghost) = view.remote.iter().find(|one| one.data_path == data_path && !there.contains(one)) {
                return Err(format!("{ghost:?} is in the view and not on host {other}"));
            }
        }
        Ok(())
    }

    /// The services' virtual addresses, and who stands behind them.
    fn spreads_connections(&self, id: NetworkId, view: &NetworkView) -> Result<(), String> {
        let mut wanted: BTreeMap<ServiceId, Wanted<'_>> = BTreeMap::new();
        let said = self.near.values().flat_map(|member| self.said(member));
        // Of the hosts that may be out of reach anything may be known.
        let near: BTreeSet<NodeId> = self.near.values().filter_map(|member| member.node).collect();
        let others = self.records.iter().filter(|(owner, _)| !near.contains(owner)).map(|(_, record)| (*record, false));
        for (record, sure) in said.chain(others).filter(|(record, _)| record.network == id) {
            let Some(binding) = &record.service else { continue };
            let wanted = wanted.entry(binding.id).or_default();
            wanted.there |= sure && !binding.virtual_ips.is_empty();
            wanted.virtual_ips.insert(&binding.virtual_ips);
            if record.serving {
                wanted.may.extend(&record.addresses);
                wanted.must.extend(record.addresses.iter().filter(|_| sure));
            }
        }
        for service in &view.services {
            let Some(wanted) = wanted.get(&service.id) else {
                return Err(format!("service {} is in the view, and no task of it is there", service.name));
            };
            let backends: BTreeSet<IpAddr> = service.backends.iter().copied().collect();
            if !wanted.virtual_ips.contains(&service.virtual_ips) {
                return Err(format!("service {} has {:?}", service.name, service.virtual_ips));
            }
            if !wanted.must.is_subset(&backends) || !backends.is_subset(&wanted.may) {
                let (name, must) = (&service.name, &wanted.must);
                return Err(format!("behind service {name} are {backends:?}, and its serving tasks are {must:?}"));
            }
        }
        let lost = |(id, wanted): &(&ServiceId, &Wanted<'_>)| {
            wanted.there && !view.services.iter().any(|service| service.id == **id)
        };
        match wanted.iter().find(lost) {
            Some((service, _)) => Err(format!("service {service} is not in the view")),
            None => Ok(()),
        }
    }
}

/// What is to be known of a service on a network.
#[derive(Default)]
struct Wanted<'a> {
    there: bool,
    virtual_ips: BTreeSet<&'a Vec<IpAddr>>,
    must: BTreeSet<IpAddr>,
    may: BTreeSet<IpAddr>,
}

/// Once everything is settled: what is told of is what the managers decided, no more and no less. That all hosts know it
/// is checked besides.
pub(crate) fn at_rest(world: &World<'_>, store: &Store) -> Result<(), String> {
    for task in store.tasks().iter().filter(|task| is_running(task)) {
        let host = task.node_id.and_then(|node| world.host_of(node)).ok_or("a task has an unknown node")?;
        let told = &world.talk.members.get(host).ok_or("a host without gossip")?.told;
        let service = task.service_id.and_then(|id| store.services().get(id));
        for place in &task.networks {
            let Some(network) = store.networks().get(place.network_id).filter(|n| n.driver_name() == "overlay") else {
                continue;
            };
            let mut of_it = told.values().map(|told| &told.record).filter(|record| {
                record.network == network.id && record.kind != EndpointKind::LoadBalancer && record.name == task.name()
            });
            let addresses = endpoints::addresses(&place.addresses);
            let Some(record) = of_it.next().filter(|record| record.addresses == addresses) else {
                return Err(format!("host {host} does not tell of task {} at {addresses:?}", task.name()));
            };
            if !record.serving {
                return Err(format!("task {} runs and takes no connections", task.name()));
            }
            let Some(service) = service.filter(|service| service.spec_version == task.spec_version) else { continue };
            let vips = service.endpoint.iter().flat_map(|endpoint| &endpoint.virtual_ips);
            let vips =
                vips.filter(|vip| vip.network_id == network.id).filter_map(|vip| endpoints::address(&vip.address));
            let vips: Vec<IpAddr> = vips.collect();
            if record.service.as_ref().is_none_or(|binding| binding.virtual_ips != vips) {
                return Err(format!("task {} is told of behind other addresses than {vips:?}", task.name()));
            }
        }
    }
    let names: BTreeSet<String> =
        store.tasks().iter().filter(|task| !task.status.state.is_terminal()).map(|task| task.name()).collect();
    let told = world.talk.members.iter().flat_map(|member| member.told.values());
    let mut told = told.map(|told| &told.record).filter(|record| record.kind != EndpointKind::LoadBalancer);
    match told.find(|record| !names.contains(&record.name)) {
        Some(record) => Err(format!("{} is told of, and no manager knows it", record.name)),
        None => Ok(()),
    }
}

fn is_running(task: &Task) -> bool {
    task.status.state == TaskState::Running && task.desired_state == DesiredState::Running
}
