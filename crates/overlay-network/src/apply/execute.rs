//! One step at a time, made by the kernel.

use std::fs::File;
use std::net::IpAddr;

use nlink::netlink::link::{BridgeLink, BridgePortConfig, LinkCreateExt, VethLink, VxlanLink};
use nlink::{Ipv4Address, Ipv4Route, Ipv6Address, Ipv6Route};

use super::entries::{change_forwarding, change_neighbors};
use super::{NetError, NetNamespace, io, netlink};
use crate::plan::{BridgePort, Cidr, LinkKind, LinkPlan, Namespace, RoutePlan, Step, VxlanPlan};

impl NetNamespace {
    pub(super) async fn execute(&self, step: &Step, underlay: &NetNamespace) -> Result<(), NetError> {
        let connection = &self.connection;
        match step {
            Step::Create(link) => self.create(link, underlay).await,
            Step::Delete(name) => self.delete_link(name).await,
            Step::SetMac(name, mac) => connection
                .set_link_address(name.as_str(), mac.0)
                .await
                .map_err(netlink(format!("set address of {name} to {mac}"))),
            Step::SetMtu(name, mtu) => connection
                .set_link_mtu(name.as_str(), *mtu)
                .await
                .map_err(netlink(format!("set mtu of {name} to {mtu}"))),
            Step::SetMaster(name, master) => connection
                .set_link_master(name.as_str(), master.as_str())
                .await
                .map_err(netlink(format!("make {name} a port of {master}"))),
            Step::SetPort(name, port) => {
                let BridgePort { isolated, learning, flooding, hairpin } = *port;
                let wish = BridgePortConfig::new().isolated(isolated).learning(learning);
                connection
                    .set_bridge_port(name.as_str(), wish.unicast_flood(flooding).hairpin(hairpin))
                    .await
                    .map_err(netlink(format!("set {name} as a port of its bridge to {port:?}")))
            }
            Step::AddAddress(name, cidr) => self.add_address(name, *cidr).await,
            Step::RemoveAddress(name, cidr) => connection
                .del_address_if_exists(name.as_str(), cidr.address, cidr.prefix)
                .await
                .map(drop)
                .map_err(netlink(format!("remove {cidr} from {name}"))),
            Step::SetUp(name) => connection.set_link_up(name.as_str()).await.map_err(netlink(format!("set {name} up"))),
            Step::AddRoute(route) => self.add_route(route).await,
            Step::Sysctl(key, value) => self
                .within(|| std::fs::write(format!("/proc/sys/{key}"), value))?
                .map_err(io(format!("set {key} to {value}"))),
            Step::Neighbors(link, remove, add) => change_neighbors(connection, link, remove, add).await,
            Step::Forwarding(link, remove, add) => change_forwarding(connection, link, remove, add).await,
        }
    }

    async fn add_address(&self, name: &str, cidr: Cidr) -> Result<(), NetError> {
        let result = match (cidr.address, cidr.range().1) {
            (IpAddr::V4(ip), IpAddr::V4(last)) => {
                let address = Ipv4Address::new(name, ip, cidr.prefix);
                // a network of one or two addresses has none for all
                let address = if cidr.prefix < 31 { address.broadcast(last) } else { address };
                self.connection.replace_address(address).await
            }
            (IpAddr::V6(ip), _) => {
                self.connection.replace_address(Ipv6Address::new(name, ip, cidr.prefix).nodad()).await
            }
            (IpAddr::V4(_), IpAddr::V6(_)) => Ok(()),
        };
        result.map_err(netlink(format!("add {cidr} to {name}")))
    }

    async fn add_route(&self, route: &RoutePlan) -> Result<(), NetError> {
        let RoutePlan { destination, via, dev } = route;
        let what = format!("add route {destination} dev {dev}");
        let mixed = || NetError::Invalid(format!("{what}: the next hop {via:?} is of the other address family"));
        let result = match (destination.address, via) {
            (IpAddr::V4(to), None | Some(IpAddr::V4(_))) => {
                let mut config = Ipv4Route::new(to, destination.prefix).dev(dev.as_str());
                if let Some(IpAddr::V4(via)) = via {
                    config = config.gateway(*via);
                }
                self.connection.replace_route(config).await
            }
            (IpAddr::V6(to), None | Some(IpAddr::V6(_))) => {
                let mut config = Ipv6Route::new(to, destination.prefix).dev(dev.as_str());
                if let Some(IpAddr::V6(via)) = via {
                    config = config.gateway(*via);
                }
                self.connection.replace_route(config).await
            }
            _ => return Err(mixed()),
        };
        result.map_err(netlink(what))
    }

    async fn create(&self, link: &LinkPlan, underlay: &NetNamespace) -> Result<(), NetError> {
        let what = format!("create link {}", link.name);
        let result = match &link.kind {
            LinkKind::Existing => return Ok(()),
            LinkKind::Bridge => {
                let bridge = BridgeLink::new(link.name.as_str()).stp(false).forward_delay_ms(0);
                self.connection.add_link(bridge).await
            }
            LinkKind::Veth { peer, peer_mac, peer_namespace } => {
                let mut veth = VethLink::new(link.name.as_str(), peer.as_str());
                veth = match peer_namespace {
                    Namespace::Pid(pid) => veth.peer_netns_pid(*pid),
                    Namespace::Path(path) => {
                        let what = format!("{what} with its other end in {}", path.display());
                        veth.peer_netns_fd(File::open(path).map_err(io(what))?)
                    }
                };
                if let Some(mac) = peer_mac {
                    veth = veth.peer_address(mac.0);
                }
                if let Some(mtu) = link.mtu {
                    veth = veth.mtu(mtu);
                }
                self.connection.add_link(veth).await
            }
            LinkKind::Vxlan(plan) => self.create_vxlan(link, plan, underlay).await,
        };
        result.map_err(netlink(what))
    }

    /// Asked of the underlay's namespace, so that its packets travel there, for this one, so that it is never seen
    /// elsewhere: dying half-way leaves nothing behind.
    async fn create_vxlan(&self, link: &LinkPlan, plan: &VxlanPlan, underlay: &NetNamespace) -> nlink::Result<()> {
        let mut vxlan =
            VxlanLink::new(link.name.as_str(), plan.vni).port(plan.port).learning(false).proxy(true).udp_csum(true);
        vxlan = match plan.local {
            IpAddr::V4(ip) => vxlan.local(ip),
            IpAddr::V6(ip) => vxlan.local6(ip),
        };
        if let Some(mtu) = link.mtu {
            vxlan = vxlan.mtu(mtu);
        }
        match &self.file {
            Some(file) => underlay.connection.add_link(vxlan.netns(file)).await,
            None => underlay.connection.add_link(vxlan).await,
        }
    }
}
