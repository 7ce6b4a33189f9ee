//! Nothing is given twice, and nothing is kept that nobody has: over long lives, and over random ones.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// What happens to a swarm. Numbers choose among what is there.
#[derive(Debug, Clone)]
enum Op {
    CreateNetwork {
        ipv6: bool,
        small: bool,
    },
    RemoveNetwork(u8),
    CreateService {
        networks: Vec<u8>,
        ports: u8,
        dnsrr: bool,
    },
    UpdateService {
        which: u8,
        networks: Vec<u8>,
        ports: u8,
    },
    RemoveService(u8),
    CreateTask(u8),
    Place {
        task: u8,
        node: u8,
    },
    End(u8),
    RemoveTask(u8),
    Attach {
        network: u8,
        node: u8,
    },
    AddNode,
    RemoveNode(u8),
    /// Another manager leads: what its allocator knows follows from the store alone.
    NewLeader,
    /// A proposal of the allocator's never gets into the log.
    LoseProposal,
}

fn op() -> impl Strategy<Value = Op> {
    let networks = || proptest::collection::vec(any::<u8>(), 0..3);
    prop_oneof![
        2 => (any::<bool>(), any::<bool>()).prop_map(|(ipv6, small)| Op::CreateNetwork { ipv6, small }),
        1 => any::<u8>().prop_map(Op::RemoveNetwork),
        3 => (networks(), 0u8..3, any::<bool>())
            .prop_map(|(networks, ports, dnsrr)| Op::CreateService { networks, ports, dnsrr }),
        2 => (any::<u8>(), networks(), 0u8..3)
            .prop_map(|(which, networks, ports)| Op::UpdateService { which, networks, ports }),
        2 => any::<u8>().prop_map(Op::RemoveService),
        8 => any::<u8>().prop_map(Op::CreateTask),
        6 => (any::<u8>(), any::<u8>()).prop_map(|(task, node)| Op::Place { task, node }),
        4 => any::<u8>().prop_map(Op::End),
        3 => any::<u8>().prop_map(Op::RemoveTask),
        2 => (any::<u8>(), any::<u8>()).prop_map(|(network, node)| Op::Attach { network, node }),
        1 => Just(Op::AddNode),
        1 => any::<u8>().prop_map(Op::RemoveNode),
        1 => Just(Op::NewLeader),
        1 => Just(Op::LoseProposal),
    ]
}

/// A swarm that ops happen to.
struct Life {
    swarm: Swarm,
    next: u128,
}

fn pick<T: Clone>(all: Vec<T>, number: u8) -> Option<T> {
    (!all.is_empty()).then(|| all[usize::from(number) % all.len()].clone())
}

impl Life {
    fn new() -> Self {
        Self { swarm: Swarm::new(vec![mesh(), Object::Node(node(1).into())]), next: 10 }
    }

    fn create(&mut self, object: Object) {
        self.swarm.apply(vec![StoreAction::Create(object)]);
    }

    fn fresh(&mut self) -> u128 {
        self.next += 1;
        self.next
    }

    fn overlays(&self) -> Vec<String> {
        self.swarm.store.networks().iter().filter(|n| !n.spec.ingress).map(|n| n.id.to_string()).collect()
    }

    fn attachments(&self, numbers: &[u8]) -> Vec<NetworkAttachmentConfig> {
        let targets = numbers.iter().filter_map(|number| pick(self.overlays(), *number));
        targets.map(|target| NetworkAttachmentConfig { target, ..Default::default() }).collect()
    }

    fn services(&self) -> Vec<Arc<Service>> {
        self.swarm.store.services().iter().cloned().collect()
    }

    fn tasks(&self) -> Vec<Arc<Task>> {
        self.swarm.store.tasks().iter().cloned().collect()
    }

    fn nodes(&self) -> Vec<NodeId> {
        self.swarm.store.nodes().iter().map(|node| node.id).collect()
    }

