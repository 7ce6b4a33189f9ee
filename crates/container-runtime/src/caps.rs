//! Capabilities: Docker's default set, and what `--cap-add` and `--cap-drop` make of it.

use std::collections::BTreeSet;

use crate::error::{Error, Result};

/// All that Linux knows, by number.
const ALL: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// What Docker leaves to a container.
const DEFAULT: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];

/// The container's set, as `CAP_*` names in order of number.
pub(crate) fn resolve(add: &[String], drop: &[String], privileged: bool) -> Result<Vec<String>> {
    let mut set: BTreeSet<usize> =
        if privileged { (0..ALL.len()).collect() } else { DEFAULT.iter().filter_map(|n| number(n)).collect() };
    // `ALL` first, single names after, so that `--cap-drop ALL --cap-add CHOWN` leaves just CHOWN.
    let is_all = |s: &String| matches!(s.to_ascii_uppercase().as_str(), "ALL" | "CAP_ALL");
    if add.iter().any(is_all) {
        set = (0..ALL.len()).collect();
    }
    if drop.iter().any(is_all) {
        set.clear();
    }
    for name in drop.iter().filter(|s| !is_all(s)) {
        set.remove(&known(name, "CapDrop")?);
    }
    for name in add.iter().filter(|s| !is_all(s)) {
        set.insert(known(name, "CapAdd")?);
    }
    let here = bounding();
    Ok(set.into_iter().filter(|n| here & (1 << n) != 0).map(|n| format!("CAP_{}", ALL[n])).collect())
}

fn number(name: &str) -> Option<usize> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    ALL.iter().position(|n| *n == bare)
}

fn known(name: &str, which: &str) -> Result<usize> {
    number(name).ok_or_else(|| Error::invalid(format!("invalid {which}: unknown capability: \"{name}\"")))
}

/// What this process could give at all: asking the kernel for more would fail.
fn bounding() -> u64 {
    std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|s| {
            let line = s.lines().find_map(|l| l.strip_prefix("CapBnd:"))?.trim().to_owned();
            u64::from_str_radix(&line, 16).ok()
        })
        .unwrap_or(u64::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn dropping_all_and_adding_one_leaves_one_and_unknown_names_are_refused() {
        let s = |v: &[&str]| v.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        assert_eq!(resolve(&s(&["chown"]), &s(&["all"]), false).unwrap(), ["CAP_CHOWN"]);
        assert!(resolve(&s(&["NOPE"]), &[], false).is_err());
        let d = resolve(&[], &s(&["CAP_MKNOD"]), false).unwrap();
        assert!(!d.contains(&"CAP_MKNOD".to_owned()) && !d.contains(&"CAP_SYS_ADMIN".to_owned()));
    }
}
