//! A network namespace that exists only here: what the kernel makes of each [`Step`], as far as plans speak of it. For the
//! simulator and for tests, which hold it against a real kernel (`overlay-network/tests/model.rs`).
//!
//! What it follows was looked at on Linux 6.18; where a rule surprises, its place in the kernel's source is given. It
//! carries no packets: who asks how one would go looks at the tables ([`ModelNamespace::port_of`] and its siblings). Left
//! out: the far ends of pairs and the numbers of links, which are between namespaces and so the business of whoever has
//! several; routes of the kernel's own; what nobody plans.

mod settings;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::{
    BridgePort, Cidr, ForwardTo, ForwardingEntry, LinkKind, LinkPlan, Mac, Neighbor, NetPlan, Observed, ObservedLink,
    RoutePlan, Step, VxlanPlan,
};
use settings::Settings;

/// The largest packet that links begin with.
const ETHERNET: u32 = 1500;

/// What sort of link it is. Plans make no other.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    /// A bridge, with its table: behind which port an address is. One address has one place.
    Bridge(BTreeMap<Mac, String>),
    /// An end of a VXLAN, with its table: at which other end an address is.
    Vxlan(VxlanPlan, BTreeMap<Mac, IpAddr>),
    /// `lo`, and either end of a pair.
    Other,
}

#[derive(Debug, Clone)]
struct Link {
    kind: Kind,
    mac: Option<Mac>,
    mtu: u32,
    /// Of a bridge: its largest packet is the smallest of its ports', as nobody has changed it.
    follows_ports: bool,
    master: Option<String>,
    port: BridgePort,
    addresses: Vec<Cidr>,
    up: bool,
    neighbors: BTreeMap<IpAddr, Mac>,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct ModelNamespace {
    links: BTreeMap<String, Link>,
    /// By destination: a second one takes the place of the first (`NLM_F_REPLACE`).
    routes: BTreeMap<Cidr, RoutePlan>,
    settings: Settings,
}

impl Default for ModelNamespace {
    /// A new namespace: `lo`, down.
    fn default() -> Self {
        let mut made = Self { links: BTreeMap::new(), routes: BTreeMap::new(), settings: Settings::default() };
        made.appear("lo", Kind::Other, None, 65536);
        made
    }
}

impl ModelNamespace {
    /// What a look at it shows, of what the plan speaks of.
    pub fn observe(&self, plan: &NetPlan) -> Observed {
        let link = |link: &Link| ObservedLink {
            mac: link.mac,
            mtu: link.mtu,
            master: link.master.clone(),
            port: link.port,
            vxlan: match &link.kind {
                Kind::Vxlan(vxlan, _) => Some(*vxlan),
                _ => None,
            },
            addresses: link.addresses.clone(),
            up: link.up,
            carrier: link.up,
            ..ObservedLink::default()
        };
        let of_links = plan.links.iter().flat_map(|link| &link.sysctls);
        let settings = plan.sysctls.iter().chain(&plan.sysctls_if_present).chain(of_links);
        let there = |name: &&String| self.links.contains_key(*name);
        Observed {
            links: self.links.iter().map(|(name, one)| (name.clone(), link(one))).collect(),
            routes: self.routes.values().cloned().collect(),
            sysctls: settings.filter_map(|(key, _)| Some((key.clone(), self.settings.get(key)?.to_owned()))).collect(),
            neighbors: plan.neighbors.keys().filter(there).map(|name| (name.clone(), self.neighbors(name))).collect(),
            forwarding: plan
                .forwarding
                .keys()
                .filter(there)
                .map(|name| (name.clone(), self.forwarding(name)))
                .collect(),
        }
    }

