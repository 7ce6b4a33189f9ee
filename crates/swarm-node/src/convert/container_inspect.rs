//! Containers as `GET /containers/json` and `GET /containers/{id}/json` show them.

use std::collections::BTreeMap;

use container_runtime::{HealthStatus, Inspect, Status};
use docker_api::time::{UnixTime, ZERO};
use serde_json::{Value, json};

use super::ports::Port;
use crate::containers::{Attachment, Endpoint, MountPoint, PREDEFINED, Record, dns_names, local_network_id};

/// All that is known of one container.
pub struct Shown<'a> {
    /// The runtime's part.
    pub inspect: &'a Inspect,
    /// The engine's part.
    pub record: &'a Record,
    /// It ended and will be started again.
    pub restarting: bool,
    /// Sizes of its own layer and of all layers, if asked for.
    pub size: Option<(u64, u64)>,
    /// The image's name where the client gave an id.
    pub image: &'a str,
}

/// Nanoseconds since 1970 as Go prints a time.
pub fn stamp(nanos: Option<i64>) -> String {
    nanos.map_or_else(|| ZERO.into(), |nanos| UnixTime::from_nanos(i128::from(nanos)).to_string())
}

impl Shown<'_> {
    /// `created`, `running`, `restarting`, `exited`.
    pub fn state(&self) -> &'static str {
        match self.inspect.state.status {
            _ if self.restarting => "restarting",
            Status::Created | Status::Prepared => "created",
            Status::Running => "running",
            Status::Exited => "exited",
        }
    }

    fn health(&self) -> Option<HealthStatus> {
        self.inspect.state.health.as_ref().map(|health| health.status)
    }

    /// `Up 5 minutes (healthy)`, `Exited (0) 2 hours ago`.
    pub fn status(&self, now: i64) -> String {
        let state = &self.inspect.state;
        let since = |at: Option<i64>| ago(now.saturating_sub(at.unwrap_or(now)));
        match state.status {
            _ if self.restarting => format!("Restarting ({}) {} ago", state.exit_code, since(state.finished_at)),
            Status::Running => {
                let health = match self.health() {
                    Some(HealthStatus::Starting) => " (health: starting)".to_owned(),
                    Some(other) => format!(" ({})", other.as_str()),
                    None => String::new(),
                };
                format!("Up {}{health}", since(state.started_at))
            }
            Status::Created | Status::Prepared => "Created".into(),
            Status::Exited => format!("Exited ({}) {} ago", state.exit_code, since(state.finished_at)),
        }
    }

    /// One line of `GET /containers/json`.
    pub fn summary(&self, now: i64) -> Value {
        let command = self.inspect.args.join(" ");
        let mut all = json!({
            "Id": self.inspect.id.as_str(),
            "Names": [format!("/{}", self.inspect.name)],
            "Image": self.image,
            "ImageID": self.inspect.image_id,
            "Command": command,
            "Created": self.inspect.created_at / 1_000_000_000,
            "Ports": self.ports_summary(),
            "Labels": self.inspect.labels,
            "State": self.state(),
            "Status": self.status(now),
            "HostConfig": {"NetworkMode": self.record.network},
            "Health": {"Status": self.health().map_or("none", HealthStatus::as_str), "FailingStreak": self.inspect.state.health.as_ref().map_or(0, |h| h.failing_streak)},
            "NetworkSettings": {"Networks": self.networks()},
            "Mounts": self.record.mounts.iter().map(mount_point).collect::<Vec<_>>(),
        });
        if let Some((own, all_layers)) = self.size {
            all["SizeRw"] = json!(own);
            all["SizeRootFs"] = json!(all_layers);
        }
        all
    }

    /// `GET /containers/{id}/json`
    pub fn full(&self) -> Value {
        let (path, args) = self.inspect.args.split_first().map_or(("", &[][..]), |(path, args)| (path.as_str(), args));
        let mut all = json!({
            "Id": self.inspect.id.as_str(),
            "Created": stamp(Some(self.inspect.created_at)),
            "Path": path,
            "Args": args,
            "State": self.full_state(),
            "Image": self.inspect.image_id,
            "ResolvConfPath": "", "HostnamePath": "", "HostsPath": "", "LogPath": "",
            "Name": format!("/{}", self.inspect.name),
            "RestartCount": self.record.restart_count,
            "Driver": "overlay2",
            "Platform": "linux",
            "MountLabel": "", "ProcessLabel": "", "AppArmorProfile": "",
            "ExecIDs": null,
            "HostConfig": self.record.host_json,
            "GraphDriver": {"Name": "overlay2", "Data": null},
            "Mounts": self.record.mounts.iter().map(mount_point).collect::<Vec<_>>(),
            "Config": self.config(),
            "NetworkSettings": self.network_settings(),
        });
        if let Some((own, all_layers)) = self.size {
            all["SizeRw"] = json!(own);
            all["SizeRootFs"] = json!(all_layers);
        }
        all
    }

    fn full_state(&self) -> Value {
        let state = &self.inspect.state;
        let running = state.status == Status::Running || self.restarting;
        let mut shown = json!({
            "Status": self.state(),
            "Running": running,
            "Paused": false,
            "Restarting": self.restarting,
            "OOMKilled": state.oom_killed,
            "Dead": false,
            "Pid": if state.status == Status::Running { state.pid.unwrap_or(0) } else { 0 },
            "ExitCode": state.exit_code,
            "Error": state.error.as_deref().unwrap_or(""),
            "StartedAt": stamp(state.started_at),
            "FinishedAt": stamp(state.finished_at),
        });
        if let Some(health) = &state.health {
            let log = health.log.iter().map(|probe| {
                json!({"Start": stamp(Some(probe.start)), "End": stamp(Some(probe.end)), "ExitCode": probe.exit_code, "Output": probe.output})
            });
            shown["Health"] = json!({
                "Status": health.status.as_str(),
                "FailingStreak": health.failing_streak,
                "Log": log.collect::<Vec<_>>(),
            });
        }
        shown
    }

    /// What the client gave, with what the image added.
    fn config(&self) -> Value {
        let mut config = self.record.config_json.clone();
        let hostname = self.inspect.config.hostname.clone().unwrap_or_else(|| self.inspect.id.short().to_owned());
        config["Hostname"] = json!(hostname);
        config["Env"] = json!(self.inspect.env);
        config["User"] = json!(self.inspect.user);
        config["WorkingDir"] = json!(if self.inspect.working_dir == "/" && self.inspect.config.working_dir.is_none() {
            ""
        } else {
            &self.inspect.working_dir
        });
        config["Labels"] = json!(self.inspect.labels);
        if let Some(map) = config.as_object_mut() {
            for optional in ["StopSignal", "StopTimeout", "Healthcheck", "ExposedPorts"] {
                if map.get(optional).is_some_and(Value::is_null) {
                    map.shift_remove(optional);
                }
            }
        }
        config
    }

    fn is_running(&self) -> bool {
        self.inspect.state.status == Status::Running
    }

    /// By name, in the order in which Go prints a map.
    fn networks(&self) -> Value {
        let mut attachments = self.record.attachments();
        attachments.sort_by(|a, b| a.network.cmp(&b.network));
        let shown = attachments.iter().map(|attachment| (attachment.network.clone(), self.network(attachment)));
        Value::Object(shown.collect())
    }

    fn network(&self, attachment: &Attachment) -> Value {
        let endpoint = self.record.endpoints.iter().find(|one| one.network == attachment.network);
        let endpoint = endpoint.filter(|_| self.is_running());
        let predefined = PREDEFINED.contains(&attachment.network.as_str());
        let network_id = match (endpoint, attachment.network_id.as_str()) {
            (Some(endpoint), _) => endpoint.network_id.clone(),
            (None, "") if predefined => local_network_id(&attachment.network),
            (None, known) => known.to_owned(),
        };
        let (v4, v6) = (attachment.wish.ipv4, attachment.wish.ipv6);
        let ipam = (v4.is_some() || v6.is_some()).then(|| {
            let mut ipam = serde_json::Map::new();
            ipam.extend(v4.map(|ip| ("IPv4Address".to_owned(), json!(ip))));
            ipam.extend(v6.map(|ip| ("IPv6Address".to_owned(), json!(ip))));
            ipam
        });
        let some = |list: &[String]| if list.is_empty() { Value::Null } else { json!(list) };
        let hostname = self.inspect.config.hostname.as_deref();
        let names = match predefined {
            true => Vec::new(),
            false => dns_names(&self.inspect.name, self.inspect.id.short(), hostname, Some(attachment)),
        };
        let place = endpoint.and_then(|endpoint| endpoint.place.as_ref());
        let (ip, ip6) = (place.and_then(|place| place.ipv4()), place.and_then(|place| place.ipv6()));
        let text = |text: Option<String>| text.unwrap_or_default();
        json!({
            "IPAMConfig": ipam,
            "Links": null,
            "Aliases": some(&attachment.aliases),
            "MacAddress": text(place.map(|place| place.mac).or(attachment.wish.mac).map(|mac| mac.to_string())),
            "DriverOpts": null,
            "GwPriority": attachment.gateway_priority,
            "NetworkID": network_id,
            "EndpointID": text(endpoint.map(|endpoint| endpoint.id.clone())),
            "Gateway": text(place.and_then(|place| place.gateway4()).map(|ip| ip.to_string())),
            "IPAddress": text(ip.map(|(ip, _)| ip.to_string())),
            "IPPrefixLen": ip.map_or(0, |(_, prefix)| prefix),
            "IPv6Gateway": text(place.and_then(|place| place.gateway6()).map(|ip| ip.to_string())),
            "GlobalIPv6Address": text(ip6.map(|(ip, _)| ip.to_string())),
            "GlobalIPv6PrefixLen": ip6.map_or(0, |(_, prefix)| prefix),
            "DNSNames": some(&names),
        })
    }

    fn network_settings(&self) -> Value {
        let networks = self.networks();
        // fields from the time when there was only one network
        let of = |key: &str, empty: Value| networks["bridge"].get(key).cloned().unwrap_or(empty);
        let text = |key: &str| of(key, json!(""));
        let pid = self.inspect.state.pid.filter(|_| self.is_running() && self.record.network != "host");
        let sandbox = pid.map(|_| sandbox_id(self.inspect.id.as_str())).unwrap_or_default();
        json!({
            "Bridge": "", "SandboxID": sandbox,
            "SandboxKey": pid.map(|pid| format!("/proc/{pid}/ns/net")).unwrap_or_default(),
            "Ports": self.ports(), "HairpinMode": false,
            "LinkLocalIPv6Address": "", "LinkLocalIPv6PrefixLen": 0, "SecondaryIPAddresses": null,
            "SecondaryIPv6Addresses": null, "EndpointID": text("EndpointID"), "Gateway": text("Gateway"),
            "GlobalIPv6Address": text("GlobalIPv6Address"), "GlobalIPv6PrefixLen": of("GlobalIPv6PrefixLen", json!(0)),
            "IPAddress": text("IPAddress"), "IPPrefixLen": of("IPPrefixLen", json!(0)),
            "IPv6Gateway": text("IPv6Gateway"), "MacAddress": text("MacAddress"),
            "Networks": networks,
        })
    }

    /// Each exposed port with the node's ports that lead to it, `null` without; while it runs on networks of its own.
    fn ports(&self) -> Value {
        let mut ports: BTreeMap<String, Value> = BTreeMap::new();
        if self.is_running() && self.record.endpoints.iter().any(|endpoint| endpoint.place.is_some()) {
            for port in &self.record.ports.exposed {
                ports.insert(port.to_string(), Value::Null);
            }
            for one in &self.record.published {
                let port = Port { number: one.port, protocol: one.protocol }.to_string();
                let binding = json!({"HostIp": one.host_ip, "HostPort": one.host_port.to_string()});
                match ports.entry(port).or_default() {
                    Value::Array(bindings) => bindings.push(binding),
                    none => *none = json!([binding]),
                }
            }
        }
        json!(ports)
    }

    /// The same as a list.
    fn ports_summary(&self) -> Vec<Value> {
        let ports = self.ports();
        let mut lines = Vec::new();
        for (port, bindings) in ports.as_object().into_iter().flatten() {
            let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
            let number: u16 = number.parse().unwrap_or(0);
            match bindings.as_array() {
                None => lines.push(json!({"PrivatePort": number, "Type": protocol})),
                Some(bindings) => lines.extend(bindings.iter().map(|binding| {
                    let public: u16 = binding["HostPort"].as_str().and_then(|port| port.parse().ok()).unwrap_or(0);
                    json!({"IP": binding["HostIp"], "PrivatePort": number, "PublicPort": public, "Type": protocol})
                })),
            }
        }
        lines
    }

    /// Whether it is on a network of this name or id.
    pub fn is_on(&self, network: &str) -> bool {
        let on = |endpoint: &Endpoint| endpoint.network_id == network;
        self.record.endpoints.iter().any(on)
            || self.record.attachments().iter().any(|one| {
                one.network == network
                    || one.network_id == network
                    || (PREDEFINED.contains(&one.network.as_str()) && local_network_id(&one.network) == network)
            })
    }

    /// Whether a port (`80`, `80/tcp`, `80-90/udp`) is published on the node, or else exposed by the container.
    pub fn has_port(&self, wanted: &[Port], published: bool) -> bool {
        match published {
            true => self
                .record
                .published
                .iter()
                .any(|one| wanted.contains(&Port { number: one.host_port, protocol: one.protocol })),
            false => self.is_running() && self.record.ports.exposed.iter().any(|port| wanted.contains(port)),
        }
    }
}

