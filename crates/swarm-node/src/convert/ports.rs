//! Which of a container's ports are to be reached by the node's: `PortBindings`, `PublishAllPorts`, `ExposedPorts`.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use swarm_types::PortProtocol;

use super::{Fields, InvalidField, Result};

/// Most ports that one container may publish or expose: each published one costs sockets and rules.
const MOST: usize = 4096;

/// A container's port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Port {
    /// The number, not 0.
    pub number: u16,
    /// The protocol.
    pub protocol: PortProtocol,
}

/// A port that is to be reached by one of the node's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PortWish {
    /// The container's.
    pub port: Port,
    /// The address of the node; `None`: all.
    pub host_ip: Option<IpAddr>,
    /// The first free one of these of the node's; (0, 0): any.
    pub host_ports: (u16, u16),
}

/// All that a container asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PortWishes {
    /// `-p`
    pub publish: Vec<PortWish>,
    /// `-P`: each exposed port that is not published otherwise gets any of the node's.
    pub publish_all: bool,
    /// Ports that are known without being published: the image's and `--expose`.
    pub exposed: BTreeSet<Port>,
}

impl std::fmt::Display for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.number, overlay_network::protocol_name(self.protocol))
    }
}

impl PortWishes {
    /// What is to be published, `publish_all` included, by port.
    pub fn all(&self) -> Vec<PortWish> {
        let mut all = self.publish.clone();
        if self.publish_all {
            let open = self.exposed.iter().filter(|port| !self.publish.iter().any(|wish| wish.port == **port));
            all.extend(open.map(|port| PortWish { port: *port, host_ip: None, host_ports: (0, 0) }));
        }
        all.sort();
        all
    }

    /// Adds ports that an image exposes; those that make no sense are passed over.
    pub fn expose(&mut self, ports: &[String]) {
        self.exposed.extend(ports.iter().filter_map(|text| read_port(text).ok()).flatten().take(MOST));
    }
}

/// Reads the three fields from `Config` and `HostConfig`.
pub fn read_ports(config: &Fields<'_>, host: Option<&Fields<'_>>) -> Result<PortWishes> {
    let mut wishes = PortWishes::default();
    for text in config.set("ExposedPorts")? {
        wishes.exposed.extend(read_port(&text)?);
    }
    let Some(host) = host else { return Ok(wishes) };
    wishes.publish_all = host.boolean("PublishAllPorts")?;
    if let Some(bindings) = host.get("PortBindings") {
        let Value::Object(bindings) = bindings else {
            return Err(InvalidField::Value(format!("{} must be an object", host.path("PortBindings"))));
        };
        read_bindings(bindings, &mut wishes)?;
    }
    match wishes.publish.len() > MOST || wishes.exposed.len() > MOST {
        true => Err(InvalidField::Value(format!("a container may publish and expose at most {MOST} ports"))),
        false => Ok(wishes),
    }
}

fn read_bindings(bindings: &Map<String, Value>, wishes: &mut PortWishes) -> Result<()> {
    for (text, list) in bindings {
        let ports = read_port(text)?;
        wishes.exposed.extend(&ports);
        let none = Vec::new();
        let list = match list {
            Value::Array(list) => list,
            Value::Null => &none,
            _ => return Err(InvalidField::Value(format!("HostConfig.PortBindings[{text:?}] must be a list"))),
        };
        for binding in list {
            let binding = Fields::new(binding, "HostConfig.PortBindings")?;
            let host_ip = match binding.string("HostIp")?.as_str() {
                "" => None,
                ip => Some(ip.parse().map_err(|_| InvalidField::Value(format!("invalid IP address: {ip}")))?),
            };
            let host_port = binding.string("HostPort")?;
            let host_ports = read_range(host_port.split('/').next().unwrap_or(""))
                .ok_or_else(|| InvalidField::Value(format!("invalid port specification: \"{host_port}\"")))?;
            wishes.publish.extend(ports.iter().map(|port| PortWish { port: *port, host_ip, host_ports }));
        }
    }
    Ok(())
}

