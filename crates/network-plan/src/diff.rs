//! The steps from what a namespace looks like to what it should.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    BridgePort, Cidr, ForwardTo, ForwardingEntry, LinkKind, LinkPlan, Mac, Neighbor, NetPlan, Observed, ObservedLink,
    RoutePlan,
};

/// One change to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Make a link.
    Create(LinkPlan),
    /// Remove a link that cannot be corrected.
    Delete(String),
    /// Set the link-layer address.
    SetMac(String, Mac),
    /// Set the largest packet.
    SetMtu(String, u32),
    /// Make it a port of a bridge.
    SetMaster(String, String),
    /// Say how its bridge treats it.
    SetPort(String, BridgePort),
    /// Add an address.
    AddAddress(String, Cidr),
    /// Take an address away.
    RemoveAddress(String, Cidr),
    /// Set it up.
    SetUp(String),
    /// Add or replace a route.
    AddRoute(RoutePlan),
    /// Write a setting.
    Sysctl(String, String),
    /// Remove the first, then add the second: permanent neighbours of a link.
    Neighbors(String, Vec<Neighbor>, Vec<Neighbor>),
    /// Remove the first, then add the second: forwarding entries of a link.
    Forwarding(String, Vec<ForwardingEntry>, Vec<ForwardingEntry>),
}

/// Steps that make `observed` satisfy `plan`; none when it already does.
pub fn diff(observed: &Observed, plan: &NetPlan) -> Vec<Step> {
    let mut steps = Vec::new();
    settings(observed, &plan.sysctls, &mut steps);
    for (key, value) in &plan.sysctls_if_present {
        if observed.sysctls.get(key).is_some_and(|seen| seen.trim() != value) {
            steps.push(Step::Sysctl(key.clone(), value.clone()));
        }
    }
    let mut lost: BTreeMap<&str, Lost> = BTreeMap::new();
    for link in &plan.links {
        lost.insert(&link.name, link_steps(observed, link, &mut steps));
    }
    let lost = |link: &str| lost.get(link).copied().unwrap_or_default();
    for route in &plan.routes {
        if !observed.routes.contains(route) || lost(&route.dev).all {
            steps.push(Step::AddRoute(route.clone()));
        }
    }
    let is_left = |link: &str, _: &Neighbor| !lost(link).neighbors;
    for (link, remove, add) in tables(&observed.neighbors, &plan.neighbors, is_left) {
        steps.push(Step::Neighbors(link, remove, add));
    }
    let is_left = |link: &str, entry: &ForwardingEntry| match entry.to {
        ForwardTo::Port => !lost(link).port,
        ForwardTo::Remote(_) => !lost(link).all,
    };
    for (link, remove, add) in tables(&observed.forwarding, &plan.forwarding, is_left) {
        steps.push(Step::Forwarding(link, remove, add));
    }
    steps
}

/// What the kernel takes from a link on the way to what it should be: it was seen, and is not there any more when the
/// tables' turn comes.
#[derive(Debug, Clone, Copy, Default)]
struct Lost {
    /// Everything: it is made anew.
    all: bool,
    /// Its entries in its bridge's table: it changes its bridge. Those in a VXLAN's own table stay.
    port: bool,
    /// Its neighbours: it changes its link-layer address (`arp_netdev_event`, also the permanent ones go).
    neighbors: bool,
}

fn settings(observed: &Observed, wanted: &[(String, String)], steps: &mut Vec<Step>) {
    for (key, value) in wanted {
        if observed.sysctls.get(key).map(|seen| seen.trim()) != Some(value.as_str()) {
            steps.push(Step::Sysctl(key.clone(), value.clone()));
        }
    }
}

