//! `docker info`.

use super::units::{bytes_size, human_duration};
use crate::spec::json::{array, at, int, strings, text, truth};
use serde_json::{Value, json};

/// The page, without the warnings, which go to standard error.
pub fn page(info: &Value) -> String {
    let mut p = Page(String::new());
    p.line(format_args!(
        "Client:\n Version:    {}\n Context:    default\n Debug Mode: false\n",
        env!("CARGO_PKG_VERSION")
    ));
    p.line(format_args!("Server:"));
    p.line(format_args!(" Containers: {}", int(info, "Containers")));
    p.line(format_args!("  Running: {}", int(info, "ContainersRunning")));
    p.line(format_args!("  Paused: {}", int(info, "ContainersPaused")));
    p.line(format_args!("  Stopped: {}", int(info, "ContainersStopped")));
    p.line(format_args!(" Images: {}", int(info, "Images")));
    p.given(" Server Version:", text(info, "ServerVersion"));
    p.given(" Storage Driver:", text(info, "Driver"));
    for pair in array(info, "DriverStatus") {
        let part = |at: usize| pair.get(at).and_then(Value::as_str).unwrap_or("");
        p.line(format_args!("  {}: {}", part(0), part(1)));
    }
    p.given(" Logging Driver:", text(info, "LoggingDriver"));
    p.given(" Cgroup Driver:", text(info, "CgroupDriver"));
    p.given(" Cgroup Version:", text(info, "CgroupVersion"));
    let empty = json!({});
    let plugins = at(info, "Plugins").unwrap_or(&empty);
    p.line(format_args!(" Plugins:"));
    for kind in ["Volume", "Network", "Authorization", "Log"] {
        let names = strings(plugins, kind);
        if kind != "Authorization" || !names.is_empty() {
            p.line(format_args!("  {kind}: {}", names.join(" ")));
        }
    }
    p.swarm(info);
    let runtimes: Vec<&String> =
        at(info, "Runtimes").and_then(Value::as_object).map_or(Vec::new(), |m| m.keys().collect());
    if !runtimes.is_empty() {
        let names: Vec<&str> = runtimes.iter().map(|name| name.as_str()).collect();
        p.line(format_args!(" Runtimes: {}\n Default Runtime: {}", names.join(" "), text(info, "DefaultRuntime")));
    }
    if text(info, "OSType") == "linux" {
        p.line(format_args!(" Init Binary: {}", text(info, "InitBinary")));
        p.line(format_args!(" containerd version: {}", text(info, "ContainerdCommit.ID")));
        p.line(format_args!(" runc version: {}", text(info, "RuncCommit.ID")));
        p.line(format_args!(" init version: {}", text(info, "InitCommit.ID")));
        p.security(info);
    }
    p.given(" Kernel Version:", text(info, "KernelVersion"));
    p.given(" Operating System:", text(info, "OperatingSystem"));
    p.given(" OSType:", text(info, "OSType"));
    p.given(" Architecture:", text(info, "Architecture"));
    p.line(format_args!(" CPUs: {}", int(info, "NCPU")));
    p.line(format_args!(" Total Memory: {}", bytes_size(int(info, "MemTotal") as f64)));
    p.given(" Name:", text(info, "Name"));
    p.given(" ID:", text(info, "ID"));
    p.line(format_args!(" Docker Root Dir: {}", text(info, "DockerRootDir")));
    p.line(format_args!(" Debug Mode: {}", truth(info, "Debug")));
    if truth(info, "Debug") {
        p.line(format_args!("  File Descriptors: {}\n  Goroutines: {}", int(info, "NFd"), int(info, "NGoroutines")));
        p.line(format_args!(
            "  System Time: {}\n  EventsListeners: {}",
            text(info, "SystemTime"),
            int(info, "NEventsListener")
        ));
    }
    p.given(" HTTP Proxy:", text(info, "HttpProxy"));
    p.given(" HTTPS Proxy:", text(info, "HttpsProxy"));
    p.given(" No Proxy:", text(info, "NoProxy"));
    let labels = strings(info, "Labels");
    if !labels.is_empty() {
        p.line(format_args!(" Labels:"));
        for label in labels {
            p.line(format_args!("  {label}"));
        }
    }
    p.line(format_args!(" Experimental: {}", truth(info, "ExperimentalBuild")));
    p.registries(info);
    p.line(format_args!(" Live Restore Enabled: {}", truth(info, "LiveRestoreEnabled")));
    p.given(" Product License:", text(info, "ProductLicense"));
    let pools = array(info, "DefaultAddressPools");
    if !pools.is_empty() {
        p.line(format_args!(" Default Address Pools:"));
    }
    for pool in pools {
        p.line(format_args!("   Base: {}, Size: {}", text(pool, "Base"), int(pool, "Size")));
    }
    p.0.push('\n');
    p.0
}

struct Page(String);

impl Page {
    fn line(&mut self, text: std::fmt::Arguments<'_>) {
        use std::fmt::Write;
        // Writing to a String does not fail.
        let _ = writeln!(self.0, "{text}");
    }

    fn given(&mut self, label: &str, value: &str) {
        if !value.is_empty() {
            self.line(format_args!("{label} {value}"));
        }
    }

