//! The engine `embedded`: our own node daemon, `swarmlab node-daemon`, in every node of a sandbox.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::cluster::{self, Layout};
use super::daemon::Daemon;
use super::{Cluster, ClusterSpec, Engine, EngineError, NodePlan, Progress};
use crate::commands::doctor;
use crate::sandbox::SandboxError;

/// Where the daemon keeps its state inside a node.
const STATE: &str = "/var/lib/swarmlab";

/// Our own implementation of swarm mode.
pub struct Embedded;

impl Engine for Embedded {
    fn name(&self) -> &'static str {
        "embedded"
    }

    fn lacks(&self, feature: &str) -> Option<String> {
        doctor::kernel_lacks(feature)
    }

    fn boot(&self, spec: &ClusterSpec, progress: &mut dyn FnMut(Progress)) -> Result<Box<dyn Cluster>, EngineError> {
        let layout = Layout { data_at: PathBuf::from(STATE), tools: cluster::tools(Path::new("swarmlab")) };
        cluster::boot(Box::new(NodeDaemon), layout, spec, progress)
    }
}

/// Starts `swarmlab node-daemon`.
pub struct NodeDaemon;

/// What the daemon reads at start; `swarm-node` documents its own side of it.
#[derive(Debug, Serialize)]
struct Config {
    /// Hostname, and the node's name in a swarm.
    node_name: String,
    /// Address of eth0.
    advertise_addr: Ipv4Addr,
    /// Where to listen for other nodes.
    listen_addr: Ipv4Addr,
    /// Raft log, certificates, images, containers.
    state_dir: PathBuf,
    /// The Docker API's socket, as seen in the node.
    socket: PathBuf,
    /// The same file as seen outside.
    outside_socket: PathBuf,
    /// Whether the sandbox is an ordinary user's: limits cannot be enforced then.
    rootless: bool,
    /// Group below which containers get theirs, in every hierarchy at /sys/fs/cgroup; none when rootless.
    cgroup_parent: Option<String>,
}

impl Daemon for NodeDaemon {
    fn engine(&self) -> &'static str {
        "embedded"
    }

    fn command(&self, node: &NodePlan, node_dir: &Path) -> Result<Option<Vec<String>>, SandboxError> {
        let rootless = !crate::sandbox::state::privileged();
        let inside = Path::new(crate::sandbox::NODE_STATE);
        let config = Config {
            node_name: node.name.clone(),
            advertise_addr: node.address,
            listen_addr: Ipv4Addr::UNSPECIFIED,
            state_dir: PathBuf::from(STATE),
            socket: inside.join("docker.sock"),
            outside_socket: node_dir.join("docker.sock"),
            rootless,
            cgroup_parent: (!rootless).then(|| "/docker".to_owned()),
        };
        let io = |source| SandboxError::Io { what: format!("write the configuration of {}", node.name), source };
        let text = serde_json::to_vec_pretty(&config).map_err(|error| io(error.into()))?;
        std::fs::write(node_dir.join("daemon.json"), text).map_err(io)?;
        let config = inside.join("daemon.json");
        Ok(Some(vec![
            "swarmlab".into(),
            "node-daemon".into(),
            "--config".into(),
            config.to_string_lossy().into_owned(),
        ]))
    }
}
