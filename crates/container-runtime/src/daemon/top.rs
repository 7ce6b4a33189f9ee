//! The processes of a container and what they use, read from /proc and the cgroup. Leaves out `ps`'s columns.

use std::fs;

use super::Runtime;
use super::record::{ContainerId, Status};
use crate::error::{Error, Result};
use crate::shim::cgroup;

/// A process of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// In the daemon's pid namespace.
    pub pid: i32,
    /// Its parent, in the same.
    pub parent: i32,
    /// Its owner.
    pub uid: u32,
    /// Ticks of 10 ms spent running.
    pub cpu_ticks: u64,
    /// Ticks of 10 ms from boot to its start.
    pub start_ticks: u64,
    /// Its command line, or its name in brackets.
    pub command: String,
    /// Resident bytes.
    pub resident: u64,
}

/// What a container uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Bytes of memory: from the cgroup, or the sum of resident sizes.
    pub memory: u64,
    /// The memory limit, if enforced.
    pub memory_limit: Option<u64>,
    /// Number of processes.
    pub pids: u64,
    /// Nanoseconds of processor time.
    pub cpu_nanos: u64,
}

impl Runtime {
    /// The processes of a running container, its first one first.
    pub fn top(&self, id: &ContainerId) -> Result<Vec<Process>> {
        let entry = self.entry(id)?;
        let state = entry.state.borrow().clone();
        let (Some(init), Status::Running) = (state.pid, state.status) else {
            return Err(Error::conflict(format!("container {id} is not running")));
        };
        let space = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let Some(own) = space(init) else {
            return Err(Error::conflict(format!("container {id} is not running")));
        };
        let mut all: Vec<Process> = fs::read_dir("/proc")
            .map_err(|e| Error::internal(format!("reading /proc: {e}")))?
            .flatten()
            .filter_map(|e| e.file_name().to_str()?.parse().ok())
            .filter(|pid| space(*pid).as_ref() == Some(&own))
            .filter_map(read)
            .collect();
        all.sort_by_key(|p| (p.pid != init, p.pid));
        Ok(all)
    }

    /// What a running container uses.
    pub fn stats(&self, id: &ContainerId) -> Result<Stats> {
        let processes = self.top(id)?;
        let path = format!("{}/{id}", self.inner.setup.cgroup_parent);
        let ticks: u64 = processes.iter().map(|p| p.cpu_ticks).sum();
        let sum = |f: fn(&Process) -> u64| processes.iter().map(f).sum();
        Ok(Stats {
            memory: cgroup::read_number(&path, &["memory.usage_in_bytes", "memory.current"])
                .unwrap_or_else(|| sum(|p| p.resident)),
            memory_limit: cgroup::read_number(&path, &["memory.limit_in_bytes", "memory.max"]).filter(|l| *l < 1 << 60),
            pids: processes.len() as u64,
            cpu_nanos: cgroup::read_number(&path, &["cpuacct.usage"]).unwrap_or(ticks * 10_000_000),
        })
    }
}

fn read(pid: i32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (open, close) = (stat.find('(')?, stat.rfind(')')?);
    let f: Vec<&str> = stat.get(close + 2..)?.split(' ').collect();
    let number = |i: usize| f.get(i).and_then(|s| s.parse::<u64>().ok());
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let uid = status.lines().find_map(|l| l.strip_prefix("Uid:"))?.split_whitespace().next()?.parse().ok()?;
    let raw = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words: Vec<_> = raw.split(|b| *b == 0).filter(|w| !w.is_empty()).map(String::from_utf8_lossy).collect();
    Some(Process {
        pid,
        parent: number(1)? as i32,
        uid,
        cpu_ticks: number(11)? + number(12)?,
        start_ticks: number(19)?,
        command: if words.is_empty() { format!("[{}]", &stat[open + 1..close]) } else { words.join(" ") },
        resident: number(21)? * 4096,
    })
}
