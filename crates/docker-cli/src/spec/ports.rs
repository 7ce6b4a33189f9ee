//! Ports as flags name them: `-p` of containers and of services, `--publish-rm`, `--expose`.
//!
//! The rules are those of Docker's `go-connections/nat`, with their corners: what follows a second `-` or `/` is
//! ignored, and a range of host ports for one container port means "one of these" for a container and "all of these"
//! for a service.

use super::json::set;
use super::values::{Parse, csv, is_long_form};
use serde_json::{Value, json};
use std::net::IpAddr;

/// One container port of a port specification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortBinding {
    /// Address to listen on, empty for all.
    pub host_ip: String,
    /// Port to listen on, chosen by the engine when absent.
    pub host: Option<u16>,
    /// End of a range to choose the host port from.
    pub host_end: Option<u16>,
    /// Port inside the container.
    pub container: u16,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
}

impl PortBinding {
    /// The host port as the API writes it: a number, a range, or nothing.
    pub fn host_port(&self) -> String {
        match (self.host, self.host_end) {
            (Some(start), Some(end)) => format!("{start}-{end}"),
            (Some(port), None) => port.to_string(),
            (None, _) => String::new(),
        }
    }

    /// The container's side as the API writes it, `80/tcp`.
    pub fn key(&self) -> String {
        format!("{}/{}", self.container, self.protocol)
    }
}

/// `[[IP:]HOST:]CONTAINER[/PROTOCOL]`, each port possibly a range.
pub fn bindings(text: &str) -> Parse<Vec<PortBinding>> {
    let (ip, host, container) = split(text);
    let (protocol, container) = protocol_and_port(container);
    let ip = match ip.starts_with('[') {
        true => unbracketed(ip).map_err(|reason| format!("invalid IP address {ip}: {reason}"))?,
        false => ip,
    };
    if !ip.is_empty() && ip.parse::<IpAddr>().is_err() {
        return Err(format!("invalid IP address: {ip}"));
    }
    if container.is_empty() {
        return Err(format!("no port specified: {text}<empty>"));
    }
    let (start, end) = range(container).map_err(|_| format!("invalid containerPort: {container}"))?;
    let host_range = match host {
        "" => None,
        host => Some(range(host).map_err(|_| format!("invalid hostPort: {host}"))?),
    };
    if let Some((host_start, host_end)) = host_range
        && host_end - host_start != end - start
        && start != end
    {
        return Err(format!("invalid ranges specified for container and host Ports: {container} and {host}"));
    }
    let lower = protocol.to_lowercase();
    if !matches!(lower.as_str(), "tcp" | "udp" | "sctp") {
        return Err(format!("invalid proto: {protocol}"));
    }
    let one = |offset: u16| PortBinding {
        host_ip: ip.to_owned(),
        host: host_range.map(|(first, _)| first + offset),
        host_end: host_range.filter(|(first, last)| start == end && first != last).map(|(_, last)| last),
        container: start + offset,
        protocol: lower.clone(),
    };
    Ok((0..=end - start).map(one).collect())
}

/// `-p` of a container in its short form: also `published=8080,target=80,protocol=udp` is understood.
pub fn short_form(text: &str) -> Parse<String> {
    if !text.contains('=') {
        return Ok(text.to_owned());
    }
    let (mut published, mut target, mut protocol) = ("", "", "tcp");
    for field in text.split(',') {
        match field.split_once('=').filter(|(key, _)| !key.is_empty()) {
            Some(("published", value)) => published = value,
            Some(("target", value)) => target = value,
            Some(("protocol", value)) => protocol = value,
            // Docker takes any other word and forgets it.
            Some(_) => {}
            None => {
                return Err(format!("invalid publish opts format (should be name=value but got '{field}')"));
            }
        }
    }
    Ok(format!("{published}:{target}/{protocol}"))
}

/// `--expose`: ports or ranges without a host's side, as `80/tcp` each. Docker does not look at the protocol here.
pub fn exposed(text: &str) -> Parse<Vec<String>> {
    if text.contains(':') {
        return Err(format!("invalid port format for --expose: {text}"));
    }
    let (protocol, port) = protocol_and_port(text);
    let (start, end) =
        range(port).map_err(|reason| format!("invalid range format for --expose: {text}, error: {reason}"))?;
    Ok((start..=end).map(|port| format!("{port}/{protocol}")).collect())
}

