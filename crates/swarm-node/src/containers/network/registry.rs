//! The node's own networks by id and name: the three that every node has, docker_gwbridge, and users' bridges; each as
//! one checked file. What of them the kernel has is the bridge driver's business.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use container_runtime::{Error, Kind, Result};
use overlay_network::{BridgeNetwork, Cidr};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use swarm_types::{IpamConfig, Labels};

use super::super::checked_file;

/// The networks that every node has.
pub const PREDEFINED: [&str; 3] = ["bridge", "host", "none"];

/// A network of this node alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalNetwork {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its name, unique on the node.
    pub name: String,
    /// `bridge`, `host`, `null`.
    pub driver: String,
    /// Nanoseconds since 1970.
    pub created: i64,
    /// Addresses of both families.
    pub ipv6: bool,
    /// `--attachable`: shown, without meaning for local networks.
    pub attachable: bool,
    /// `--opt`
    pub options: Labels,
    /// `--label`
    pub labels: Labels,
    /// `--ipam-opt`
    pub ipam_options: Labels,
    /// Subnets as the user gave them, or as they were chosen, IPv4 first.
    pub ipam: Vec<IpamConfig>,
    /// The subnets that the user named: only of these can a container want a certain address.
    #[serde(default)]
    pub configured: Vec<Cidr>,
    /// The bridge of the driver of that name.
    pub bridge: Option<BridgeNetwork>,
}

impl LocalNetwork {
    /// Whether it is one of those that every node has.
    pub fn is_predefined(&self) -> bool {
        PREDEFINED.contains(&self.name.as_str())
    }

    /// Whether nothing leaves it.
    pub fn is_internal(&self) -> bool {
        self.bridge.as_ref().is_some_and(|bridge| bridge.internal)
    }

    /// A network that every node has.
    pub(super) fn predefined(name: &str, driver: &str, bridge: Option<BridgeNetwork>) -> Self {
        let (mut options, mut ipam) = (Labels::new(), Vec::new());
        if let Some(bridge) = &bridge {
            for (key, value) in [
                ("bridge.default_bridge", "true"),
                ("bridge.enable_icc", "true"),
                ("bridge.enable_ip_masquerade", "true"),
                ("bridge.host_binding_ipv4", "0.0.0.0"),
                ("bridge.name", bridge.bridge.as_str()),
                ("driver.mtu", "1500"),
            ] {
                options.insert(format!("com.docker.network.{key}"), value.to_owned());
            }
            ipam.extend(bridge.pools.iter().map(|pool| IpamConfig {
                subnet: pool.subnet.to_string(),
                gateway: pool.gateway.to_string(),
                ..IpamConfig::default()
            }));
        }
        Self {
            id: local_network_id(name),
            name: name.into(),
            driver: driver.into(),
            created: crate::core::now().as_nanos(),
            ipv6: false,
            attachable: false,
            options,
            labels: Labels::new(),
            ipam_options: Labels::new(),
            ipam,
            configured: Vec::new(),
            bridge,
        }
    }
}

