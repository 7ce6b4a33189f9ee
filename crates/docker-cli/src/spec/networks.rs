//! Networks as flags name them: `--network` of containers and services, and what `docker network` sends.

use super::addresses::{Subnet, is_mac};
use super::json::{child, key_values, object_mut, set};
use super::values::{Parse, csv, is_long_form};
use crate::flags::Parsed;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// A network as named on the command line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkRequest {
    /// Name or id.
    pub target: String,
    /// Further names in its DNS.
    pub aliases: Vec<String>,
    /// Options for its driver.
    pub driver_opts: BTreeMap<String, String>,
    /// Containers to have names for.
    pub links: Vec<String>,
    /// Fixed address.
    pub ipv4: String,
    /// Fixed address.
    pub ipv6: String,
    /// Addresses that are valid on the link only.
    pub link_local: Vec<String>,
    /// Fixed hardware address.
    pub mac: String,
    /// The network of the highest priority gives the default route.
    pub gateway_priority: i64,
}

/// `--network`: a name, or `name=...,alias=...`. In the long form Docker makes all letters small.
pub fn network(text: &str) -> Parse<NetworkRequest> {
    let mut request = NetworkRequest::default();
    if !is_long_form(text) {
        request.target = text.to_owned();
        return Ok(request);
    }
    for field in csv(text)? {
        let lower = field.to_lowercase();
        let Some((key, value)) = lower.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            return Err(format!("invalid field {field}"));
        };
        let value = value.trim();
        match key.trim() {
            "name" => request.target = value.into(),
            "alias" => request.aliases.push(value.into()),
            "ip" => request.ipv4 = value.into(),
            "ip6" => request.ipv6 = value.into(),
            "mac-address" => request.mac = value.into(),
            "link-local-ip" => request.link_local.push(value.into()),
            "driver-opt" => {
                let pair = value.split_once('=').filter(|(key, _)| !key.is_empty());
                let (key, value) = pair.ok_or("invalid key value pair format in driver options")?;
                request.driver_opts.insert(key.trim().into(), value.trim().into());
            }
            "gw-priority" => {
                request.gateway_priority = crate::flags::parse_int(value).map_err(|error| {
                    let reason = error.rsplit(": ").next().unwrap_or("");
                    format!("invalid gw-priority ({value}): {reason}")
                })?;
            }
            other => return Err(format!("invalid field key {other}")),
        }
    }
    match request.target.is_empty() {
        true => Err("network name/id is not specified".into()),
        false => Ok(request),
    }
}

/// Not one of the words that mean a network of every engine, or another container's.
fn is_user_defined(name: &str) -> bool {
    !matches!(name, "default" | "bridge" | "host" | "none") && name.split(':').next() != Some("container")
}

/// `NetworkMode` of a container and its `EndpointsConfig`, from `--network` and the flags for its first network.
pub fn endpoints(flags: &Parsed) -> Parse<(String, Value)> {
    let mut requests = super::create::each(flags, "network", network)?;
    let named = !requests.is_empty();
    if !named {
        requests.push(NetworkRequest { target: "default".into(), ..NetworkRequest::default() });
    }
    let mode = requests[0].target.clone();
    let single = requests.len() == 1;
    let (mut own, mut builtin) = (false, false);
    let mut out = json!({});
    for (at, mut request) in requests.into_iter().enumerate() {
        match is_user_defined(&request.target) {
            true => own = true,
            false => builtin = true,
        }
        if at == 0 {
            add_flags(flags, &mut request)?;
        }
        let endpoint = endpoint(&request)?;
        let map = object_mut(&mut out);
        if map.contains_key(&request.target) {
            return Err(format!("network {:?} is specified multiple times", request.target));
        }
        // The engine makes a plain endpoint of the only network by itself.
        let is_plain = endpoint.as_object().is_some_and(|map| map.is_empty());
        if !(is_plain && named && single) {
            map.insert(request.target, endpoint);
        }
    }
    match own && builtin {
        true => Err("conflicting options: cannot attach both user-defined and non-user-defined network-modes".into()),
        false => Ok((mode, out)),
    }
}

