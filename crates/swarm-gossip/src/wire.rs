//! What nodes say to each other, and its encoding: MessagePack, structures as arrays, so that fields may be added at
//! the end of each. Whatever is decoded here has passed [`limits`](crate::limits).
//!
//! A payload begins with the format's version and the kind of what follows: a packet of SWIM or a [`Frame`].

use std::io;

use bytes::{Buf, BufMut};
use foca::{Header, Member, Message, State};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use swarm_types::{EndpointRecord, NetworkId, NetworkPeer, NodeId};

use crate::identity::{Identity, Life};
use crate::limits;

/// The format's version; others are refused.
const VERSION: u8 = 1;
/// What follows is a packet of SWIM.
const SWIM: u8 = 0;
/// What follows is a [`Frame`].
const FRAME: u8 = 1;
/// How many bytes stand before a packet of SWIM.
pub(crate) const HEAD: usize = 2;
/// How deep an encoding may be nested; ours are less than half as deep.
const MAX_DEPTH: usize = 32;

/// A node id as 16 bytes in place of 25 digits.
mod node_id {
    use serde::{Deserialize, Deserializer, Serializer};
    use swarm_types::NodeId;

    pub(super) fn serialize<S: Serializer>(id: &NodeId, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u128(id.bits())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<NodeId, D::Error> {
        u128::deserialize(deserializer).map(NodeId::from_bits)
    }
}

/// [`Identity`] as it is encoded.
#[derive(Serialize, Deserialize)]
struct WireIdentity {
    #[serde(with = "node_id")]
    id: NodeId,
    name: String,
    addr: std::net::SocketAddr,
    data_path: std::net::IpAddr,
    life: Life,
}

impl Serialize for Identity {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let NetworkPeer { id, name, addr, data_path } = self.peer.clone();
        WireIdentity { id, name, addr, data_path, life: self.life }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Identity {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let WireIdentity { id, name, addr, data_path, life } = WireIdentity::deserialize(deserializer)?;
        let identity = Self { peer: NetworkPeer { id, name, addr, data_path }, life };
        if identity.is_valid() { Ok(identity) } else { Err(serde::de::Error::custom("not a node's identity")) }
    }
}

/// One message beside SWIM's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Frame {
    /// Who speaks.
    pub from: Identity,
    /// What it says.
    pub body: Body,
}

/// What is said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Body {
    /// I am here; and this is how you stand with me, if I know you.
    Hello {
        /// The receiver's identity as the sender knows it.
        you: Option<Standing>,
        /// Whether an answer is wanted: a hello.
        answer: bool,
    },
    /// I go.
    Bye,
    /// What changed among a node's records.
    Delta(Delta),
    /// How much I know of these nodes' records. Who knows more sends it.
    Digest {
        /// At most [`MAX_SUMMARIES`].
        summaries: Vec<Summary>,
        /// A digest of the sender's live members and itself, if it speaks of all of them.
        members: Option<u64>,
        /// Whether the receiver shall say of which it knows less.
        answer: bool,
    },
}

/// How a node stands with another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Standing {
    /// Which node.
    #[serde(with = "node_id")]
    pub node: NodeId,
    /// Its latest known life.
    pub life: Life,
    /// Its incarnation in SWIM's sense: what a suspect has to exceed.
    pub incarnation: u16,
    /// What it is held to be.
    pub state: MemberState,
}

/// What a node is held to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum MemberState {
    Alive,
    /// It will be down unless it objects.
    Suspect,
    Down,
}

/// A digest of who lives: equal for nodes that see the same members in the same lives, in whatever order.
pub(crate) fn members_digest<'a>(members: impl Iterator<Item = &'a Identity>) -> u64 {
    members.fold(0, |sum, member| {
        let bits = member.node().bits();
        let words = [(bits >> 64) as u64, bits as u64, member.life.generation, member.life.renewal.into()];
        let mixed = words.into_iter().fold(0, |state, word| swarm_types::IdSource::from_seed(state ^ word).next_u64());
        sum.wrapping_add(mixed)
    })
}

/// How much a node knows of one node's records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Summary {
    /// Whose records.
    #[serde(with = "node_id")]
    pub owner: NodeId,
    /// Of which life.
    pub generation: u64,
    /// All changes up to this version are known.
    pub complete: u64,
    /// If the owner speaks: removals up to this version are forgotten.
    pub floor: u64,
}

/// The most summaries of one digest: they fit a datagram.
pub(crate) const MAX_SUMMARIES: usize = 24;

/// Changes of one node's records: every record and removal whose latest version lies above `after` and not above
/// `through`. Later ones may be among them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Delta {
    /// Whose records.
    #[serde(with = "node_id")]
    pub owner: NodeId,
    /// Of which life.
    pub generation: u64,
    /// If the owner speaks: removals up to this version are forgotten.
    pub floor: u64,
    /// Below the first change, 0 for all.
    pub after: u64,
    /// Not below the last change.
    pub through: u64,
    /// All records are listed and no removals: what is older than `through` and not listed is gone. Goes with `after` 0.
    pub whole: bool,
    /// How often this shall be passed on to further nodes.
    pub hops: u8,
    /// The changes in the order of their versions.
    pub entries: Vec<Entry>,
}

