//! Addresses as flags name them: IP and hardware addresses, subnets, lines of `/etc/hosts`, search domains.

use super::values::Parse;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An IP address, in the form in which Go writes it.
pub fn ip_address(text: &str) -> Parse<String> {
    match text.trim().parse::<IpAddr>() {
        Ok(ip) => Ok(ip.to_canonical().to_string()),
        Err(_) => Err(format!("IP address is not correctly formatted: {text}")),
    }
}

/// `--add-host` and `--host`: name and address.
pub fn extra_host(text: &str) -> Parse<(String, String)> {
    let split = text.split_once('=').or_else(|| text.split_once(':'));
    let Some((name, address)) = split.filter(|(name, _)| !name.is_empty() && !name.contains(':')) else {
        return Err(format!("bad format for add-host: {text:?}"));
    };
    let bare = address.strip_prefix('[').and_then(|a| a.strip_suffix(']')).filter(|a| !a.is_empty());
    let bare = bare.unwrap_or(address);
    // The host's own address, which the engine fills in.
    if bare != "host-gateway" && bare.trim().parse::<IpAddr>().is_err() {
        return Err(format!("invalid IP address in add-host: {bare:?}"));
    }
    Ok((name.to_owned(), bare.to_owned()))
}

/// `--dns-search`: a domain, or a dot for none.
pub fn dns_search(text: &str) -> Parse<String> {
    let domain = text.trim_matches(' ');
    if domain == "." {
        return Ok(domain.to_owned());
    }
    let invalid = || format!("{domain} is not a valid domain");
    if !domain.contains(|c: char| c.is_ascii_alphabetic()) {
        return Err(invalid());
    }
    let bare = domain.trim_end();
    let bare = bare.strip_suffix('.').unwrap_or(bare);
    let is_label = |label: &str| {
        // Docker's own expression lets colons stand in front of a label.
        let label = label.trim_start_matches(':');
        let inner = |c: char| c.is_ascii_alphanumeric() || c == '-';
        !label.is_empty() && label.chars().all(inner) && !label.starts_with('-') && !label.ends_with('-')
    };
    match bare.len() < 255 && bare.split('.').all(is_label) {
        true => Ok(bare.to_owned()),
        false => Err(invalid()),
    }
}

/// `--link CONTAINER[:ALIAS]`: both names.
pub fn link(text: &str) -> Parse<(String, String)> {
    match text.split(':').collect::<Vec<_>>()[..] {
        [""] => Err("empty string specified for links".into()),
        [only] => Ok((only.into(), only.into())),
        [container, alias] => Ok((container.into(), alias.into())),
        _ => Err(format!("bad format for links: {text}")),
    }
}

/// Is this a hardware address, in one of the three notations that Go reads (`:`, `-`, or groups of four and `.`)?
pub fn is_mac(text: &str) -> bool {
    let text = text.trim();
    let is_hex = |part: &str, digits: usize| part.len() == digits && part.bytes().all(|b| b.is_ascii_hexdigit());
    let bytes = match text.chars().nth(2) {
        Some(separator @ (':' | '-')) => {
            let parts: Vec<&str> = text.split(separator).collect();
            parts.iter().all(|part| is_hex(part, 2)).then_some(parts.len())
        }
        _ => {
            let parts: Vec<&str> = text.split('.').collect();
            parts.iter().all(|part| is_hex(part, 4)).then_some(parts.len() * 2)
        }
    };
    bytes.is_some_and(|bytes| matches!(bytes, 6 | 8 | 20))
}

/// A subnet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subnet {
    address: IpAddr,
    bits: u8,
}

