//! From the bytes of a question to the bytes of an answer. Pure; whatever comes in, it gives one of three answers.

use std::net::IpAddr;

use hickory_proto::op::{Edns, Message, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RecordType};

use super::names::{Family, Names, Rotation};
use super::{DnsView, forward};

/// How long an answer may be kept, in seconds: Docker's.
const TTL: u32 = 600;
/// Length of a message's header (RFC 1035, 4.1.1).
const HEADER: usize = 12;
/// Largest reply by UDP without EDNS (RFC 1035, 2.3.4).
const SMALL_UDP: u16 = 512;
/// Largest reply by UDP, whatever the asker says that it can take. A longer one goes by TCP.
const LARGEST_UDP: u16 = 4096;
/// Longest name, in bytes as it goes over the wire (RFC 1035, 2.3.4).
const LONGEST_NAME: usize = 255;
/// Length of an OPT record without options (RFC 6891, 6.1.2).
const OPT: usize = 11;
/// The name of an answer: a pointer to that of the question, which follows the header (RFC 1035, 4.1.4).
const POINTER_TO_QUESTION: [u8; 2] = [0xc0, HEADER as u8];
/// Length of what stands before a record's data: name, type, class, time to live, length.
const BEFORE_DATA: usize = 12;
/// The bit that says that a message is a reply; in the header's third byte.
const QR: u8 = 0x80;

/// How the question came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// In a datagram: the reply must fit what the asker can take, else it says so and is asked for again by TCP.
    Udp,
    /// In a stream: up to 65,535 bytes.
    Tcp,
}

/// What to do with a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Send this message.
    Reply(Vec<u8>),
    /// Ask the view's upstream servers. Only given if the view allows it and has one.
    Forward,
    /// Say nothing: these bytes ask nothing (too short for a header, or themselves a reply).
    Ignore,
}

/// Answers one message from what the view's networks know.
pub fn answer(names: &Names, view: &DnsView, query: &[u8], transport: Transport, rotation: &mut Rotation) -> Answer {
    let asked = match parse(query) {
        Ok(asked) => asked,
        Err(answer) => return answer,
    };
    let Some(question) = asked.queries.first() else { return Answer::Ignore };
    if asked.edns.as_ref().is_some_and(|edns| edns.version() != 0) {
        return reply(&asked, query, ResponseCode::BADVERS, &[], transport);
    }
    match records(names, view, question, rotation) {
        Some(records) => reply(&asked, query, ResponseCode::NoError, &records, transport),
        None if view.forward && !view.upstream.is_empty() => Answer::Forward,
        None => reply(&asked, query, ResponseCode::ServFail, &[], transport),
    }
}

/// The reply that something went wrong with a question that was well-formed.
pub(super) fn failure(query: &[u8], code: ResponseCode) -> Option<Vec<u8>> {
    match reply(&parse(query).ok()?, query, code, &[], Transport::Udp) {
        Answer::Reply(bytes) => Some(bytes),
        _ => None,
    }
}

/// A query with exactly one question, or what to say to one that is none.
fn parse(query: &[u8]) -> Result<Message, Answer> {
    let Some(header) = query.first_chunk::<HEADER>() else { return Err(Answer::Ignore) };
    let is_reply = header[2] & QR != 0;
    if is_reply {
        return Err(Answer::Ignore);
    }
    let opcode = (header[2] >> 3) & 0xf;
    if opcode != u8::from(OpCode::Query) {
        return Err(Answer::Reply(bare(header, ResponseCode::NotImp)));
    }
    let count = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
    // a question has no answers; what else may come along with it is EDNS and a signature
    let shape = count(4) == 1 && count(6) == 0 && count(8) == 0 && count(10) <= 2;
    if shape
        && forward::question(query).is_some()
        && let Ok(message) = Message::from_vec(query)
    {
        return Ok(message);
    }
    Err(Answer::Reply(bare(header, ResponseCode::FormErr)))
}

/// A reply that is only a header, to a message whose rest cannot be trusted.
fn bare(header: &[u8; HEADER], code: ResponseCode) -> Vec<u8> {
    let mut reply = [0; HEADER];
    reply[..2].copy_from_slice(&header[..2]);
    // QR set; opcode and RD as they came
    reply[2] = QR | (header[2] & 0x79);
    reply[3] = code.low();
    reply.to_vec()
}

/// What one answer record says: its type, and its data as it goes over the wire.
struct Data(RecordType, Vec<u8>);