/// The most times a change is passed on.
pub(crate) const MAX_HOPS: u8 = 3;

/// An owner's word on one endpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Entry {
    /// When it was said.
    pub version: u64,
    /// What was said.
    pub word: Word,
}

/// What an owner says of an endpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Word {
    /// It is there.
    Here(EndpointRecord),
    /// It is gone.
    Gone(NetworkId, String),
}

impl Word {
    /// Which endpoint.
    pub(crate) fn key(&self) -> (NetworkId, String) {
        match self {
            Self::Here(record) => (record.network, record.id.clone()),
            Self::Gone(network, id) => (*network, id.clone()),
        }
    }

    fn is_valid(&self) -> bool {
        match self {
            Self::Here(record) => limits::record_is_valid(record),
            Self::Gone(_, id) => limits::id_is_valid(id),
        }
    }
}

impl Delta {
    fn is_valid(&self) -> bool {
        let bounds = self.after <= self.through && self.through <= Life::LAST_GENERATION && self.floor <= self.through;
        let ascending = self.entries.windows(2).all(|pair| pair[0].version < pair[1].version);
        let above = self.entries.first().is_none_or(|entry| entry.version > self.after);
        let end = self.entries.last().is_none_or(|entry| entry.version <= Life::LAST_GENERATION);
        let whole = !self.whole || (self.after == 0 && self.entries.iter().all(|e| matches!(e.word, Word::Here(_))));
        let keys: std::collections::BTreeSet<_> = self.entries.iter().map(|entry| entry.word.key()).collect();
        bounds
            && ascending
            && above
            && end
            && whole
            && self.hops <= MAX_HOPS
            && self.entries.len() <= limits::MAX_ENTRIES
            && keys.len() == self.entries.len()
            && self.entries.iter().all(|entry| entry.word.is_valid())
    }
}

impl Body {
    fn is_valid(&self) -> bool {
        match self {
            Self::Hello { you, .. } => you.is_none_or(|you| you.life.is_valid()),
            Self::Bye => true,
            Self::Delta(delta) => delta.is_valid(),
            Self::Digest { summaries, .. } => {
                let sound = |one: &Summary| one.floor <= one.complete && one.complete <= Life::LAST_GENERATION;
                let alive = |one: &Summary| (1..=Life::LAST_GENERATION).contains(&one.generation);
                summaries.len() <= MAX_SUMMARIES && summaries.iter().all(|one| sound(one) && alive(one))
            }
        }
    }
}

/// A payload that says nothing a node could have said.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed gossip: {0}")]
pub(crate) struct Malformed(String);

/// A payload, opened.
#[derive(Debug, PartialEq)]
pub(crate) enum Payload<'a> {
    /// A packet of SWIM, for foca.
    Swim(&'a [u8]),
    /// One of ours.
    Frame(Box<Frame>),
}

/// A value and how many bytes it took.
fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<(T, usize), Malformed> {
    let mut rest = bytes;
    let mut deserializer = rmp_serde::Deserializer::new(&mut rest);
    deserializer.set_max_depth(MAX_DEPTH);
    let value = T::deserialize(&mut deserializer).map_err(|error| Malformed(error.to_string()))?;
    Ok((value, bytes.len() - rest.len()))
}

/// Reads a payload.
pub(crate) fn open(payload: &[u8]) -> Result<Payload<'_>, Malformed> {
    match payload {
        [VERSION, SWIM, packet @ ..] => Ok(Payload::Swim(packet)),
        [VERSION, FRAME, frame @ ..] => {
            let (frame, read) = decode::<Frame>(frame)?;
            if HEAD + read != payload.len() {
                return Err(Malformed("bytes after the end".into()));
            }
            if !frame.body.is_valid() {
                return Err(Malformed("out of bounds".into()));
            }
            Ok(Payload::Frame(Box::new(frame)))
        }
        [version, ..] => Err(Malformed(format!("format {version}"))),
        [] => Err(Malformed("empty".into())),
    }
}

/// The payload of a packet of SWIM.
pub(crate) fn swim_payload(packet: &[u8]) -> Vec<u8> {
    [&[VERSION, SWIM], packet].concat()
}

/// The payload of a frame; `None` if a value cannot be encoded, which ours all can.
pub(crate) fn frame_payload(frame: &Frame) -> Option<Vec<u8>> {
    let mut payload = vec![VERSION, FRAME];
    rmp_serde::encode::write(&mut payload, frame).ok()?;
    Some(payload)
}

/// Counts what is written.
struct Counter(usize);

impl io::Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How many bytes a value takes.
pub(crate) fn encoded_len(value: &impl Serialize) -> usize {
    let mut counter = Counter(0);
    // What cannot be encoded is as good as too long.
    rmp_serde::encode::write(&mut counter, value).map_or(usize::MAX / 4, |()| counter.0)
}

