//! The body of `POST /containers/create`: from Docker's two objects (Config, HostConfig) to what the runtime takes.

use std::time::Duration;

use container_runtime::config::{Dns, HostEntry, LogLimits, Resources};
use container_runtime::{ContainerConfig, Healthcheck};
use overlay_network::Mac;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use swarm_types::{HealthConfig, Mount, MountKind, Ulimit};

use super::container_spec::{read_health, read_ulimit};
use super::mount::read_mount;
use super::ports::{PortWishes, read_ports};
use super::{Fields, InvalidField, Result};
use crate::containers::Attachment;

/// What is to be created.
#[derive(Debug, Clone, Default)]
pub struct CreateRequest {
    /// The runtime's part. Mounts are resolved by the engine, since volumes have to be made.
    pub config: ContainerConfig,
    /// Volumes, binds and tmpfs.
    pub mounts: Vec<Mount>,
    /// When it is started again.
    pub restart: RestartPolicy,
    /// Remove it when it ends.
    pub auto_remove: bool,
    /// Its network mode: `bridge`, `host`, `none`, `container:<name or id>`, or a network's name or id.
    pub network: String,
    /// Its places on the swarm's networks, if it is a task's.
    pub swarm: Vec<crate::networking::SwarmAttachment>,
    /// The networks that it is to be on, the mode's first; none with another container's.
    pub attachments: Vec<Attachment>,
    /// Its ports that the node's are to lead to.
    pub ports: PortWishes,
    /// `Config` as inspect shows it.
    pub config_json: Value,
    /// `HostConfig` as inspect shows it.
    pub host_json: Value,
}

/// When a container that ended is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum RestartPolicy {
    /// Never.
    #[default]
    No,
    /// When it failed, at most so often (0: no limit).
    OnFailure(u64),
    /// Always, also after the daemon's restart.
    Always,
    /// Always, unless a user stopped it.
    UnlessStopped,
}

/// Reads a create request. Fields that this engine cannot honour are refused by name.
pub fn read_create(body: &Value) -> Result<CreateRequest> {
    let fields = Fields::new(body, "ContainerCreateConfig")?;
    if body.as_object().is_none_or(Map::is_empty) {
        return Err(InvalidField::Value("config cannot be empty in order to create a container".into()));
    }
    let mut request = CreateRequest { config: read_config(&fields)?, ..CreateRequest::default() };
    for target in fields.set("Volumes")? {
        request.mounts.push(Mount { kind: MountKind::Volume, target, ..Mount::default() });
    }
    let host = fields.object("HostConfig")?;
    if let Some(host) = &host {
        read_host_config(host, &mut request)?;
    }
    if request.network.is_empty() || request.network == "default" {
        request.network = "bridge".into();
    }
    request.ports = read_ports(&fields, host.as_ref())?;
    let networking = fields.object("NetworkingConfig")?;
    request.attachments = read_networking(networking.as_ref(), &request.network)?;
    if let Some(mac) = fields.opt_string("MacAddress")?.filter(|mac| !mac.is_empty())
        && let Some(first) = request.attachments.first_mut()
    {
        // before API 1.44 it was the container's, and not the endpoint's
        first.wish.mac = Some(read_mac(&mac)?);
    }
    if request.network.starts_with("container:") {
        check_shared(&request, &fields)?;
    }
    request.config_json = shown(config_template(), body);
    request.host_json = shown(host_template(), fields.get("HostConfig").unwrap_or(&Value::Null));
    request.host_json["NetworkMode"] = json!(request.network);
    if request.host_json["LogConfig"]["Type"] == "" {
        request.host_json["LogConfig"]["Type"] = json!("json-file");
    }
    Ok(request)
}

fn read_config(fields: &Fields<'_>) -> Result<ContainerConfig> {
    fields.refuse("NetworkDisabled", ": use the network mode none")?;
    let optional = |key| Ok::<_, InvalidField>(fields.opt_string(key)?.filter(|text| !text.is_empty()));
    let grace = fields.opt_int::<i64>("StopTimeout")?.map(grace_of);
    Ok(ContainerConfig {
        image: fields.string("Image")?,
        entrypoint: fields.command("Entrypoint")?,
        cmd: fields.command("Cmd")?,
        env: fields.strings("Env")?,
        user: optional("User")?,
        working_dir: optional("WorkingDir")?,
        hostname: optional("Hostname")?,
        domainname: optional("Domainname")?,
        labels: fields.map("Labels")?,
        tty: fields.boolean("Tty")?,
        open_stdin: fields.boolean("OpenStdin")?,
        stdin_once: fields.boolean("StdinOnce")?,
        stop_signal: optional("StopSignal")?,
        stop_grace: grace,
        healthcheck: fields
            .object("Healthcheck")?
            .map(|health| read_health(&health))
            .transpose()?
            .as_ref()
            .map(healthcheck),
        ..ContainerConfig::default()
    })
}

