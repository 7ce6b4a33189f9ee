//! Facts about the scheduler: a store, and the scheduler's proposals applied to it.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::store::Proposal;
use proptest::prelude::*;

struct Swarm {
    store: Store,
    scheduler: Scheduler,
    index: u64,
    now: Timestamp,
}

fn node(bits: u128) -> Node {
    Node {
        id: NodeId::from_bits(bits),
        meta: Meta::default(),
        spec: NodeSpec::default(),
        role: NodeRole::Worker,
        description: Some(NodeDescription {
            os: "linux".to_owned(),
            architecture: "x86_64".to_owned(),
            resources: Resources { nano_cpus: 4_000_000_000, memory_bytes: 4096, ..Resources::default() },
            ..NodeDescription::default()
        }),
        status: NodeStatus { state: NodeState::Ready, ..NodeStatus::default() },
        manager_status: None,
        certificate: NodeCertificate::default(),
        attachments: Default::default(),
    }
}

fn task(bits: u128, service: u128, spec: &TaskSpec) -> Task {
    Task {
        id: TaskId::from_bits(bits),
        meta: Meta::default(),
        service_id: Some(ServiceId::from_bits(service)),
        slot: bits as u64,
        node_id: None,
        spec: Arc::new(spec.clone()),
        spec_version: Version(1),
        service_annotations: Arc::new(Annotations::named("web")),
        status: TaskStatus { state: TaskState::Pending, ..TaskStatus::default() },
        desired_state: DesiredState::Running,
        networks: Vec::new(),
        endpoint: None,
        assigned_resources: Vec::new(),
        job_iteration: None,
    }
}

fn placement(placement: Placement) -> TaskSpec {
    TaskSpec { placement: Some(placement), ..TaskSpec::default() }
}

fn constrained(expression: &str) -> TaskSpec {
    placement(Placement { constraints: vec![expression.to_owned()], ..Placement::default() })
}

fn reserving(reservations: Resources) -> TaskSpec {
    let resources = ResourceRequirements { reservations: Some(reservations), ..ResourceRequirements::default() };
    TaskSpec { resources: Some(resources), ..TaskSpec::default() }
}

use swarm_types::Placement;

impl Swarm {
    fn new(nodes: impl IntoIterator<Item = Node>) -> Self {
        let (store, scheduler) = (Store::default(), Scheduler::new());
        let mut swarm = Self { store, scheduler, index: 0, now: Timestamp::from_secs(1_000) };
        swarm.scheduler.start(swarm.now, &swarm.store);
        swarm.apply(nodes.into_iter().map(|node| StoreAction::Create(Object::Node(node.into()))).collect());
        swarm
    }

    fn apply(&mut self, actions: Vec<StoreAction>) {
        self.index += 1;
        let proposal = Proposal { id: Default::default(), now: self.now, atomic: false, actions };
        let applied = self.store.apply(self.index, &proposal);
        for event in &applied.events {
            self.scheduler.handle(self.now, event, &self.store);
        }
    }

    fn settle(&mut self) {
        for _ in 0..1_000 {
            let actions = self.scheduler.poll_actions(self.now, &self.store);
            if actions.is_empty() {
                return;
            }
            assert!(actions.len() <= MAX_ACTIONS);
            self.apply(actions);
        }
        panic!("the scheduler never comes to rest");
    }

    fn create(&mut self, tasks: impl IntoIterator<Item = Task>) {
        self.apply(tasks.into_iter().map(|task| StoreAction::Create(Object::Task(task.into()))).collect());
        self.settle();
    }

    fn update_node(&mut self, node: u128, edit: impl FnOnce(&mut Node)) {
        let mut node = Node::clone(self.store.nodes().get(NodeId::from_bits(node)).unwrap());
        edit(&mut node);
        self.apply(vec![StoreAction::Update(Object::Node(node.into()))]);
        self.settle();
    }

    fn end(&mut self, task: u128, state: TaskState) {
        let id = TaskId::from_bits(task);
        let status = TaskStatus { state, ..self.task(task).status.clone() };
        self.apply(vec![StoreAction::SetTaskStatus { id, status }]);
        self.settle();
    }

