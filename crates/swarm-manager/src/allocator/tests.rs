//! Facts about the allocator: a store, and the allocator's proposals applied to it.
#![allow(clippy::unwrap_used)]

mod leaks;
mod subnets;

use super::*;
use crate::store::Proposal;

struct Swarm {
    store: Store,
    allocator: Allocator,
    index: u64,
}

fn network(bits: u128, name: &str) -> Network {
    Network {
        id: NetworkId::from_bits(bits),
        meta: Meta::default(),
        spec: NetworkSpec {
            annotations: Annotations::named(name),
            driver: Some(Driver { name: "overlay".to_owned(), ..Driver::default() }),
            ingress: name == "ingress",
            ..NetworkSpec::default()
        },
        driver_state: None,
        ipam: None,
        pending_delete: false,
    }
}

fn service(bits: u128, name: &str, ports: Vec<PortConfig>, networks: &[&str]) -> Service {
    let attach = |target: &&str| NetworkAttachmentConfig { target: (*target).to_owned(), ..Default::default() };
    Service {
        id: ServiceId::from_bits(bits),
        meta: Meta::default(),
        spec: ServiceSpec {
            annotations: Annotations::named(name),
            task: TaskSpec { networks: networks.iter().map(attach).collect(), ..TaskSpec::default() }.into(),
            mode: ServiceMode::Replicated { replicas: 1 },
            update: None,
            rollback: None,
            endpoint: Some(EndpointSpec { ports, ..EndpointSpec::default() }),
        },
        spec_version: Version(1),
        previous_spec: None,
        previous_spec_version: None,
        endpoint: None,
        update_status: None,
        job_status: None,
    }
}

fn task(bits: u128, service: &Service) -> Task {
    Task {
        id: TaskId::from_bits(bits),
        meta: Meta::default(),
        service_id: Some(service.id),
        slot: bits as u64,
        node_id: None,
        spec: service.spec.task.clone(),
        spec_version: Version(1),
        service_annotations: Arc::new(service.spec.annotations.clone()),
        status: TaskStatus::default(),
        desired_state: DesiredState::Running,
        networks: Vec::new(),
        endpoint: None,
        assigned_resources: Vec::new(),
        job_iteration: None,
    }
}

fn mesh() -> Object {
    Object::Network(network(1, "ingress").into())
}

fn port(published: u16) -> PortConfig {
    PortConfig { target_port: 80, published_port: published, ..PortConfig::default() }
}

impl Swarm {
    fn new(objects: Vec<Object>) -> Self {
        let mut swarm = Self { store: Store::default(), allocator: Allocator::new(), index: 0 };
        swarm.allocator.start(Timestamp::ZERO, &swarm.store);
        swarm.apply(objects.into_iter().map(StoreAction::Create).collect());
        swarm.settle();
        swarm
    }

    fn apply(&mut self, actions: Vec<StoreAction>) {
        self.index += 1;
        let now = Timestamp::from_secs(1);
        let proposal = Proposal { id: Default::default(), now, atomic: false, actions };
        for event in &self.store.apply(self.index, &proposal).events {
            self.allocator.handle(now, event, &self.store);
        }
    }

    fn settle(&mut self) {
        for _ in 0..1_000 {
            let actions = self.allocator.poll_actions(Timestamp::from_secs(1), &self.store);
            if actions.is_empty() {
                return;
            }
            self.apply(actions);
        }
        panic!("the allocator never comes to rest");
    }

    fn task(&self, bits: u128) -> &Task {
        self.store.tasks().get(TaskId::from_bits(bits)).unwrap()
    }

    /// A node's own addresses.
    fn addresses(&self, bits: u128) -> Vec<&str> {
        let node = self.store.nodes().get(NodeId::from_bits(bits)).unwrap();
        node.attachments.values().flat_map(|attachment| &attachment.addresses).map(String::as_str).collect()
    }

    /// The scheduler's part.
    fn place(&mut self, task: u128, node: u128) {
        let current = self.task(task);
        let status = TaskStatus { state: TaskState::Assigned, ..TaskStatus::default() };
        let (id, read) = (current.id, current.meta.version);
        let node = NodeId::from_bits(node);
        self.apply(vec![StoreAction::AssignTask { id, read, node, resources: Vec::new(), status }]);
        self.settle();
    }

    fn endpoint(&self, bits: u128) -> &Endpoint {
        self.store.services().get(ServiceId::from_bits(bits)).unwrap().endpoint.as_ref().unwrap()
    }
}

