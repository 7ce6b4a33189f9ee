//! What a container is to be: the runtime's own type, neutral towards the Docker API's JSON.
//! Leaves out networks: the caller moves interfaces into the namespace between `prepare` and `start`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The full description of a container, as the caller wants it; what is `None` or empty comes from the image.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerConfig {
    /// 64 hexadecimal digits; chosen at random when absent.
    pub id: Option<String>,
    /// A unique name; `/` in front is stripped.
    pub name: Option<String>,
    /// Image reference, digest or id (prefix).
    pub image: String,
    /// Replaces the image's entrypoint (and then also its command). `Some([])` clears it.
    pub entrypoint: Option<Vec<String>>,
    /// Replaces the image's command.
    pub cmd: Option<Vec<String>>,
    /// `NAME=value`; overrides the image's. `NAME` alone removes it.
    pub env: Vec<String>,
    /// `user`, `uid`, `user:group`, `uid:gid`.
    pub user: Option<String>,
    /// Supplementary groups, by name or number.
    pub groups: Vec<String>,
    /// Working directory, made when missing.
    pub working_dir: Option<String>,
    /// Host name; the id's first 12 digits when absent.
    pub hostname: Option<String>,
    /// NIS domain name.
    pub domainname: Option<String>,
    /// Labels, over the image's.
    pub labels: BTreeMap<String, String>,
    /// Binds, volumes and tmpfs.
    pub mounts: Vec<Mount>,
    /// Allocate a terminal.
    pub tty: bool,
    /// Rows and columns that the terminal has from the start.
    #[serde(default)]
    pub console_size: Option<(u16, u16)>,
    /// Keep standard input open.
    pub open_stdin: bool,
    /// Close standard input when the first attached client leaves.
    pub stdin_once: bool,
    /// Signal for `stop` (`SIGTERM`, `TERM` or `15`).
    pub stop_signal: Option<String>,
    /// How long `stop` waits before SIGKILL.
    pub stop_grace: Option<Duration>,
    /// Run a small reaping init as PID 1.
    pub init: bool,
    /// Capabilities to add (`NET_ADMIN`, `CAP_NET_ADMIN`, `ALL`).
    pub cap_add: Vec<String>,
    /// Capabilities to drop.
    pub cap_drop: Vec<String>,
    /// All capabilities, nothing masked.
    pub privileged: bool,
    /// Overrides the default, which is on unless privileged.
    pub no_new_privileges: Option<bool>,
    /// Root filesystem read-only.
    pub read_only: bool,
    /// Namespaced kernel parameters.
    pub sysctls: BTreeMap<String, String>,
    /// Resource limits per process.
    pub ulimits: Vec<Ulimit>,
    /// Lines for `/etc/hosts`: address and names.
    pub extra_hosts: Vec<HostEntry>,
    /// What replaces its part of the machine's `/etc/resolv.conf`, each unless empty.
    pub dns: Dns,
    /// Limits, enforced when the runtime has cgroups.
    pub resources: Resources,
    /// Health check; overrides the image's, `Healthcheck::disabled()` turns it off.
    pub healthcheck: Option<Healthcheck>,
    /// How much log is kept.
    pub log: LogLimits,
    /// -1000 to 1000. Lowering it needs privilege, and is refused without.
    pub oom_score_adj: Option<i32>,
    /// Which network namespace.
    pub network: Network,
    /// Size of `/dev/shm`; 64 MiB when absent.
    pub shm_size: Option<u64>,
}

/// A filesystem put into the container.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute path inside.
    pub target: String,
    /// No writing.
    pub read_only: bool,
    /// What is put there.
    pub source: MountSource,
}

/// What a [`Mount`] shows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum MountSource {
    /// A file or directory of the daemon's mount namespace. It must exist.
    Bind(PathBuf),
    /// A volume's directory: as a bind, and if it is empty the image's content at the target is copied in first,
    /// unless `no_copy`.
    Volume {
        /// The directory that holds the volume's data.
        path: PathBuf,
        /// Leave an empty volume empty.
        no_copy: bool,
    },
    /// Memory.
    Tmpfs {
        /// Bytes; unlimited when absent.
        size: Option<u64>,
        /// Permission bits of its root; 1777 when absent.
        mode: Option<u32>,
    },
}

/// A `setrlimit` limit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ulimit {
    /// `nofile`, `nproc`, ...
    pub name: String,
    /// Soft limit; -1 is unlimited.
    pub soft: i64,
    /// Hard limit; -1 is unlimited.
    pub hard: i64,
}

/// A line of `/etc/hosts`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HostEntry {
    /// The address.
    pub address: String,
    /// Its names.
    pub names: Vec<String>,
}

/// The resolver's settings.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Dns {
    /// `nameserver` lines.
    pub servers: Vec<String>,
    /// The `search` line.
    pub search: Vec<String>,
    /// The `options` line.
    pub options: Vec<String>,
}

/// Limits of a container as a whole.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// Bytes of memory.
    pub memory: Option<i64>,
    /// Bytes that the kernel aims for under pressure.
    pub memory_reservation: Option<i64>,
    /// Billionths of a processor.
    pub nano_cpus: Option<i64>,
    /// Relative weight, 1024 is normal.
    pub cpu_shares: Option<u64>,
    /// Processors, as `0-2,4`.
    pub cpuset: Option<String>,
    /// Number of processes.
    pub pids: Option<i64>,
}

