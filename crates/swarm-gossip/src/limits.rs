//! How much a node takes from others, and what it refuses to say itself since they would not take it.

use std::net::{IpAddr, SocketAddr};

use swarm_types::{EndpointRecord, NetworkPeer, ServiceBinding};

/// The most bytes of a datagram's payload: with what sealing adds it fits an Ethernet frame.
pub const MAX_DATAGRAM: usize = 1400;
/// The most bytes of a stream's payload.
pub const MAX_STREAM: usize = 4 << 20;
/// The most nodes that are known at once, those that are down included.
pub const MAX_NODES: usize = 1000;
/// The most records of one node.
pub const MAX_RECORDS: usize = 4096;
/// The most records and not yet forgotten removals of one node.
pub(crate) const MAX_ENTRIES: usize = 2 * MAX_RECORDS;
/// The most encoded bytes that one node's records have together, so that all of them fit one stream.
pub const MAX_RECORDS_BYTES: usize = 3 << 20;
/// The most encoded bytes of one record.
pub const MAX_RECORD_BYTES: usize = 64 << 10;
/// The most addresses to greet.
pub const MAX_SEEDS: usize = 64;
/// The most bytes of a node's name; a longer one is cut.
pub const MAX_NODE_NAME: usize = 64;
/// The most bytes of a record's id.
pub const MAX_ID: usize = 128;
/// The most bytes of any other name: that of a DNS name.
pub const MAX_NAME: usize = 255;

const MAX_ADDRESSES: usize = 16;
const MAX_ALIASES: usize = 128;
const MAX_PORTS: usize = 512;

/// Whether one can send to this address at all.
fn address_is_valid(addr: IpAddr) -> bool {
    !addr.is_unspecified() && !addr.is_multicast() && addr != IpAddr::V4(std::net::Ipv4Addr::BROADCAST)
}

pub(crate) fn target_is_valid(addr: SocketAddr) -> bool {
    addr.port() != 0 && address_is_valid(addr.ip())
}

pub(crate) fn peer_is_valid(peer: &NetworkPeer) -> bool {
    peer.name.len() <= MAX_NODE_NAME && target_is_valid(peer.addr) && address_is_valid(peer.data_path)
}

/// `name`, cut to what others take.
pub(crate) fn cut_node_name(name: &str) -> &str {
    let mut end = name.len().min(MAX_NODE_NAME);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    &name[..end]
}

pub(crate) fn id_is_valid(id: &str) -> bool {
    (1..=MAX_ID).contains(&id.len())
}

pub(crate) fn record_is_valid(record: &EndpointRecord) -> bool {
    let name = |name: &String| name.len() <= MAX_NAME;
    let names = |names: &[String]| names.len() <= MAX_ALIASES && names.iter().all(name);
    let service = |service: &ServiceBinding| {
        name(&service.name)
            && names(&service.aliases)
            && service.virtual_ips.len() <= MAX_ADDRESSES
            && service.ports.len() <= MAX_PORTS
            && service.ports.iter().all(|port| name(&port.name))
    };
    id_is_valid(&record.id)
        && name(&record.name)
        && names(&record.aliases)
        && record.addresses.len() <= MAX_ADDRESSES
        && record.service.as_ref().is_none_or(service)
}