    fn swarm(&mut self, info: &Value) {
        let state = text(info, "Swarm.LocalNodeState");
        self.line(format_args!(" Swarm: {state}"));
        let Some(swarm) = at(info, "Swarm").filter(|_| !matches!(state, "" | "inactive" | "locked")) else {
            return;
        };
        self.line(format_args!("  NodeID: {}", text(swarm, "NodeID")));
        self.given("  Error:", text(swarm, "Error"));
        let is_manager = truth(swarm, "ControlAvailable");
        self.line(format_args!("  Is Manager: {is_manager}"));
        if let Some(cluster) = at(swarm, "Cluster")
            && is_manager
            && text(swarm, "Error").is_empty()
            && state != "error"
        {
            self.cluster(swarm, cluster);
        }
        self.line(format_args!("  Node Address: {}", text(swarm, "NodeAddr")));
        let mut managers: Vec<&str> = array(swarm, "RemoteManagers").iter().map(|m| text(m, "Addr")).collect();
        managers.sort_unstable();
        if !managers.is_empty() {
            self.line(format_args!("  Manager Addresses:"));
        }
        for manager in managers {
            self.line(format_args!("   {manager}"));
        }
    }

    fn cluster(&mut self, swarm: &Value, cluster: &Value) {
        self.line(format_args!("  ClusterID: {}", text(cluster, "ID")));
        self.line(format_args!("  Managers: {}", int(swarm, "Managers")));
        self.line(format_args!("  Nodes: {}", int(swarm, "Nodes")));
        if at(cluster, "DefaultAddrPool").is_some() {
            let pools: String = strings(cluster, "DefaultAddrPool").iter().map(|pool| format!("{pool}  ")).collect();
            self.line(format_args!("  Default Address Pool: {pools}\n  SubnetSize: {}", int(cluster, "SubnetSize")));
        }
        if int(cluster, "DataPathPort") > 0 {
            self.line(format_args!("  Data Path Port: {}", int(cluster, "DataPathPort")));
        }
        let spec = |path: &str| int(cluster, &format!("Spec.{path}"));
        self.line(format_args!("  Orchestration:"));
        self.line(format_args!("   Task History Retention Limit: {}", spec("Orchestration.TaskHistoryRetentionLimit")));
        self.line(format_args!("  Raft:\n   Snapshot Interval: {}", spec("Raft.SnapshotInterval")));
        if at(cluster, "Spec.Raft.KeepOldSnapshots").is_some() {
            self.line(format_args!("   Number of Old Snapshots to Retain: {}", spec("Raft.KeepOldSnapshots")));
        }
        self.line(format_args!(
            "   Heartbeat Tick: {}\n   Election Tick: {}",
            spec("Raft.HeartbeatTick"),
            spec("Raft.ElectionTick")
        ));
        let words = |path: &str| human_duration(spec(path).into());
        self.line(format_args!("  Dispatcher:\n   Heartbeat Period: {}", words("Dispatcher.HeartbeatPeriod")));
        self.line(format_args!("  CA Configuration:\n   Expiry Duration: {}", words("CAConfig.NodeCertExpiry")));
        self.line(format_args!("   Force Rotate: {}", spec("CAConfig.ForceRotate")));
        let certificate = text(cluster, "Spec.CAConfig.SigningCACert").trim();
        if !certificate.is_empty() {
            self.line(format_args!("   Signing CA Certificate: \n{certificate}\n"));
        }
        let none = json!({});
        let external = array(at(cluster, "Spec.CAConfig").unwrap_or(&none), "ExternalCAs");
        if !external.is_empty() {
            self.line(format_args!("   External CAs:"));
        }
        for ca in external {
            self.line(format_args!("     {}: {}", text(ca, "Protocol"), text(ca, "URL")));
        }
        self.line(format_args!("  Autolock Managers: {}", truth(cluster, "Spec.EncryptionConfig.AutoLockManagers")));
        self.line(format_args!("  Root Rotation In Progress: {}", truth(cluster, "RootRotationInProgress")));
    }

    /// `name=seccomp,profile=default`
    fn security(&mut self, info: &Value) {
        let options = strings(info, "SecurityOptions");
        if !options.is_empty() {
            self.line(format_args!(" Security Options:"));
        }
        for option in options {
            for pair in option.split(',') {
                match pair.split_once('=') {
                    Some(("name", name)) => self.line(format_args!("  {name}")),
                    Some(("profile", profile)) => self.line(format_args!("   Profile: {profile}")),
                    _ => {}
                }
            }
        }
    }

    fn registries(&mut self, info: &Value) {
        let Some(config) = at(info, "RegistryConfig") else {
            return;
        };
        let mut insecure: Vec<String> = Vec::new();
        if let Some(Value::Object(indexes)) = at(config, "IndexConfigs") {
            insecure.extend(indexes.values().filter(|i| !truth(i, "Secure")).map(|i| text(i, "Name").to_owned()));
            insecure.extend(strings(config, "InsecureRegistryCIDRs"));
        }
        if !insecure.is_empty() {
            self.line(format_args!(" Insecure Registries:"));
        }
        for registry in insecure {
            self.line(format_args!("  {registry}"));
        }
        let mirrors = strings(config, "Mirrors");
        if !mirrors.is_empty() {
            self.line(format_args!(" Registry Mirrors:"));
        }
        for mirror in mirrors {
            self.line(format_args!("  {mirror}"));
        }
    }
}