#[test]
fn a_task_without_needs_waits_for_the_scheduler_at_once() {
    let web = service(1, "web", vec![], &[]);
    let swarm = Swarm::new(vec![Object::Task(task(1, &web).into()), Object::Service(web.into())]);
    let status = &swarm.task(1).status;
    assert_eq!((status.state, status.message.as_str()), (TaskState::Pending, "pending task scheduling"));
    assert!(swarm.task(1).endpoint.is_some());
}

#[test]
fn services_get_ports_and_tasks_know_them() {
    let (web, db) = (service(1, "web", vec![port(0)], &[]), service(2, "db", vec![port(0)], &[]));
    let swarm = Swarm::new(vec![
        mesh(),
        Object::Task(task(1, &web).into()),
        Object::Service(web.into()),
        Object::Service(db.into()),
    ]);
    assert_eq!(swarm.endpoint(1).ports[0].published_port, 30_000);
    assert_eq!(swarm.endpoint(2).ports[0].published_port, 30_001);
    assert_eq!(swarm.task(1).endpoint.as_ref().unwrap().ports[0].published_port, 30_000);
}

#[test]
fn a_port_that_is_taken_is_waited_for_and_said() {
    let (web, other) = (service(1, "web", vec![port(8080)], &[]), service(2, "other", vec![port(8080)], &[]));
    let mut swarm = Swarm::new(vec![mesh(), Object::Service(web.into())]);
    swarm.apply(vec![
        StoreAction::Create(Object::Task(task(1, &other).into())),
        StoreAction::Create(Object::Service(other.into())),
    ]);
    swarm.settle();
    let expected = "port '8080' is already in use by service 'web' (0000000000000000000000001) as an ingress port";
    assert_eq!((swarm.task(1).status.state, swarm.task(1).status.err.as_str()), (TaskState::New, expected));
    swarm.apply(vec![StoreAction::Remove(ObjectId::Service(ServiceId::from_bits(1)))]);
    swarm.settle();
    assert_eq!(swarm.task(1).status.state, TaskState::Pending);
    assert_eq!(swarm.task(1).status.err, "");
}

#[test]
fn networks_get_subnets_and_ids_and_their_services_addresses() {
    let web = service(1, "web", vec![port(80)], &["front"]);
    let swarm = Swarm::new(vec![
        Object::Network(network(1, "ingress").into()),
        Object::Network(network(2, "front").into()),
        Object::Task(task(1, &web).into()),
        Object::Service(web.into()),
    ]);
    let front = swarm.store.networks().get(NetworkId::from_bits(2)).unwrap();
    assert_eq!(front.ipam.as_ref().unwrap().configs[0].subnet, "10.0.1.0/24");
    assert_eq!(front.ipam.as_ref().unwrap().configs[0].gateway, "10.0.1.1");
    assert_eq!(front.driver_state.as_ref().unwrap().options[networks::VXLAN_OPTION], "4097");
    let vips: Vec<&str> = swarm.endpoint(1).virtual_ips.iter().map(|vip| vip.address.as_str()).collect();
    assert_eq!(vips, ["10.0.0.2/24", "10.0.1.2/24"]);
    let addresses: Vec<&str> = swarm.task(1).networks.iter().map(|a| a.addresses[0].as_str()).collect();
    assert_eq!(addresses, ["10.0.0.3/24", "10.0.1.3/24"]);
}

fn node(bits: u128) -> Node {
    Node {
        id: NodeId::from_bits(bits),
        meta: Meta::default(),
        spec: NodeSpec::default(),
        role: NodeRole::Worker,
        description: None,
        status: NodeStatus::default(),
        manager_status: None,
        certificate: NodeCertificate::default(),
        attachments: Default::default(),
    }
}

#[test]
fn every_node_is_on_the_ingress_network_and_on_those_of_its_tasks() {
    let web = service(1, "web", vec![], &["front"]);
    let mut swarm = Swarm::new(vec![
        Object::Node(node(1).into()),
        Object::Node(node(2).into()),
        Object::Network(network(1, "ingress").into()),
        Object::Network(network(2, "front").into()),
        Object::Task(task(1, &web).into()),
        Object::Service(web.into()),
    ]);
    assert_eq!(swarm.addresses(1), ["10.0.0.2/24"]);
    assert_eq!(swarm.addresses(2), ["10.0.0.3/24"]);
    swarm.place(1, 1);
    assert_eq!(swarm.addresses(1), ["10.0.0.2/24", "10.0.1.4/24"]);
    assert_eq!(swarm.addresses(2), ["10.0.0.3/24"]);

    // A new leader leaves everything as it is.
    swarm.allocator.start(Timestamp::ZERO, &swarm.store);
    let index = swarm.index;
    swarm.settle();
    assert_eq!(swarm.index, index);

    let status = TaskStatus { state: TaskState::Failed, ..TaskStatus::default() };
    swarm.apply(vec![StoreAction::SetTaskStatus { id: TaskId::from_bits(1), status }]);
    swarm.settle();
    assert_eq!(swarm.addresses(1), ["10.0.0.2/24"], "no task is left on the network");
    let front = NetworkId::from_bits(2);
    assert_eq!(swarm.allocator.networks.in_use(front), 2, "gateway and virtual address");
    swarm.apply(vec![StoreAction::Remove(ObjectId::Node(NodeId::from_bits(1)))]);
    swarm.settle();
    assert_eq!(swarm.allocator.networks.in_use(NetworkId::from_bits(1)), 2, "gateway and the other node");
}

