//! From a [`Plan`] to the OCI runtime configuration that libcontainer reads.
//! Leaves out a default seccomp profile: libcontainer needs the C library libseccomp for it. What stands between
//! a container and the machine is namespaces, Docker's capability set, no-new-privileges and masked paths.

use std::path::Path;

use serde_json::{Value, json};

use crate::builtin;
use crate::config::{Mount, MountSource, Network};
use crate::error::{Error, Result};
use crate::plan::Plan;
use crate::rootfs::User;

const MASKED: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The search path of a process whose environment names none.
pub(crate) const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The container's config.json.
pub(crate) fn config(plan: &Plan, dir: &Path, rootfs: &Path, user: &User) -> Result<Value> {
    let mut namespaces =
        vec![json!({"type": "pid"}), json!({"type": "mount"}), json!({"type": "ipc"}), json!({"type": "uts"})];
    if plan.network == Network::New {
        namespaces.push(json!({"type": "network"}));
    }
    if let Some(path) = &plan.network_path {
        namespaces.push(json!({"type": "network", "path": path}));
    }
    let (masked, read_only): (&[&str], &[&str]) = if plan.privileged { (&[], &[]) } else { (&MASKED, &READ_ONLY) };
    let mut linux = json!({
        "namespaces": namespaces,
        "cgroupsPath": plan.cgroup,
        "maskedPaths": masked,
        "readonlyPaths": read_only,
        "sysctl": plan.sysctls,
        "rootfsPropagation": "slave",
    });
    if plan.enforce {
        linux["resources"] = resources(plan);
    }
    let mut process = process(plan, user, &plan.args, env(&plan.env, user, plan.tty), &plan.cwd, plan.tty)?;
    if let Some(adj) = plan.oom_score_adj {
        process["oomScoreAdj"] = adj.into();
    }
    let mut spec = json!({
        "ociVersion": "1.0.2",
        "process": process,
        "root": {"path": rootfs, "readonly": plan.read_only},
        "hostname": plan.hostname,
        "mounts": mounts(plan, dir)?,
        "linux": linux,
    });
    if let Some(d) = &plan.domainname {
        spec["domainname"] = d.as_str().into();
    }
    Ok(spec)
}

/// A process object: the container's own, or an exec's.
pub(crate) fn process(
    plan: &Plan,
    user: &User,
    args: &[String],
    env: Vec<String>,
    cwd: &str,
    tty: bool,
) -> Result<Value> {
    let rlimits = plan
        .ulimits
        .iter()
        .map(|u| {
            let limit = |v: i64| if v < 0 { u64::MAX } else { v as u64 };
            Ok(json!({"type": format!("RLIMIT_{}", u.name.to_ascii_uppercase()), "soft": limit(u.soft), "hard": limit(u.hard)}))
        })
        .collect::<Result<Vec<_>>>()?;
    let mut process = json!({
        "terminal": tty,
        "user": {"uid": user.uid, "gid": user.gid, "umask": 0o022},
        "args": args,
        "env": env,
        "cwd": cwd,
        "capabilities": {"bounding": plan.caps, "effective": plan.caps, "permitted": plan.caps},
        "rlimits": rlimits,
        "noNewPrivileges": plan.no_new_privileges,
    });
    if !plan.rootless && !user.groups.is_empty() {
        process["user"]["additionalGids"] = json!(user.groups);
    }
    Ok(process)
}

/// Adds what Docker adds: a search path, a home, a terminal type.
pub(crate) fn env(given: &[String], user: &User, tty: bool) -> Vec<String> {
    let mut env = given.to_vec();
    let has = |env: &[String], name: &str| env.iter().any(|e| e.split('=').next() == Some(name));
    if !has(&env, "PATH") {
        env.insert(0, DEFAULT_PATH.into());
    }
    if !has(&env, "HOME") {
        env.push(format!("HOME={}", user.home));
    }
    if tty && !has(&env, "TERM") {
        env.push("TERM=xterm".into());
    }
    env
}

