//! Rolling updates and rollbacks: order, parallelism, failures, and what needs none.

use std::sync::Arc;
use std::time::Duration;

use swarm_types::*;

use super::harness::{World, secs};

/// A service of `replicas` tasks `v1` that runs, about to be updated to `image` by this configuration.
fn updating(replicas: u64, image: &str, config: UpdateConfig) -> World {
    let mut world = World::with_nodes(3);
    world.create("web", "v1", replicas, |_| {});
    world.pass(secs(60));
    world.update("web", |spec| {
        Arc::make_mut(&mut spec.task).container.image = image.to_owned();
        spec.update = Some(config);
    });
    world
}

fn count(world: &World, image: &str) -> usize {
    world.active("web").iter().filter(|line| line.contains(&format!(" {image} "))).count()
}

fn message(world: &World) -> String {
    world.service("web").update_status.as_ref().map(|status| status.message.clone()).unwrap_or_default()
}

#[test]
fn tasks_are_replaced_one_at_a_time_the_old_one_first() {
    let mut world = updating(3, "v2", UpdateConfig { delay: secs(10), ..UpdateConfig::default() });
    world.poll();
    assert_eq!(world.update_state("web"), Some(UpdateState::Updating));
    assert_eq!(world.show("web")[..2], ["1 n1 v1 shutdown/running", "1 - v2 ready/new"]);
    world.settle();
    assert_eq!(world.active("web"), ["1 n1 v2 running/running", "2 n2 v1 running/running", "3 n3 v1 running/running"]);
    world.pass(secs(10));
    assert_eq!(count(&world, "v2"), 2);
    world.pass(secs(10));
    assert_eq!(count(&world, "v2"), 3);
    assert_eq!(world.update_state("web"), Some(UpdateState::Updating));
    world.pass(secs(21));
    assert_eq!(world.update_state("web"), Some(UpdateState::Completed));
    assert_eq!(message(&world), "update completed");
}

#[test]
fn parallelism_bounds_how_many_are_under_way() {
    for (parallelism, expected) in [(2, 2), (0, 5)] {
        let mut world = updating(5, "slow", UpdateConfig { parallelism, ..UpdateConfig::default() });
        world.pass(secs(60));
        assert_eq!(count(&world, "slow"), expected, "parallelism {parallelism}");
        assert_eq!(world.running("web"), 5 - expected);
    }
}

#[test]
fn start_first_keeps_the_old_task_until_the_new_one_runs() {
    let config = UpdateConfig { order: UpdateOrder::StartFirst, parallelism: 1, ..UpdateConfig::default() };
    let mut world = updating(2, "slow", config.clone());
    world.pass(secs(60));
    assert_eq!(
        world.active("web"),
        ["1 n1 v1 running/running", "1 n3 slow running/starting", "2 n2 v1 running/running"]
    );
    let mut world = updating(2, "v2", config);
    world.pass(secs(60));
    assert_eq!(count(&world, "v2"), 2);
    assert_eq!(count(&world, "v1"), 0);
    assert_eq!(world.update_state("web"), Some(UpdateState::Completed));
}

#[test]
fn a_failing_update_pauses_and_leaves_the_rest_alone() {
    let mut world = updating(3, "crash", UpdateConfig { delay: secs(10), ..UpdateConfig::default() });
    world.pass(secs(60));
    assert_eq!(world.update_state("web"), Some(UpdateState::Paused));
    assert!(message(&world).starts_with("update paused due to failure or early termination of task "));
    assert_eq!((count(&world, "v1"), count(&world, "crash")), (2, 1));
    // The way out: another update.
    world.set_image("web", "v3");
    world.pass(secs(60));
    assert_eq!((count(&world, "v3"), world.running("web")), (3, 3));
    assert_eq!(world.update_state("web"), Some(UpdateState::Completed));
}

#[test]
fn a_failing_update_that_rolls_back_ends_with_the_previous_spec_everywhere() {
    let action = FailureAction::Rollback;
    let config = UpdateConfig { failure_action: action, delay: secs(10), ..UpdateConfig::default() };
    let mut world = updating(3, "crash", config);
    world.pass(secs(120));
    assert_eq!(world.update_state("web"), Some(UpdateState::RollbackCompleted));
    assert_eq!(message(&world), "rollback completed");
    assert_eq!((count(&world, "v1"), world.running("web")), (3, 3));
    let untouched = world.tasks_of("web").iter().filter(|task| task.spec_version == Version(1)).count();
    assert_eq!(untouched, 3, "one was stopped, two were never touched");
}

#[test]
fn a_rollback_that_fails_too_pauses() {
    let mut world = World::with_nodes(3);
    world.create("web", "crash1", 3, |_| {});
    world.settle();
    world.update("web", |spec| {
        Arc::make_mut(&mut spec.task).container.image = "crash2".to_owned();
        spec.update = Some(UpdateConfig { failure_action: FailureAction::Rollback, ..UpdateConfig::default() });
    });
    world.pass(secs(600));
    assert_eq!(world.update_state("web"), Some(UpdateState::RollbackPaused));
    assert!(message(&world).starts_with("rollback paused due to failure or early termination of task "));
}

