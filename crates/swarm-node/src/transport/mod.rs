//! Everything between nodes: one TLS listener on each manager, and connections to it.
//!
//! A connection begins with a [`wire::Hello`] that says what it is for. What may follow depends on the certificate that
//! the client presented ([`wire::Request::allowed`]): without one it may fetch the root certificate and ask for a
//! certificate of its own, as a worker open an agent's session, as a manager also exchange raft messages and forward
//! requests. Messages are length-prefixed MessagePack, bounded in size before they are read. What the messages mean is
//! decided in `core`.

mod connection;
mod listen;
mod raft_link;
pub mod wire;

#[cfg(test)]
mod tests;

pub use connection::{Connection, Receiving, Sending, dial, dial_local_addr};
pub use listen::{Incoming, Listener};
pub use raft_link::RaftLink;

/// The port that managers listen on.
pub const SWARM_PORT: u16 = 2377;

/// Why a connection does not work.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// No connection.
    #[error("dial tcp {addr}: {source}")]
    Connect {
        /// To where.
        addr: String,
        /// Why.
        source: std::io::Error,
    },
    /// No TLS with who answered.
    #[error("tls with {addr}: {source}")]
    Tls {
        /// With whom.
        addr: String,
        /// Why.
        source: std::io::Error,
    },
    /// It ended, or the network failed.
    #[error("connection lost: {0}")]
    Lost(#[from] std::io::Error),
    /// It was closed where more was expected.
    #[error("the other side closed the connection")]
    Closed,
    /// Not what this program speaks.
    #[error("unreadable message from the other side: {0}")]
    Malformed(String),
    /// More than is allowed.
    #[error("a message of {length} bytes is larger than the {limit} allowed here")]
    TooLarge {
        /// Its length.
        length: usize,
        /// The limit.
        limit: usize,
    },
    /// No answer in time.
    #[error("no answer from {0} in time")]
    Timeout(String),
}
