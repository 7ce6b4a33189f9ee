//! Nodes of one process that talk over loopback addresses, with a runner that pretends.
#![allow(clippy::unwrap_used)]

mod fake_runner;
mod managers;
mod membership;
mod services;

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use swarm_manager::control_api::{ControlRequest, ControlResponse, NodeFilters};
use swarm_types::{Cluster, ClusterSpec, Node, NodeAvailability, NodeState, Object, SecretString};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use fake_runner::FakeRunner;

/// Nothing in these tests takes longer, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

struct TestNode {
    handle: NodeHandle,
    ip: IpAddr,
    dir: TempDir,
    running: JoinHandle<()>,
    runner: Arc<FakeRunner>,
}

/// A loopback address of this test's own, so that tests (and other test processes) do not meet on the swarm port.
fn own_ip() -> IpAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = std::process::id().wrapping_mul(97).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
    let digit = |place: u32| u8::try_from(number / place % 250 + 2).unwrap();
    IpAddr::V4(Ipv4Addr::new(127, digit(62_500), digit(250), digit(1)))
}

fn start_at(dir: &Path, ip: IpAddr, name: &str) -> (NodeHandle, JoinHandle<()>, Arc<FakeRunner>) {
    let runner = Arc::new(FakeRunner::new(name));
    let mut options = NodeOptions::new(dir.to_owned(), runner.clone());
    options.advertise_addr = Some(ip);
    options.listen_addr = Some(ip);
    let (handle, running) = start(options).unwrap();
    (handle, running, runner)
}

/// Shows what the nodes log when SWARMLAB_LOG is set.
fn show_log() {
    if let Ok(filter) = tracing_subscriber::EnvFilter::try_from_env("SWARMLAB_LOG") {
        let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
    }
}

impl TestNode {
    fn start(name: &str) -> Self {
        show_log();
        let (dir, ip) = (TempDir::new().unwrap(), own_ip());
        let (handle, running, runner) = start_at(dir.path(), ip, name);
        Self { handle, ip, dir, running, runner }
    }

    async fn restart(self) -> Self {
        let Self { handle, ip, dir, running, runner } = self;
        handle.shutdown().await;
        running.await.unwrap();
        let name = runner.name.clone();
        let (handle, running, runner) = start_at(dir.path(), ip, &name);
        Self { handle, ip, dir, running, runner }
    }

    async fn init(&self) -> NodeId {
        timeout(PATIENCE, self.handle.swarm_init(init_options())).await.unwrap().unwrap()
    }

    async fn join(&self, manager: &TestNode, token: &SecretString) -> Result<NodeId, NodeError> {
        timeout(PATIENCE, self.handle.swarm_join(join_options(manager, token))).await.unwrap()
    }

    async fn cluster(&self) -> Cluster {
        match self.handle.control(ControlRequest::GetCluster).await.unwrap() {
            ControlResponse::Object(Object::Cluster(cluster)) => Cluster::clone(&cluster),
            other => panic!("{other:?}"),
        }
    }

    async fn nodes(&self) -> Result<Vec<Node>, NodeError> {
        match self.handle.control(ControlRequest::ListNodes(NodeFilters::default())).await? {
            ControlResponse::Objects(objects) => Ok(objects
                .into_iter()
                .map(|object| match object {
                    Object::Node(node) => Node::clone(&node),
                    other => panic!("{other:?}"),
                })
                .collect()),
            other => panic!("{other:?}"),
        }
    }

    /// Waits until the managers' nodes are as they should be.
    async fn nodes_become(&self, what: &str, wanted: impl Fn(&[Node]) -> bool) -> Vec<Node> {
        let mut last = Ok(Vec::new());
        let waiting = async {
            loop {
                last = self.nodes().await;
                if last.as_ref().is_ok_and(|nodes| wanted(nodes)) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        if timeout(PATIENCE, waiting).await.is_err() {
            panic!("{what} did not come about: {last:?}");
        }
        last.unwrap()
    }
}

fn init_options() -> InitOptions {
    let mut spec = ClusterSpec::default();
    spec.raft.election_tick = 3;
    InitOptions {
        advertise_addr: String::new(),
        listen_addr: String::new(),
        force_new_cluster: false,
        spec,
        availability: NodeAvailability::Active,
        default_addr_pool: Vec::new(),
        subnet_size: 0,
        data_path_port: 0,
        data_path_addr: String::new(),
        auto_lock: false,
    }
}

fn join_options(manager: &TestNode, token: &SecretString) -> JoinOptions {
    JoinOptions {
        remote_addrs: vec![manager.ip.to_string()],
        token: token.clone(),
        advertise_addr: String::new(),
        listen_addr: String::new(),
        data_path_addr: String::new(),
        availability: NodeAvailability::Active,
    }
}

fn all_ready(count: usize) -> impl Fn(&[Node]) -> bool {
    move |nodes| nodes.len() == count && nodes.iter().all(|node| node.status.state == NodeState::Ready)
}