    fn happen(&mut self, op: &Op) {
        match op {
            Op::CreateNetwork { ipv6, small } => {
                let bits = self.fresh();
                let mut new = network(bits, &format!("n{bits}"));
                new.spec.ipv6 = *ipv6;
                if *small {
                    // Seven hosts: it fills up soon.
                    let subnet = format!("192.168.{}.0/29", bits % 256);
                    let configs = vec![IpamConfig { subnet, ..IpamConfig::default() }];
                    new.spec.ipam = Some(IpamOptions { configs, ..IpamOptions::default() });
                }
                self.create(Object::Network(new.into()));
            }
            Op::RemoveNetwork(number) => {
                // The control API keeps those that are asked for by a service or an attachment.
                let used: BTreeSet<String> = self
                    .services()
                    .iter()
                    .flat_map(|service| service.spec.task.networks.clone())
                    .chain(self.tasks().iter().flat_map(|task| task.spec.networks.clone()))
                    .map(|config| config.target)
                    .collect();
                let free = self.overlays().into_iter().filter(|id| !used.contains(id)).collect();
                if let Some(id) = pick(free, *number) {
                    self.swarm.apply(vec![StoreAction::Remove(ObjectId::Network(id.parse().unwrap()))]);
                }
            }
            Op::CreateService { networks, ports, dnsrr } => {
                let bits = self.fresh();
                let ports = (0..*ports).map(|_| port(0)).collect();
                let mut new = service(bits, &format!("s{bits}"), ports, &[]);
                new.spec.task = TaskSpec { networks: self.attachments(networks), ..TaskSpec::default() }.into();
                let endpoint = new.spec.endpoint.as_mut().unwrap();
                if *dnsrr && endpoint.ports.is_empty() {
                    endpoint.mode = EndpointMode::DnsRoundRobin;
                }
                self.create(Object::Service(new.into()));
            }
            Op::UpdateService { which, networks, ports } => {
                if let Some(old) = pick(self.services(), *which) {
                    let mut new = Service::clone(&old);
                    new.spec.task = TaskSpec { networks: self.attachments(networks), ..TaskSpec::default() }.into();
                    let endpoint = new.spec.endpoint.as_mut().unwrap();
                    if endpoint.mode == EndpointMode::Vip {
                        endpoint.ports = (0..*ports).map(|number| port(9_000 + u16::from(number))).collect();
                    }
                    self.swarm.apply(vec![StoreAction::Update(Object::Service(new.into()))]);
                }
            }
            Op::RemoveService(number) => {
                if let Some(service) = pick(self.services(), *number) {
                    self.swarm.apply(vec![StoreAction::Remove(ObjectId::Service(service.id))]);
                }
            }
            Op::CreateTask(number) => {
                if let Some(service) = pick(self.services(), *number) {
                    let bits = self.fresh();
                    self.create(Object::Task(task(bits, &service).into()));
                }
            }
            Op::Place { task, node } => {
                let pending = self.tasks().into_iter().filter(|t| t.status.state == TaskState::Pending).collect();
                if let (Some(task), Some(node)) = (pick(pending, *task), pick(self.nodes(), *node)) {
                    self.swarm.place(task.id.bits(), node.bits());
                }
            }
            Op::End(number) => {
                let alive = self.tasks().into_iter().filter(|t| !t.status.state.is_terminal()).collect();
                if let Some(task) = pick(alive, *number) {
                    let status = TaskStatus { state: TaskState::Failed, ..task.status.clone() };
                    self.swarm.apply(vec![StoreAction::SetTaskStatus { id: task.id, status }]);
                }
            }
            Op::RemoveTask(number) => {
                if let Some(task) = pick(self.tasks(), *number) {
                    self.swarm.apply(vec![StoreAction::Remove(ObjectId::Task(task.id))]);
                }
            }
            Op::Attach { network, node } => {
                let networks = self.attachments(&[*network]);
                if let (Some(node), false) = (pick(self.nodes(), *node), networks.is_empty()) {
                    let bits = self.fresh();
                    let mut new = task(bits, &service(1, "none", vec![], &[]));
                    let attachment = Some(AttachmentSpec { container_id: format!("c{bits}") });
                    new.spec = TaskSpec { attachment, networks, ..TaskSpec::default() }.into();
                    (new.service_id, new.node_id) = (None, Some(node));
                    self.create(Object::Task(new.into()));
                }
            }
            Op::AddNode => {
                let bits = self.fresh();
                self.create(Object::Node(node(bits).into()));
            }
            Op::RemoveNode(number) => {
                if let Some(id) = pick(self.nodes(), *number).filter(|_| self.nodes().len() > 1) {
                    let lost = self.tasks().into_iter().filter(|t| t.node_id == Some(id)).map(|task| {
                        let status = TaskStatus { state: TaskState::Orphaned, ..task.status.clone() };
                        StoreAction::SetTaskStatus { id: task.id, status }
                    });
                    let mut actions: Vec<StoreAction> = lost.collect();
                    actions.push(StoreAction::Remove(ObjectId::Node(id)));
                    self.swarm.apply(actions);
                }
            }
            Op::NewLeader => {
                self.swarm.allocator = Allocator::new();
                self.swarm.allocator.start(Timestamp::ZERO, &self.swarm.store);
            }
            Op::LoseProposal => drop(self.swarm.allocator.poll_actions(Timestamp::ZERO, &self.swarm.store)),
        }
    }

