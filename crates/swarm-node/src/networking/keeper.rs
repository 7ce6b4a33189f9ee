//! The one owner of a node's overlay networks: takes commands and gossip in, and makes the data plane follow.
//!
//! What is wished for a network is always derived anew from facts, records and local endpoints, and given to the data
//! plane as a whole, which changes what differs. So nothing depends on the order in which news came, and a failure is
//! mended by trying again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use overlay_network::dns::DnsServers;
use overlay_network::rules::IngressRules;
use overlay_network::{OverlayConfig, OverlayDriver, OverlayPort};
use swarm_gossip::Event;
use swarm_gossip::view::{NetworkView, network_view};
use swarm_types::{EndpointKind, EndpointRecord, Network, NetworkId, NetworkPeer, NodeId};
use tokio::sync::{mpsc, oneshot};
use tracing::{info, warn};

use super::facts::{FactsFile, NetworkFacts};
use super::{Gateway, Joining, NetworkStatus, Places, plan};
use crate::gossip_io::GossipHandle;

/// The port that nodes gossip on; Docker's.
const GOSSIP_PORT: u16 = 7946;

/// What could not be applied is tried again after so long.
const RETRY: Duration = Duration::from_secs(1);

/// After a restart the data plane is left as it was found for so long: until the other nodes have repeated what they have,
/// the records here are incomplete, and acting on them would cut connections that work.
const HOLD: Duration = Duration::from_secs(2);

/// So often the kernel is compared with what it should have, also when nothing is known to have changed: somebody may have
/// removed a link or a rule by hand.
const AUDIT: Duration = Duration::from_secs(30);

/// How long a task that stops waits for the other nodes to know. They are told within milliseconds; one that does not
/// answer is not worth more of the task's time.
const SETTLE: Duration = Duration::from_millis(300);

/// What the keeper is asked to do.
pub(super) enum Command {
    Facts(Option<Box<NetworkFacts>>),
    Join(Box<Joining>, oneshot::Sender<Result<(), String>>),
    Serve { container: String, serving: bool, done: oneshot::Sender<()> },
    Leave { container: String, network: Option<NetworkId>, done: oneshot::Sender<()> },
    Status(NetworkId, oneshot::Sender<Option<NetworkStatus>>),
    Known(oneshot::Sender<Vec<Arc<Network>>>),
}

/// See the module.
pub(super) struct Keeper {
    places: Places,
    file: FactsFile,
    gateway: Arc<dyn Gateway>,
    dns: DnsServers,
    facts: Option<Box<NetworkFacts>>,
    driver: Option<OverlayDriver>,
    gossip: Option<GossipHandle>,
    events: Option<mpsc::UnboundedReceiver<Event>>,
    records: BTreeMap<NodeId, BTreeMap<(NetworkId, String), EndpointRecord>>,
    peers: BTreeMap<NodeId, NetworkPeer>,
    local: BTreeMap<String, Joining>,
    /// Networks whose data plane is to be looked at.
    dirty: BTreeSet<NetworkId>,
    /// Networks that this node has a namespace for.
    present: BTreeSet<NetworkId>,
    /// The last hand-over that the gateway took; `None` when it is not known whether it still holds.
    handed_over: Option<Option<IngressRules>>,
    /// Who waits for the data plane to have followed.
    waiting: Vec<oneshot::Sender<Result<(), String>>>,
    retry: bool,
    /// Since when the data plane may be changed.
    hold_until: Option<tokio::time::Instant>,
    /// Whether to look for namespaces that are left over.
    sweep: bool,
}

impl Keeper {
    pub fn new(places: Places, gateway: Arc<dyn Gateway>, dns: DnsServers) -> Self {
        Self {
            file: FactsFile::in_dir(&places.state_dir),
            places,
            gateway,
            dns,
            facts: None,
            driver: None,
            gossip: None,
            events: None,
            records: BTreeMap::new(),
            peers: BTreeMap::new(),
            local: BTreeMap::new(),
            dirty: BTreeSet::new(),
            present: BTreeSet::new(),
            handed_over: Some(None),
            waiting: Vec::new(),
            retry: false,
            hold_until: None,
            sweep: false,
        }
    }

