//! Discovery by names: the server that a container on a user-defined network finds at 127.0.0.11.
//!
//! [`Names`] and [`answer()`] are pure: tables and bytes in, bytes out. [`DnsServers`] is the part with sockets. It keeps
//! to what Docker's embedded server does (observed, and read from its sources as of 28.x):
//!
//! - A name is sought on the container's networks in their order; the first one that has addresses of the wanted family
//!   for it answers. `NAME.NETWORK` names a network explicitly. Case does not matter.
//! - A known name without addresses of the wanted family is answered empty with NOERROR, and never leaves the node.
//! - Answers live for 600 seconds, hold all addresses, and begin with another one each time. (Docker draws an order at
//!   random. Here they take turns, so that an even spread can be seen with few questions.)
//! - What is unknown goes to the upstream servers of the container; on internal networks, and when no server gives a
//!   usable answer, the reply is SERVFAIL.
//!
//! Differences: other types than A, AAAA and PTR for known names are answered empty, where Docker asks upstream for all
//! but MX; requests with EDNS get replies with EDNS (RFC 6891), Docker's come without; the case of a network's name does
//! not matter either.
//!
//! Leaves out: zone transfers, notifications and updates (NOTIMP), DNSSEC, caching (upstream servers cache), SRV of
//! services, and `--dns` servers that are reachable only from within the container: all are asked from the node. A
//! container that itself wants to listen on port 53 of every address cannot: the port of 127.0.0.11 is taken directly,
//! not by rules that would put connection tracking under every packet.

use std::net::SocketAddr;

mod answer;
mod forward;
mod lookup;
mod names;
mod server;
#[cfg(test)]
mod tests;

pub use answer::{Answer, Transport, answer};
pub use lookup::{Wanted, lookup};
pub use names::{NameEntry, Names, Rotation};
pub use server::{ADDRESS, DnsServers};

/// What one container may know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DnsView {
    /// Its networks, key (as given to [`Names::set_network`]) and name, in the order in which they are asked. Docker's
    /// order on a swarm node: overlays, then ingress, then local networks.
    pub networks: Vec<(String, String)>,
    /// Servers that are asked, from the node's namespace, for what the networks do not know. The first three count, as
    /// in Docker and in resolv.conf(5).
    pub upstream: Vec<SocketAddr>,
    /// Whether to ask them at all: false for a container that is on internal networks only.
    pub forward: bool,
}