/// The id of a network that every node has: the same on every node and after every start, since nothing else tells
/// them apart.
pub fn local_network_id(name: &str) -> String {
    let digest = Sha256::digest(format!("swarmlab local network {name}"));
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// All local networks of a node.
#[derive(Debug)]
pub(super) struct Registry {
    dir: PathBuf,
    networks: BTreeMap<String, LocalNetwork>,
}

impl Registry {
    /// Reads the networks of an earlier life and adds the three that are always there. A damaged file is set aside.
    pub(super) fn open(dir: &Path) -> Result<Self> {
        let failed = |error: std::io::Error| Error::new(Kind::Internal, format!("reading {}: {error}", dir.display()));
        std::fs::create_dir_all(dir).map_err(failed)?;
        let mut registry = Self { dir: dir.to_owned(), networks: BTreeMap::new() };
        for file in std::fs::read_dir(dir).map_err(failed)? {
            let path = file.map_err(failed)?.path();
            if path.extension().is_none_or(|extension| extension != "network") {
                continue;
            }
            match checked_file::read::<LocalNetwork>(&path) {
                Ok(network) => drop(registry.networks.insert(network.id.clone(), network)),
                Err(error) => {
                    tracing::error!("a network is lost: {error}");
                    let _ = std::fs::rename(&path, path.with_extension("damaged"));
                }
            }
        }
        let docker0 = BridgeNetwork::docker0(local_network_id("bridge"));
        for (name, driver, bridge) in
            [("bridge", "bridge", Some(docker0)), ("host", "host", None), ("none", "null", None)]
        {
            if !registry.networks.contains_key(&local_network_id(name)) {
                registry.insert(LocalNetwork::predefined(name, driver, bridge))?;
            }
        }
        Ok(registry)
    }

    pub(super) fn insert(&mut self, network: LocalNetwork) -> Result<()> {
        checked_file::write(&self.file(&network.id), &network)?;
        self.networks.insert(network.id.clone(), network);
        Ok(())
    }

    pub(super) fn remove(&mut self, id: &str) {
        self.networks.remove(id);
        let _ = std::fs::remove_file(self.file(id));
    }

    fn file(&self, id: &str) -> PathBuf {
        self.dir.join(format!("{id}.network"))
    }

    /// All, the predefined ones first, then by age.
    pub(super) fn all(&self) -> Vec<LocalNetwork> {
        let mut all: Vec<LocalNetwork> = self.networks.values().cloned().collect();
        let rank = |network: &LocalNetwork| PREDEFINED.iter().position(|name| *name == network.name).unwrap_or(3);
        all.sort_by(|a, b| (rank(a), a.created, &a.id).cmp(&(rank(b), b.created, &b.id)));
        all
    }

    pub(super) fn by_name(&self, name: &str) -> Option<&LocalNetwork> {
        self.networks.values().find(|network| network.name == name)
    }

    /// By id, name, or unique prefix of an id, in that order; `None` when there is no such network.
    pub(super) fn find(&self, term: &str) -> Result<Option<&LocalNetwork>> {
        if let Some(network) = self.networks.get(term).or_else(|| self.by_name(term)) {
            return Ok(Some(network));
        }
        let mut found = self.networks.values().filter(|network| !term.is_empty() && network.id.starts_with(term));
        match (found.next(), found.count()) {
            (first, 0) => Ok(first),
            (_, others) => Err(Error::new(
                Kind::InvalidArgument,
                format!("network {term} is ambiguous ({} matches found based on ID prefix)", others + 1),
            )),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_there_again_after_a_restart_and_found_by_id_name_and_prefix() {
        let dir = tempfile::tempdir().unwrap();
        let mut registry = Registry::open(dir.path()).unwrap();
        let mut own = LocalNetwork::predefined("own", "bridge", None);
        own.id = format!("abc{}", "0".repeat(61));
        registry.insert(own.clone()).unwrap();
        let registry = Registry::open(dir.path()).unwrap();
        let names: Vec<String> = registry.all().into_iter().map(|network| network.name).collect();
        assert_eq!(names, ["bridge", "host", "none", "own"]);
        for term in ["own", "abc", own.id.as_str()] {
            assert_eq!(registry.find(term).unwrap(), Some(&own), "{term}");
        }
        assert_eq!(registry.find("nope").unwrap(), None);
        assert_eq!(registry.find("").unwrap(), None);
    }

    #[test]
    fn an_ambiguous_prefix_and_a_damaged_file_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let mut registry = Registry::open(dir.path()).unwrap();
        for digit in ["1", "2"] {
            let mut own = LocalNetwork::predefined(digit, "bridge", None);
            own.id = format!("abc{}", digit.repeat(61));
            registry.insert(own).unwrap();
        }
        assert!(registry.find("abc").unwrap_err().message.contains("is ambiguous (2 matches"));
        std::fs::write(dir.path().join(format!("abc{}.network", "1".repeat(61))), "damaged").unwrap();
        let registry = Registry::open(dir.path()).unwrap();
        assert!(registry.by_name("1").is_none() && registry.by_name("2").is_some());
    }
}
