//! What the daemon knows of a container: the stored record, the present state, and both together for a reader.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::health::Health;
use crate::builtin;
use crate::config::{ContainerConfig, Healthcheck, Network};
use crate::durable;
use crate::environment;
use crate::error::{Error, Result};
use crate::image::Image;
use crate::plan::Plan;
use crate::{caps, signal};

/// 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
pub struct ContainerId(String);

impl ContainerId {
    pub(crate) fn new(id: String) -> Self {
        ContainerId(id)
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first twelve digits, as Docker shows them.
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// 64 random hexadecimal digits.
pub(crate) fn random_id() -> Result<String> {
    use std::io::Read;
    let mut bytes = [0; 32];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut f| f.read_exact(&mut bytes))
        .map_err(|e| Error::internal(format!("reading /dev/urandom: {e}")))?;
    Ok(durable::hex(&bytes))
}

/// Where a container is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// Only a record.
    Created,
    /// Its namespaces exist, its program does not run yet. Docker shows this as created.
    Prepared,
    /// Its program runs.
    Running,
    /// Its program has ended.
    Exited,
}

/// The present state.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// Where it is.
    pub status: Status,
    /// Its first process, in the daemon's pid namespace.
    pub pid: Option<i32>,
    /// Nanoseconds since 1970, of the last start.
    pub started_at: Option<i64>,
    /// Of the last end.
    pub finished_at: Option<i64>,
    /// Of the last end; 0 before.
    pub exit_code: i32,
    /// Whether the kernel killed it for want of memory.
    pub oom_killed: bool,
    /// Why the last start failed, or what else went wrong.
    pub error: Option<String>,
    /// Health, while it has a check and runs (and the last result after).
    pub health: Option<Health>,
}

impl State {
    pub(crate) fn created() -> State {
        State {
            status: Status::Created,
            pid: None,
            started_at: None,
            finished_at: None,
            exit_code: 0,
            oom_killed: false,
            error: None,
            health: None,
        }
    }
}

/// What is stored of a container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    pub id: ContainerId,
    pub name: String,
    pub created_at: i64,
    pub config: ContainerConfig,
    pub image_id: String,
    /// Layer directories, topmost first: kept here so that a forced removal of the image cannot take them away.
    pub layers: Vec<String>,
    pub machine_userland: bool,
    /// Configuration and image merged.
    pub args: Vec<String>,
    pub env: Vec<String>,
    pub cwd: String,
    pub user: String,
    pub labels: BTreeMap<String, String>,
    pub stop_signal: i32,
    pub stop_grace: Duration,
    pub health: Option<Healthcheck>,
    /// Why the last start failed.
    pub start_error: Option<(String, i32)>,
}

/// A container for a reader.
#[derive(Debug, Clone)]
pub struct Inspect {
    /// Its id.
    pub id: ContainerId,
    /// Its name, without a slash.
    pub name: String,
    /// Nanoseconds since 1970.
    pub created_at: i64,
    /// What was asked for.
    pub config: ContainerConfig,
    /// The image's id (`sha256:..`).
    pub image_id: String,
    /// The whole command.
    pub args: Vec<String>,
    /// The whole environment.
    pub env: Vec<String>,
    /// The working directory.
    pub working_dir: String,
    /// The user as written.
    pub user: String,
    /// Labels of image and container.
    pub labels: BTreeMap<String, String>,
    /// The signal that `stop` sends.
    pub stop_signal: i32,
    /// How long `stop` waits.
    pub stop_grace: Duration,
    /// The effective health check.
    pub healthcheck: Option<Healthcheck>,
    /// The present state.
    pub state: State,
}

impl Record {
    pub(crate) fn new(config: ContainerConfig, name: String, id: String, image: &Image) -> Result<Record> {
        let ic = &image.config;
        // An entrypoint of one's own also drops the image's command, as Docker does.
        let entrypoint = config.entrypoint.clone().unwrap_or_else(|| ic.entrypoint.clone());
        let command = match &config.cmd {
            Some(cmd) if !cmd.is_empty() => cmd.clone(),
            _ if config.entrypoint.is_some() => Vec::new(),
            _ => ic.cmd.clone(),
        };
        let mut args: Vec<String> = entrypoint.into_iter().filter(|a| !a.is_empty()).chain(command).collect();
        if args.is_empty() {
            return Err(Error::invalid("no command specified"));
        }
        if config.init {
            args = [builtin::EXE, "lab-image", "init", "--"].into_iter().map(String::from).chain(args).collect();
        }
        let mut env = ic.env.clone();
        environment::merge(&mut env, &config.env);
        let mut labels = ic.labels.clone();
        labels.extend(config.labels.clone());
        let or = |a: &Option<String>, b: &str| a.clone().filter(|s| !s.is_empty()).unwrap_or_else(|| b.to_owned());
        let stop = or(&config.stop_signal, &ic.stop_signal);
        caps::resolve(&config.cap_add, &config.cap_drop, config.privileged)?;
        Ok(Record {
            created_at: durable::now_nanos(),
            image_id: image.id.clone(),
            layers: image.layers.iter().rev().map(|l| l.dir.clone()).collect(),
            machine_userland: image.machine_userland,
            args,
            env,
            cwd: or(&config.working_dir, if ic.working_dir.is_empty() { "/" } else { &ic.working_dir }),
            user: or(&config.user, &ic.user),
            labels,
            stop_signal: if stop.is_empty() { 15 } else { signal::parse(&stop)? },
            stop_grace: config.stop_grace.unwrap_or(Duration::from_secs(10)),
            health: merge_health(config.healthcheck.as_ref(), ic.healthcheck.as_ref()),
            start_error: None,
            id: ContainerId::new(id),
            name,
            config,
        })
    }

