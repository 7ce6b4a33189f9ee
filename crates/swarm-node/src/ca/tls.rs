//! TLS configurations of nodes, and of a joiner that has no certificate yet.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme};
use sha2::{Digest, Sha256};
use swarm_types::{NodeTlsInfo, SecretString};

use super::peer::subject_and_key;
use super::{CaError, CertificateFacts};

/// A node's certificate with its key and the root that it trusts, ready for TLS.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The node's certificate in PEM.
    pub certificate: String,
    /// What it says.
    pub facts: CertificateFacts,
    /// For connections from here: presents the certificate, trusts the root.
    pub client: Arc<ClientConfig>,
    /// For connections to here: a client's certificate is checked if it presents one.
    pub server: Arc<ServerConfig>,
    /// What the node reports of itself.
    pub tls_info: NodeTlsInfo,
}

impl Credentials {
    /// Checks that key, certificate and root belong together, and makes the configurations.
    pub fn new(root: &str, certificate: &str, key: &SecretString) -> Result<Self, CaError> {
        let failed = CaError::new("set up TLS with the node's certificate");
        let root_der = pem_certificate(root)?;
        let certificate_der = pem_certificate(certificate)?;
        let facts = CertificateFacts::read(&certificate_der)?;
        let private = || PrivateKeyDer::from_pem_slice(key.0.as_bytes()).map_err(|error| failed(&error));
        let roots = Arc::new(roots(root)?);
        let provider = provider();
        let client = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| failed(&error))?
            .with_root_certificates(roots.clone())
            .with_client_auth_cert(vec![certificate_der.clone()], private()?)
            .map_err(|error| failed(&error))?;
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider.clone())
            .allow_unauthenticated()
            .build()
            .map_err(|error| failed(&error))?;
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| failed(&error))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![certificate_der, root_der.clone()], private()?)
            .map_err(|error| failed(&error))?;
        // Sessions are not resumed: a resumed one would not see that its certificate was revoked meanwhile.
        server.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        let mut client = client;
        client.resumption = rustls::client::Resumption::disabled();
        let (subject, public_key) = subject_and_key(&root_der)?;
        let tls_info = NodeTlsInfo {
            trust_root: root.to_owned(),
            cert_issuer_subject: subject,
            cert_issuer_public_key: public_key,
        };
        let certificate = certificate.to_owned();
        Ok(Self { certificate, facts, client: Arc::new(client), server: Arc::new(server), tls_info })
    }
}

/// For a joiner: without a root (to fetch it, whoever answers), or trusting one that the token's digest vouches for.
pub fn joiner_config(root: Option<&str>) -> Result<Arc<ClientConfig>, CaError> {
    let failed = CaError::new("set up TLS");
    let provider = provider();
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| failed(&error))?;
    let mut config = match root {
        Some(root) => builder.with_root_certificates(roots(root)?).with_no_client_auth(),
        None => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Anyone { provider })).with_no_client_auth()
        }
    };
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

/// SHA-256 of a root certificate given in PEM.
pub fn root_digest(root: &str) -> Result<[u8; 32], CaError> {
    Ok(Sha256::digest(pem_certificate(root)?).into())
}

fn pem_certificate(pem: &str) -> Result<CertificateDer<'static>, CaError> {
    let failed = CaError::new("read a certificate");
    CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| failed(&error))
}

fn roots(pem: &str) -> Result<RootCertStore, CaError> {
    let failed = CaError::new("read the swarm's root certificate");
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|error| failed(&error))?;
        roots.add(certificate).map_err(|error| failed(&error))?;
    }
    Ok(roots)
}

fn provider() -> Arc<CryptoProvider> {
    // P-256 first: it is what the certificates use, and handshakes with it are the fastest.
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Takes any certificate. Only for asking for the root, whose digest the joiner then compares with its token's.
#[derive(Debug)]
struct Anyone {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
