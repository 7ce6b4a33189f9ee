#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use swarm_manager::control_api::ControlRequest;
use swarm_types::{ClusterId, NodeId, NodeRole, SecretString};
use tokio::io::AsyncWriteExt;
use tokio::sync::{mpsc, watch};

use super::wire::{Answer, IssueRequest, Request};
use super::*;
use crate::ca::{Credentials, NewKey, Root, issue_node_certificate, joiner_config, read_request};
use crate::core::now;

fn credentials(root: &Root, node: u128, role: NodeRole) -> Arc<Credentials> {
    let new = NewKey::create().unwrap();
    let (request, _) = read_request(&new.request).unwrap();
    let (cluster, node) = (ClusterId::from_bits(1), NodeId::from_bits(node));
    let certificate =
        issue_node_certificate(root, request, cluster, node, role, now(), Duration::from_secs(3600)).unwrap();
    Arc::new(Credentials::new(&root.certificate, &certificate, &new.key).unwrap())
}

struct Server {
    root: Root,
    listener: Listener,
    incoming: mpsc::Receiver<Incoming>,
}

async fn server() -> Server {
    let root = Root::create(now()).unwrap();
    let (_, watched) = watch::channel(credentials(&root, 1, NodeRole::Manager));
    let (mailbox, incoming) = mpsc::channel(16);
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), watched, mailbox, |incoming| incoming).unwrap();
    Server { root, listener, incoming }
}

fn control() -> Request {
    Request::Control(Box::new(ControlRequest::GetCluster))
}

#[tokio::test]
async fn a_managers_request_arrives_with_its_identity() {
    let mut server = server().await;
    let client = credentials(&server.root, 2, NodeRole::Manager);
    let mut connection = dial(&server.listener.addr.to_string(), client.client.clone()).await.unwrap();
    let answering = async {
        let mut incoming = server.incoming.recv().await.unwrap();
        assert_eq!(incoming.peer.unwrap().node, NodeId::from_bits(2));
        assert!(matches!(incoming.request, Request::Control(_)));
        let answer: Answer<u32> = Ok(7);
        incoming.connection.send(&answer).await.unwrap();
    };
    let (answer, ()) = tokio::join!(connection.ask::<u32>(control(), 0), answering);
    assert_eq!(answer.unwrap().unwrap(), 7);
}

#[tokio::test]
async fn roles_are_enforced() {
    let server = server().await;
    let addr = server.listener.addr.to_string();
    let worker = credentials(&server.root, 2, NodeRole::Worker);
    for request in [control(), Request::Raft, Request::JoinGroup { addr: String::new(), node: None }] {
        let mut connection = dial(&addr, worker.client.clone()).await.unwrap();
        let refused = connection.ask::<u32>(request, 0).await.unwrap().unwrap_err();
        assert!(refused.message.contains("PermissionDenied"), "{refused}");
    }
    let stranger = joiner_config(Some(&server.root.certificate)).unwrap();
    let mut connection = dial(&addr, stranger).await.unwrap();
    assert!(connection.ask::<u32>(Request::Session, 0).await.unwrap().is_err());
}

#[tokio::test]
async fn a_stranger_may_ask_for_a_certificate_with_a_token_only() {
    let mut server = server().await;
    let addr = server.listener.addr.to_string();
    let issue = |token: Option<&str>| {
        Request::Issue(Box::new(IssueRequest {
            request: Vec::new(),
            token: token.map(|token| SecretString(token.to_owned())),
            availability: Default::default(),
            node: None,
        }))
    };
    let stranger = joiner_config(Some(&server.root.certificate)).unwrap();
    let mut connection = dial(&addr, stranger.clone()).await.unwrap();
    assert!(connection.ask::<u32>(issue(None), 0).await.unwrap().is_err());
    let mut connection = dial(&addr, stranger).await.unwrap();
    connection.hello(issue(Some("token")), 0).await.unwrap();
    assert!(server.incoming.recv().await.unwrap().peer.is_none());
}

#[tokio::test]
async fn a_stranger_cannot_make_the_manager_read_much() {
    let server = server().await;
    let stranger = joiner_config(None).unwrap();
    let mut connection = dial(&server.listener.addr.to_string(), stranger).await.unwrap();
    let sent = connection.send(&vec![7u8; 1_000_000]).await;
    let answer = connection.receive::<u32>().await;
    assert!(sent.is_err() || answer.is_err());
}

#[tokio::test]
async fn rubbish_on_the_port_does_no_harm() {
    let mut server = server().await;
    let addr = server.listener.addr;
    for _ in 0..3 {
        let mut stream = tokio::net::TcpStream::connect(addr).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    }
    let client = credentials(&server.root, 2, NodeRole::Worker);
    let mut connection = dial(&addr.to_string(), client.client.clone()).await.unwrap();
    connection.hello(Request::Session, 0).await.unwrap();
    assert!(server.incoming.recv().await.is_some());
}

#[tokio::test]
async fn a_raft_link_reports_loss_and_connects_once_it_can() {
    let mut server = server().await;
    let (_, watched) = watch::channel(credentials(&server.root, 2, NodeRole::Manager));
    let (lost, mut losses) = mpsc::channel(4);
    let dead = RaftLink::new("127.0.0.1:1".to_owned(), 9, watched.clone(), lost.clone());
    assert!(dead.send(b"hello".to_vec()));
    assert_eq!(losses.recv().await, Some(9));
    let link = RaftLink::new(server.listener.addr.to_string(), 3, watched, lost);
    assert!(link.send(b"hello".to_vec()));
    let (_sending, mut receiving) = server.incoming.recv().await.unwrap().connection.split();
    assert_eq!(receiving.receive_bytes().await.unwrap().unwrap(), b"hello");
}
