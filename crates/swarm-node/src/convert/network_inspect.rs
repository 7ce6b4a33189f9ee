//! What an inspected network of the swarm shows on a node that takes part in it: the containers there, the nodes, and
//! with `--verbose` the services. Pure.
//!
//! Source: what engines of Docker 28 answer to `GET /networks/{id}`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use overlay_network::{Cidr, INGRESS_ENDPOINT, Mac};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use swarm_types::{EndpointKind, EndpointRecord, Network, NetworkPeer, NodeId};

use crate::containers::{NetworkMember, endpoint_id};
use crate::networking::NetworkStatus;

/// Docker counts the marks of its load balancers from here.
const FIRST_BALANCER: usize = 256;

/// Hexadecimal digits of the name that a node has among the network's peers.
const PEER_NAME: usize = 12;

/// The `Containers` of an inspected network: those of this node, by their ids.
pub fn containers(members: Vec<NetworkMember>) -> Map<String, Value> {
    let shown = members.into_iter().map(|member| {
        let place = member.place.as_ref();
        let mac = place.map(|place| place.mac.to_string());
        let ipv4 = place.and_then(|place| place.ipv4()).map(|(ip, prefix)| format!("{ip}/{prefix}"));
        let ipv6 = place.and_then(|place| place.ipv6()).map(|(ip, prefix)| format!("{ip}/{prefix}"));
        (member.container, endpoint(&member.name, &member.endpoint, mac, ipv4, ipv6))
    });
    shown.collect()
}

fn endpoint(name: &str, id: &str, mac: Option<String>, ipv4: Option<String>, ipv6: Option<String>) -> Value {
    json!({
        "Name": name,
        "EndpointID": id,
        "MacAddress": mac.unwrap_or_default(),
        "IPv4Address": ipv4.unwrap_or_default(),
        "IPv6Address": ipv6.unwrap_or_default(),
    })
}

/// Adds to the swarm's form of a network what a node knows that takes part in it.
pub fn take_part(shown: &mut Value, status: &NetworkStatus, members: Vec<NetworkMember>, verbose: bool) {
    let network = &*status.network;
    let mut containers = containers(members);
    let own = status.endpoints.iter().filter(|(peer, _)| peer.id == status.node);
    for (_, record) in own.filter(|(_, record)| record.kind == EndpointKind::LoadBalancer) {
        containers.insert(balancer_sandbox(network), local_endpoint(network, record));
    }
    shown["Containers"] = Value::Object(containers);
    if shown["Labels"].is_null() {
        shown["Labels"] = json!({});
    }
    shown["Peers"] = status.peers.iter().map(peer).collect();
    if verbose {
        shown["Services"] = Value::Object(services(status));
    }
}

/// What stands for a node's load balancer where containers have their ids.
fn balancer_sandbox(network: &Network) -> String {
    match network.spec.ingress {
        true => INGRESS_ENDPOINT.to_owned(),
        false => format!("lb-{}", network.spec.annotations.name),
    }
}

/// Load balancers have no name in their records: Docker calls them by the network.
fn endpoint_name(network: &Network, record: &EndpointRecord) -> String {
    match record.kind {
        EndpointKind::LoadBalancer => format!("{}-endpoint", network.spec.annotations.name),
        EndpointKind::Task | EndpointKind::Container => record.name.clone(),
    }
}

fn local_endpoint(network: &Network, record: &EndpointRecord) -> Value {
    let of_family = |ipv4: bool| record.addresses.iter().copied().find(|ip| ip.is_ipv4() == ipv4);
    let text = |ip: IpAddr| format!("{ip}/{}", prefix(network, ip));
    endpoint(
        &endpoint_name(network, record),
        &endpoint_id(&network.id.to_string(), &record.id),
        record.addresses.first().map(|ip| Mac::of_ip(*ip).to_string()),
        of_family(true).map(text),
        of_family(false).map(text),
    )
}

/// That of the network's subnet that the address is in; a host's where there is none.
fn prefix(network: &Network, ip: IpAddr) -> u8 {
    let configs = network.ipam.iter().flat_map(|ipam| &ipam.configs);
    let mut subnets = configs.filter_map(|config| config.subnet.parse::<Cidr>().ok());
    let found = subnets.find(|subnet| subnet.contains(ip)).map(|subnet| subnet.prefix);
    found.unwrap_or(if ip.is_ipv4() { 32 } else { 128 })
}

fn peer(from: &NetworkPeer) -> Value {
    json!({"Name": peer_name(from.id), "IP": from.addr.ip().to_string()})
}

