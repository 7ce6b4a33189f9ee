//! What a container's `/etc/resolv.conf` says, and whom its network's own name server asks in turn. Pure.
//!
//! The rules are those of Docker (observed with 28.x): the machine's file is the base, `--dns`, `--dns-search` and
//! `--dns-option` each replace their part of it, and then it depends on who answers ([`NameService`]). The comments at
//! the end are Docker's too, since they tell the reader where the lines come from.
//!
//! Leaves out: what a user wrote into the file of a running container (Docker keeps it over a restart, here it is
//! written anew at each start).

use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};

use crate::config::{Dns, HostEntry};

/// Where Docker sends those whose machine only has name servers that a container cannot reach.
const FALLBACK: [IpAddr; 2] =
    [IpAddr::V4(std::net::Ipv4Addr::new(8, 8, 8, 8)), IpAddr::V4(std::net::Ipv4Addr::new(8, 8, 4, 4))];
/// The same by IPv6, if the network has it.
const FALLBACK_V6: [IpAddr; 2] = [
    IpAddr::V6(std::net::Ipv6Addr::new(0x2001, 0x4860, 0x4860, 0, 0, 0, 0, 0x8888)),
    IpAddr::V6(std::net::Ipv6Addr::new(0x2001, 0x4860, 0x4860, 0, 0, 0, 0, 0x8844)),
];
/// Where networks with names of their own answer, in each of their containers.
const EMBEDDED: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 11));

/// Who answers a container's questions for names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameService {
    /// Whoever answers the machine's own: the container shares its network (`--network host`).
    Machine,
    /// The machine's name servers, asked by the container itself: Docker's `bridge` and `none`. Those at a loopback
    /// address are left out, being the machine's loopback; so are those that only IPv6 reaches, unless the network
    /// has it.
    Direct {
        /// Whether the container's network has IPv6.
        ipv6: bool,
    },
    /// The server at 127.0.0.11 of user-defined networks and overlays.
    Embedded,
}

/// How a container finds what names mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    /// Its `/etc/resolv.conf`.
    pub resolv_conf: String,
    /// [`NameService::Embedded`]: whom the server asks, from the node, for names that the networks do not know.
    /// Otherwise empty.
    pub upstream: Vec<SocketAddr>,
}

/// The parts of a `resolv.conf`.
#[derive(Debug, Default)]
struct Settings {
    servers: Vec<IpAddr>,
    invalid: Vec<String>,
    search: Vec<String>,
    options: Vec<String>,
    /// Lines of other kinds (`sortlist`), kept as they are.
    other: Vec<String>,
}

impl Settings {
    fn parse(text: &str) -> Self {
        let mut settings = Self::default();
        for line in text.lines() {
            let mut fields = line.split_whitespace();
            let Some(keyword) = fields.next().filter(|word| !word.starts_with(['#', ';'])) else { continue };
            let values: Vec<String> = fields.map(str::to_owned).collect();
            match (keyword, values.first()) {
                ("nameserver" | "domain" | "search" | "options", None) => {}
                ("nameserver", Some(address)) => settings.add_server(address),
                // resolv.conf(5): of several, the last one counts
                ("domain" | "search", Some(_)) => settings.search = values,
                ("options", Some(_)) => settings.options.extend(values),
                _ => settings.other.push(line.to_owned()),
            }
        }
        settings
    }

    fn add_server(&mut self, address: &str) {
        match address.parse() {
            Ok(address) => self.servers.push(address),
            Err(_) => self.invalid.push(address.to_owned()),
        }
    }

    fn has_ndots(&self) -> bool {
        self.options.iter().any(|option| option == "ndots" || option.starts_with("ndots:"))
    }
}