/// Seconds of grace; negative ones mean for ever, which ten years come near to.
pub fn grace_of(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(10 * 365 * 24 * 3600))
}

/// A health check for the runtime; zero means "as the image has it".
pub fn healthcheck(from: &HealthConfig) -> Healthcheck {
    let some = |duration: Duration| (!duration.is_zero()).then_some(duration);
    Healthcheck {
        test: from.test.clone(),
        interval: some(from.interval),
        timeout: some(from.timeout),
        retries: u32::try_from(from.retries).ok().filter(|retries| *retries > 0),
        start_period: some(from.start_period),
        start_interval: some(from.start_interval),
    }
}

/// A process limit for the runtime.
pub fn ulimit(from: Ulimit) -> container_runtime::config::Ulimit {
    container_runtime::config::Ulimit { name: from.name, soft: from.soft, hard: from.hard }
}

const UNSUPPORTED: [&str; 30] = [
    "VolumesFrom",
    "Devices",
    "DeviceRequests",
    "DeviceCgroupRules",
    "PidMode",
    "UTSMode",
    "UsernsMode",
    "StorageOpt",
    "Cgroup",
    "CgroupParent",
    "BlkioWeight",
    "BlkioWeightDevice",
    "BlkioDeviceReadBps",
    "BlkioDeviceWriteBps",
    "BlkioDeviceReadIOps",
    "BlkioDeviceWriteIOps",
    "CpuRealtimePeriod",
    "CpuRealtimeRuntime",
    "CpusetMems",
    "MemorySwap",
    "OomKillDisable",
    "KernelMemory",
    "KernelMemoryTCP",
    "CpuCount",
    "CpuPercent",
    "IOMaximumIOps",
    "IOMaximumBandwidth",
    "MaskedPaths",
    "ReadonlyPaths",
    "Sandbox",
];

fn read_host_config(host: &Fields<'_>, request: &mut CreateRequest) -> Result<()> {
    host.refuse_all(&UNSUPPORTED)?;
    host.refuse("Links", NO_LINKS)?;
    only(host, "IpcMode", &["", "private", "shareable"])?;
    only(host, "CgroupnsMode", &["", "private", "host"])?;
    only(host, "Runtime", &["", "runc"])?;
    only(host, "Isolation", &["", "default"])?;
    only(host, "VolumeDriver", &["", "local"])?;
    if host.opt_int::<i64>("MemorySwappiness")?.is_some_and(|v| v != -1) {
        host.refuse("MemorySwappiness", "")?;
    }
    request.network = host.string("NetworkMode")?;
    request.auto_remove = host.boolean("AutoRemove")?;
    request.restart = read_restart(host, request.auto_remove)?;
    for bind in host.strings("Binds")? {
        request.mounts.push(read_bind(&bind)?);
    }
    for mount in host.objects("Mounts")? {
        request.mounts.push(read_mount(&mount)?);
    }
    for (target, options) in host.map("Tmpfs")? {
        request.mounts.push(read_tmpfs(target, &options)?);
    }
    let config = &mut request.config;
    config.groups = host.strings("GroupAdd")?;
    config.init = host.boolean("Init")?;
    config.cap_add = host.strings("CapAdd")?;
    config.cap_drop = host.strings("CapDrop")?;
    config.privileged = host.boolean("Privileged")?;
    config.read_only = host.boolean("ReadonlyRootfs")?;
    config.sysctls = host.map("Sysctls")?;
    config.ulimits = host.objects("Ulimits")?.iter().map(|u| read_ulimit(u).map(ulimit)).collect::<Result<_>>()?;
    config.extra_hosts = host.strings("ExtraHosts")?.iter().map(|text| extra_host(text)).collect::<Result<_>>()?;
    config.dns =
        Dns { servers: host.strings("Dns")?, search: host.strings("DnsSearch")?, options: host.strings("DnsOptions")? };
    config.console_size = console_size(host);
    config.oom_score_adj = host.opt_int("OomScoreAdj")?.filter(|score| *score != 0);
    config.shm_size = host.opt_int("ShmSize")?.filter(|size: &u64| *size > 0);
    config.resources = read_resources(host)?;
    for option in host.strings("SecurityOpt")? {
        match option.as_str() {
            "no-new-privileges" | "no-new-privileges:true" | "no-new-privileges=true" => {
                config.no_new_privileges = Some(true)
            }
            "no-new-privileges:false" | "no-new-privileges=false" => config.no_new_privileges = Some(false),
            // there is neither a seccomp filter nor an AppArmor profile to begin with
            "seccomp=unconfined"
            | "seccomp:unconfined"
            | "apparmor=unconfined"
            | "apparmor:unconfined"
            | "label=disable"
            | "label:disable" => {}
            other => {
                return Err(InvalidField::Value(format!(
                    "invalid --security-opt: {other:?} is not supported by this engine"
                )));
            }
        }
    }
    if let Some(log) = host.object("LogConfig")? {
        config.log = read_log(&log)?;
    }
    Ok(())
}

