//! From what a user asks of a bridge network to its definition: checks with Docker's messages, options, address pools.
//! Pure; which subnet is free is told from outside.

use std::net::IpAddr;

use container_runtime::{Error, Kind, Result};
use overlay_network::plan::{AddressPool, overlap};
use overlay_network::{BridgeNetwork, Cidr};
use swarm_types::{IpamConfig, Labels, NetworkSpec};

use super::registry::LocalNetwork;

const PREFIX: &str = "com.docker.network.";

/// Interface names have at most so many bytes.
const LONGEST_NAME: usize = 15;

pub(super) fn invalid(message: impl Into<String>) -> Error {
    Error::new(Kind::InvalidArgument, message)
}

pub(super) fn forbidden(message: impl Into<String>) -> Error {
    Error::new(Kind::Forbidden, message)
}

/// A subnet as the user gave it, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Given {
    subnet: Cidr,
    range: Option<Cidr>,
    gateway: Option<IpAddr>,
    reserved: Vec<IpAddr>,
}

/// What is wanted, checked as far as that is possible without looking at the node.
#[derive(Debug)]
pub(super) struct Definition {
    network: LocalNetwork,
    bridge: BridgeNetwork,
    v4: Option<Given>,
    v6: Option<Given>,
}

impl Definition {
    /// Reads a spec. `id`: the new network's.
    pub(super) fn read(spec: NetworkSpec, id: String) -> Result<Self> {
        let name = spec.annotations.name;
        if name.trim().is_empty() {
            return Err(invalid("invalid name: name is empty"));
        }
        let driver = spec.driver.unwrap_or_default();
        let ipam = spec.ipam.unwrap_or_default();
        if !["", "default"].contains(&ipam.driver.name.as_str()) {
            return Err(Error::new(Kind::NotFound, format!("plugin \"{}\" not found", ipam.driver.name)));
        }
        let mut options = Options(&driver.options);
        let ipv6 = spec.ipv6 || options.boolean("enable_ipv6", false)?;
        let given = check_ipam(&ipam.configs, ipv6)?;
        let of = |six: bool| given.iter().filter(move |one| one.subnet.is_ipv6() == six).cloned().collect::<Vec<_>>();
        let (v4, v6) = (single(of(false))?, single(if ipv6 { of(true) } else { Vec::new() })?);
        let mut bridge = BridgeNetwork::new(&id, BridgeNetwork::bridge_name(&id), Vec::new());
        bridge.internal = spec.internal;
        options.apply(&mut bridge)?;
        let network = LocalNetwork {
            id,
            name,
            driver: "bridge".into(),
            created: crate::core::now().as_nanos(),
            ipv6,
            attachable: spec.attachable,
            options: driver.options,
            labels: spec.annotations.labels,
            ipam_options: ipam.driver.options,
            ipam: Vec::new(),
            configured: v4.iter().chain(&v6).map(|given| given.subnet).collect(),
            bridge: None,
        };
        Ok(Self { network, bridge, v4, v6 })
    }

    /// Interface name of the bridge.
    pub(super) fn bridge(&self) -> &str {
        &self.bridge.bridge
    }

    /// Whether an IPv4 subnet has to be chosen.
    pub(super) fn needs_subnet(&self) -> bool {
        self.v4.is_none()
    }

