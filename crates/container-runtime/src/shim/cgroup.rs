//! The container's control groups: what they counted, and their removal. Leaves out creation and limits, which
//! libcontainer does. Never kills by cgroup: the pid namespace's end already ends every process.

use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = "/sys/fs/cgroup";

/// The parent of the groups that libcontainer makes although limits are not enforced.
pub(crate) const IGNORED: &str = "swarmlab-ignored";

/// The directories of `path` in every mounted hierarchy.
pub(crate) fn directories(path: &str) -> Vec<PathBuf> {
    let relative = path.trim_start_matches('/');
    let mut dirs = vec![Path::new(ROOT).join(relative)];
    for entry in fs::read_dir(ROOT).into_iter().flatten().flatten() {
        dirs.push(entry.path().join(relative));
    }
    dirs.retain(|d| d.join("cgroup.procs").exists());
    dirs
}

/// Whether the kernel killed a process of the group for lack of memory.
pub(crate) fn oom_killed(path: &str) -> bool {
    directories(path).iter().any(|d| {
        ["memory.oom_control", "memory.events"].iter().any(|f| {
            let text = fs::read_to_string(d.join(f)).unwrap_or_default();
            text.lines().any(|l| l.strip_prefix("oom_kill ").is_some_and(|n| n.trim() != "0"))
        })
    })
}

/// A number from the first hierarchy that has the file.
pub(crate) fn read_number(path: &str, files: &[&str]) -> Option<u64> {
    directories(path)
        .iter()
        .find_map(|d| files.iter().find_map(|f| fs::read_to_string(d.join(f)).ok()?.trim().parse().ok()))
}

/// Removes the group's directories. The last process may linger for a moment, so it tries a few times.
pub(crate) fn remove(path: &str) {
    for dir in directories(path) {
        for _ in 0..20 {
            match fs::remove_dir(&dir) {
                Err(e) if e.raw_os_error() == Some(nix::libc::EBUSY) => {
                    std::thread::sleep(std::time::Duration::from_millis(5));
                }
                _ => break,
            }
        }
        // Groups that nobody asked for leave no parent behind either; this fails while another is in use.
        if let Some(parent) = dir.parent().filter(|p| p.ends_with(IGNORED)) {
            let _ = fs::remove_dir(parent);
        }
    }
}