/// 64 hexadecimal digits that stand for a container's network namespace.
fn sandbox_id(container: &str) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(format!("sandbox {container}")).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn mount_point(from: &MountPoint) -> Value {
    let mut shown = json!({"Type": from.kind});
    if !from.name.is_empty() {
        shown["Name"] = json!(from.name);
    }
    shown["Source"] = json!(from.source);
    shown["Destination"] = json!(from.target);
    if from.kind == "volume" {
        shown["Driver"] = json!("local");
    }
    shown["Mode"] = json!(from.mode);
    shown["RW"] = json!(!from.read_only);
    shown["Propagation"] = json!(if from.kind == "bind" { "rprivate" } else { "" });
    shown
}

/// A span for people, in Docker's words.
pub fn ago(nanos: i64) -> String {
    docker_api::time::human_duration(nanos.into())
}

#[cfg(test)]
mod tests {
    use super::ago;

    #[test]
    fn spans_read_as_docker_prints_them() {
        for (seconds, text) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (120, "2 minutes"),
            (3599, "59 minutes"),
            (3600, "About an hour"),
            (7200, "2 hours"),
            (172_800, "2 days"),
            (1_209_600, "2 weeks"),
        ] {
            assert_eq!(ago(seconds * 1_000_000_000), text);
        }
    }
}
