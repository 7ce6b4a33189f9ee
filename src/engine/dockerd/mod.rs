//! The engine `dockerd`: genuine Docker, one daemon per node of the same sandbox. The oracle that keeps our own engine
//! and the labs honest.
//!
//! Needs root, and dockerd and docker on the machine. The built-in lab images, which no registry has, are packed from
//! the machine's own programs once per machine and loaded into every node.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hyper::body::Bytes;

use super::cluster::{self, Layout};
use super::daemon::Daemon;
use super::{Cluster, ClusterSpec, Engine, EngineError, NodePlan, Progress, api};
use crate::commands::doctor::{self, Finding, Severity};
use crate::sandbox::{NODE_STATE, SandboxError, state};

mod images;
mod userland;

/// Where dockerd keeps its state inside a node.
const STATE: &str = "/var/lib/docker";
/// Longest time to load the lab images into one node.
const LOAD_TIMEOUT: Duration = Duration::from_secs(120);
/// Set by the benchmark, which loads the images itself: their time is not that of the daemons.
const WITHOUT_IMAGES: &str = "SWARMLAB_BENCH_WITHOUT_IMAGES";
/// Where distributions and Docker's own packages put programs.
const FOLDERS: [&str; 5] = ["/usr/local/bin", "/usr/bin", "/usr/local/sbin", "/usr/sbin", "/bin"];

/// Genuine Docker.
pub struct Dockerd;

impl Engine for Dockerd {
    fn name(&self) -> &'static str {
        "dockerd"
    }

    fn lacks(&self, feature: &str) -> Option<String> {
        match feature {
            "vip" => (!has_ipvs()).then(|| {
                "genuine Docker needs IPVS in the kernel for virtual addresses and published ports, and this kernel has \
                 none"
                    .to_owned()
            }),
            // what the kernel does for the lab's own network is the same for both
            other => doctor::kernel_lacks(other),
        }
    }

    fn boot(&self, spec: &ClusterSpec, progress: &mut dyn FnMut(Progress)) -> Result<Box<dyn Cluster>, EngineError> {
        let found = [program("dockerd"), program("containerd"), program("runc"), program("docker")];
        let [Some(_), Some(_), Some(_), Some(docker)] = found else {
            return Err(EngineError::Machine(vec![missing(
                "dockerd, containerd, runc and the docker command are not all installed",
                "sudo apt-get install docker.io (its service may stay switched off), or use --engine embedded",
            )]));
        };
        if !state::privileged() {
            return Err(EngineError::Machine(vec![missing(
                "genuine dockerd runs as root only",
                "run with sudo, or use --engine embedded",
            )]));
        }
        let layout = Layout { data_at: PathBuf::from(STATE), tools: cluster::tools(&docker) };
        cluster::boot(Box::new(Daemons::default()), layout, spec, progress)
    }
}

/// Whether the kernel has IPVS, or can load it: dockerd asks for it when it first needs it.
fn has_ipvs() -> bool {
    let release = nix::sys::utsname::uname().map(|uname| uname.release().to_string_lossy().into_owned());
    let modules = PathBuf::from("/lib/modules").join(release.unwrap_or_default());
    let listed = ["modules.dep", "modules.builtin"]
        .iter()
        .filter_map(|file| fs::read_to_string(modules.join(file)).ok())
        .any(|text| text.lines().any(|line| line.split(':').next().is_some_and(|path| path.contains("/ip_vs.ko"))));
    listed || Path::new("/proc/net/ip_vs").exists() || Path::new("/sys/module/ip_vs").exists()
}

fn missing(what: &str, remedy: &str) -> Finding {
    Finding { id: "dockerd", severity: Severity::Missing, what: what.into(), remedy: remedy.into() }
}

/// A program of the machine; ours does not count, should it be installed under the name `docker`.
fn program(name: &str) -> Option<PathBuf> {
    let ours = fs::canonicalize("/proc/self/exe").ok();
    FOLDERS
        .iter()
        .map(|folder| Path::new(folder).join(name))
        .find(|path| path.is_file() && fs::canonicalize(path).ok() != ours)
}

/// Starts dockerd and gives it the lab images.
#[derive(Default)]
pub struct Daemons {
    /// Read once for all nodes.
    archive: Mutex<Option<Bytes>>,
}

impl Daemons {
    fn archive(&self) -> Result<Bytes, SandboxError> {
        let mut archive = self.archive.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bytes) = &*archive {
            return Ok(bytes.clone());
        }
        let bytes = Bytes::from(images::archive()?);
        *archive = Some(bytes.clone());
        Ok(bytes)
    }
}

impl Daemon for Daemons {
    fn engine(&self) -> &'static str {
        "dockerd"
    }

    fn command(&self, node: &NodePlan, node_dir: &Path) -> Result<Option<Vec<String>>, SandboxError> {
        // the machine's own /etc/docker/daemon.json is made for another daemon
        let config = "dockerd.json";
        fs::write(node_dir.join(config), "{}")
            .map_err(|source| SandboxError::Io { what: format!("write the configuration of {}", node.name), source })?;
        let config = format!("{NODE_STATE}/{config}");
        let socket = format!("unix://{NODE_STATE}/docker.sock");
        let argv = [
            "dockerd",
            "--config-file",
            &config,
            "--data-root",
            STATE,
            "--exec-root",
            "/run/docker",
            "--pidfile",
            "/run/docker.pid",
            "-H",
            &socket,
        ];
        Ok(Some(argv.map(str::to_owned).into()))
    }

    fn equip(&self, node: &NodePlan, socket: &Path) -> Result<(), EngineError> {
        if std::env::var_os(WITHOUT_IMAGES).is_some() {
            return Ok(());
        }
        let archive = self.archive()?;
        api::upload(socket, "/images/load?quiet=1", archive, LOAD_TIMEOUT).map(drop).map_err(|error| EngineError::Api {
            node: node.name.clone(),
            what: "load the lab images".into(),
            why: error.to_string(),
        })
    }
}
