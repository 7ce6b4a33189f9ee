//! The packet filter's tables as `nft list ruleset` shows them.
//!
//! `nlink` writes a rule in nft's words, with few exceptions. Sets and maps that stand within a rule are tables of their
//! own to the kernel; their members are put in here. A port of whatever transport (`th dport`) is a field that it
//! does not know. Both are given to it under names that it does know, which are then replaced in its text. A rule of
//! another program that it cannot read at all is told by what it consists of.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use nlink::Nftables;
use nlink::netlink::nftables::{
    ChainInfo, ChainKind, Family, Hook, MetaKey, PayloadBase, Policy, Priority, RuleExpr, RuleInfo, RuleSpec,
    SetElement, SetElementData, SetFlags, SetInfo, Verdict,
};

use super::{Chain, Set, Table};
use crate::apply::{NetError, NetNamespace, netlink};

type Connection = nlink::netlink::Connection<Nftables>;

/// How the name of a set within a rule begins for the kernel.
const ANONYMOUS: &str = "__";
/// What it is called while the rule is being written, so that it is written like any other.
const STAND_IN: &str = "within-the-rule";
/// What the ports of any transport are called meanwhile: fields that nobody's rules for containers use.
const PORT_STAND_INS: [(u32, MetaKey, &str, &str); 2] =
    [(0, MetaKey::CGroup, "meta cgroup", "th sport"), (2, MetaKey::Cpu, "meta cpu", "th dport")];

impl NetNamespace {
    pub(super) async fn look_at_tables(&self) -> Result<Vec<Table>, NetError> {
        let connection = self.filter()?;
        let mut tables = Vec::new();
        for found in connection.list_tables().await.map_err(netlink("list nftables tables"))? {
            let what = || format!("list nftables table {}", found.name);
            tables.push(table(connection, &found.name, found.family).await.map_err(netlink(what()))?);
        }
        Ok(tables)
    }
}

async fn table(connection: &Connection, name: &str, family: Family) -> Result<Table, nlink::Error> {
    let mut sets = Vec::new();
    let mut within = BTreeMap::new();
    for info in connection.list_sets_in(name, family).await? {
        let members = connection.list_set_elements(name, &info.name, family).await?;
        let set = set(&info, &members);
        if info.name.starts_with(ANONYMOUS) {
            within.insert(info.name.clone(), format!("{{ {} }}", set.elements.join(", ")));
        } else {
            sets.push(set);
        }
    }
    let rules = connection.list_rules(name, family).await?;
    let chains = connection.list_chains_in(name, family).await?;
    let chains = chains.iter().map(|info| Chain {
        name: info.name.clone(),
        base: base(info),
        rules: rules.iter().filter(|rule| rule.chain == info.name).map(|rule| self::rule(rule, &within)).collect(),
    });
    Ok(Table { family: family.name().to_owned(), name: name.to_owned(), sets, chains: chains.collect() })
}

fn base(info: &ChainInfo) -> Option<String> {
    let number = info.hook?;
    let hook = match info.kind() {
        Some(ChainKind::Base(base)) => hook_word(base.hook()).to_owned(),
        _ => number.to_string(),
    };
    let kind = info.chain_type.map_or("filter", |kind| kind.as_str());
    let priority = match (Priority::from_i32(info.priority.unwrap_or(0)).to_i32(), hook.as_str()) {
        (-300, _) => "raw".to_owned(),
        (-100, "prerouting") => "dstnat".to_owned(),
        (0, _) => "filter".to_owned(),
        (100, "postrouting") => "srcnat".to_owned(),
        (other, _) => other.to_string(),
    };
    let policy = match info.policy.and_then(Policy::from_u32) {
        Some(Policy::Drop) => "drop",
        _ => "accept",
    };
    Some(format!("type {kind} hook {hook} priority {priority}; policy {policy};"))
}

fn hook_word(hook: Hook) -> &'static str {
    match hook {
        Hook::Prerouting => "prerouting",
        Hook::Input => "input",
        Hook::Forward => "forward",
        Hook::Output => "output",
        Hook::Postrouting => "postrouting",
        Hook::Ingress => "ingress",
        _ => "egress",
    }
}

/// A rule in nft's words, with the members of the sets within it.
fn rule(info: &RuleInfo, within: &BTreeMap<String, String>) -> String {
    if let Some(text) = info.nft_syntax() {
        return text;
    }
    let mut expressions = info.expressions();
    let mut replaced = name_sets(&mut expressions, within);
    replaced.extend(name_ports(&mut expressions));
    join_address_and_port(&mut expressions);
    match RuleSpec::lift(&expressions, info.family).nft_syntax(info.family) {
        Some(text) => replaced.iter().fold(text, |text, (name, words)| text.replace(name, words)),
        None => {
            let kinds: Vec<String> = expressions.iter().map(kind).collect();
            format!("# a rule of another program: {}", kinds.join(", "))
        }
    }
}

