//! What a certificate says.

use swarm_types::{ClusterId, NodeId, NodeRole, Timestamp};
use x509_parser::prelude::{FromDer, X509Certificate, X509Name};

use super::{CaError, MANAGER_NAME, role_name};

/// Who is at the other end of a connection, as its certificate says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// The node.
    pub node: NodeId,
    /// The role that its certificate was issued for.
    pub role: NodeRole,
    /// Its swarm.
    pub cluster: ClusterId,
}

/// A certificate's other facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFacts {
    /// Whose.
    pub peer: Peer,
    /// Valid from.
    pub not_before: Timestamp,
    /// Valid until.
    pub not_after: Timestamp,
    /// The issuer's name in DER.
    pub issuer: Vec<u8>,
}

impl CertificateFacts {
    /// Reads a node's certificate in DER.
    pub fn read(der: &[u8]) -> Result<Self, CaError> {
        let (_, certificate) = X509Certificate::from_der(der).map_err(|_| CaError::NotANode("it cannot be read"))?;
        let subject = certificate.subject();
        let node = one(subject.iter_common_name()).and_then(|name| name.parse().ok());
        let cluster = one(subject.iter_organization()).and_then(|name| name.parse().ok());
        let role = match one(subject.iter_organizational_unit()) {
            Some(MANAGER_NAME) => Some(NodeRole::Manager),
            Some(name) if name == role_name(NodeRole::Worker) => Some(NodeRole::Worker),
            _ => None,
        };
        let validity = certificate.validity();
        Ok(Self {
            peer: Peer {
                node: node.ok_or(CaError::NotANode("its common name is no node id"))?,
                role: role.ok_or(CaError::NotANode("its organizational unit is no role"))?,
                cluster: cluster.ok_or(CaError::NotANode("its organization is no cluster id"))?,
            },
            not_before: Timestamp::from_secs(validity.not_before.timestamp()),
            not_after: Timestamp::from_secs(validity.not_after.timestamp()),
            issuer: issuer_der(certificate.issuer()),
        })
    }
}

/// Subject and public key (both DER) of a root certificate: what nodes report as their issuer.
pub(super) fn subject_and_key(der: &[u8]) -> Result<(Vec<u8>, Vec<u8>), CaError> {
    let (_, certificate) = X509Certificate::from_der(der).map_err(|_| CaError::NotANode("the root cannot be read"))?;
    Ok((issuer_der(certificate.subject()), certificate.public_key().raw.to_vec()))
}

fn issuer_der(name: &X509Name<'_>) -> Vec<u8> {
    name.as_raw().to_vec()
}

fn one<'a>(mut names: impl Iterator<Item = &'a x509_parser::x509::AttributeTypeAndValue<'a>>) -> Option<&'a str> {
    let first = names.next()?.as_str().ok()?;
    names.next().is_none().then_some(first)
}
