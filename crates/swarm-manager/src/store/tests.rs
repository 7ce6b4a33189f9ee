//! What holds for any store: proposals apply as a whole or not at all, stale ones not, and snapshots are complete.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use proptest::prelude::*;
use swarm_types::*;

use super::*;

fn service(bits: u128, name: &str) -> Service {
    Service {
        id: ServiceId::from_bits(bits),
        meta: Meta::default(),
        spec: ServiceSpec {
            annotations: Annotations::named(name),
            task: Arc::new(TaskSpec::default()),
            mode: ServiceMode::Global,
            update: None,
            rollback: None,
            endpoint: None,
        },
        spec_version: Version(1),
        previous_spec: None,
        previous_spec_version: None,
        endpoint: None,
        update_status: None,
        job_status: None,
    }
}

fn task(bits: u128, service: u128) -> Task {
    Task {
        id: TaskId::from_bits(bits),
        meta: Meta::default(),
        service_id: Some(ServiceId::from_bits(service)),
        slot: 1,
        node_id: None,
        spec: Arc::new(TaskSpec::default()),
        spec_version: Version(1),
        service_annotations: Arc::new(Annotations::default()),
        status: TaskStatus::default(),
        desired_state: DesiredState::Ready,
        networks: Vec::new(),
        endpoint: None,
        assigned_resources: Vec::new(),
        job_iteration: None,
    }
}

fn create_service(bits: u128, name: &str) -> StoreAction {
    StoreAction::Create(Object::Service(Arc::new(service(bits, name))))
}

fn create_task(bits: u128, service: u128) -> StoreAction {
    StoreAction::Create(Object::Task(Arc::new(task(bits, service))))
}

fn propose(store: &mut Store, atomic: bool, actions: Vec<StoreAction>) -> Applied {
    let index = store.version().0 + 1;
    let now = Timestamp::from_secs(index as i64);
    store.apply(index, &Proposal { id: ProposalId::default(), now, atomic, actions })
}

fn status(state: TaskState) -> TaskStatus {
    TaskStatus { state, ..TaskStatus::default() }
}

#[test]
fn an_atomic_proposal_with_one_refusal_changes_nothing() {
    let mut store = Store::default();
    propose(&mut store, true, vec![create_service(1, "web"), create_task(1, 1)]);
    let before = store.snapshot();
    let renamed = StoreAction::Update(Object::Service(Arc::new(Service {
        meta: *store.services().by_name("web").unwrap().meta(),
        ..service(1, "renamed")
    })));
    let applied = propose(
        &mut store,
        true,
        vec![
            renamed,
            create_service(2, "web"),
            create_task(2, 2),
            StoreAction::AssignTask {
                id: TaskId::from_bits(1),
                read: Version(1),
                node: NodeId::from_bits(1),
                resources: Vec::new(),
                status: status(TaskState::Assigned),
            },
            StoreAction::Remove(ObjectId::Task(TaskId::from_bits(1))),
            create_service(3, "WEB"),
        ],
    );
    assert!(applied.events.is_empty());
    assert!(matches!(applied.refused.as_slice(), [(5, Refused::NameTaken { .. })]), "{:?}", applied.refused);
    assert_eq!(store.snapshot().objects, before.objects);
    assert_eq!(store.version(), Version(2));
    assert_eq!(store.services().by_name("web").unwrap().id, ServiceId::from_bits(1));
    assert!(store.services().by_name("renamed").is_none());
    assert_eq!(store.service_tasks(ServiceId::from_bits(1)).count(), 1);
    assert_eq!(store.service_tasks(ServiceId::from_bits(2)).count(), 0);
    assert_eq!(store.node_tasks(NodeId::from_bits(1)).count(), 0);
}

#[test]
fn the_actions_of_components_stand_on_their_own() {
    let mut store = Store::default();
    let applied =
        propose(&mut store, false, vec![create_service(1, "a"), create_service(2, "A"), create_service(3, "b")]);
    assert_eq!((applied.events.len(), applied.refused.len()), (2, 1));
    assert_eq!(store.services().len(), 2);
}

#[test]
fn an_update_of_an_older_version_is_refused() {
    let mut store = Store::default();
    propose(&mut store, true, vec![create_service(1, "web")]);
    let read = store.services().by_name("web").unwrap().clone();
    let update = StoreAction::Update(Object::Service(read));
    assert!(propose(&mut store, true, vec![update.clone()]).refused.is_empty());
    let refused = propose(&mut store, true, vec![update]).refused;
    assert!(matches!(refused.as_slice(), [(0, Refused::Stale { read: Version(1), current: Version(2), .. })]));
    let meta = store.services().by_name("web").unwrap().meta;
    assert_eq!((meta.created_at, meta.updated_at), (Timestamp::from_secs(1), Timestamp::from_secs(2)));
}

