//! `docker service update`: applies flags to a specification that the engine sent.

use super::create::{self, Resolved, each, words};
use super::json::{array, at, child, key_values, object_mut, set, strings, text};
use super::{addresses, networks, ports, values};
use crate::flags::Parsed;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Changes `spec` as the flags say. `resolved` holds what `--network-add`, `--secret-add` and `--config-add` name;
/// `removed_networks` the ids behind `--network-rm`.
pub fn apply(flags: &Parsed, spec: &mut Value, resolved: Resolved, removed_networks: &[String]) -> Result<(), String> {
    change_map(flags, spec, "Labels", "label");
    replicas(flags, spec)?;
    for (prefix, key) in [("update", "UpdateConfig"), ("rollback", "RollbackConfig")] {
        let mut config = at(spec, key).cloned().unwrap_or_else(create::default_update_config);
        if create::change_update_config(flags, prefix, &mut config) {
            set(spec, key, config);
        }
    }
    endpoint(flags, spec)?;
    let task = child(spec, "TaskTemplate");
    resources(flags, task)?;
    let mut policy = at(task, "RestartPolicy").cloned().unwrap_or_else(create::default_restart_policy);
    if create::change_restart_policy(flags, &mut policy) {
        set(task, "RestartPolicy", policy);
    }
    placement(flags, task)?;
    networks(flags, task, resolved.networks.clone(), removed_networks)?;
    if flags.changed("log-driver") {
        let mut driver = json!({ "Name": flags.string("log-driver") });
        set(&mut driver, "Options", key_values(flags.list("log-opt")));
        set(task, "LogDriver", driver);
    }
    if flags.bool("force") {
        let force = super::json::int(task, "ForceUpdate") + 1;
        set(task, "ForceUpdate", json!(force));
    }
    container(flags, child(task, "ContainerSpec"), resolved)
}

fn container(flags: &Parsed, c: &mut Value, resolved: Resolved) -> Result<(), String> {
    change_map(flags, c, "Labels", "container-label");
    for (flag, key) in [
        ("image", "Image"),
        ("workdir", "Dir"),
        ("user", "User"),
        ("hostname", "Hostname"),
        ("isolation", "Isolation"),
        ("stop-signal", "StopSignal"),
    ] {
        if flags.changed(flag) {
            set(c, key, json!(flags.string(flag)));
        }
    }
    for (flag, key) in [("args", "Args"), ("entrypoint", "Command")] {
        if flags.changed(flag) {
            set(c, key, words(flags, flag)?);
        }
    }
    for (flag, key) in [("tty", "TTY"), ("read-only", "ReadOnly")] {
        if flags.changed(flag) {
            set(c, key, json!(flags.bool(flag)));
        }
    }
    if flags.changed("init") {
        object_mut(c).insert("Init".into(), json!(flags.bool("init")));
    }
    if flags.changed("stop-grace-period") {
        object_mut(c).insert("StopGracePeriod".into(), json!(flags.duration("stop-grace-period")));
    }
    if flags.changed("oom-score-adj") {
        set(c, "OomScoreAdj", json!(flags.i64("oom-score-adj")));
    }
    let image = values::tagged_image(text(c, "Image"));
    set(c, "Image", json!(image));
    environment(flags, c, &resolved.env);
    mounts(flags, c)?;
    change_map(flags, c, "Sysctls", "sysctl");
    keyed(flags, c, "Ulimits", "Name", flags.list("ulimit-rm"), each(flags, "ulimit-add", values::ulimit)?);
    groups(flags, c);
    dns(flags, c);
    hosts(flags, c)?;
    health(flags, c)?;
    capabilities(flags, c);
    references(flags, c, "Secrets", "SecretName", "secret-rm", resolved.secrets);
    references(flags, c, "Configs", "ConfigName", "config-rm", resolved.configs);
    if flags.changed("credential-spec") {
        let spec = values::credential_spec(flags.string("credential-spec"))?;
        set(child(c, "Privileges"), "CredentialSpec", spec);
    }
    Ok(())
}

/// `FLAG-rm` and `FLAG-add` on an object of texts.
fn change_map(flags: &Parsed, object: &mut Value, key: &str, flag: &str) {
    let (remove, add) = (format!("{flag}-rm"), format!("{flag}-add"));
    if !flags.any_changed(&[&remove, &add]) {
        return;
    }
    let map = object_mut(child(object, key));
    for name in flags.list(&remove) {
        map.shift_remove(name.split('=').next().unwrap_or(""));
    }
    map.extend(object_mut(&mut key_values(flags.list(&add))).clone());
}

