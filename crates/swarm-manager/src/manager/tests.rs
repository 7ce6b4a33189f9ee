//! The facade as its callers see it: a disk that answers, no network.
#![allow(clippy::unwrap_used)]

use super::*;

fn config() -> ManagerConfig {
    ManagerConfig { raft_id: 1, node_id: NodeId::from_bits(7), raft: RaftSpec::default(), seed: 1 }
}

fn now() -> Timestamp {
    Timestamp::from_secs(1_000)
}

fn cluster() -> Cluster {
    Cluster {
        id: Id::from_bits(1),
        meta: Meta::default(),
        spec: ClusterSpec::default(),
        root_ca: RootCa::default(),
        network_keys: Vec::new(),
        unlock_key: None,
        default_address_pool: vec!["10.0.0.0/8".to_owned()],
        subnet_size: 24,
        data_path_port: 4789,
        revoked_nodes: Vec::new(),
    }
}

fn node(bits: u128) -> Node {
    Node {
        id: NodeId::from_bits(bits),
        meta: Meta::default(),
        spec: NodeSpec { desired_role: NodeRole::Manager, ..NodeSpec::default() },
        role: NodeRole::Manager,
        description: None,
        status: NodeStatus::default(),
        manager_status: None,
        certificate: NodeCertificate::default(),
        attachments: BTreeMap::new(),
    }
}

/// Answers every write at once and returns all other outputs.
fn outputs(manager: &mut Manager) -> Vec<Output> {
    let mut rest = Vec::new();
    while let Some(output) = manager.poll_output() {
        match output {
            Output::Persist(persist) => manager.persisted(now(), persist.number).unwrap(),
            other => rest.push(other),
        }
    }
    rest
}

fn first_manager() -> Manager {
    let state = Manager::bootstrap_state(now(), &config(), "127.0.0.1:2377".to_owned(), cluster(), node(7)).unwrap();
    Manager::new(now(), config(), state).unwrap()
}

#[test]
fn the_first_manager_leads_once_its_disk_answered() {
    let mut manager = first_manager();
    assert!(!manager.is_leader());
    let outputs = outputs(&mut manager);
    assert!(manager.is_leader());
    assert!(outputs.iter().any(|output| matches!(output, Output::Leader { this: true, leader: Some(_) })));
    assert_eq!(manager.store().nodes().len(), 1);
}

#[test]
fn a_write_is_answered_when_the_disk_has_it_and_not_before() {
    let mut manager = first_manager();
    outputs(&mut manager);
    let request = manager.write(now(), vec![StoreAction::Create(Object::Node(node(8).into()))]).unwrap();
    assert_eq!(manager.store().nodes().len(), 1);
    let outputs = outputs(&mut manager);
    assert!(outputs.contains(&Output::Answered { request, answer: Ok(Answer::Written) }));
    assert_eq!(manager.store().nodes().len(), 2);
}

#[test]
fn a_manager_that_does_not_lead_refuses_writes() {
    let mut manager = first_manager();
    let request = manager.write(now(), Vec::new()).unwrap();
    let refused = manager.poll_output().unwrap();
    assert!(
        matches!(refused, Output::Answered { request: r, answer: Err(_) } if r == request)
            || outputs(&mut manager)
                .iter()
                .any(|o| matches!(o, Output::Answered { request: r, answer: Err(_) } if *r == request))
    );
}

#[test]
fn a_member_that_is_added_twice_keeps_its_raft_id() {
    let mut manager = first_manager();
    outputs(&mut manager);
    manager.write(now(), vec![StoreAction::Create(Object::Node(node(8).into()))]).unwrap();
    manager.add_member(now(), NodeId::from_bits(8), "127.0.0.2:2377".to_owned()).unwrap();
    let raft_id = |outputs: &[Output]| {
        outputs.iter().find_map(|output| match output {
            Output::Answered { answer: Ok(Answer::Member { raft_id, .. }), .. } => Some(*raft_id),
            _ => None,
        })
    };
    let first = raft_id(&outputs(&mut manager)).unwrap();
    manager.add_member(now(), NodeId::from_bits(8), "127.0.0.2:2377".to_owned()).unwrap();
    assert_eq!(raft_id(&outputs(&mut manager)), Some(first));
}

