//! The overlay networks of one node: a namespace for each, with a bridge, one end of a VXLAN, and the near ends of its
//! containers' cables.
//!
//! What a namespace should look like is [`plan::overlay`](crate::plan::overlay)'s business; here it is applied, and
//! the wishes are remembered as long as the daemon lives. Every call is a wish: made twice it changes nothing the second
//! time, made after a failure or after somebody else's changes it repairs. A namespace outlives the daemon by its pin,
//! and a new daemon finds it: what nobody has wished for yet (peers, services) stays as the old one left it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::apply::{NetError, NetNamespace, io};
use crate::plan::overlay::{BRIDGE, INGRESS, VXLAN, pin_name};
use crate::plan::{NetPlan, Underlay};
use crate::rules::VirtualService;

mod member;

use member::Member;

pub use crate::plan::overlay::{IngressLink, OverlayNetwork, OverlayPort, Peer, Subnet};

/// The kernel takes namespaces apart in the background; so long we wait for a VXLAN id of one to be free again.
const RELEASE: Duration = Duration::from_secs(2);

/// What all overlays of a node share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverlayConfig {
    /// This node's address in the underlay, at which others send VXLAN packets to it.
    pub data_path: std::net::IpAddr,
    /// Their UDP port: 4789, or the swarm's data path port.
    pub port: u16,
    /// Where the namespaces have their names: `/var/run/docker/netns`.
    pub netns_dir: PathBuf,
}

impl OverlayConfig {
    fn underlay(&self) -> Underlay {
        Underlay { data_path: self.data_path, port: self.port }
    }
}

/// All overlay networks of one node. One value per node; calls are not concurrent (`&mut self`).
pub struct OverlayDriver {
    config: OverlayConfig,
    node: NetNamespace,
    members: BTreeMap<String, Member>,
}

impl OverlayDriver {
    /// Opens the node's namespace, which is the caller's. Namespaces of an earlier life are found by their pins when
    /// [`ensure`](Self::ensure) asks for them, and go when [`retain`](Self::retain) does not.
    pub async fn open(config: OverlayConfig) -> Result<Self, NetError> {
        let ip = config.data_path;
        if ip.is_unspecified() || ip.is_multicast() || config.port == 0 {
            let port = config.port;
            return Err(NetError::Invalid(format!("{ip} port {port} is no place to receive VXLAN packets at")));
        }
        Ok(Self { config, node: NetNamespace::current()?, members: BTreeMap::new() })
    }

    /// Makes the network's namespace, its bridge and its end of the VXLAN as they should be, with everything that was
    /// wished for the network before: also applies changes, and repairs what others changed.
    pub async fn ensure(&mut self, network: &OverlayNetwork) -> Result<(), NetError> {
        network.check().map_err(NetError::Invalid)?;
        let pin = self.pin(&network.id);
        let mut member = match self.members.remove(&network.id) {
            Some(mut member) => {
                // its name may have been taken from it; through us it lives on
                member.namespace.pin(&pin)?;
                member.wish.network = network.clone();
                member
            }
            None => Member::new(network.clone(), NetNamespace::pinned(&pin)?, pin),
        };
        let mut result = member.settle(&self.config, &self.node).await;
        if result.as_ref().is_err_and(NetError::is_already_exists) {
            self.free_vni(network).await?;
            let deadline = tokio::time::Instant::now() + RELEASE;
            result = member.settle(&self.config, &self.node).await;
            while result.as_ref().is_err_and(NetError::is_already_exists) && tokio::time::Instant::now() < deadline {
                tokio::time::sleep(Duration::from_millis(10)).await;
                result = member.settle(&self.config, &self.node).await;
            }
        }
        if result.is_ok() {
            result = member.repair(&self.config, &self.node).await;
        }
        self.members.insert(network.id.clone(), member);
        result.map_err(|error| match error.is_already_exists() {
            true => NetError::Invalid(format!(
                "{error}: another network namespace has a VXLAN with id {} and port {} on this node; find it with \
                 `lsns -t net` and end its processes, or remove its link",
                network.vni, self.config.port
            )),
            false => error,
        })
    }

    /// Gives a container its interface on the network.
    pub async fn attach(&mut self, network: &str, port: &OverlayPort) -> Result<(), NetError> {
        let (member, config, node) = self.member(network)?;
        member.attach(config, node, port).await
    }

    /// Takes it back; nothing when there is none.
    pub async fn detach(&mut self, network: &str, endpoint: &str) -> Result<(), NetError> {
        let Ok((member, config, node)) = self.member(network) else { return Ok(()) };
        member.detach(config, node, endpoint).await
    }

    /// Says where the endpoints on other nodes are: all of them, others are forgotten.
    pub async fn set_peers(&mut self, network: &str, peers: &BTreeSet<Peer>) -> Result<(), NetError> {
        let (member, config, node) = self.member(network)?;
        member.wish.peers = Some(peers.clone());
        member.settle_tables(config, node).await
    }

