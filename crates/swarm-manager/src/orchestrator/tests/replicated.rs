//! Replicated services: slots, scaling, and tasks that lose their node.

use swarm_types::*;

use super::harness::{World, secs};

#[test]
fn a_service_gets_as_many_tasks_as_replicas_in_slots_from_one() {
    let mut world = World::with_nodes(2);
    world.create("web", "web", 3, |_| {});
    world.settle();
    assert_eq!(world.show("web"), ["1 n1 web running/running", "2 n2 web running/running", "3 n1 web running/running"]);
    assert_eq!(world.update_state("web"), None);
}

#[test]
fn a_service_larger_than_a_proposal_comes_in_several() {
    let mut world = World::with_nodes(3);
    world.create("web", "web", 450, |_| {});
    assert_eq!(world.poll(), 200);
    assert_eq!(world.poll(), 200);
    assert_eq!(world.poll(), 50);
    world.settle();
    assert_eq!(world.running("web"), 450);
    world.scale("web", 0);
    world.settle();
    assert_eq!(world.show("web").len(), 0);
}

#[test]
fn scaling_up_fills_the_lowest_free_slots() {
    let mut world = World::with_nodes(2);
    world.create("web", "web", 1, |_| {});
    world.settle();
    world.scale("web", 3);
    world.settle();
    assert_eq!(world.show("web"), ["1 n1 web running/running", "2 n2 web running/running", "3 n1 web running/running"]);
    assert_eq!(world.update_state("web"), None, "scaling is no update");
}

#[test]
fn scaling_down_takes_from_the_node_with_most_tasks_and_high_slots_first() {
    let mut world = World::with_nodes(1);
    world.create("web", "web", 3, |_| {});
    world.settle();
    world.join("n2");
    world.scale("web", 4);
    world.settle();
    assert_eq!(world.active("web")[3], "4 n2 web running/running");
    world.scale("web", 2);
    world.settle();
    assert_eq!(world.show("web"), ["1 n1 web running/running", "4 n2 web running/running"]);
}

#[test]
fn scaling_down_takes_tasks_that_do_not_run_first() {
    let mut world = World::with_nodes(1);
    world.create("web", "web", 2, |_| {});
    world.settle();
    world.end("web", "1", TaskState::Failed);
    world.settle();
    assert_eq!(world.active("web"), ["1 n1 web ready/ready", "2 n1 web running/running"]);
    world.scale("web", 1);
    world.settle();
    assert_eq!(world.active("web"), ["2 n1 web running/running"]);
}

#[test]
fn a_removed_service_takes_its_tasks_along_when_they_have_stopped() {
    let mut world = World::with_nodes(1);
    world.create("web", "web", 2, |_| {});
    world.settle();
    world.stubborn = true;
    world.remove_service("web");
    world.settle();
    assert_eq!(world.show("web"), ["1 n1 web remove/running", "2 n1 web remove/running"]);
    world.stubborn = false;
    world.settle();
    assert_eq!(world.show("web").len(), 0);
}

#[test]
fn tasks_of_a_node_that_goes_down_are_replaced_and_nothing_moves_back() {
    let mut world = World::with_nodes(2);
    world.create("web", "web", 2, |_| {});
    world.settle();
    world.set_state("n2", NodeState::Down);
    world.settle();
    assert_eq!(world.show("web"), ["1 n1 web running/running", "2 n2 web shutdown/running", "2 n1 web ready/ready"]);
    world.pass(secs(5));
    let moved = ["1 n1 web running/running", "2 n1 web running/running"];
    assert_eq!(world.active("web"), moved);
    world.set_state("n2", NodeState::Ready);
    world.pass(secs(60));
    assert_eq!(world.active("web"), moved);
    assert_eq!(world.show("web")[1], "2 n2 web shutdown/shutdown");
}

#[test]
fn draining_moves_tasks_without_delay_and_pausing_keeps_them() {
    let mut world = World::with_nodes(2);
    world.create("web", "web", 2, |_| {});
    world.settle();
    world.set_availability("n2", NodeAvailability::Pause);
    world.pass(secs(60));
    assert_eq!(world.show("web"), ["1 n1 web running/running", "2 n2 web running/running"]);
    world.set_availability("n2", NodeAvailability::Drain);
    world.settle();
    assert_eq!(world.active("web"), ["1 n1 web running/running", "2 n1 web running/running"]);
}

#[test]
fn tasks_of_a_removed_node_are_replaced() {
    let mut world = World::with_nodes(2);
    world.create("web", "web", 2, |_| {});
    world.settle();
    world.remove_node("n2");
    world.pass(secs(5));
    assert_eq!(world.active("web"), ["1 n1 web running/running", "2 n1 web running/running"]);
}

#[test]
fn a_task_whose_node_loses_a_required_label_moves_to_one_that_has_it() {
    let label = |node: &mut Node| {
        node.spec.annotations.labels.insert("disk".into(), "ssd".into());
    };
    let mut world = World::with_nodes(3);
    world.edit_node("n1", label);
    world.create("db", "db", 1, |spec| {
        let constraints = vec!["node.labels.disk==ssd".to_owned()];
        std::sync::Arc::make_mut(&mut spec.task).placement = Some(Placement { constraints, ..Placement::default() });
    });
    world.settle();
    assert_eq!(world.show("db"), ["1 n1 db running/running"]);
    world.edit_node("n3", label);
    world.edit_node("n1", |node| node.spec.annotations.labels.clear());
    world.settle();
    let rejected = world.tasks_of("db")[0].clone();
    assert_eq!(rejected.status.err, "assigned node no longer meets constraints");
    world.pass(secs(5));
    assert_eq!(world.active("db"), ["1 n3 db running/running"]);
}