#[test]
fn an_attached_container_has_its_address_on_its_node_at_once() {
    let attachment = Some(AttachmentSpec { container_id: "c1".to_owned() });
    let config = NetworkAttachmentConfig { target: "front".to_owned(), ..Default::default() };
    let mut attached = task(1, &service(1, "none", vec![], &[]));
    attached.spec = TaskSpec { attachment, networks: vec![config], ..TaskSpec::default() }.into();
    attached.node_id = Some(NodeId::from_bits(1));
    attached.service_id = None;
    let mut swarm = Swarm::new(vec![
        Object::Node(node(1).into()),
        Object::Network(network(2, "front").into()),
        Object::Task(attached.into()),
    ]);
    assert_eq!(swarm.task(1).status.state, TaskState::Assigned);
    assert_eq!(swarm.task(1).networks[0].addresses, ["10.0.0.2/24"]);
    assert_eq!(swarm.addresses(1), ["10.0.0.3/24"]);
    swarm.apply(vec![StoreAction::Remove(ObjectId::Task(TaskId::from_bits(1)))]);
    swarm.settle();
    assert_eq!(swarm.addresses(1), [""; 0]);
    assert_eq!(swarm.allocator.networks.in_use(NetworkId::from_bits(2)), 1);
}

#[test]
fn dns_round_robin_has_no_virtual_address() {
    let mut web = service(1, "web", vec![], &["front"]);
    web.spec.endpoint.as_mut().unwrap().mode = EndpointMode::DnsRoundRobin;
    let front = Object::Network(network(2, "front").into());
    let swarm = Swarm::new(vec![front, Object::Task(task(1, &web).into()), Object::Service(web.into())]);
    assert!(swarm.endpoint(1).virtual_ips.is_empty());
    assert_eq!(swarm.task(1).networks.len(), 1);
}

#[test]
fn a_missing_network_is_named() {
    let web = service(1, "web", vec![], &["nowhere"]);
    let mut swarm = Swarm::new(vec![Object::Task(task(1, &web).into()), Object::Service(web.into())]);
    assert_eq!(swarm.task(1).status.err, "network nowhere not found");
    swarm.apply(vec![StoreAction::Create(Object::Network(network(3, "nowhere").into()))]);
    swarm.settle();
    assert_eq!(swarm.task(1).status.state, TaskState::Pending);
}

#[test]
fn a_new_leader_knows_what_is_in_use() {
    let web = service(1, "web", vec![port(0)], &["front"]);
    let front = Object::Network(network(2, "front").into());
    let web_task = Object::Task(task(1, &web).into());
    let mut swarm = Swarm::new(vec![mesh(), front, web_task, Object::Service(web.clone().into())]);
    let taken = swarm.task(1).networks[0].addresses[0].clone();
    swarm.allocator.start(Timestamp::ZERO, &swarm.store);
    swarm.settle();
    swarm.apply(vec![
        StoreAction::Create(Object::Task(task(2, &web).into())),
        StoreAction::Create(Object::Service(service(3, "api", vec![port(0)], &[]).into())),
    ]);
    swarm.settle();
    assert_ne!(swarm.task(2).networks[0].addresses[0], taken);
    assert_eq!(swarm.endpoint(3).ports[0].published_port, 30_001);
}