fn only(host: &Fields<'_>, key: &str, allowed: &[&str]) -> Result<()> {
    let value = host.string(key)?;
    match allowed.contains(&value.as_str()) {
        true => Ok(()),
        false => Err(InvalidField::Value(format!("{} {value:?} is not supported by this engine", host.path(key)))),
    }
}

fn read_resources(host: &Fields<'_>) -> Result<Resources> {
    let some = |value: i64| (value > 0).then_some(value);
    let (period, quota) = (host.int::<i64>("CpuPeriod")?, host.int::<i64>("CpuQuota")?);
    let mut nano_cpus = some(host.int("NanoCpus")?);
    if quota > 0 {
        if nano_cpus.is_some() {
            return Err(InvalidField::Value("conflicting options: Nano CPUs and CPU Quota cannot both be set".into()));
        }
        let period = if period > 0 { period } else { 100_000 };
        nano_cpus = quota.checked_mul(1_000_000_000).map(|nanos| nanos / period);
    }
    let memory = host.int::<i64>("Memory")?;
    if memory != 0 && memory < 6 << 20 {
        return Err(InvalidField::Value("Minimum memory limit allowed is 6MB".into()));
    }
    Ok(Resources {
        memory: some(memory),
        memory_reservation: some(host.int("MemoryReservation")?),
        nano_cpus,
        cpu_shares: host.opt_int::<u64>("CpuShares")?.filter(|shares| *shares > 0),
        cpuset: Some(host.string("CpusetCpus")?).filter(|set| !set.is_empty()),
        pids: host.opt_int::<i64>("PidsLimit")?.filter(|pids| *pids > 0),
    })
}

fn read_restart(host: &Fields<'_>, auto_remove: bool) -> Result<RestartPolicy> {
    let Some(policy) = host.object("RestartPolicy")? else { return Ok(RestartPolicy::No) };
    let retries = policy.int::<i64>("MaximumRetryCount")?;
    let name = policy.string("Name")?;
    let invalid = |text: &str| Err(InvalidField::Value(format!("invalid restart policy: {text}")));
    if name != "on-failure" && retries != 0 {
        return invalid("maximum retry count can only be used with 'on-failure'");
    }
    let restart = match (name.as_str(), u64::try_from(retries)) {
        ("" | "no", _) => RestartPolicy::No,
        ("always", _) => RestartPolicy::Always,
        ("unless-stopped", _) => RestartPolicy::UnlessStopped,
        ("on-failure", Ok(retries)) => RestartPolicy::OnFailure(retries),
        ("on-failure", Err(_)) => return invalid("maximum retry count cannot be negative"),
        (other, _) => {
            return invalid(&format!(
                "unknown policy '{other}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'"
            ));
        }
    };
    if auto_remove && restart != RestartPolicy::No {
        return Err(InvalidField::Value("can't create 'AutoRemove' container with restart policy".into()));
    }
    Ok(restart)
}

