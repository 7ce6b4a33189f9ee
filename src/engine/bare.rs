//! The engine `bare`: nodes without any daemon. For tests of the sandbox and for measuring its share of a boot.

use std::path::{Path, PathBuf};

use super::cluster::{self, Layout};
use super::daemon::Daemon;
use super::{Cluster, ClusterSpec, Engine, EngineError, NodePlan, Progress};
use crate::sandbox::SandboxError;

/// Nodes without a daemon.
pub struct Bare;

impl Engine for Bare {
    fn name(&self) -> &'static str {
        "bare"
    }

    fn lacks(&self, feature: &str) -> Option<String> {
        Some(format!("bare nodes run no engine, so there is no {feature}"))
    }

    fn boot(&self, spec: &ClusterSpec, progress: &mut dyn FnMut(Progress)) -> Result<Box<dyn Cluster>, EngineError> {
        let layout =
            Layout { data_at: PathBuf::from("/var/lib/swarmlab"), tools: cluster::tools(Path::new("swarmlab")) };
        let spec = ClusterSpec { form_swarm: false, ..spec.clone() };
        cluster::boot(Box::new(NoDaemon), layout, &spec, progress)
    }
}

/// Starts nothing.
pub struct NoDaemon;

impl Daemon for NoDaemon {
    fn engine(&self) -> &'static str {
        "bare"
    }

    fn command(&self, _: &NodePlan, _: &Path) -> Result<Option<Vec<String>>, SandboxError> {
        Ok(None)
    }
}