/// `--network-alias`, `--link`, `--ip` and so on belong to the first network, which must not say the same itself.
fn add_flags(flags: &Parsed, request: &mut NetworkRequest) -> Parse<()> {
    let conflict = |flag: &str, what: &str| {
        Err(format!("conflicting options: cannot specify both --{flag} and per-network {what}"))
    };
    let (aliases, links) = (flags.list("network-alias"), flags.list("link"));
    if !request.aliases.is_empty() && !aliases.is_empty() {
        return conflict("network-alias", "alias");
    }
    if !request.ipv4.is_empty() && !flags.string("ip").is_empty() {
        return conflict("ip", "IPv4 address");
    }
    if !request.ipv6.is_empty() && !flags.string("ip6").is_empty() {
        return conflict("ip6", "IPv6 address");
    }
    if !request.mac.is_empty() && !flags.string("mac-address").is_empty() {
        return conflict("mac-address", "MAC address");
    }
    let link_local = flags.list("link-local-ip");
    if !request.link_local.is_empty() && !link_local.is_empty() {
        return conflict("link-local-ip", "link-local IP addresses");
    }
    for (field, given) in [(&mut request.aliases, aliases), (&mut request.link_local, link_local)] {
        if !given.is_empty() {
            *field = given.to_vec();
        }
    }
    if is_user_defined(&request.target) {
        request.links = links.to_vec();
    }
    for (field, flag) in [(&mut request.ipv4, "ip"), (&mut request.ipv6, "ip6"), (&mut request.mac, "mac-address")] {
        if !flags.string(flag).is_empty() {
            *field = flags.string(flag).to_owned();
        }
    }
    Ok(())
}

fn endpoint(request: &NetworkRequest) -> Parse<Value> {
    if request.target.trim().is_empty() {
        return Err("no name set for network".into());
    }
    if !is_user_defined(&request.target) {
        if !request.aliases.is_empty() {
            return Err("network-scoped aliases are only supported for user-defined networks".into());
        }
        if !request.links.is_empty() {
            return Err("links are only supported for user-defined networks".into());
        }
    }
    let mut out = json!({});
    set(&mut out, "Aliases", json!(request.aliases));
    set(&mut out, "DriverOpts", json!(request.driver_opts));
    set(&mut out, "Links", json!(request.links));
    set(&mut out, "GwPriority", json!(request.gateway_priority));
    if !request.ipv4.is_empty() || !request.ipv6.is_empty() || !request.link_local.is_empty() {
        let config = child(&mut out, "IPAMConfig");
        set(config, "IPv4Address", json!(request.ipv4));
        set(config, "IPv6Address", json!(request.ipv6));
        set(config, "LinkLocalIPs", json!(request.link_local));
    }
    if !request.mac.is_empty() {
        check_mac(&request.mac)?;
        set(&mut out, "MacAddress", json!(request.mac));
    }
    Ok(out)
}

/// Refuses what is no hardware address.
pub fn check_mac(text: &str) -> Parse<()> {
    match is_mac(text) {
        true => Ok(()),
        false => Err(format!("{text} is not a valid mac address")),
    }
}

/// Body of `POST /networks/create`.
pub fn network_spec(flags: &Parsed) -> Parse<Value> {
    let mut spec = json!({ "Name": flags.args.first().map_or("", String::as_str) });
    let s = object_mut(&mut spec);
    s.insert("Driver".into(), json!(flags.string("driver")));
    s.insert("Scope".into(), json!(flags.string("scope")));
    for (flag, key) in [("ipv4", "EnableIPv4"), ("ipv6", "EnableIPv6")] {
        if flags.changed(flag) {
            s.insert(key.into(), json!(flags.bool(flag)));
        }
    }
    s.insert("IPAM".into(), ipam(flags)?);
    for (flag, key) in
        [("internal", "Internal"), ("attachable", "Attachable"), ("ingress", "Ingress"), ("config-only", "ConfigOnly")]
    {
        s.insert(key.into(), json!(flags.bool(flag)));
    }
    if !flags.string("config-from").is_empty() {
        s.insert("ConfigFrom".into(), json!({ "Network": flags.string("config-from") }));
    }
    s.insert("Options".into(), key_values(flags.list("opt")));
    s.insert("Labels".into(), key_values(flags.list("label")));
    Ok(spec)
}