/// Makes a container's `resolv.conf` from the machine's (its text; empty when there is none) and from what its
/// configuration gives.
pub fn resolution(machine: &str, given: &Dns, service: NameService) -> Resolution {
    let nothing_given = given.servers.is_empty() && given.search.is_empty() && given.options.is_empty();
    if service == NameService::Machine && nothing_given {
        return Resolution { resolv_conf: machine.to_owned(), upstream: vec![] };
    }
    let mut settings = Settings::parse(machine);
    let mut ndots_from = settings.has_ndots().then_some("host");
    let mut overrides = Vec::new();
    if !given.servers.is_empty() {
        (settings.servers, settings.invalid) = (vec![], vec![]);
        given.servers.iter().for_each(|address| settings.add_server(address));
        overrides.push("nameservers");
    }
    if !given.search.is_empty() {
        // `--dns-search .` means none
        settings.search = given.search.iter().filter(|domain| *domain != ".").cloned().collect();
        overrides.push("search");
    }
    if !given.options.is_empty() {
        settings.options = given.options.clone();
        ndots_from = settings.has_ndots().then_some("override");
        overrides.push("options");
    }

    let (mut kind, mut notes, mut upstream) = ("", String::new(), vec![]);
    match service {
        NameService::Machine => {}
        NameService::Direct { ipv6 } => {
            kind = " (legacy)";
            if given.servers.is_empty() {
                settings.servers.retain(|address| !address.is_loopback() && (address.is_ipv4() || ipv6));
                if settings.servers.is_empty() {
                    settings.servers.extend(FALLBACK);
                    settings.servers.extend(FALLBACK_V6.iter().filter(|_| ipv6));
                    notes.push_str("# Used default nameservers.\n");
                }
            }
        }
        NameService::Embedded => {
            kind = " (internal resolver)";
            let servers = std::mem::replace(&mut settings.servers, vec![EMBEDDED]);
            // given, it would be the container's own server; on the machine it is one like any other
            let usable = |address: &IpAddr| *address != EMBEDDED || given.servers.is_empty();
            upstream = servers.iter().copied().filter(usable).map(|address| SocketAddr::new(address, 53)).collect();
            if servers.is_empty() {
                notes.push_str("# NO EXTERNAL NAMESERVERS DEFINED\n");
            } else {
                let shown = |address: &IpAddr| match given.servers.is_empty() {
                    true => format!("host({address})"),
                    false => address.to_string(),
                };
                let shown: Vec<String> = servers.iter().map(shown).collect();
                _ = writeln!(notes, "# ExtServers: [{}]", shown.join(" "));
            }
            // names without a dot are names here, and must be asked for as they are
            settings.options.retain(|option| match option.split_once(':') {
                Some(("ndots", value)) => value.parse::<u32>().is_ok(),
                _ => option != "ndots",
            });
            if !settings.has_ndots() {
                settings.options.push("ndots:0".to_owned());
                ndots_from = Some("internal");
            }
        }
    }
    let mut text = String::new();
    for address in &settings.servers {
        _ = writeln!(text, "nameserver {address}");
    }
    for (keyword, values) in [("search", &settings.search), ("options", &settings.options)] {
        if !values.is_empty() {
            _ = writeln!(text, "{keyword} {}", values.join(" "));
        }
    }
    for line in &settings.other {
        _ = writeln!(text, "{line}");
    }
    _ = writeln!(text, "\n# Based on host file: '/etc/resolv.conf'{kind}");
    text.push_str(&notes);
    if !settings.invalid.is_empty() {
        _ = writeln!(text, "# Invalid nameservers: [{}]", settings.invalid.join(" "));
    }
    _ = writeln!(text, "# Overrides: [{}]", overrides.join(" "));
    if let Some(from) = ndots_from {
        _ = writeln!(text, "# Option ndots from: {from}");
    }
    Resolution { resolv_conf: text, upstream }
}