fn environment(flags: &Parsed, c: &mut Value, added: &[String]) {
    if !flags.any_changed(&["env-add", "env-rm"]) {
        return;
    }
    let name = |text: &str| text.split('=').next().unwrap_or("").to_owned();
    let mut env = strings(c, "Env");
    env.retain(|text| !flags.list("env-rm").contains(&name(text)));
    for text in added {
        match env.iter_mut().find(|other| name(other) == name(text)) {
            Some(other) => other.clone_from(text),
            None => env.push(text.clone()),
        }
    }
    set(c, "Env", json!(env));
}

fn mounts(flags: &Parsed, c: &mut Value) -> Result<(), String> {
    let added = each(flags, "mount-add", values::mount)?;
    let mut by_target: BTreeMap<String, Value> = BTreeMap::new();
    for mount in added {
        if by_target.insert(text(&mount, "Target").to_owned(), mount).is_some() {
            return Err("duplicate mount target".into());
        }
    }
    if !flags.any_changed(&["mount-add", "mount-rm"]) {
        return Ok(());
    }
    for mount in array(c, "Mounts") {
        by_target.entry(text(mount, "Target").to_owned()).or_insert_with(|| mount.clone());
    }
    by_target.retain(|target, _| !flags.list("mount-rm").contains(target));
    let mut mounts: Vec<Value> = by_target.into_values().collect();
    mounts.sort_by(|a, b| (text(a, "Source"), text(a, "Target")).cmp(&(text(b, "Source"), text(b, "Target"))));
    set(c, "Mounts", json!(mounts));
    Ok(())
}

/// A list of objects, each known by one of its fields.
fn keyed(flags: &Parsed, object: &mut Value, key: &str, id: &str, remove: &[String], add: Vec<Value>) {
    if remove.is_empty() && add.is_empty() || flags.given().next().is_none() {
        return;
    }
    let mut by_id: BTreeMap<String, Value> =
        array(object, key).iter().map(|item| (text(item, id).to_owned(), item.clone())).collect();
    for name in remove {
        by_id.remove(name.split('=').next().unwrap_or(""));
    }
    by_id.extend(add.into_iter().map(|item| (text(&item, id).to_owned(), item)));
    set(object, key, by_id.into_values().collect());
}

/// Secrets and configs: removed by name, added with their ids.
fn references(flags: &Parsed, c: &mut Value, key: &str, name: &str, remove: &str, add: Vec<Value>) {
    if !flags.changed(remove) && add.is_empty() {
        return;
    }
    let mut all: Vec<Value> = array(c, key).to_vec();
    all.retain(|item| item.get("Runtime").is_some() || !flags.list(remove).iter().any(|n| n == text(item, name)));
    all.extend(add);
    set(c, key, json!(all));
}

fn groups(flags: &Parsed, c: &mut Value) {
    if flags.any_changed(&["group-add", "group-rm"]) {
        let mut groups = strings(c, "Groups");
        groups.extend_from_slice(flags.list("group-add"));
        groups.retain(|group| !flags.list("group-rm").contains(group));
        groups.sort();
        set(c, "Groups", json!(groups));
    }
}

fn dns(flags: &Parsed, c: &mut Value) {
    for (flag, key) in [("dns", "Nameservers"), ("dns-search", "Search"), ("dns-option", "Options")] {
        let (add, remove) = (format!("{flag}-add"), format!("{flag}-rm"));
        if flags.any_changed(&[&add, &remove]) {
            let config = child(c, "DNSConfig");
            let mut entries = strings(config, key);
            entries.extend_from_slice(flags.list(&add));
            entries.retain(|entry| !flags.list(&remove).contains(entry));
            entries.sort();
            entries.dedup();
            set(config, key, json!(entries));
        }
    }
}

