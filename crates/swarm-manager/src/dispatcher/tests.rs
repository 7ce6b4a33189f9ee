//! Facts about the dispatcher: a store, agents' messages, and the dispatcher's proposals applied to the store.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::store::Proposal;
use std::sync::Arc;

struct Swarm {
    store: Store,
    dispatcher: Dispatcher,
    index: u64,
    now: Timestamp,
}

const WORKER: NodeId = NodeId::from_bits(1);
const OTHER: NodeId = NodeId::from_bits(2);

fn node(id: NodeId) -> Node {
    Node {
        id,
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

fn secret(bits: u128) -> Secret {
    let annotations = Annotations::named(format!("secret{bits}"));
    let spec = SecretSpec { annotations, ..SecretSpec::default() };
    Secret { id: SecretId::from_bits(bits), meta: Meta::default(), spec }
}

fn task(bits: u128, node: NodeId, secrets: &[u128]) -> Task {
    let reference = |bits: &u128| SecretReference {
        secret_id: SecretId::from_bits(*bits),
        secret_name: format!("secret{bits}"),
        target: FileTarget::default(),
    };
    let mut spec = TaskSpec::default();
    spec.container.secrets = secrets.iter().map(reference).collect();
    Task {
        id: TaskId::from_bits(bits),
        meta: Meta::default(),
        service_id: Some(ServiceId::from_bits(1)),
        slot: 1,
        node_id: Some(node),
        spec: Arc::new(spec),
        spec_version: Version(1),
        service_annotations: Arc::new(Annotations::named("web")),
        status: status(TaskState::Assigned),
        desired_state: DesiredState::Running,
        networks: Vec::new(),
        endpoint: None,
        assigned_resources: Vec::new(),
        job_iteration: None,
    }
}

fn status(state: TaskState) -> TaskStatus {
    TaskStatus { state, ..TaskStatus::default() }
}

impl Swarm {
    fn new(objects: Vec<Object>) -> Self {
        let dispatcher = Dispatcher::new(IdSource::from_seed(1));
        let mut swarm = Self { store: Store::default(), dispatcher, index: 0, now: Timestamp::from_secs(1_000) };
        let nodes = [WORKER, OTHER].map(|id| StoreAction::Create(Object::Node(node(id).into())));
        swarm.apply(nodes.into_iter().chain(objects.into_iter().map(StoreAction::Create)).collect());
        swarm.dispatcher.start(swarm.now, &swarm.store);
        swarm.settle();
        swarm
    }

    fn apply(&mut self, actions: Vec<StoreAction>) {
        self.index += 1;
        let proposal = Proposal { id: Default::default(), now: self.now, atomic: false, actions };
        for event in &self.store.apply(self.index, &proposal).events {
            self.dispatcher.handle(self.now, event, &self.store);
        }
    }

    fn settle(&mut self) {
        for _ in 0..1_000 {
            if self.dispatcher.poll_timeout().is_some_and(|at| at <= self.now) {
                self.dispatcher.tick(self.now, &self.store);
            }
            let actions = self.dispatcher.poll_actions(self.now, &self.store);
            if actions.is_empty() {
                return;
            }
            self.apply(actions);
        }
        panic!("the dispatcher never comes to rest");
    }

    fn after(&mut self, seconds: u64) {
        self.now = self.now.plus(Duration::from_secs(seconds));
        self.settle();
    }

    fn say(&mut self, from: NodeId, message: AgentMessage) -> Vec<DispatcherMessage> {
        let peer = Peer { node_id: from, role: NodeRole::Worker, addr: "10.77.0.12".to_owned() };
        self.dispatcher.handle_agent(self.now, &peer, message, &self.store);
        self.settle();
        self.heard(from)
    }

    fn heard(&mut self, node: NodeId) -> Vec<DispatcherMessage> {
        std::iter::from_fn(|| self.dispatcher.poll_message()).filter(|(to, _)| *to == node).map(|(_, m)| m).collect()
    }

    fn open(&mut self, node: NodeId) -> (SessionId, Vec<DispatcherMessage>) {
        let description = Box::new(NodeDescription { hostname: "worker1".to_owned(), ..NodeDescription::default() });
        let answers = self.say(node, AgentMessage::Session { session: None, description });
        let DispatcherMessage::Session { session, .. } = &answers[0] else { panic!("no session: {answers:?}") };
        (*session, answers)
    }

    fn state(&self, node: NodeId) -> (NodeState, &str) {
        let status = &self.store.nodes().get(node).unwrap().status;
        (status.state, &status.message)
    }

    fn task(&self, bits: u128) -> &Task {
        self.store.tasks().get(TaskId::from_bits(bits)).unwrap()
    }
}

fn names(set: &Assignments) -> Vec<String> {
    let name = |change: &AssignmentChange| match change {
        AssignmentChange::Update(Assignment::Task(task)) => format!("+task {}", task.id.bits()),
        AssignmentChange::Update(Assignment::Secret(secret)) => format!("+secret {}", secret.id.bits()),
        AssignmentChange::Update(_) => "+other".to_owned(),
        AssignmentChange::Remove(ObjectId::Task(id)) => format!("-task {}", id.bits()),
        AssignmentChange::Remove(ObjectId::Secret(id)) => format!("-secret {}", id.bits()),
        AssignmentChange::Remove(_) => "-other".to_owned(),
    };
    set.changes.iter().map(name).collect()
}

fn sets(messages: &[DispatcherMessage]) -> Vec<(AssignmentsKind, Vec<String>)> {
    let set = |message: &DispatcherMessage| match message {
        DispatcherMessage::Assignments(set) => Some((set.kind, names(set))),
        _ => None,
    };
    messages.iter().filter_map(set).collect()
}

#[test]
fn a_session_makes_the_node_ready_and_sends_all_that_it_has() {
    let secrets = [1, 2].map(|bits| Object::Secret(secret(bits).into()));
    let mut objects = vec![Object::Task(task(1, WORKER, &[1]).into()), Object::Task(task(2, OTHER, &[2]).into())];
    objects.extend(secrets);
    let mut swarm = Swarm::new(objects);
    let (_, answers) = swarm.open(WORKER);
    assert_eq!(sets(&answers), [(AssignmentsKind::Complete, vec!["+secret 1".to_owned(), "+task 1".to_owned()])]);
    assert_eq!(swarm.state(WORKER), (NodeState::Ready, ""));
    let node = swarm.store.nodes().get(WORKER).unwrap();
    assert_eq!(node.status.addr, "10.77.0.12");
    assert_eq!(node.description.as_ref().unwrap().hostname, "worker1");
}

#[test]
fn changes_are_sent_as_increments_and_secrets_go_with_the_last_task() {
    let mut swarm = Swarm::new(vec![Object::Secret(secret(1).into())]);
    swarm.open(WORKER);
    let create = |bits| StoreAction::Create(Object::Task(task(bits, WORKER, &[1]).into()));
    swarm.apply(vec![create(1), create(2)]);
    swarm.settle();
    let first = AssignmentsKind::Incremental { applies_to: 1 };
    let messages = swarm.heard(WORKER);
    assert_eq!(sets(&messages), [(first, ["+secret 1", "+task 1", "+task 2"].map(str::to_owned).to_vec())]);
    swarm.apply(vec![StoreAction::Remove(ObjectId::Task(TaskId::from_bits(1)))]);
    swarm.settle();
    let second = AssignmentsKind::Incremental { applies_to: 2 };
    let messages = swarm.heard(WORKER);
    assert_eq!(sets(&messages), [(second, vec!["-task 1".to_owned()])]);
    let id = TaskId::from_bits(2);
    swarm.apply(vec![StoreAction::SetTaskStatus { id, status: status(TaskState::Failed) }]);
    swarm.settle();
    let messages = swarm.heard(WORKER);
    assert_eq!(sets(&messages)[0].1, ["+task 2", "-secret 1"], "a task that ended keeps its place, not its secret");
}

#[test]
fn a_report_comes_back_as_stored_and_not_as_an_assignment() {
    let mut swarm = Swarm::new(vec![Object::Task(task(1, WORKER, &[]).into())]);
    let (session, _) = swarm.open(WORKER);
    let id = TaskId::from_bits(1);
    let answers =
        swarm.say(WORKER, AgentMessage::TaskStatuses { session, statuses: vec![(id, status(TaskState::Running))] });
    assert_eq!(answers, [DispatcherMessage::StatusesStored { tasks: vec![(id, TaskState::Running)] }]);
    assert_eq!(swarm.task(1).status.state, TaskState::Running);
}

#[test]
fn a_node_speaks_only_for_its_own_tasks_and_only_forwards() {
    let mut swarm =
        Swarm::new(vec![Object::Task(task(1, WORKER, &[]).into()), Object::Task(task(2, OTHER, &[]).into())]);
    let (session, _) = swarm.open(WORKER);
    let report = |bits, state| (TaskId::from_bits(bits), status(state));
    let statuses = vec![report(1, TaskState::Orphaned), report(2, TaskState::Failed), report(3, TaskState::Failed)];
    swarm.say(WORKER, AgentMessage::TaskStatuses { session, statuses });
    assert_eq!(swarm.task(1).status.state, TaskState::Assigned);
    assert_eq!(swarm.task(2).status.state, TaskState::Assigned);
    let failed = AgentMessage::TaskStatuses { session, statuses: vec![report(1, TaskState::Failed)] };
    swarm.say(WORKER, failed);
    let answers =
        swarm.say(WORKER, AgentMessage::TaskStatuses { session, statuses: vec![report(1, TaskState::Running)] });
    assert_eq!(swarm.task(1).status.state, TaskState::Failed);
    assert_eq!(answers.len(), 1, "told anyway, so that the agent stops repeating it");
}

#[test]
fn an_endless_error_text_is_cut() {
    let mut swarm = Swarm::new(vec![Object::Task(task(1, WORKER, &[]).into())]);
    let (session, _) = swarm.open(WORKER);
    let status = TaskStatus { err: "é".repeat(100_000), ..status(TaskState::Failed) };
    swarm.say(WORKER, AgentMessage::TaskStatuses { session, statuses: vec![(TaskId::from_bits(1), status)] });
    assert_eq!(swarm.task(1).status.err.len(), 4096);
}

#[test]
fn three_silent_periods_bring_a_node_down_and_a_day_gives_its_tasks_up() {
    let mut swarm = Swarm::new(vec![Object::Task(task(1, WORKER, &[]).into())]);
    let (session, _) = swarm.open(WORKER);
    swarm.after(14);
    let answers = swarm.say(WORKER, AgentMessage::Heartbeat { session });
    assert_eq!(answers, [DispatcherMessage::HeartbeatAck { heartbeat_period: Duration::from_secs(5) }]);
    swarm.after(14);
    assert_eq!(swarm.state(WORKER).0, NodeState::Ready);
    swarm.after(1);
    assert_eq!(swarm.state(WORKER), (NodeState::Down, "heartbeat failure"));
    let answers = swarm.say(WORKER, AgentMessage::Heartbeat { session });
    assert!(matches!(answers[..], [DispatcherMessage::SessionInvalid { .. }]));
    swarm.after(24 * 3600);
    assert_eq!(swarm.task(1).status.state, TaskState::Orphaned);
}

#[test]
fn a_new_leader_gives_nodes_time_to_turn_up() {
    let mut swarm = Swarm::new(vec![]);
    assert_eq!(swarm.state(WORKER).0, NodeState::Unknown);
    swarm.open(WORKER);
    swarm.after(29);
    assert_eq!(swarm.state(OTHER).0, NodeState::Unknown);
    swarm.after(1);
    assert_eq!(swarm.state(OTHER), (NodeState::Down, "heartbeat failure for node in \"unknown\" state"));
    swarm.open(OTHER);
    assert_eq!(swarm.state(OTHER), (NodeState::Ready, ""));
}

#[test]
fn sessions_are_rationed() {
    let mut swarm = Swarm::new(vec![]);
    (0..3).for_each(|_| drop(swarm.open(WORKER)));
    let again = || AgentMessage::Session { session: None, description: Box::default() };
    assert!(matches!(swarm.say(WORKER, again())[..], [DispatcherMessage::SessionInvalid { .. }]));
    swarm.after(8);
    swarm.open(WORKER);
}

#[test]
fn a_session_that_is_gone_on_with_costs_nothing_and_sends_all_again() {
    let mut swarm = Swarm::new(vec![Object::Task(task(1, WORKER, &[]).into())]);
    let (session, _) = swarm.open(WORKER);
    for _ in 0..10 {
        let description = Box::default();
        let answers = swarm.say(WORKER, AgentMessage::Session { session: Some(session), description });
        assert_eq!(sets(&answers), [(AssignmentsKind::Complete, vec!["+task 1".to_owned()])]);
    }
}

#[test]
fn strangers_and_removed_nodes_are_turned_away() {
    let mut swarm = Swarm::new(vec![]);
    let hello = || AgentMessage::Session { session: None, description: Box::default() };
    let stranger = NodeId::from_bits(9);
    assert!(matches!(swarm.say(stranger, hello())[..], [DispatcherMessage::SessionInvalid { .. }]));
    swarm.open(WORKER);
    swarm.apply(vec![StoreAction::Remove(ObjectId::Node(WORKER))]);
    assert!(matches!(swarm.heard(WORKER)[..], [DispatcherMessage::SessionInvalid { .. }]));
    assert_eq!(swarm.dispatcher.sessions(), 0);
}

#[test]
fn a_manager_that_lost_the_lead_names_the_leader() {
    let mut swarm = Swarm::new(vec![]);
    let (session, _) = swarm.open(WORKER);
    let leader = ManagerPeer { node_id: OTHER, addr: "10.77.0.12:2377".to_owned() };
    swarm.dispatcher.stop(Some(leader.clone()));
    for messages in [swarm.heard(WORKER), swarm.say(WORKER, AgentMessage::Heartbeat { session })] {
        assert!(matches!(&messages[..], [DispatcherMessage::SessionInvalid { leader: Some(l), .. }] if *l == leader));
    }
}

#[test]
fn a_node_that_leaves_is_down_at_once() {
    let mut swarm = Swarm::new(vec![]);
    let (session, _) = swarm.open(WORKER);
    swarm.say(WORKER, AgentMessage::Leave { session });
    assert_eq!(swarm.state(WORKER), (NodeState::Down, "node left the swarm"));
}

fn network(bits: u128) -> Network {
    let annotations = Annotations::named(format!("network{bits}"));
    Network {
        id: NetworkId::from_bits(bits),
        meta: Meta::default(),
        spec: NetworkSpec { annotations, ..NetworkSpec::default() },
        driver_state: None,
        ipam: None,
        pending_delete: false,
    }
}

fn attached(network: u128) -> NetworkAttachment {
    let network_id = NetworkId::from_bits(network);
    NetworkAttachment { network_id, addresses: vec!["10.0.1.4/24".to_owned()], aliases: Vec::new() }
}

#[test]
fn a_node_gets_the_networks_that_it_is_attached_to_itself_and_hears_of_its_addresses() {
    let mut swarm = Swarm::new(vec![Object::Network(network(1).into()), Object::Network(network(2).into())]);
    swarm.open(WORKER);
    let attachments = std::collections::BTreeMap::from([(NetworkId::from_bits(1), attached(1))]);
    swarm.apply(vec![StoreAction::SetNodeAttachments { id: WORKER, attachments: attachments.clone() }]);
    swarm.settle();
    let messages = swarm.heard(WORKER);
    assert!(matches!(&messages[0], DispatcherMessage::Session { node, .. } if node.attachments == attachments));
    let first = AssignmentsKind::Incremental { applies_to: 1 };
    assert_eq!(sets(&messages), [(first, vec!["+other".to_owned()])]);
    swarm.apply(vec![StoreAction::SetNodeAttachments { id: WORKER, attachments: Default::default() }]);
    swarm.settle();
    let second = AssignmentsKind::Incremental { applies_to: 2 };
    assert_eq!(sets(&swarm.heard(WORKER)), [(second, vec!["-other".to_owned()])]);
}

#[test]
fn a_task_that_is_told_to_stop_keeps_its_network_until_it_has() {
    let mut on_network = task(1, WORKER, &[1]);
    on_network.networks = vec![attached(1)];
    let mut swarm = Swarm::new(vec![
        Object::Network(network(1).into()),
        Object::Secret(secret(1).into()),
        Object::Task(on_network.into()),
    ]);
    swarm.open(WORKER);
    let id = TaskId::from_bits(1);
    swarm.apply(vec![StoreAction::SetDesiredState { id, desired: DesiredState::Shutdown }]);
    swarm.settle();
    assert_eq!(sets(&swarm.heard(WORKER))[0].1, ["+task 1", "-secret 1"]);
    swarm.apply(vec![StoreAction::SetTaskStatus { id, status: status(TaskState::Shutdown) }]);
    swarm.settle();
    assert_eq!(sets(&swarm.heard(WORKER))[0].1, ["+task 1", "-other"]);
}

#[test]
fn a_change_of_availability_reaches_the_agent() {
    let mut swarm = Swarm::new(vec![]);
    swarm.open(WORKER);
    let mut node = Node::clone(swarm.store.nodes().get(WORKER).unwrap());
    node.spec.availability = NodeAvailability::Drain;
    swarm.apply(vec![StoreAction::Update(Object::Node(node.into()))]);
    let messages = swarm.heard(WORKER);
    assert!(matches!(&messages[..], [DispatcherMessage::Session { node, .. }]
        if node.spec.availability == NodeAvailability::Drain));
}
