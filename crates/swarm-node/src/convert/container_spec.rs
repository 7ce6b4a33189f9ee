//! What a service's container is to be, both ways.

use serde_json::{Value, json};
use swarm_types::{ConfigReference, ContainerSpec, DnsConfig, FileTarget, HealthConfig, SecretReference, Ulimit};

use super::mount::{mount, read_mount};
use super::{Fields, InvalidField, Result, Writer};

/// The container part of a task template.
pub fn container_spec(from: &ContainerSpec) -> Value {
    let strings = |values: &[String]| values.to_vec();
    Writer::default()
        .text("Image", &from.image)
        .map("Labels", &from.labels)
        .list("Command", strings(&from.command))
        .list("Args", strings(&from.args))
        .text("Hostname", &from.hostname)
        .list("Env", strings(&from.env))
        .text("Dir", &from.dir)
        .text("User", &from.user)
        .list("Groups", strings(&from.groups))
        .some("Privileges", from.privileges_json.as_deref().and_then(|text| serde_json::from_str::<Value>(text).ok()))
        .some("Init", from.init)
        .text("StopSignal", &from.stop_signal)
        .flag("TTY", from.tty)
        .flag("OpenStdin", from.open_stdin)
        .flag("ReadOnly", from.read_only)
        .list("Mounts", from.mounts.iter().map(mount))
        .some("StopGracePeriod", from.stop_grace_period.map(super::json::nanos))
        .some("Healthcheck", from.healthcheck.as_ref().map(health))
        .list("Hosts", strings(&from.hosts))
        .some("DNSConfig", from.dns.as_ref().map(dns))
        .list("Secrets", from.secrets.iter().map(secret_reference))
        .list("Configs", from.configs.iter().map(config_reference))
        .put("Isolation", if from.isolation.is_empty() { "default" } else { &from.isolation })
        .map("Sysctls", &from.sysctls)
        .list("CapabilityAdd", strings(&from.capability_add))
        .list("CapabilityDrop", strings(&from.capability_drop))
        .list("Ulimits", from.ulimits.iter().map(|u| json!({"Name": u.name, "Hard": u.hard, "Soft": u.soft})))
        .number("OomScoreAdj", from.oom_score_adj)
        .build()
}

/// The reverse.
pub fn read_container_spec(fields: &Fields<'_>) -> Result<ContainerSpec> {
    let isolation = match fields.string("Isolation")?.as_str() {
        "" | "default" => String::new(),
        other => {
            return Err(InvalidField::Value(format!("invalid isolation {other:?}: only default is known on linux")));
        }
    };
    Ok(ContainerSpec {
        image: fields.string("Image")?,
        labels: fields.map("Labels")?,
        command: fields.strings("Command")?,
        args: fields.strings("Args")?,
        hostname: fields.string("Hostname")?,
        env: fields.strings("Env")?,
        dir: fields.string("Dir")?,
        user: fields.string("User")?,
        groups: fields.strings("Groups")?,
        tty: fields.boolean("TTY")?,
        open_stdin: fields.boolean("OpenStdin")?,
        read_only: fields.boolean("ReadOnly")?,
        mounts: fields.objects("Mounts")?.iter().map(read_mount).collect::<Result<_>>()?,
        stop_signal: fields.string("StopSignal")?,
        stop_grace_period: fields.opt_duration("StopGracePeriod")?,
        healthcheck: fields.object("Healthcheck")?.map(|health| read_health(&health)).transpose()?,
        hosts: fields.strings("Hosts")?,
        dns: fields.object("DNSConfig")?.map(|dns| read_dns(&dns)).transpose()?,
        secrets: fields.objects("Secrets")?.iter().map(read_secret_reference).collect::<Result<_>>()?,
        configs: fields.objects("Configs")?.iter().map(read_config_reference).collect::<Result<_>>()?,
        isolation,
        init: fields.opt_bool("Init")?,
        sysctls: fields.map("Sysctls")?,
        capability_add: fields.strings("CapabilityAdd")?,
        capability_drop: fields.strings("CapabilityDrop")?,
        ulimits: fields.objects("Ulimits")?.iter().map(read_ulimit).collect::<Result<_>>()?,
        oom_score_adj: fields.int("OomScoreAdj")?,
        privileges_json: fields.object("Privileges")?.map(|privileges| read_privileges(&privileges)).transpose()?,
    })
}

