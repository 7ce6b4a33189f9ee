//! Conversations that conntrack remembers, and that new rules would hand on otherwise.
//!
//! The rules decide at the first packet of a conversation; the others follow it. For TCP that is right: a connection
//! ends by itself. UDP has no end but silence, so a client that keeps on asking would keep on asking a backend that
//! is gone.

use std::collections::BTreeSet;
use std::net::IpAddr;

use nlink::netlink::netfilter::{ConntrackEntry, ConntrackFilter, IpProtocol};
use nlink::netlink::types::AddressFamily;

use super::table::Family;
use super::{NodeRules, OverlayRules, Protocol};
use crate::apply::{NetError, NetNamespace, netlink};

/// A conversation: where its first packet went, and who answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Conversation {
    /// The address and port that the client spoke to.
    asked: (IpAddr, u16),
    /// The address and port that it was handed on to; the same when it was not.
    answers: (IpAddr, u16),
}

impl Conversation {
    fn of(entry: &ConntrackEntry) -> Option<Self> {
        Some(Self {
            asked: (entry.orig.dst_ip?, entry.orig.dst_port?),
            answers: (entry.reply.src_ip?, entry.reply.src_port?),
        })
    }

    fn handed_on(&self) -> bool {
        self.asked != self.answers
    }

    /// Whether the rules of an overlay would not hand it on to there any more.
    fn past_backend(&self, rules: &OverlayRules) -> bool {
        let (asked, port) = self.asked;
        let virtual_ip = rules.services.iter().find(|service| service.virtual_ips.contains(&asked));
        let by_port = || {
            rules.ingress_interface.as_ref()?;
            let udp =
                |published: &super::ServicePort| published.protocol == Protocol::Udp && published.published == port;
            rules.services.iter().find(|service| service.ports.iter().any(udp))
        };
        match virtual_ip.or_else(by_port) {
            Some(service) => !service.backends.contains(&self.answers.0),
            // of a service that is gone
            None => self.handed_on(),
        }
    }

    /// Whether the rules of a node would hand it on to elsewhere.
    fn past_port(&self, rules: &NodeRules) -> bool {
        let (asked, port) = self.asked;
        let fits = |host: Option<IpAddr>| host.is_none_or(|host| host.is_unspecified() || host == asked);
        let mut targets = rules
            .published
            .iter()
            .filter(|published| published.protocol == Protocol::Udp && published.host_port == port)
            .filter(|published| fits(published.host_ip) && published.to.is_ipv4() == asked.is_ipv4())
            .map(|published| (published.to.ip(), published.to.port()));
        let mesh = rules.ingress.iter().filter(|ingress| ingress.ports.contains(&(Protocol::Udp, port)));
        let mut mesh = mesh.flat_map(|ingress| &ingress.to);
        let ours = |address| {
            let subnets = rules.bridges.iter().flat_map(|bridge| &bridge.subnets);
            subnets.into_iter().any(|subnet| subnet.contains(address))
        };
        if self.handed_on() {
            let kept = targets.any(|target| target == self.answers) || mesh.any(|to| (*to, port) == self.answers);
            !kept && ours(self.answers.0)
        } else {
            // spoke to the port before it was published; what merely passes through to another machine goes on
            let published = targets.next().is_some() || mesh.next().is_some();
            published && !ours(asked)
        }
    }
}

impl NetNamespace {
    /// Forgets the UDP conversations that were handed on to these addresses: the next packet of each is handed on
    /// anew. How many there were. [`NetNamespace::apply_overlay_rules`] does so for backends that a service lost.
    pub async fn flush_udp_conntrack(&self, left: &BTreeSet<IpAddr>) -> Result<usize, NetError> {
        self.flush_conntrack(Protocol::Udp, left).await
    }

    /// Forgets the conversations by one protocol that were handed on to these addresses; how many there were. For
    /// TCP with a container that is gone: whoever is connected gets a reset for the next packet, and not silence.
    pub async fn flush_conntrack(&self, protocol: Protocol, left: &BTreeSet<IpAddr>) -> Result<usize, NetError> {
        if left.is_empty() {
            return Ok(0);
        }
        let families = left.iter().map(|address| Family::of(*address)).collect();
        self.forget(protocol, families, |conversation| {
            conversation.handed_on() && left.contains(&conversation.answers.0)
        })
        .await
    }

    pub(super) async fn forget_past_backends(&self, rules: &OverlayRules) -> Result<usize, NetError> {
        // only what had a load balancer address was ever handed on
        let families = rules.load_balancer.iter().map(|address| Family::of(*address)).collect();
        self.forget(Protocol::Udp, families, |conversation| conversation.past_backend(rules)).await
    }

    pub(super) async fn forget_past_ports(&self, rules: &NodeRules) -> Result<usize, NetError> {
        let subnets = rules.bridges.iter().flat_map(|bridge| &bridge.subnets);
        let families = subnets.map(|subnet| Family::of(subnet.address)).collect();
        self.forget(Protocol::Udp, families, |conversation| conversation.past_port(rules)).await
    }

