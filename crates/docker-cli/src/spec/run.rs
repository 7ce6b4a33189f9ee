//! `docker run` and `docker create`: flags to the body of `POST /containers/create`.

use super::create::{each, health};
use super::json::{child, key_values, object_mut, set};
use super::networks::{check_mac, endpoints};
use super::{addresses, ports, values};
use crate::flags::Parsed;
use serde_json::{Value, json};

/// A container to be.
#[derive(Debug, Clone)]
pub struct ContainerRequest {
    /// Body of the request.
    pub body: Value,
    /// Standard streams to attach, in the order in, out, error.
    pub attach: [bool; 3],
}

/// The body. `env` is the environment, files first; `labels` those of `--label-file` and `--label`.
pub fn container_request(flags: &Parsed, env: Vec<String>, labels: &[String]) -> Result<ContainerRequest, String> {
    if !flags.string("mac-address").is_empty() {
        check_mac(flags.string("mac-address"))?;
    }
    let attach = attachments(flags)?;
    let [stdin, stdout, stderr] = attach;
    let tty = flags.bool("tty");
    let interactive = flags.bool("interactive");
    let hostname = flags.string("hostname");
    let mut body = json!({
        "Hostname": hostname,
        "Domainname": flags.string("domainname"),
        "User": flags.string("user"),
        "AttachStdin": stdin,
        "AttachStdout": stdout,
        "AttachStderr": stderr,
        "Tty": tty,
        "OpenStdin": interactive,
        // Only a container that is started attached ends its input with the client's.
        "StdinOnce": interactive && stdin,
        "Env": env,
        "Cmd": null,
        "Image": flags.args[0],
        "Volumes": {},
        "WorkingDir": flags.string("workdir"),
        "Entrypoint": null,
        "Labels": key_values(labels),
    });
    let b = &mut body;
    if flags.args.len() > 1 {
        object_mut(b).insert("Cmd".into(), json!(flags.args[1..]));
    }
    if flags.changed("entrypoint") {
        // An empty entry point takes the image's away.
        object_mut(b).insert("Entrypoint".into(), json!([flags.string("entrypoint")]));
    }
    set(b, "StopSignal", json!(flags.string("stop-signal")));
    if flags.changed("stop-timeout") {
        object_mut(b).insert("StopTimeout".into(), json!(flags.i64("stop-timeout")));
    }
    if let Some(health) = health(flags)? {
        set(b, "Healthcheck", health);
    }
    let mut host = host_config(flags)?;
    volumes(flags, b, &mut host)?;
    ports(flags, b, &mut host)?;
    networks(flags, b, &mut host)?;
    if flags.bool("rm") && !matches!(super::json::text(&host, "RestartPolicy.Name"), "" | "no") {
        return Err("conflicting options: cannot specify both --restart and --rm".into());
    }
    object_mut(b).insert("HostConfig".into(), host);
    Ok(ContainerRequest { body, attach })
}

fn attachments(flags: &Parsed) -> Result<[bool; 3], String> {
    let mut attach = [false; 3];
    for name in flags.list("attach") {
        match name.to_lowercase().as_str() {
            "stdin" => attach[0] = true,
            "stdout" => attach[1] = true,
            "stderr" => attach[2] = true,
            _ => return Err("valid streams are STDIN, STDOUT and STDERR".into()),
        }
    }
    if flags.list("attach").is_empty() {
        attach = [false, true, true];
    }
    attach[0] |= flags.bool("interactive");
    Ok(attach)
}

