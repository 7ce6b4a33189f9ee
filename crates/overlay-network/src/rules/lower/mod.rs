//! From a [`Table`] to the netlink messages that make it. Pure: nothing is sent here.
//!
//! Named sets, chains and rules by `nlink`'s types. The maps and sets inside of rules (`numgen inc mod 2 map { ... }`)
//! are anonymous, belong to their rule and are found by a number within the transaction. `nlink` has no type for
//! those: their messages are written here, attribute by attribute (`linux/netfilter/nf_tables.h`).

mod expressions;

use nlink::netlink::MessageBuilder;
use nlink::netlink::nftables::{
    self as nft, BaseChain, ChainName, FilterHook, NatHook, Priority, RawMessage, SetElement, SetFlags, SetKeyType,
    Transaction, Verdict,
};

use super::table::*;
use expressions::Expressions;

/// Members in one message. A list's length has to fit 16 bits, and a member of ours takes 100 bytes at most.
const MEMBERS: usize = 500;
/// `enum nft_set_elem_list_attributes`: the number of the set within the transaction.
const SET_ELEM_LIST_SET_ID: u16 = 4;
/// nft's datatype of an interface's name, and of a number (nft's `datatype.h`).
const TYPE_IFNAME: u32 = 41;
const TYPE_INTEGER: u32 = 4;
/// `IFNAMSIZ`: bytes of an interface's name, with zeros behind it.
const INTERFACE_BYTES: usize = 16;
/// libnftnl's notes at a set on the byte order of its keys and values: type, length, value
/// (`NFTNL_UDATA_SET_KEYBYTEORDER`, `_DATABYTEORDER`; nft's `enum byteorder`). Only for whoever lists it.
const KEY_BYTE_ORDER: [u8; 2] = [0, 4];
const VALUE_BYTE_ORDER: [u8; 2] = [1, 4];
const HOST_ORDER: u32 = 1;
const NETWORK_ORDER: u32 = 2;

/// A message of a transaction.
enum Message {
    Members(nft::Set, Vec<SetElement>),
    Chain(nft::Chain),
    Rule(nft::Rule),
    Raw(RawMessage),
}

/// Adds to a transaction what makes the table, which must not exist by then. `comment` is the table's.
pub fn create(mut transaction: Transaction, table: &Table, comment: &str) -> Result<Transaction, nlink::Error> {
    transaction = transaction.add_table_with_comment(&table.name, nft::Family::Inet, 0, Some(comment));
    for message in messages(table)? {
        transaction = match message {
            Message::Members(set, members) => transaction.add_set_elements(&set, &members),
            Message::Chain(chain) => transaction.add_chain(chain),
            Message::Rule(rule) => transaction.add_rule(rule),
            Message::Raw(message) => transaction.raw(message),
        };
    }
    Ok(transaction)
}

/// In an order in which nothing is named before it is made: members name chains, rules name chains and sets.
fn messages(table: &Table) -> Result<Vec<Message>, nlink::Error> {
    let mut messages = Vec::new();
    let sets: Vec<nft::Set> = table.sets.iter().map(|set| named_set(&table.name, set)).collect();
    for (number, set) in (FIRST_NAMED..).zip(&table.sets) {
        let kind = SetType {
            flags: if set.mapped == Mapped::Nothing { SetFlags::empty() } else { SetFlags::MAP },
            key: key_types(&set.key),
            value: match &set.mapped {
                Mapped::Nothing => None,
                Mapped::Chain => Some((nft::NFT_DATA_VERDICT, 0)),
                Mapped::Values(kinds) => Some((key_types(kinds).type_id(), key_types(kinds).len())),
            },
            size: None,
        };
        messages.push(kind.message(&table.name, &set.name, number));
    }
    for chain in &table.chains {
        messages.push(Message::Chain(named_chain(&table.name, chain)?));
    }
    for (set, made) in table.sets.iter().zip(&sets) {
        let members = set.elements.iter().map(|(key, target)| member(key, target)).collect::<Result<Vec<_>, _>>()?;
        messages.extend(members.chunks(MEMBERS).map(|some| Message::Members(made.clone(), some.to_vec())));
    }
    let mut anonymous = Anonymous { table: &table.name, messages: Vec::new(), next: FIRST_ANONYMOUS };
    for chain in &table.chains {
        for rule in &chain.rules {
            let expressions = Expressions::of(rule, &mut anonymous)?;
            messages.append(&mut anonymous.messages);
            let rule = nft::Rule::new(&table.name, &chain.name).family(nft::Family::Inet).expressions(expressions);
            messages.push(Message::Rule(rule));
        }
    }
    Ok(messages)
}

fn key_type(kind: Kind) -> SetKeyType {
    match kind {
        Kind::Address(Family::V4) => SetKeyType::Ipv4Addr,
        Kind::Address(Family::V6) => SetKeyType::Ipv6Addr,
        Kind::Protocol => SetKeyType::InetProto,
        Kind::Port => SetKeyType::InetService,
        Kind::Interface => SetKeyType::Other { type_id: TYPE_IFNAME, len: INTERFACE_BYTES as u32 },
    }
}

