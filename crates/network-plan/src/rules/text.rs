//! A table's text: what `nft list table` shows, and `nft -f` takes.

use std::fmt::{self, Display};

use super::Protocol;
use super::table::*;

impl Family {
    /// What the filter calls it in front of an address field.
    fn word(self) -> &'static str {
        match self {
            Self::V4 => "ip",
            Self::V6 => "ip6",
        }
    }
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Address(Family::V4) => "ipv4_addr",
            Self::Address(Family::V6) => "ipv6_addr",
            Self::Protocol => "inet_proto",
            Self::Port => "inet_service",
            Self::Interface => "ifname",
        }
    }
}

impl End {
    fn letter(self) -> char {
        match self {
            Self::Source => 's',
            Self::Destination => 'd',
        }
    }
}

impl Side {
    fn word(self) -> &'static str {
        match self {
            Self::In => "iifname",
            Self::Out => "oifname",
        }
    }
}

impl Hook {
    fn word(self) -> &'static str {
        match self {
            Self::Prerouting => "prerouting",
            Self::Input => "input",
            Self::Forward => "forward",
            Self::Output => "output",
            Self::Postrouting => "postrouting",
        }
    }
}

/// Values with a separator between them.
fn joined<T: Display>(f: &mut fmt::Formatter<'_>, values: impl IntoIterator<Item = T>, between: &str) -> fmt::Result {
    for (index, value) in values.into_iter().enumerate() {
        write!(f, "{}{value}", if index == 0 { "" } else { between })?;
    }
    Ok(())
}

impl Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(family, end) => write!(f, "{} {}addr", family.word(), end.letter()),
            Self::Protocol => write!(f, "meta l4proto"),
            Self::Port(end) => write!(f, "th {}port", end.letter()),
            Self::Interface(side) => f.write_str(side.word()),
        }
    }
}

impl Display for Datum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Protocol(protocol) => f.write_str(word(*protocol)),
            Self::Port(port) => write!(f, "{port}"),
            Self::Interface(name) => write!(f, "\"{name}\""),
        }
    }
}

/// A protocol's name, as the filter and everyone else writes it.
pub fn word(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    }
}

impl Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Family(Family::V4) => write!(f, "meta nfproto ipv4"),
            Self::Family(Family::V6) => write!(f, "meta nfproto ipv6"),
            Self::Transport(protocols) => {
                f.write_str("meta l4proto ")?;
                if protocols.len() > 1 {
                    f.write_str("{ ")?;
                }
                joined(f, protocols.iter().map(|protocol| word(*protocol)), ", ")?;
                if protocols.len() > 1 { f.write_str(" }") } else { Ok(()) }
            }
            Self::Port(protocol, end, port) => write!(f, "{} {}port {port}", word(*protocol), end.letter()),
            Self::Network(end, address, prefix) => {
                write!(f, "{} {}addr {address}", Family::of(*address).word(), end.letter())?;
                let whole = if address.is_ipv4() { 32 } else { 128 };
                if *prefix < whole { write!(f, "/{prefix}") } else { Ok(()) }
            }
            Self::Interface(side, name, is) => {
                write!(f, "{} {}\"{name}\"", side.word(), if *is { "" } else { "!= " })
            }
            Self::Member(fields, set) => {
                joined(f, fields, " . ")?;
                write!(f, " @{set}")
            }
            Self::Established => write!(f, "ct state established,related"),
            Self::Translated => write!(f, "ct status dnat"),
            Self::LocalDestination => write!(f, "fib daddr type local"),
            Self::Chance(chances) => write!(f, "numgen random mod {CHANCES} < {chances}"),
        }
    }
}

impl Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept => f.write_str("accept"),
            Self::Drop => f.write_str("drop"),
            Self::Reset => f.write_str("reject with tcp reset"),
            Self::Unreachable => f.write_str("reject with icmpx port-unreachable"),
            Self::Untracked => f.write_str("notrack"),
            Self::Return => f.write_str("return"),
            Self::Jump(chain) => write!(f, "jump {chain}"),
            Self::Choose(fields, map) => {
                joined(f, fields, " . ")?;
                write!(f, " vmap @{map}")
            }
            Self::Masquerade => f.write_str("masquerade"),
            Self::Source(address) => write!(f, "snat {} to {address}", Family::of(*address).word()),
            Self::Destination(address) => write!(f, "dnat {} to {address}", Family::of(*address).word()),
            Self::Translate(family, fields, map) => {
                write!(f, "dnat {} to ", family.word())?;
                joined(f, fields, " . ")?;
                write!(f, " map @{map}")
            }
            Self::Balance(backends, port) => {
                let family = backends.first().map_or(Family::V4, |first| Family::of(*first));
                write!(f, "dnat {} to numgen inc mod {} map {{ ", family.word(), backends.len())?;
                joined(f, backends.iter().enumerate().map(|(index, backend)| format!("{index} : {backend}")), ", ")?;
                f.write_str(" }")?;
                port.map_or(Ok(()), |port| write!(f, ":{port}"))
            }
        }
    }
}

impl Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for matched in &self.matches {
            write!(f, "{matched} ")?;
        }
        write!(f, "{}", self.action)
    }
}

impl Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.nat { "nat" } else { "filter" };
        write!(f, "type {kind} hook {} priority ", self.hook.word())?;
        match (self.priority, self.hook) {
            (RAW, _) => f.write_str("raw")?,
            (DSTNAT, Hook::Prerouting) => f.write_str("dstnat")?,
            (FILTER, _) => f.write_str("filter")?,
            (SRCNAT, Hook::Postrouting) => f.write_str("srcnat")?,
            (other, _) => write!(f, "{other}")?,
        }
        f.write_str("; policy accept;")
    }
}

impl Display for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.mapped == Mapped::Nothing { "set" } else { "map" };
        write!(f, "\t{what} {} {{\n\t\ttype ", self.name)?;
        joined(f, self.key.iter().map(|kind| kind.word()), " . ")?;
        match &self.mapped {
            Mapped::Nothing => {}
            Mapped::Chain => f.write_str(" : verdict")?,
            Mapped::Values(kinds) => {
                f.write_str(" : ")?;
                joined(f, kinds.iter().map(|kind| kind.word()), " . ")?;
            }
        }
        if !self.elements.is_empty() {
            f.write_str("\n\t\telements = { ")?;
            for (index, (key, target)) in self.elements.iter().enumerate() {
                f.write_str(if index == 0 { "" } else { ",\n\t\t\t     " })?;
                joined(f, key, " . ")?;
                match target {
                    Target::Nothing => {}
                    Target::Chain(chain) => write!(f, " : goto {chain}")?,
                    Target::Values(values) => {
                        f.write_str(" : ")?;
                        joined(f, values, " . ")?;
                    }
                }
            }
            f.write_str(" }")?;
        }
        f.write_str("\n\t}\n")
    }
}

impl Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\tchain {} {{", self.name)?;
        if let Some(base) = &self.base {
            writeln!(f, "\t\t{base}")?;
        }
        for rule in &self.rules {
            writeln!(f, "\t\t{rule}")?;
        }
        f.write_str("\t}\n")
    }
}

impl Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "table inet {} {{", self.name)?;
        let sets = self.sets.iter().map(Set::to_string);
        joined(f, sets.chain(self.chains.iter().map(Chain::to_string)), "\n")?;
        f.write_str("}\n")
    }
}