impl Subnet {
    /// `ADDRESS/BITS`
    pub fn parse(text: &str) -> Parse<Self> {
        let invalid = || format!("invalid CIDR address: {text}");
        let (address, bits) = text.split_once('/').ok_or_else(invalid)?;
        let address: IpAddr = address.parse().map_err(|_| invalid())?;
        if bits.is_empty() || bits.len() > 4 || !bits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(invalid());
        }
        let bits: u16 = bits.parse().map_err(|_| invalid())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        match u8::try_from(bits) {
            Ok(bits) if bits <= most => Ok(Self { address, bits }),
            _ => Err(invalid()),
        }
    }

    /// The address of the text, its host part included.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Does the subnet hold the address? An IPv4 address in IPv6's clothes counts as IPv4.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.address.to_canonical(), ip.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(ip)) => {
                let bits = if self.address.is_ipv4() { self.bits } else { self.bits.saturating_sub(96) };
                let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
                own & Ipv4Addr::from(mask) == ip & Ipv4Addr::from(mask)
            }
            (IpAddr::V6(own), IpAddr::V6(ip)) => {
                let mask = Ipv6Addr::from(u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0));
                own & mask == ip & mask
            }
            _ => false,
        }
    }
}

/// `--listen-addr HOST[:PORT]`, completed by 0.0.0.0 and 2377.
pub fn listen_address(text: &str) -> Parse<String> {
    const DEFAULT: &str = "0.0.0.0:2377";
    let address = text.strip_prefix("tcp://").unwrap_or(text);
    if address.is_empty() {
        return Ok(DEFAULT.into());
    }
    if address.contains("://") {
        return Err(format!("invalid proto, expected tcp: {text}"));
    }
    let end = address.find(['/', '?', '#']).unwrap_or(address.len());
    let (authority, tail) = address.split_at(end);
    let path = tail.split(['?', '#']).next().unwrap_or("");
    let failure = |what: String| Err(format!("parse {:?}: {what}", format!("tcp://{address}")));
    if let Some(bad) = authority.chars().find(|c| " \\^`{|}".contains(*c)) {
        return failure(format!("invalid character {:?} in host name", bad.to_string()));
    }
    let (host, port) = match authority.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(None) => return failure("missing ']' in host".into()),
        // Docker adds brackets of its own to what has no port.
        Some(Some((_, ""))) => return Err(format!("invalid bind address format: {text}")),
        Some(Some((host, port))) => (host, port),
        // More than one colon: an IPv6 address without a port.
        None => match authority.rfind(':') {
            Some(at) if !authority[..at].contains(':') => authority.split_at(at),
            Some(at) if authority[at + 1..].bytes().all(|b| b.is_ascii_digit()) => (authority, ""),
            Some(at) => ("", &authority[at..]),
            None => (authority, ""),
        },
    };
    let digits = match port.strip_prefix(':') {
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits,
        None if port.is_empty() => "",
        _ => return failure(format!("invalid port {port:?} after host")),
    };
    let host = if host.is_empty() { "0.0.0.0" } else { host };
    let port = if digits.is_empty() { "2377" } else { digits };
    Ok(crate::formatter::host_and_port(host, port) + path)
}

/// `--default-addr-pool`: subnets, with commas between, without their host parts.
pub fn pools(text: &str) -> Parse<Vec<String>> {
    let invalid = |one: &str| format!("invalid string being converted to CIDR: {one}");
    // pflag takes quotes away, wherever they are.
    let bare = text.replace(['"', '\'', '`'], "");
    super::values::csv(&bare)?
        .iter()
        .map(|one| Subnet::parse(one.trim()).map(|s| s.to_string()).map_err(|_| invalid(one)))
        .collect()
}

