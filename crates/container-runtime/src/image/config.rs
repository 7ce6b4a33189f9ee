//! An image's configuration file: what of it a container needs. Leaves the rest to the stored original text.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::HistoryEntry;
use crate::config::Healthcheck;
use crate::error::{Error, Result};

/// The parts that matter.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// RFC 3339, or empty.
    pub created: String,
    /// `amd64`, ...
    pub architecture: String,
    /// `linux`.
    pub os: String,
    /// Who built it.
    pub author: String,
    /// Program and leading arguments.
    pub entrypoint: Vec<String>,
    /// Default arguments, or the command.
    pub cmd: Vec<String>,
    /// `NAME=value`.
    pub env: Vec<String>,
    /// `user[:group]`.
    pub user: String,
    /// Absolute, or empty.
    pub working_dir: String,
    /// For `docker stop`; empty is SIGTERM.
    pub stop_signal: String,
    /// `80/tcp`, ...
    pub exposed_ports: Vec<String>,
    /// Paths that are volumes.
    pub volumes: Vec<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// The health check.
    pub healthcheck: Option<Healthcheck>,
    /// `sha256:` of each uncompressed layer, lowest first.
    pub diff_ids: Vec<String>,
    /// Build steps, oldest first.
    pub history: Vec<HistoryEntry>,
}

// The file's shape. Docker writes null for empty lists and maps.
#[derive(Deserialize, Default)]
#[serde(default)]
struct File {
    created: Option<String>,
    architecture: Option<String>,
    os: Option<String>,
    author: Option<String>,
    config: Option<Inner>,
    rootfs: RootFs,
    history: Option<Vec<HistoryEntry>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RootFs {
    diff_ids: Option<Vec<String>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct Inner {
    user: Option<String>,
    env: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    working_dir: Option<String>,
    stop_signal: Option<String>,
    exposed_ports: Option<BTreeMap<String, serde_json::Value>>,
    volumes: Option<BTreeMap<String, serde_json::Value>>,
    labels: Option<BTreeMap<String, String>>,
    healthcheck: Option<Health>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "PascalCase")]
struct Health {
    test: Option<Vec<String>>,
    interval: i64,
    timeout: i64,
    start_period: i64,
    start_interval: i64,
    retries: i64,
}

impl ImageConfig {
    pub(crate) fn parse(text: &[u8]) -> Result<ImageConfig> {
        let f: File =
            serde_json::from_slice(text).map_err(|e| Error::invalid(format!("invalid image configuration: {e}")))?;
        let c = f.config.unwrap_or_default();
        let keys = |m: Option<BTreeMap<String, serde_json::Value>>| m.unwrap_or_default().into_keys().collect();
        let os = f.os.unwrap_or_default();
        if !os.is_empty() && os != "linux" {
            return Err(Error::invalid(format!("the image is for {os}, not for linux")));
        }
        let time = |n: i64| (n > 0).then(|| Duration::from_nanos(n as u64));
        Ok(ImageConfig {
            created: f.created.unwrap_or_default(),
            architecture: f.architecture.unwrap_or_default(),
            os,
            author: f.author.unwrap_or_default(),
            entrypoint: c.entrypoint.unwrap_or_default(),
            cmd: c.cmd.unwrap_or_default(),
            env: c.env.unwrap_or_default(),
            user: c.user.unwrap_or_default(),
            working_dir: c.working_dir.unwrap_or_default(),
            stop_signal: c.stop_signal.unwrap_or_default(),
            exposed_ports: keys(c.exposed_ports),
            volumes: keys(c.volumes),
            labels: c.labels.unwrap_or_default(),
            healthcheck: c.healthcheck.map(|h| Healthcheck {
                test: h.test.unwrap_or_default(),
                interval: time(h.interval),
                timeout: time(h.timeout),
                retries: u32::try_from(h.retries).ok().filter(|r| *r > 0),
                start_period: time(h.start_period),
                start_interval: time(h.start_interval),
            }),
            diff_ids: f.rootfs.diff_ids.unwrap_or_default(),
            history: f.history.unwrap_or_default(),
        })
    }
}