fn host_config(flags: &Parsed) -> Result<Value, String> {
    let mut host = json!({});
    let h = &mut host;
    for (flag, key) in [
        ("cpu-shares", "CpuShares"),
        ("cpu-period", "CpuPeriod"),
        ("cpu-quota", "CpuQuota"),
        ("pids-limit", "PidsLimit"),
        ("oom-score-adj", "OomScoreAdj"),
        ("blkio-weight", "BlkioWeight"),
    ] {
        set(h, key, json!(flags.i64(flag).unwrap_or(0)));
    }
    for (flag, key) in [("memory", "Memory"), ("memory-reservation", "MemoryReservation"), ("shm-size", "ShmSize")] {
        set(h, key, json!(flags.bytes(flag)));
    }
    let swap = if flags.string("memory-swap") == "-1" { -1 } else { flags.bytes("memory-swap") };
    set(h, "MemorySwap", json!(swap));
    set(h, "NanoCpus", json!(flags.nano_cpus("cpus")));
    for (flag, key) in [
        ("cgroup-parent", "CgroupParent"),
        ("cpuset-cpus", "CpusetCpus"),
        ("cpuset-mems", "CpusetMems"),
        ("cgroupns", "CgroupnsMode"),
        ("ipc", "IpcMode"),
        ("isolation", "Isolation"),
        ("pid", "PidMode"),
        ("runtime", "Runtime"),
        ("userns", "UsernsMode"),
        ("uts", "UTSMode"),
        ("volume-driver", "VolumeDriver"),
    ] {
        set(h, key, json!(flags.string(flag)));
    }
    for (flag, key) in [
        ("privileged", "Privileged"),
        ("read-only", "ReadonlyRootfs"),
        ("rm", "AutoRemove"),
        ("publish-all", "PublishAllPorts"),
        ("oom-kill-disable", "OomKillDisable"),
    ] {
        set(h, key, json!(flags.bool(flag)));
    }
    for (flag, key) in [
        ("dns", "Dns"),
        ("dns-option", "DnsOptions"),
        ("dns-search", "DnsSearch"),
        ("group-add", "GroupAdd"),
        ("security-opt", "SecurityOpt"),
        ("volumes-from", "VolumesFrom"),
        ("link", "Links"),
    ] {
        set(h, key, json!(flags.list(flag)));
    }
    for (flag, key) in [("cap-add", "CapAdd"), ("cap-drop", "CapDrop")] {
        set(h, key, json!(values::capabilities(flags.list(flag))));
    }
    if flags.changed("init") {
        object_mut(h).insert("Init".into(), json!(flags.bool("init")));
    }
    set(h, "Sysctls", key_values(flags.list("sysctl")));
    set(h, "Annotations", key_values(flags.list("annotation")));
    set(h, "Ulimits", json!(each(flags, "ulimit", values::ulimit)?));
    set(h, "Mounts", json!(each(flags, "mount", values::mount)?));
    let hosts = each(flags, "add-host", addresses::extra_host)?;
    set(h, "ExtraHosts", hosts.iter().map(|(name, ip)| format!("{name}:{ip}")).collect());
    let tmpfs = flags.list("tmpfs").iter().map(|text| {
        let (path, options) = text.split_once(':').unwrap_or((text, ""));
        (path.to_owned(), json!(options))
    });
    set(h, "Tmpfs", Value::Object(tmpfs.collect()));
    set(h, "Devices", json!(flags.list("device").iter().map(|text| device(text)).collect::<Vec<_>>()));
    object_mut(h).insert("RestartPolicy".into(), restart_policy(flags.string("restart"))?);
    let log_options = key_values(flags.list("log-opt"));
    if flags.string("log-driver") == "none" && !flags.list("log-opt").is_empty() {
        return Err("invalid logging opts for driver none".into());
    }
    object_mut(h).insert("LogConfig".into(), json!({ "Type": flags.string("log-driver"), "Config": log_options }));
    Ok(host)
}

fn device(text: &str) -> Value {
    let mut parts = text.split(':');
    let source = parts.next().unwrap_or("");
    let (target, mode) = match (parts.next(), parts.next()) {
        (Some(second), None) if !second.is_empty() && second.chars().all(|c| "rwm".contains(c)) => (source, second),
        (second, third) => (second.unwrap_or(source), third.unwrap_or("rwm")),
    };
    json!({ "PathOnHost": source, "PathInContainer": target, "CgroupPermissions": mode })
}

fn restart_policy(text: &str) -> Result<Value, String> {
    let (name, count) = match text.split_once(':') {
        Some(("", _)) => {
            return Err("invalid restart policy format: no policy provided before colon".into());
        }
        Some((name, count)) => {
            let count = count
                .parse::<u32>()
                .map_err(|_| "invalid restart policy format: maximum retry count must be an integer")?;
            (name, count)
        }
        None => (text, 0),
    };
    Ok(json!({ "Name": name, "MaximumRetryCount": count }))
}