/// The steps for one link; what it loses by them.
fn link_steps(observed: &Observed, link: &LinkPlan, steps: &mut Vec<Step>) -> Lost {
    let fresh = ObservedLink::default();
    let name = || link.name.clone();
    let mut seen = observed.links.get(&link.name);
    if let (Some(there), LinkKind::Vxlan(wanted)) = (seen, &link.kind)
        && there.vxlan.as_ref() != Some(wanted)
    {
        steps.push(Step::Delete(name()));
        seen = None;
    }
    let mut lost = Lost::default();
    let seen = match seen {
        Some(seen) => seen,
        None => {
            if link.kind != LinkKind::Existing {
                steps.push(Step::Create(link.clone()));
            }
            lost = Lost { all: true, port: true, neighbors: true };
            &fresh
        }
    };
    if let Some(mac) = link.mac
        && seen.mac != Some(mac)
    {
        steps.push(Step::SetMac(name(), mac));
        lost.neighbors = true;
    }
    if let Some(mtu) = link.mtu
        && seen.mtu != mtu
    {
        steps.push(Step::SetMtu(name(), mtu));
    }
    if let Some(master) = &link.master {
        // a port that changes its bridge begins with the kernel's defaults
        let mut port = seen.port;
        if seen.master.as_ref() != Some(master) {
            steps.push(Step::SetMaster(name(), master.clone()));
            port = BridgePort::default();
            lost.port = true;
        }
        if port != link.port {
            steps.push(Step::SetPort(name(), link.port));
        }
    }
    // those of a link that is made anew begin with the defaults
    let nothing = Observed::default();
    settings(if lost.all { &nothing } else { observed }, &link.sysctls, steps);
    address_steps(seen, link, steps);
    if !seen.up {
        steps.push(Step::SetUp(name()));
    }
    lost
}

/// Of IPv4, what is wanted comes before what goes, so that there is no gap. Of IPv6, a link has an address only once, with
/// one prefix, which cannot be changed (`inet6_addr_modify`): one with another prefix goes first.
fn address_steps(seen: &ObservedLink, link: &LinkPlan, steps: &mut Vec<Step>) {
    let missing = || link.addresses.iter().filter(|wanted| !seen.addresses.contains(wanted));
    let in_the_way = |there: &&Cidr| there.is_ipv6() && missing().any(|wanted| wanted.address == there.address);
    let (first, others): (Vec<&Cidr>, Vec<&Cidr>) =
        seen.addresses.iter().filter(|there| !link.addresses.contains(there)).partition(in_the_way);
    let last = others.into_iter().filter(|_| link.only_these_addresses);
    steps.extend(first.into_iter().map(|cidr| Step::RemoveAddress(link.name.clone(), *cidr)));
    steps.extend(missing().map(|cidr| Step::AddAddress(link.name.clone(), *cidr)));
    steps.extend(last.map(|cidr| Step::RemoveAddress(link.name.clone(), *cidr)));
}