    /// Carries out one step. What a kernel would refuse is an error; then nothing has changed.
    pub fn execute(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Create(plan) => self.create(plan),
            Step::Delete(name) => {
                self.delete_link(name);
                Ok(())
            }
            Step::SetMac(name, mac) => {
                let link = self.link(name)?;
                link.mac = Some(*mac);
                // also the permanent ones (`arp_netdev_event`, `ndisc_netdev_event`: `neigh_changeaddr`)
                link.neighbors.clear();
                Ok(())
            }
            Step::SetMtu(name, mtu) => {
                let link = self.link(name)?;
                // what it is already is no change (`dev_set_mtu`)
                link.follows_ports &= link.mtu == *mtu;
                link.mtu = *mtu;
                if let Some(bridge) = link.master.clone() {
                    self.follow_ports(&bridge);
                }
                Ok(())
            }
            Step::SetMaster(name, master) => self.set_master(name, master),
            Step::SetPort(name, port) => {
                let link = self.link(name)?;
                if link.master.is_none() {
                    return Err(format!("{name} is no port of a bridge"));
                }
                link.port = *port;
                Ok(())
            }
            Step::AddAddress(name, cidr) => self.add_address(name, *cidr),
            Step::RemoveAddress(name, cidr) => self.remove_address(name, *cidr),
            Step::SetUp(name) => {
                self.link(name)?.up = true;
                Ok(())
            }
            Step::AddRoute(route) => {
                if !self.link(&route.dev)?.up {
                    return Err(format!("{} is down", route.dev));
                }
                self.routes.insert(route.destination.network(), route.clone());
                Ok(())
            }
            Step::Sysctl(key, value) => self.set(key, value),
            Step::Neighbors(name, remove, add) => {
                let link = self.link(name)?;
                for one in remove {
                    link.neighbors.remove(&one.ip);
                }
                link.neighbors.extend(add.iter().map(|one| (one.ip, one.mac)));
                Ok(())
            }
            Step::Forwarding(name, remove, add) => {
                self.link(name)?;
                remove.iter().try_for_each(|entry| self.change_forwarding(name, entry, false))?;
                add.iter().try_for_each(|entry| self.change_forwarding(name, entry, true))
            }
        }
    }

    /// Brings in a link that another namespace's plan makes: the far end of a pair.
    pub fn appear_far_end(&mut self, name: &str, mac: Option<Mac>, mtu: u32) -> Result<(), String> {
        if self.links.contains_key(name) {
            return Err(format!("there is a link {name} already"));
        }
        self.appear(name, Kind::Other, mac, mtu);
        Ok(())
    }

    /// Removes a link with all that belongs to it; whether it was there.
    pub fn delete_link(&mut self, name: &str) -> bool {
        self.leave_bridge(name);
        for link in self.links.values_mut().filter(|link| link.master.as_deref() == Some(name)) {
            (link.master, link.port) = (None, BridgePort::default());
        }
        self.routes.retain(|_, route| route.dev != name);
        self.settings.link_gone(name);
        self.links.remove(name).is_some()
    }

    /// Takes a port from its bridge, by hand; whether it was one.
    pub fn unplug(&mut self, name: &str) -> bool {
        self.leave_bridge(name)
    }

    /// Sets a link down, by hand; whether it was up.
    pub fn set_down(&mut self, name: &str) -> bool {
        let Some(link) = self.links.get_mut(name).filter(|link| link.up) else { return false };
        link.up = false;
        // what is permanent too (`neigh_ifdown`); a bridge's and a VXLAN's entries stay when they are
        link.neighbors.clear();
        // `addrconf_ifdown`, unless `keep_addr_on_down`
        link.addresses.retain(|cidr| !cidr.is_ipv6());
        self.routes.retain(|_, route| route.dev != name);
        true
    }

    /// The names of its links.
    pub fn links(&self) -> impl Iterator<Item = &str> {
        self.links.keys().map(String::as_str)
    }

    /// Whether there is such a link, and packets pass it.
    pub fn is_up(&self, name: &str) -> bool {
        self.links.get(name).is_some_and(|link| link.up)
    }

    /// A link's own link-layer address.
    pub fn mac_of(&self, name: &str) -> Option<Mac> {
        self.links.get(name)?.mac
    }

    /// A link's addresses.
    pub fn addresses_of(&self, name: &str) -> &[Cidr] {
        self.links.get(name).map(|link| link.addresses.as_slice()).unwrap_or_default()
    }

    /// The bridge that a link is a port of.
    pub fn master_of(&self, name: &str) -> Option<&str> {
        self.links.get(name)?.master.as_deref()
    }

