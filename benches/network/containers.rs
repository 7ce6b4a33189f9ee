//! Where the nodes and tasks of a cluster are, as this process sees them: their processes, namespaces and addresses.

use std::net::IpAddr;
use std::path::PathBuf;

use serde_json::Value;

use super::traffic::Place;
use crate::common::{Cluster, Outcome, below, node_inits, processes};

/// A node's first process.
pub struct Node {
    /// Its number for us.
    pub init: u32,
}

impl Node {
    /// By its name.
    pub fn find(cluster: &Cluster, name: &str) -> Outcome<Self> {
        let is = |init: &u32| {
            let host = std::fs::read_to_string(format!("/proc/{init}/root/etc/hostname"));
            host.is_ok_and(|host| host.trim() == name)
        };
        let found = node_inits(&cluster.name, &processes()).into_iter().find(is);
        Ok(Self { init: found.ok_or_else(|| format!("no process of node {name} is seen"))? })
    }

    /// A file of the node's.
    pub fn path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.init))
    }

    /// The file of its namespace of an overlay network.
    pub fn overlay(&self, network: &str) -> PathBuf {
        let short: String = network.chars().take(10).collect();
        // /var/run is a link to /run, and would lead out of the node
        self.path(&format!("/run/docker/netns/1-{short}"))
    }

    /// Its own network namespace.
    pub fn place(&self) -> Outcome<Place> {
        Place::of(self.init)
    }

    /// Our number of a process that has this one in the node.
    fn process(&self, inside: u64) -> Outcome<u32> {
        let depth = numbers(self.init).len();
        let all = processes();
        let is = |id: u32| numbers(id).get(depth - 1) == Some(&inside);
        let found = below(self.init, &all).into_iter().find(|process| is(process.id));
        Ok(found.ok_or_else(|| format!("process {inside} of the node is not seen"))?.id)
    }
}

/// A process' numbers in all namespaces that it is in, ours first.
fn numbers(process: u32) -> Vec<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
    line.split_whitespace().filter_map(|number| number.parse().ok()).collect()
}

/// A task that runs.
pub struct Task {
    /// Its container's network namespace.
    pub place: Place,
    /// Its address on the network that it was looked for on.
    pub address: IpAddr,
}

impl Task {
    /// The only task of a service, on a node and a network.
    pub fn of(cluster: &Cluster, service: &str, node: &str, network: &str) -> Outcome<Self> {
        let tasks = cluster.until_running(service, 1)?;
        let task = tasks.first().ok_or("no task")?;
        let process = task["Status"]["ContainerStatus"]["PID"].as_u64().ok_or("a task without a process")?;
        let address = address(task, network).ok_or_else(|| format!("task of {service} has no address on {network}"))?;
        Ok(Self { place: Place::of(Node::find(cluster, node)?.process(process)?)?, address })
    }
}

fn address(task: &Value, network: &str) -> Option<IpAddr> {
    let attached = task["NetworksAttachments"].as_array()?;
    let found = attached.iter().find(|one| one["Network"]["Spec"]["Name"] == network)?;
    found["Addresses"][0].as_str()?.split('/').next()?.parse().ok()
}

/// A service's virtual address on a network.
pub fn virtual_ip(cluster: &Cluster, service: &str, network: &str) -> Outcome<IpAddr> {
    let network = network_id(cluster, network)?;
    let service = cluster.get(&format!("/services/{service}"))?;
    let all = service["Endpoint"]["VirtualIPs"].as_array();
    let found = all.into_iter().flatten().find(|one| one["NetworkID"] == network.as_str());
    let address = found.and_then(|one| one["Addr"].as_str()?.split('/').next()?.parse().ok());
    Ok(address.ok_or("the service has no virtual address on the network")?)
}

/// A network's id.
pub fn network_id(cluster: &Cluster, network: &str) -> Outcome<String> {
    let network = cluster.get(&format!("/networks/{network}"))?;
    Ok(network["Id"].as_str().ok_or("a network without an id")?.to_owned())
}
