//! What the managers told a node of its networks, and the file that keeps it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use swarm_types::{EncryptionKey, Network, NetworkAttachment, NetworkId, NodeId};

use crate::storage::{CheckedFile, StorageError};

/// All that a node needs to take part in the swarm's networks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NetworkFacts {
    /// This node.
    pub node: NodeId,
    /// Its host name.
    pub name: String,
    /// Its address for other nodes.
    pub address: IpAddr,
    /// The address that VXLAN packets go to and come from.
    pub data_path: IpAddr,
    /// Their UDP port, 4789 unless the swarm was made with another.
    pub data_path_port: u16,
    /// The addresses of managers, to find the other nodes by.
    pub managers: Vec<IpAddr>,
    /// What gossip is sealed with.
    pub keys: Vec<EncryptionKey>,
    /// The networks that this node has to do with.
    pub networks: Vec<Arc<Network>>,
    /// This node's own addresses on them: where its load balancer is.
    pub attachments: BTreeMap<NetworkId, NetworkAttachment>,
}

impl NetworkFacts {
    /// Whether these are of another life of the node than `other`: nothing of it is of use then.
    pub(super) fn is_another_life(&self, other: &Self) -> bool {
        let identity = |facts: &Self| (facts.node, facts.address, facts.data_path, facts.data_path_port);
        identity(self) != identity(other)
    }
}

/// The file of the facts; holds keys, so only its owner may read it.
pub(super) struct FactsFile(CheckedFile);

impl FactsFile {
    pub fn in_dir(dir: &Path) -> Self {
        Self(CheckedFile::new(dir.join("swarm-networks")))
    }

    /// What was kept. Unreadable facts are as good as none: the managers repeat them in the next session.
    pub fn read(&self) -> Option<NetworkFacts> {
        let bytes = match self.0.read() {
            Ok((bytes, _)) => bytes?,
            Err(error) => {
                tracing::warn!("the networks of before the restart are unknown: {error}");
                return None;
            }
        };
        rmp_serde::from_slice(&bytes)
            .inspect_err(|error| tracing::warn!("the networks of before the restart are unknown: {error}"))
            .ok()
    }

    pub fn write(&self, facts: &NetworkFacts) -> Result<(), StorageError> {
        match rmp_serde::to_vec_named(facts) {
            Ok(bytes) => self.0.write(&bytes),
            Err(error) => {
                tracing::error!("networks cannot be written: {error}");
                Ok(())
            }
        }
    }

    pub fn remove(&self) -> Result<(), StorageError> {
        self.0.remove()
    }
}