    pub(crate) fn plan(&self, setup: &super::Setup) -> Result<Plan> {
        let c = &self.config;
        let needs_exe = self.machine_userland || c.init;
        let mut layers = self.layers.clone();
        // Overlayfs needs a lower layer, also below an image that has none.
        layers.push(crate::image::EMPTY_LAYER.into());
        Ok(Plan {
            id: self.id.to_string(),
            layers_dir: setup.images_dir.join("layers"),
            layers,
            args: self.args.clone(),
            env: {
                let mut env = self.env.clone();
                if !env.iter().any(|e| e.starts_with("HOSTNAME=")) {
                    env.insert(0, format!("HOSTNAME={}", self.hostname()));
                }
                env
            },
            cwd: self.cwd.clone(),
            user: self.user.clone(),
            groups: c.groups.clone(),
            hostname: self.hostname(),
            domainname: c.domainname.clone(),
            mounts: c.mounts.clone(),
            machine_userland: self.machine_userland,
            exe: needs_exe.then(|| setup.exe.clone()),
            tty: c.tty,
            console_size: c.console_size,
            open_stdin: c.open_stdin,
            stdin_once: c.stdin_once,
            caps: caps::resolve(&c.cap_add, &c.cap_drop, c.privileged)?,
            privileged: c.privileged,
            no_new_privileges: c.no_new_privileges.unwrap_or(!c.privileged),
            read_only: c.read_only,
            sysctls: sysctls(c, setup.rootless),
            ulimits: c.ulimits.clone(),
            resources: c.resources.clone(),
            cgroup: format!("{}/{}", setup.cgroup_parent, self.id),
            enforce: setup.enforce,
            oom_score_adj: c.oom_score_adj,
            network: c.network.clone(),
            network_path: None,
            rootless: setup.rootless,
            log: c.log.clone(),
            shm_size: c.shm_size.unwrap_or(64 << 20),
        })
    }

    pub(crate) fn hostname(&self) -> String {
        self.config.hostname.clone().filter(|h| !h.is_empty()).unwrap_or_else(|| self.id.short().to_owned())
    }
}

// As Docker: in a network namespace of its own, a program needs no privilege for a low port or a ping.
fn sysctls(config: &ContainerConfig, rootless: bool) -> BTreeMap<String, String> {
    let mut all = config.sysctls.clone();
    if config.network == Network::New {
        all.entry("net.ipv4.ip_unprivileged_port_start".into()).or_insert("0".into());
        // A range of groups must be mapped to be named.
        if !rootless {
            all.entry("net.ipv4.ping_group_range".into()).or_insert("0 2147483647".into());
        }
    }
    all
}

// The container's check wins field by field; a field left out is the image's.
fn merge_health(own: Option<&Healthcheck>, image: Option<&Healthcheck>) -> Option<Healthcheck> {
    let mut merged = match (own, image) {
        (Some(o), Some(i)) => Healthcheck {
            test: if o.test.is_empty() { i.test.clone() } else { o.test.clone() },
            interval: o.interval.or(i.interval),
            timeout: o.timeout.or(i.timeout),
            retries: o.retries.or(i.retries),
            start_period: o.start_period.or(i.start_period),
            start_interval: o.start_interval.or(i.start_interval),
        },
        (Some(h), None) | (None, Some(h)) => h.clone(),
        (None, None) => return None,
    };
    if merged.test.is_empty() || merged.test[0] == "NONE" {
        return None;
    }
    for d in [&mut merged.interval, &mut merged.timeout, &mut merged.start_period, &mut merged.start_interval] {
        *d = d.filter(|d| !d.is_zero());
    }
    merged.retries = merged.retries.filter(|r| *r > 0);
    Some(merged)
}