    /// Who has which address, from the store alone.
    fn holders(&self) -> BTreeMap<(NetworkId, String), BTreeSet<String>> {
        let store = &self.swarm.store;
        let mut holders: BTreeMap<(NetworkId, String), BTreeSet<String>> = BTreeMap::new();
        let mut hold = |network: NetworkId, address: &str, who: String| {
            if store.networks().get(network).is_some() {
                let address = address.split('/').next().unwrap().to_owned();
                holders.entry((network, address)).or_default().insert(who);
            }
        };
        for network in store.networks().iter() {
            for config in network.ipam.iter().flat_map(|ipam| &ipam.configs) {
                hold(network.id, &config.gateway, "gateway".to_owned());
            }
        }
        for service in store.services().iter() {
            for vip in service.endpoint.iter().flat_map(|endpoint| &endpoint.virtual_ips) {
                hold(vip.network_id, &vip.address, format!("service {}", service.id));
            }
        }
        for task in store.tasks().iter().filter(|task| !task.status.state.is_terminal()) {
            for attachment in &task.networks {
                let address = |address: &String| (attachment.network_id, address.clone());
                for (network, address) in attachment.addresses.iter().map(address) {
                    hold(network, &address, format!("task {}", task.id));
                }
            }
            // what it was made with, also when its service has another or none by now
            for vip in task.endpoint.iter().flat_map(|endpoint| &endpoint.virtual_ips) {
                let service = task.service_id.map(|service| service.to_string()).unwrap_or_default();
                hold(vip.network_id, &vip.address, format!("service {service}"));
            }
        }
        for node in store.nodes().iter() {
            for attachment in node.attachments.values() {
                for address in &attachment.addresses {
                    hold(attachment.network_id, address, format!("node {}", node.id));
                }
            }
        }
        holders
    }

    fn check(&self) {
        assert!(self.swarm.allocator.networks.is_settled());
        let holders = self.holders();
        for ((network, address), who) in &holders {
            assert_eq!(who.len(), 1, "{address} on {network} is held by {who:?}");
        }
        let store = &self.swarm.store;
        for network in store.networks().iter() {
            let known = holders.keys().filter(|(of, _)| *of == network.id).count();
            assert_eq!(self.swarm.allocator.networks.in_use(network.id), known, "on {}", network.spec.annotations.name);
        }
        for task in store.tasks().iter().filter(|t| t.status.state > TaskState::New && !t.status.state.is_terminal()) {
            for attachment in &task.networks {
                let Some(network) = store.networks().get(attachment.network_id) else { continue };
                let families = if network.spec.ipv6 { 2 } else { 1 };
                assert_eq!(attachment.addresses.len(), families, "task {} on {}", task.id, network.id);
            }
        }
        let mut ports = BTreeMap::new();
        for service in store.services().iter() {
            for port in service.endpoint.iter().flat_map(|endpoint| &endpoint.ports) {
                let other = ports.insert((port.protocol, port.published_port), service.id);
                assert!(other.is_none_or(|other| other == service.id), "port {} twice", port.published_port);
            }
        }
    }

