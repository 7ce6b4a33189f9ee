//! What the nodes' Docker APIs say to the ports that a lab publishes. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde_json::Value;

use crate::sandbox::Protocol;

/// Most ports that are forwarded; what comes after them is left out.
pub const MOST_PORTS: usize = 256;

/// A port of the lab.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// The node whose port it is; none for the routing mesh's. First, so that the mesh's come first in order.
    pub node: Option<String>,
    /// The port.
    pub port: u16,
    /// The transport.
    pub protocol: Protocol,
}

/// The ports, each with the names of who publishes it.
pub type Ports = BTreeMap<Key, BTreeSet<String>>;

/// What one manager says of its swarm.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SwarmView {
    /// The swarm's id.
    pub cluster: String,
    /// Its ports on every node.
    pub ports: Ports,
    /// The addresses of the nodes that are ready, managers first.
    pub addresses: Vec<IpAddr>,
    /// Whether some port is asked for but not yet given: then look again soon.
    pub pending: bool,
}

fn protocol(value: &Value) -> Option<Protocol> {
    match value.as_str()? {
        "tcp" => Some(Protocol::Tcp),
        "udp" => Some(Protocol::Udp),
        _ => None,
    }
}

fn port(value: &Value) -> Option<u16> {
    value.as_u64().and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0)
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// From the answers to `GET /swarm`, `/services` and `/nodes`.
pub fn swarm(swarm: &Value, services: &Value, nodes: &Value) -> SwarmView {
    let mut view = SwarmView { cluster: swarm["ID"].as_str().unwrap_or_default().to_owned(), ..SwarmView::default() };
    let ingress = |wanted: &&Value| wanted["PublishMode"].as_str().unwrap_or("ingress") == "ingress";
    for service in list(services) {
        let given = list(&service["Endpoint"]["Ports"]).filter(ingress).count();
        let asked = list(&service["Spec"]["EndpointSpec"]["Ports"]).filter(ingress).count();
        view.pending |= given < asked;
        for entry in list(&service["Endpoint"]["Ports"]).filter(ingress) {
            let (Some(port), Some(protocol)) = (port(&entry["PublishedPort"]), protocol(&entry["Protocol"])) else {
                continue;
            };
            let name = service["Spec"]["Name"].as_str().unwrap_or_default().to_owned();
            view.ports.entry(Key { node: None, port, protocol }).or_default().insert(name);
        }
    }
    let ready = |node: &&Value| node["Status"]["State"] == "ready";
    let (managers, workers): (Vec<_>, Vec<_>) =
        list(nodes).filter(ready).partition(|node| node["Spec"]["Role"] == "manager");
    let address = |node: &Value| node["Status"]["Addr"].as_str()?.parse().ok();
    view.addresses = managers.into_iter().chain(workers).filter_map(address).collect();
    view
}

/// From the answer to a node's `GET /containers/json`: what its containers publish on the node itself.
pub fn containers(node: &str, containers: &Value) -> Ports {
    let mut ports = Ports::new();
    for container in list(containers) {
        for entry in list(&container["Ports"]) {
            // what is published at the node's loopback only is not for others
            let inward =
                entry["IP"].as_str().and_then(|ip| ip.parse::<IpAddr>().ok()).is_some_and(|ip| ip.is_loopback());
            let (Some(port), Some(protocol), false) = (port(&entry["PublicPort"]), protocol(&entry["Type"]), inward)
            else {
                continue;
            };
            let service = container["Labels"]["com.docker.swarm.service.name"].as_str();
            let name = service.or_else(|| container["Names"][0].as_str()).unwrap_or_default().trim_start_matches('/');
            ports.entry(Key { node: Some(node.to_owned()), port, protocol }).or_default().insert(name.to_owned());
        }
    }
    ports
}

/// What one node last said.
#[derive(Debug, Clone, Default)]
pub struct NodeView {
    /// Whether its socket answers now.
    pub connected: bool,
    /// When it said so: a count that only grows.
    pub turn: u64,
    /// Its swarm, if it is a manager.
    pub swarm: Option<SwarmView>,
    /// Its own ports.
    pub own: Ports,
}