/// `80`, `80/tcp`, `80-82/udp`
pub fn read_port(text: &str) -> Result<Vec<Port>> {
    let invalid = || InvalidField::Value(format!("invalid port specification: \"{text}\""));
    let (numbers, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "" | "tcp" => PortProtocol::Tcp,
        "udp" => PortProtocol::Udp,
        "sctp" => PortProtocol::Sctp,
        _ => return Err(invalid()),
    };
    let (first, last) = read_range(numbers).filter(|(first, _)| *first > 0).ok_or_else(invalid)?;
    if usize::from(last - first) >= MOST {
        return Err(invalid());
    }
    Ok((first..=last).map(|number| Port { number, protocol }).collect())
}

/// Nothing, a number, or two in order.
fn read_range(text: &str) -> Option<(u16, u16)> {
    if text.is_empty() {
        return Some((0, 0));
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| text.parse::<u16>().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    let (first, last) = (number(first)?, number(last)?);
    let zero = first == 0 && last == 0;
    (zero || (first > 0 && first <= last)).then_some((first, last))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(config: Value, host: Value) -> Result<PortWishes> {
        read_ports(&Fields::new(&config, "Config")?, Some(&Fields::new(&host, "HostConfig")?))
    }

    fn tcp(number: u16) -> Port {
        Port { number, protocol: PortProtocol::Tcp }
    }

    #[test]
    fn bindings_name_addresses_ports_and_ranges_or_leave_them_open() {
        let wishes = read(
            json!({"ExposedPorts": {"90": {}}}),
            json!({"PortBindings": {
                "80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}, {"HostIp": "", "HostPort": ""}],
                "53/udp": [{"HostPort": "5300-5310"}],
                "81/tcp": null,
            }}),
        )
        .unwrap();
        let dns = Port { number: 53, protocol: PortProtocol::Udp };
        assert_eq!(
            wishes.all(),
            [
                PortWish { port: dns, host_ip: None, host_ports: (5300, 5310) },
                PortWish { port: tcp(80), host_ip: None, host_ports: (0, 0) },
                PortWish { port: tcp(80), host_ip: Some([127, 0, 0, 1].into()), host_ports: (8080, 8080) },
            ]
        );
        assert_eq!(wishes.exposed, BTreeSet::from([dns, tcp(80), tcp(81), tcp(90)]));
    }

    #[test]
    fn publishing_all_opens_what_is_exposed_and_not_published_already() {
        let mut wishes = read(
            json!({"ExposedPorts": {"80/tcp": {}, "90-91/tcp": {}}}),
            json!({"PublishAllPorts": true, "PortBindings": {"80/tcp": [{"HostPort": "8080"}]}}),
        )
        .unwrap();
        wishes.expose(&["92/tcp".into(), "nonsense".into()]);
        let ports: Vec<_> = wishes.all().iter().map(|wish| (wish.port.number, wish.host_ports.0)).collect();
        assert_eq!(ports, [(80, 8080), (90, 0), (91, 0), (92, 0)]);
    }

    #[test]
    fn what_is_no_port_is_refused() {
        for host in [
            json!({"PortBindings": {"0/tcp": []}}),
            json!({"PortBindings": {"80/xyz": []}}),
            json!({"PortBindings": {"80": [{"HostPort": "65536"}]}}),
            json!({"PortBindings": {"80": [{"HostPort": "20-10"}]}}),
            json!({"PortBindings": {"80": [{"HostPort": "+80"}]}}),
            json!({"PortBindings": {"80": [{"HostIp": "nowhere"}]}}),
            json!({"PortBindings": {"1-60000": []}}),
            json!({"PortBindings": [80]}),
        ] {
            assert!(read(json!({}), host.clone()).is_err(), "{host}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_port_or_refused(text in "[0-9/a-z-]{0,12}") {
            if let Ok(ports) = read_port(&text) {
                prop_assert!(ports.iter().all(|port| port.number > 0));
            }
        }
    }
}
