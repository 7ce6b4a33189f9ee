//! Facts about the agent, told as what goes in and what comes out.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use swarm_agent::{Agent, Config, Input, MAX_ERR_BYTES, Output, RuntimeCommand, RuntimeEvent, StoredTask};
use swarm_types::*;

const SESSION: SessionId = SessionId::from_bits(5);

struct Node {
    agent: Agent,
    now: Timestamp,
}

fn manager(bits: u128) -> ManagerPeer {
    ManagerPeer { node_id: NodeId::from_bits(bits), addr: format!("10.77.0.{bits}:2377") }
}

fn task(bits: u128) -> Task {
    Task {
        id: TaskId::from_bits(bits),
        meta: Meta::default(),
        service_id: Some(ServiceId::from_bits(1)),
        slot: 1,
        node_id: Some(NodeId::from_bits(7)),
        spec: Arc::new(TaskSpec::default()),
        spec_version: Version(1),
        service_annotations: Arc::new(Annotations::named("web")),
        status: TaskStatus { state: TaskState::Assigned, ..TaskStatus::default() },
        desired_state: DesiredState::Running,
        networks: Vec::new(),
        endpoint: None,
        assigned_resources: Vec::new(),
        job_iteration: None,
    }
}

fn wanted(bits: u128, desired_state: DesiredState) -> Task {
    Task { desired_state, ..task(bits) }
}

impl Node {
    fn restored(stored: Vec<StoredTask>) -> (Self, Vec<String>) {
        let config =
            Config { description: NodeDescription::default(), managers: vec![manager(1), manager(2)], seed: 3 };
        let mut node = Self { agent: Agent::new(config), now: Timestamp::from_secs(1_000) };
        let said = node.feed(Input::Restored(stored));
        (node, said)
    }

    /// A node in session.
    fn new() -> Self {
        let (mut node, _) = Self::restored(Vec::new());
        node.open();
        node
    }

    fn open(&mut self) -> Vec<String> {
        self.feed(Input::Connected);
        let node = swarm_types::Node {
            id: NodeId::from_bits(7),
            meta: Meta::default(),
            spec: NodeSpec::default(),
            role: NodeRole::Worker,
            description: None,
            status: NodeStatus::default(),
            manager_status: None,
            certificate: NodeCertificate::default(),
            attachments: Default::default(),
        };
        self.feed(Input::Message(DispatcherMessage::Session {
            session: SESSION,
            node: Box::new(node),
            managers: vec![manager(1), manager(2)],
            network_keys: Vec::new(),
            data_path_port: 4789,
            heartbeat_period: Duration::from_secs(5),
            trust_root: String::new(),
        }))
    }

    fn feed(&mut self, input: Input) -> Vec<String> {
        self.agent.handle(self.now, input);
        self.said()
    }

    fn after(&mut self, seconds: u64) -> Vec<String> {
        let end = self.now.plus(Duration::from_secs(seconds));
        let mut said = Vec::new();
        while let Some(at) = self.agent.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.agent.tick(self.now);
            said.extend(self.said());
        }
        self.now = end;
        said
    }

    /// All outputs in short; what goes to disk is left out.
    fn said(&mut self) -> Vec<String> {
        let mut said = Vec::new();
        while let Some(output) = self.agent.poll_output() {
            said.extend(brief(&output));
        }
        said
    }

    fn assign(&mut self, kind: AssignmentsKind, results_in: u64, tasks: Vec<Task>) -> Vec<String> {
        let changes = tasks.into_iter().map(|t| AssignmentChange::Update(Assignment::Task(Box::new(t)))).collect();
        self.feed(Input::Message(DispatcherMessage::Assignments(Assignments { kind, results_in, changes })))
    }

    fn complete(&mut self, tasks: Vec<Task>) -> Vec<String> {
        self.assign(AssignmentsKind::Complete, 1, tasks)
    }

    fn runtime(&mut self, bits: u128, event: RuntimeEvent) -> Vec<String> {
        self.feed(Input::Runtime { task: TaskId::from_bits(bits), event })
    }

    fn run(&mut self, bits: u128) {
        self.complete(vec![task(bits)]);
        self.runtime(bits, prepared());
        self.runtime(bits, started(false));
    }
}