/// How foca's packets are written and read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SwimCodec;

#[derive(Serialize, Deserialize)]
enum WireMessage {
    Ping(u8),
    Ack(u8),
    PingReq(Identity, u8),
    IndirectPing(Identity, u8),
    IndirectAck(Identity, u8),
    ForwardedAck(Identity, u8),
    Announce,
    Feed,
    Gossip,
    Broadcast,
    TurnUndead,
}

impl From<&Message<Identity>> for WireMessage {
    fn from(message: &Message<Identity>) -> Self {
        match message.clone() {
            Message::Ping(number) => Self::Ping(number),
            Message::Ack(number) => Self::Ack(number),
            Message::PingReq { target, probe_number } => Self::PingReq(target, probe_number),
            Message::IndirectPing { origin, probe_number } => Self::IndirectPing(origin, probe_number),
            Message::IndirectAck { target, probe_number } => Self::IndirectAck(target, probe_number),
            Message::ForwardedAck { origin, probe_number } => Self::ForwardedAck(origin, probe_number),
            Message::Announce => Self::Announce,
            Message::Feed => Self::Feed,
            Message::Gossip => Self::Gossip,
            Message::Broadcast => Self::Broadcast,
            Message::TurnUndead => Self::TurnUndead,
        }
    }
}

impl From<WireMessage> for Message<Identity> {
    fn from(message: WireMessage) -> Self {
        match message {
            WireMessage::Ping(number) => Self::Ping(number),
            WireMessage::Ack(number) => Self::Ack(number),
            WireMessage::PingReq(target, probe_number) => Self::PingReq { target, probe_number },
            WireMessage::IndirectPing(origin, probe_number) => Self::IndirectPing { origin, probe_number },
            WireMessage::IndirectAck(target, probe_number) => Self::IndirectAck { target, probe_number },
            WireMessage::ForwardedAck(origin, probe_number) => Self::ForwardedAck { origin, probe_number },
            WireMessage::Announce => Self::Announce,
            WireMessage::Feed => Self::Feed,
            WireMessage::Gossip => Self::Gossip,
            WireMessage::Broadcast => Self::Broadcast,
            WireMessage::TurnUndead => Self::TurnUndead,
        }
    }
}

impl SwimCodec {
    fn put(value: &impl Serialize, mut buffer: impl BufMut) -> Result<(), Malformed> {
        let bytes = rmp_serde::to_vec(value).map_err(|error| Malformed(error.to_string()))?;
        if buffer.remaining_mut() < bytes.len() {
            return Err(Malformed("does not fit".into()));
        }
        buffer.put_slice(&bytes);
        Ok(())
    }

    fn take<T: DeserializeOwned>(mut buffer: impl Buf) -> Result<T, Malformed> {
        // foca hands over one slice, so the chunk is all there is.
        let (value, read) = decode(buffer.chunk())?;
        buffer.advance(read);
        Ok(value)
    }
}

impl foca::Codec<Identity> for SwimCodec {
    type Error = Malformed;

    fn encode_header(&mut self, header: &Header<Identity>, buffer: impl BufMut) -> Result<(), Malformed> {
        let message = WireMessage::from(&header.message);
        Self::put(&(&header.src, header.src_incarnation, &header.dst, message), buffer)
    }

    fn decode_header(&mut self, buffer: impl Buf) -> Result<Header<Identity>, Malformed> {
        let (src, src_incarnation, dst, message): (_, _, _, WireMessage) = Self::take(buffer)?;
        Ok(Header { src, src_incarnation, dst, message: message.into() })
    }

    fn encode_member(&mut self, member: &Member<Identity>, buffer: impl BufMut) -> Result<(), Malformed> {
        let state = match member.state() {
            State::Alive => 0u8,
            State::Suspect => 1,
            State::Down => 2,
        };
        Self::put(&(member.id(), member.incarnation(), state), buffer)
    }

    fn decode_member(&mut self, buffer: impl Buf) -> Result<Member<Identity>, Malformed> {
        let (id, incarnation, state): (_, _, u8) = Self::take(buffer)?;
        let state = match state {
            0 => State::Alive,
            1 => State::Suspect,
            2 => State::Down,
            _ => return Err(Malformed(format!("a member's state {state}"))),
        };
        Ok(Member::new(id, incarnation, state))
    }
}

/// The identities that a packet of SWIM speaks of, its sender's first, without handing it to foca.
pub(crate) fn swim_identities(mut packet: &[u8]) -> Result<Vec<Identity>, Malformed> {
    let mut codec = SwimCodec;
    let header = foca::Codec::decode_header(&mut codec, &mut packet)?;
    let mut found = vec![header.src];
    if packet.remaining() >= 2 && header.message != Message::Broadcast {
        for _ in 0..packet.get_u16() {
            found.push(foca::Codec::decode_member(&mut codec, &mut packet)?.id().clone());
        }
    }
    Ok(found)
}