    fn task(&self, bits: u128) -> &Task {
        self.store.tasks().get(TaskId::from_bits(bits)).unwrap()
    }

    fn node_of(&self, task: u128) -> Option<u128> {
        self.task(task).node_id.map(|node| node.bits())
    }

    /// How many tasks each node has.
    fn counts(&self) -> Vec<usize> {
        self.store.nodes().iter().map(|node| self.store.node_tasks(node.id).filter(|t| uses_node(t)).count()).collect()
    }
}

fn many(from: u128, count: u128, service: u128, spec: &TaskSpec) -> Vec<Task> {
    (from..from + count).map(|bits| task(bits, service, spec)).collect()
}

#[test]
fn tasks_spread_over_all_nodes() {
    let mut swarm = Swarm::new((1..=3).map(node));
    swarm.create(many(1, 7, 1, &TaskSpec::default()));
    assert_eq!(swarm.counts(), [3, 2, 2]);
    let status = &swarm.task(1).status;
    assert_eq!((status.state, status.message.as_str()), (TaskState::Assigned, "scheduler assigned task to node"));
}

#[test]
fn a_service_spreads_by_its_own_tasks_first() {
    let mut swarm = Swarm::new((1..=2).map(node));
    swarm.update_node(2, |node| node.spec.availability = NodeAvailability::Pause);
    swarm.create(many(1, 4, 1, &TaskSpec::default()));
    swarm.update_node(2, |node| node.spec.availability = NodeAvailability::Active);
    swarm.create(many(10, 2, 2, &TaskSpec::default()));
    assert_eq!(swarm.counts(), [5, 1], "one each, although node 1 has more of another service");
}

#[test]
fn no_suitable_node_is_explained_in_swarmkits_words() {
    let mut swarm = Swarm::new((1..=3).map(node));
    swarm.update_node(1, |node| node.spec.annotations.labels = [("disk".to_owned(), "ssd".to_owned())].into());
    swarm.update_node(1, |node| node.spec.availability = NodeAvailability::Drain);
    swarm.create([task(1, 1, &constrained("node.labels.disk==ssd"))]);
    let expected =
        "no suitable node (scheduling constraints not satisfied on 2 nodes; 1 node not available for new tasks)";
    assert_eq!(swarm.task(1).status.err, expected);
    assert_eq!(swarm.task(1).status.state, TaskState::Pending);
    swarm.update_node(1, |node| node.spec.availability = NodeAvailability::Active);
    assert_eq!(swarm.node_of(1), Some(1));
    assert_eq!(swarm.task(1).status.err, "");
}

#[test]
fn reservations_fill_nodes_and_are_given_back() {
    let mut swarm = Swarm::new((1..=2).map(node));
    let spec = reserving(Resources { memory_bytes: 3000, ..Resources::default() });
    swarm.create(many(1, 3, 1, &spec));
    assert_eq!(swarm.counts(), [1, 1]);
    assert_eq!(swarm.task(3).status.err, "no suitable node (insufficient resources on 2 nodes)");
    swarm.end(1, TaskState::Failed);
    assert_eq!(swarm.node_of(3), Some(1));
}

#[test]
fn generic_resources_are_set_aside_by_name() {
    let gpu = |value: &str| GenericResource::Named { kind: "gpu".to_owned(), value: value.to_owned() };
    let mut with_gpus = node(1);
    with_gpus.description.as_mut().unwrap().resources.generic = vec![gpu("a"), gpu("b")];
    let mut swarm = Swarm::new([with_gpus, node(2)]);
    let generic = vec![GenericResource::Discrete { kind: "gpu".to_owned(), value: 1 }];
    swarm.create(many(1, 3, 1, &reserving(Resources { generic, ..Resources::default() })));
    assert_eq!(swarm.task(1).assigned_resources, [gpu("a")]);
    assert_eq!(swarm.task(2).assigned_resources, [gpu("b")]);
    assert_eq!(swarm.node_of(3), None);
    swarm.end(1, TaskState::Complete);
    assert_eq!(swarm.task(3).assigned_resources, [gpu("a")]);
}