/// `source:target[:options]`
fn read_bind(text: &str) -> Result<Mount> {
    let invalid = || InvalidField::Value(format!("invalid volume specification: '{text}'"));
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts[..] {
        [target] => ("", target, ""),
        [source, target] if !source.is_empty() => (source, target, ""),
        [source, target, options] if !source.is_empty() => (source, target, options),
        _ => return Err(invalid()),
    };
    let kind = if source.starts_with('/') { MountKind::Bind } else { MountKind::Volume };
    let mut mount = Mount { kind, source: source.into(), target: target.into(), ..Mount::default() };
    // the short form makes a missing directory, `--mount` does not
    mount.bind_create_mountpoint = kind == MountKind::Bind;
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => mount.read_only = true,
            // labels belong to SELinux, which changes nothing here
            "rw" | "z" | "Z" => {}
            "nocopy" => mount.volume_no_copy = true,
            "rprivate" | "private" => mount.bind_propagation = option.into(),
            "cached" | "delegated" | "consistent" => mount.consistency = option.into(),
            _ => return Err(InvalidField::Value(format!("invalid mode: {options}"))),
        }
    }
    if !target.starts_with('/') {
        return Err(InvalidField::Value(format!(
            "invalid volume specification: '{text}': invalid mount config for type \"{}\": invalid mount path: '{target}' mount path must be absolute",
            if kind == MountKind::Bind { "bind" } else { "volume" }
        )));
    }
    Ok(mount)
}

fn read_tmpfs(target: String, options: &str) -> Result<Mount> {
    let mut mount = Mount { kind: MountKind::Tmpfs, target, ..Mount::default() };
    for option in options.split(',').filter(|option| !option.is_empty()) {
        let invalid = || InvalidField::Value(format!("invalid tmpfs option [{option:?}]"));
        match option.split_once('=') {
            Some(("size", size)) => mount.tmpfs_size_bytes = bytes(size).ok_or_else(invalid)?,
            Some(("mode", mode)) => mount.tmpfs_mode = u32::from_str_radix(mode, 8).map_err(|_| invalid())?,
            None if option == "ro" => mount.read_only = true,
            None if ["rw", "nosuid", "nodev", "noexec"].contains(&option) => {}
            _ => return Err(invalid()),
        }
    }
    Ok(mount)
}

/// `64m` and the like, as mount options have it.
fn bytes(text: &str) -> Option<i64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: i64 = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1 << 10,
        "m" | "mb" => 1 << 20,
        "g" | "gb" => 1 << 30,
        _ => return None,
    };
    digits.parse::<i64>().ok().filter(|n| *n >= 0)?.checked_mul(unit)
}

/// `name:address`
fn extra_host(text: &str) -> Result<HostEntry> {
    match text.split_once(':') {
        Some((name, address)) if !name.is_empty() => {
            let address = address.trim_start_matches('[').trim_end_matches(']');
            // Docker's word for the host as containers of the bridge see it
            let address = if address == "host-gateway" { "172.17.0.1" } else { address };
            if address.parse::<std::net::IpAddr>().is_err() {
                return Err(InvalidField::Value(format!("invalid IP address in add-host: {address:?}")));
            }
            Ok(HostEntry { address: address.into(), names: vec![name.into()] })
        }
        _ => Err(InvalidField::Value(format!("bad format for add-host: {text:?}"))),
    }
}

fn read_log(log: &Fields<'_>) -> Result<LogLimits> {
    log_limits(&log.string("Type")?, &log.map("Config")?)
}

/// What a log driver's options mean for the runtime, which keeps logs itself in every case.
pub fn log_limits(driver: &str, options: &std::collections::BTreeMap<String, String>) -> Result<LogLimits> {
    if !["", "json-file", "local"].contains(&driver) {
        return Err(InvalidField::Value(format!("logger: no log driver named '{driver}' is registered")));
    }
    let mut limits = LogLimits::default();
    for (key, value) in options {
        let invalid = || InvalidField::Value(format!("invalid value for log opt {key}: {value:?}"));
        match key.as_str() {
            "max-size" => {
                limits.max_size = bytes(value)
                    .and_then(|size| u64::try_from(size).ok())
                    .filter(|size| *size >= 4096)
                    .ok_or_else(invalid)?;
            }
            "max-file" => limits.max_files = value.parse().ok().filter(|files| *files > 0).ok_or_else(invalid)?,
            "mode" if value == "blocking" => {}
            other => return Err(InvalidField::Value(format!("unknown log opt '{other}' for json-file log driver"))),
        }
    }
    Ok(limits)
}

