//! What an overlay is compared with: two namespaces cabled at a bridge as the nodes of a cluster are, with a VXLAN link
//! between them and nothing else. No packet filter, no connection tracking, no second bridge.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use overlay_network::NetNamespace;
use overlay_network::plan::{
    Cidr, ForwardTo, ForwardingEntry, LinkKind, LinkPlan, Mac, Namespace, Neighbor, NetPlan, VxlanPlan,
};

use super::traffic::Place;
use crate::common::Outcome;

/// The link, with its ends.
pub struct Bare {
    /// One end.
    pub one: Place,
    /// The other.
    pub other: Place,
    /// Its address on the VXLAN.
    pub address: IpAddr,
    _middle: Place,
}

fn underlay(end: u8) -> IpAddr {
    Ipv4Addr::new(10, 99, 0, end).into()
}

fn overlay(end: u8) -> IpAddr {
    Ipv4Addr::new(10, 98, 0, end).into()
}

fn file(place: &Place) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", place.file().as_raw_fd()))
}

fn cidr(address: IpAddr) -> Cidr {
    Cidr { address, prefix: 24 }
}

impl Bare {
    /// Needs a tokio runtime around it.
    pub async fn new() -> Outcome<Self> {
        let (middle, one, other) = (Place::new()?, Place::new()?, Place::new()?);
        let ends = [(1, 2, &one), (2, 1, &other)];
        let mut links = vec![LinkPlan::new("lab0", LinkKind::Bridge)];
        for (number, _, place) in ends {
            let peer_namespace = Namespace::Path(file(place));
            let kind = LinkKind::Veth { peer: "eth0".into(), peer_mac: None, peer_namespace };
            let mut cable = LinkPlan::new(format!("port{number}"), kind);
            cable.master = Some("lab0".into());
            links.push(cable);
        }
        let inside = NetNamespace::at(&file(&middle))?;
        inside.apply(&NetPlan { links, ..NetPlan::default() }).await?;
        for (own, far, place) in ends {
            let mut eth0 = LinkPlan::new("eth0", LinkKind::Existing);
            eth0.addresses.push(cidr(underlay(own)));
            let kind = LinkKind::Vxlan(VxlanPlan { vni: 99, port: 4789, local: underlay(own) });
            let mut vxlan = LinkPlan::new("vxlan0", kind);
            (vxlan.mac, vxlan.mtu) = (Some(Mac::of_ip(overlay_v4(own))), Some(1450));
            vxlan.addresses.push(cidr(overlay(own)));
            let mac = Mac::of_ip(overlay_v4(far));
            let plan = NetPlan {
                links: vec![LinkPlan::new("lo", LinkKind::Existing), eth0, vxlan],
                neighbors: BTreeMap::from([("vxlan0".into(), BTreeSet::from([Neighbor { ip: overlay(far), mac }]))]),
                forwarding: BTreeMap::from([(
                    "vxlan0".into(),
                    BTreeSet::from([ForwardingEntry { mac, to: ForwardTo::Remote(underlay(far)) }]),
                )]),
                ..NetPlan::default()
            };
            NetNamespace::at(&file(place))?.apply(&plan).await?;
        }
        Ok(Self { one, other, address: overlay(2), _middle: middle })
    }
}

fn overlay_v4(end: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 98, 0, end)
}