/// Ranges, gateways and reserved addresses, each given to the subnet that holds it.
fn ipam(flags: &Parsed) -> Parse<Value> {
    let (subnets, ranges, gateways) = (flags.list("subnet"), flags.list("ip-range"), flags.list("gateway"));
    if subnets.len() < ranges.len() || subnets.len() < gateways.len() {
        return Err("every ip-range or gateway must have a corresponding subnet".into());
    }
    let mut configs: Vec<(&str, Value)> = Vec::new();
    for text in subnets {
        for (other, _) in &configs {
            if holds(text, other)? || holds(other, text)? {
                return Err("multiple overlapping subnet configuration is not supported".into());
            }
        }
        configs.push((text, json!({ "Subnet": text })));
    }
    for (given, key, what, several) in [
        (ranges, "IPRange", "range", "ranges (%) on the same subnet"),
        (gateways, "Gateway", "gateway", "gateways (%) for the same subnet"),
    ] {
        for text in given {
            let mut matched = false;
            for (subnet, config) in &mut configs {
                if key == "IPRange" {
                    Subnet::parse(text)?;
                }
                if !holds(subnet, text)? {
                    continue;
                }
                if let Some(before) = config.get(key).and_then(Value::as_str) {
                    let both = several.replace('%', &format!("{text}, {before}"));
                    return Err(format!("cannot configure multiple {both} ({subnet})"));
                }
                set(config, key, json!(text));
                matched = true;
            }
            if !matched {
                return Err(format!("no matching subnet for {what} {text}"));
            }
        }
    }
    let mut reserved = key_values(flags.list("aux-address"));
    for (name, address) in object_mut(&mut reserved) {
        let text = address.as_str().unwrap_or("");
        let mut matched = false;
        for (subnet, config) in &mut configs {
            if holds(subnet, text)? {
                object_mut(child(config, "AuxiliaryAddresses")).insert(name.clone(), address.clone());
                matched = true;
            }
        }
        if !matched {
            return Err(format!("no matching subnet for aux-address {text}"));
        }
    }
    let configs: Vec<Value> = configs.into_iter().map(|(_, config)| config).collect();
    Ok(json!({
        "Driver": flags.string("ipam-driver"),
        "Options": key_values(flags.list("ipam-opt")),
        "Config": configs,
    }))
}

/// Is `text`, an address or a subnet, in the subnet?
fn holds(subnet: &str, text: &str) -> Parse<bool> {
    let subnet = Subnet::parse(subnet).map_err(|reason| format!("invalid subnet: {reason}"))?;
    if text.contains('/') {
        return Ok(subnet.contains(Subnet::parse(text)?.address()));
    }
    // What is no address at all is in no subnet.
    Ok(text.parse::<IpAddr>().is_ok_and(|ip| subnet.contains(ip)))
}

