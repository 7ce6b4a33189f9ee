//! Restart policies: which ends bring a new task, when, and how many times.

use std::sync::Arc;
use std::time::Duration;

use swarm_types::*;

use super::harness::{World, secs};

fn policy(condition: RestartCondition, max_attempts: u64, window: Duration) -> impl FnOnce(&mut ServiceSpec) {
    move |spec| {
        let restart = RestartPolicy { condition, max_attempts, window, delay: Some(secs(2)) };
        Arc::make_mut(&mut spec.task).restart = Some(restart);
    }
}

#[test]
fn a_failed_task_is_replaced_at_once_but_starts_after_the_delay() {
    let mut world = World::with_nodes(1);
    world.create("web", "web", 1, |_| {});
    world.settle();
    world.end("web", "1", TaskState::Failed);
    world.settle();
    assert_eq!(world.show("web"), ["1 n1 web shutdown/failed", "1 n1 web ready/ready"]);
    world.pass(Duration::from_millis(4999));
    assert_eq!(world.show("web")[1], "1 n1 web ready/ready");
    world.pass(Duration::from_millis(1));
    assert_eq!(world.show("web")[1], "1 n1 web running/running");
}

#[test]
fn a_completed_task_is_replaced_too_unless_only_failures_count() {
    for (condition, tasks) in
        [(RestartCondition::Any, 2), (RestartCondition::OnFailure, 1), (RestartCondition::None, 1)]
    {
        let mut world = World::with_nodes(1);
        world.create("web", "web", 1, policy(condition, 0, Duration::ZERO));
        world.settle();
        world.end("web", "1", TaskState::Complete);
        world.pass(secs(60));
        assert_eq!(world.show("web").len(), tasks, "{condition:?}");
    }
}

#[test]
fn a_task_that_is_not_restarted_keeps_its_slot_until_the_service_changes() {
    let mut world = World::with_nodes(1);
    world.create("web", "web", 2, policy(RestartCondition::None, 0, Duration::ZERO));
    world.settle();
    world.end("web", "1", TaskState::Failed);
    world.pass(secs(60));
    let ended = ["1 n1 web shutdown/failed", "2 n1 web running/running"];
    assert_eq!(world.show("web"), ended);
    world.new_leader();
    world.pass(secs(60));
    assert_eq!(world.show("web"), ended);
    world.set_image("web", "web2");
    world.pass(secs(60));
    assert_eq!(world.active("web"), ["1 n1 web2 running/running", "2 n1 web2 running/running"]);
}

#[test]
fn a_task_that_always_fails_is_restarted_up_to_max_attempts_also_by_a_new_leader() {
    let mut world = World::with_nodes(1);
    world.create("web", "crash", 1, policy(RestartCondition::Any, 3, Duration::ZERO));
    world.pass(secs(3));
    assert_eq!(world.show("web").len(), 3);
    world.new_leader();
    world.pass(secs(600));
    let failed = "1 n1 crash shutdown/failed";
    assert_eq!(world.show("web"), [failed; 4]);
    // A new spec is a new chance.
    world.set_image("web", "crash2");
    world.pass(secs(600));
    assert_eq!(world.show("web"), ["1 n1 crash2 shutdown/failed"; 4]);
}

#[test]
fn attempts_count_within_the_window_only() {
    let mut world = World::with_nodes(1);
    world.create("web", "web", 1, policy(RestartCondition::Any, 1, secs(60)));
    world.settle();
    for _ in 0..3 {
        world.end("web", "1", TaskState::Failed);
        world.pass(secs(100));
        assert_eq!(world.running("web"), 1);
    }
    world.end("web", "1", TaskState::Failed);
    world.pass(secs(10));
    world.end("web", "1", TaskState::Failed);
    world.pass(secs(600));
    assert_eq!(world.running("web"), 0);
}

#[test]
fn an_image_that_cannot_be_fetched_is_tried_once_per_delay() {
    let mut world = World::with_nodes(1);
    world.create("web", "bad", 1, |spec| {
        Arc::make_mut(&mut spec.task).restart = Some(RestartPolicy { max_attempts: 100, ..Default::default() });
    });
    world.settle();
    assert_eq!(world.show("web").len(), 2);
    world.pass(secs(50));
    assert_eq!(world.show("web").len(), 12);
}

#[test]
fn a_replacement_waits_for_the_old_task_to_stop_but_not_for_ever() {
    let mut world = World::with_nodes(2);
    world.create("web", "web", 1, |_| {});
    world.settle();
    world.stubborn = true;
    world.set_availability("n1", NodeAvailability::Drain);
    world.pass(secs(59));
    assert_eq!(world.show("web"), ["1 n1 web shutdown/running", "1 n2 web ready/ready"]);
    world.pass(secs(1));
    assert_eq!(world.show("web"), ["1 n1 web shutdown/running", "1 n2 web running/running"]);
}

#[test]
fn a_new_leader_starts_what_the_old_one_left_waiting() {
    let mut world = World::with_nodes(1);
    world.create("web", "web", 1, |_| {});
    world.settle();
    world.end("web", "1", TaskState::Failed);
    world.pass(secs(3));
    world.new_leader();
    world.pass(secs(1));
    assert_eq!(world.show("web")[1], "1 n1 web ready/ready");
    world.pass(secs(1));
    assert_eq!(world.show("web")[1], "1 n1 web running/running");
}
