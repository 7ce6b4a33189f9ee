//! A rule as the kernel runs it: a list of expressions that load fields of the packet into registers, compare them,
//! and decide. The same that `nft --debug=netlink` shows for the rule's text.

use std::net::IpAddr;

use nlink::netlink::nftables::{
    self as nft, ByteorderOp, ChainName, CmpOp, CtKey, CtState, CtStatus, Expr, FibFlags, FibResult, LookupExpr,
    MasqExpr, MetaKey, NatType, NumgenKind, PayloadBase, RawExpr, Register, Verdict,
};

use super::super::Protocol;
use super::super::table::*;
use super::{Anonymous, Reference, attributes, bytes, invalid, key_type};

/// `enum nft_lookup_attributes`: the number of the set within the transaction.
const LOOKUP_SET_ID: u16 = 4;
/// Everything is loaded here first. An IPv6 address fills it.
const FIRST: Register = Register::R0;
/// What is needed besides.
const SECOND: Register = Register::R1;

/// IANA's number of a transport protocol.
pub fn protocol_number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
        Protocol::Sctp => 132,
    }
}

/// The expressions of one rule.
pub struct Expressions<'a, 'b> {
    found: Vec<Expr>,
    anonymous: &'a mut Anonymous<'b>,
}

impl<'a, 'b> Expressions<'a, 'b> {
    /// What the kernel runs for the rule. Sets of its own go to `anonymous`, and have to be made before.
    pub fn of(rule: &Rule, anonymous: &'a mut Anonymous<'b>) -> Result<Vec<Expr>, nlink::Error> {
        let mut made = Self { found: Vec::new(), anonymous };
        for matched in &rule.matches {
            made.ask(matched)?;
        }
        made.act(&rule.action)?;
        Ok(made.found)
    }

    fn meta(&mut self, key: MetaKey, dreg: Register) {
        self.found.push(Expr::Meta { dreg, key });
    }

    fn compare(&mut self, op: CmpOp, data: impl Into<Vec<u8>>) {
        self.found.push(Expr::Cmp { sreg: FIRST, op, data: data.into() });
    }

    fn family(&mut self, family: Family) {
        self.meta(MetaKey::NfProto, FIRST);
        self.compare(CmpOp::Eq, [family_number(family)]);
    }

    fn protocol(&mut self, protocol: Protocol) {
        self.meta(MetaKey::L4Proto, FIRST);
        self.compare(CmpOp::Eq, [protocol_number(protocol)]);
    }

    fn field(&mut self, field: Field, dreg: Register) {
        let payload = |base, offset, len| Expr::Payload { dreg, base, offset, len };
        self.found.push(match field {
            Field::Address(Family::V4, End::Source) => payload(PayloadBase::Network, 12, 4),
            Field::Address(Family::V4, End::Destination) => payload(PayloadBase::Network, 16, 4),
            Field::Address(Family::V6, End::Source) => payload(PayloadBase::Network, 8, 16),
            Field::Address(Family::V6, End::Destination) => payload(PayloadBase::Network, 24, 16),
            Field::Port(End::Source) => payload(PayloadBase::Transport, 0, 2),
            Field::Port(End::Destination) => payload(PayloadBase::Transport, 2, 2),
            Field::Protocol => Expr::Meta { dreg, key: MetaKey::L4Proto },
            Field::Interface(Side::In) => Expr::Meta { dreg, key: MetaKey::IifName },
            Field::Interface(Side::Out) => Expr::Meta { dreg, key: MetaKey::OifName },
        });
    }

    /// Loads fields next to each other, as the key of a set; behind what keeps packets of another family out.
    fn key(&mut self, fields: &[Field]) -> Result<(), nlink::Error> {
        for field in fields {
            if let Field::Address(family, _) = field {
                self.family(*family);
            }
        }
        let mut word = 0;
        for field in fields {
            let register = Register::word(word).ok_or_else(|| invalid("a key longer than the registers"))?;
            self.field(*field, register);
            word += key_type(field.kind()).len().div_ceil(4) as usize;
        }
        Ok(())
    }

