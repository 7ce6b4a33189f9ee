//! Addresses as users give them: `ip`, `ip:port`, `interface`, `interface:port`, or nothing.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

use super::{NodeError, NodeErrorKind};
use crate::transport::SWARM_PORT;

/// Where to listen; nothing is everywhere.
pub(super) fn listen_addr(text: &str, default: Option<IpAddr>) -> Result<SocketAddr, NodeError> {
    let default = default.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    if text.is_empty() {
        return Ok(SocketAddr::new(default, SWARM_PORT));
    }
    let (host, port) = split(text, SWARM_PORT)?;
    if host.is_empty() {
        return Ok(SocketAddr::new(default, port));
    }
    if let Ok(ip) = host.parse() {
        return Ok(SocketAddr::new(ip, port));
    }
    match interface(&host)? {
        Some(ip) => Ok(SocketAddr::new(ip, port)),
        None => {
            Err(invalid("listening address must be an IP address or network interface (with optional port number)"))
        }
    }
}

/// What to tell other nodes, where the user said something.
pub(super) fn advertise_addr(text: &str, listen: SocketAddr) -> Result<Option<SocketAddr>, NodeError> {
    if text.is_empty() {
        let specific = !listen.ip().is_unspecified();
        return Ok(specific.then_some(listen));
    }
    let message = "advertise address must be a non-zero IP address or network interface (with optional port number)";
    let (host, port) = split(text, listen.port())?;
    let ip = match host.parse::<IpAddr>() {
        Ok(ip) => Some(ip),
        Err(_) => interface(&host)?,
    };
    match ip.filter(|ip| !ip.is_unspecified()) {
        Some(ip) => Ok(Some(SocketAddr::new(ip, port))),
        None => Err(invalid(message)),
    }
}

/// Where the networks' packets go, where the user said something.
pub(super) fn data_path_addr(text: &str) -> Result<Option<IpAddr>, NodeError> {
    if text.is_empty() {
        return Ok(None);
    }
    let ip = match text.parse::<IpAddr>() {
        Ok(ip) => Some(ip),
        Err(_) => interface(text)?,
    };
    match ip.filter(|ip| !ip.is_unspecified()) {
        Some(ip) => Ok(Some(ip)),
        None => Err(invalid("data path address must be a non-zero IP address or network interface")),
    }
}

/// The node's only address, if it has just one.
pub(super) fn system_addr() -> Result<IpAddr, NodeError> {
    let mut found: Vec<(String, IpAddr)> = Vec::new();
    for (name, ips) in interfaces() {
        // Docker leaves its own bridges out.
        if name.starts_with("docker") || name.starts_with("br-") || name.starts_with("veth") || name == "lo" {
            continue;
        }
        found.extend(ips.into_iter().filter(|ip| ip.is_ipv4()).map(|ip| (name.clone(), ip)));
    }
    match &found[..] {
        [] => Err(invalid("could not find the system's IP address - specify one with --advertise-addr")),
        [(_, ip)] => Ok(*ip),
        [(one, a), (two, b), ..] if one == two => Err(invalid(format!(
            "could not choose an IP address to advertise since this system has multiple addresses on interface {one} \
             ({a} and {b}) - specify one with --advertise-addr"
        ))),
        [(one, a), (two, b), ..] => Err(invalid(format!(
            "could not choose an IP address to advertise since this system has multiple addresses on different \
             interfaces ({a} on {one} and {b} on {two}) - specify one with --advertise-addr"
        ))),
    }
}