    /// Says which services the network has: their virtual addresses are this node's bridge's, and what comes to them
    /// is handed on. All of them, others are forgotten. Connections to a backend that was one of theirs and that is no
    /// endpoint of the network any more are reset at their next packet: say first who is there.
    pub async fn set_services(&mut self, network: &str, services: &[VirtualService]) -> Result<(), NetError> {
        let (member, config, node) = self.member(network)?;
        member.wish.services = Some(services.to_vec());
        // first who answers, then the address that is asked for
        member.apply_rules().await?;
        member.settle_tables(config, node).await?;
        member.forget_gone().await
    }

    /// Joins the ingress network's namespace to the node's bridge for outside traffic.
    pub async fn connect_ingress(&mut self, network: &str, link: &IngressLink) -> Result<(), NetError> {
        let (member, _, node) = self.member(network)?;
        if !member.wish.network.ingress {
            return Err(NetError::Invalid(format!("network {network} is not the ingress network")));
        }
        member.wish.ingress = Some(link.clone());
        member.connect_ingress(node).await?;
        member.apply_rules().await
    }

    /// Removes all networks but these.
    pub async fn retain(&mut self, keep: &BTreeSet<String>) -> Result<(), NetError> {
        let known: Vec<String> = self.members.keys().filter(|id| !keep.contains(*id)).cloned().collect();
        for network in known {
            self.remove(&network).await?;
        }
        let keep: BTreeSet<String> = keep.iter().map(|id| pin_name(id)).collect();
        for name in pins(&self.config.netns_dir)?.into_iter().filter(|name| !keep.contains(name)) {
            tracing::info!(pin = name, "removing the namespace of a network that this node has no part in");
            take_apart(&self.config.netns_dir.join(name), None).await?;
        }
        Ok(())
    }

    /// Removes a network's namespace with all its links; nothing when there is none.
    pub async fn remove(&mut self, network: &str) -> Result<(), NetError> {
        let namespace = self.members.remove(network).map(|member| member.namespace);
        take_apart(&self.pin(network), namespace).await
    }

    /// What a network's namespace should look like now: for looking, and for tests. `None` before
    /// [`ensure`](Self::ensure).
    pub fn plan(&self, network: &str) -> Option<NetPlan> {
        self.members.get(network).map(|member| member.plan(&self.config))
    }

    /// The file that names a network's namespace.
    pub fn pin(&self, network: &str) -> PathBuf {
        self.config.netns_dir.join(pin_name(network))
    }

    fn member(&mut self, network: &str) -> Result<(&mut Member, &OverlayConfig, &NetNamespace), NetError> {
        let member = self.members.get_mut(network);
        let member =
            member.ok_or_else(|| NetError::Invalid(format!("network {network} is not set up on this node")))?;
        Ok((member, &self.config, &self.node))
    }

    /// A network that is no more, and whose namespace this daemon was never told to remove, may have had the VXLAN id
    /// that now is another's.
    async fn free_vni(&self, network: &OverlayNetwork) -> Result<(), NetError> {
        let known: BTreeSet<String> = self.members.keys().map(|id| pin_name(id)).collect();
        for name in pins(&self.config.netns_dir)? {
            let pin = self.config.netns_dir.join(&name);
            if known.contains(&name) || name == network.pin_name() || !NetNamespace::is_pinned(&pin) {
                continue;
            }
            let links = NetNamespace::at(&pin)?.observe(&NetPlan::default()).await?.links;
            let same = |plan: crate::plan::VxlanPlan| (plan.vni, plan.port) == (network.vni, self.config.port);
            if links.values().filter_map(|link| link.vxlan).any(same) {
                tracing::info!(
                    pin = name,
                    vni = network.vni,
                    "removing a namespace that holds the VXLAN id of another"
                );
                take_apart(&pin, None).await?;
            }
        }
        Ok(())
    }
}

/// The names of the files that may be pins of overlay networks: `1-` and ten characters. Others are none of ours.
fn pins(dir: &Path) -> Result<Vec<String>, NetError> {
    let what = || format!("list network namespaces in {}", dir.display());
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io(what())(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(io(what()))?.file_name().to_string_lossy().into_owned();
        let ours = name.strip_prefix("1-");
        if ours.is_some_and(|id| id.len() == 10 && id.bytes().all(|byte| byte.is_ascii_alphanumeric())) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Removes the links at once, as someone else may keep the namespace itself alive, and then its name.
async fn take_apart(pin: &Path, namespace: Option<NetNamespace>) -> Result<(), NetError> {
    let namespace = match namespace {
        Some(namespace) => Some(namespace),
        None if NetNamespace::is_pinned(pin) => Some(NetNamespace::at(pin)?),
        None => None,
    };
    if let Some(namespace) = namespace {
        // only what we make: some kernels put links of their own into every namespace, which cannot be removed
        let ours = |name: &&String| matches!(name.as_str(), BRIDGE | VXLAN | INGRESS) || name.starts_with("veth");
        for name in namespace.observe(&NetPlan::default()).await?.links.keys().filter(ours) {
            namespace.delete_link(name).await?;
        }
    }
    NetNamespace::unpin(pin)
}