/// Names the sets within the rule as others are named; by what each name is to be replaced in the text.
fn name_sets(expressions: &mut [RuleExpr], within: &BTreeMap<String, String>) -> Vec<(String, String)> {
    let mut used = Vec::new();
    for expression in expressions {
        if let RuleExpr::Lookup { set, .. } = expression
            && let Some(members) = within.get(set.as_str())
        {
            let stand_in = format!("{STAND_IN}{}", used.len());
            used.push((format!("@{stand_in}"), members.clone()));
            *set = stand_in;
        }
    }
    // from the last, since a number may begin like another
    used.reverse();
    used
}

/// Names the ports of any transport as other fields; by what each name is to be replaced in the text.
fn name_ports(expressions: &mut [RuleExpr]) -> Vec<(String, String)> {
    let mut used = Vec::new();
    let Some(any_meta) = expressions.iter().find(|one| matches!(one, RuleExpr::Meta { .. })).cloned() else {
        return used;
    };
    for expression in expressions {
        let RuleExpr::Payload { dreg, base: PayloadBase::Transport, offset, len: 2, .. } = expression else { continue };
        if let Some((_, key, name, port)) = PORT_STAND_INS.into_iter().find(|(at, ..)| at == offset) {
            let mut meta = any_meta.clone();
            if let RuleExpr::Meta { dreg: register, key: of, .. } = &mut meta {
                (*register, *of) = (*dreg, key);
            }
            *expression = meta;
            used.push((name.to_owned(), port.to_owned()));
        }
    }
    used
}

/// A map to an address and a port gives both at once, and nft's words for it name only the address.
fn join_address_and_port(expressions: &mut [RuleExpr]) {
    if let [.., RuleExpr::Lookup { dreg: Some(found), .. }, RuleExpr::Nat { addr: Some((first, _)), proto, .. }] =
        expressions
        && found == first
    {
        *proto = None;
    }
}

/// What kind of expression it is: the beginning of how it describes itself.
fn kind(expression: &RuleExpr) -> String {
    let text = format!("{expression:?}");
    text.chars().take_while(|c| c.is_alphanumeric()).collect::<String>().to_lowercase()
}

fn set(info: &SetInfo, members: &[SetElement]) -> Set {
    let key = types(info.key_type);
    let map = info.flags.contains(SetFlags::MAP);
    let value = info.data_type.filter(|_| map);
    let verdicts = value.is_some_and(|kind| kind == nlink::netlink::nftables::NFT_DATA_VERDICT);
    let values = value.filter(|_| !verdicts).map(types).unwrap_or_default();
    let mut holds = words(&key);
    if map {
        holds = format!("{holds} : {}", if verdicts { "verdict".to_owned() } else { words(&values) });
    }
    // numbers within rules are in the machine's byte order
    let order = |one: &SetElement| match (key.as_slice(), one.key().try_into()) {
        ([INTEGER], Ok(number)) => u32::from_ne_bytes(number).to_be_bytes().to_vec(),
        _ => one.key().to_vec(),
    };
    let mut elements: Vec<(Vec<u8>, String)> =
        members.iter().map(|one| (order(one), member(one, &key, &values))).collect();
    elements.sort();
    Set { name: info.name.clone(), map, holds, elements: elements.into_iter().map(|(_, text)| text).collect() }
}

fn member(member: &SetElement, key: &[u32], values: &[u32]) -> String {
    let mut text = datum(member.key(), key);
    if let Some(end) = member.key_end() {
        text = format!("{text}-{}", datum(end, key));
    }
    match member.data() {
        None => text,
        Some(SetElementData::Value(value)) => format!("{text} : {}", datum(value, values)),
        Some(SetElementData::Object(name)) => format!("{text} : \"{name}\""),
        Some(SetElementData::Verdict(verdict)) => format!("{text} : {}", verdict_word(verdict)),
        Some(_) => format!("{text} : ?"),
    }
}

fn verdict_word(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Accept => "accept".to_owned(),
        Verdict::Drop => "drop".to_owned(),
        Verdict::Return => "return".to_owned(),
        Verdict::Continue => "continue".to_owned(),
        Verdict::JumpTo(chain) => format!("jump {chain}"),
        Verdict::GotoTo(chain) => format!("goto {chain}"),
        other => format!("{other:?}").to_lowercase(),
    }
}