    pub async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Command>) {
        if let Some(facts) = self.file.read() {
            self.hold_until = Some(tokio::time::Instant::now() + HOLD);
            self.enter(Box::new(facts)).await;
            self.settle().await;
        }
        let mut audit = tokio::time::interval_at(tokio::time::Instant::now() + AUDIT, AUDIT);
        audit.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                command = inbox.recv() => match command {
                    Some(command) => self.command(command).await,
                    None => return,
                },
                Some(event) = next(&mut self.events) => self.heard(event),
                () = tokio::time::sleep(RETRY), if self.retry => {}
                _ = audit.tick() => self.audit(),
            }
            // What came meanwhile is taken in before the data plane is touched: a burst costs one pass, not many.
            loop {
                if let Ok(command) = inbox.try_recv() {
                    self.command(command).await;
                } else if let Some(event) = self.events.as_mut().and_then(|events| events.try_recv().ok()) {
                    self.heard(event);
                } else {
                    break;
                }
            }
            self.settle().await;
        }
    }

    /// Has the whole data plane looked at, the hand-over included.
    fn audit(&mut self) {
        self.dirty.extend(self.present.iter().copied());
        self.handed_over = self.handed_over.take().filter(Option::is_none);
        self.sweep = true;
    }

    /// Removes namespaces of networks that this node has no part in: a daemon that dies after it was told that a network is
    /// gone, and before it has removed it, leaves one behind that the next one is never told of. At the first audit, the
    /// containers that run have long been found again.
    async fn sweep(&mut self) -> Result<(), overlay_network::NetError> {
        let (Some(facts), Some(driver)) = (&self.facts, &mut self.driver) else { return Ok(()) };
        let known = facts.networks.iter().map(|network| network.id);
        let used = self.local.values().flat_map(|one| one.attachments.iter().map(|(at, _)| at.network));
        let keep = known.chain(used).chain(self.present.iter().copied()).map(|id| id.to_string()).collect();
        driver.retain(&keep).await
    }

    async fn command(&mut self, command: Command) {
        match command {
            Command::Facts(Some(facts)) => self.learn(facts).await,
            Command::Facts(None) => self.quit().await,
            Command::Join(joining, reply) => match self.join(*joining).await {
                // Told once the data plane has followed: the container finds everything working.
                Ok(()) => self.waiting.push(reply),
                Err(error) => drop(reply.send(Err(error))),
            },
            Command::Serve { container, serving, done } => self.serve(&container, serving, done),
            Command::Leave { container, network, done } => {
                self.leave(&container, network).await;
                let _ = done.send(());
            }
            Command::Status(network, reply) => drop(reply.send(self.status(network))),
            Command::Known(reply) => {
                let known = self.facts.as_ref().map(|facts| facts.networks.clone());
                let _ = reply.send(known.unwrap_or_default());
            }
        }
    }

    async fn learn(&mut self, facts: Box<NetworkFacts>) {
        if self.facts.as_ref() == Some(&facts) {
            return;
        }
        if self.facts.as_ref().is_some_and(|before| before.is_another_life(&facts)) {
            self.quit().await;
        }
        if let Err(error) = self.file.write(&facts) {
            warn!("{error}");
        }
        self.enter(facts).await;
    }

    /// Takes facts on, the first ones or others.
    async fn enter(&mut self, facts: Box<NetworkFacts>) {
        if self.driver.is_none() {
            let config = OverlayConfig {
                data_path: facts.data_path,
                port: facts.data_path_port,
                netns_dir: self.places.netns_dir.clone(),
            };
            match OverlayDriver::open(config).await {
                Ok(driver) => self.driver = Some(driver),
                Err(error) => warn!("this node can take part in no overlay network: {error}"),
            }
        }
        let seeds = facts.managers.iter().filter(|ip| **ip != facts.address);
        let seeds = seeds.map(|ip| std::net::SocketAddr::new(*ip, GOSSIP_PORT)).collect();
        match &self.gossip {
            Some(gossip) => {
                gossip.keys(facts.keys.clone());
                gossip.seeds(seeds);
            }
            None => self.start_gossip(&facts, seeds).await,
        }
        let before = self.facts.replace(facts);
        let Some(facts) = &self.facts else { return };
        let old = before.iter().flat_map(|facts| &facts.networks).map(|network| network.id);
        self.dirty.extend(facts.networks.iter().map(|network| network.id).chain(old));
        for (id, attachment) in &facts.attachments {
            let known = before.as_ref().and_then(|before| before.attachments.get(id));
            if known != Some(attachment) {
                let record = EndpointRecord {
                    network: *id,
                    id: balancer_id(facts.node),
                    kind: EndpointKind::LoadBalancer,
                    name: String::new(),
                    addresses: attachment.addresses.iter().filter_map(|text| plan::host(text)).collect(),
                    aliases: Vec::new(),
                    service: None,
                    serving: false,
                };
                publish(&self.gossip, &mut self.records, facts.node, record);
            }
        }
        let gone = before.iter().flat_map(|before| before.attachments.keys());
        for id in gone.filter(|id| !facts.attachments.contains_key(id)) {
            withdraw(&self.gossip, &mut self.records, facts.node, *id, &balancer_id(facts.node));
        }
    }

    async fn start_gossip(&mut self, facts: &NetworkFacts, seeds: Vec<std::net::SocketAddr>) {
        let me = NetworkPeer {
            id: facts.node,
            name: facts.name.clone(),
            addr: std::net::SocketAddr::new(facts.address, GOSSIP_PORT),
            data_path: facts.data_path,
        };
        self.peers.insert(facts.node, me.clone());
        let everywhere = match facts.address {
            std::net::IpAddr::V4(_) => std::net::IpAddr::from([0, 0, 0, 0]),
            std::net::IpAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
        };
        match GossipHandle::start(me, everywhere, GOSSIP_PORT, facts.keys.clone()).await {
            Ok((gossip, events)) => {
                gossip.seeds(seeds);
                for record in self.records.values().flat_map(BTreeMap::values) {
                    gossip.publish(record.clone());
                }
                (self.gossip, self.events) = (Some(gossip), Some(events));
            }
            Err(error) => {
                warn!("cannot listen on port {GOSSIP_PORT} for the other nodes' endpoints: {error}; trying again");
                self.retry = true;
            }
        }
    }

    /// The node has left the swarm.
    async fn quit(&mut self) {
        for (container, _) in std::mem::take(&mut self.local) {
            self.dns.stop(&container);
        }
        for network in std::mem::take(&mut self.present) {
            self.dns.update(|names| names.remove_network(&network.to_string()));
        }
        if let Some(gossip) = self.gossip.take() {
            gossip.leave().await;
        }
        self.events = None;
        self.records.clear();
        self.peers.clear();
        self.dirty.clear();
        self.facts = None;
        self.hand_over(None).await;
        if let Some(mut driver) = self.driver.take()
            && let Err(error) = driver.retain(&BTreeSet::new()).await
        {
            warn!("taking the overlay networks down: {error}");
        }
        if let Err(error) = self.file.remove() {
            warn!("{error}");
        }
    }

    fn heard(&mut self, event: Event) {
        match event {
            Event::Up(peer) => {
                info!("node {} ({}) takes part in the networks", peer.name, peer.id);
                self.dirty.extend(self.records.get(&peer.id).into_iter().flatten().map(|((network, _), _)| *network));
                self.peers.insert(peer.id, peer);
            }
            Event::Down(node) => {
                if let Some(peer) = self.peers.remove(&node) {
                    info!("node {} ({node}) takes no part in the networks any more", peer.name);
                }
                let gone = self.records.remove(&node);
                self.dirty.extend(gone.into_iter().flatten().map(|((network, _), _)| network));
            }
            Event::Changed { owner, record } => {
                self.dirty.insert(record.network);
                self.records.entry(owner).or_default().insert((record.network, record.id.clone()), record);
            }
            Event::Removed { owner, network, id } => {
                self.dirty.insert(network);
                if let Some(records) = self.records.get_mut(&owner) {
                    records.remove(&(network, id));
                }
            }
        }
    }

    async fn join(&mut self, joining: Joining) -> Result<(), String> {
        let Some(facts) = &self.facts else { return Err("this node is not part of a swarm".to_owned()) };
        let node = facts.node;
        for (attachment, interface) in &joining.attachments {
            let id = attachment.network;
            let named = |error: String| format!("network {}: {error}", attachment.name);
            self.ensure(id).await.map_err(named)?;
            let hosts: Vec<_> = attachment.addresses.iter().map(|cidr| cidr.address).collect();
            let mac =
                plan::mac(&hosts).ok_or_else(|| named("no IPv4 address was given to the container".to_owned()))?;
            let port = OverlayPort {
                endpoint: joining.container.clone(),
                pid: joining.pid,
                interface: interface.clone(),
                addresses: attachment.addresses.clone(),
                mac,
            };
            let Some(driver) = &mut self.driver else {
                return Err(named("there are no overlay networks on this machine: see `swarmlab doctor`".to_owned()));
            };
            driver.attach(&id.to_string(), &port).await.map_err(|error| named(error.to_string()))?;
            self.dirty.insert(id);
            let record = record(&joining, attachment, hosts);
            publish(&self.gossip, &mut self.records, node, record);
        }
        self.local.insert(joining.container.clone(), joining);
        Ok(())
    }

    fn serve(&mut self, container: &str, serving: bool, done: oneshot::Sender<()>) {
        let (Some(facts), Some(joining)) = (&self.facts, self.local.get_mut(container)) else { return };
        joining.serving = serving;
        let mut told = Vec::new();
        for (attachment, _) in joining.attachments.iter().filter(|(attachment, _)| attachment.service.is_some()) {
            let hosts = attachment.addresses.iter().map(|cidr| cidr.address).collect();
            let record = record(joining, attachment, hosts);
            told.push((record.network, record.id.clone()));
            self.dirty.insert(record.network);
            publish(&self.gossip, &mut self.records, facts.node, record);
        }
        // Only a task that stops has to wait for the others; one that starts is of use where it is known already.
        if let Some(gossip) = self.gossip.clone().filter(|_| !serving && !told.is_empty()) {
            tokio::spawn(async move {
                for (network, id) in told {
                    gossip.settled(network, id, SETTLE).await;
                }
                let _ = done.send(());
            });
        }
    }

    async fn leave(&mut self, container: &str, network: Option<NetworkId>) {
        let Some(joining) = self.local.get_mut(container) else { return };
        let leaves = |attachment: &super::SwarmAttachment| network.is_none_or(|id| attachment.network == id);
        let (left, kept) = std::mem::take(&mut joining.attachments).into_iter().partition(|(one, _)| leaves(one));
        joining.attachments = kept;
        if joining.attachments.is_empty() {
            self.local.remove(container);
        }
        let left: Vec<(super::SwarmAttachment, String)> = left;
        for (attachment, _) in left {
            let id = attachment.network;
            if let Some(driver) = &mut self.driver
                && let Err(error) = driver.detach(&id.to_string(), container).await
            {
                warn!(%container, network = %attachment.name, "taking it from its network: {error}");
            }
            if let Some(facts) = &self.facts {
                withdraw(&self.gossip, &mut self.records, facts.node, id, container);
            }
            self.dirty.insert(id);
        }
    }

    /// Makes the data plane follow, for all that changed.
    async fn settle(&mut self) {
        self.retry = self.gossip.is_none() && self.facts.is_some();
        if self.retry
            && let Some(facts) = self.facts.clone()
        {
            let seeds = facts.managers.iter().map(|ip| std::net::SocketAddr::new(*ip, GOSSIP_PORT)).collect();
            self.start_gossip(&facts, seeds).await;
        }
        let holds = self.hold_until.is_some_and(|until| tokio::time::Instant::now() < until);
        self.retry |= holds;
        let dirty = if holds { BTreeSet::new() } else { std::mem::take(&mut self.dirty) };
        for id in dirty {
            if let Err(error) = self.follow(id).await {
                warn!(network = %id, "its data plane does not follow: {error}; trying again");
                self.dirty.insert(id);
                self.retry = true;
            }
        }
        if !holds
            && std::mem::take(&mut self.sweep)
            && let Err(error) = self.sweep().await
        {
            warn!("removing what is left of former networks: {error}");
        }
        for reply in self.waiting.drain(..) {
            let _ = reply.send(Ok(()));
        }
    }

    /// One network: its namespace, peers, services and names, or its removal.
    async fn follow(&mut self, id: NetworkId) -> Result<(), String> {
        let key = id.to_string();
        let Some(network) = self.network(id).filter(|network| plan::is_overlay(network)) else {
            let used = self.local.values().any(|one| one.attachments.iter().any(|(at, _)| at.network == id));
            if !used && self.present.remove(&id) {
                self.dns.update(|names| names.remove_network(&key));
                if let Some(driver) = &mut self.driver {
                    driver.remove(&key).await.map_err(|error| error.to_string())?;
                }
            }
            return Ok(());
        };
        if self.driver.is_none() {
            return Ok(());
        }
        self.ensure(id).await?;
        let view = self.view(id);
        let Some(driver) = &mut self.driver else { return Ok(()) };
        let text = |error: overlay_network::NetError| error.to_string();
        driver.set_peers(&key, &plan::peers(&view)).await.map_err(text)?;
        driver.set_services(&key, &plan::services(&view)).await.map_err(text)?;
        let name = network.spec.annotations.name.clone();
        if network.spec.ingress {
            let link = self.gateway.ingress_link().await?;
            driver.connect_ingress(&key, &link).await.map_err(text)?;
            let rules =
                IngressRules { bridge: link.bridge, to: vec![link.address.address], ports: plan::published(&view) };
            self.hand_over(Some(rules).filter(|rules| !rules.ports.is_empty())).await;
        } else {
            self.dns.update(|names| names.set_network(&key, plan::names(&view, &name)));
        }
        Ok(())
    }

    async fn hand_over(&mut self, rules: Option<IngressRules>) {
        if self.handed_over.as_ref() == Some(&rules) {
            return;
        }
        match self.gateway.hand_over(rules.clone()).await {
            Ok(()) => self.handed_over = Some(rules),
            Err(error) => {
                warn!("published ports do not reach the ingress network: {error}; trying again");
                self.dirty.extend(self.present.iter().copied());
                self.retry = true;
            }
        }
    }

    async fn ensure(&mut self, id: NetworkId) -> Result<(), String> {
        let network = self.network(id).ok_or("the managers have not told this node of it")?;
        let attachment = self.facts.as_ref().and_then(|facts| facts.attachments.get(&id));
        let overlay = plan::overlay(&network, attachment).map_err(|error| error.to_string())?;
        let driver =
            self.driver.as_mut().ok_or("there are no overlay networks on this machine: see `swarmlab doctor`")?;
        driver.ensure(&overlay).await.map_err(|error| error.to_string())?;
        self.present.insert(id);
        Ok(())
    }

    fn network(&self, id: NetworkId) -> Option<Arc<Network>> {
        self.facts.as_ref()?.networks.iter().find(|network| network.id == id).cloned()
    }

    fn view(&self, id: NetworkId) -> NetworkView {
        let Some(facts) = &self.facts else { return NetworkView::default() };
        let records = self.records.iter().flat_map(|(owner, of)| of.values().map(|record| (*owner, record)));
        network_view(facts.node, id, records, &self.peers)
    }

    fn status(&self, id: NetworkId) -> Option<NetworkStatus> {
        let network = self.network(id)?;
        let node = self.facts.as_ref()?.node;
        let (mut peers, mut endpoints) = (Vec::new(), Vec::new());
        for peer in self.peers.values() {
            let records = self.records.get(&peer.id).into_iter().flat_map(BTreeMap::values);
            let before = endpoints.len();
            endpoints.extend(records.filter(|one| one.network == id).map(|record| (peer.clone(), record.clone())));
            if endpoints.len() > before {
                peers.push(peer.clone());
            }
        }
        Some(NetworkStatus { node, network, peers, view: self.view(id), endpoints })
    }
}

