//! The daemon's instructions to a shim, and the files of a container's directory.
//!
//! ```text
//! <state>/containers/<id>/
//!   record.state   what was asked for, image, layers, past runs        (daemon)
//!   plan.json      this run: command, mounts, limits                   (daemon)
//!   run.state      this run: shim's and init's pid with start times    (shim)
//!   exit.state     how this run ended; absent while it runs            (shim; the daemon if the shim was killed)
//!   shim.sock      control socket, while the shim lives                (shim)
//!   bundle/        config.json, rootfs (mount point), process files    (shim)
//!   oci/           libcontainer's own state                            (shim)
//!   upper/ work/   the container's writable layer                      (overlayfs)
//!   etc/           hosts, hostname, resolv.conf: bound into the container (daemon)
//!   logs/          NNNNNN.log                                          (shim)
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::{LogLimits, Mount, Network, Resources, Ulimit};

/// All that a shim needs to know.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub id: String,
    /// Directory of the image layers.
    pub layers_dir: PathBuf,
    /// Names in `layers_dir`, topmost first.
    pub layers: Vec<String>,
    pub args: Vec<String>,
    pub env: Vec<String>,
    pub cwd: String,
    pub user: String,
    pub groups: Vec<String>,
    pub hostname: String,
    pub domainname: Option<String>,
    pub mounts: Vec<Mount>,
    /// Bind the machine's own /usr and friends (built-in images).
    pub machine_userland: bool,
    /// The swarmlab binary, bound to [`crate::builtin::EXE`] if the image or `init` needs it.
    pub exe: Option<PathBuf>,
    pub tty: bool,
    #[serde(default)]
    pub console_size: Option<(u16, u16)>,
    pub open_stdin: bool,
    pub stdin_once: bool,
    pub caps: Vec<String>,
    pub privileged: bool,
    pub no_new_privileges: bool,
    pub read_only: bool,
    pub sysctls: BTreeMap<String, String>,
    pub ulimits: Vec<Ulimit>,
    pub resources: Resources,
    /// Path under the cgroup root.
    pub cgroup: String,
    /// Whether `resources` are applied to it.
    pub enforce: bool,
    pub oom_score_adj: Option<i32>,
    pub network: Network,
    /// The network namespace of another container.
    #[serde(default)]
    pub network_path: Option<PathBuf>,
    pub rootless: bool,
    pub log: LogLimits,
    pub shm_size: u64,
}

/// Written by the shim once the namespaces exist.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RunState {
    pub shim: ProcessId,
    pub init: ProcessId,
    pub started_at: Option<i64>,
}

/// Written by the shim when the container has ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ExitState {
    pub code: i32,
    pub oom: bool,
    pub at: i64,
    pub error: Option<String>,
}

/// A process that cannot be mistaken for a later one of the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessId {
    pub pid: i32,
    /// Field 22 of /proc/PID/stat.
    pub start_time: u64,
}

impl ProcessId {
    /// The process of this number that lives now.
    pub(crate) fn of(pid: i32) -> Option<ProcessId> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The second field is a name in brackets that may itself hold blanks and brackets.
        let after = &stat[stat.rfind(')')? + 2..];
        if after.starts_with('Z') || after.starts_with('X') {
            return None;
        }
        let start_time = after.split(' ').nth(19)?.parse().ok()?;
        Some(ProcessId { pid, start_time })
    }

    /// Whether it still lives.
    pub(crate) fn alive(self) -> bool {
        ProcessId::of(self.pid) == Some(self)
    }
}

/// Names in a container's directory.
pub(crate) struct Paths;

impl Paths {
    pub(crate) const RECORD: &str = "record.state";
    pub(crate) const PLAN: &str = "plan.json";
    pub(crate) const RUN: &str = "run.state";
    pub(crate) const EXIT: &str = "exit.state";
    pub(crate) const SOCKET: &str = "shim.sock";
    pub(crate) const LOGS: &str = "logs";

    /// Binds or connects through /proc/self/fd, since a socket's path may have only 107 bytes and a state
    /// directory plus a 64-digit id easily has more.
    pub(crate) fn short_socket(dir: &std::fs::File, name: &str) -> PathBuf {
        use std::os::fd::AsRawFd;
        PathBuf::from(format!("/proc/self/fd/{}/{}", dir.as_raw_fd(), name))
    }
}