/// Only what the runtime can keep is taken: no-new-privileges.
fn read_privileges(fields: &Fields<'_>) -> Result<String> {
    fields.refuse("CredentialSpec", ": it belongs to Windows")?;
    fields.refuse_all(&["SELinuxContext", "Seccomp", "AppArmor"])?;
    let privileges = Writer::default()
        .put("CredentialSpec", Value::Null)
        .put("SELinuxContext", Value::Null)
        .flag("NoNewPrivileges", fields.boolean("NoNewPrivileges")?);
    Ok(privileges.build().to_string())
}

/// A process limit, as in services and in `docker run --ulimit`.
pub fn read_ulimit(fields: &Fields<'_>) -> Result<Ulimit> {
    Ok(Ulimit { name: fields.string("Name")?, soft: fields.int("Soft")?, hard: fields.int("Hard")? })
}

/// A health check.
pub fn health(from: &HealthConfig) -> Value {
    Writer::default()
        .list("Test", from.test.iter().cloned())
        .duration("Interval", from.interval)
        .duration("Timeout", from.timeout)
        .duration("StartPeriod", from.start_period)
        .duration("StartInterval", from.start_interval)
        .number("Retries", from.retries)
        .build()
}

/// The reverse, as in services and in `docker run --health-cmd`.
pub fn read_health(fields: &Fields<'_>) -> Result<HealthConfig> {
    Ok(HealthConfig {
        test: fields.strings("Test")?,
        interval: fields.duration("Interval")?,
        timeout: fields.duration("Timeout")?,
        retries: fields.int("Retries")?,
        start_period: fields.duration("StartPeriod")?,
        start_interval: fields.duration("StartInterval")?,
    })
}

fn dns(from: &DnsConfig) -> Value {
    Writer::default()
        .list("Nameservers", from.nameservers.iter().cloned())
        .list("Search", from.search.iter().cloned())
        .list("Options", from.options.iter().cloned())
        .build()
}

fn read_dns(fields: &Fields<'_>) -> Result<DnsConfig> {
    Ok(DnsConfig {
        nameservers: fields.strings("Nameservers")?,
        search: fields.strings("Search")?,
        options: fields.strings("Options")?,
    })
}

fn file_target(from: &FileTarget) -> Value {
    json!({"Name": from.name, "UID": from.uid, "GID": from.gid, "Mode": from.mode})
}

fn read_file_target(fields: &Fields<'_>) -> Result<FileTarget> {
    Ok(FileTarget {
        name: fields.string("Name")?,
        uid: fields.string("UID")?,
        gid: fields.string("GID")?,
        mode: fields.int("Mode")?,
    })
}

fn secret_reference(from: &SecretReference) -> Value {
    json!({"File": file_target(&from.target), "SecretID": from.secret_id.to_string(), "SecretName": from.secret_name})
}

fn read_secret_reference(fields: &Fields<'_>) -> Result<SecretReference> {
    let Some(file) = fields.object("File")? else {
        return Err(InvalidField::Value("invalid secret reference: no file target".into()));
    };
    let name = fields.string("SecretName")?;
    let id = fields.string("SecretID")?;
    Ok(SecretReference {
        secret_id: id.parse().map_err(|_| InvalidField::Value(format!("secret not found: {}", either(&id, &name))))?,
        secret_name: name,
        target: read_file_target(&file)?,
    })
}

fn config_reference(from: &ConfigReference) -> Value {
    let target = match &from.target {
        Some(target) => Writer::default().put("File", file_target(target)),
        None => Writer::default().put("Runtime", json!({})),
    };
    target.put("ConfigID", from.config_id.to_string()).put("ConfigName", from.config_name.clone()).build()
}

fn read_config_reference(fields: &Fields<'_>) -> Result<ConfigReference> {
    let name = fields.string("ConfigName")?;
    let id = fields.string("ConfigID")?;
    Ok(ConfigReference {
        config_id: id.parse().map_err(|_| InvalidField::Value(format!("config not found: {}", either(&id, &name))))?,
        config_name: name,
        target: fields.object("File")?.map(|file| read_file_target(&file)).transpose()?,
    })
}

fn either<'a>(id: &'a str, name: &'a str) -> &'a str {
    if name.is_empty() { id } else { name }
}