    /// How many conversations conntrack remembers here. Where it does not say, there may be some.
    fn conversations(&self) -> Result<u64, NetError> {
        let count = self.within(|| std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_count"))?;
        Ok(count.ok().and_then(|count| count.trim().parse().ok()).unwrap_or(u64::MAX))
    }

    async fn forget(
        &self,
        protocol: Protocol,
        families: BTreeSet<Family>,
        past: impl Fn(&Conversation) -> bool,
    ) -> Result<usize, NetError> {
        // the kernel walks through the entries of the whole machine for each family: milliseconds
        if self.conversations()? == 0 {
            return Ok(0);
        }
        let connection = self.conntrack()?;
        let protocol = match protocol {
            Protocol::Tcp => IpProtocol::Tcp,
            Protocol::Udp => IpProtocol::Udp,
            Protocol::Sctp => IpProtocol::Other(132),
        };
        let filter = ConntrackFilter::new().proto(protocol);
        let mut entries = Vec::new();
        for family in families {
            let family = match family {
                Family::V4 => AddressFamily::Inet,
                Family::V6 => AddressFamily::Inet6,
            };
            let found = connection.get_conntrack_matching(&filter.clone().family(family)).await;
            entries.extend(found.map_err(netlink("list conntrack entries"))?);
        }
        let mut forgotten = 0;
        for entry in entries.iter().filter(|entry| Conversation::of(entry).is_some_and(|it| past(&it))) {
            match connection.del_conntrack_entry(entry).await {
                Ok(()) => forgotten += 1,
                // ended by itself meanwhile
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(netlink("delete conntrack entry")(error)),
            }
        }
        Ok(forgotten)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::rules::{IngressRules, PublishedPort, ServicePort, VirtualService};

    fn conversation(asked: &str, answers: &str) -> Conversation {
        let end = |text: &str| text.parse::<std::net::SocketAddr>().map(|at| (at.ip(), at.port())).unwrap();
        Conversation { asked: end(asked), answers: end(answers) }
    }

    #[test]
    fn a_backend_is_past_when_its_service_has_it_no_more() {
        let port = |protocol, published| ServicePort { protocol, published, target: 53 };
        let rules = OverlayRules {
            services: vec![VirtualService {
                name: "dns".into(),
                virtual_ips: vec!["10.0.0.2".parse().unwrap()],
                backends: vec!["10.0.0.5".parse().unwrap()],
                ports: vec![port(Protocol::Udp, 5353), port(Protocol::Tcp, 8080)],
            }],
            ingress_interface: Some("eth1".into()),
            ..OverlayRules::default()
        };
        let past = |asked, answers| conversation(asked, answers).past_backend(&rules);
        assert!(!past("10.0.0.2:53", "10.0.0.5:53"));
        assert!(past("10.0.0.2:53", "10.0.0.6:53"), "no backend");
        assert!(past("10.0.0.2:53", "10.0.0.2:53"), "was not handed on, when there was no backend");
        assert!(past("10.0.0.3:53", "10.0.0.5:53"), "of a service that is gone");
        assert!(!past("172.18.0.2:5353", "10.0.0.5:53"));
        assert!(past("172.18.0.2:5353", "10.0.0.6:53"));
        assert!(past("172.18.0.2:8080", "10.0.0.5:53"), "published by TCP only");
        assert!(!past("10.0.0.7:53", "10.0.0.7:53"), "nothing of ours");
        let inside = OverlayRules { ingress_interface: None, ..rules.clone() };
        assert!(conversation("172.18.0.2:5353", "10.0.0.5:53").past_backend(&inside));
    }

    #[test]
    fn a_port_is_past_when_it_leads_elsewhere() {
        let bridge = crate::rules::BridgeRules {
            name: "docker0".into(),
            subnets: vec!["172.17.0.0/16".parse().unwrap(), "172.18.0.0/16".parse().unwrap()],
            masquerade: true,
            internal: false,
        };
        let port = |host_ip: Option<&str>, host_port, to: &str| PublishedPort {
            protocol: Protocol::Udp,
            host_ip: host_ip.map(|host| host.parse().unwrap()),
            host_port,
            to: to.parse().unwrap(),
            bridge: "docker0".into(),
        };
        let rules = NodeRules {
            bridges: vec![bridge],
            published: vec![
                port(None, 53, "172.17.0.2:53"),
                port(Some("127.0.0.1"), 54, "172.17.0.3:53"),
                port(Some("0.0.0.0"), 55, "172.17.0.4:53"),
            ],
            ingress: Some(IngressRules {
                bridge: "docker_gwbridge".into(),
                to: vec!["172.18.0.2".parse().unwrap()],
                ports: [(Protocol::Udp, 30000), (Protocol::Tcp, 30001)].into(),
            }),
        };
        let past = |asked, answers| conversation(asked, answers).past_port(&rules);
        assert!(!past("192.0.2.1:53", "172.17.0.2:53"));
        assert!(past("192.0.2.1:53", "172.17.0.3:53"), "another container now");
        assert!(past("192.0.2.1:53", "192.0.2.1:53"), "not published then");
        assert!(past("192.0.2.1:54", "172.17.0.3:53") && !past("127.0.0.1:54", "172.17.0.3:53"));
        assert!(!past("192.0.2.1:55", "172.17.0.4:53"));
        assert!(past("192.0.2.1:56", "172.17.0.2:53"), "published no more");
        assert!(!past("192.0.2.1:30000", "172.18.0.2:30000") && past("192.0.2.1:30001", "172.18.0.2:30001"));
        assert!(!past("192.0.2.1:56", "192.0.2.1:56") && !past("172.17.0.2:53", "172.17.0.2:53"), "nothing of ours");
        assert!(!past("192.0.2.1:99", "203.0.113.9:99"), "another's translation, to where we have nothing");
    }
}