/// The API holds hosts as lines of `/etc/hosts`: the address first.
fn hosts(flags: &Parsed, c: &mut Value) -> Result<(), String> {
    if !flags.any_changed(&["host-add", "host-rm"]) {
        return Ok(());
    }
    let mut hosts: Vec<String> = Vec::new();
    for line in strings(c, "Hosts") {
        let mut words: Vec<&str> = line.split_whitespace().collect();
        if words.is_empty() {
            continue;
        }
        for removed in flags.list("host-rm") {
            let (name, ip) = removed.split_once(':').unwrap_or((removed, ""));
            if ip.is_empty() || ip == words[0] {
                let address = words.remove(0);
                words.retain(|word| *word != name);
                words.insert(0, address);
            }
        }
        if words.len() > 1 {
            hosts.push(words.join(" "));
        }
    }
    hosts.extend(each(flags, "host-add", addresses::extra_host)?.iter().map(|(name, ip)| format!("{ip} {name}")));
    set(c, "Hosts", json!(without_repetition(hosts)));
    Ok(())
}

/// The first of each.
fn without_repetition(all: Vec<String>) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for text in all {
        if !out.contains(&text) {
            out.push(text);
        }
    }
    out
}

fn health(flags: &Parsed, c: &mut Value) -> Result<(), String> {
    let Some(new) = create::health(flags)? else {
        return Ok(());
    };
    if flags.bool("no-healthcheck") {
        set(c, "Healthcheck", new);
        return Ok(());
    }
    let health = child(c, "Healthcheck");
    // A check that was switched off comes back with the settings of the image.
    if array(health, "Test").first().and_then(Value::as_str) == Some("NONE") {
        object_mut(health).shift_remove("Test");
    }
    for (key, value) in object_mut(&mut new.clone()) {
        set(health, key, value.clone());
    }
    Ok(())
}

fn capabilities(flags: &Parsed, c: &mut Value) {
    if !flags.any_changed(&["cap-add", "cap-drop"]) {
        return;
    }
    let (add, drop) = create::effective_capabilities(flags.list("cap-add"), flags.list("cap-drop"));
    let (mut has_add, mut has_drop) = (strings(c, "CapabilityAdd"), strings(c, "CapabilityDrop"));
    // Adding what is dropped only ends the dropping, and the other way round.
    for cap in add {
        match has_drop.iter().position(|other| *other == cap) {
            Some(at) => drop_at(&mut has_drop, at),
            None => has_add.push(cap),
        }
    }
    for cap in drop {
        match has_add.iter().position(|other| *other == cap) {
            Some(at) => drop_at(&mut has_add, at),
            None => has_drop.push(cap),
        }
    }
    for (key, mut caps) in [("CapabilityAdd", has_add), ("CapabilityDrop", has_drop)] {
        caps.sort();
        caps.dedup();
        set(c, key, json!(caps));
    }
}

fn drop_at(list: &mut Vec<String>, at: usize) {
    list.remove(at);
}

fn resources(flags: &Parsed, task: &mut Value) -> Result<(), String> {
    let limits = [("limit-cpu", "NanoCPUs"), ("limit-memory", "MemoryBytes"), ("limit-pids", "Pids")];
    let reservations = [("reserve-cpu", "NanoCPUs"), ("reserve-memory", "MemoryBytes")];
    let value = |flag: &str| match flag {
        "limit-cpu" | "reserve-cpu" => json!(flags.nano_cpus(flag)),
        "limit-pids" => json!(flags.i64(flag)),
        _ => json!(flags.bytes(flag)),
    };
    for (section, fields) in [("Limits", &limits[..]), ("Reservations", &reservations[..])] {
        for (flag, key) in fields {
            if flags.changed(flag) {
                set(child(child(task, "Resources"), section), key, value(flag));
            }
        }
    }
    if flags.any_changed(&["generic-resource-add", "generic-resource-rm"]) {
        let kind = |item: &Value| text(item, "DiscreteResourceSpec.Kind").to_owned();
        let reservations = child(child(task, "Resources"), "Reservations");
        let mut by_kind: BTreeMap<String, Value> =
            array(reservations, "GenericResources").iter().map(|item| (kind(item), item.clone())).collect();
        by_kind
            .extend(each(flags, "generic-resource-add", values::generic_resource)?.into_iter().map(|i| (kind(&i), i)));
        for name in flags.list("generic-resource-rm") {
            if by_kind.remove(name).is_none() {
                return Err(format!("could not find generic-resource `{name}` to remove it"));
            }
        }
        set(reservations, "GenericResources", by_kind.into_values().collect());
    }
    Ok(())
}