/// What all nodes together publish, and at which addresses the mesh's ports are answered.
///
/// Of each swarm the manager that spoke last is believed, and as long as none answers, what one said before: services
/// go on without their managers.
pub fn merge(nodes: &BTreeMap<String, NodeView>) -> (Ports, Vec<IpAddr>) {
    let mut swarms: BTreeMap<&str, (bool, u64, &SwarmView)> = BTreeMap::new();
    let mut ports = Ports::new();
    for view in nodes.values() {
        if let Some(swarm) = &view.swarm {
            let said = (view.connected, view.turn, swarm);
            let known = swarms.entry(&swarm.cluster).or_insert(said);
            if (said.0, said.1) > (known.0, known.1) {
                *known = said;
            }
        }
        ports.extend(view.own.clone());
    }
    let mut addresses = Vec::new();
    for (_, _, swarm) in swarms.into_values() {
        for (key, names) in &swarm.ports {
            ports.entry(key.clone()).or_default().extend(names.iter().cloned());
        }
        addresses.extend(
            swarm.addresses.iter().filter(|address| !addresses.contains(*address)).copied().collect::<Vec<_>>(),
        );
    }
    while ports.len() > MOST_PORTS {
        ports.pop_last();
    }
    (ports, addresses)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn key(node: Option<&str>, port: u16, protocol: Protocol) -> Key {
        Key { node: node.map(str::to_owned), port, protocol }
    }

    fn view(cluster: &str, ports: &[u16]) -> Option<SwarmView> {
        let port = |port: &u16| (key(None, *port, Protocol::Tcp), BTreeSet::from(["web".to_owned()]));
        let addresses = vec![[10, 77, 0, 11].into()];
        Some(SwarmView { cluster: cluster.into(), ports: ports.iter().map(port).collect(), addresses, pending: false })
    }

    #[test]
    fn a_service_s_ports_of_the_mesh_are_its_endpoint_s() {
        let services = json!([
            {"Spec": {"Name": "web", "EndpointSpec": {"Ports": [{"TargetPort": 80}, {"TargetPort": 53}]}},
             "Endpoint": {"Ports": [
                {"Protocol": "tcp", "TargetPort": 80, "PublishedPort": 8080, "PublishMode": "ingress"},
                {"Protocol": "udp", "TargetPort": 53, "PublishedPort": 5353, "PublishMode": "ingress"},
                {"Protocol": "tcp", "TargetPort": 81, "PublishedPort": 8081, "PublishMode": "host"},
                {"Protocol": "sctp", "TargetPort": 82, "PublishedPort": 8082, "PublishMode": "ingress"},
                {"Protocol": "tcp", "TargetPort": 83, "PublishedPort": 0}]}},
            {"Spec": {"Name": "quiet"}, "Endpoint": {}},
        ]);
        let nodes = json!([
            {"Spec": {"Role": "worker"}, "Status": {"State": "ready", "Addr": "10.77.0.12"}},
            {"Spec": {"Role": "manager"}, "Status": {"State": "ready", "Addr": "10.77.0.11"}},
            {"Spec": {"Role": "worker"}, "Status": {"State": "down", "Addr": "10.77.0.13"}},
        ]);
        let view = swarm(&json!({"ID": "c1"}), &services, &nodes);
        let keys: Vec<&Key> = view.ports.keys().collect();
        assert_eq!(keys, [&key(None, 5353, Protocol::Udp), &key(None, 8080, Protocol::Tcp)]);
        assert_eq!(view.addresses, [IpAddr::from([10, 77, 0, 11]), IpAddr::from([10, 77, 0, 12])]);
        assert!(!view.pending);
        let asked = json!([{"Spec": {"EndpointSpec": {"Ports": [{"TargetPort": 80}]}}, "Endpoint": {}}]);
        assert!(swarm(&json!({}), &asked, &json!([])).pending);
    }

    #[test]
    fn a_container_s_ports_are_the_node_s() {
        let found = containers(
            "worker1",
            &json!([
                {"Names": ["/one"], "Labels": {}, "Ports": [
                    {"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
                    {"IP": "::", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
                    {"IP": "127.0.0.1", "PrivatePort": 81, "PublicPort": 8081, "Type": "tcp"},
                    {"PrivatePort": 82, "Type": "tcp"}]},
                {"Names": ["/web.1.x"], "Labels": {"com.docker.swarm.service.name": "web"}, "Ports": [
                    {"IP": "0.0.0.0", "PrivatePort": 53, "PublicPort": 53, "Type": "udp"}]},
            ]),
        );
        let named = |name: &str| BTreeSet::from([name.to_owned()]);
        assert_eq!(
            found.into_iter().collect::<Vec<_>>(),
            [
                (key(Some("worker1"), 53, Protocol::Udp), named("web")),
                (key(Some("worker1"), 8080, Protocol::Tcp), named("one")),
            ]
        );
    }

    #[test]
    fn of_a_swarm_the_manager_that_spoke_last_is_believed_and_a_silent_one_until_another_speaks() {
        let node = |connected, turn, swarm| NodeView { connected, turn, swarm, own: Ports::new() };
        let mut nodes = BTreeMap::from([
            ("manager1".to_owned(), node(true, 2, view("a", &[80, 81]))),
            ("manager2".to_owned(), node(true, 3, view("a", &[80]))),
            ("other".to_owned(), node(true, 1, view("b", &[90]))),
        ]);
        let ports = |nodes: &BTreeMap<String, NodeView>| merge(nodes).0.into_keys().map(|k| k.port).collect::<Vec<_>>();
        assert_eq!(ports(&nodes), [80, 90]);
        nodes.get_mut("manager2").unwrap().connected = false;
        assert_eq!(ports(&nodes), [80, 81, 90]);
        nodes.get_mut("manager1").unwrap().connected = false;
        assert_eq!(ports(&nodes), [80, 90], "none answers: what was said last");
        assert_eq!(merge(&nodes).1.len(), 1, "each address once");
    }

    #[test]
    fn too_many_ports_are_cut() {
        let own = (1..=400).map(|port| (key(Some("n"), port, Protocol::Tcp), BTreeSet::new())).collect();
        let nodes = BTreeMap::from([("n".to_owned(), NodeView { own, ..NodeView::default() })]);
        assert_eq!(merge(&nodes).0.len(), MOST_PORTS);
    }
}