    /// The network. `chosen`: an IPv4 subnet for one that names none; `random`: hexadecimal digits for an IPv6 one;
    /// `others`: the networks that there are.
    pub(super) fn complete(self, chosen: Option<Cidr>, random: &str, others: &[LocalNetwork]) -> Result<LocalNetwork> {
        let Self { mut network, mut bridge, v4, v6 } = self;
        let v4 = v4
            .or(chosen.map(Given::chosen))
            .ok_or_else(|| invalid("all predefined address pools have been fully subnetted"))?;
        let mut wanted = vec![v4];
        match v6 {
            Some(v6) => wanted.push(v6),
            None if network.ipv6 => {
                wanted.extend(unique_local(random).map(Given::chosen));
            }
            None => {}
        }
        for other in others {
            let Some(known) = &other.bridge else { continue };
            let mut pools = known.pools.iter().map(|pool| pool.subnet);
            if pools.any(|taken| wanted.iter().any(|given| overlap(given.subnet, taken))) {
                return Err(forbidden("invalid pool request: Pool overlaps with other one on this address space"));
            }
            if known.bridge == bridge.bridge {
                return Err(forbidden(format!(
                    "cannot create network {} ({}): conflicts with network {} ({}): networks have same bridge name",
                    network.id, bridge.bridge, other.id, known.bridge
                )));
            }
        }
        bridge.pools = wanted.iter().map(Given::pool).collect::<Result<_>>()?;
        network.ipam = wanted.iter().zip(&bridge.pools).map(|(given, pool)| given.shown(pool)).collect();
        network.bridge = Some(bridge);
        Ok(network)
    }

    /// The same as asked for, in place of what was chosen: so inspect shows it.
    pub(super) fn with_asked(mut network: LocalNetwork, asked: &[IpamConfig]) -> LocalNetwork {
        for shown in &mut network.ipam {
            if let Some(asked) = asked.iter().find(|asked| asked.subnet == shown.subnet) {
                *shown = asked.clone();
            }
        }
        network
    }
}

fn single(mut given: Vec<Given>) -> Result<Option<Given>> {
    match given.len() {
        0 | 1 => Ok(given.pop()),
        _ => Err(forbidden("bridge driver doesn't support multiple subnets")),
    }
}

/// A random subnet of the kind that is everybody's own (RFC 4193): `fd`, 40 bits, 16 bits.
fn unique_local(random: &str) -> Option<Cidr> {
    let digits: String = random.chars().take(14).collect();
    let (first, rest) = digits.split_at_checked(2)?;
    let groups: Vec<&str> = [0, 4, 8].iter().filter_map(|at| rest.get(*at..at + 4)).collect();
    format!("fd{first}:{}::/64", groups.join(":")).parse().ok().map(Cidr::network)
}

impl Given {
    fn chosen(subnet: Cidr) -> Self {
        Self { subnet, range: None, gateway: None, reserved: Vec::new() }
    }

    fn pool(&self) -> Result<AddressPool> {
        let mut pool = AddressPool::of(self.subnet, self.range);
        pool.gateway = self.gateway.unwrap_or(pool.gateway);
        pool.reserved = self.reserved.iter().copied().collect();
        match pool.reserved.contains(&pool.gateway) {
            true => Err(forbidden(format!(
                "failed to allocate secondary ip address ({}): Address already in use",
                pool.gateway
            ))),
            false => Ok(pool),
        }
    }

    fn shown(&self, pool: &AddressPool) -> IpamConfig {
        IpamConfig { subnet: self.subnet.to_string(), gateway: pool.gateway.to_string(), ..IpamConfig::default() }
    }
}

/// Docker's checks, all of them told at once.
fn check_ipam(configs: &[IpamConfig], ipv6: bool) -> Result<Vec<Given>> {
    let (mut errors, mut given) = (Vec::new(), Vec::new());
    for config in configs {
        let nothing = config.subnet.is_empty() && config.range.is_empty() && config.gateway.is_empty();
        if nothing && config.reserved.is_empty() {
            continue;
        }
        let Ok(subnet) = config.subnet.parse::<Cidr>() else {
            errors.push(format!("invalid subnet {}: invalid CIDR block notation", config.subnet));
            continue;
        };
        if subnet.is_ipv6() && !ipv6 {
            continue;
        }
        if subnet != subnet.network() {
            errors.push(format!("invalid subnet {subnet}: it should be {}", subnet.network()));
        }
        let range = check_range(&config.range, subnet, &mut errors);
        let mut address = |what: &str, text: &str| match check_address(text, subnet) {
            Ok(ip) => Some(ip),
            Err(why) => {
                errors.push(format!("invalid {what}: {why}"));
                None
            }
        };
        let gateway = match config.gateway.as_str() {
            "" => None,
            text => address(&format!("gateway {text}"), text),
        };
        let reserved = config
            .reserved
            .iter()
            .filter_map(|(name, text)| address(&format!("auxiliary address {name}"), text))
            .collect();
        given.push(Given { subnet, range, gateway, reserved });
    }
    match errors.is_empty() {
        true => Ok(given),
        false => Err(invalid(format!("invalid network config:\n{}", errors.join("\n")))),
    }
}