impl std::fmt::Display for Subnet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (network, bits) = match self.address.to_canonical() {
            IpAddr::V4(ip) => {
                let bits = if self.address.is_ipv4() { self.bits } else { self.bits.saturating_sub(96) };
                let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
                (IpAddr::V4(ip & Ipv4Addr::from(mask)), bits)
            }
            IpAddr::V6(ip) => {
                let mask = Ipv6Addr::from(u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0));
                (IpAddr::V6(ip & mask), self.bits)
            }
        };
        write!(f, "{network}/{bits}")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hosts_have_a_name_and_an_address() {
        assert_eq!(extra_host("a:::1").unwrap(), ("a".into(), "::1".into()));
        assert_eq!(extra_host("a=[::1]").unwrap(), ("a".into(), "::1".into()));
        assert_eq!(extra_host("a:host-gateway").unwrap().1, "host-gateway");
        assert_eq!(extra_host("a:b").unwrap_err(), "invalid IP address in add-host: \"b\"");
        assert_eq!(extra_host("a").unwrap_err(), "bad format for add-host: \"a\"");
    }

    #[test]
    fn addresses_take_their_short_form() {
        assert_eq!(ip_address(" 0:0:0:0:0:0:0:1 ").unwrap(), "::1");
        assert_eq!(ip_address("::ffff:1.2.3.4").unwrap(), "1.2.3.4");
        assert!(ip_address("[::1]").is_err() && ip_address("1.2.3").is_err());
    }

    #[test]
    fn hardware_addresses_have_three_notations() {
        assert!(is_mac("02:42:ac:11:00:02") && is_mac("02-42-AC-11-00-02") && is_mac("0242.ac11.0002"));
        assert!(!is_mac("02:42:ac:11:00") && !is_mac("02:42-ac:11:00:02") && !is_mac("") && !is_mac("0242ac110002"));
    }

    #[test]
    fn domains_are_checked() {
        assert_eq!(dns_search(" a-b.c. ").unwrap(), "a-b.c");
        assert_eq!(dns_search(".").unwrap(), ".");
        assert_eq!(dns_search("1.2").unwrap_err(), "1.2 is not a valid domain");
        assert_eq!(dns_search("-a").unwrap_err(), "-a is not a valid domain");
    }

    #[test]
    fn subnets_hold_their_addresses() {
        let holds = |subnet, ip: &str| Subnet::parse(subnet).unwrap().contains(ip.parse().unwrap());
        assert!(holds("10.0.0.0/8", "10.255.1.1") && !holds("10.0.0.0/8", "11.0.0.0"));
        assert!(holds("0.0.0.0/0", "8.8.8.8") && holds("fd00::/8", "fd01::1") && !holds("fd00::/8", "10.0.0.1"));
        assert_eq!(Subnet::parse("10.0.0.0/33").unwrap_err(), "invalid CIDR address: 10.0.0.0/33");
        assert_eq!(pools("10.1.2.3/16,fd00::1/64").unwrap(), ["10.1.0.0/16", "fd00::/64"]);
    }

    #[test]
    fn listen_addresses_are_completed() {
        for (given, full) in [
            ("", "0.0.0.0:2377"),
            ("eth0", "eth0:2377"),
            (":2400", "0.0.0.0:2400"),
            ("10.0.0.1:", "10.0.0.1:2377"),
            ("[::1]:", "[::1]:2377"),
            ("[::1]:2400", "[::1]:2400"),
            ("::1", "[::1]:2377"),
            ("tcp://10.0.0.1:1", "10.0.0.1:1"),
        ] {
            assert_eq!(listen_address(given).unwrap(), full, "{given}");
        }
        assert_eq!(listen_address("a:x").unwrap_err(), "parse \"tcp://a:x\": invalid port \":x\" after host");
        assert_eq!(listen_address("udp://a").unwrap_err(), "invalid proto, expected tcp: udp://a");
    }

    proptest! {
        #[test]
        fn any_text_parses_or_is_refused(text in "[0-9a-z:.\\[\\]/=, -]{0,30}") {
            let _ = (ip_address(&text), extra_host(&text), dns_search(&text), link(&text), is_mac(&text));
            let _ = (Subnet::parse(&text), pools(&text), listen_address(&text));
        }

        #[test]
        fn a_subnet_holds_its_own_address(ip: u32, bits in 0u8..=32) {
            let ip = Ipv4Addr::from(ip);
            let subnet = Subnet::parse(&format!("{ip}/{bits}")).unwrap();
            prop_assert!(subnet.contains(ip.into()));
        }
    }
}
