//! What a node makes of the records for one network: whom to reach where, which names mean what, and who takes the
//! connections to which virtual address. A pure function of records and members, so that nodes with equal records have
//! equal views, and a node needs no manager for any of it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use swarm_types::*;

/// One network as one node sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkView {
    /// The endpoints on other nodes.
    pub remote: BTreeSet<RemoteEndpoint>,
    /// The services with virtual addresses, in the order of their ids.
    pub services: Vec<ServiceView>,
    /// What names stand for. A name may be in several entries: their addresses add up.
    pub names: Vec<NameView>,
}

/// An endpoint on another node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RemoteEndpoint {
    /// Its addresses, the IPv4 one first.
    pub addresses: Vec<IpAddr>,
    /// Where its node takes VXLAN packets.
    pub data_path: IpAddr,
}

/// A service behind virtual addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceView {
    /// Which service.
    pub id: ServiceId,
    /// Its name.
    pub name: String,
    /// Its virtual addresses; may be empty on a network where it only publishes ports.
    pub virtual_ips: Vec<IpAddr>,
    /// The addresses of the tasks that take connections, in order.
    pub backends: Vec<IpAddr>,
    /// The ports that it publishes through the routing mesh.
    pub ports: Vec<PortConfig>,
}

/// What some names stand for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameView {
    /// The names, none of them qualified.
    pub names: Vec<String>,
    /// Their addresses.
    pub addresses: Vec<IpAddr>,
    /// What a reverse look-up of the addresses answers, without the network's name; `None`: they are another's, or
    /// a service's virtual ones.
    pub reverse: Option<String>,
}

/// Digits of a container's id that serve as its name.
const SHORT_ID: usize = 12;

/// The view of `network` from the node `me`.
///
/// A service stays in the view while any of its tasks has an endpoint there, taking connections or not: a connection to
/// a service that has no healthy task is refused at once, instead of hanging on an address that nobody answers.
pub fn network_view<'a>(
    me: NodeId,
    network: NetworkId,
    records: impl Iterator<Item = (NodeId, &'a EndpointRecord)>,
    peers: &BTreeMap<NodeId, NetworkPeer>,
) -> NetworkView {
    let mut view = NetworkView::default();
    let mut services: BTreeMap<ServiceId, Gathered<'a>> = BTreeMap::new();
    for (owner, record) in records.filter(|(_, record)| record.network == network) {
        if owner != me {
            // Without its node's address there is no way to it; the member's own event brings another look.
            let Some(peer) = peers.get(&owner) else { continue };
            view.remote.insert(RemoteEndpoint { addresses: record.addresses.clone(), data_path: peer.data_path });
        }
        if record.kind == EndpointKind::LoadBalancer {
            continue;
        }
        let mut names = vec![record.name.clone()];
        names.extend(record.aliases.iter().cloned());
        names.extend(record.id.get(..SHORT_ID).map(str::to_owned));
        names.retain(|name| !name.is_empty());
        names.dedup();
        let reverse = Some(record.name.clone());
        view.names.push(NameView { names, addresses: record.addresses.clone(), reverse });
        if let Some(binding) = &record.service {
            let gathered = services.entry(binding.id).or_insert_with(|| Gathered::new(binding));
            gathered.newest(binding);
            if record.serving {
                gathered.backends.extend(record.addresses.iter().copied());
            }
        }
    }
    for (id, gathered) in services {
        gathered.enter(id, &mut view);
    }
    view
}

/// A service's records on one network, put together.
struct Gathered<'a> {
    binding: &'a ServiceBinding,
    ports: BTreeSet<PortConfig>,
    backends: BTreeSet<IpAddr>,
}

impl<'a> Gathered<'a> {
    fn new(binding: &'a ServiceBinding) -> Self {
        Self { binding, ports: BTreeSet::new(), backends: BTreeSet::new() }
    }

    /// Tasks of before and after an update may say different things for a moment: the one that says more is taken, and
    /// which that is depends only on what is said, not on the order.
    fn newest(&mut self, binding: &'a ServiceBinding) {
        let rank = |one: &ServiceBinding| (one.virtual_ips.len(), one.aliases.len(), one.virtual_ips.clone());
        if rank(binding) > rank(self.binding) {
            self.binding = binding;
        }
        self.ports.extend(binding.ports.iter().cloned());
    }

