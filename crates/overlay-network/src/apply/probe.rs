//! Whether this kernel makes the kinds of links, tables and rules that the project uses. Really makes them, so it is
//! only called in a fresh network namespace that ends with its process.

use std::net::Ipv4Addr;
use std::time::Duration;

use nlink::netlink::link::{BridgeLink, VethLink, VxlanLink};
use nlink::netlink::nftables::{
    BaseChain, Chain, CtState, Family, FibFlags, FilterHook, Generated, MetaKey, NatHook, NumgenKind, Priority, Rule,
};
use nlink::netlink::tc::NetemConfig;
use nlink::netlink::types::route::RouteType;
use nlink::{Nftables, Route};

type Filter = nlink::netlink::Connection<Nftables>;

/// The abilities that [`probe`] tries, in its order.
pub const ABILITIES: [&str; 11] = [
    "bridge",
    "veth",
    "vxlan",
    "netem",
    "tap",
    "nftables",
    "nft-nat",
    "nft-masquerade",
    "nft-numgen",
    "nft-fib",
    "nft-conntrack",
];

/// Makes one of each: its name, and the kernel's answer when it refused.
pub async fn probe() -> Vec<(&'static str, Result<(), String>)> {
    let mut found = Vec::new();
    match nlink::netlink::Connection::<Route>::new() {
        Ok(connection) => {
            let bridge = connection.add_link(BridgeLink::new("probe0")).await;
            let veth = connection.add_link(VethLink::new("probe1", "probe2")).await;
            let vxlan = connection.add_link(VxlanLink::new("probe3", 4097).port(4789)).await;
            // at the bridge: one that cannot be made is told by its own line
            let netem = NetemConfig::new().delay(Duration::from_millis(1)).build();
            let netem = connection.replace_qdisc("probe0", netem).await;
            for (name, result) in [("bridge", bridge), ("veth", veth), ("vxlan", vxlan), ("netem", netem)] {
                found.push((name, result.map_err(|error| error.to_string())));
            }
        }
        Err(error) => {
            found.extend(["bridge", "veth", "vxlan", "netem"].map(|name| (name, Err(error.to_string()))));
        }
    }
    found.push(("tap", super::delay_line::try_tap()));
    let filter = match Filter::new() {
        Ok(filter) => filter.add_table(TABLE, Family::Inet).await.map(|()| filter),
        Err(error) => Err(error),
    };
    match filter {
        Ok(filter) => {
            found.push(("nftables", Ok(())));
            for (name, chain, rule) in rules() {
                found.push((name, attempt(&filter, name, chain, rule).await.map_err(|error| error.to_string())));
            }
        }
        Err(error) => {
            let rest = ABILITIES.into_iter().skip_while(|name| *name != "nftables");
            found.extend(rest.map(|name| (name, Err(error.to_string()))));
        }
    }
    found
}

const TABLE: &str = "probe";

/// A chain and a rule for each ability.
fn rules() -> [(&'static str, Option<BaseChain>, Rule); 5] {
    let rule = |name: &str| Rule::new(TABLE, name).family(Family::Inet);
    let counting = Generated::Numgen { kind: NumgenKind::Incremental, modulus: 2, offset: 0 };
    [
        (
            "nft-nat",
            Some(BaseChain::nat(NatHook::Prerouting, Priority::DstNat)),
            rule("nft-nat").dnat(Ipv4Addr::LOCALHOST, None),
        ),
        (
            "nft-masquerade",
            Some(BaseChain::nat(NatHook::Postrouting, Priority::SrcNat)),
            rule("nft-masquerade").masquerade(),
        ),
        ("nft-numgen", None, rule("nft-numgen").generate(counting).set_meta_from(MetaKey::Mark)),
        (
            "nft-fib",
            Some(BaseChain::filter(FilterHook::Prerouting, Priority::Filter)),
            rule("nft-fib").match_fib_type(FibFlags::DADDR, RouteType::Local).accept(),
        ),
        ("nft-conntrack", None, rule("nft-conntrack").match_ct_state(CtState::ESTABLISHED).accept()),
    ]
}

async fn attempt(filter: &Filter, name: &str, base: Option<BaseChain>, rule: Rule) -> Result<(), nlink::Error> {
    let chain = Chain::new(TABLE, name)?.family(Family::Inet);
    filter.add_chain(base.into_iter().fold(chain, Chain::base)).await?;
    filter.add_rule(rule).await
}
