//! A table of the packet filter as plain data: sets and maps, chains, rules. Two tables that do the same are equal.
//!
//! Its text is what `nft list table` shows of it, and what `nft -f` would take. Only what the project's rules need is
//! here; all tables are of family `inet`, which means IPv4 and IPv6 at once.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::Protocol;

/// A table with all that is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Its named sets and maps.
    pub sets: Vec<Set>,
    /// Its chains.
    pub chains: Vec<Chain>,
}

/// IPv4 or IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both, in the order that everything is written in.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

/// What kind of thing a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An address.
    Address(Family),
    /// A transport protocol.
    Protocol,
    /// A port.
    Port,
    /// An interface's name.
    Interface,
}

/// A value of a field.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Datum {
    /// An address.
    Address(IpAddr),
    /// A transport protocol.
    Protocol(Protocol),
    /// A port.
    Port(u16),
    /// An interface's name.
    Interface(String),
}

/// What a set maps its keys to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mapped {
    /// Nothing: it only has members.
    Nothing,
    /// The chain to go on in.
    Chain,
    /// Values.
    Values(Vec<Kind>),
}

/// What one key is mapped to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Nothing.
    Nothing,
    /// `goto` this chain.
    Chain(String),
    /// Values.
    Values(Vec<Datum>),
}

/// A named set or map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// Its name.
    pub name: String,
    /// What its keys consist of.
    pub key: Vec<Kind>,
    /// What they are mapped to.
    pub mapped: Mapped,
    /// The members.
    pub elements: BTreeMap<Vec<Datum>, Target>,
}

/// A chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Its name.
    pub name: String,
    /// Where packets enter it; `None`: only from other chains.
    pub base: Option<Base>,
    /// Its rules, in order.
    pub rules: Vec<Rule>,
}

/// Where and when the kernel sends packets through a chain. Those that no rule decides on are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Base {
    /// Translate addresses (once for each connection), or filter (every packet).
    pub nat: bool,
    /// The place.
    pub hook: Hook,
    /// The order among the chains at that place: lower ones first.
    pub priority: i32,
}

/// A place on a packet's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// Came in by an interface, not routed yet.
    Prerouting,
    /// Is for this namespace.
    Input,
    /// Passes through.
    Forward,
    /// Was made in this namespace.
    Output,
    /// About to leave.
    Postrouting,
}

/// Priority of what comes before connection tracking.
pub const RAW: i32 = -300;
/// Priority of the translation of destinations.
pub const DSTNAT: i32 = -100;
/// Priority of filters.
pub const FILTER: i32 = 0;
/// Priority of the translation of sources.
pub const SRCNAT: i32 = 100;

/// A rule: what it does with the packets that fit everything it asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// What it asks for; all of it, in this order.
    pub matches: Vec<Match>,
    /// What it does.
    pub action: Action,
}

/// Source or destination of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Where it comes from.
    Source,
    /// Where it goes to.
    Destination,
}

/// Which of a packet's interfaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// That it came in by.
    In,
    /// That it leaves by.
    Out,
}

/// A field of a packet, to look up in a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// An address. Packets of the other family do not fit.
    Address(Family, End),
    /// The transport protocol.
    Protocol,
    /// A port. Only meaningful next to the protocol.
    Port(End),
    /// An interface's name.
    Interface(Side),
}

/// What a rule asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    /// Of this family.
    Family(Family),
    /// Of one of these transports.
    Transport(BTreeSet<Protocol>),
    /// From or to this port of this transport.
    Port(Protocol, End, u16),
    /// From or to an address of this network: its first address, and the length of its prefix.
    Network(End, IpAddr, u8),
    /// By an interface of this name, or (`false`) by any other.
    Interface(Side, String, bool),
    /// Fields that are together in a set.
    Member(Vec<Field>, String),
    /// Belongs to a connection that is known, or to an error of one.
    Established,
    /// Belongs to a connection whose destination was translated.
    Translated,
    /// To an address of this namespace.
    LocalDestination,
    /// This many packets in [`CHANCES`], drawn at random.
    Chance(u32),
}

/// What a [`Match::Chance`] counts in.
pub const CHANCES: u32 = 1_000_000;

/// What a rule does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// The chain is done with it.
    Accept,
    /// It is lost.
    Drop,
    /// Refused by a TCP reset.
    Reset,
    /// Refused by "port unreachable".
    Unreachable,
    /// Not followed by connection tracking.
    Untracked,
    /// Goes back to where it came from.
    Return,
    /// Goes through another chain and comes back.
    Jump(String),
    /// Goes on in the chain that a map names for it; stays, when it names none.
    Choose(Vec<Field>, String),
    /// Leaves with the address of the interface that it leaves by.
    Masquerade,
    /// Leaves with this address.
    Source(IpAddr),
    /// Goes to this address.
    Destination(IpAddr),
    /// Goes to the address and port that a map names for it; stays, when it names none.
    Translate(Family, Vec<Field>, String),
    /// Goes to the next of these addresses (all of one family), and there to the port if one is given. Each new
    /// connection moves on by one.
    Balance(Vec<IpAddr>, Option<u16>),
}

impl Chain {
    /// A chain that other chains send packets to.
    pub fn new(name: impl Into<String>, rules: Vec<Rule>) -> Self {
        Self { name: name.into(), base: None, rules }
    }

    /// A chain that the kernel sends packets to.
    pub fn base(name: impl Into<String>, nat: bool, hook: Hook, priority: i32, rules: Vec<Rule>) -> Self {
        Self { name: name.into(), base: Some(Base { nat, hook, priority }), rules }
    }
}

impl Rule {
    /// A rule.
    pub fn new(matches: impl Into<Vec<Match>>, action: Action) -> Self {
        Self { matches: matches.into(), action }
    }
}

impl Field {
    /// What it holds.
    pub fn kind(self) -> Kind {
        match self {
            Self::Address(family, _) => Kind::Address(family),
            Self::Protocol => Kind::Protocol,
            Self::Port(_) => Kind::Port,
            Self::Interface(_) => Kind::Interface,
        }
    }
}
