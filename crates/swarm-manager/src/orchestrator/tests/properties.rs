//! Whatever happens, in the end the service is as it was asked for.

use proptest::prelude::*;
use swarm_types::*;

use super::harness::{World, secs};

#[derive(Debug, Clone)]
enum Step {
    Scale(u64),
    Image(String),
    Config { start_first: bool, rollback: bool },
    Fail(usize),
    Down(u8),
    Up(u8),
    Drain(u8),
    Activate(u8),
    NewLeader,
    Pass(u64),
    Poll,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..8u64).prop_map(Step::Scale),
        (0..3u8).prop_map(|number| Step::Image(format!("v{number}"))),
        prop::sample::select(vec!["crash", "bad", "slow"]).prop_map(|image| Step::Image(image.to_owned())),
        (any::<bool>(), any::<bool>()).prop_map(|(start_first, rollback)| Step::Config { start_first, rollback }),
        (0..8usize).prop_map(Step::Fail),
        (1..4u8).prop_map(Step::Down),
        (1..4u8).prop_map(Step::Up),
        (1..4u8).prop_map(Step::Drain),
        (1..4u8).prop_map(Step::Activate),
        Just(Step::NewLeader),
        (1..20u64).prop_map(Step::Pass),
        Just(Step::Poll),
    ]
}

fn take(world: &mut World, step: &Step) {
    match *step {
        Step::Scale(replicas) => world.scale("web", replicas),
        Step::Image(ref image) => world.set_image("web", image),
        Step::Config { start_first, rollback } => world.update("web", |spec| {
            spec.update = Some(UpdateConfig {
                order: if start_first { UpdateOrder::StartFirst } else { UpdateOrder::StopFirst },
                failure_action: if rollback { FailureAction::Rollback } else { FailureAction::Continue },
                parallelism: 2,
                ..UpdateConfig::default()
            });
        }),
        Step::Fail(number) => {
            let running = |task: &&std::sync::Arc<Task>| task.status.state == TaskState::Running;
            let task = world.tasks_of("web").iter().filter(running).nth(number).cloned();
            if let Some(task) = task {
                let status = TaskStatus { timestamp: world.now, state: TaskState::Failed, ..TaskStatus::default() };
                world.apply(vec![crate::store::StoreAction::SetTaskStatus { id: task.id, status }]);
            }
        }
        Step::Down(node) => world.set_state(&format!("n{node}"), NodeState::Down),
        Step::Up(node) => world.set_state(&format!("n{node}"), NodeState::Ready),
        Step::Drain(node) => world.set_availability(&format!("n{node}"), NodeAvailability::Drain),
        Step::Activate(node) => world.set_availability(&format!("n{node}"), NodeAvailability::Active),
        Step::NewLeader => world.new_leader(),
        Step::Pass(time) => drop(world.pass(secs(time)).now),
        Step::Poll => drop(world.poll()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Where proposals apply at once, the harness itself asserts that none is ever refused.
    #[test]
    fn a_service_ends_as_it_was_asked_for(lagging: bool, steps in prop::collection::vec(step(), 1..40)) {
        let mut world = World::with_nodes(4);
        world.lagging = lagging;
        world.create("web", "v0", 3, |_| {});
        for step in &steps {
            take(&mut world, step);
        }
        for node in 1..4 {
            take(&mut world, &Step::Up(node));
            take(&mut world, &Step::Activate(node));
        }
        // An update that failures paused stays as it is: a last one without failures.
        world.set_image("web", "last");
        world.pass(secs(900));
        let service = world.service("web");
        let ServiceMode::Replicated { replicas } = service.spec.mode else { unreachable!() };
        let wanted = format!(" {} running/running", service.spec.task.container.image);
        let active = world.active("web");
        prop_assert_eq!(active.len() as u64, replicas, "{:?}", world.show("web"));
        prop_assert!(active.iter().all(|line| line.ends_with(&wanted)), "{:?}", world.show("web"));
        let mut slots: Vec<u64> =
            world.tasks_of("web").iter().filter(|t| t.desired_state == DesiredState::Running).map(|t| t.slot).collect();
        slots.dedup();
        prop_assert_eq!(slots.len() as u64, replicas);
        let state = world.update_state("web");
        prop_assert!(matches!(state, None | Some(UpdateState::Completed)), "{:?}", state);
    }

    #[test]
    fn a_global_service_ends_on_all_nodes(lagging: bool, steps in prop::collection::vec(step(), 1..40)) {
        let mut world = World::with_nodes(4);
        world.lagging = lagging;
        world.create("web", "v0", 0, |spec| spec.mode = ServiceMode::Global);
        for step in steps.iter().filter(|step| !matches!(step, Step::Scale(_))) {
            take(&mut world, step);
        }
        for node in 1..4 {
            take(&mut world, &Step::Up(node));
            take(&mut world, &Step::Activate(node));
        }
        world.set_image("web", "last");
        world.pass(secs(900));
        prop_assert_eq!(world.active("web").len(), 4, "{:?}", world.show("web"));
        prop_assert_eq!(world.running("web"), 4, "{:?}", world.show("web"));
    }
}