fn check_range(text: &str, subnet: Cidr, errors: &mut Vec<String>) -> Option<Cidr> {
    if text.is_empty() {
        return None;
    }
    let Ok(range) = text.parse::<Cidr>() else {
        errors.push(format!("invalid ip-range {text}: invalid CIDR block notation"));
        return None;
    };
    if range.is_ipv6() != subnet.is_ipv6() {
        let family = if subnet.is_ipv6() { "IPv6" } else { "IPv4" };
        errors.push(format!("invalid ip-range {text}: parent subnet is an {family} block"));
        return None;
    }
    if range.prefix < subnet.prefix {
        errors.push(format!("invalid ip-range {text}: CIDR block is bigger than its parent subnet {subnet}"));
    }
    if range != range.network() {
        errors.push(format!("invalid ip-range {range}: it should be {}", range.network()));
    }
    if !overlap(subnet, range) {
        errors.push(format!("invalid ip-range {text}: parent subnet {subnet} doesn't contain ip-range"));
    }
    Some(range)
}

fn check_address(text: &str, subnet: Cidr) -> std::result::Result<IpAddr, String> {
    let ip: IpAddr = text.parse().map_err(|_| "invalid address".to_owned())?;
    if ip.is_ipv6() != subnet.is_ipv6() {
        return Err(format!("parent subnet is an {} block", if subnet.is_ipv6() { "IPv6" } else { "IPv4" }));
    }
    match subnet.contains(ip) {
        true => Ok(ip),
        false => Err(format!("parent subnet {subnet} doesn't contain this address")),
    }
}

/// `--opt`, by Docker's names.
struct Options<'a>(&'a Labels);

impl Options<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(&format!("{PREFIX}{key}")).map(String::as_str)
    }

    fn wrong(key: &str, value: &str, why: &str) -> Error {
        invalid(format!("failed to parse {PREFIX}{key} value: {value} ({why})"))
    }

    /// As Go's ParseBool reads it.
    fn boolean(&self, key: &str, default: bool) -> Result<bool> {
        match self.get(key) {
            None => Ok(default),
            Some("1" | "t" | "T" | "TRUE" | "true" | "True") => Ok(true),
            Some("0" | "f" | "F" | "FALSE" | "false" | "False") => Ok(false),
            Some(value) => {
                Err(Self::wrong(key, value, &format!("strconv.ParseBool: parsing {value:?}: invalid syntax")))
            }
        }
    }

    fn apply(&mut self, bridge: &mut BridgeNetwork) -> Result<()> {
        for unsupported in
            ["bridge.gateway_mode_ipv4", "bridge.gateway_mode_ipv6", "bridge.inhibit_ipv4", "container_iface_prefix"]
        {
            if self.get(unsupported).is_some_and(|value| !["", "nat", "false"].contains(&value)) {
                return Err(invalid(format!("network option {PREFIX}{unsupported} is not supported by this engine")));
            }
        }
        bridge.icc = self.boolean("bridge.enable_icc", true)?;
        bridge.masquerade = self.boolean("bridge.enable_ip_masquerade", true)?;
        if let Some(name) = self.get("bridge.name").filter(|name| !name.is_empty()) {
            let fits = name.len() <= LONGEST_NAME
                && !name.contains(|c: char| c == '/' || c.is_whitespace() || c.is_control())
                && name != "."
                && name != "..";
            if !fits {
                return Err(invalid(format!(
                    "invalid bridge name {name:?}: at most {LONGEST_NAME} characters, without blanks and slashes"
                )));
            }
            bridge.bridge = name.to_owned();
        }
        if let Some(mtu) = self.get("driver.mtu").filter(|mtu| !mtu.is_empty()) {
            let number: i64 = mtu.parse().map_err(|_| {
                Self::wrong("driver.mtu", mtu, &format!("strconv.Atoi: parsing {mtu:?}: invalid syntax"))
            })?;
            // 0 is "as usual" in Docker; the kernel's own bounds for links that carry IPv4
            match u32::try_from(number) {
                Ok(0) => {}
                Ok(number) if (68..=65535).contains(&number) => bridge.mtu = number,
                _ => return Err(invalid(format!("invalid MTU number: {mtu}"))),
            }
        }
        if let Some(ip) = self.get("bridge.host_binding_ipv4").filter(|ip| !ip.is_empty())
            && ip.parse::<std::net::Ipv4Addr>().is_err()
        {
            return Err(Self::wrong("bridge.host_binding_ipv4", ip, "nil ip"));
        }
        Ok(())
    }
}