/// `--publish` of a service to port configurations, one for each published port.
pub fn service_ports(text: &str) -> Parse<Vec<Value>> {
    if is_long_form(text) {
        return long_form(text).map(|port| vec![port]);
    }
    let bindings = bindings(text)?;
    if bindings.iter().any(|binding| !binding.host_ip.is_empty()) {
        return Err("hostip is not supported".into());
    }
    let mut out = Vec::new();
    for binding in bindings {
        let first = binding.host.unwrap_or(0);
        for published in first..=binding.host_end.unwrap_or(first) {
            out.push(config(&binding.protocol, binding.container, published, "ingress"));
        }
    }
    Ok(out)
}

fn long_form(text: &str) -> Parse<Value> {
    let (mut protocol, mut mode, mut target, mut published) = ("tcp".to_owned(), "ingress".to_owned(), 0u16, 0u16);
    for field in csv(text)? {
        let lower = field.to_lowercase();
        let Some((key, value)) = lower.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            return Err(format!("invalid field: {field}"));
        };
        let port = |what: &str| {
            number(value).map_err(|e| format!("invalid {what} port ({value}): value must be an integer: {e}"))
        };
        match key {
            "protocol" if matches!(value, "tcp" | "udp" | "sctp") => protocol = value.into(),
            "protocol" => return Err(format!("invalid protocol value '{value}'")),
            "mode" if matches!(value, "ingress" | "host") => mode = value.into(),
            "mode" => {
                return Err(format!("invalid publish mode value ({value}): must be either 'ingress' or 'host'"));
            }
            "target" => target = port("target")?,
            "published" => published = port("published")?,
            _ => return Err(format!("invalid field key: {key}")),
        }
    }
    match target {
        0 => Err("missing mandatory field 'target'".into()),
        target => Ok(config(&protocol, target, published, &mode)),
    }
}

/// A port of a service as the API has it; what is 0 is left out.
fn config(protocol: &str, target: u16, published: u16, mode: &str) -> Value {
    let mut out = json!({ "Protocol": protocol });
    set(&mut out, "TargetPort", json!(target));
    set(&mut out, "PublishedPort", json!(published));
    set(&mut out, "PublishMode", json!(mode));
    out
}

/// IP, host port and container port; what is left of the last two colons is the IP.
fn split(text: &str) -> (&str, &str, &str) {
    let Some((rest, container)) = text.rsplit_once(':') else { return ("", "", text) };
    match rest.rsplit_once(':') {
        Some((ip, host)) => (ip, host, container),
        None => ("", rest, container),
    }
}

/// `80/udp` to its parts, protocol first; `tcp` when none is named.
pub fn protocol_and_port(text: &str) -> (&str, &str) {
    let mut parts = text.split('/');
    match (parts.next().unwrap_or(""), parts.next()) {
        ("", _) => ("", ""),
        (port, None | Some("")) => ("tcp", port),
        (port, Some(protocol)) => (protocol, port),
    }
}

/// `[::1]` without its brackets, with the complaints of Go's `SplitHostPort`.
fn unbracketed(ip: &str) -> Parse<&str> {
    let complaint = |what: &str| Err(format!("address {ip}:: {what}"));
    let Some(end) = ip.find(']') else { return complaint("missing ']' in address") };
    let (host, rest) = (&ip[1..end], &ip[end + 1..]);
    match rest {
        "" if host.contains('[') => complaint("unexpected '[' in address"),
        "" => Ok(host),
        rest if rest.starts_with(':') => complaint("too many colons in address"),
        _ => complaint("missing port in address"),
    }
}

/// A port or a range of ports.
fn range(text: &str) -> Parse<(u16, u16)> {
    if text.is_empty() {
        return Err("empty string specified for ports".into());
    }
    let port = |text: &str| number(text).map_err(|e| format!("strconv.ParseUint: parsing {text:?}: {e}"));
    let mut parts = text.split('-');
    let start = port(parts.next().unwrap_or(""))?;
    let end = parts.next().map(port).transpose()?.unwrap_or(start);
    match end < start {
        true => Err(format!("invalid range specified for port: {text}")),
        false => Ok((start, end)),
    }
}