fn placement(flags: &Parsed, task: &mut Value) -> Result<(), String> {
    if flags.any_changed(&["constraint-add", "constraint-rm"]) {
        let placement = child(task, "Placement");
        let mut all = strings(placement, "Constraints");
        all.extend_from_slice(flags.list("constraint-add"));
        all.retain(|constraint| !flags.list("constraint-rm").contains(constraint));
        all.sort();
        set(placement, "Constraints", json!(all));
    }
    if flags.any_changed(&["placement-pref-add", "placement-pref-rm"]) {
        let removed = each(flags, "placement-pref-rm", values::preference)?;
        let placement = child(task, "Placement");
        let mut all = array(placement, "Preferences").to_vec();
        all.retain(|preference| !removed.contains(preference));
        all.extend(each(flags, "placement-pref-add", values::preference)?);
        set(placement, "Preferences", json!(all));
    }
    if flags.changed("replicas-max-per-node") {
        set(child(task, "Placement"), "MaxReplicas", json!(flags.u64("replicas-max-per-node")));
    }
    Ok(())
}

/// `add` are the attachments of `--network-add`, in the order of the flags.
fn networks(flags: &Parsed, task: &mut Value, add: Vec<Value>, remove: &[String]) -> Result<(), String> {
    if !flags.any_changed(&["network-add", "network-rm"]) {
        return Ok(());
    }
    let mut all = array(task, "Networks").to_vec();
    all.retain(|network| !remove.iter().any(|id| id == text(network, "Target")));
    let names = each(flags, "network-add", networks::network)?;
    for (network, named) in add.into_iter().zip(names) {
        if all.iter().any(|other| text(other, "Target") == text(&network, "Target")) {
            return Err(format!("service is already attached to network {}", named.target));
        }
        all.push(network);
    }
    all.sort_by(|a, b| text(a, "Target").cmp(text(b, "Target")));
    set(task, "Networks", json!(all));
    Ok(())
}

fn replicas(flags: &Parsed, spec: &mut Value) -> Result<(), String> {
    if let Some(n) = flags.u64("max-concurrent") {
        if at(spec, "Mode.ReplicatedJob").is_none() {
            return Err("max-concurrent can only be used with replicated-job mode".into());
        }
        // Docker's client takes the flag and forgets it; here it does what it says.
        let job = child(child(spec, "Mode"), "ReplicatedJob");
        object_mut(job).insert("MaxConcurrent".into(), json!(n));
    }
    let Some(n) = flags.u64("replicas") else { return Ok(()) };
    if at(spec, "Mode.Replicated").is_none() {
        return Err("replicas can only be used with replicated mode".into());
    }
    object_mut(child(child(spec, "Mode"), "Replicated")).insert("Replicas".into(), json!(n));
    Ok(())
}

fn endpoint(flags: &Parsed, spec: &mut Value) -> Result<(), String> {
    if flags.changed("endpoint-mode") {
        set(child(spec, "EndpointSpec"), "Mode", json!(flags.string("endpoint-mode")));
    }
    if !flags.any_changed(&["publish-add", "publish-rm"]) {
        return Ok(());
    }
    let removed = each(flags, "publish-rm", ports::service_ports)?.concat();
    let endpoint = child(spec, "EndpointSpec");
    let before = array(endpoint, "Ports").to_vec();
    let mut all: BTreeMap<String, Value> = BTreeMap::new();
    for port in &before {
        all.entry(port_text(port)).or_insert_with(|| port.clone());
    }
    all.retain(|_, port| !removed.iter().any(|other| inside(other) == inside(port)));
    let mut all: Vec<Value> = all.into_values().collect();
    // What was there before is not added, although it is removed by the same command.
    let added = each(flags, "publish-add", ports::service_ports)?.concat();
    all.extend(added.into_iter().filter(|port| !before.iter().any(|other| port_text(other) == port_text(port))));
    all.sort_by_key(port_text);
    set(endpoint, "Ports", json!(all));
    Ok(())
}

/// `8080:80/tcp/ingress`: by this text ports are told apart and ordered.
fn port_text(port: &Value) -> String {
    let number = |key: &str| super::json::int(port, key);
    format!(
        "{}:{}/{}/{}",
        number("PublishedPort"),
        number("TargetPort"),
        text(port, "Protocol"),
        text(port, "PublishMode")
    )
}

