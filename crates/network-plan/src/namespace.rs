//! What a network namespace should look like, and what it does look like. Leaves out the steps between them (`diff`).
//!
//! A [`NetPlan`] adds and corrects: links that it does not name are left alone, because a node's namespace has several
//! owners (the sandbox's `eth0`, the bridges, overlays). Of the links that it names it may own a table wholly: their
//! neighbours, their forwarding entries, their addresses. There the plan is the whole wish, and what it does not name
//! goes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;

use super::{Cidr, Mac};

/// A network namespace, as seen from the process that applies the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Namespace {
    /// That of a process.
    Pid(u32),
    /// The one that a file names: a pin, or `/proc/PID/ns/net`.
    Path(PathBuf),
}

/// What kind of link a [`LinkPlan`] makes when it is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkKind {
    /// Made by someone else (`lo`, the near end of a pair that another namespace's plan makes): never created here.
    Existing,
    /// A bridge, without spanning tree and forwarding at once: there are no loops in our wiring.
    Bridge,
    /// A pair of virtual cables.
    Veth {
        /// The other end's name.
        peer: String,
        /// The other end's link-layer address.
        peer_mac: Option<Mac>,
        /// Where the other end appears at once.
        peer_namespace: Namespace,
    },
    /// One end of a VXLAN without learning and flooding, which answers ARP and neighbour solicitations from its own
    /// neighbour table. Its packets travel in the namespace that the plan is applied over, wherever the link itself is.
    /// One whose parameters differ is made anew.
    Vxlan(VxlanPlan),
}

/// The parameters of a VXLAN link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VxlanPlan {
    /// Network identifier, 1 to 16777215.
    pub vni: u32,
    /// UDP port of all ends.
    pub port: u16,
    /// Source address of its packets.
    pub local: IpAddr,
}

/// How a bridge treats one of its ports. The default is the kernel's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BridgePort {
    /// Whether it hears nothing from other isolated ports, only from the bridge and ports that are not isolated.
    pub isolated: bool,
    /// Whether the bridge notes source addresses of what comes in here.
    pub learning: bool,
    /// Whether packets to unknown link-layer addresses leave here.
    pub flooding: bool,
    /// Whether a packet may leave where it came in.
    pub hairpin: bool,
}

impl Default for BridgePort {
    fn default() -> Self {
        Self { isolated: false, learning: true, flooding: true, hairpin: false }
    }
}

/// One link as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkPlan {
    /// Interface name, at most 15 bytes.
    pub name: String,
    /// How it is made.
    pub kind: LinkKind,
    /// Link-layer address; `None`: the kernel's choice.
    pub mac: Option<Mac>,
    /// Largest packet; `None`: the kernel's choice.
    pub mtu: Option<u32>,
    /// Bridge that it is a port of.
    pub master: Option<String>,
    /// How that bridge treats it.
    pub port: BridgePort,
    /// Addresses that it has. IPv6 ones are usable at once: their uniqueness is known, so nothing is asked around.
    pub addresses: Vec<Cidr>,
    /// Whether it has no others.
    pub only_these_addresses: bool,
    /// Settings of this link: path below /proc/sys, value. Written before it goes up.
    pub sysctls: Vec<(String, String)>,
}

impl LinkPlan {
    /// A link without address, port of nothing.
    pub fn new(name: impl Into<String>, kind: LinkKind) -> Self {
        Self {
            name: name.into(),
            kind,
            mac: None,
            mtu: None,
            master: None,
            port: BridgePort::default(),
            addresses: Vec::new(),
            only_these_addresses: false,
            sysctls: Vec::new(),
        }
    }
}

/// One route as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoutePlan {
    /// [`Cidr::ALL_IPV4`] for the default route.
    pub destination: Cidr,
    /// Next hop.
    pub via: Option<IpAddr>,
    /// Interface.
    pub dev: String,
}

/// An address on a link and where it is there: permanent, never asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Neighbor {
    /// The address.
    pub ip: IpAddr,
    /// Its link-layer address.
    pub mac: Mac,
}

/// Where packets to a link-layer address go: permanent, never learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ForwardingEntry {
    /// The address.
    pub mac: Mac,
    /// Where it is.
    pub to: ForwardTo,
}

/// See [`ForwardingEntry`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ForwardTo {
    /// In the table of the link's bridge: out of this port.
    Port,
    /// In the table of a VXLAN link: to the end at this address.
    Remote(IpAddr),
}

/// One namespace as it should be: order matters (a master before its ports).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetPlan {
    /// Links; every one is set up.
    pub links: Vec<LinkPlan>,
    /// Routes.
    pub routes: Vec<RoutePlan>,
    /// Kernel settings: path below /proc/sys, value.
    pub sysctls: Vec<(String, String)>,
    /// The same, of parts of the kernel that may be missing: then nothing is to do.
    pub sysctls_if_present: Vec<(String, String)>,
    /// The permanent neighbours of links, by the link's name. Others of that link go.
    pub neighbors: BTreeMap<String, BTreeSet<Neighbor>>,
    /// The forwarding entries of links (ports and VXLAN ends), by the link's name. Others of that link go.
    pub forwarding: BTreeMap<String, BTreeSet<ForwardingEntry>>,
}

/// A link as the kernel shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ObservedLink {
    /// Its number in its namespace.
    pub index: u32,
    /// Of a pair: the number of the other end in that one's namespace.
    pub peer: Option<u32>,
    /// Link-layer address.
    pub mac: Option<Mac>,
    /// Largest packet.
    pub mtu: u32,
    /// Name of the bridge that it is a port of.
    pub master: Option<String>,
    /// How that bridge treats it.
    pub port: BridgePort,
    /// Parameters of a VXLAN link without learning and with answering; `None` of any other.
    pub vxlan: Option<VxlanPlan>,
    /// Addresses, without those that IPv6 gives every link by itself (fe80::/10): no plan speaks of them.
    pub addresses: Vec<Cidr>,
    /// Administratively up.
    pub up: bool,
    /// Whether packets can travel: of a pair, whether both ends are up.
    pub carrier: bool,
}

/// A namespace as the kernel shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// By name.
    pub links: BTreeMap<String, ObservedLink>,
    /// Main table: (destination, next hop, interface).
    pub routes: Vec<RoutePlan>,
    /// Values of the settings that the plan names.
    pub sysctls: BTreeMap<String, String>,
    /// Permanent neighbours of the links for which the plan names them.
    pub neighbors: BTreeMap<String, BTreeSet<Neighbor>>,
    /// Forwarding entries of the links for which the plan names them, without the links' own addresses.
    pub forwarding: BTreeMap<String, BTreeSet<ForwardingEntry>>,
}
