//! What the engine keeps of a container beyond the runtime's record, as one file.

use std::path::Path;

use container_runtime::Result;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::checked_file;
use super::network::{Attachment, Endpoint, Published};
use crate::convert::container::{RestartPolicy, host_template};
use crate::convert::ports::PortWishes;
use crate::networking::SwarmAttachment;

/// The engine's part of a container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// When it is started again.
    pub restart: RestartPolicy,
    /// Remove it when it ends.
    pub auto_remove: bool,
    /// Its network mode: `bridge`, `host`, `none`, `container:<id>`, or a network's name or id.
    pub network: String,
    /// The networks that it is to be on, in the order of its interfaces. `None` (as in records of earlier versions): the
    /// one of the mode.
    pub attachments: Option<Vec<Attachment>>,
    /// Which of its ports are to be reached by the node's.
    pub ports: PortWishes,
    /// Where it is while it runs.
    pub endpoints: Vec<Endpoint>,
    /// The ports of the node that lead to it while it runs.
    pub published: Vec<Published>,
    /// `Config` as inspect shows it.
    pub config_json: Value,
    /// `HostConfig` as inspect shows it.
    pub host_json: Value,
    /// Its mounts as inspect shows them.
    pub mounts: Vec<MountPoint>,
    /// Volumes made for it alone.
    pub anonymous: Vec<String>,
    /// How often the restart policy started it again.
    pub restart_count: u64,
    /// A user stopped it.
    pub stopped_by_user: bool,
    /// It belongs to a task of the swarm.
    pub task: Option<String>,
    /// Its places on the swarm's networks.
    pub swarm: Vec<SwarmAttachment>,
    /// The managers' tasks that hold those places, if a user attached the container.
    pub swarm_attachments: Vec<String>,
}

impl Default for Record {
    fn default() -> Self {
        Self {
            restart: RestartPolicy::No,
            auto_remove: false,
            network: "bridge".into(),
            attachments: None,
            ports: PortWishes::default(),
            endpoints: Vec::new(),
            published: Vec::new(),
            config_json: Value::Object(serde_json::Map::new()),
            host_json: host_template(),
            mounts: Vec::new(),
            anonymous: Vec::new(),
            restart_count: 0,
            stopped_by_user: false,
            task: None,
            swarm: Vec::new(),
            swarm_attachments: Vec::new(),
        }
    }
}

/// A mount of a container.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MountPoint {
    /// `bind`, `volume`, `tmpfs`.
    pub kind: String,
    /// A volume's name.
    pub name: String,
    /// The path on the node.
    pub source: String,
    /// The path inside.
    pub target: String,
    /// No writing.
    pub read_only: bool,
    /// The options of the short form.
    pub mode: String,
}

impl Record {
    pub(super) fn read(file: &Path) -> Result<Self> {
        checked_file::read(file)
    }

    pub(super) fn write(&self, file: &Path) -> Result<()> {
        checked_file::write(file, self)
    }

    /// The networks that the container is or is to be on; none with the network of another container.
    pub fn attachments(&self) -> Vec<Attachment> {
        match &self.attachments {
            Some(attachments) => attachments.clone(),
            None if self.network.starts_with("container:") => Vec::new(),
            None => vec![Attachment::to(&self.network)],
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_and_a_damaged_one_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.json");
        let record = Record { restart: RestartPolicy::OnFailure(3), restart_count: 2, ..Record::default() };
        record.write(&file).unwrap();
        assert_eq!(Record::read(&file).unwrap(), record);
        let text = std::fs::read_to_string(&file).unwrap().replace("\"restart_count\":2", "\"restart_count\":3");
        std::fs::write(&file, text).unwrap();
        assert!(Record::read(&file).unwrap_err().to_string().contains("checksum"));
    }
}