#[test]
fn a_host_port_is_on_a_node_once() {
    let mut swarm = Swarm::new((1..=2).map(node));
    let port =
        PortConfig { target_port: 80, published_port: 8080, publish_mode: PublishMode::Host, ..PortConfig::default() };
    let endpoint = Arc::new(Endpoint { ports: vec![port], ..Endpoint::default() });
    let tasks = many(1, 3, 1, &TaskSpec::default());
    swarm.create(tasks.into_iter().map(|task| Task { endpoint: Some(endpoint.clone()), ..task }));
    assert_eq!(swarm.counts(), [1, 1]);
    assert_eq!(swarm.task(3).status.err, "no suitable node (host-mode port already in use on 2 nodes)");
}

#[test]
fn max_replicas_bounds_each_node() {
    let mut swarm = Swarm::new((1..=2).map(node));
    swarm.create(many(1, 5, 1, &placement(Placement { max_replicas: 2, ..Placement::default() })));
    assert_eq!(swarm.counts(), [2, 2]);
    assert_eq!(swarm.task(5).status.err, "no suitable node (max replicas per node limit exceed)");
}

#[test]
fn platforms_and_plugins_are_looked_at() {
    let mut arm = node(1);
    arm.description.as_mut().unwrap().architecture = "aarch64".to_owned();
    let mut nfs = node(2);
    nfs.description.as_mut().unwrap().plugins = vec![("Volume".to_owned(), "nfs:latest".to_owned())];
    let mut swarm = Swarm::new([arm, nfs, node(3)]);
    let platforms = vec![Platform { architecture: "arm64".to_owned(), os: "linux".to_owned() }];
    swarm.create([task(1, 1, &placement(Placement { platforms, ..Placement::default() }))]);
    assert_eq!(swarm.node_of(1), Some(1));
    let mut spec = TaskSpec::default();
    let volume_driver = Some(Driver { name: "nfs".to_owned(), ..Driver::default() });
    spec.container.mounts.push(Mount { volume_driver, ..Mount::default() });
    swarm.create(many(2, 2, 2, &spec));
    assert_eq!((swarm.node_of(2), swarm.node_of(3)), (Some(2), Some(2)));
}

#[test]
fn preferences_spread_over_label_values_before_nodes() {
    let zoned = |bits: u128, zone: &str| {
        let mut node = node(bits);
        node.spec.annotations.labels = [("zone".to_owned(), zone.to_owned())].into();
        node
    };
    let mut swarm = Swarm::new([zoned(1, "a"), zoned(2, "b"), zoned(3, "b"), zoned(4, "b")]);
    let preference = PlacementPreference::Spread { descriptor: "node.labels.zone".to_owned() };
    swarm.create(many(1, 6, 1, &placement(Placement { preferences: vec![preference], ..Placement::default() })));
    assert_eq!(swarm.counts(), [3, 1, 1, 1]);
}

#[test]
fn a_node_where_a_service_keeps_failing_comes_last() {
    let mut swarm = Swarm::new((1..=2).map(node));
    for bits in 1..=10 {
        swarm.create([task(bits, 1, &TaskSpec::default())]);
        if swarm.node_of(bits) == Some(1) {
            swarm.end(bits, TaskState::Failed);
        }
    }
    let on_first = (1..=10).filter(|bits| swarm.node_of(*bits) == Some(1)).count();
    assert_eq!(on_first, 5, "five failures, then the other node");
    swarm.now = swarm.now.plus(std::time::Duration::from_secs(301));
    swarm.create([task(11, 1, &TaskSpec::default())]);
    assert_eq!(swarm.node_of(11), Some(1), "failures are forgotten after five minutes");
}

#[test]
fn a_global_task_stays_on_its_node_or_waits_for_it() {
    let mut swarm = Swarm::new((1..=2).map(node));
    swarm.update_node(2, |node| node.spec.availability = NodeAvailability::Pause);
    let on =
        |bits: u128, node: u128| Task { node_id: Some(NodeId::from_bits(node)), ..task(bits, 1, &TaskSpec::default()) };
    swarm.create([on(1, 1), on(2, 2)]);
    assert_eq!(swarm.task(1).status.message, "scheduler confirmed task can run on preassigned node");
    assert_eq!(swarm.task(2).status.state, TaskState::Pending);
    assert_eq!(swarm.task(2).status.err, "1 node not available for new tasks");
    swarm.update_node(2, |node| node.spec.availability = NodeAvailability::Active);
    assert_eq!(swarm.task(2).status.state, TaskState::Assigned);
}