const NO_LINKS: &str = ": put both containers on a network of your own, where they find each other by name";

fn read_networking(networking: Option<&Fields<'_>>, mode: &str) -> Result<Vec<Attachment>> {
    if mode.starts_with("container:") {
        return Ok(Vec::new());
    }
    let mut all = vec![Attachment::to(mode)];
    let Some(networking) = networking else { return Ok(all) };
    for (name, endpoint) in networking.named_objects("EndpointsConfig")? {
        let name = if name == "default" { "bridge" } else { name.as_str() };
        let attachment = read_endpoint(&endpoint, name).map_err(|error| match error {
            InvalidField::Value(why) => InvalidField::Value(format!("invalid config for network {name}: {why}")),
            other => other,
        })?;
        match all.iter_mut().find(|known| known.network == name) {
            Some(known) => *known = attachment,
            None => all.push(attachment),
        }
        if all.len() > MOST_NETWORKS {
            return Err(InvalidField::Value(format!("a container may be on at most {MOST_NETWORKS} networks")));
        }
    }
    Ok(all)
}

/// Most networks that one container may be created on; each is an interface.
const MOST_NETWORKS: usize = 64;

/// An `EndpointSettings`: what a container wants of a network.
pub fn read_endpoint(endpoint: &Fields<'_>, network: &str) -> Result<Attachment> {
    endpoint.refuse("Links", NO_LINKS)?;
    endpoint.refuse("DriverOpts", "")?;
    let mut attachment = Attachment::to(network);
    attachment.aliases = endpoint.strings("Aliases")?;
    attachment.gateway_priority = endpoint.int("GwPriority")?;
    if let Some(mac) = endpoint.opt_string("MacAddress")?.filter(|mac| !mac.is_empty()) {
        attachment.wish.mac = Some(read_mac(&mac)?);
    }
    let Some(ipam) = endpoint.object("IPAMConfig")? else { return Ok(attachment) };
    ipam.refuse("LinkLocalIPs", "")?;
    let invalid = |family: &str, text: &str| {
        InvalidField::Value(format!("invalid endpoint settings:\ninvalid {family} address: {text}"))
    };
    if let Some(text) = ipam.opt_string("IPv4Address")?.filter(|text| !text.is_empty()) {
        attachment.wish.ipv4 = Some(text.parse().map_err(|_| invalid("IPv4", &text))?);
    }
    if let Some(text) = ipam.opt_string("IPv6Address")?.filter(|text| !text.is_empty()) {
        attachment.wish.ipv6 = Some(text.parse().map_err(|_| invalid("IPv6", &text))?);
    }
    Ok(attachment)
}

fn read_mac(text: &str) -> Result<Mac> {
    text.replace('-', ":").parse().map_err(|_| InvalidField::Value(format!("invalid MAC address {text}")))
}

/// What cannot be had with the network of another container, in Docker's words.
fn check_shared(request: &CreateRequest, config: &Fields<'_>) -> Result<()> {
    let dns = &request.config.dns;
    let conflict = |what: &str| Err(InvalidField::Value(format!("conflicting options: {what} network mode")));
    if request.network == "container:" {
        return Err(InvalidField::Value("invalid container format container:<name|id>".into()));
    }
    if request.config.hostname.is_some() {
        return conflict("hostname and the");
    }
    if !dns.servers.is_empty() || !dns.search.is_empty() || !dns.options.is_empty() {
        return conflict("dns and the");
    }
    if !request.config.extra_hosts.is_empty() {
        return conflict("custom host-to-IP mapping and the");
    }
    if config.is_set("MacAddress") {
        return conflict("mac-address and the");
    }
    if !request.ports.publish.is_empty() || request.ports.publish_all {
        return conflict("port publishing and the container type");
    }
    match request.ports.exposed.is_empty() {
        true => Ok(()),
        false => conflict("port exposing and the container type"),
    }
}

/// What a client gave, laid over what it would have got by default; only known fields are shown.
fn shown(template: Value, given: &Value) -> Value {
    let Value::Object(mut template) = template else { return template };
    let Value::Object(given) = given else { return Value::Object(template) };
    for (key, value) in given {
        if !value.is_null()
            && let Some((_, slot)) = template.iter_mut().find(|(name, _)| name.eq_ignore_ascii_case(key))
        {
            let is_zero = value == &json!(0) || value == &json!("");
            let default_counts = is_zero && !slot.is_null();
            if !default_counts {
                *slot = value.clone();
            }
        }
    }
    Value::Object(template)
}