/// The data that answers the question; none when the name is known without such records, `None` when it is not known.
fn records(names: &Names, view: &DnsView, question: &Query, rotation: &mut Rotation) -> Option<Vec<Data>> {
    if !matches!(question.query_class(), DNSClass::IN | DNSClass::ANY) {
        return None;
    }
    let name = question.name();
    let family = match question.query_type() {
        RecordType::A => Family::V4,
        RecordType::AAAA => Family::V6,
        RecordType::PTR => {
            let target = names.reverse(view, arpa_address(name)?)?;
            return Some(vec![Data(RecordType::PTR, wire_name(target)?)]);
        }
        _ => return names.knows(view, &text(name)?).then(Vec::new),
    };
    let text = text(name)?;
    let mut addresses = names.resolve(view, &text, family)?;
    rotation.turn(&text, family, &mut addresses);
    let data = |address| match address {
        IpAddr::V4(ip) => Data(RecordType::A, ip.octets().to_vec()),
        IpAddr::V6(ip) => Data(RecordType::AAAA, ip.octets().to_vec()),
    };
    Some(addresses.into_iter().map(data).collect())
}

/// A name as our tables spell it: lower case, no final dot. `None` for one with bytes that no name of ours has; a dot
/// within a label must not be taken for one between labels.
fn text(name: &Name) -> Option<String> {
    let mut text = String::with_capacity(64);
    for label in name.iter() {
        let label = std::str::from_utf8(label).ok()?;
        if label.contains('.') {
            return None;
        }
        if !text.is_empty() {
            text.push('.');
        }
        text.push_str(&label.to_ascii_lowercase());
    }
    (!text.is_empty()).then_some(text)
}

/// The address that `4.3.2.1.in-addr.arpa` or `....ip6.arpa` stands for, if it is a whole one.
fn arpa_address(name: &Name) -> Option<IpAddr> {
    let network = name.parse_arpa_name().ok()?;
    (network.prefix_len() == network.max_prefix_len()).then(|| network.addr())
}

/// A name from our tables for the wire. `None` when a label has no or more than 63 bytes, or all have more than 255.
fn wire_name(text: &str) -> Option<Vec<u8>> {
    let mut wire = Vec::with_capacity(text.len() + 2);
    for label in text.strip_suffix('.').unwrap_or(text).split('.') {
        wire.push(u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?);
        wire.extend(label.as_bytes());
    }
    wire.push(0);
    (wire.len() <= LONGEST_NAME).then_some(wire)
}

/// Writes a reply: header, the question as it was asked, the records that fit, and EDNS if it was asked with EDNS.
fn reply(asked: &Message, query: &[u8], code: ResponseCode, records: &[Data], transport: Transport) -> Answer {
    let Some((name, kind)) = forward::question(query) else { return Answer::Ignore };
    let edns = asked.edns.as_ref();
    let limit = match transport {
        Transport::Tcp => u16::MAX,
        Transport::Udp => edns.map_or(SMALL_UDP, Edns::max_payload).clamp(SMALL_UDP, LARGEST_UDP),
    };
    let mut reply = Vec::with_capacity(SMALL_UDP.into());
    reply.extend([0; HEADER]);
    reply.extend(name);
    reply.extend(kind);
    let room = usize::from(limit) - edns.map_or(0, |_| OPT);
    let mut written = 0_u16;
    let mut truncated = false;
    for Data(kind, data) in records {
        if reply.len() + BEFORE_DATA + data.len() > room {
            truncated = true;
            break;
        }
        reply.extend(POINTER_TO_QUESTION);
        reply.extend(u16::from(*kind).to_be_bytes());
        reply.extend(u16::from(DNSClass::IN).to_be_bytes());
        reply.extend(TTL.to_be_bytes());
        // far below 65,536: it fits the message
        reply.extend(u16::try_from(data.len()).unwrap_or(0).to_be_bytes());
        reply.extend(data);
        written += 1;
    }
    if let Some(edns) = edns {
        // root name, type, our payload size in place of a class, upper code, version 0, DO as it came, no options
        reply.push(0);
        reply.extend(u16::from(RecordType::OPT).to_be_bytes());
        reply.extend(LARGEST_UDP.to_be_bytes());
        reply.extend([code.high(), 0, u8::from(edns.flags().dnssec_ok) << 7, 0, 0, 0]);
    }
    reply[..2].copy_from_slice(&asked.metadata.id.to_be_bytes());
    reply[2] = QR | (u8::from(truncated) << 1) | u8::from(asked.metadata.recursion_desired);
    let recursion_available = u8::from(code == ResponseCode::NoError) << 7;
    reply[3] = recursion_available | (u8::from(asked.metadata.checking_disabled) << 4) | code.low();
    reply[5] = 1;
    reply[6..8].copy_from_slice(&written.to_be_bytes());
    reply[11] = u8::from(edns.is_some());
    Answer::Reply(reply)
}