    /// Goes on when any of these bits is set.
    fn any_bit(&mut self, bits: u32) {
        let mask = bits.to_ne_bytes().to_vec();
        self.found.push(Expr::Bitwise { sreg: FIRST, dreg: FIRST, len: 4, mask, xor: vec![0; 4] });
        self.compare(CmpOp::Neq, [0; 4]);
    }

    fn ask(&mut self, matched: &Match) -> Result<(), nlink::Error> {
        match matched {
            Match::Family(family) => self.family(*family),
            Match::Transport(protocols) => {
                let members: Vec<Datum> = protocols.iter().map(|protocol| Datum::Protocol(*protocol)).collect();
                match protocols.first() {
                    Some(only) if protocols.len() == 1 => self.protocol(*only),
                    _ => {
                        self.meta(MetaKey::L4Proto, FIRST);
                        let set = self.anonymous.set(Kind::Protocol, &members);
                        self.found.push(lookup(&set, None));
                    }
                }
            }
            Match::Port(protocol, end, port) => {
                self.protocol(*protocol);
                self.field(Field::Port(*end), FIRST);
                self.compare(CmpOp::Eq, port.to_be_bytes());
            }
            Match::Network(end, address, prefix) => {
                let family = Family::of(*address);
                self.family(family);
                self.field(Field::Address(family, *end), FIRST);
                let bytes = bytes(&Datum::Address(*address));
                let len = bytes.len();
                if usize::from(*prefix) < 8 * len {
                    let mask = mask(*prefix, len);
                    let xor = vec![0; len];
                    self.found.push(Expr::Bitwise { sreg: FIRST, dreg: FIRST, len: len as u32, mask, xor });
                }
                self.compare(CmpOp::Eq, bytes);
            }
            Match::Interface(side, name, is) => {
                self.field(Field::Interface(*side), FIRST);
                self.compare(if *is { CmpOp::Eq } else { CmpOp::Neq }, bytes(&Datum::Interface(name.clone())));
            }
            Match::Member(fields, set) => {
                self.key(fields)?;
                self.found.push(LookupExpr::new(set.as_str(), FIRST).into());
            }
            Match::Established => {
                self.found.push(Expr::Ct { dreg: FIRST, key: CtKey::State });
                self.any_bit((CtState::ESTABLISHED | CtState::RELATED).bits());
            }
            Match::Translated => {
                self.found.push(Expr::Ct { dreg: FIRST, key: CtKey::Status });
                self.any_bit(CtStatus::DST_NAT.bits());
            }
            Match::LocalDestination => {
                self.found.push(Expr::Fib { dreg: FIRST, result: FibResult::AddrType, flags: FibFlags::DADDR });
                self.compare(CmpOp::Eq, u32::from(nix::libc::RTN_LOCAL).to_ne_bytes());
            }
            Match::Chance(chances) => {
                let (kind, modulus) = (NumgenKind::Random, CHANCES);
                self.found.push(Expr::Numgen { dreg: FIRST, kind, modulus, offset: 0 });
                // numbers are compared byte by byte, so the first has to be the one that counts most
                let (op, len, size) = (ByteorderOp::Hton, 4, 4);
                self.found.push(Expr::Byteorder { sreg: FIRST, dreg: FIRST, op, len, size });
                self.compare(CmpOp::Lt, chances.to_be_bytes());
            }
        }
        Ok(())
    }