/// Digits only, as Go reads an unsigned number of 16 bits.
fn number(text: &str) -> Result<u16, &'static str> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err("invalid syntax");
    }
    text.parse().map_err(|_| "value out of range")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_binding_names_ip_host_and_container() {
        let one = |text| bindings(text).unwrap().remove(0);
        assert_eq!((one("80").host_port(), one("80").key()), (String::new(), "80/tcp".into()));
        assert_eq!((one("[::1]:80:81/UDP").host_ip, one("[::1]:80:81/UDP").key()), ("::1".into(), "81/udp".into()));
        assert_eq!(one("127.0.0.1::81").host, None);
        assert_eq!(one("::1:80:81").host_ip, "::1");
    }

    #[test]
    fn ranges_pair_or_offer_a_choice() {
        let hosts = |text| bindings(text).unwrap().iter().map(PortBinding::host_port).collect::<Vec<_>>();
        assert_eq!(hosts("8000-8002:80-82"), ["8000", "8001", "8002"]);
        assert_eq!(hosts("8000-8002:80"), ["8000-8002"]);
        assert_eq!(
            bindings("8000-8001:80-82").unwrap_err(),
            "invalid ranges specified for container and host Ports: 80-82 and 8000-8001"
        );
    }

    #[test]
    fn malformed_bindings_are_named_in_dockers_words() {
        let error = |text| bindings(text).unwrap_err();
        assert_eq!(error("1:2:3:4"), "invalid IP address: 1:2");
        assert_eq!(error("x:y"), "invalid containerPort: y");
        assert_eq!(error("x:1"), "invalid hostPort: x");
        assert_eq!(error("80/x"), "invalid proto: x");
        assert_eq!(error("90-80"), "invalid containerPort: 90-80");
        assert_eq!(error("80:"), "no port specified: 80:<empty>");
        assert_eq!(error("+80"), "invalid containerPort: +80");
        assert_eq!(error("[::1:80:80"), "invalid IP address [::1: address [::1:: missing ']' in address");
    }

    #[test]
    fn services_publish_every_port_of_a_range() {
        let published = |text| -> Vec<i64> {
            service_ports(text).unwrap().iter().map(|port| super::super::json::int(port, "PublishedPort")).collect()
        };
        assert_eq!(published("8000-8002:80"), [8000, 8001, 8002]);
        assert_eq!(published("80"), [0]);
        assert_eq!(
            service_ports("published=8080,target=80,mode=host").unwrap(),
            [json!({"Protocol": "tcp", "TargetPort": 80, "PublishedPort": 8080, "PublishMode": "host"})]
        );
        assert_eq!(service_ports("published=80").unwrap_err(), "missing mandatory field 'target'");
        assert_eq!(service_ports("127.0.0.1:80:80").unwrap_err(), "hostip is not supported");
        assert_eq!(
            service_ports("mode=host,target=+80").unwrap_err(),
            "invalid target port (+80): value must be an integer: invalid syntax"
        );
    }

    #[test]
    fn exposed_ports_take_any_protocol() {
        assert_eq!(exposed("80-81/x").unwrap(), ["80/x", "81/x"]);
        assert_eq!(exposed("1:2").unwrap_err(), "invalid port format for --expose: 1:2");
        assert_eq!(
            exposed("2-1").unwrap_err(),
            "invalid range format for --expose: 2-1, error: invalid range specified for port: 2-1"
        );
    }

    proptest! {
        #[test]
        fn any_text_parses_or_is_refused(text in "[0-9a-z:.\\[\\]/=,\"-]{0,30}") {
            let _ = (bindings(&text), short_form(&text), service_ports(&text), exposed(&text));
        }

        #[test]
        fn a_pair_of_ranges_maps_one_to_one(host in 1u16..60_000, container in 1u16..60_000, length in 0u16..50) {
            let text = format!("{host}-{}:{container}-{}", host + length, container + length);
            let all = bindings(&text).unwrap();
            prop_assert_eq!(all.len(), usize::from(length) + 1);
            for (at, binding) in (0u16..).zip(all) {
                prop_assert_eq!((binding.host, binding.container), (Some(host + at), container + at));
            }
        }
    }
}