/// The lines of `/etc/hosts` that say which addresses are the container's own: full name and, if that has dots, the
/// part before the first. Docker leaves out the addresses on the ingress network and on docker_gwbridge; so must the
/// caller.
pub fn own_hosts(hostname: &str, domain: &str, addresses: &[IpAddr]) -> Vec<HostEntry> {
    let full = if domain.is_empty() { hostname.to_owned() } else { format!("{hostname}.{domain}") };
    let short = full.split_once('.').map(|(short, _)| short.to_owned());
    let names: Vec<String> = std::iter::once(full).chain(short).collect();
    addresses.iter().map(|address| HostEntry { address: address.to_string(), names: names.clone() }).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MACHINE: &str = "# made by hand\nnameserver 192.168.1.1\nnameserver 127.0.0.53 # local\nnameserver fd00::1\n\
                           domain old.example\nsearch example.com lab\noptions timeout:1\noptions edns0\nsortlist 10.0.0.0\n";

    fn dns(servers: &[&str], search: &[&str], options: &[&str]) -> Dns {
        let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        Dns { servers: owned(servers), search: owned(search), options: owned(options) }
    }

    fn none() -> Dns {
        Dns::default()
    }

    const BRIDGE: NameService = NameService::Direct { ipv6: false };

    #[test]
    fn on_the_default_bridge_it_is_the_machines_without_loopback_and_ipv6() {
        assert_eq!(
            resolution(MACHINE, &none(), BRIDGE).resolv_conf,
            "nameserver 192.168.1.1\nsearch example.com lab\noptions timeout:1 edns0\nsortlist 10.0.0.0\n\n\
             # Based on host file: '/etc/resolv.conf' (legacy)\n# Overrides: []\n"
        );
        let with_ipv6 = resolution(MACHINE, &none(), NameService::Direct { ipv6: true });
        assert!(with_ipv6.resolv_conf.starts_with("nameserver 192.168.1.1\nnameserver fd00::1\nsearch "));
        assert_eq!(with_ipv6.upstream, []);
    }

    #[test]
    fn a_machine_with_only_a_local_server_has_dockers_fallback() {
        assert_eq!(
            resolution("nameserver 127.0.0.53\n", &none(), BRIDGE).resolv_conf,
            "nameserver 8.8.8.8\nnameserver 8.8.4.4\n\n# Based on host file: '/etc/resolv.conf' (legacy)\n\
             # Used default nameservers.\n# Overrides: []\n"
        );
        let v6 = resolution("nameserver ::1\n", &none(), NameService::Direct { ipv6: true }).resolv_conf;
        assert_eq!(v6.matches("nameserver ").count(), 4);
    }

    #[test]
    fn what_is_given_replaces_its_part_and_is_not_filtered() {
        let given = dns(&["127.0.0.1", "fd00::9"], &["corp"], &["ndots:3", "rotate"]);
        assert_eq!(
            resolution(MACHINE, &given, BRIDGE).resolv_conf,
            "nameserver 127.0.0.1\nnameserver fd00::9\nsearch corp\noptions ndots:3 rotate\nsortlist 10.0.0.0\n\n\
             # Based on host file: '/etc/resolv.conf' (legacy)\n# Overrides: [nameservers search options]\n\
             # Option ndots from: override\n"
        );
        let only_search = resolution(MACHINE, &dns(&[], &["."], &[]), BRIDGE).resolv_conf;
        assert!(only_search.starts_with("nameserver 192.168.1.1\noptions timeout:1 edns0\n"), "{only_search}");
    }

    #[test]
    fn on_user_defined_networks_the_embedded_server_answers_and_asks_the_machines() {
        let made = resolution(MACHINE, &none(), NameService::Embedded);
        assert_eq!(
            made.resolv_conf,
            "nameserver 127.0.0.11\nsearch example.com lab\noptions timeout:1 edns0 ndots:0\nsortlist 10.0.0.0\n\n\
             # Based on host file: '/etc/resolv.conf' (internal resolver)\n\
             # ExtServers: [host(192.168.1.1) host(127.0.0.53) host(fd00::1)]\n# Overrides: []\n\
             # Option ndots from: internal\n"
        );
        assert_eq!(made.upstream, ["192.168.1.1:53", "127.0.0.53:53", "[fd00::1]:53"].map(|a| a.parse().unwrap()));
    }

    #[test]
    fn the_embedded_server_asks_given_servers_but_not_itself() {
        let made = resolution(MACHINE, &dns(&["127.0.0.11", "10.0.0.9"], &[], &["ndots:2"]), NameService::Embedded);
        assert!(made.resolv_conf.contains("# ExtServers: [127.0.0.11 10.0.0.9]\n# Overrides: [nameservers options]\n"));
        assert!(made.resolv_conf.contains("options ndots:2\n"));
        assert_eq!(made.upstream, ["10.0.0.9:53".parse().unwrap()]);
        let machines = resolution("nameserver 127.0.0.11\n", &none(), NameService::Embedded);
        assert_eq!(machines.upstream, ["127.0.0.11:53".parse().unwrap()], "a machine that is itself a container");
    }

    #[test]
    fn an_ndots_that_is_no_number_does_not_count() {
        let made = resolution("options ndots:many ndots\n", &none(), NameService::Embedded).resolv_conf;
        assert!(made.contains("\noptions ndots:0\n") && made.contains("from: internal\n"), "{made}");
        let kept = resolution("options ndots:1\n", &none(), NameService::Embedded).resolv_conf;
        assert!(kept.contains("\noptions ndots:1\n") && kept.contains("from: host\n"), "{kept}");
    }

    #[test]
    fn a_machine_without_servers_leaves_nobody_to_ask() {
        let made = resolution("", &none(), NameService::Embedded);
        assert_eq!(made.upstream, []);
        assert!(made.resolv_conf.contains("# NO EXTERNAL NAMESERVERS DEFINED\n"));
    }

    #[test]
    fn on_the_machines_network_the_file_is_the_machines_to_the_letter() {
        assert_eq!(resolution(MACHINE, &none(), NameService::Machine).resolv_conf, MACHINE);
        let changed = resolution(MACHINE, &dns(&[], &["corp"], &[]), NameService::Machine).resolv_conf;
        assert!(
            changed.starts_with("nameserver 192.168.1.1\nnameserver 127.0.0.53\nnameserver fd00::1\nsearch corp\n")
        );
    }

    #[test]
    fn servers_that_are_no_addresses_are_named_as_such() {
        let made = resolution("nameserver nobody\nnameserver 10.0.0.1\n", &none(), BRIDGE).resolv_conf;
        assert!(made.starts_with("nameserver 10.0.0.1\n") && made.contains("# Invalid nameservers: [nobody]\n"));
    }

    #[test]
    fn own_addresses_carry_the_full_and_the_short_name() {
        let addresses: [IpAddr; 2] = ["10.0.1.3".parse().unwrap(), "fd00::3".parse().unwrap()];
        let lines = |hostname, domain| {
            let entries = own_hosts(hostname, domain, &addresses);
            entries.iter().map(|one| format!("{} {}", one.address, one.names.join(" "))).collect::<Vec<_>>()
        };
        assert_eq!(lines("web", ""), ["10.0.1.3 web", "fd00::3 web"]);
        assert_eq!(lines("web.example", ""), ["10.0.1.3 web.example web", "fd00::3 web.example web"]);
        assert_eq!(lines("web", "example"), ["10.0.1.3 web.example web", "fd00::3 web.example web"]);
    }

    proptest! {
        /// The file has no lines but those that it should have, whatever the machine's contains.
        #[test]
        fn any_text_makes_a_file_that_says_the_same_when_read_again(text in "(?s).{0,300}", embedded in any::<bool>()) {
            let service = if embedded { NameService::Embedded } else { BRIDGE };
            let made = resolution(&text, &none(), service).resolv_conf;
            let again = Settings::parse(&made);
            prop_assert!(!again.servers.is_empty() && again.invalid.is_empty());
            prop_assert!(!embedded || (again.servers == [EMBEDDED] && again.has_ndots()));
            prop_assert!(embedded || !again.servers.iter().any(IpAddr::is_loopback));
        }
    }
}