fn brief(output: &Output) -> Vec<String> {
    match output {
        Output::Connect(peer) => vec![format!("connect {}", peer.addr)],
        Output::Send(AgentMessage::Session { session, .. }) => vec![format!("send session {}", session.is_some())],
        Output::Send(AgentMessage::Heartbeat { .. }) => vec!["send heartbeat".to_owned()],
        Output::Send(AgentMessage::Leave { .. }) => vec!["send leave".to_owned()],
        Output::Send(AgentMessage::TaskStatuses { statuses, .. }) => statuses
            .iter()
            .map(|(task, s)| {
                format!("{} {} [{}] {}", task.bits(), s.state.as_str(), s.message, s.err).trim().to_owned()
            })
            .collect(),
        Output::Runtime(RuntimeCommand::Prepare { task, secrets, .. }) => {
            vec![format!("prepare {} with {} secrets", task.id.bits(), secrets.len())]
        }
        Output::Runtime(RuntimeCommand::Start { task }) => vec![format!("start {}", task.bits())],
        Output::Runtime(RuntimeCommand::Stop { task, grace }) => vec![format!("stop {} in {grace:?}", task.bits())],
        Output::Runtime(RuntimeCommand::Remove { task }) => vec![format!("remove {}", task.bits())],
        Output::Runtime(RuntimeCommand::Recover { task }) => vec![format!("recover {}", task.id.bits())],
        Output::Disconnect => vec!["disconnect".to_owned()],
        Output::Left => vec!["left".to_owned()],
        Output::Forget(task) => vec![format!("forget {}", task.bits())],
        Output::Networks(networks) if !networks.is_empty() => {
            let ids: Vec<String> = networks.iter().map(|network| network.id.bits().to_string()).collect();
            vec![format!("networks {}", ids.join(" "))]
        }
        Output::Persist(_) | Output::Session(_) | Output::Networks(_) => vec![],
    }
}

fn prepared() -> RuntimeEvent {
    RuntimeEvent::Prepared { container_id: "c".to_owned() }
}

fn started(health_check: bool) -> RuntimeEvent {
    RuntimeEvent::Started { container_id: "c".to_owned(), pid: 9, host_ports: Vec::new(), health_check }
}

fn exited(code: i32) -> RuntimeEvent {
    RuntimeEvent::Exited { code, oom: false, message: String::new() }
}

#[test]
fn a_task_goes_from_assigned_to_running_and_fails_by_its_exit_code() {
    let mut node = Node::new();
    assert_eq!(node.complete(vec![task(1)]), ["prepare 1 with 0 secrets", "1 preparing [preparing]"]);
    assert_eq!(node.runtime(1, prepared()), ["start 1", "1 starting [starting]"]);
    assert_eq!(node.runtime(1, started(false)), ["1 running [started]"]);
    assert_eq!(node.runtime(1, exited(3)), ["1 failed [started] task: non-zero exit (3)"]);
}

fn network(bits: u128) -> AssignmentChange {
    let (id, spec) = (NetworkId::from_bits(bits), NetworkSpec::default());
    let network = Network { id, meta: Meta::default(), spec, driver_state: None, ipam: None, pending_delete: false };
    AssignmentChange::Update(Assignment::Network(Box::new(network)))
}

#[test]
fn the_networks_are_told_before_what_needs_them_and_only_when_they_change() {
    let mut node = Node::new();
    let mut attached = task(1);
    let attachment = |bits| NetworkAttachment {
        network_id: NetworkId::from_bits(bits),
        addresses: vec!["10.0.1.3/24".to_owned()],
        aliases: Vec::new(),
    };
    attached.networks = vec![attachment(9)];
    let changes = vec![network(8), network(9), AssignmentChange::Update(Assignment::Task(Box::new(attached)))];
    let mut set = |kind, results_in, changes| {
        node.feed(Input::Message(DispatcherMessage::Assignments(Assignments { kind, results_in, changes })))
    };
    let said = set(AssignmentsKind::Complete, 1, changes);
    assert_eq!(said, ["networks 8 9", "prepare 1 with 0 secrets", "1 preparing [preparing]"]);
    assert_eq!(set(AssignmentsKind::Incremental { applies_to: 1 }, 2, vec![network(9)]), [""; 0], "nothing new");
    let gone = vec![AssignmentChange::Remove(ObjectId::Network(NetworkId::from_bits(8)))];
    assert_eq!(set(AssignmentsKind::Incremental { applies_to: 2 }, 3, gone), ["networks 9"]);
}

#[test]
fn an_exit_code_of_zero_completes() {
    let mut node = Node::new();
    node.run(1);
    assert_eq!(node.runtime(1, exited(0)), ["1 complete [finished]"]);
}

#[test]
fn ready_waits_until_running_is_wanted() {
    let mut node = Node::new();
    node.complete(vec![wanted(1, DesiredState::Ready)]);
    assert_eq!(node.runtime(1, prepared()), ["1 ready [prepared]"]);
    let next = AssignmentsKind::Incremental { applies_to: 1 };
    assert_eq!(node.assign(next, 2, vec![task(1)]), ["start 1", "1 starting [starting]"]);
}