/// The next event, or never while there is no gossip.
async fn next(events: &mut Option<mpsc::UnboundedReceiver<Event>>) -> Option<Event> {
    match events {
        Some(events) => events.recv().await,
        None => std::future::pending().await,
    }
}

fn balancer_id(node: NodeId) -> String {
    format!("lb-{node}")
}

fn record(joining: &Joining, attachment: &super::SwarmAttachment, addresses: Vec<std::net::IpAddr>) -> EndpointRecord {
    EndpointRecord {
        network: attachment.network,
        id: joining.container.clone(),
        kind: joining.kind,
        name: joining.name.clone(),
        addresses,
        aliases: attachment.aliases.clone(),
        service: attachment.service.clone(),
        serving: joining.serving,
    }
}

type Records = BTreeMap<NodeId, BTreeMap<(NetworkId, String), EndpointRecord>>;

fn publish(gossip: &Option<GossipHandle>, records: &mut Records, me: NodeId, record: EndpointRecord) {
    let own = records.entry(me).or_default();
    let key = (record.network, record.id.clone());
    if own.get(&key) == Some(&record) {
        return;
    }
    own.insert(key, record.clone());
    if let Some(gossip) = gossip {
        gossip.publish(record);
    }
}

fn withdraw(gossip: &Option<GossipHandle>, records: &mut Records, me: NodeId, network: NetworkId, id: &str) {
    let known = records.get_mut(&me).is_some_and(|own| own.remove(&(network, id.to_owned())).is_some());
    if let Some(gossip) = gossip.as_ref().filter(|_| known) {
        gossip.withdraw(network, id.to_owned());
    }
}