    /// The parameters of a VXLAN's end.
    pub fn vxlan_of(&self, name: &str) -> Option<VxlanPlan> {
        match &self.links.get(name)?.kind {
            Kind::Vxlan(vxlan, _) => Some(*vxlan),
            _ => None,
        }
    }

    /// Out of which port the bridge lets packets to this address; `None`: out of none, as nothing is flooded.
    pub fn port_of(&self, bridge: &str, mac: Mac) -> Option<&str> {
        match &self.links.get(bridge)?.kind {
            Kind::Bridge(table) => table.get(&mac).map(String::as_str),
            _ => None,
        }
    }

    /// To which other end a VXLAN's end sends packets to this address.
    pub fn remote_of(&self, vxlan: &str, mac: Mac) -> Option<IpAddr> {
        match &self.links.get(vxlan)?.kind {
            Kind::Vxlan(_, table) => table.get(&mac).copied(),
            _ => None,
        }
    }

    /// The link-layer address that a link knows for an address.
    pub fn neighbor_of(&self, link: &str, ip: IpAddr) -> Option<Mac> {
        self.links.get(link)?.neighbors.get(&ip).copied()
    }

    /// All permanent neighbours of a link.
    pub fn neighbors(&self, link: &str) -> BTreeSet<Neighbor> {
        let known = self.links.get(link).into_iter().flat_map(|link| &link.neighbors);
        known.map(|(ip, mac)| Neighbor { ip: *ip, mac: *mac }).collect()
    }

    /// All forwarding entries of a link: in its bridge's table, and in its own.
    pub fn forwarding(&self, name: &str) -> BTreeSet<ForwardingEntry> {
        let Some(link) = self.links.get(name) else { return BTreeSet::new() };
        let mut entries = BTreeSet::new();
        if let Some(Kind::Bridge(table)) = link.master.as_ref().and_then(|at| self.links.get(at)).map(|at| &at.kind) {
            let here = table.iter().filter(|(_, port)| *port == name);
            entries.extend(here.map(|(mac, _)| ForwardingEntry { mac: *mac, to: ForwardTo::Port }));
        }
        if let Kind::Vxlan(_, table) = &link.kind {
            entries.extend(table.iter().map(|(mac, at)| ForwardingEntry { mac: *mac, to: ForwardTo::Remote(*at) }));
        }
        entries
    }

    fn link(&mut self, name: &str) -> Result<&mut Link, String> {
        self.links.get_mut(name).ok_or_else(|| format!("there is no link {name}"))
    }

    fn appear(&mut self, name: &str, kind: Kind, mac: Option<Mac>, mtu: u32) {
        let link = Link {
            follows_ports: matches!(kind, Kind::Bridge(_)),
            kind,
            mac,
            mtu,
            master: None,
            port: BridgePort::default(),
            addresses: Vec::new(),
            up: false,
            neighbors: BTreeMap::new(),
        };
        self.links.insert(name.to_owned(), link);
        self.settings.link_made(name);
    }

    fn create(&mut self, plan: &LinkPlan) -> Result<(), String> {
        if self.links.contains_key(&plan.name) {
            return Err(format!("there is a link {} already", plan.name));
        }
        let (kind, mtu) = match &plan.kind {
            // nothing is asked of the kernel
            LinkKind::Existing => return Ok(()),
            LinkKind::Bridge => (Kind::Bridge(BTreeMap::new()), ETHERNET),
            LinkKind::Veth { .. } => (Kind::Other, plan.mtu.unwrap_or(ETHERNET)),
            LinkKind::Vxlan(vxlan) => (Kind::Vxlan(*vxlan, BTreeMap::new()), plan.mtu.unwrap_or(1450)),
        };
        self.appear(&plan.name, kind, None, mtu);
        Ok(())
    }

    /// A port that changes its bridge loses its entries there and its flags; what is the link's own stays with it.
    fn set_master(&mut self, name: &str, master: &str) -> Result<(), String> {
        if !matches!(self.link(master)?.kind, Kind::Bridge(_)) {
            return Err(format!("{master} is no bridge"));
        }
        self.link(name)?;
        self.leave_bridge(name);
        self.link(name)?.master = Some(master.to_owned());
        self.follow_ports(master);
        Ok(())
    }