#[test]
fn a_task_that_is_no_longer_wanted_is_not_placed() {
    let mut swarm = Swarm::new([]);
    swarm.create([task(1, 1, &TaskSpec::default())]);
    let id = TaskId::from_bits(1);
    swarm.apply(vec![StoreAction::SetDesiredState { id, desired: DesiredState::Shutdown }]);
    swarm.apply(vec![StoreAction::Create(Object::Node(node(1).into()))]);
    swarm.settle();
    assert_eq!(swarm.node_of(1), None);
}

#[test]
fn a_lost_proposal_is_made_again_and_counts_once() {
    let mut swarm = Swarm::new((1..=2).map(node));
    let tasks = many(1, 3, 1, &TaskSpec::default());
    swarm.apply(tasks.into_iter().map(|task| StoreAction::Create(Object::Task(task.into()))).collect());
    let lost = swarm.scheduler.poll_actions(swarm.now, &swarm.store);
    assert_eq!(lost.len(), 3);
    swarm.settle();
    assert_eq!(swarm.counts(), [2, 1]);
    assert_eq!(swarm.scheduler.nodes.active_tasks(NodeId::from_bits(1)), Some(2));
}

#[test]
fn a_decision_for_a_node_that_went_down_is_not_handed_out() {
    let mut swarm = Swarm::new((1..=2).map(node));
    let tasks = many(1, 2 * MAX_ACTIONS as u128, 1, &TaskSpec::default());
    swarm.apply(tasks.into_iter().map(|task| StoreAction::Create(Object::Task(task.into()))).collect());
    let first = swarm.scheduler.poll_actions(swarm.now, &swarm.store);
    swarm.apply(first);
    swarm.update_node(2, |node| node.status.state = NodeState::Down);
    assert_eq!(swarm.counts(), [MAX_ACTIONS + MAX_ACTIONS / 2, MAX_ACTIONS / 2]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever happened before: the books agree with the store, and no node is fuller than it may be.
    #[test]
    fn the_books_agree_with_the_store(ops in proptest::collection::vec((0u8..5, 0u128..12, any::<bool>()), 1..60)) {
        let mut swarm = Swarm::new((1..=4).map(node));
        let spec = reserving(Resources { memory_bytes: 1000, ..Resources::default() });
        let mut next = 1;
        for (op, pick, flag) in ops {
            let some_task = TaskId::from_bits(1 + pick);
            match op {
                0 | 1 => {
                    swarm.create(many(next, 1 + pick % 5, pick % 3, &spec));
                    next += 1 + pick % 5;
                }
                2 if swarm.store.tasks().get(some_task).is_some() => {
                    let id = some_task;
                    let desired = if flag { DesiredState::Shutdown } else { DesiredState::Remove };
                    swarm.apply(vec![StoreAction::SetDesiredState { id, desired }]);
                    swarm.settle();
                }
                3 if swarm.store.tasks().get(some_task).is_some() => swarm.end(1 + pick, TaskState::Failed),
                4 => {
                    let availability = if flag { NodeAvailability::Active } else { NodeAvailability::Drain };
                    swarm.update_node(1 + pick % 4, |node| node.spec.availability = availability);
                }
                _ => {}
            }
            let mut rebuilt = Scheduler::new();
            rebuilt.start(swarm.now, &swarm.store);
            for node in swarm.store.nodes().iter() {
                let running = swarm.store.node_tasks(node.id).filter(|t| uses_node(t)).count();
                prop_assert!(running <= 4, "a node of 4096 bytes has room for four tasks of 1000");
                prop_assert_eq!(swarm.scheduler.nodes.active_tasks(node.id), rebuilt.nodes.active_tasks(node.id));
            }
            prop_assert!(swarm.scheduler.booked.is_empty());
        }
    }
}