/// Body of `POST /networks/NAME/connect`.
pub fn connect_request(flags: &Parsed, container: &str) -> Parse<Value> {
    let mut options = json!({});
    for text in flags.list("driver-opt") {
        let pair = text.split_once('=').map(|(key, value)| (key.trim(), value.trim()));
        let (key, value) =
            pair.filter(|(key, _)| !key.is_empty()).ok_or("invalid key/value pair format in driver options")?;
        object_mut(&mut options).insert(key.into(), json!(value));
    }
    let mut endpoint = json!({ "IPAMConfig": {} });
    let config = child(&mut endpoint, "IPAMConfig");
    set(config, "IPv4Address", json!(flags.string("ip")));
    set(config, "IPv6Address", json!(flags.string("ip6")));
    set(config, "LinkLocalIPs", json!(flags.list("link-local-ip")));
    set(&mut endpoint, "Links", json!(flags.list("link")));
    set(&mut endpoint, "Aliases", json!(flags.list("alias")));
    set(&mut endpoint, "DriverOpts", options);
    set(&mut endpoint, "GwPriority", json!(flags.i64("gw-priority").unwrap_or(0)));
    Ok(json!({ "Container": container, "EndpointConfig": endpoint }))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(command: &crate::command::Command, line: &str) -> Parsed {
        let args: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        crate::flags::parse(&command.flags, &args, command.interspersed).unwrap()
    }

    fn created(line: &str) -> Parse<Value> {
        network_spec(&parsed(&crate::commands::network::create::command(), line))
    }

    fn container(line: &str) -> Parse<(String, Value)> {
        endpoints(&parsed(&crate::commands::container::run::command(), line))
    }

    #[test]
    fn networks_have_a_short_and_a_long_form() {
        assert_eq!(network("Front").unwrap().target, "Front");
        let long = network("name=Front,alias=a,alias=B,ip=10.0.0.9,driver-opt=k=v,gw-priority=-1").unwrap();
        assert_eq!((long.target.as_str(), long.aliases.as_slice()), ("front", &["a".to_owned(), "b".to_owned()][..]));
        assert_eq!((long.ipv4.as_str(), long.gateway_priority), ("10.0.0.9", -1));
        assert_eq!(network("alias=a").unwrap_err(), "network name/id is not specified");
        assert_eq!(network("name=a,b").unwrap_err(), "invalid field b");
        assert_eq!(network("name=a,gw-priority=x").unwrap_err(), "invalid gw-priority (x): invalid syntax");
    }

    #[test]
    fn each_subnet_gets_its_range_and_gateway() {
        let spec = created(
            "-d overlay --subnet 10.1.0.0/16,fd00::/64 --gateway fd00::1 --gateway 10.1.0.1 --ip-range 10.1.5.0/24 --aux-address a=10.1.0.5 n",
        )
        .unwrap();
        assert_eq!(
            spec["IPAM"]["Config"],
            json!([
                {"Subnet": "10.1.0.0/16", "IPRange": "10.1.5.0/24", "Gateway": "10.1.0.1", "AuxiliaryAddresses": {"a": "10.1.0.5"}},
                {"Subnet": "fd00::/64", "Gateway": "fd00::1"},
            ])
        );
        assert!(spec.get("EnableIPv6").is_none());
    }

    #[test]
    fn addresses_outside_of_their_subnet_are_refused() {
        let error = |line| created(line).unwrap_err();
        assert_eq!(error("--gateway 1.1.1.1 n"), "every ip-range or gateway must have a corresponding subnet");
        assert_eq!(error("--subnet 10.0.0.0/8 --gateway 11.0.0.1 n"), "no matching subnet for gateway 11.0.0.1");
        assert_eq!(
            error("--subnet 10.0.0.0/8 --subnet 10.1.0.0/16 n"),
            "multiple overlapping subnet configuration is not supported"
        );
        assert_eq!(error("--subnet x --gateway 10.0.0.1 n"), "invalid subnet: invalid CIDR address: x");
        assert_eq!(
            error("--subnet 10.0.0.0/8 --subnet 11.0.0.0/8 --gateway 10.0.0.1 --gateway 10.0.0.2 n"),
            "cannot configure multiple gateways (10.0.0.2, 10.0.0.1) for the same subnet (10.0.0.0/8)"
        );
    }

    #[test]
    fn flags_for_the_first_network_join_it() {
        let (mode, endpoints) = container("--network a --network b --network-alias x --ip 10.0.0.2 img").unwrap();
        assert_eq!(mode, "a");
        assert_eq!(endpoints["a"], json!({"Aliases": ["x"], "IPAMConfig": {"IPv4Address": "10.0.0.2"}}));
        assert_eq!(endpoints["b"], json!({}));
        assert_eq!(container("--network a img").unwrap().1, json!({}));
        assert_eq!(container("img").unwrap(), ("default".into(), json!({"default": {}})));
        assert_eq!(
            container("--network a --network host img").unwrap_err(),
            "conflicting options: cannot attach both user-defined and non-user-defined network-modes"
        );
        assert_eq!(
            container("--network-alias x img").unwrap_err(),
            "network-scoped aliases are only supported for user-defined networks"
        );
    }

    proptest! {
        #[test]
        fn any_text_parses_or_is_refused(text in "[0-9a-z:./=,\" -]{0,40}") {
            let _ = network(&text);
            let _ = (holds(&text, "10.0.0.1"), holds("10.0.0.0/8", &text));
        }
    }
}