#[test]
fn what_cannot_be_prepared_is_rejected_and_what_cannot_start_failed() {
    let mut node = Node::new();
    node.complete(vec![task(1), task(2)]);
    let reason = "No such image: web:9".to_owned();
    let said = node.runtime(1, RuntimeEvent::PrepareFailed { reason });
    assert_eq!(said, ["1 rejected [preparing] No such image: web:9"]);
    node.runtime(2, prepared());
    let said = node.runtime(2, RuntimeEvent::StartFailed { reason: "exec: no such file".to_owned(), exit_code: 127 });
    assert_eq!(said, ["2 failed [starting] starting container failed: exec: no such file"]);
}

#[test]
fn a_health_check_holds_back_running_and_ends_the_unhealthy() {
    let mut node = Node::new();
    node.complete(vec![task(1)]);
    node.runtime(1, prepared());
    assert_eq!(node.runtime(1, started(true)), ["1 starting [starting]"]);
    assert_eq!(node.runtime(1, RuntimeEvent::Healthy), ["1 running [started]"]);
    assert_eq!(node.runtime(1, RuntimeEvent::Unhealthy), ["stop 1 in 10s"]);
    let said = node.runtime(1, exited(137));
    assert_eq!(said, ["1 failed [started] task: non-zero exit (137): dockerexec: unhealthy container"]);
}

#[test]
fn a_shutdown_stops_the_container_and_keeps_it_until_the_task_goes() {
    let mut node = Node::new();
    node.run(1);
    let next = AssignmentsKind::Incremental { applies_to: 1 };
    let said = node.assign(next, 2, vec![wanted(1, DesiredState::Shutdown)]);
    assert_eq!(said, ["stop 1 in 10s", "1 running [started]"], "the managers' copy lags behind: told once more");
    assert_eq!(node.runtime(1, exited(143)), ["1 shutdown [shutdown]"]);
    assert_eq!(node.complete(vec![]), ["remove 1"]);
    assert_eq!(node.runtime(1, RuntimeEvent::Removed), ["forget 1"]);
}

#[test]
fn a_shutdown_interrupts_a_preparation() {
    let mut node = Node::new();
    node.complete(vec![task(1)]);
    let next = AssignmentsKind::Incremental { applies_to: 1 };
    assert_eq!(node.assign(next, 2, vec![wanted(1, DesiredState::Shutdown)])[0], "stop 1 in 10s");
    assert_eq!(node.runtime(1, RuntimeEvent::Stopped), ["1 shutdown [shutdown]"]);
}

#[test]
fn a_missing_secret_rejects_its_task() {
    let mut node = Node::new();
    let mut spec = TaskSpec::default();
    let (secret_id, secret_name) = (SecretId::from_bits(4), "key".to_owned());
    spec.container.secrets.push(SecretReference { secret_id, secret_name, target: FileTarget::default() });
    let said = node.complete(vec![Task { spec: Arc::new(spec), ..task(1) }]);
    assert_eq!(said, ["1 rejected [preparing] secret key not found"]);
}

#[test]
fn statuses_are_repeated_until_they_are_stored() {
    let mut node = Node::new();
    node.run(1);
    let repeated = |said: Vec<String>| said.into_iter().filter(|line| line.starts_with('1')).collect::<Vec<_>>();
    let ack = |node: &mut Node| {
        node.feed(Input::Message(DispatcherMessage::HeartbeatAck { heartbeat_period: Duration::from_secs(5) }))
    };
    assert_eq!(repeated(node.after(11)), ["1 running [started]"]);
    ack(&mut node);
    let tasks = vec![(TaskId::from_bits(1), TaskState::Starting)];
    node.feed(Input::Message(DispatcherMessage::StatusesStored { tasks }));
    assert_eq!(repeated(node.after(11)), ["1 running [started]"], "an older state says nothing");
    let tasks = vec![(TaskId::from_bits(1), TaskState::Running)];
    node.feed(Input::Message(DispatcherMessage::StatusesStored { tasks }));
    assert_eq!(repeated(node.after(11)), [""; 0]);
}

#[test]
fn tasks_outlive_their_session() {
    let mut node = Node::new();
    node.run(1);
    assert_eq!(node.feed(Input::Disconnected), [""; 0]);
    let said = node.after(1);
    assert!(said[0].starts_with("connect 10.77.0."), "{said:?}");
    assert_eq!(node.feed(Input::Connected), ["send session true"]);
    assert_eq!(node.open(), ["1 running [started]"], "a new leader may not know");
    assert_eq!(node.complete(vec![task(1)]), ["1 running [started]"], "the managers lag behind: told once more");
}