fn key_types(kinds: &[Kind]) -> SetKeyType {
    match kinds {
        [one] => key_type(*one),
        several => SetKeyType::Concat(several.iter().map(|kind| key_type(*kind)).collect()),
    }
}

fn named_set(table: &str, set: &Set) -> nft::Set {
    let made = nft::Set::new(table, &set.name).family(nft::Family::Inet).key_type(key_types(&set.key));
    match &set.mapped {
        Mapped::Nothing => made,
        Mapped::Chain => made.vmap(),
        Mapped::Values(kinds) => made.map(nft::SetDataType::Value(key_types(kinds))),
    }
}

fn named_chain(table: &str, chain: &Chain) -> Result<nft::Chain, nlink::Error> {
    let made = nft::Chain::new(table, chain.name.as_str())?.family(nft::Family::Inet);
    let Some(base) = chain.base else { return Ok(made) };
    let priority = Priority::from_i32(base.priority);
    let base = match (base.nat, base.hook) {
        (true, Hook::Prerouting) => BaseChain::nat(NatHook::Prerouting, priority),
        (true, Hook::Input) => BaseChain::nat(NatHook::Input, priority),
        (true, Hook::Output) => BaseChain::nat(NatHook::Output, priority),
        (true, Hook::Postrouting) => BaseChain::nat(NatHook::Postrouting, priority),
        (true, Hook::Forward) => return Err(invalid("nothing is translated at the forward hook")),
        (false, Hook::Prerouting) => BaseChain::filter(FilterHook::Prerouting, priority),
        (false, Hook::Input) => BaseChain::filter(FilterHook::Input, priority),
        (false, Hook::Forward) => BaseChain::filter(FilterHook::Forward, priority),
        (false, Hook::Output) => BaseChain::filter(FilterHook::Output, priority),
        (false, Hook::Postrouting) => BaseChain::filter(FilterHook::Postrouting, priority),
    };
    Ok(made.base(base.policy(nft::Policy::Accept)))
}

fn invalid(what: &str) -> nlink::Error {
    nlink::Error::from(std::io::Error::new(std::io::ErrorKind::InvalidInput, what.to_owned()))
}

/// One value as it is, several each filled up to whole words of 32 bits.
fn values(data: &[Datum]) -> SetElement {
    match data {
        [one] => SetElement::new(bytes(one)),
        several => SetElement::concat(several.iter().map(|one| SetElement::new(bytes(one)))),
    }
}

fn member(key: &[Datum], target: &Target) -> Result<SetElement, nlink::Error> {
    let member = values(key);
    Ok(match target {
        Target::Nothing => member,
        Target::Chain(chain) => member.verdict(Verdict::GotoTo(ChainName::new(chain.as_str())?)),
        Target::Values(data) => member.value(values(data)),
    })
}

/// As the kernel compares it.
fn bytes(datum: &Datum) -> Vec<u8> {
    match datum {
        Datum::Address(std::net::IpAddr::V4(address)) => address.octets().to_vec(),
        Datum::Address(std::net::IpAddr::V6(address)) => address.octets().to_vec(),
        Datum::Protocol(protocol) => vec![expressions::protocol_number(*protocol)],
        Datum::Port(port) => port.to_be_bytes().to_vec(),
        Datum::Interface(name) => {
            let mut bytes = name.as_bytes().to_vec();
            bytes.resize(INTERFACE_BYTES, 0);
            bytes
        }
    }
}

/// Attributes, without the head of the message that the builder puts in front of them.
fn attributes(write: impl FnOnce(&mut MessageBuilder)) -> Vec<u8> {
    let mut builder = MessageBuilder::new(0, 0);
    let head = builder.len();
    write(&mut builder);
    builder.as_bytes().get(head..).unwrap_or_default().to_vec()
}

fn nest(builder: &mut MessageBuilder, attribute: u16, write: impl FnOnce(&mut MessageBuilder)) {
    let token = builder.nest_start(attribute);
    write(builder);
    builder.nest_end(token);
}

/// The first numbers of sets within a transaction.
const FIRST_NAMED: u32 = 1;
const FIRST_ANONYMOUS: u32 = 1 << 16;

/// What a set holds.
struct SetType {
    flags: SetFlags,
    key: SetKeyType,
    /// nft's datatype of the values, and their length in bytes.
    value: Option<(u32, u32)>,
    /// A known size lets the kernel take a plain hash table.
    size: Option<usize>,
}