fn config_template() -> Value {
    json!({
        "Hostname": "", "Domainname": "", "User": "", "AttachStdin": false, "AttachStdout": false,
        "AttachStderr": false, "ExposedPorts": null, "Tty": false, "OpenStdin": false, "StdinOnce": false,
        "Env": null, "Cmd": null, "Healthcheck": null, "Image": "", "Volumes": null, "WorkingDir": "",
        "Entrypoint": null, "OnBuild": null, "Labels": {}, "StopSignal": null, "StopTimeout": null,
    })
}

/// `ConsoleSize`, rows and columns; none where a client has no terminal or says nonsense, as in Docker.
pub fn console_size(fields: &Fields<'_>) -> Option<(u16, u16)> {
    let size = fields.get("ConsoleSize")?.as_array()?;
    let number = |at: usize| size.get(at)?.as_u64().and_then(|number| u16::try_from(number).ok());
    Some((number(0)?, number(1)?)).filter(|(rows, columns)| *rows > 0 && *columns > 0)
}

/// `HostConfig` of a container that was given nothing.
pub fn host_template() -> Value {
    // text, since a macro call of that many fields exceeds the compiler's recursion limit
    serde_json::from_str(HOST_TEMPLATE).unwrap_or_default()
}

const HOST_TEMPLATE: &str = r#"{
        "Binds": null, "ContainerIDFile": "", "LogConfig": {"Type": "json-file", "Config": {}},
        "NetworkMode": "bridge", "PortBindings": {}, "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
        "AutoRemove": false, "VolumeDriver": "", "VolumesFrom": null, "ConsoleSize": [0, 0], "CapAdd": null,
        "CapDrop": null, "CgroupnsMode": "private", "Dns": [], "DnsOptions": [], "DnsSearch": [],
        "ExtraHosts": null, "GroupAdd": null, "IpcMode": "private", "Cgroup": "", "Links": null, "OomScoreAdj": 0,
        "PidMode": "", "Privileged": false, "PublishAllPorts": false, "ReadonlyRootfs": false,
        "SecurityOpt": null, "Tmpfs": null, "UTSMode": "", "UsernsMode": "", "ShmSize": 67108864, "Sysctls": null,
        "Runtime": "runc", "Isolation": "", "CpuShares": 0, "Memory": 0, "NanoCpus": 0, "CgroupParent": "",
        "BlkioWeight": 0, "CpuPeriod": 0, "CpuQuota": 0, "CpuRealtimePeriod": 0, "CpuRealtimeRuntime": 0,
        "CpusetCpus": "", "CpusetMems": "", "Devices": [], "DeviceCgroupRules": null, "DeviceRequests": null,
        "MemoryReservation": 0, "MemorySwap": 0, "MemorySwappiness": null, "OomKillDisable": null,
        "PidsLimit": null, "Ulimits": [], "CpuCount": 0, "CpuPercent": 0, "IOMaximumIOps": 0,
        "IOMaximumBandwidth": 0, "Mounts": null, "Init": null, "MaskedPaths": null, "ReadonlyPaths": null
    }"#;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn host(host: Value) -> Result<CreateRequest> {
        read_create(&json!({"Image": "x", "HostConfig": host}))
    }

    #[test]
    fn the_template_is_an_object() {
        assert!(host_template().as_object().is_some_and(|map| map.len() > 50));
    }

    #[test]
    fn short_mounts_are_binds_volumes_or_anonymous() {
        let request =
            host(json!({"Binds": ["/a:/b:ro", "vol:/c", "/d"], "Tmpfs": {"/t": "size=64m,mode=1770"}})).unwrap();
        let kinds: Vec<_> = request.mounts.iter().map(|m| (m.kind, m.source.as_str(), m.target.as_str())).collect();
        assert_eq!(kinds[0], (MountKind::Bind, "/a", "/b"));
        assert!(request.mounts[0].read_only && request.mounts[0].bind_create_mountpoint);
        assert_eq!(kinds[1], (MountKind::Volume, "vol", "/c"));
        assert_eq!(kinds[2], (MountKind::Volume, "", "/d"));
        assert_eq!((request.mounts[3].tmpfs_size_bytes, request.mounts[3].tmpfs_mode), (64 << 20, 0o1770));
        for bad in ["a:b:c:d", ":x", "a:relative", "/a:/b:nonsense"] {
            assert!(host(json!({"Binds": [bad]})).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_the_genuine_client_sends_by_default_is_no_setting() {
        let request = host(json!({
            "MemorySwappiness": -1, "OomKillDisable": false, "ConsoleSize": [24, 80], "BlkioDeviceReadBps": [],
            "MaskedPaths": null, "NetworkMode": "default", "ShmSize": 0, "MemorySwap": 0, "PidsLimit": 0,
            "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0}, "LogConfig": {"Type": "", "Config": {}},
        }))
        .unwrap();
        assert_eq!(request.network, "bridge");
        assert_eq!(request.host_json["LogConfig"], json!({"Type": "json-file", "Config": {}}));
        assert_eq!((request.restart, request.config.oom_score_adj), (RestartPolicy::No, None));
        assert_eq!(request.config.console_size, Some((24, 80)));
        for none in [json!([0, 0]), json!([24]), json!([70_000, 80]), json!(null)] {
            assert_eq!(host(json!({"ConsoleSize": none})).unwrap().config.console_size, None);
        }
    }

    #[test]
    fn a_container_may_want_several_networks_addresses_and_aliases() {
        let request = read_create(&json!({
            "Image": "x",
            "HostConfig": {"NetworkMode": "front", "PortBindings": {"80/tcp": [{"HostPort": "8080"}]}},
            "NetworkingConfig": {"EndpointsConfig": {
                "back": {"Aliases": ["db"], "GwPriority": 5},
                "front": {"IPAMConfig": {"IPv4Address": "10.0.0.9"}, "MacAddress": "02-00-00-00-00-01"},
            }},
        }))
        .unwrap();
        let [front, back] = &request.attachments[..] else { panic!("{:?}", request.attachments) };
        assert_eq!((front.network.as_str(), front.wish.ipv4), ("front", Some([10, 0, 0, 9].into())));
        assert_eq!(front.wish.mac.unwrap().to_string(), "02:00:00:00:00:01");
        assert_eq!((back.aliases.as_slice(), back.gateway_priority), (["db".to_owned()].as_slice(), 5));
        assert_eq!(request.ports.publish.len(), 1);
    }

    #[test]
    fn wishes_that_cannot_be_meant_are_refused_in_dockers_words() {
        let refused = |body: Value| read_create(&body).unwrap_err().to_string();
        let endpoint = |settings: Value| json!({"Image": "x", "HostConfig": {"NetworkMode": "n"}, "NetworkingConfig": {"EndpointsConfig": {"n": settings}}});
        assert_eq!(
            refused(endpoint(json!({"IPAMConfig": {"IPv4Address": "x"}}))),
            "invalid config for network n: invalid endpoint settings:\ninvalid IPv4 address: x"
        );
        assert!(refused(endpoint(json!({"MacAddress": "x"}))).contains("invalid MAC address x"));
        assert!(refused(endpoint(json!({"Links": ["a:b"]}))).contains("put both containers on a network of your own"));
        let shared = |more: Value| {
            let mut host = json!({"NetworkMode": "container:other"});
            host.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!({"Image": "x", "HostConfig": host})
        };
        assert_eq!(
            refused(shared(json!({"PortBindings": {"80/tcp": []}, "PublishAllPorts": true}))),
            "conflicting options: port publishing and the container type network mode"
        );
        assert_eq!(refused(shared(json!({"Dns": ["1.1.1.1"]}))), "conflicting options: dns and the network mode");
        assert!(read_create(&shared(json!({}))).unwrap().attachments.is_empty());
    }

    #[test]
    fn restart_policies_that_contradict_are_refused() {
        for (host_config, message) in [
            (
                json!({"RestartPolicy": {"Name": "always", "MaximumRetryCount": 2}}),
                "maximum retry count can only be used with 'on-failure'",
            ),
            (json!({"RestartPolicy": {"Name": "sometimes"}}), "unknown policy 'sometimes'"),
            (json!({"RestartPolicy": {"Name": "always"}, "AutoRemove": true}), "can't create 'AutoRemove' container"),
        ] {
            assert!(host(host_config).unwrap_err().to_string().contains(message), "{message}");
        }
    }
}