impl LocalNetwork {
    /// Where ports are published that name no address of the node: everywhere unless the network says otherwise.
    pub(super) fn host_binding(&self) -> Option<IpAddr> {
        let ip: IpAddr = Options(&self.options).get("bridge.host_binding_ipv4")?.parse().ok()?;
        (!ip.is_unspecified()).then_some(ip)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use swarm_types::{Annotations, Driver, IpamOptions};

    use super::*;

    fn spec(configs: &[(&str, &str, &str)]) -> NetworkSpec {
        let configs = configs.iter().map(|(subnet, range, gateway)| IpamConfig {
            subnet: (*subnet).into(),
            range: (*range).into(),
            gateway: (*gateway).into(),
            ..IpamConfig::default()
        });
        NetworkSpec {
            annotations: Annotations { name: "n".into(), ..Annotations::default() },
            ipam: Some(IpamOptions { configs: configs.collect(), ..IpamOptions::default() }),
            ..NetworkSpec::default()
        }
    }

    fn define(spec: NetworkSpec, others: &[LocalNetwork]) -> Result<LocalNetwork> {
        let id = "0123456789abcdef".repeat(4);
        let chosen = Some("172.18.0.0/16".parse().unwrap());
        Definition::read(spec, id)?.complete(chosen, "1234567890abcdef", others)
    }

    fn refusal(spec: NetworkSpec) -> String {
        define(spec, &[]).unwrap_err().message
    }

    #[test]
    fn a_network_without_wishes_gets_a_subnet_and_dockers_settings() {
        let network = define(spec(&[]), &[]).unwrap();
        let bridge = network.bridge.unwrap();
        assert_eq!((bridge.bridge.as_str(), bridge.mtu, bridge.icc), ("br-0123456789ab", 1500, true));
        assert_eq!(
            (network.ipam[0].subnet.as_str(), network.ipam[0].gateway.as_str()),
            ("172.18.0.0/16", "172.18.0.1")
        );
    }

    #[test]
    fn subnets_are_checked_in_dockers_words() {
        for (config, message) in [
            (("10.0.0.1/24", "", ""), "invalid subnet 10.0.0.1/24: it should be 10.0.0.0/24"),
            (("10.0.0.0", "", ""), "invalid subnet 10.0.0.0: invalid CIDR block notation"),
            (("", "", "10.0.0.1"), "invalid subnet : invalid CIDR block notation"),
            (("10.0.0.0/24", "x", ""), "invalid ip-range x: invalid CIDR block notation"),
            (("10.0.0.0/24", "fd00::/96", ""), "invalid ip-range fd00::/96: parent subnet is an IPv4 block"),
            (
                ("10.0.0.0/24", "10.0.0.0/16", ""),
                "invalid ip-range 10.0.0.0/16: CIDR block is bigger than its parent subnet 10.0.0.0/24",
            ),
            (("10.0.0.0/24", "10.0.0.9/28", ""), "invalid ip-range 10.0.0.9/28: it should be 10.0.0.0/28"),
            (
                ("10.0.0.0/24", "10.0.1.0/28", ""),
                "invalid ip-range 10.0.1.0/28: parent subnet 10.0.0.0/24 doesn't contain ip-range",
            ),
            (("10.0.0.0/24", "", "x"), "invalid gateway x: invalid address"),
            (
                ("10.0.0.0/24", "", "10.0.1.1"),
                "invalid gateway 10.0.1.1: parent subnet 10.0.0.0/24 doesn't contain this address",
            ),
        ] {
            assert_eq!(refusal(spec(&[config])), format!("invalid network config:\n{message}"));
        }
        let two = spec(&[("10.0.0.0/24", "", ""), ("10.0.1.0/24", "", "")]);
        assert_eq!(refusal(two), "bridge driver doesn't support multiple subnets");
    }

    #[test]
    fn networks_do_not_share_addresses_or_bridges() {
        let mut first = define(spec(&[("10.1.0.0/16", "", "")]), &[]).unwrap();
        let overlapping = define(spec(&[("10.1.9.0/24", "", "")]), std::slice::from_ref(&first)).unwrap_err();
        assert_eq!(overlapping.kind, Kind::Forbidden);
        assert_eq!(overlapping.message, "invalid pool request: Pool overlaps with other one on this address space");
        first.bridge.as_mut().unwrap().bridge = "br-0123456789ab".into();
        let same = define(spec(&[("10.2.0.0/16", "", "")]), &[first]).unwrap_err();
        assert!(same.message.ends_with("networks have same bridge name"), "{}", same.message);
    }

    #[test]
    fn options_are_read_as_docker_reads_them() {
        let with = |key: &str, value: &str| {
            let mut spec = spec(&[]);
            let options = Labels::from([(format!("com.docker.network.{key}"), value.to_owned())]);
            spec.driver = Some(Driver { name: "bridge".into(), options });
            spec
        };
        let bridge = |key: &str, value: &str| define(with(key, value), &[]).unwrap().bridge.unwrap();
        assert!(!bridge("bridge.enable_icc", "false").icc);
        assert!(!bridge("bridge.enable_ip_masquerade", "0").masquerade);
        assert_eq!(bridge("bridge.name", "mybr").bridge, "mybr");
        assert_eq!(bridge("driver.mtu", "1400").mtu, 1400);
        for (key, value, message) in [
            (
                "driver.mtu",
                "x",
                "failed to parse com.docker.network.driver.mtu value: x (strconv.Atoi: parsing \"x\": invalid syntax)",
            ),
            ("driver.mtu", "-1", "invalid MTU number: -1"),
            (
                "bridge.enable_icc",
                "maybe",
                "failed to parse com.docker.network.bridge.enable_icc value: maybe (strconv.ParseBool: parsing \"maybe\": invalid syntax)",
            ),
            (
                "bridge.host_binding_ipv4",
                "x",
                "failed to parse com.docker.network.bridge.host_binding_ipv4 value: x (nil ip)",
            ),
        ] {
            assert_eq!(refusal(with(key, value)), message);
        }
        assert!(refusal(with("bridge.name", "a-name-that-is-too-long")).starts_with("invalid bridge name"));
        assert!(refusal(with("bridge.gateway_mode_ipv4", "routed")).contains("not supported by this engine"));
    }

    #[test]
    fn a_network_with_ipv6_gets_a_subnet_of_its_own() {
        let mut spec = spec(&[]);
        spec.ipv6 = true;
        let bridge = define(spec, &[]).unwrap().bridge.unwrap();
        let subnets: Vec<String> = bridge.pools.iter().map(|pool| pool.subnet.to_string()).collect();
        assert_eq!(subnets, ["172.18.0.0/16", "fd12:3456:7890:abcd::/64"]);
    }
}