/// How to tell whether a container is well.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Healthcheck {
    /// `["CMD", ..]`, `["CMD-SHELL", line]`, `["NONE"]`; empty inherits the image's.
    pub test: Vec<String>,
    /// Between probes; zero or absent is 30 s.
    pub interval: Option<Duration>,
    /// A probe's patience; 30 s.
    pub timeout: Option<Duration>,
    /// Failures in a row until unhealthy; 3.
    pub retries: Option<u32>,
    /// Failures in this time after the start do not count.
    pub start_period: Option<Duration>,
    /// Between probes during the start period; 5 s.
    pub start_interval: Option<Duration>,
}

impl Healthcheck {
    /// The check that overrides an image's with nothing.
    pub fn disabled() -> Self {
        Healthcheck { test: vec!["NONE".into()], ..Default::default() }
    }
}

/// Bounds of a container's stored output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogLimits {
    /// Bytes per file.
    pub max_size: u64,
    /// Files kept.
    pub max_files: u32,
}

impl Default for LogLimits {
    // 5 x 20 MiB: a runaway container can take 100 MiB of disk, not all of it.
    fn default() -> Self {
        LogLimits { max_size: 20 << 20, max_files: 5 }
    }
}

/// A container's network namespace.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub enum Network {
    /// A new one, empty but for `lo`, which is up.
    #[default]
    New,
    /// The daemon's own.
    Host,
    /// That of a container which runs at the start (its id, name or unique id prefix): with its host name, /etc/hosts and
    /// /etc/resolv.conf.
    Container(String),
}

impl ContainerConfig {
    /// Refuses what cannot be meant, before anything is created.
    pub fn validate(&self) -> Result<()> {
        if let Some(id) = &self.id
            && (id.len() != 64 || !id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
        {
            return Err(Error::invalid(format!("container id {id:?} is not 64 lower-case hexadecimal digits")));
        }
        if let Some(name) = &self.name {
            let n = name.strip_prefix('/').unwrap_or(name);
            let rest_ok = n.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
            if n.len() < 2 || n.len() > 255 || !rest_ok || !n.as_bytes()[0].is_ascii_alphanumeric() {
                return Err(Error::invalid(format!(
                    "Invalid container name ({n}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
                )));
            }
        }
        let strings = self.env.iter().chain(self.cmd.iter().flatten()).chain(self.entrypoint.iter().flatten());
        if strings.clone().any(|s| s.contains('\0')) {
            return Err(Error::invalid("command and environment must not hold NUL bytes"));
        }
        if strings.map(|s| s.len()).sum::<usize>() > 1 << 20 {
            return Err(Error::invalid("command and environment together exceed 1 MiB"));
        }
        if let Some(bad) = self.env.iter().find(|e| e.is_empty() || e.starts_with('=')) {
            return Err(Error::invalid(format!("invalid environment variable: {bad}")));
        }
        if let Some(dir) = &self.working_dir
            && !dir.is_empty()
            && !dir.starts_with('/')
        {
            return Err(Error::invalid(format!(
                "the working directory '{dir}' is invalid, it needs to be an absolute path"
            )));
        }
        if self.hostname.as_ref().is_some_and(|h| h.len() > 63 || h.contains(['/', ' ', '\n'])) {
            return Err(Error::invalid("invalid hostname: at most 63 characters, no blanks or slashes"));
        }
        let mut targets = std::collections::BTreeSet::new();
        for m in &self.mounts {
            let t = &m.target;
            if !t.starts_with('/') || t.split('/').any(|c| c == "..") {
                return Err(Error::invalid(format!("invalid mount path: '{t}' mount path must be absolute")));
            }
            if t.trim_end_matches('/').is_empty() {
                return Err(Error::invalid("invalid specification: destination can't be '/'"));
            }
            if !targets.insert(t.trim_end_matches('/')) {
                return Err(Error::invalid(format!("Duplicate mount point: {t}")));
            }
        }
        if let Some(s) = &self.stop_signal {
            crate::signal::parse(s)?;
        }
        if self.oom_score_adj.is_some_and(|v| !(-1000..=1000).contains(&v)) {
            return Err(Error::invalid("Invalid value, range for oom score adj is [-1000, 1000]"));
        }
        if self.resources.memory.is_some_and(|m| m > 0 && m < 6 << 20) {
            return Err(Error::invalid("Minimum memory limit allowed is 6MB"));
        }
        if let Some(h) = &self.healthcheck {
            let short = |d: Option<Duration>| d.is_some_and(|d| !d.is_zero() && d < Duration::from_millis(1));
            if short(h.interval) || short(h.timeout) || short(h.start_period) || short(h.start_interval) {
                return Err(Error::invalid("a health check's times cannot be less than 1ms"));
            }
        }
        if self.log.max_files == 0 || self.log.max_size < 4096 {
            return Err(Error::invalid("log limits: at least one file of at least 4096 bytes"));
        }
        Ok(())
    }
}
