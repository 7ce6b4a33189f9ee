//! Several nodes' gossip on 127.0.0.1.

use std::collections::BTreeMap;
use std::time::Instant;

use swarm_types::*;
use tokio::io::AsyncWriteExt;

use super::*;

const NETWORK: NetworkId = NetworkId::from_bits(7);
const LOCALHOST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
/// Far beyond what anything here should take, for a busy machine.
const LIMIT: Duration = Duration::from_secs(30);

fn key(byte: u8, lamport_time: u64) -> EncryptionKey {
    EncryptionKey { subsystem: "networking:gossip".into(), key: SecretBytes(vec![byte; 16]), lamport_time }
}

fn node(n: u128) -> NodeId {
    NodeId::from_bits(100 + n)
}

fn record(id: &str) -> EndpointRecord {
    EndpointRecord {
        network: NETWORK,
        id: id.into(),
        kind: EndpointKind::Task,
        name: format!("web.{id}"),
        addresses: vec![LOCALHOST],
        aliases: vec![],
        service: None,
        serving: true,
    }
}

/// A handle, and what its events add up to.
struct Node {
    handle: GossipHandle,
    events: mpsc::UnboundedReceiver<Event>,
    peers: BTreeMap<NodeId, NetworkPeer>,
    records: BTreeMap<(NodeId, String), EndpointRecord>,
    downs: usize,
}

impl Node {
    async fn start(n: u128, keys: &[EncryptionKey]) -> Self {
        let addr = SocketAddr::new(LOCALHOST, 0);
        let me = NetworkPeer { id: node(n), name: format!("node{n}"), addr, data_path: LOCALHOST };
        let (handle, events) = GossipHandle::start(me, LOCALHOST, 0, keys.to_vec()).await.unwrap();
        Self { handle, events, peers: BTreeMap::new(), records: BTreeMap::new(), downs: 0 }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Up(peer) => drop(self.peers.insert(peer.id, peer)),
            Event::Down(id) => {
                self.downs += 1;
                self.peers.remove(&id);
            }
            Event::Changed { owner, record } => drop(self.records.insert((owner, record.id.clone()), record)),
            Event::Removed { owner, id, .. } => drop(self.records.remove(&(owner, id))),
        }
    }

    /// Takes events until `done`.
    async fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let all = async {
            while !done(self) {
                let event = self.events.recv().await.expect("gossip goes on");
                self.take(event);
            }
        };
        if tokio::time::timeout(LIMIT, all).await.is_err() {
            panic!("not within {LIMIT:?}: {what}: {} peers, {} records", self.peers.len(), self.records.len());
        }
    }
}

/// Nodes that have found each other.
async fn cluster(count: u128, keys: &[EncryptionKey]) -> Vec<Node> {
    let mut nodes = Vec::new();
    for n in 0..count {
        nodes.push(Node::start(n, keys).await);
    }
    let seed = nodes[0].handle.addr();
    let others = usize::try_from(count).unwrap() - 1;
    nodes.iter().for_each(|node| node.handle.seeds(vec![seed]));
    for node in &mut nodes {
        node.until("all are up", |node| node.peers.len() == others).await;
    }
    nodes
}

#[tokio::test]
async fn a_thousand_records_of_five_nodes_converge() {
    let mut nodes = cluster(5, &[key(1, 1)]).await;
    let began = Instant::now();
    for (n, node) in nodes.iter().enumerate() {
        (0..200).for_each(|i| node.handle.publish(record(&format!("{n}-{i}"))));
    }
    for node in &mut nodes {
        node.until("all records are known", |node| node.records.len() == 800).await;
    }
    println!("1,000 records on 5 nodes converged in {:?}", began.elapsed());
    for (n, node) in nodes.iter().enumerate() {
        (0..200).for_each(|i| node.handle.withdraw(NETWORK, format!("{n}-{i}")));
    }
    for node in &mut nodes {
        node.until("all records are gone", |node| node.records.is_empty()).await;
        assert_eq!(node.downs, 0);
    }
}

#[tokio::test]
async fn what_has_settled_is_known_everywhere() {
    let mut nodes = cluster(3, &[key(1, 1)]).await;
    nodes[0].handle.publish(record("a"));
    nodes[0].handle.settled(NETWORK, "a".into(), LIMIT).await;
    for node in &mut nodes[1..] {
        while let Ok(event) = node.events.try_recv() {
            node.take(event);
        }
        assert_eq!(node.records.len(), 1);
    }
    // Where the others cannot be told, the limit ends the waiting.
    let silent: Vec<GossipHandle> = nodes.drain(1..).map(|node| node.handle).collect();
    drop(silent);
    nodes[0].handle.withdraw(NETWORK, "a".into());
    let began = Instant::now();
    nodes[0].handle.settled(NETWORK, "a".into(), Duration::from_millis(300)).await;
    assert!(began.elapsed() >= Duration::from_millis(300));
}