/// Docker's nodes draw such a name when they start; ours is made of the node's id, so that it stays.
fn peer_name(node: NodeId) -> String {
    let digest = Sha256::digest(format!("peer {node}"));
    let mut name: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    name.truncate(PEER_NAME);
    name
}

/// The endpoints of all nodes by their services. Containers that users attached and load balancers are of none: they
/// are under the empty name. A task is shown once it takes connections.
fn services(status: &NetworkStatus) -> Map<String, Value> {
    let mut by_name: BTreeMap<&str, Vec<&(NetworkPeer, EndpointRecord)>> = BTreeMap::new();
    for one in &status.endpoints {
        let (_, record) = one;
        if record.serving || record.kind == EndpointKind::LoadBalancer {
            by_name.entry(record.service.as_ref().map_or("", |service| &service.name)).or_default().push(one);
        }
    }
    // The empty name, if it is there, is the first.
    let unnamed = usize::from(by_name.contains_key(""));
    let numbered = by_name.into_iter().enumerate();
    numbered
        .map(|(at, (name, endpoints))| {
            let known = status.view.services.iter().find(|service| !name.is_empty() && service.name == name);
            let vip = known.and_then(|service| service.virtual_ips.first()).map(ToString::to_string);
            let ports = known.map(|service| service.ports.as_slice()).unwrap_or_default();
            let port = |port: &swarm_types::PortConfig| {
                format!("Target: {}, Publish: {}", port.target_port, port.published_port)
            };
            let index = if name.is_empty() { 0 } else { FIRST_BALANCER + at - unnamed };
            let service = json!({
                // as Go prints an address that is none
                "VIP": vip.unwrap_or_else(|| "<nil>".to_owned()),
                "Ports": ports.iter().map(port).collect::<Vec<_>>(),
                "LocalLBIndex": index,
                "Tasks": endpoints.into_iter().map(|one| task(&status.network, one)).collect::<Vec<_>>(),
            });
            (name.to_owned(), service)
        })
        .collect()
}

