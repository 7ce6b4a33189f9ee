//! Certificates: the swarm's root, the nodes' own, and what TLS makes of them.
//!
//! A node certificate says who (`CN` = node id), what (`OU` = `swarm-manager` or `swarm-worker`) and of which swarm
//! (`O` = cluster id). Its role is also a DNS name in it, so that a client that asks for `swarm-manager` is refused by
//! TLS itself when a worker answers. Servers read the peer's identity from its certificate ([`Peer`]); what a role may
//! do is decided in `transport`. Join tokens are pure and live in `swarm_manager::ca`.

mod issue;
mod peer;
mod tls;

#[cfg(test)]
mod tests;

pub use issue::{NewKey, Root, issue_node_certificate, read_request};
pub use peer::{CertificateFacts, Peer};
pub use tls::{Credentials, joiner_config, root_digest};

use swarm_types::NodeRole;

/// The names of the roles in certificates.
pub const fn role_name(role: NodeRole) -> &'static str {
    match role {
        NodeRole::Manager => MANAGER_NAME,
        NodeRole::Worker => "swarm-worker",
    }
}

/// What managers' certificates are called.
pub const MANAGER_NAME: &str = "swarm-manager";

/// A certificate could not be made, read or trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CaError {
    /// The library refused.
    #[error("{what}: {reason}")]
    Crypto {
        /// What was tried.
        what: &'static str,
        /// Why not.
        reason: String,
    },
    /// A certificate that does not say what node certificates say.
    #[error("not a swarm node's certificate: {0}")]
    NotANode(&'static str),
}

impl CaError {
    fn new(what: &'static str) -> impl Fn(&dyn std::fmt::Display) -> Self {
        move |reason| Self::Crypto { what, reason: reason.to_string() }
    }
}