#[test]
fn a_request_is_answered_after_it_was_written_and_its_tasks_follow() {
    let mut manager = first_manager();
    outputs(&mut manager);
    let spec = ServiceSpec {
        annotations: Annotations::named("web"),
        task: TaskSpec {
            container: ContainerSpec { image: "swarmlab/web:1.0".to_owned(), ..ContainerSpec::default() },
            ..TaskSpec::default()
        }
        .into(),
        mode: ServiceMode::Replicated { replicas: 3 },
        update: None,
        rollback: None,
        endpoint: None,
    };
    let request = manager.control(now(), &ControlRequest::CreateService(Box::new(spec.clone()))).unwrap();
    let all = outputs(&mut manager);
    assert!(all.iter().any(|output| matches!(output,
        Output::Answered { request: r, answer: Ok(Answer::Control(ControlResponse::Created { .. })) } if *r == request)));
    assert_eq!(manager.store().tasks().len(), 3);
    manager.control(now(), &ControlRequest::CreateService(Box::new(spec))).unwrap();
    assert!(outputs(&mut manager).iter().any(|output| matches!(output, Output::Answered { answer: Err(_), .. })));
}

#[test]
fn a_swarm_begins_with_the_ingress_network_and_names_for_the_nodes_own() {
    let mut manager = first_manager();
    outputs(&mut manager);
    let ingress = manager.store().networks().by_name("ingress").unwrap();
    assert!(ingress.spec.ingress);
    assert_eq!(ingress.ipam.as_ref().unwrap().configs[0].subnet, "10.0.0.0/24");
    assert_eq!(manager.store().nodes().get(NodeId::from_bits(7)).unwrap().attachments.len(), 1);
    for name in ["bridge", "host"] {
        let network = manager.store().networks().by_name(name).unwrap();
        assert!(network.is_predefined());
        assert_eq!((network.driver_name(), network.ipam.as_ref().unwrap().configs.len()), (name, 0));
    }
}

#[test]
fn the_networks_keys_are_made_at_once_where_there_are_none_and_rotated_after_half_a_day() {
    let mut manager = first_manager();
    let mut drawn = 0;
    let mut asked = |manager: &mut Manager, now| {
        let asked = outputs(manager).contains(&Output::RotateNetworkKeys);
        if asked {
            let draw = || {
                drawn += 1;
                Some([drawn; KEY_BYTES])
            };
            manager.rotate_network_keys(now, draw).unwrap();
            outputs(manager);
        }
        asked
    };
    outputs(&mut manager);
    manager.tick(now()).unwrap();
    assert!(asked(&mut manager, now()));
    let first = manager.store().cluster().unwrap().network_keys.clone();
    assert_eq!(first.len(), 6);
    let mut time = now();
    let due = now().plus(KEY_ROTATION);
    while time < due {
        time = time.plus(Duration::from_secs(600)).min(due);
        manager.tick(time).unwrap();
        assert_eq!(asked(&mut manager, time), time == due);
    }
    let second = &manager.store().cluster().unwrap().network_keys;
    assert_eq!(second.iter().filter(|key| first.contains(key)).count(), 4, "two of three of each subsystem stay");
}

fn using_config(name: &str, config: ConfigId) -> ServiceSpec {
    let reference = ConfigReference { config_id: config, config_name: "motd".to_owned(), target: None };
    let container =
        ContainerSpec { image: "swarmlab/web:1.0".to_owned(), configs: vec![reference], ..ContainerSpec::default() };
    ServiceSpec {
        annotations: Annotations::named(name),
        task: TaskSpec { container, ..TaskSpec::default() }.into(),
        mode: ServiceMode::Replicated { replicas: 1 },
        update: None,
        rollback: None,
        endpoint: None,
    }
}

/// Seeds 29293418 and 700582 of the simulator: the config was removed while the service that uses it was being written.
#[test]
fn a_write_is_decided_on_what_those_before_it_lead_to() {
    let mut manager = first_manager();
    outputs(&mut manager);
    let spec = ConfigSpec { annotations: Annotations::named("motd"), data: b"hello".to_vec(), templating: None };
    let create = ControlRequest::CreateConfig(Box::new(spec));
    manager.control(now(), &create).unwrap();
    outputs(&mut manager);
    let id = manager.store().configs().by_name("motd").unwrap().id;

    let use_it = ControlRequest::CreateService(Box::new(using_config("web", id)));
    let used = manager.control(now(), &use_it).unwrap();
    let removed = manager.control(now(), &ControlRequest::RemoveConfig(id.to_string())).unwrap();
    let read = manager.control(now(), &ControlRequest::GetConfig("motd".to_owned())).unwrap();
    assert!(manager.store().services().is_empty(), "nothing is on disk yet");
    let answers: Vec<(RequestId, bool)> = outputs(&mut manager)
        .into_iter()
        .filter_map(|output| match output {
            Output::Answered { request, answer } => Some((request, answer.is_ok())),
            _ => None,
        })
        .collect();
    assert_eq!(answers, [(read, true), (used, true), (removed, false)]);
    assert!(manager.store().configs().get(id).is_some());
}