/// For each link whose table differs: what to remove and what to add. Of what was seen, some may not be left by then.
fn tables<T: Ord + Copy>(
    observed: &BTreeMap<String, BTreeSet<T>>,
    wanted: &BTreeMap<String, BTreeSet<T>>,
    is_left: impl Fn(&str, &T) -> bool,
) -> Vec<(String, Vec<T>, Vec<T>)> {
    let mut changes = Vec::new();
    for (link, wanted) in wanted {
        let seen = observed.get(link).into_iter().flatten().filter(|one| is_left(link, one));
        let seen: BTreeSet<T> = seen.copied().collect();
        let remove: Vec<T> = seen.difference(wanted).copied().collect();
        let add: Vec<T> = wanted.difference(&seen).copied().collect();
        if !remove.is_empty() || !add.is_empty() {
            changes.push((link.clone(), remove, add));
        }
    }
    changes
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::VxlanPlan;
    use super::*;
    use std::net::Ipv4Addr;

    fn bridge() -> NetPlan {
        let mut link = LinkPlan::new("docker0", LinkKind::Bridge);
        link.addresses.push("172.17.0.1/16".parse().unwrap());
        NetPlan { links: vec![link], ..NetPlan::default() }
    }

    fn seen(address: &str) -> Observed {
        let link = ObservedLink { addresses: vec![address.parse().unwrap()], up: true, ..ObservedLink::default() };
        Observed { links: BTreeMap::from([("docker0".into(), link)]), ..Observed::default() }
    }

    fn vxlan(vni: u32) -> VxlanPlan {
        VxlanPlan { vni, port: 4789, local: Ipv4Addr::new(10, 0, 0, 1).into() }
    }

    fn entry(n: u8) -> ForwardingEntry {
        let ip = Ipv4Addr::new(10, 0, 0, n);
        ForwardingEntry { mac: Mac::of_ip(ip), to: ForwardTo::Remote(ip.into()) }
    }

    #[test]
    fn a_missing_bridge_is_created_addressed_and_set_up() {
        let steps = diff(&Observed::default(), &bridge());
        assert!(matches!(steps.as_slice(), [Step::Create(_), Step::AddAddress(..), Step::SetUp(_)]));
    }

    #[test]
    fn a_satisfied_plan_needs_no_step() {
        assert_eq!(diff(&seen("172.17.0.1/16"), &bridge()), vec![]);
    }

    #[test]
    fn someone_elses_link_is_never_created() {
        let plan = NetPlan { links: vec![LinkPlan::new("lo", LinkKind::Existing)], ..NetPlan::default() };
        assert_eq!(diff(&Observed::default(), &plan), vec![Step::SetUp("lo".into())]);
    }

    #[test]
    fn other_addresses_go_only_from_links_that_are_owned_wholly() {
        let mut plan = bridge();
        let mut observed = seen("172.17.0.1/16");
        let docker0 = observed.links.get_mut("docker0").unwrap();
        docker0.addresses.push("172.18.0.9/32".parse().unwrap());
        assert_eq!(diff(&observed, &plan), vec![]);
        plan.links[0].only_these_addresses = true;
        let gone = Step::RemoveAddress("docker0".into(), "172.18.0.9/32".parse().unwrap());
        assert_eq!(diff(&observed, &plan), vec![gone]);
    }

    #[test]
    fn a_table_is_a_whole_wish() {
        let plan = NetPlan {
            forwarding: BTreeMap::from([("vxlan0".into(), BTreeSet::from([entry(1), entry(2)]))]),
            ..NetPlan::default()
        };
        let mut observed = Observed {
            forwarding: BTreeMap::from([("vxlan0".into(), BTreeSet::from([entry(2), entry(3)]))]),
            ..Observed::default()
        };
        let change = Step::Forwarding("vxlan0".into(), vec![entry(3)], vec![entry(1)]);
        assert_eq!(diff(&observed, &plan), vec![change]);
        observed.forwarding = plan.forwarding.clone();
        assert_eq!(diff(&observed, &plan), vec![]);
    }

    #[test]
    fn a_vxlan_of_another_network_is_made_anew_with_all_its_entries() {
        let plan = NetPlan {
            links: vec![LinkPlan::new("vxlan0", LinkKind::Vxlan(vxlan(4097)))],
            forwarding: BTreeMap::from([("vxlan0".into(), BTreeSet::from([entry(1)]))]),
            ..NetPlan::default()
        };
        let link = ObservedLink { vxlan: Some(vxlan(4098)), up: true, ..ObservedLink::default() };
        let mut observed = Observed {
            links: BTreeMap::from([("vxlan0".into(), link)]),
            forwarding: plan.forwarding.clone(),
            ..Observed::default()
        };
        let steps = diff(&observed, &plan);
        assert!(
            matches!(
                steps.as_slice(),
                [Step::Delete(_), Step::Create(_), Step::SetUp(_), Step::Forwarding(_, remove, add)]
                    if remove.is_empty() && add.len() == 1
            ),
            "{steps:?}"
        );
        observed.links.get_mut("vxlan0").unwrap().vxlan = Some(vxlan(4097));
        assert_eq!(diff(&observed, &plan), vec![]);
    }

    /// A VXLAN's end that somebody took from its bridge, while an endpoint went.
    #[test]
    fn what_is_a_links_own_outlives_a_change_of_its_bridge() {
        let mut link = LinkPlan::new("vxlan0", LinkKind::Vxlan(vxlan(4097)));
        link.master = Some("br0".into());
        let neighbor = |n: u8| Neighbor { ip: Ipv4Addr::new(10, 0, 0, n).into(), mac: entry(n).mac };
        let port = |n: u8| ForwardingEntry { mac: entry(n).mac, to: ForwardTo::Port };
        let plan = NetPlan {
            links: vec![link],
            neighbors: BTreeMap::from([("vxlan0".into(), BTreeSet::from([neighbor(1)]))]),
            forwarding: BTreeMap::from([("vxlan0".into(), BTreeSet::from([entry(1), port(1)]))]),
            ..NetPlan::default()
        };
        let there = ObservedLink { vxlan: Some(vxlan(4097)), up: true, ..ObservedLink::default() };
        let observed = Observed {
            links: BTreeMap::from([("vxlan0".into(), there)]),
            neighbors: BTreeMap::from([("vxlan0".into(), BTreeSet::from([neighbor(1), neighbor(2)]))]),
            forwarding: BTreeMap::from([("vxlan0".into(), BTreeSet::from([entry(1), entry(2)]))]),
            ..Observed::default()
        };
        let expected = vec![
            Step::SetMaster("vxlan0".into(), "br0".into()),
            Step::Neighbors("vxlan0".into(), vec![neighbor(2)], vec![]),
            Step::Forwarding("vxlan0".into(), vec![entry(2)], vec![port(1)]),
        ];
        assert_eq!(diff(&observed, &plan), expected);
    }

    #[test]
    fn neighbours_are_said_again_after_a_change_of_the_links_address() {
        let mut link = LinkPlan::new("eth0", LinkKind::Existing);
        link.mac = Some(entry(9).mac);
        let neighbor = Neighbor { ip: Ipv4Addr::new(10, 0, 0, 1).into(), mac: entry(1).mac };
        let table = BTreeMap::from([("eth0".to_owned(), BTreeSet::from([neighbor]))]);
        let plan = NetPlan { links: vec![link], neighbors: table.clone(), ..NetPlan::default() };
        let there = ObservedLink { up: true, ..ObservedLink::default() };
        let observed =
            Observed { links: BTreeMap::from([("eth0".into(), there)]), neighbors: table, ..Observed::default() };
        let again = Step::Neighbors("eth0".into(), vec![], vec![neighbor]);
        assert_eq!(diff(&observed, &plan), vec![Step::SetMac("eth0".into(), entry(9).mac), again]);
    }

    #[test]
    fn an_ipv6_address_goes_before_it_comes_with_another_prefix() {
        let mut plan = bridge();
        plan.links[0].addresses.push("fd00::1/64".parse().unwrap());
        let mut observed = seen("172.17.0.1/16");
        observed.links.get_mut("docker0").unwrap().addresses.push("fd00::1/128".parse().unwrap());
        let expected = vec![
            Step::RemoveAddress("docker0".into(), "fd00::1/128".parse().unwrap()),
            Step::AddAddress("docker0".into(), "fd00::1/64".parse().unwrap()),
        ];
        assert_eq!(diff(&observed, &plan), expected);
    }

    #[test]
    fn routes_and_settings_go_with_a_link_that_is_made_anew() {
        let mut link = LinkPlan::new("vxlan0", LinkKind::Vxlan(vxlan(4097)));
        let setting = ("net/ipv4/conf/vxlan0/route_localnet".to_owned(), "1".to_owned());
        link.sysctls = vec![setting.clone()];
        let route = RoutePlan { destination: "10.9.0.0/16".parse().unwrap(), via: None, dev: "vxlan0".into() };
        let plan = NetPlan { links: vec![link], routes: vec![route.clone()], ..NetPlan::default() };
        let there = ObservedLink { vxlan: Some(vxlan(4098)), up: true, ..ObservedLink::default() };
        let observed = Observed {
            links: BTreeMap::from([("vxlan0".into(), there)]),
            routes: vec![route.clone()],
            sysctls: BTreeMap::from([setting.clone()]),
            ..Observed::default()
        };
        let steps = diff(&observed, &plan);
        let expected = [Step::Sysctl(setting.0, setting.1), Step::SetUp("vxlan0".into()), Step::AddRoute(route)];
        assert_eq!(steps.get(2..), Some(&expected[..]), "{steps:?}");
    }

    #[test]
    fn a_port_is_told_how_its_bridge_treats_it() {
        let mut link = LinkPlan::new("veth1", LinkKind::Existing);
        link.master = Some("br0".into());
        let isolated = BridgePort { isolated: true, ..BridgePort::default() };
        link.port = isolated;
        let plan = NetPlan { links: vec![link], ..NetPlan::default() };
        let there = |master: &str, port| Observed {
            links: BTreeMap::from([(
                "veth1".into(),
                ObservedLink { up: true, master: Some(master.into()), port, ..ObservedLink::default() },
            )]),
            ..Observed::default()
        };
        assert_eq!(diff(&there("br0", isolated), &plan), vec![]);
        let set = Step::SetPort("veth1".into(), isolated);
        assert_eq!(diff(&there("br0", BridgePort::default()), &plan), vec![set.clone()]);
        let moved = Step::SetMaster("veth1".into(), "br0".into());
        assert_eq!(diff(&there("br1", isolated), &plan), vec![moved, set], "the flags do not move with it");
    }

    #[test]
    fn a_setting_of_a_missing_part_is_no_step() {
        let setting = ("net/bridge/bridge-nf-call-iptables".to_owned(), "0".to_owned());
        let plan = NetPlan { sysctls_if_present: vec![setting.clone()], ..NetPlan::default() };
        let mut observed = Observed::default();
        assert_eq!(diff(&observed, &plan), vec![]);
        observed.sysctls.insert(setting.0.clone(), "1".into());
        assert_eq!(diff(&observed, &plan), vec![Step::Sysctl(setting.0, setting.1)]);
    }
}