/// `-v` is a bind or a named volume when it has a source, else an anonymous volume.
fn volumes(flags: &Parsed, body: &mut Value, host: &mut Value) -> Result<(), String> {
    let mut binds = Vec::new();
    for text in flags.list("volume") {
        let parts: Vec<&str> = text.split(':').collect();
        match parts.as_slice() {
            [""] => return Err("invalid empty volume spec".into()),
            ["", ..] => return Err(format!("invalid volume specification: '{text}'")),
            [target] => {
                object_mut(child(body, "Volumes")).insert((*target).to_owned(), json!({}));
            }
            [_, _] | [_, _, _] => {
                let (source, rest) = text.split_once(':').unwrap_or((text, ""));
                let source = match source.starts_with('.') {
                    true => std::path::absolute(source).map_or(source.to_owned(), |path| path.display().to_string()),
                    false => source.to_owned(),
                };
                binds.push(format!("{source}:{rest}"));
            }
            _ => return Err(format!("invalid spec: {text}: too many colons")),
        }
    }
    set(host, "Binds", json!(binds));
    Ok(())
}

fn ports(flags: &Parsed, body: &mut Value, host: &mut Value) -> Result<(), String> {
    let mut exposed = json!({});
    let mut bindings = json!({});
    let published = each(flags, "publish", ports::short_form)?;
    let published: Vec<_> = published.iter().map(|text| ports::bindings(text)).collect::<Result<_, _>>()?;
    for port in published.concat() {
        object_mut(&mut exposed).insert(port.key(), json!({}));
        let list = object_mut(&mut bindings).entry(port.key()).or_insert_with(|| json!([]));
        if let Value::Array(list) = list {
            list.push(json!({ "HostIp": port.host_ip, "HostPort": port.host_port() }));
        }
    }
    for port in each(flags, "expose", ports::exposed)?.concat() {
        object_mut(&mut exposed).insert(port, json!({}));
    }
    set(body, "ExposedPorts", exposed);
    object_mut(host).insert("PortBindings".into(), bindings);
    Ok(())
}

fn networks(flags: &Parsed, body: &mut Value, host: &mut Value) -> Result<(), String> {
    let (mode, endpoints) = endpoints(flags)?;
    set(host, "NetworkMode", json!(mode));
    object_mut(body).insert("NetworkingConfig".into(), json!({ "EndpointsConfig": endpoints }));
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn request(line: &[&str]) -> Result<Value, String> {
        let command = crate::commands::container::run::command();
        let args: Vec<String> = line.iter().map(|s| (*s).to_owned()).collect();
        let flags = crate::flags::parse(&command.flags, &args, false).unwrap();
        container_request(&flags, flags.list("env").to_vec(), flags.list("label")).map(|r| r.body)
    }

    #[test]
    fn the_usual_flags_land_in_their_places() {
        let body = request(&[
            "-it",
            "-e",
            "A=1",
            "-p",
            "8080:80",
            "-v",
            "/a:/b:ro",
            "-v",
            "/anon",
            "-m",
            "64m",
            "--cpus=.5",
            "img",
            "sh",
            "-c",
            "x",
        ])
        .unwrap();
        assert_eq!(body["Cmd"], json!(["sh", "-c", "x"]));
        assert_eq!((&body["Tty"], &body["OpenStdin"], &body["StdinOnce"]), (&json!(true), &json!(true), &json!(true)));
        assert_eq!(body["HostConfig"]["PortBindings"], json!({"80/tcp": [{"HostIp": "", "HostPort": "8080"}]}));
        assert_eq!(body["HostConfig"]["Binds"], json!(["/a:/b:ro"]));
        assert_eq!(body["Volumes"], json!({"/anon": {}}));
        assert_eq!(body["HostConfig"]["Memory"], 64 << 20);
        assert_eq!(body["HostConfig"]["NanoCpus"], 500_000_000);
    }

    #[test]
    fn contradictions_are_refused() {
        assert_eq!(
            request(&["--rm", "--restart", "always", "a"]).unwrap_err(),
            "conflicting options: cannot specify both --restart and --rm"
        );
        assert_eq!(request(&["-v", "/a:/b:/c:/d", "a"]).unwrap_err(), "invalid spec: /a:/b:/c:/d: too many colons");
        assert_eq!(
            request(&["--health-cmd", "x", "--no-healthcheck", "a"]).unwrap_err(),
            "--no-healthcheck conflicts with --health-* options"
        );
        assert_eq!(request(&["-p", "1:2:3:4", "a"]).unwrap_err(), "invalid IP address: 1:2");
    }
}