#[test]
fn a_refusal_leads_to_the_leader() {
    let (mut node, said) = Node::restored(Vec::new());
    assert_eq!(said.len(), 1);
    node.feed(Input::Connected);
    let leader = Some(manager(9));
    let refusal = DispatcherMessage::SessionInvalid { reason: "not the leader".to_owned(), leader };
    assert_eq!(node.feed(Input::Message(refusal)), ["disconnect"]);
    assert_eq!(node.after(1), ["connect 10.77.0.9:2377"]);
}

#[test]
fn heartbeats_come_within_their_period_and_silence_ends_the_session() {
    let mut node = Node::new();
    let said = node.after(14);
    let beats = said.iter().filter(|line| *line == "send heartbeat").count();
    assert!((2..=5).contains(&beats), "{said:?}");
    assert!(node.after(2).contains(&"disconnect".to_owned()));
}

#[test]
fn an_increment_on_another_set_begins_anew() {
    let mut node = Node::new();
    node.run(1);
    let gap = AssignmentsKind::Incremental { applies_to: 7 };
    assert_eq!(node.assign(gap, 8, vec![wanted(1, DesiredState::Shutdown)]), ["disconnect"]);
    node.after(1);
    assert_eq!(node.feed(Input::Connected), ["send session false"]);
}

#[test]
fn a_restarted_daemon_finds_its_tasks_again() {
    let stored = |bits, state| {
        let status = TaskStatus { state, ..TaskStatus::default() };
        StoredTask { task: Task { status, ..task(bits) }, assigned: true }
    };
    let (mut node, said) = Node::restored(vec![
        stored(1, TaskState::Running),
        stored(2, TaskState::Running),
        stored(3, TaskState::Preparing),
    ]);
    assert_eq!(said[..3], ["recover 1", "recover 2", "recover 3"]);
    node.runtime(1, started(false));
    node.runtime(2, exited(1));
    assert_eq!(node.runtime(3, RuntimeEvent::Removed), ["prepare 3 with 0 secrets"]);
    let said = node.open();
    assert_eq!(said, ["1 running [started]", "2 failed [] task: non-zero exit (1)", "3 preparing [preparing]"]);
}

#[test]
fn a_node_that_leaves_stops_everything_first() {
    let mut node = Node::new();
    node.run(1);
    assert_eq!(node.feed(Input::Leave), ["send leave", "stop 1 in 10s"]);
    assert_eq!(node.runtime(1, exited(143)), ["remove 1"]);
    assert_eq!(node.runtime(1, RuntimeEvent::Removed), ["forget 1", "left"]);
    assert_eq!(node.agent.poll_timeout(), None);
}

#[test]
fn an_endless_reason_is_cut() {
    let mut node = Node::new();
    node.complete(vec![task(1)]);
    let said = node.runtime(1, RuntimeEvent::PrepareFailed { reason: "é".repeat(1 << 20) });
    assert!(said[0].len() <= MAX_ERR_BYTES + 64);
}

fn any_event() -> impl Strategy<Value = RuntimeEvent> {
    prop_oneof![
        Just(prepared()),
        Just(RuntimeEvent::PrepareFailed { reason: "no".to_owned() }),
        any::<bool>().prop_map(started),
        Just(RuntimeEvent::Healthy),
        Just(RuntimeEvent::Unhealthy),
        Just(RuntimeEvent::StartFailed { reason: "no".to_owned(), exit_code: 127 }),
        (0..3).prop_map(exited),
        Just(RuntimeEvent::Stopped),
        Just(RuntimeEvent::Removed),
    ]
}

proptest! {
    /// Whatever the runtime says in whatever order, what is reported of a task only advances.
    #[test]
    fn reported_states_only_advance(
        steps in proptest::collection::vec((any_event(), 0u8..8), 1..40)
    ) {
        let mut node = Node::new();
        node.complete(vec![wanted(1, DesiredState::Ready)]);
        let (mut last, mut sequence) = (TaskState::New, 1);
        for (event, turn) in steps {
            let desired = match turn {
                0 => Some(DesiredState::Ready),
                1 | 2 => Some(DesiredState::Running),
                3 => Some(DesiredState::Shutdown),
                _ => None,
            };
            if let Some(desired) = desired {
                let kind = AssignmentsKind::Incremental { applies_to: sequence };
                sequence += 1;
                node.assign(kind, sequence, vec![wanted(1, desired)]);
            }
            node.agent.handle(node.now, Input::Runtime { task: TaskId::from_bits(1), event });
            while let Some(output) = node.agent.poll_output() {
                if let Output::Send(AgentMessage::TaskStatuses { statuses, .. }) = output {
                    for (_, status) in statuses {
                        prop_assert!(status.state >= last, "{:?} after {last:?}", status.state);
                        last = status.state;
                    }
                }
            }
        }
    }
}
