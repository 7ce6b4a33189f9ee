//! Making keys, the root, and node certificates.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::pki_types::CertificateSigningRequestDer;
use sha2::{Digest, Sha256};
use swarm_types::{ClusterId, NodeId, NodeRole, SecretString, Timestamp};

use super::{CaError, role_name};

/// How long a root lasts: 20 years, as swarmkit's.
const ROOT_EXPIRY: Duration = Duration::from_secs(20 * 365 * 24 * 3600);

/// Certificates begin this much before their making, for nodes whose clocks are late.
const BACKDATE: Duration = Duration::from_secs(3600);

/// A root certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// The certificate in PEM.
    pub certificate: String,
    /// Its key in PEM.
    pub key: SecretString,
}

impl Root {
    /// A new root.
    pub fn create(now: Timestamp) -> Result<Self, CaError> {
        let failed = CaError::new("make the swarm's root certificate");
        let key = KeyPair::generate().map_err(|error| failed(&error))?;
        let mut params = params(now, ROOT_EXPIRY)?;
        params.distinguished_name.push(DnType::CommonName, "swarm-ca");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).map_err(|error| failed(&error))?;
        Ok(Self { certificate: certificate.pem(), key: SecretString(key.serialize_pem()) })
    }
}

/// A node's new key and the request for its certificate.
pub struct NewKey {
    /// The key in PEM.
    pub key: SecretString,
    /// The request in DER.
    pub request: Vec<u8>,
}

impl NewKey {
    /// Draws a key. What the certificate will say is the issuer's business; the request proves just that its sender
    /// has the key.
    pub fn create() -> Result<Self, CaError> {
        let failed = CaError::new("make the node's key");
        let key = KeyPair::generate().map_err(|error| failed(&error))?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let request = params.serialize_request(&key).map_err(|error| failed(&error))?;
        Ok(Self { key: SecretString(key.serialize_pem()), request: request.der().to_vec() })
    }
}

/// Checks a request and returns it with the SHA-256 of its public key in hex.
pub fn read_request(request: &[u8]) -> Result<(CertificateSigningRequestParams, String), CaError> {
    let failed = CaError::new("read the certificate request");
    let request = CertificateSigningRequestDer::from(request.to_vec());
    let request = CertificateSigningRequestParams::from_der(&request).map_err(|error| failed(&error))?;
    let digest = hex(&Sha256::digest(rcgen::PublicKeyData::der_bytes(&request.public_key)));
    Ok((request, digest))
}

/// Signs a node's certificate, in PEM.
pub fn issue_node_certificate(
    root: &Root,
    mut request: CertificateSigningRequestParams,
    cluster: ClusterId,
    node: NodeId,
    role: NodeRole,
    now: Timestamp,
    expiry: Duration,
) -> Result<String, CaError> {
    let failed = CaError::new("sign the node's certificate");
    let key = KeyPair::from_pem(&root.key.0).map_err(|error| failed(&error))?;
    let issuer = Issuer::from_ca_cert_pem(&root.certificate, key).map_err(|error| failed(&error))?;
    // Nothing but the public key is taken from the request.
    let mut params = params(now, expiry)?;
    params.distinguished_name.push(DnType::OrganizationName, cluster.to_string());
    params.distinguished_name.push(DnType::OrganizationalUnitName, role_name(role));
    params.distinguished_name.push(DnType::CommonName, node.to_string());
    for name in [role_name(role), &node.to_string()] {
        let name = name.try_into().map_err(|error| failed(&error))?;
        params.subject_alt_names.push(SanType::DnsName(name));
    }
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    request.params = params;
    Ok(request.signed_by(&issuer).map_err(|error| failed(&error))?.pem())
}

fn params(now: Timestamp, expiry: Duration) -> Result<CertificateParams, CaError> {
    let failed = CaError::new("make a certificate");
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let since_epoch = Duration::from_nanos(u64::try_from(now.as_nanos()).unwrap_or(0));
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + since_epoch.saturating_sub(BACKDATE);
    params.not_after = epoch + since_epoch + expiry;
    let mut serial = [0; 16];
    SystemRandom::new().fill(&mut serial).map_err(|error| failed(&error))?;
    serial[0] &= 0x7f; // a positive number
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(params)
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
