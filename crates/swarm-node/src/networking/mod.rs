//! The swarm's networks on this node: joins what the managers decided (addresses, subnets), what the other nodes say
//! (gossip) and the data plane (overlays, load balancing, names) for the containers that run here.
//!
//! One task, the [`keeper`], owns all of it and takes commands in order; [`Networking`] is the handle. `facts` is what
//! the managers said, kept on disk so that a restarted node has its networks also while no manager answers; `plan`
//! translates between the swarm's types and the data plane's. Local networks (`bridge`, docker_gwbridge) are the
//! container engine's; what this module needs of them is the [`Gateway`].

mod attachments;
mod facts;
mod keeper;
mod plan;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use overlay_network::dns::DnsServers;
use overlay_network::rules::IngressRules;
use overlay_network::{Cidr, IngressLink};
use serde::{Deserialize, Serialize};
use swarm_gossip::view::NetworkView;
use swarm_types::{EndpointKind, EndpointRecord, Network, NetworkId, NetworkPeer, NodeId, ServiceBinding};
use tokio::sync::{mpsc, oneshot};

pub use attachments::{TaskNetworks, task_networks};
pub use facts::NetworkFacts;
use keeper::{Command, Keeper};

/// What the swarm's networks need of the node's local ones.
pub trait Gateway: Send + Sync + 'static {
    /// Where the ingress network's namespace is plugged in: a place on docker_gwbridge, which is made on demand.
    fn ingress_link(&self) -> GatewayFuture<'_, IngressLink>;

    /// What arrives at the node for these ports is handed over to the ingress network; `None`: nothing is.
    fn hand_over(&self, rules: Option<IngressRules>) -> GatewayFuture<'_, ()>;
}

/// A future of a gateway; the error is for people.
pub type GatewayFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, String>> + Send + 'a>>;

/// A container's place on one network of the swarm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwarmAttachment {
    /// The network.
    pub network: NetworkId,
    /// Its name.
    pub name: String,
    /// The container's addresses there, with prefix lengths, the IPv4 one first.
    pub addresses: Vec<Cidr>,
    /// Further names of the container.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// The service that it belongs to.
    #[serde(default)]
    pub service: Option<ServiceBinding>,
    /// The network has no way out.
    #[serde(default)]
    pub internal: bool,
    /// The routing mesh's network: nobody looks up names there.
    #[serde(default)]
    pub ingress: bool,
}

/// A container that comes to its networks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joining {
    /// Its id, 64 hexadecimal digits.
    pub container: String,
    /// Its name.
    pub name: String,
    /// A process in its network namespace.
    pub pid: u32,
    /// A task's, or one that was attached by hand.
    pub kind: EndpointKind,
    /// Its networks, in the order of its interfaces.
    pub attachments: Vec<(SwarmAttachment, String)>,
    /// Whether it takes connections from the start: without a task to wait for, or found again when it did already.
    pub serving: bool,
}

/// What a node knows of one network, for `docker network inspect`.
#[derive(Debug, Clone, PartialEq)]
pub struct NetworkStatus {
    /// This node.
    pub node: NodeId,
    /// The network, as the managers told this node of it.
    pub network: Arc<Network>,
    /// The nodes that take part.
    pub peers: Vec<NetworkPeer>,
    /// Services, names, remote endpoints.
    pub view: NetworkView,
    /// The endpoints on all of these nodes, each with its node.
    pub endpoints: Vec<(NetworkPeer, EndpointRecord)>,
}

/// The handle on a node's networks. Clones share them.
#[derive(Clone)]
pub struct Networking {
    commands: mpsc::UnboundedSender<Command>,
    dns: DnsServers,
}

/// Where the node's networks keep what they need.
#[derive(Debug, Clone)]
pub struct Places {
    /// For the facts.
    pub state_dir: PathBuf,
    /// Where network namespaces are pinned.
    pub netns_dir: PathBuf,
}

impl Networking {
    /// Starts the keeper. Networks that the node had before its restart are there again at once.
    /// Must be called within a tokio runtime.
    pub fn start(places: Places, gateway: Arc<dyn Gateway>) -> Self {
        let (commands, inbox) = mpsc::unbounded_channel();
        let dns = DnsServers::new();
        let keeper = Keeper::new(places, gateway, dns.clone());
        tokio::spawn(keeper.run(inbox));
        Self { commands, dns }
    }

    /// The name servers of this node's containers.
    pub fn dns(&self) -> &DnsServers {
        &self.dns
    }

    /// What the managers say, whenever it changes; `None` once the node is in no swarm.
    pub fn facts(&self, facts: Option<NetworkFacts>) {
        // The keeper ends only with the process.
        let _ = self.commands.send(Command::Facts(facts.map(Box::new)));
    }

    /// Plugs a container in. Idempotent: also for one that is found running after a restart.
    pub async fn join(&self, joining: Joining) -> Result<(), String> {
        let (reply, answer) = oneshot::channel();
        let _ = self.commands.send(Command::Join(Box::new(joining), reply));
        answer.await.unwrap_or_else(|_| Err("the node is ending".to_owned()))
    }

    /// Whether the container takes connections to its service. With `false` it returns once all live nodes know, or
    /// after a moment.
    pub async fn serve(&self, container: &str, serving: bool) {
        let (done, known) = oneshot::channel();
        let _ = self.commands.send(Command::Serve { container: container.to_owned(), serving, done });
        let _ = known.await;
    }

    /// Takes a container from all its networks; nothing when it is on none.
    pub async fn leave(&self, container: &str) {
        let (done, left) = oneshot::channel();
        let _ = self.commands.send(Command::Leave { container: container.to_owned(), network: None, done });
        let _ = left.await;
    }

    /// Takes a container from one of its networks.
    pub async fn leave_network(&self, container: &str, network: NetworkId) {
        let (done, left) = oneshot::channel();
        let network = Some(network);
        let _ = self.commands.send(Command::Leave { container: container.to_owned(), network, done });
        let _ = left.await;
    }

    /// What this node knows of a network; `None` when it knows nothing of it.
    pub async fn status(&self, network: NetworkId) -> Option<NetworkStatus> {
        let (reply, answer) = oneshot::channel();
        let _ = self.commands.send(Command::Status(network, reply));
        answer.await.ok().flatten()
    }

    /// The networks of the swarm that this node was told of.
    pub async fn known(&self) -> Vec<Arc<Network>> {
        let (reply, answer) = oneshot::channel();
        let _ = self.commands.send(Command::Known(reply));
        answer.await.unwrap_or_default()
    }
}