    fn enter(self, id: ServiceId, view: &mut NetworkView) {
        let Self { binding, ports, backends } = self;
        let mut names = vec![binding.name.clone()];
        names.extend(binding.aliases.iter().filter(|alias| **alias != binding.name).cloned());
        let tasks = names.iter().map(|name| format!("tasks.{name}")).collect();
        let backends: Vec<IpAddr> = backends.into_iter().collect();
        // No reverse names: an address that is looked up backwards names a task, and a virtual one nobody, as in Docker.
        let addresses = if binding.virtual_ips.is_empty() { backends.clone() } else { binding.virtual_ips.clone() };
        view.names.push(NameView { names, addresses, reverse: None });
        view.names.push(NameView { names: tasks, addresses: backends.clone(), reverse: None });
        view.names.retain(|entry| !entry.addresses.is_empty());
        if !binding.virtual_ips.is_empty() || !ports.is_empty() {
            let virtual_ips = binding.virtual_ips.clone();
            let ports = ports.into_iter().collect();
            view.services.push(ServiceView { id, name: binding.name.clone(), virtual_ips, backends, ports });
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const NET: NetworkId = NetworkId::from_bits(7);

    fn node(n: u128) -> NodeId {
        NodeId::from_bits(n)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn task(id: char, address: &str, serving: bool, virtual_ips: &[&str]) -> EndpointRecord {
        EndpointRecord {
            network: NET,
            id: id.to_string().repeat(64),
            kind: EndpointKind::Task,
            name: format!("web.{id}"),
            addresses: vec![ip(address)],
            aliases: vec![],
            service: Some(ServiceBinding {
                id: ServiceId::from_bits(1),
                name: "web".into(),
                virtual_ips: virtual_ips.iter().map(|text| ip(text)).collect(),
                aliases: vec!["shop".into()],
                ports: vec![],
            }),
            serving,
        }
    }

    fn view(records: &[(NodeId, EndpointRecord)]) -> NetworkView {
        let peer = |n: u128| NetworkPeer {
            id: node(n),
            name: format!("node{n}"),
            addr: format!("192.0.2.{n}:7946").parse().unwrap(),
            data_path: ip(&format!("192.0.2.{n}")),
        };
        let peers = [1, 2].map(|n| (node(n), peer(n))).into();
        network_view(node(1), NET, records.iter().map(|(owner, record)| (*owner, record)), &peers)
    }

    fn addresses_of(view: &NetworkView, name: &str) -> Vec<IpAddr> {
        let entries = view.names.iter().filter(|entry| entry.names.iter().any(|one| one == name));
        entries.flat_map(|entry| entry.addresses.clone()).collect()
    }

    #[test]
    fn only_endpoints_of_other_nodes_are_remote() {
        let seen = view(&[
            (node(1), task('a', "10.0.1.3", true, &["10.0.1.2"])),
            (node(2), task('b', "10.0.1.4", true, &["10.0.1.2"])),
        ]);
        let remote = RemoteEndpoint { addresses: vec![ip("10.0.1.4")], data_path: ip("192.0.2.2") };
        assert_eq!(seen.remote, [remote].into());
    }

    #[test]
    fn a_service_is_known_by_its_virtual_address_and_its_tasks_by_their_own() {
        let seen = view(&[
            (node(1), task('a', "10.0.1.3", true, &["10.0.1.2"])),
            (node(2), task('b', "10.0.1.4", true, &["10.0.1.2"])),
        ]);
        for name in ["web", "shop"] {
            assert_eq!(addresses_of(&seen, name), [ip("10.0.1.2")]);
            assert_eq!(addresses_of(&seen, &format!("tasks.{name}")), [ip("10.0.1.3"), ip("10.0.1.4")]);
        }
        assert_eq!(addresses_of(&seen, "web.b"), [ip("10.0.1.4")]);
        assert_eq!(addresses_of(&seen, "bbbbbbbbbbbb"), [ip("10.0.1.4")], "the short id");
        assert_eq!(seen.services[0].backends, [ip("10.0.1.3"), ip("10.0.1.4")]);
        let backwards: Vec<&str> = seen.names.iter().filter_map(|entry| entry.reverse.as_deref()).collect();
        assert_eq!(backwards, ["web.a", "web.b"], "the virtual address is nobody's");
    }

    #[test]
    fn a_task_that_does_not_serve_is_reachable_but_takes_no_connections() {
        let seen = view(&[
            (node(2), task('a', "10.0.1.3", false, &["10.0.1.2"])),
            (node(2), task('b', "10.0.1.4", true, &["10.0.1.2"])),
        ]);
        assert_eq!(seen.remote.len(), 2);
        assert_eq!(seen.services[0].backends, [ip("10.0.1.4")]);
        assert_eq!(addresses_of(&seen, "tasks.web"), [ip("10.0.1.4")]);
        assert_eq!(addresses_of(&seen, "web.a"), [ip("10.0.1.3")]);
    }

    #[test]
    fn without_a_serving_task_the_virtual_address_stays_and_has_no_backends() {
        let seen = view(&[(node(2), task('a', "10.0.1.3", false, &["10.0.1.2"]))]);
        assert_eq!(addresses_of(&seen, "web"), [ip("10.0.1.2")]);
        assert!(addresses_of(&seen, "tasks.web").is_empty());
        assert!(seen.services[0].backends.is_empty());
    }

    #[test]
    fn without_a_virtual_address_the_name_means_the_serving_tasks() {
        let seen = view(&[
            (node(1), task('a', "10.0.1.3", true, &[])),
            (node(2), task('b', "10.0.1.4", true, &[])),
            (node(2), task('c', "10.0.1.5", false, &[])),
        ]);
        assert_eq!(addresses_of(&seen, "web"), [ip("10.0.1.3"), ip("10.0.1.4")]);
        assert!(seen.services.is_empty());
    }

    #[test]
    fn load_balancers_are_reachable_and_nameless() {
        let mut record = task('l', "10.0.1.9", false, &[]);
        (record.kind, record.service) = (EndpointKind::LoadBalancer, None);
        let seen = view(&[(node(2), record)]);
        assert_eq!(seen.remote.len(), 1);
        assert!(seen.names.is_empty());
    }

    #[test]
    fn endpoints_of_nodes_that_are_not_members_are_left_out() {
        assert_eq!(view(&[(node(3), task('a', "10.0.1.3", true, &["10.0.1.2"]))]), NetworkView::default());
    }
}