    /// Everything goes; what is left in use afterwards was leaked.
    fn end(&mut self) {
        let tasks = self.tasks().into_iter().map(|task| ObjectId::Task(task.id));
        let services = self.services().into_iter().map(|service| ObjectId::Service(service.id));
        let gone: Vec<StoreAction> = tasks.chain(services).map(StoreAction::Remove).collect();
        self.swarm.apply(gone);
        self.swarm.settle();
        self.check();
        for network in self.swarm.store.networks().iter().filter(|network| network.ipam.is_some()) {
            let gateways = if network.spec.ipv6 { 2 } else { 1 };
            let nodes = if network.spec.ingress { self.nodes().len() } else { 0 };
            assert_eq!(self.swarm.allocator.networks.in_use(network.id), gateways + nodes);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_given_twice_and_nothing_is_lost(ops in proptest::collection::vec(op(), 1..120)) {
        let mut life = Life::new();
        for op in &ops {
            life.happen(op);
            if !matches!(op, Op::LoseProposal) {
                life.swarm.settle();
                life.check();
            }
        }
        life.end();
    }
}

/// Services on three networks (one with IPv6), with ports that are assigned and ports that are named, one of round
/// robin without virtual addresses, and containers that are attached; all of them gone again in the end.
#[test]
fn ten_thousand_tasks_and_services_leave_nothing_behind() {
    let mut life = Life::new();
    for (bits, name) in [(2, "front"), (3, "back"), (4, "six")] {
        let mut new = network(bits, name);
        new.spec.ipv6 = name == "six";
        life.create(Object::Network(new.into()));
    }
    life.swarm.settle();
    let (mut done, mut round) = (0, 0u64);
    while done < 10_000 {
        round += 1;
        let (service_bits, first) = (life.fresh(), life.next + 1);
        let ports = vec![port(0), port(8_080), PortConfig { protocol: PortProtocol::Udp, ..port(0) }];
        let mut web = service(service_bits, &format!("s{service_bits}"), ports, &["front", "back", "six"]);
        if round.is_multiple_of(5) {
            // Round robin goes without the routing mesh.
            web.spec.endpoint = Some(EndpointSpec { mode: EndpointMode::DnsRoundRobin, ports: Vec::new() });
        }
        life.create(Object::Service(web.clone().into()));
        let tasks: Vec<u128> = (0..99).map(|_| life.fresh()).collect();
        let create = |bits: &u128| StoreAction::Create(Object::Task(task(*bits, &web).into()));
        life.swarm.apply(tasks.iter().map(create).collect());
        life.happen(&Op::Attach { network: round.to_le_bytes()[0], node: 0 });
        life.swarm.settle();
        for bits in &tasks {
            let read = life.swarm.task(*bits).meta.version;
            let status = TaskStatus { state: TaskState::Assigned, ..TaskStatus::default() };
            let (id, node) = (TaskId::from_bits(*bits), NodeId::from_bits(1));
            life.swarm.apply(vec![StoreAction::AssignTask { id, read, node, resources: Vec::new(), status }]);
        }
        life.swarm.settle();
        let on_mesh = usize::from(!round.is_multiple_of(5));
        assert_eq!(life.swarm.task(first).networks.len(), 3 + on_mesh);
        assert_eq!(life.swarm.endpoint(service_bits).virtual_ips.len(), if on_mesh == 1 { 5 } else { 0 });
        if round % 10 == 1 {
            life.check();
            life.happen(&Op::NewLeader);
            life.happen(&Op::LoseProposal);
        }
        // Some end before they are removed, some while they run; the services go before the last tasks do.
        let ended = tasks.iter().step_by(2).map(|bits| StoreAction::SetTaskStatus {
            id: TaskId::from_bits(*bits),
            status: TaskStatus { state: TaskState::Failed, ..TaskStatus::default() },
        });
        life.swarm.apply(ended.collect());
        life.swarm.apply(vec![StoreAction::Remove(ObjectId::Service(web.id))]);
        let attached = life.tasks().into_iter().filter(|task| task.spec.attachment.is_some()).map(|task| task.id);
        let ids = attached.chain(tasks.iter().map(|bits| TaskId::from_bits(*bits)));
        life.swarm.apply(ids.map(|id| StoreAction::Remove(ObjectId::Task(id))).collect());
        life.swarm.settle();
        let in_use = |bits| life.swarm.allocator.networks.in_use(NetworkId::from_bits(bits));
        assert_eq!([in_use(1), in_use(2), in_use(3), in_use(4)], [2, 1, 1, 2], "gateways, and a node on the mesh");
        assert_eq!(life.swarm.allocator.ports.in_use(), 0, "in round {round}");
        done += 100;
    }
    life.end();
}
