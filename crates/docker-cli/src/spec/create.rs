//! `docker service create`: flags to a service specification.

use super::json::{key_values, object_mut, set};
use super::{addresses, ports, values};
use crate::flags::Parsed;
use serde_json::{Value, json};

/// What the flags name and only the engine or the disk knows.
#[derive(Debug, Clone, Default)]
pub struct Resolved {
    /// Attachments with network ids as targets.
    pub networks: Vec<Value>,
    /// Secret references with ids.
    pub secrets: Vec<Value>,
    /// Config references with ids.
    pub configs: Vec<Value>,
    /// Environment, files first.
    pub env: Vec<String>,
}

/// The checks that Docker makes before it asks the engine anything.
pub fn check(flags: &Parsed) -> Result<(), String> {
    health(flags)?;
    let mode = mode(flags)?;
    let is_job = mode.get("ReplicatedJob").is_some() || mode.get("GlobalJob").is_some();
    if is_job && (update_config(flags, "update").is_some() || update_config(flags, "rollback").is_some()) {
        return Err("update and rollback configuration is not supported for jobs".into());
    }
    Ok(())
}

/// The specification.
pub fn service_spec(flags: &Parsed, resolved: Resolved) -> Result<Value, String> {
    check(flags)?;
    let mut container = json!({});
    let c = &mut container;
    set(c, "Image", json!(values::tagged_image(flags.args.first().map_or("", String::as_str))));
    set(c, "Labels", key_values(flags.list("container-label")));
    set(c, "Command", words(flags, "entrypoint")?);
    set(c, "Args", json!(flags.args.get(1..).unwrap_or(&[])));
    set(c, "Hostname", json!(flags.string("hostname")));
    set(c, "Env", json!(last_of_each(&resolved.env)));
    set(c, "Dir", json!(flags.string("workdir")));
    set(c, "User", json!(flags.string("user")));
    set(c, "Groups", json!(flags.list("group")));
    if flags.changed("credential-spec") {
        let spec = values::credential_spec(flags.string("credential-spec"))?;
        set(c, "Privileges", json!({ "CredentialSpec": spec }));
    }
    object_mut(c).insert("Init".into(), json!(flags.bool("init")));
    set(c, "StopSignal", json!(flags.string("stop-signal")));
    set(c, "TTY", json!(flags.bool("tty")));
    set(c, "ReadOnly", json!(flags.bool("read-only")));
    set(c, "Mounts", json!(each(flags, "mount", values::mount)?));
    if let Some(grace) = flags.changed("stop-grace-period").then(|| flags.duration("stop-grace-period")).flatten() {
        object_mut(c).insert("StopGracePeriod".into(), json!(grace));
    }
    set(c, "Healthcheck", health(flags)?.unwrap_or(Value::Null));
    let hosts: Vec<(String, String)> = each(flags, "host", addresses::extra_host)?;
    set(c, "Hosts", hosts.into_iter().map(|(name, ip)| format!("{ip} {name}")).collect());
    let mut dns = json!({});
    set(&mut dns, "Nameservers", json!(flags.list("dns")));
    set(&mut dns, "Search", json!(flags.list("dns-search")));
    set(&mut dns, "Options", json!(flags.list("dns-option")));
    object_mut(c).insert("DNSConfig".into(), dns);
    set(c, "Secrets", json!(resolved.secrets));
    set(c, "Configs", json!(resolved.configs));
    set(c, "Isolation", json!(flags.string("isolation")));
    set(c, "Sysctls", key_values(flags.list("sysctl")));
    let (add, drop) = effective_capabilities(flags.list("cap-add"), flags.list("cap-drop"));
    set(c, "CapabilityAdd", json!(add));
    set(c, "CapabilityDrop", json!(drop));
    set(c, "Ulimits", json!(each(flags, "ulimit", values::ulimit)?));
    set(c, "OomScoreAdj", json!(flags.i64("oom-score-adj").unwrap_or(0)));

    let mut task = json!({ "ContainerSpec": container });
    object_mut(&mut task).insert("Resources".into(), resources(flags)?);
    if let Some(policy) = restart_policy(flags) {
        set(&mut task, "RestartPolicy", policy);
    }
    let mut placement = json!({});
    set(&mut placement, "Constraints", json!(flags.list("constraint")));
    set(&mut placement, "Preferences", json!(each(flags, "placement-pref", values::preference)?));
    set(&mut placement, "MaxReplicas", json!(flags.u64("replicas-max-per-node").unwrap_or(0)));
    object_mut(&mut task).insert("Placement".into(), placement);
    let mut networks = resolved.networks;
    networks.sort_by(|a, b| super::json::text(a, "Target").cmp(super::json::text(b, "Target")));
    set(&mut task, "Networks", json!(networks));
    if !flags.string("log-driver").is_empty() {
        let mut driver = json!({ "Name": flags.string("log-driver") });
        set(&mut driver, "Options", key_values(flags.list("log-opt")));
        set(&mut task, "LogDriver", driver);
    }
    object_mut(&mut task).insert("ForceUpdate".into(), json!(0));

    let mut spec = json!({});
    set(&mut spec, "Name", json!(flags.string("name")));
    object_mut(&mut spec).insert("Labels".into(), key_values(flags.list("label")));
    set(&mut spec, "TaskTemplate", task);
    set(&mut spec, "Mode", mode(flags)?);
    set(&mut spec, "UpdateConfig", update_config(flags, "update").unwrap_or(Value::Null));
    set(&mut spec, "RollbackConfig", update_config(flags, "rollback").unwrap_or(Value::Null));
    let mut endpoint = json!({ "Mode": flags.string("endpoint-mode").to_lowercase() });
    set(&mut endpoint, "Ports", json!(each(flags, "publish", ports::service_ports)?.concat()));
    set(&mut spec, "EndpointSpec", endpoint);
    Ok(spec)
}