    /// `br_mtu_auto_adjust`.
    fn follow_ports(&mut self, bridge: &str) {
        let ports = self.links.values().filter(|link| link.master.as_deref() == Some(bridge));
        let least = ports.map(|link| link.mtu).min().unwrap_or(ETHERNET);
        if let Some(link) = self.links.get_mut(bridge).filter(|link| link.follows_ports) {
            link.mtu = least;
        }
    }

    fn leave_bridge(&mut self, name: &str) -> bool {
        let Some(link) = self.links.get_mut(name) else { return false };
        link.port = BridgePort::default();
        let Some(bridge) = link.master.take() else { return false };
        if let Some(Kind::Bridge(table)) = self.links.get_mut(&bridge).map(|link| &mut link.kind) {
            table.retain(|_, port| port != name);
        }
        self.follow_ports(&bridge);
        true
    }

    /// Of IPv6, a link has an address once: the prefix of one that is there is not changed (`inet6_addr_modify`).
    fn add_address(&mut self, name: &str, cidr: Cidr) -> Result<(), String> {
        let off = self.settings.get(&format!("net/ipv6/conf/{name}/disable_ipv6")) == Some("1");
        let link = self.link(name)?;
        if cidr.is_ipv6() && off {
            return Err(format!("{name} has no IPv6"));
        }
        let there = |one: &Cidr| *one == cidr || (cidr.is_ipv6() && one.address == cidr.address);
        if !link.addresses.iter().any(there) {
            link.addresses.push(cidr);
        }
        Ok(())
    }

    /// Of IPv4, the first address of a network takes the others of it along, unless they are promoted
    /// (`__inet_del_ifa`, ip-sysctl: `promote_secondaries`).
    fn remove_address(&mut self, name: &str, cidr: Cidr) -> Result<(), String> {
        let on = |place: &str| self.settings.get(&format!("net/ipv4/conf/{place}/promote_secondaries")) == Some("1");
        let promoted = cidr.is_ipv6() || on("all") || on(name);
        let link = self.link(name)?;
        let together = |one: &Cidr| one.prefix == cidr.prefix && one.network() == cidr.network();
        let first = link.addresses.iter().find(|one| together(one)) == Some(&cidr);
        let takes_along = first && !promoted;
        link.addresses.retain(|one| *one != cidr && !(takes_along && together(one)));
        Ok(())
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        self.settings.set(key, value)?;
        if let Some((link, "disable_ipv6")) = key.strip_prefix("net/ipv6/conf/").and_then(|rest| rest.split_once('/'))
            && value == "1"
            && let Some(link) = self.links.get_mut(link)
        {
            link.addresses.retain(|cidr| !cidr.is_ipv6());
            link.neighbors.retain(|ip, _| ip.is_ipv4());
        }
        Ok(())
    }

    /// An entry that is elsewhere gives way to one that is added, and one that is elsewhere is not removed.
    fn change_forwarding(&mut self, name: &str, entry: &ForwardingEntry, add: bool) -> Result<(), String> {
        match entry.to {
            ForwardTo::Remote(remote) => {
                let Kind::Vxlan(_, table) = &mut self.link(name)?.kind else {
                    return Err(format!("{name} is no VXLAN"));
                };
                if add {
                    table.insert(entry.mac, remote);
                } else if table.get(&entry.mac) == Some(&remote) {
                    table.remove(&entry.mac);
                }
            }
            ForwardTo::Port => {
                let bridge = self.link(name)?.master.clone().ok_or_else(|| format!("{name} is no port of a bridge"))?;
                let Kind::Bridge(table) = &mut self.link(&bridge)?.kind else {
                    return Err(format!("{bridge} is no bridge"));
                };
                if add {
                    table.insert(entry.mac, name.to_owned());
                } else if table.get(&entry.mac).is_some_and(|port| port == name) {
                    table.remove(&entry.mac);
                }
            }
        }
        Ok(())
    }
}