/// What a port is for the containers, whatever is published; by this it is removed.
fn inside(port: &Value) -> (i64, &str, &str) {
    let or = |key: &str, default: &'static str| Some(text(port, key)).filter(|t| !t.is_empty()).unwrap_or(default);
    (super::json::int(port, "TargetPort"), or("Protocol", "tcp"), or("PublishMode", "ingress"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::commands::service;

    fn flags(command: &crate::command::Command, line: &[&str]) -> Parsed {
        let args: Vec<String> = line.iter().map(|s| (*s).to_owned()).collect();
        crate::flags::parse(&command.flags, &args, command.interspersed).unwrap()
    }

    fn created(line: &[&str]) -> Value {
        let flags = flags(&service::create::command(), line);
        let env = flags.list("env").to_vec();
        create::service_spec(&flags, Resolved { env, ..Resolved::default() }).unwrap()
    }

    fn updated(spec: &mut Value, line: &[&str]) -> Result<(), String> {
        let flags = flags(&service::update::command(), line);
        let env = flags.list("env-add").to_vec();
        apply(&flags, spec, Resolved { env, ..Resolved::default() }, &[])
    }

    #[test]
    fn a_plain_service_sends_what_docker_sends() {
        let spec = created(&["--name", "web", "--replicas", "3", "-p", "80:80", "nginx", "sh", "-c", "x"]);
        assert_eq!(spec["Mode"], json!({"Replicated": {"Replicas": 3}}));
        assert_eq!(spec["TaskTemplate"]["ContainerSpec"]["Args"], json!(["sh", "-c", "x"]));
        assert_eq!(spec["TaskTemplate"]["Resources"], json!({"Limits": {}, "Reservations": {}}));
        assert_eq!(spec["EndpointSpec"]["Mode"], "vip");
        assert!(spec.get("UpdateConfig").is_none());
    }

    #[test]
    fn one_update_flag_spells_out_all_of_the_section() {
        let spec = created(&["--update-delay", "2s", "--restart-max-attempts=3", "a"]);
        assert_eq!(
            spec["UpdateConfig"],
            json!({"Parallelism": 1, "FailureAction": "pause", "Monitor": 5_000_000_000i64, "MaxFailureRatio": 0, "Order": "stop-first", "Delay": 2_000_000_000i64})
        );
        assert_eq!(
            spec["TaskTemplate"]["RestartPolicy"],
            json!({"Condition": "any", "Delay": 5_000_000_000i64, "MaxAttempts": 3})
        );
    }

    #[test]
    fn updates_keep_what_they_do_not_name() {
        let mut spec = created(&["--name", "web", "-e", "A=1", "-e", "B=2", "-l", "x=1", "-p", "80:80", "a"]);
        spec["TaskTemplate"]["Unknown"] = json!("kept");
        updated(&mut spec, &["--env-add", "A=3", "--env-rm", "B", "--label-rm", "x", "--label-add", "y=2", "web"])
            .unwrap();
        updated(&mut spec, &["--publish-rm", "80", "--publish-add", "81:81", "--force", "--replicas", "5", "web"])
            .unwrap();
        assert_eq!(spec["TaskTemplate"]["ContainerSpec"]["Env"], json!(["A=3"]));
        assert_eq!(spec["Labels"], json!({"y": "2"}));
        assert_eq!(spec["EndpointSpec"]["Ports"][0]["PublishedPort"], 81);
        assert_eq!(spec["EndpointSpec"]["Ports"].as_array().unwrap().len(), 1);
        assert_eq!(spec["TaskTemplate"]["ForceUpdate"], 1);
        assert_eq!(spec["TaskTemplate"]["Unknown"], "kept");
        assert_eq!(spec["Mode"]["Replicated"]["Replicas"], 5);
    }

    #[test]
    fn impossible_combinations_are_refused() {
        let error = |line: &[&str]| create::check(&flags(&service::create::command(), line)).unwrap_err();
        assert_eq!(
            error(&["--mode", "global", "--replicas", "2", "a"]),
            "replicas can only be used with replicated or replicated-job mode"
        );
        assert_eq!(error(&["--mode", "x", "a"]), "Unknown mode: x, only replicated and global supported");
        assert_eq!(
            error(&["--health-cmd", "x", "--no-healthcheck", "a"]),
            "--no-healthcheck conflicts with --health-* options"
        );
        let mut global = created(&["--mode", "global", "a"]);
        assert_eq!(
            updated(&mut global, &["--replicas", "2", "a"]).unwrap_err(),
            "replicas can only be used with replicated mode"
        );
    }
}