fn mounts(plan: &Plan, dir: &Path) -> Result<Vec<Value>> {
    let m = |dest: &str, typ: &str, options: &[&str]| json!({"destination": dest, "type": typ, "source": typ, "options": options});
    let shm = format!("size={}", plan.shm_size);
    // The terminal group (5) exists only where more than one id is mapped.
    let mut pts = vec!["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"];
    if !plan.rootless {
        pts.push("gid=5");
    }
    let mut sys = vec!["nosuid", "noexec", "nodev"];
    if !plan.privileged {
        sys.push("ro");
    }
    let sysfs = if plan.network == Network::Host && plan.rootless {
        // sysfs shows a network namespace's devices: its owner alone may mount it, others see the existing one.
        json!({"destination": "/sys", "type": "bind", "source": "/sys", "options": ["rbind", "nosuid", "noexec", "nodev", "ro"]})
    } else {
        m("/sys", "sysfs", &sys)
    };
    let mut all = vec![
        m("/proc", "proc", &["nosuid", "noexec", "nodev"]),
        m("/dev", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        m("/dev/pts", "devpts", &pts),
        sysfs,
        m("/dev/mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        m("/dev/shm", "tmpfs", &["nosuid", "noexec", "nodev", "mode=1777", &shm]),
    ];
    let bind = |target: &str, source: &Path, ro: bool| {
        // `rro` reaches mounts below the source too.
        let options: &[&str] = if ro { &["rbind", "rprivate", "rro"] } else { &["rbind", "rprivate"] };
        json!({"destination": target, "type": "bind", "source": source, "options": options})
    };
    if plan.machine_userland {
        all.extend(builtin::machine_binds().iter().map(|p| bind(p, Path::new(p), true)));
    }
    if let Some(exe) = &plan.exe {
        all.push(bind(builtin::EXE, exe, true));
    }
    for name in ["hosts", "hostname", "resolv.conf"] {
        let target = format!("/etc/{name}");
        if !plan.mounts.iter().any(|m| m.target == target) {
            all.push(bind(&target, &dir.join("etc").join(name), plan.read_only));
        }
    }
    let mut own: Vec<&Mount> = plan.mounts.iter().collect();
    own.sort_by_key(|m| m.target.split('/').filter(|c| !c.is_empty()).count());
    for mount in own {
        all.push(match &mount.source {
            MountSource::Bind(path) | MountSource::Volume { path, .. } => {
                if !path.exists() {
                    return Err(Error::invalid(format!(
                        "invalid mount config for type \"bind\": bind source path does not exist: {}",
                        path.display()
                    )));
                }
                bind(&mount.target, path, mount.read_only)
            }
            MountSource::Tmpfs { size, mode } => {
                let mut options = vec!["nosuid".into(), "nodev".into(), "noexec".into()];
                options.push(format!("mode={:o}", mode.unwrap_or(0o1777)));
                if let Some(size) = size {
                    options.push(format!("size={size}"));
                }
                if mount.read_only {
                    options.push("ro".into());
                }
                json!({"destination": mount.target, "type": "tmpfs", "source": "tmpfs", "options": options})
            }
        });
    }
    Ok(all)
}

fn resources(plan: &Plan) -> Value {
    let r = &plan.resources;
    let mut out = json!({});
    if r.memory.is_some() || r.memory_reservation.is_some() {
        let mut memory = json!({});
        if let Some(limit) = r.memory.filter(|m| *m > 0) {
            memory["limit"] = limit.into();
        }
        if let Some(soft) = r.memory_reservation.filter(|m| *m > 0) {
            memory["reservation"] = soft.into();
        }
        out["memory"] = memory;
    }
    let mut cpu = json!({});
    if let Some(nano) = r.nano_cpus.filter(|n| *n > 0) {
        cpu["period"] = 100_000.into();
        // The kernel refuses less than 1 ms.
        cpu["quota"] = (nano / 10_000).max(1000).into();
    }
    if let Some(shares) = r.cpu_shares.filter(|s| *s > 0) {
        cpu["shares"] = shares.into();
    }
    if let Some(set) = r.cpuset.as_deref().filter(|s| !s.is_empty()) {
        cpu["cpus"] = set.into();
    }
    if cpu.as_object().is_some_and(|o| !o.is_empty()) {
        out["cpu"] = cpu;
    }
    if let Some(pids) = r.pids.filter(|p| *p > 0) {
        out["pids"] = json!({"limit": pids});
    }
    // libcontainer adds the usual devices to this refusal of all.
    out["devices"] = if plan.privileged {
        json!([{"allow": true, "access": "rwm"}])
    } else {
        json!([{"allow": false, "access": "rwm"}])
    };
    out
}
