#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, ServerConnection};
use swarm_types::{ClusterId, NodeId, NodeRole, Timestamp};

use super::*;
use crate::core::now;

fn credentials(root: &Root, node: u128, role: NodeRole, now: Timestamp) -> Credentials {
    let new = NewKey::create().unwrap();
    let (request, _) = read_request(&new.request).unwrap();
    let (cluster, node) = (ClusterId::from_bits(1), NodeId::from_bits(node));
    let expiry = Duration::from_secs(3600);
    let certificate = issue_node_certificate(root, request, cluster, node, role, now, expiry).unwrap();
    Credentials::new(&root.certificate, &certificate, &new.key).unwrap()
}

/// Shakes hands in memory; the server's view of the client's certificate.
fn handshake(client: Arc<ClientConfig>, server: &Credentials, name: &str) -> Result<Option<Peer>, rustls::Error> {
    let mut client = ClientConnection::new(client, ServerName::try_from(name.to_owned()).unwrap())?;
    let mut server = ServerConnection::new(server.server.clone())?;
    for _ in 0..4 {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut rest = &wire[..];
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
            server.process_new_packets()?;
        }
        let mut wire = Vec::new();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut rest = &wire[..];
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets()?;
        }
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    Ok(server.peer_certificates().map(|chain| CertificateFacts::read(&chain[0]).unwrap().peer))
}

#[test]
fn a_certificate_says_who_what_and_of_which_swarm() {
    let root = Root::create(now()).unwrap();
    let facts = credentials(&root, 5, NodeRole::Worker, now()).facts;
    let peer = Peer { node: NodeId::from_bits(5), role: NodeRole::Worker, cluster: ClusterId::from_bits(1) };
    assert_eq!(facts.peer, peer);
    let left = facts.not_after.since(now());
    assert!(left > Duration::from_secs(3500) && left <= Duration::from_secs(3600), "{left:?}");
}

#[test]
fn nodes_of_one_swarm_know_each_other() {
    let root = Root::create(now()).unwrap();
    let manager = credentials(&root, 1, NodeRole::Manager, now());
    let worker = credentials(&root, 2, NodeRole::Worker, now());
    let peer = handshake(worker.client.clone(), &manager, MANAGER_NAME).unwrap().unwrap();
    assert_eq!((peer.node, peer.role), (NodeId::from_bits(2), NodeRole::Worker));
    assert_eq!(handshake(joiner_config(Some(&root.certificate)).unwrap(), &manager, MANAGER_NAME).unwrap(), None);
    assert_eq!(handshake(joiner_config(None).unwrap(), &manager, MANAGER_NAME).unwrap(), None);
}

#[test]
fn a_worker_cannot_pass_for_a_manager() {
    let root = Root::create(now()).unwrap();
    let manager = credentials(&root, 1, NodeRole::Manager, now());
    let worker = credentials(&root, 2, NodeRole::Worker, now());
    assert!(handshake(manager.client, &worker, MANAGER_NAME).is_err());
}

#[test]
fn another_swarm_is_refused_by_both_sides() {
    let (ours, theirs) = (Root::create(now()).unwrap(), Root::create(now()).unwrap());
    let manager = credentials(&ours, 1, NodeRole::Manager, now());
    let stranger = credentials(&theirs, 2, NodeRole::Manager, now());
    assert!(handshake(stranger.client.clone(), &manager, MANAGER_NAME).is_err());
    assert!(handshake(manager.client.clone(), &stranger, MANAGER_NAME).is_err());
    assert!(handshake(joiner_config(Some(&theirs.certificate)).unwrap(), &manager, MANAGER_NAME).is_err());
}

#[test]
fn an_expired_certificate_is_refused() {
    let root = Root::create(now()).unwrap();
    let manager = credentials(&root, 1, NodeRole::Manager, now());
    let past = Timestamp::from_nanos(now().as_nanos() - 7_200_000_000_000);
    let late = credentials(&root, 2, NodeRole::Worker, past);
    assert!(handshake(late.client, &manager, MANAGER_NAME).is_err());
}

#[test]
fn a_key_that_does_not_fit_is_refused() {
    let root = Root::create(now()).unwrap();
    let node = credentials(&root, 1, NodeRole::Manager, now());
    let other = NewKey::create().unwrap();
    assert!(Credentials::new(&root.certificate, &node.certificate, &other.key).is_err());
}

#[test]
fn a_request_whose_signature_is_wrong_is_refused() {
    let mut request = NewKey::create().unwrap().request;
    *request.last_mut().unwrap() ^= 1;
    assert!(read_request(&request).is_err());
    assert!(read_request(b"rubbish").is_err());
}
