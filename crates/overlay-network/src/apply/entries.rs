//! Neighbours and forwarding entries, many at a time.
//!
//! `nlink` builds forwarding entries of its own kind, but cannot remove those of a VXLAN link's own table in a batch.
//! Its batches take whatever describes itself as a neighbour, so the entries describe themselves.

use std::net::IpAddr;

use nix::libc;
use nlink::NeighborConfig;
use nlink::netlink::types::neigh::{NdMsg, NdaAttr, ntf, nud};
use nlink::netlink::{InterfaceRef, MessageBuilder, neigh};

use super::{Connection, NetError, netlink};
use crate::plan::{ForwardTo, ForwardingEntry, Neighbor};

/// Requests in one message to the kernel. It answers all of them before we read the first answer, into a buffer that
/// holds some 250 by default.
const BATCH: usize = 100;

/// One entry of a table, as the kernel wants it described.
struct Entry<'a, T> {
    link: &'a InterfaceRef,
    value: T,
}

fn append_ip(builder: &mut MessageBuilder, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => builder.append_attr(NdaAttr::Dst as u16, &ip.octets()),
        IpAddr::V6(ip) => builder.append_attr(NdaAttr::Dst as u16, &ip.octets()),
    }
}

impl Entry<'_, ForwardingEntry> {
    fn write(&self, builder: &mut MessageBuilder, index: u32, state: u16) {
        let table = match self.value.to {
            ForwardTo::Port => ntf::MASTER,
            ForwardTo::Remote(_) => ntf::SELF,
        };
        let header = NdMsg::new()
            .with_family(self.family())
            .with_ifindex(index.cast_signed())
            .with_state(state)
            .with_flags(table);
        builder.append(&header);
        builder.append_attr(NdaAttr::Lladdr as u16, &self.value.mac.0);
        if let ForwardTo::Remote(remote) = self.value.to {
            append_ip(builder, remote);
        }
    }
}

impl NeighborConfig for Entry<'_, ForwardingEntry> {
    fn interface_ref(&self) -> &InterfaceRef {
        self.link
    }

    fn family(&self) -> u8 {
        libc::AF_BRIDGE as u8
    }

    fn write_add(&self, builder: &mut MessageBuilder, index: u32) -> nlink::Result<()> {
        // in a bridge's table "permanent" would mean: an address of the port itself
        let state = match self.value.to {
            ForwardTo::Port => nud::NOARP,
            ForwardTo::Remote(_) => nud::PERMANENT,
        };
        self.write(builder, index, state);
        Ok(())
    }

    fn write_delete(&self, builder: &mut MessageBuilder, index: u32) -> nlink::Result<()> {
        self.write(builder, index, 0);
        Ok(())
    }
}

fn describe_neighbor(index: u32, entry: &Neighbor) -> neigh::Neighbor {
    neigh::Neighbor::with_index(index, entry.ip).lladdr(entry.mac.0).permanent()
}

/// Removes and adds permanent neighbours of a link. One that was gone, or there, already is no error.
pub(super) async fn change_neighbors(
    connection: &Connection,
    link: &str,
    remove: &[Neighbor],
    add: &[Neighbor],
) -> Result<(), NetError> {
    let index = index_of(connection, link).await?;
    for chunk in remove.chunks(BATCH) {
        let batch = chunk
            .iter()
            .fold(connection.batch(), |batch, entry| batch.del_neighbor(describe_neighbor(index, entry), index));
        let results = batch.execute().await.map_err(netlink(format!("remove neighbours of {link}")))?;
        if let Some((at, error)) = results.errors().find(|(_, error)| !error.is_not_found()) {
            return Err(refused(format!("remove neighbour {} of {link}", chunk[at].ip), error));
        }
    }
    for chunk in add.chunks(BATCH) {
        let batch = chunk
            .iter()
            .fold(connection.batch(), |batch, entry| batch.add_neighbor(describe_neighbor(index, entry), index));
        let results = batch.execute().await.map_err(netlink(format!("add neighbours to {link}")))?;
        for (at, error) in results.errors() {
            let what = || format!("add neighbour {} ({}) to {link}", chunk[at].ip, chunk[at].mac);
            match error.is_already_exists() {
                // one that the kernel noted by itself gives way
                true => connection
                    .replace_neighbor(describe_neighbor(index, &chunk[at]))
                    .await
                    .map_err(|error| refused(what(), &error))?,
                false => return Err(refused(what(), error)),
            }
        }
    }
    Ok(())
}

/// Removes and adds forwarding entries of a link. One that was gone, or there, already is no error.
pub(super) async fn change_forwarding(
    connection: &Connection,
    link: &str,
    remove: &[ForwardingEntry],
    add: &[ForwardingEntry],
) -> Result<(), NetError> {
    let index = index_of(connection, link).await?;
    let link_ref = InterfaceRef::Index(index);
    let describe = |entry: &ForwardingEntry| Entry { link: &link_ref, value: *entry };
    for chunk in remove.chunks(BATCH) {
        let batch = chunk.iter().fold(connection.batch(), |batch, entry| batch.del_neighbor(describe(entry), index));
        let results = batch.execute().await.map_err(netlink(format!("remove forwarding entries of {link}")))?;
        if let Some((at, error)) = results.errors().find(|(_, error)| !error.is_not_found()) {
            return Err(refused(format!("remove forwarding entry {} of {link}", chunk[at].mac), error));
        }
    }
    for chunk in add.chunks(BATCH) {
        let batch = chunk.iter().fold(connection.batch(), |batch, entry| batch.add_neighbor(describe(entry), index));
        let results = batch.execute().await.map_err(netlink(format!("add forwarding entries to {link}")))?;
        for (at, error) in results.errors() {
            let what = || format!("add forwarding entry {} to {link}", chunk[at].mac);
            match error.is_already_exists() {
                // one that the kernel noted by itself (an address learned elsewhere) gives way
                true => {
                    connection.replace_neighbor(describe(&chunk[at])).await.map_err(|error| refused(what(), &error))?
                }
                false => return Err(refused(what(), error)),
            }
        }
    }
    Ok(())
}

async fn index_of(connection: &Connection, link: &str) -> Result<u32, NetError> {
    let found = connection.get_link_by_name(link).await.map_err(netlink(format!("find link {link}")))?;
    found.map(|link| link.ifindex()).ok_or_else(|| NetError::Invalid(format!("link {link} is not there")))
}

fn refused(what: String, error: &nlink::Error) -> NetError {
    NetError::Netlink { what, why: error.to_string(), code: error.errno() }
}
