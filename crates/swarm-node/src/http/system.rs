//! The engine itself: ping, version, info, disk use.

use docker_api::ApiVersion;
use docker_api::query::DiskUsage;
use http::{HeaderValue, Method, StatusCode};
use serde_json::{Value, json};

use super::call::Call;
use super::reply::{self, Result};
use crate::containers::LocalState;
use crate::convert::swarm::cluster_info;
use crate::core::{LocalNodeState, SwarmInfo};

/// The engine's version: our own, since that is what runs here.
pub const ENGINE_VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "-swarmlab");

/// `GET`, `HEAD /_ping`
pub(crate) async fn ping(call: &Call) -> Result {
    let swarm = call.api.node.swarm_info().await;
    let state = match swarm.state {
        LocalNodeState::Active if swarm.control_available => "active/manager",
        LocalNodeState::Active => "active/worker",
        other => other.as_str(),
    };
    let mut answer = if call.parts.method == Method::HEAD { reply::empty(StatusCode::OK) } else { reply::text("OK") };
    let headers = answer.headers_mut();
    headers.insert("Swarm", HeaderValue::from_static(state));
    headers.insert("Builder-Version", HeaderValue::from_static("1"));
    headers.insert("Cache-Control", HeaderValue::from_static("no-cache, no-store, must-revalidate"));
    headers.insert("Pragma", HeaderValue::from_static("no-cache"));
    Ok(answer)
}

/// `GET /version`
pub(crate) fn version() -> reply::Answer {
    let kernel =
        nix::sys::utsname::uname().map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default();
    let details = json!({
        "ApiVersion": ApiVersion::MAX.to_string(), "Arch": go_arch(), "BuildTime": "", "Experimental": "false",
        "GitCommit": "", "GoVersion": "", "KernelVersion": kernel, "MinAPIVersion": ApiVersion::MIN.to_string(), "Os": "linux",
    });
    reply::json(json!({
        "Platform": {"Name": "swarmlab"},
        "Components": [{"Name": "Engine", "Version": ENGINE_VERSION, "Details": details}],
        "Version": ENGINE_VERSION,
        "ApiVersion": ApiVersion::MAX.to_string(),
        "MinAPIVersion": ApiVersion::MIN.to_string(),
        "GitCommit": "",
        "GoVersion": "",
        "Os": "linux",
        "Arch": go_arch(),
        "KernelVersion": kernel,
    }))
}