#[test]
fn an_update_that_continues_replaces_all_whatever_happens() {
    let config = UpdateConfig { failure_action: FailureAction::Continue, ..UpdateConfig::default() };
    let mut world = updating(3, "crash", config);
    world.pass(secs(600));
    assert_eq!(count(&world, "v1"), 0);
    assert_eq!(world.update_state("web"), Some(UpdateState::Completed));
}

#[test]
fn failures_up_to_the_ratio_are_borne() {
    for (ratio, expected) in [(0.5, UpdateState::Completed), (0.25, UpdateState::Paused)] {
        let config = UpdateConfig { max_failure_ratio: ratio, monitor: Some(secs(30)), ..UpdateConfig::default() };
        let mut world = updating(3, "v2", config);
        world.settle();
        world.end("web", "1", TaskState::Failed);
        world.pass(secs(120));
        assert_eq!(world.update_state("web"), Some(expected), "ratio {ratio}");
    }
}

#[test]
fn failures_after_the_monitoring_period_are_not_the_updates() {
    let config = UpdateConfig { delay: secs(30), monitor: Some(secs(3)), ..UpdateConfig::default() };
    let mut world = updating(2, "v2", config);
    world.pass(Duration::from_millis(3001));
    world.end("web", "1", TaskState::Failed);
    world.pass(secs(200));
    assert_eq!(world.update_state("web"), Some(UpdateState::Completed));
}

#[test]
fn a_new_leader_goes_on_where_the_old_one_stopped() {
    let mut world = updating(4, "v2", UpdateConfig { delay: secs(10), ..UpdateConfig::default() });
    for done in 1..=4 {
        world.settle();
        assert_eq!(count(&world, "v2"), done);
        world.new_leader();
        world.pass(secs(9));
        assert_eq!(count(&world, "v2"), done, "the delay holds for a new leader too");
        world.pass(secs(1));
    }
    world.pass(secs(30));
    assert_eq!(world.update_state("web"), Some(UpdateState::Completed));
    assert_eq!(world.running("web"), 4);
}

#[test]
fn a_change_of_labels_or_replicas_replaces_no_task() {
    let mut world = World::with_nodes(2);
    world.create("web", "v1", 2, |_| {});
    world.settle();
    let before: Vec<TaskId> = world.tasks_of("web").iter().map(|task| task.id).collect();
    world.update("web", |spec| drop(spec.annotations.labels.insert("a".into(), "b".into())));
    world.pass(secs(60));
    world.update("web", |spec| spec.update = Some(UpdateConfig::default()));
    world.pass(secs(60));
    assert_eq!(world.tasks_of("web").iter().map(|task| task.id).collect::<Vec<_>>(), before);
    assert_eq!(world.update_state("web"), None);
}

#[test]
fn force_and_new_ports_replace_tasks() {
    let force = |spec: &mut ServiceSpec| Arc::make_mut(&mut spec.task).force_update += 1;
    let publish = |spec: &mut ServiceSpec| {
        let ports = vec![PortConfig { target_port: 80, published_port: 8080, ..PortConfig::default() }];
        spec.endpoint = Some(EndpointSpec { ports, ..EndpointSpec::default() });
    };
    let edits: [&dyn Fn(&mut ServiceSpec); 2] = [&force, &publish];
    for edit in edits {
        let mut world = World::with_nodes(2);
        world.create("web", "v1", 2, |_| {});
        world.settle();
        world.update("web", edit);
        world.pass(secs(60));
        assert_eq!(world.show("web").len(), 4);
        assert_eq!(world.running("web"), 2);
        assert_eq!(world.update_state("web"), Some(UpdateState::Completed));
    }
}

#[test]
fn a_new_constraint_moves_only_tasks_whose_nodes_do_not_meet_it() {
    let mut world = World::with_nodes(2);
    world.create("web", "v1", 2, |_| {});
    world.settle();
    world.update("web", |spec| {
        let constraints = vec!["node.hostname==n1".to_owned()];
        Arc::make_mut(&mut spec.task).placement = Some(Placement { constraints, ..Placement::default() });
    });
    world.pass(secs(60));
    assert_eq!(world.show("web"), ["1 n1 v1 running/running", "2 n2 v1 shutdown/shutdown", "2 n1 v1 running/running"]);
}

#[test]
fn a_second_update_takes_over_from_the_first() {
    let mut world = updating(3, "slow", UpdateConfig::default());
    world.pass(secs(30));
    assert_eq!(count(&world, "slow"), 1);
    world.set_image("web", "v3");
    world.pass(secs(60));
    assert_eq!((count(&world, "v3"), world.running("web")), (3, 3));
}

#[test]
fn scaling_during_an_update_brings_new_tasks_of_the_new_spec() {
    let mut world = updating(2, "v2", UpdateConfig { delay: secs(20), ..UpdateConfig::default() });
    world.settle();
    world.scale("web", 4);
    world.settle();
    assert_eq!(count(&world, "v2") + count(&world, "v1"), 4);
    world.pass(secs(120));
    assert_eq!((count(&world, "v2"), world.running("web")), (4, 4));
}