#[test]
fn states_of_tasks_only_advance() {
    let mut store = Store::default();
    let id = TaskId::from_bits(1);
    propose(&mut store, false, vec![create_task(1, 1)]);
    let set = |state| StoreAction::SetTaskStatus { id, status: status(state) };
    let desire = |desired| StoreAction::SetDesiredState { id, desired };
    let applied = propose(
        &mut store,
        false,
        vec![
            set(TaskState::Running),
            set(TaskState::Ready),
            desire(DesiredState::Shutdown),
            desire(DesiredState::Running),
            set(TaskState::Shutdown),
        ],
    );
    let places: Vec<usize> = applied.refused.iter().map(|(place, _)| *place).collect();
    assert_eq!(places, [1, 3]);
    assert!(applied.refused.iter().all(|(_, refused)| matches!(refused, Refused::Backwards { .. })));
}

#[test]
fn an_assignment_of_a_task_that_changed_is_refused() {
    let mut store = Store::default();
    let id = TaskId::from_bits(1);
    propose(&mut store, false, vec![create_task(1, 1)]);
    propose(&mut store, false, vec![StoreAction::SetDesiredState { id, desired: DesiredState::Shutdown }]);
    let assign = StoreAction::AssignTask {
        id,
        read: Version(1),
        node: NodeId::from_bits(1),
        resources: Vec::new(),
        status: status(TaskState::Assigned),
    };
    assert!(matches!(propose(&mut store, false, vec![assign]).refused.as_slice(), [(0, Refused::Stale { .. })]));
}

#[test]
fn the_status_of_an_update_is_refused_when_the_spec_changed_since() {
    let mut store = Store::default();
    propose(&mut store, true, vec![create_service(1, "web")]);
    let status =
        UpdateStatus { state: UpdateState::Updating, started_at: None, completed_at: None, message: String::new() };
    let set = |version| StoreAction::SetUpdateStatus {
        id: ServiceId::from_bits(1),
        spec_version: Version(version),
        status: status.clone(),
    };
    assert!(propose(&mut store, false, vec![set(1)]).refused.is_empty());
    assert_eq!(propose(&mut store, false, vec![set(2)]).refused.len(), 1);
}

fn action() -> impl Strategy<Value = StoreAction> {
    let states = prop::sample::select(TaskState::ALL.to_vec());
    prop_oneof![
        (0..4u128, "[ab]{1,2}").prop_map(|(bits, name)| create_service(bits, &name)),
        (0..4u128, "[ab]{1,2}", 0..30u64).prop_map(|(bits, name, version)| {
            let meta = Meta { version: Version(version), ..Meta::default() };
            StoreAction::Update(Object::Service(Arc::new(Service { meta, ..service(bits, &name) })))
        }),
        (0..4u128).prop_map(|bits| StoreAction::Remove(ObjectId::Service(ServiceId::from_bits(bits)))),
        (0..4u128, 0..3u128).prop_map(|(bits, service)| create_task(bits, service)),
        (0..4u128).prop_map(|bits| StoreAction::Remove(ObjectId::Task(TaskId::from_bits(bits)))),
        (0..4u128, 0..30u64, 0..2u128).prop_map(|(bits, version, node)| StoreAction::AssignTask {
            id: TaskId::from_bits(bits),
            read: Version(version),
            node: NodeId::from_bits(node),
            resources: Vec::new(),
            status: status(TaskState::Assigned),
        }),
        (0..4u128, states).prop_map(|(bits, state)| StoreAction::SetTaskStatus {
            id: TaskId::from_bits(bits),
            status: status(state),
        }),
    ]
}

/// The indices say what the tables say.
fn indices_hold(store: &Store) {
    for service in store.services().iter() {
        let named = store.services().by_name(&service.spec.annotations.name).unwrap();
        assert_eq!(named.id, service.id);
    }
    assert_eq!(store.services.names().count(), store.services().len());
    let mut of_services: Vec<TaskId> =
        (0..4).flat_map(|bits| store.service_tasks(ServiceId::from_bits(bits))).map(|task| task.id).collect();
    of_services.sort();
    assert_eq!(of_services, store.tasks().iter().map(|task| task.id).collect::<Vec<_>>());
    for node in (0..2).map(NodeId::from_bits) {
        let on_node: Vec<TaskId> = store.node_tasks(node).map(|task| task.id).collect();
        let expected: Vec<TaskId> =
            store.tasks().iter().filter(|task| task.node_id == Some(node)).map(|task| task.id).collect();
        assert_eq!(on_node, expected);
    }
}

proptest! {
    #[test]
    fn indices_snapshots_and_events_agree_with_the_tables(
        proposals in prop::collection::vec((any::<bool>(), prop::collection::vec(action(), 1..6)), 1..30)
    ) {
        let mut store = Store::default();
        let mut follower = Store::default();
        for (atomic, actions) in proposals {
            let before = store.snapshot();
            let applied = propose(&mut store, atomic, actions.clone());
            if atomic && !applied.refused.is_empty() {
                prop_assert_eq!(store.snapshot().objects, before.objects);
            }
            propose(&mut follower, atomic, actions);
            prop_assert_eq!(store.snapshot(), follower.snapshot());
            indices_hold(&store);
            let restored = Store::restore(store.snapshot());
            prop_assert_eq!(restored.snapshot(), store.snapshot());
            indices_hold(&restored);
        }
    }
}