/// nft's datatypes (its `datatype.h`) that occur here.
const INTEGER: u32 = 4;
const IPV4: u32 = 7;
const IPV6: u32 = 8;
const ETHER: u32 = 9;
const PROTOCOL: u32 = 12;
const SERVICE: u32 = 13;
const MARK: u32 = 19;
const IFNAME: u32 = 41;
/// Bits of one datatype in the number of several.
const TYPE_BITS: u32 = 6;

/// The datatypes that a number stands for: a key of several fields has the first in the highest bits.
fn types(number: u32) -> Vec<u32> {
    let mut types = Vec::new();
    let mut rest = number;
    while rest != 0 {
        types.push(rest & ((1 << TYPE_BITS) - 1));
        rest >>= TYPE_BITS;
    }
    types.reverse();
    types
}

fn words(types: &[u32]) -> String {
    let word = |kind: &u32| match *kind {
        INTEGER => "integer".to_owned(),
        IPV4 => "ipv4_addr".to_owned(),
        IPV6 => "ipv6_addr".to_owned(),
        ETHER => "ether_addr".to_owned(),
        PROTOCOL => "inet_proto".to_owned(),
        SERVICE => "inet_service".to_owned(),
        MARK => "mark".to_owned(),
        IFNAME => "ifname".to_owned(),
        other => format!("type {other}"),
    };
    types.iter().map(word).collect::<Vec<_>>().join(" . ")
}

/// Bytes of one field; none for a type that is as long as what is there.
fn length(kind: u32) -> Option<usize> {
    match kind {
        INTEGER | IPV4 | MARK => Some(4),
        IPV6 | IFNAME => Some(16),
        ETHER => Some(6),
        PROTOCOL => Some(1),
        SERVICE => Some(2),
        _ => None,
    }
}

/// A key or value; each of several fields fills whole words of 32 bits.
fn datum(bytes: &[u8], types: &[u32]) -> String {
    let mut rest = bytes;
    let mut fields = Vec::new();
    for kind in types {
        let wanted = length(*kind).unwrap_or(rest.len());
        let Some(bytes) = rest.get(..wanted) else { break };
        fields.push(field(bytes, *kind));
        rest = rest.get(wanted.next_multiple_of(4)..).unwrap_or_default();
    }
    if fields.len() == types.len() && !fields.is_empty() { fields.join(" . ") } else { hex(bytes) }
}

fn field(bytes: &[u8], kind: u32) -> String {
    let text = match kind {
        IPV4 => bytes.try_into().ok().map(|ip: [u8; 4]| Ipv4Addr::from(ip).to_string()),
        IPV6 => bytes.try_into().ok().map(|ip: [u8; 16]| Ipv6Addr::from(ip).to_string()),
        SERVICE => bytes.try_into().ok().map(|port| u16::from_be_bytes(port).to_string()),
        INTEGER | MARK => bytes.try_into().ok().map(|number| u32::from_ne_bytes(number).to_string()),
        ETHER => Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")),
        PROTOCOL => bytes.first().map(|number| match number {
            1 => "icmp".to_owned(),
            6 => "tcp".to_owned(),
            17 => "udp".to_owned(),
            58 => "ipv6-icmp".to_owned(),
            132 => "sctp".to_owned(),
            other => other.to_string(),
        }),
        IFNAME => {
            let name: Vec<u8> = bytes.iter().copied().take_while(|byte| *byte != 0).collect();
            Some(format!("\"{}\"", String::from_utf8_lossy(&name)))
        }
        _ => None,
    };
    text.unwrap_or_else(|| hex(bytes))
}

fn hex(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("0x{digits}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_key_of_several_fields_is_read_field_by_field() {
        let number = [IPV4, PROTOCOL, SERVICE].iter().fold(0, |number, kind| number << TYPE_BITS | kind);
        let kinds = types(number);
        assert_eq!(words(&kinds), "ipv4_addr . inet_proto . inet_service");
        let bytes = [10, 0, 1, 2, 6, 0, 0, 0, 0x1f, 0x90, 0, 0];
        assert_eq!(datum(&bytes, &kinds), "10.0.1.2 . tcp . 8080");
        assert_eq!(datum(&bytes[..6], &kinds), "0x0a0001020600", "cut off");
        assert_eq!(datum(b"eth1\0\0\0\0\0\0\0\0\0\0\0\0", &[IFNAME]), "\"eth1\"");
        assert_eq!(datum(&[1, 2], &[60]), "0x0102");
    }

    proptest! {
        #[test]
        fn reading_a_member_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..40), number in any::<u32>()) {
            let _ = datum(&bytes, &types(number));
        }
    }
}