fn task(network: &Network, (peer, record): &(NetworkPeer, EndpointRecord)) -> Value {
    json!({
        "Name": endpoint_name(network, record),
        "EndpointID": endpoint_id(&network.id.to_string(), &record.id),
        "EndpointIP": record.addresses.first().map(ToString::to_string).unwrap_or_default(),
        "Info": {"Host IP": peer.data_path.to_string()},
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use swarm_gossip::view::network_view;
    use swarm_types::*;

    use super::*;

    fn node(n: u128) -> NetworkPeer {
        NetworkPeer {
            id: NodeId::from_bits(n),
            name: format!("node{n}"),
            addr: format!("192.0.2.{n}:7946").parse().unwrap(),
            data_path: format!("198.51.100.{n}").parse().unwrap(),
        }
    }

    fn shop(ingress: bool) -> Arc<Network> {
        let config = IpamConfig { subnet: "10.5.0.0/24".into(), ..IpamConfig::default() };
        let ipam = IpamOptions { configs: vec![config], ..IpamOptions::default() };
        let annotations = Annotations { name: "shop".into(), ..Annotations::default() };
        let spec = NetworkSpec { annotations, ingress, ..NetworkSpec::default() };
        let (id, meta) = (NetworkId::from_bits(7), Meta::default());
        Arc::new(Network { id, meta, spec, driver_state: None, ipam: Some(ipam), pending_delete: false })
    }

    fn record(kind: EndpointKind, id: &str, address: &str, service: Option<(&str, &[&str])>) -> EndpointRecord {
        let service = service.map(|(name, virtual_ips)| ServiceBinding {
            id: ServiceId::from_bits(u128::from(name.as_bytes()[0])),
            name: name.into(),
            virtual_ips: virtual_ips.iter().map(|text| text.parse().unwrap()).collect(),
            aliases: Vec::new(),
            ports: Vec::new(),
        });
        EndpointRecord {
            network: NetworkId::from_bits(7),
            id: id.into(),
            kind,
            name: if kind == EndpointKind::LoadBalancer { String::new() } else { format!("named-{id}") },
            addresses: vec![address.parse().unwrap()],
            aliases: Vec::new(),
            service,
            serving: kind != EndpointKind::LoadBalancer,
        }
    }

    /// What node 1 knows of these endpoints.
    fn status(ingress: bool, endpoints: Vec<(u128, EndpointRecord)>) -> NetworkStatus {
        let peers = vec![node(1), node(2)];
        let by_id = peers.iter().map(|peer| (peer.id, peer.clone())).collect();
        let records = endpoints.iter().map(|(n, record)| (NodeId::from_bits(*n), record));
        let view = network_view(NodeId::from_bits(1), NetworkId::from_bits(7), records, &by_id);
        let endpoints = endpoints.into_iter().map(|(n, record)| (node(n), record)).collect();
        NetworkStatus { node: NodeId::from_bits(1), network: shop(ingress), peers, view, endpoints }
    }

    fn shown(status: &NetworkStatus, verbose: bool) -> Value {
        let mut shown = crate::convert::network::network(&status.network);
        assert!(shown["Containers"].is_null() && shown["Labels"].is_null(), "{shown}");
        take_part(&mut shown, status, Vec::new(), verbose);
        shown
    }

    #[test]
    fn the_load_balancer_of_this_node_is_among_the_containers() {
        use EndpointKind::LoadBalancer;
        let balancers = |ingress| {
            let records = [
                (1, record(LoadBalancer, "lb-1", "10.5.0.4", None)),
                (2, record(LoadBalancer, "lb-2", "10.5.0.5", None)),
            ];
            shown(&status(ingress, records.into()), false)
        };
        let one = balancers(false);
        let expected = json!({"lb-shop": {
            "Name": "shop-endpoint",
            "EndpointID": endpoint_id(&NetworkId::from_bits(7).to_string(), "lb-1"),
            "MacAddress": "02:42:0a:05:00:04",
            "IPv4Address": "10.5.0.4/24",
            "IPv6Address": "",
        }});
        assert_eq!(one["Containers"], expected);
        assert_eq!((&one["Labels"], one.get("Services")), (&json!({}), None));
        let addresses: Vec<_> = one["Peers"].as_array().unwrap().iter().map(|peer| peer["IP"].clone()).collect();
        assert_eq!(addresses, ["192.0.2.1", "192.0.2.2"]);
        assert_ne!(one["Peers"][0]["Name"], one["Peers"][1]["Name"]);
        assert_eq!(one["Peers"][0]["Name"].as_str().unwrap().len(), 12);
        assert!(balancers(true)["Containers"]["ingress-sbox"].is_object(), "the routing mesh's has a name of its own");
    }

    #[test]
    fn services_are_shown_with_address_ports_and_tasks_of_all_nodes() {
        use EndpointKind::*;
        let vip: &[&str] = &["10.5.0.2"];
        let mut published = record(Task, "b", "10.5.0.7", Some(("web", vip)));
        let port = PortConfig { target_port: 80, published_port: 8080, ..PortConfig::default() };
        published.service.as_mut().unwrap().ports.push(port);
        let mut starting = record(Task, "c", "10.5.0.8", Some(("web", vip)));
        starting.serving = false;
        let services = shown(
            &status(
                false,
                vec![
                    (1, record(Task, "a", "10.5.0.6", Some(("web", vip)))),
                    (1, record(LoadBalancer, "lb-1", "10.5.0.4", None)),
                    (1, record(Container, "d", "10.5.0.9", None)),
                    (2, published),
                    (2, starting),
                    (2, record(Task, "e", "10.5.0.10", Some(("each", &[])))),
                ],
            ),
            true,
        )["Services"]
            .clone();
        let of = |name: &str| {
            let one = &services[name];
            let tasks = one["Tasks"].as_array().unwrap().iter();
            let tasks: Vec<_> = tasks.map(|task| (task["Name"].clone(), task["EndpointIP"].clone())).collect();
            (one["VIP"].clone(), one["Ports"].clone(), one["LocalLBIndex"].clone(), tasks)
        };
        let tasks = |all: &[(&str, &str)]| all.iter().map(|(name, ip)| (json!(name), json!(ip))).collect::<Vec<_>>();
        let web = tasks(&[("named-a", "10.5.0.6"), ("named-b", "10.5.0.7")]);
        assert_eq!(of("web"), (json!("10.5.0.2"), json!(["Target: 80, Publish: 8080"]), json!(257), web));
        assert_eq!(of("each"), (json!("<nil>"), json!([]), json!(256), tasks(&[("named-e", "10.5.0.10")])));
        let unnamed = tasks(&[("shop-endpoint", "10.5.0.4"), ("named-d", "10.5.0.9")]);
        assert_eq!(of(""), (json!("<nil>"), json!([]), json!(0), unnamed));
        assert_eq!(services["web"]["Tasks"][1]["Info"], json!({"Host IP": "198.51.100.2"}));
    }
}