/// Seeds 910143, 910371 and 911037 of the simulator: the node whose task had the address still used it.
#[test]
fn a_new_leader_gives_out_no_address_that_was_just_freed() {
    let web = service(1, "web", Vec::new(), &["front"]);
    let front = Object::Network(network(2, "front").into());
    let mut swarm = Swarm::new(vec![front, Object::Service(web.clone().into())]);
    let mut freed = std::collections::BTreeSet::new();
    for begun in 0..4 {
        let tasks = [10 * begun + 1, 10 * begun + 2, 10 * begun + 3];
        swarm.apply(tasks.map(|bits| StoreAction::Create(Object::Task(task(bits, &web).into()))).into());
        swarm.settle();
        let given = tasks.map(|bits| swarm.task(bits).networks[0].addresses[0].clone());
        assert!(given.iter().all(|address| !freed.contains(address)), "{given:?} of {freed:?}");
        // The newest ones go, so that nothing in the store tells of their addresses.
        swarm.apply(
            tasks[1..].iter().map(|bits| StoreAction::Remove(ObjectId::Task(TaskId::from_bits(*bits)))).collect(),
        );
        freed.extend(given[1..].iter().cloned());
        swarm.allocator.start(Timestamp::ZERO, &swarm.store);
        swarm.settle();
    }
}

/// A node is taken note of anew with each change of its attachments: its old address is no news.
#[test]
fn addresses_go_on_in_their_circle_when_a_node_changes() {
    let (front, back) = (network(2, "front"), network(3, "back"));
    let (web, db) = (service(1, "web", Vec::new(), &["front"]), service(2, "db", Vec::new(), &["back"]));
    let services = [&web, &db].map(|service| Object::Service(service.clone().into()));
    let objects = [Object::Network(front.into()), Object::Network(back.into()), Object::Node(node(7).into())];
    let mut swarm = Swarm::new(objects.into_iter().chain(services).collect());
    let run = |swarm: &mut Swarm, bits: u128, of: &Service| {
        swarm.apply(vec![StoreAction::Create(Object::Task(task(bits, of).into()))]);
        swarm.settle();
        swarm.place(bits, 7);
        swarm.task(bits).networks[0].addresses[0].clone()
    };
    run(&mut swarm, 1, &web);
    let freed = run(&mut swarm, 2, &web);
    swarm.apply(vec![StoreAction::Remove(ObjectId::Task(TaskId::from_bits(2)))]);
    swarm.settle();
    run(&mut swarm, 3, &db);
    assert_ne!(run(&mut swarm, 4, &web), freed);
}

/// Seed 215 of the simulator: a task was given the virtual address that others still served under.
#[test]
fn a_virtual_address_is_nobody_elses_before_the_last_task_behind_it_has_ended() {
    for removed in [false, true] {
        // Two addresses beside the gateway's and the task's own.
        let mut front = network(2, "front");
        let configs = vec![IpamConfig { subnet: "10.0.1.0/29".into(), ..IpamConfig::default() }];
        front.spec.ipam = Some(IpamOptions { configs, ..IpamOptions::default() });
        let web = service(1, "web", Vec::new(), &["front"]);
        let task_of_web = Object::Task(task(1, &web).into());
        let mut swarm = Swarm::new(vec![Object::Network(front.into()), Object::Service(web.into()), task_of_web]);
        let vip = swarm.endpoint(1).virtual_ips[0].address.clone();
        assert_eq!(swarm.task(1).endpoint.as_ref().unwrap().virtual_ips[0].address, vip);
        swarm.apply(vec![if removed {
            StoreAction::Remove(ObjectId::Service(ServiceId::from_bits(1)))
        } else {
            let mut web = (**swarm.store.services().get(ServiceId::from_bits(1)).unwrap()).clone();
            Arc::make_mut(&mut web.spec.task).networks.clear();
            StoreAction::Update(Object::Service(web.into()))
        }]);
        swarm.settle();
        let given = |swarm: &mut Swarm, bits: u128| {
            let other = service(bits, &format!("other{bits}"), Vec::new(), &["front"]);
            swarm.apply(vec![StoreAction::Create(Object::Service(other.into()))]);
            swarm.settle();
            let made = swarm.store.services().get(ServiceId::from_bits(bits)).unwrap();
            made.endpoint.as_ref().map(|endpoint| endpoint.virtual_ips[0].address.clone())
        };
        // A new leader knows it, too.
        swarm.allocator.start(Timestamp::ZERO, &swarm.store);
        let others: Vec<_> = (10..16).filter_map(|bits| given(&mut swarm, bits)).collect();
        assert_eq!(others.len(), 3, "{others:?}: the network is full");
        assert!(!others.contains(&vip), "{others:?}");
        swarm.apply(vec![StoreAction::Remove(ObjectId::Task(TaskId::from_bits(1)))]);
        swarm.settle();
        let addresses: Vec<String> = (10..16)
            .filter_map(|bits| swarm.store.services().get(ServiceId::from_bits(bits))?.endpoint.clone())
            .flat_map(|endpoint| endpoint.virtual_ips.into_iter().map(|vip| vip.address))
            .collect();
        assert_eq!((addresses.len(), addresses.contains(&vip)), (5, true), "those that waited have it: {addresses:?}");
    }
}