impl SetType {
    /// What makes it. `nlink` can, but for the notes on byte order, without which nft lists interfaces without names.
    fn message(&self, table: &str, name: &str, number: u32) -> Message {
        let list = attributes(|builder| {
            builder.append_attr_str(nft::NFTA_SET_TABLE, table);
            builder.append_attr_str(nft::NFTA_SET_NAME, name);
            builder.append_attr_u32_be(nft::NFTA_SET_FLAGS, self.flags.bits());
            builder.append_attr_u32_be(nft::NFTA_SET_KEY_TYPE, self.key.type_id());
            builder.append_attr_u32_be(nft::NFTA_SET_KEY_LEN, self.key.len());
            let host = matches!(self.key, SetKeyType::Other { .. });
            let order = if host { HOST_ORDER } else { NETWORK_ORDER };
            let mut notes = [KEY_BYTE_ORDER.as_slice(), &order.to_ne_bytes()].concat();
            if let Some((kind, length)) = self.value {
                builder.append_attr_u32_be(nft::NFTA_SET_DATA_TYPE, kind);
                if length > 0 {
                    builder.append_attr_u32_be(nft::NFTA_SET_DATA_LEN, length);
                }
                notes.extend([VALUE_BYTE_ORDER.as_slice(), &NETWORK_ORDER.to_ne_bytes()].concat());
            }
            builder.append_attr(nft::NFTA_SET_USERDATA, &notes);
            builder.append_attr_u32_be(nft::NFTA_SET_ID, number);
            if let Some(size) = self.size {
                nest(builder, nft::NFTA_SET_DESC, |builder| {
                    builder.append_attr_u32_be(nft::NFTA_SET_DESC_SIZE, u32::try_from(size).unwrap_or(u32::MAX));
                });
            }
        });
        raw(nft::NFT_MSG_NEWSET, CREATE | EXCLUSIVE, list)
    }
}

fn raw(kind: u8, flags: u16, attributes: Vec<u8>) -> Message {
    Message::Raw(RawMessage::new(kind, nft::Family::Inet).flags(flags).attrs(attributes))
}

/// The sets that belong to rules.
struct Anonymous<'a> {
    table: &'a str,
    messages: Vec<Message>,
    next: u32,
}

/// How a rule names an anonymous set.
struct Reference {
    name: &'static str,
    number: u32,
}

impl Anonymous<'_> {
    /// A set of single values.
    fn set(&mut self, kind: Kind, members: &[Datum]) -> Reference {
        let key = key_type(kind);
        let members: Vec<(Vec<u8>, Option<Vec<u8>>)> = members.iter().map(|one| (bytes(one), None)).collect();
        self.make("__set%d", key, None, &members)
    }

    /// A map from 0, 1, 2, ... to addresses of one family.
    fn numbered(&mut self, family: Family, addresses: &[std::net::IpAddr]) -> Reference {
        let value = key_type(Kind::Address(family));
        let entry = |(number, address): (u32, &std::net::IpAddr)| {
            (number.to_ne_bytes().to_vec(), Some(bytes(&Datum::Address(*address))))
        };
        let members: Vec<_> = (0..).zip(addresses).map(entry).collect();
        self.make("__map%d", SetKeyType::Other { type_id: TYPE_INTEGER, len: 4 }, Some(value), &members)
    }

    fn make(
        &mut self,
        name: &'static str,
        key: SetKeyType,
        value: Option<SetKeyType>,
        members: &[(Vec<u8>, Option<Vec<u8>>)],
    ) -> Reference {
        let number = self.next;
        self.next += 1;
        let table = self.table;
        let flags = SetFlags::ANONYMOUS | SetFlags::CONSTANT;
        let flags = if value.is_some() { flags | SetFlags::MAP } else { flags };
        let value = value.map(|value| (value.type_id(), value.len()));
        self.messages.push(SetType { flags, key, value, size: Some(members.len()) }.message(table, name, number));
        for some in members.chunks(MEMBERS) {
            let list = attributes(|builder| {
                builder.append_attr_str(nft::NFTA_SET_ELEM_LIST_TABLE, table);
                builder.append_attr_str(nft::NFTA_SET_ELEM_LIST_SET, name);
                builder.append_attr_u32_be(SET_ELEM_LIST_SET_ID, number);
                nest(builder, nft::NFTA_SET_ELEM_LIST_ELEMENTS, |builder| {
                    for (key, value) in some {
                        nest(builder, nft::NFTA_LIST_ELEM, |builder| {
                            let datum = |builder: &mut MessageBuilder, attribute, bytes: &[u8]| {
                                nest(builder, attribute, |builder| builder.append_attr(nft::NFTA_DATA_VALUE, bytes));
                            };
                            datum(builder, nft::NFTA_SET_ELEM_KEY, key);
                            if let Some(value) = value {
                                datum(builder, nft::NFTA_SET_ELEM_DATA, value);
                            }
                        });
                    }
                });
            });
            self.messages.push(raw(nft::NFT_MSG_NEWSETELEM, CREATE, list));
        }
        Reference { name, number }
    }
}

/// `NLM_F_CREATE` and `NLM_F_EXCL` (`linux/netlink.h`).
const CREATE: u16 = nix::libc::NLM_F_CREATE as u16;
const EXCLUSIVE: u16 = nix::libc::NLM_F_EXCL as u16;