/// A manager's address as users give it, with its port.
pub(super) fn remote_addr(text: &str) -> Result<String, NodeError> {
    let (host, port) = split(text.trim(), SWARM_PORT)?;
    if host.is_empty() {
        return Err(invalid(format!("invalid remote address {text:?}: a host is missing")));
    }
    Ok(if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") })
}

/// Host and port; brackets go.
fn split(text: &str, default_port: u16) -> Result<(String, u16), NodeError> {
    if let Ok(addr) = text.parse::<SocketAddr>() {
        return Ok((addr.ip().to_string(), addr.port()));
    }
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    if bare.parse::<IpAddr>().is_ok() {
        return Ok((bare.to_owned(), default_port));
    }
    match text.rsplit_once(':') {
        None => Ok((text.to_owned(), default_port)),
        Some((host, port)) => match port.parse::<u16>() {
            Ok(port) if !host.contains(':') => Ok((host.to_owned(), port)),
            _ => Err(invalid(format!("invalid address {text:?}: expected ADDRESS[:PORT] or INTERFACE[:PORT]"))),
        },
    }
}

/// An interface's address, IPv4 preferred; `None`: no such interface.
fn interface(name: &str) -> Result<Option<IpAddr>, NodeError> {
    let Some(ips) = interfaces().remove(name) else { return Ok(None) };
    let (v4, v6): (Vec<IpAddr>, Vec<IpAddr>) = ips.into_iter().partition(IpAddr::is_ipv4);
    match (&v4[..], &v6[..]) {
        ([ip], _) | ([], [ip]) => Ok(Some(*ip)),
        ([], []) => Err(invalid(format!("interface {name} has no usable IPv4 or IPv6 address"))),
        ([a, b, ..], _) => Err(invalid(format!("interface {name} has more than one IPv4 address ({a} and {b})"))),
        ([], [a, b, ..]) => Err(invalid(format!("interface {name} has more than one IPv6 address ({a} and {b})"))),
    }
}

fn interfaces() -> BTreeMap<String, Vec<IpAddr>> {
    let mut found = BTreeMap::<String, Vec<IpAddr>>::new();
    for interface in getifaddrs().into_iter().flatten() {
        if !interface.flags.contains(InterfaceFlags::IFF_UP) {
            continue;
        }
        let Some(address) = interface.address else { continue };
        let v4 = address.as_sockaddr_in().map(|addr| IpAddr::V4(addr.ip()));
        let v6 = address.as_sockaddr_in6().map(|addr| IpAddr::V6(addr.ip())).filter(|ip| match ip {
            IpAddr::V6(ip) => !ip.is_unicast_link_local(),
            IpAddr::V4(_) => true,
        });
        let ips = found.entry(interface.interface_name).or_default();
        ips.extend(v4.or(v6));
    }
    found
}

fn invalid(message: impl Into<String>) -> NodeError {
    NodeError::new(NodeErrorKind::InvalidArgument, message)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_with_and_without_ports() {
        assert_eq!(listen_addr("", None).unwrap().to_string(), "0.0.0.0:2377");
        assert_eq!(listen_addr("127.0.0.2:99", None).unwrap().to_string(), "127.0.0.2:99");
        assert_eq!(listen_addr("[::1]:99", None).unwrap().to_string(), "[::1]:99");
        assert_eq!(listen_addr("lo:5000", None).unwrap().to_string(), "127.0.0.1:5000");
        let listen = "0.0.0.0:4000".parse().unwrap();
        assert_eq!(advertise_addr("10.0.0.1", listen).unwrap().unwrap().to_string(), "10.0.0.1:4000");
        assert_eq!(advertise_addr("", listen).unwrap(), None);
        assert_eq!(remote_addr("manager1").unwrap(), "manager1:2377");
        assert_eq!(remote_addr("10.0.0.1:1").unwrap(), "10.0.0.1:1");
        assert_eq!(remote_addr("fe80::1").unwrap(), "[fe80::1]:2377");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        assert!(advertise_addr("0.0.0.0", "0.0.0.0:1".parse().unwrap()).is_err());
        assert!(listen_addr("no-such-interface", None).is_err());
        assert!(listen_addr("1.2.3.4:99999", None).is_err());
        assert!(remote_addr("").is_err());
    }
}