/// Parses every value of a repeated flag.
pub fn each<T>(flags: &Parsed, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    flags.list(name).iter().map(|text| parse(text)).collect()
}

pub(super) fn words(flags: &Parsed, name: &str) -> Result<Value, String> {
    Ok(json!(values::split_words(flags.string(name))?))
}

/// Of several settings of one variable the last counts, in its place.
fn last_of_each(env: &[String]) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for text in env {
        let prefix = format!("{}=", text.split('=').next().unwrap_or(""));
        out.retain(|other| other == text || !other.starts_with(&prefix));
        out.push(text.clone());
    }
    out
}

/// Dropping wins nothing against adding: what is in both lists is added only.
pub(super) fn effective_capabilities(add: &[String], drop: &[String]) -> (Vec<String>, Vec<String>) {
    let (mut add, mut drop) = (values::capabilities(add), values::capabilities(drop));
    if drop.iter().any(|cap| cap == "ALL") {
        drop = vec!["ALL".into()];
    }
    if add.iter().any(|cap| cap == "ALL") {
        add = vec!["ALL".into()];
    }
    drop.retain(|cap| !add.contains(cap));
    (add, drop)
}

fn mode(flags: &Parsed) -> Result<Value, String> {
    let replicas = flags.u64("replicas");
    let concurrent = flags.u64("max-concurrent");
    let per_node = flags.u64("replicas-max-per-node").unwrap_or(0);
    let only_for_jobs = || match concurrent {
        Some(_) => Err("max-concurrent can only be used with replicated-job mode".to_owned()),
        None => Ok(()),
    };
    let not_for_global = || {
        if replicas.is_some() {
            return Err("replicas can only be used with replicated or replicated-job mode".to_owned());
        }
        if per_node > 0 {
            return Err("replicas-max-per-node can only be used with replicated or replicated-job mode".to_owned());
        }
        only_for_jobs()
    };
    match flags.string("mode") {
        "global" => not_for_global().map(|()| json!({ "Global": {} })),
        "global-job" => not_for_global().map(|()| json!({ "GlobalJob": {} })),
        "replicated" => {
            only_for_jobs()?;
            Ok(match replicas {
                Some(n) => json!({ "Replicated": { "Replicas": n } }),
                None => json!({ "Replicated": {} }),
            })
        }
        "replicated-job" => {
            let mut job = json!({});
            if let Some(n) = concurrent.or(replicas) {
                object_mut(&mut job).insert("MaxConcurrent".into(), json!(n));
            }
            if let Some(n) = replicas {
                object_mut(&mut job).insert("TotalCompletions".into(), json!(n));
            }
            Ok(json!({ "ReplicatedJob": job }))
        }
        other => Err(format!("Unknown mode: {other}, only replicated and global supported")),
    }
}