#[tokio::test]
async fn a_node_with_a_wrong_key_is_not_heard() {
    let mut nodes = cluster(2, &[key(1, 1)]).await;
    let mut stranger = Node::start(9, &[key(2, 1)]).await;
    stranger.handle.seeds(nodes.iter().map(|node| node.handle.addr()).collect());
    stranger.handle.publish(record("evil"));
    let addr = stranger.handle.addr();
    nodes[0].handle.seeds(vec![addr]);
    let heard = async {
        while nodes[0].handle.unopened() == 0 || stranger.handle.unopened() == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LIMIT, heard).await.unwrap();
    // The others' own talk goes on.
    nodes[1].handle.publish(record("good"));
    nodes[0].until("the honest are heard", |node| node.records.len() == 1).await;
    assert_eq!((nodes[0].peers.len(), stranger.peers.len()), (1, 0));
    assert!(stranger.events.try_recv().is_err());
    // With the right key it is one of them.
    stranger.handle.keys(vec![key(1, 1)]);
    stranger.until("it joins", |node| node.peers.len() == 2 && node.records.len() == 1).await;
}

#[tokio::test]
async fn without_keys_nothing_is_sent_and_with_keys_it_begins() {
    let mut nodes = cluster(2, &[key(1, 1)]).await;
    let mut late = Node::start(5, &[]).await;
    late.handle.seeds(vec![nodes[0].handle.addr()]);
    late.handle.publish(record("late"));
    let listener = UdpSocket::bind((LOCALHOST, 0)).await.unwrap();
    late.handle.seeds(vec![nodes[0].handle.addr(), listener.local_addr().unwrap()]);
    nodes[1].handle.publish(record("b"));
    nodes[0].until("the others are heard", |node| node.records.len() == 1).await;
    let silence = tokio::time::timeout(Duration::from_millis(1500), listener.recv(&mut [0; 2000])).await;
    assert!(silence.is_err(), "something was sent without a key");
    late.handle.keys(vec![key(1, 1)]);
    tokio::time::timeout(LIMIT, listener.recv(&mut [0; 2000])).await.unwrap().unwrap();
    late.until("it joins", |node| node.peers.len() == 2 && node.records.len() == 1).await;
    nodes[0].until("its record is there", |node| node.records.len() == 2).await;
}

#[tokio::test]
async fn keys_rotate_without_interruption() {
    let ring = |newest: u8| -> Vec<EncryptionKey> {
        (newest.saturating_sub(2)..=newest).map(|n| key(n, u64::from(n) * 2)).collect()
    };
    let mut nodes = cluster(3, &ring(3)).await;
    for newest in 4..8 {
        // The nodes hear of new keys one after the other, and talk meanwhile.
        for (n, node) in nodes.iter().enumerate() {
            node.handle.keys(ring(newest));
            node.handle.publish(record(&format!("{newest}-{n}")));
            node.handle.settled(NETWORK, format!("{newest}-{n}"), LIMIT).await;
        }
    }
    for node in &mut nodes {
        node.until("all is known", |node| node.records.len() == 8).await;
        assert_eq!((node.handle.unopened(), node.downs), (0, 0));
    }
}

#[tokio::test]
async fn a_node_that_leaves_is_gone_at_once_and_its_port_is_free() {
    let mut nodes = cluster(3, &[key(1, 1)]).await;
    let leaver = nodes.remove(2);
    leaver.handle.publish(record("a"));
    let addr = leaver.handle.addr();
    let clone = leaver.handle.clone();
    leaver.handle.leave().await;
    for node in &mut nodes {
        node.until("it is gone", |node| node.peers.len() == 1 && node.records.is_empty()).await;
    }
    // The handles that are left do nothing, and do not hang.
    clone.publish(record("b"));
    clone.settled(NETWORK, "b".into(), LIMIT).await;
    clone.leave().await;
    let free = async {
        while bind(LOCALHOST, addr.port()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LIMIT, free).await.unwrap();
}

#[tokio::test]
async fn a_port_that_is_taken_is_an_error() {
    let taken = Node::start(1, &[]).await;
    let addr = taken.handle.addr();
    let me = NetworkPeer { id: node(50), name: "x".into(), addr, data_path: LOCALHOST };
    let error = GossipHandle::start(me, LOCALHOST, addr.port(), vec![]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
}

#[tokio::test]
async fn noise_on_the_ports_disturbs_nobody() {
    let mut nodes = cluster(2, &[key(1, 1)]).await;
    let addr = nodes[0].handle.addr();
    let noise = UdpSocket::bind((LOCALHOST, 0)).await.unwrap();
    for length in [0, 1, 20, 37, 1500, 60_000] {
        noise.send_to(&vec![1; length], addr).await.unwrap();
    }
    let mut held = Vec::new();
    // Connections that say too much, too little, or nothing; more than there is room for.
    for (prefix, body) in [(u32::MAX, 10), (100, 100), (100, 10), (0, 0)] {
        for _ in 0..20 {
            let mut stream = tokio::net::TcpStream::connect(addr).await.unwrap();
            let _ = stream.write_u32(prefix).await;
            let _ = stream.write_all(&vec![0; body]).await;
            held.push(stream);
        }
    }
    // By packets gossip goes on beside that, and by streams once the others have gone.
    nodes[1].handle.publish(record("a"));
    nodes[0].until("packets are heard", |node| node.records.len() == 1).await;
    drop(held);
    let mut large = record("large");
    large.aliases = (0..100).map(|n| format!("{n}-{}", "x".repeat(100))).collect();
    nodes[1].handle.publish(large);
    nodes[0].until("streams are heard", |node| node.records.len() == 2).await;
    assert_eq!(nodes[0].downs, 0);
}