fn go_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// `GET /info`
pub(crate) async fn info(call: &Call) -> Result {
    let engine = &call.api.engine;
    let swarm = call.api.node.swarm_info().await;
    let counts = engine.count();
    let limits = engine.runtime().enforces_limits();
    let uname = nix::sys::utsname::uname().ok();
    let kernel = uname.as_ref().map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default();
    let mut warnings: Vec<&str> = Vec::new();
    if !limits {
        warnings.extend([
            "WARNING: No memory limit support",
            "WARNING: No cpu cfs quota support",
            "WARNING: No cpu shares support",
            "WARNING: No cpuset support",
            "WARNING: No pids limit support",
            "WARNING: limits are accepted and not enforced: this node has no cgroup delegation",
        ]);
    }
    let rootless = engine.rootless();
    let mut security = vec!["name=cgroupns"];
    if rootless {
        security.push("name=rootless");
    }
    let count = |state| counts.iter().filter(|one| **one == state).count();
    let mut shown = json!({
        "ID": node_identity(&call.api.hostname, &call.api.data_root.to_string_lossy()),
        "Containers": counts.len(),
        "ContainersRunning": count(LocalState::Running),
        "ContainersPaused": 0,
        "ContainersStopped": count(LocalState::Stopped),
        "Images": engine.runtime().images().list().len(),
        "Driver": "overlay2",
        "DriverStatus": [["Backing Filesystem", "overlayfs"], ["Userxattr", rootless.to_string()]],
        "Plugins": {
            "Volume": ["local"], "Network": ["bridge", "host", "null", "overlay"], "Authorization": null,
            "Log": ["json-file", "local"],
        },
        "MemoryLimit": limits, "SwapLimit": false, "CpuCfsPeriod": limits, "CpuCfsQuota": limits,
        "CPUShares": limits, "CPUSet": limits, "PidsLimit": limits,
        "IPv4Forwarding": true, "Debug": false,
        "NFd": 0, "OomKillDisable": false, "NGoroutines": 0,
        "SystemTime": docker_api::time::UnixTime::from_nanos(i128::from(crate::core::now().as_nanos())).to_string(),
        "LoggingDriver": "json-file",
        "CgroupDriver": if limits { "cgroupfs" } else { "none" },
        "CgroupVersion": if std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists() { "2" } else { "1" },
    });
    // two halves: one macro call of so many fields exceeds the compiler's recursion limit
    let more = json!({
        "NEventsListener": 0,
        "KernelVersion": kernel,
        "OperatingSystem": operating_system(),
        "OSVersion": "",
        "OSType": "linux",
        "Architecture": std::env::consts::ARCH,
        "IndexServerAddress": "",
        "RegistryConfig": {"InsecureRegistryCIDRs": [], "IndexConfigs": {}, "Mirrors": null},
        "NCPU": crate::containers::processors(),
        "MemTotal": crate::containers::memory_bytes(),
        "GenericResources": null,
        "DockerRootDir": call.api.data_root,
        "HttpProxy": "", "HttpsProxy": "", "NoProxy": "",
        "Name": call.api.hostname,
        "Labels": [],
        "ExperimentalBuild": false,
        "ServerVersion": ENGINE_VERSION,
        "Runtimes": {"runc": {"path": "libcontainer"}},
        "DefaultRuntime": "runc",
        "Swarm": swarm_section(&swarm),
        "LiveRestoreEnabled": true,
        "Isolation": "",
        "InitBinary": "swarmlab-init",
        "ContainerdCommit": {"ID": ""}, "RuncCommit": {"ID": ""}, "InitCommit": {"ID": ""},
        "SecurityOptions": security,
        "CDISpecDirs": [],
        "Warnings": warnings,
    });
    if let (Some(shown), Value::Object(more)) = (shown.as_object_mut(), more) {
        shown.extend(more);
    }
    Ok(reply::json(shown))
}

fn swarm_section(swarm: &SwarmInfo) -> Value {
    let remotes: Vec<Value> = swarm
        .remote_managers
        .iter()
        .map(|peer| json!({"NodeID": peer.node_id.to_string(), "Addr": peer.addr}))
        .collect();
    let mut shown = json!({
        "NodeID": swarm.node_id.map(|id| id.to_string()).unwrap_or_default(),
        "NodeAddr": swarm.node_addr,
        "LocalNodeState": swarm.state.as_str(),
        "ControlAvailable": swarm.control_available,
        "Error": swarm.error,
        "RemoteManagers": if remotes.is_empty() { Value::Null } else { json!(remotes) },
    });
    if swarm.control_available {
        shown["Nodes"] = json!(swarm.nodes);
        shown["Managers"] = json!(swarm.managers);
        if let Some(cluster) = &swarm.cluster {
            shown["Cluster"] = cluster_info(cluster).build();
        }
    }
    shown
}

fn operating_system() -> String {
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map(|name| name.trim_matches('"').to_owned()).unwrap_or_else(|| "Linux".into())
}

/// An id of the engine that stays the same over restarts.
fn node_identity(hostname: &str, root: &str) -> String {
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(format!("{hostname}\n{root}"));
    let hex: String = digest[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// `GET /system/df`
pub(crate) fn disk_usage(call: &Call) -> Result {
    let DiskUsage { kinds } = call.query()?;
    if let Some(bad) =
        kinds.iter().find(|kind| !["container", "image", "volume", "build-cache"].contains(&kind.as_str()))
    {
        return Err(reply::ApiError::bad_request(format!("unknown object type: {bad}")));
    }
    let wants = |kind: &str| kinds.is_empty() || kinds.iter().any(|wanted| wanted == kind);
    let images = call.api.engine.runtime().images().list();
    let size: u64 = images.iter().map(|one| one.image.size()).sum();
    let mut shown =
        json!({"LayersSize": size, "Images": null, "Containers": null, "Volumes": null, "BuildCache": null});
    if wants("image") {
        shown["Images"] = json!(super::images::summaries(call, &images));
    }
    if wants("container") {
        shown["Containers"] = json!(super::containers::summaries(call, true));
    }
    if wants("volume") {
        shown["Volumes"] = json!(super::volumes::shown(call, true));
    }
    Ok(reply::json(shown))
}