fn resources(flags: &Parsed) -> Result<Value, String> {
    let mut limits = json!({});
    set(&mut limits, "NanoCPUs", json!(flags.nano_cpus("limit-cpu")));
    set(&mut limits, "MemoryBytes", json!(flags.bytes("limit-memory")));
    set(&mut limits, "Pids", json!(flags.i64("limit-pids").unwrap_or(0)));
    let mut reservations = json!({});
    set(&mut reservations, "NanoCPUs", json!(flags.nano_cpus("reserve-cpu")));
    set(&mut reservations, "MemoryBytes", json!(flags.bytes("reserve-memory")));
    set(&mut reservations, "GenericResources", json!(each(flags, "generic-resource", values::generic_resource)?));
    Ok(json!({ "Limits": limits, "Reservations": reservations }))
}

const RESTART_FLAGS: &[&str] = &["restart-condition", "restart-delay", "restart-max-attempts", "restart-window"];

fn restart_policy(flags: &Parsed) -> Option<Value> {
    flags.any_changed(RESTART_FLAGS).then(|| {
        let mut policy = default_restart_policy();
        change_restart_policy(flags, &mut policy);
        policy
    })
}

/// swarmkit's defaults, which Docker's client spells out as soon as one of the flags is given.
pub(super) fn default_restart_policy() -> Value {
    json!({ "Condition": "any", "Delay": 5_000_000_000i64, "MaxAttempts": 0 })
}

pub(super) fn change_restart_policy(flags: &Parsed, policy: &mut Value) -> bool {
    if flags.changed("restart-condition") {
        set(policy, "Condition", json!(flags.string("restart-condition")));
    }
    for (name, key) in [("restart-delay", "Delay"), ("restart-window", "Window")] {
        if flags.changed(name) {
            object_mut(policy).insert(key.into(), json!(flags.duration(name)));
        }
    }
    if flags.changed("restart-max-attempts") {
        object_mut(policy).insert("MaxAttempts".into(), json!(flags.u64("restart-max-attempts")));
    }
    flags.any_changed(RESTART_FLAGS)
}

/// `UpdateConfig` or `RollbackConfig`, when one of its flags is given.
fn update_config(flags: &Parsed, prefix: &str) -> Option<Value> {
    let mut config = default_update_config();
    change_update_config(flags, prefix, &mut config).then_some(config)
}

pub(super) fn default_update_config() -> Value {
    json!({
        "Parallelism": 1, "FailureAction": "pause", "Monitor": 5_000_000_000i64,
        "MaxFailureRatio": 0, "Order": "stop-first",
    })
}

/// Applies the flags `PREFIX-...`; tells whether there was any.
pub(super) fn change_update_config(flags: &Parsed, prefix: &str, config: &mut Value) -> bool {
    let mut any = false;
    let mut put = |name: &str, key: &str, value: &dyn Fn(&str) -> Value| {
        let name = format!("{prefix}-{name}");
        if flags.changed(&name) {
            any = true;
            object_mut(config).insert(key.into(), value(&name));
        }
    };
    put("parallelism", "Parallelism", &|name| json!(flags.u64(name)));
    put("delay", "Delay", &|name| json!(flags.duration(name)));
    put("failure-action", "FailureAction", &|name| json!(flags.string(name)));
    put("monitor", "Monitor", &|name| json!(flags.duration(name)));
    put("max-failure-ratio", "MaxFailureRatio", &|name| json!(flags.f64(name)));
    put("order", "Order", &|name| json!(flags.string(name)));
    any
}

/// The health check of the flags `--health-*` and `--no-healthcheck`.
pub(super) fn health(flags: &Parsed) -> Result<Option<Value>, String> {
    const SETTINGS: [(&str, &str); 4] = [
        ("health-interval", "Interval"),
        ("health-timeout", "Timeout"),
        ("health-start-period", "StartPeriod"),
        ("health-start-interval", "StartInterval"),
    ];
    let retries = flags.i64("health-retries").unwrap_or(0);
    let given =
        !flags.string("health-cmd").is_empty() || retries != 0 || SETTINGS.iter().any(|(name, _)| flags.changed(name));
    if flags.bool("no-healthcheck") {
        return match given {
            true => Err("--no-healthcheck conflicts with --health-* options".into()),
            false => Ok(Some(json!({ "Test": ["NONE"] }))),
        };
    }
    if !given {
        return Ok(None);
    }
    if retries < 0 {
        return Err("--health-retries cannot be negative".into());
    }
    let mut health = json!({});
    if !flags.string("health-cmd").is_empty() {
        set(&mut health, "Test", json!(["CMD-SHELL", flags.string("health-cmd")]));
    }
    for (name, key) in SETTINGS {
        set(&mut health, key, json!(flags.duration(name).unwrap_or(0)));
    }
    set(&mut health, "Retries", json!(retries));
    Ok(Some(health))
}