    fn act(&mut self, action: &Action) -> Result<(), nlink::Error> {
        let reject = |reject_type, icmp_code| Expr::Reject { reject_type, icmp_code };
        match action {
            Action::Accept => self.found.push(Expr::Verdict(Verdict::Accept)),
            Action::Drop => self.found.push(Expr::Verdict(Verdict::Drop)),
            Action::Reset => self.found.push(reject(nft::NFT_REJECT_TCP_RST, 0)),
            Action::Unreachable => {
                self.found.push(reject(nft::NFT_REJECT_ICMPX_UNREACH, nft::NFT_REJECT_ICMPX_PORT_UNREACH));
            }
            Action::Untracked => self.found.push(Expr::Notrack),
            Action::Return => self.found.push(Expr::Verdict(Verdict::Return)),
            Action::Jump(chain) => {
                self.found.push(Expr::Verdict(Verdict::JumpTo(ChainName::new(chain.as_str())?)));
            }
            Action::Choose(fields, map) => {
                self.key(fields)?;
                self.found.push(LookupExpr::new(map.as_str(), FIRST).dreg(Register::Verdict).into());
            }
            Action::Masquerade => self.found.push(Expr::Masquerade(MasqExpr::new())),
            Action::Source(address) => self.translate_to(NatType::Snat, *address),
            Action::Destination(address) => self.translate_to(NatType::Dnat, *address),
            Action::Translate(family, fields, map) => {
                self.key(fields)?;
                self.found.push(LookupExpr::new(map.as_str(), FIRST).dreg(FIRST).into());
                // the map's value: the address, and in the next word the port
                let port = match family {
                    Family::V4 => Register::Reg32_01,
                    Family::V6 => Register::R1,
                };
                self.found.push(nat(NatType::Dnat, *family, FIRST, Some(port)));
            }
            Action::Balance(backends, port) => {
                let first = backends.first().ok_or_else(|| invalid("nothing to balance over"))?;
                let family = Family::of(*first);
                let modulus = u32::try_from(backends.len()).map_err(|_| invalid("too many backends"))?;
                let kind = NumgenKind::Incremental;
                self.found.push(Expr::Numgen { dreg: FIRST, kind, modulus, offset: 0 });
                let map = self.anonymous.numbered(family, backends);
                self.found.push(lookup(&map, Some(FIRST)));
                if let Some(port) = port {
                    self.found.push(Expr::Immediate { dreg: SECOND, data: port.to_be_bytes().to_vec() });
                }
                self.found.push(nat(NatType::Dnat, family, FIRST, port.map(|_| SECOND)));
            }
        }
        Ok(())
    }

    fn translate_to(&mut self, kind: NatType, address: IpAddr) {
        self.found.push(Expr::Immediate { dreg: FIRST, data: bytes(&Datum::Address(address)) });
        self.found.push(nat(kind, Family::of(address), FIRST, None));
    }
}

fn family_number(family: Family) -> u8 {
    match family {
        Family::V4 => nix::libc::NFPROTO_IPV4 as u8,
        Family::V6 => nix::libc::NFPROTO_IPV6 as u8,
    }
}

/// The bytes of a network mask.
fn mask(prefix: u8, bytes: usize) -> Vec<u8> {
    let ones = |index: usize| usize::from(prefix).saturating_sub(8 * index).min(8);
    (0..bytes).map(|index| (0xff00_u16 >> ones(index)) as u8).collect()
}

/// Looks the first register up in an anonymous set; in a map, puts the value into `value`.
fn lookup(set: &Reference, value: Option<Register>) -> Expr {
    let data = attributes(|builder| {
        builder.append_attr_str(nft::NFTA_LOOKUP_SET, set.name);
        builder.append_attr_u32_be(nft::NFTA_LOOKUP_SREG, FIRST.wire());
        if let Some(value) = value {
            builder.append_attr_u32_be(nft::NFTA_LOOKUP_DREG, value.wire());
        }
        builder.append_attr_u32_be(LOOKUP_SET_ID, set.number);
    });
    Expr::Raw(RawExpr::new("lookup", data))
}

/// Translation to what registers hold. `nlink`'s takes the port from the second register only; in a map's value it
/// is next to the address.
fn nat(kind: NatType, family: Family, address: Register, port: Option<Register>) -> Expr {
    let data = attributes(|builder| {
        builder.append_attr_u32_be(nft::NFTA_NAT_TYPE, kind as u32);
        builder.append_attr_u32_be(nft::NFTA_NAT_FAMILY, u32::from(family_number(family)));
        builder.append_attr_u32_be(nft::NFTA_NAT_REG_ADDR_MIN, address.wire());
        if let Some(port) = port {
            builder.append_attr_u32_be(nft::NFTA_NAT_REG_PROTO_MIN, port.wire());
        }
    });
    Expr::Raw(RawExpr::new("nat", data))
}
