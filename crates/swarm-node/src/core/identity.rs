//! Who this node is in its swarm: what must survive a restart, in one file that only the node reads.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use serde::{Deserialize, Serialize};
use swarm_types::{ManagerPeer, NodeId, RaftSpec, SecretBytes, SecretString};

use crate::ca::{CaError, Credentials};
use crate::storage::{CheckedFile, Repair, StorageError};

/// The format of the file.
const FORMAT_VERSION: u32 = 1;

/// A node's identity.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Identity {
    pub format_version: u32,
    pub node: NodeId,
    /// The node's certificate in PEM.
    pub certificate: String,
    /// Its key in PEM.
    pub key: SecretString,
    /// The swarm's root in PEM.
    pub root: String,
    /// What the raft log is sealed with.
    pub raft_key: SecretBytes,
    /// The node's id in the raft group, once it was added.
    pub raft_id: Option<u64>,
    /// The swarm's raft settings as last heard.
    pub raft: RaftSpec,
    pub listen_addr: SocketAddr,
    pub advertise_addr: SocketAddr,
    /// Where the networks' packets go to and come from; `None`: the advertised address.
    #[serde(default)]
    pub data_path: Option<IpAddr>,
    /// The managers as last heard.
    pub managers: Vec<ManagerPeer>,
}

impl Identity {
    /// A new node's.
    pub fn new(
        node: NodeId,
        (certificate, key, root): (String, SecretString, String),
        (listen_addr, advertise_addr): (SocketAddr, SocketAddr),
        managers: Vec<ManagerPeer>,
    ) -> std::io::Result<Self> {
        let raft_key = crate::storage::SealKey::draw()?;
        let format_version = FORMAT_VERSION;
        Ok(Self {
            format_version,
            node,
            certificate,
            key,
            root,
            raft_key,
            raft_id: None,
            raft: RaftSpec::default(),
            listen_addr,
            advertise_addr,
            data_path: None,
            managers,
        })
    }

    /// The identity in a folder, if the node is in a swarm.
    pub fn load(dir: &Path) -> Result<(Option<Self>, Vec<Repair>), StorageError> {
        let (content, repairs) = file(dir).read()?;
        let Some(content) = content else { return Ok((None, repairs)) };
        let unusable = |reason: String| StorageError::Unusable { path: dir.join("identity"), reason };
        let identity: Self = serde_json::from_slice(&content).map_err(|error| unusable(error.to_string()))?;
        if identity.format_version != FORMAT_VERSION {
            let version = identity.format_version;
            return Err(unusable(format!("has format version {version}, this program knows {FORMAT_VERSION}")));
        }
        Ok((Some(identity), repairs))
    }

    /// Writes it; on return it is on disk.
    pub fn store(&self, dir: &Path) -> Result<(), StorageError> {
        let content = serde_json::to_vec_pretty(self).map_err(|error| StorageError::Io {
            action: "encode",
            path: dir.join("identity"),
            source: error.into(),
        })?;
        file(dir).write(&content)
    }

    /// Key, certificate and root for TLS.
    pub fn credentials(&self) -> Result<Credentials, CaError> {
        Credentials::new(&self.root, &self.certificate, &self.key)
    }
}

fn file(dir: &Path) -> CheckedFile {
    CheckedFile::new(dir.join("identity"))
}
