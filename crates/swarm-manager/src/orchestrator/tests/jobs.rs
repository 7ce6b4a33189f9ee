//! Replicated and global jobs: how often they run, at once and in all.

use std::sync::Arc;

use swarm_types::*;

use super::harness::{World, secs};

fn job(max_concurrent: u64, total_completions: u64) -> impl FnOnce(&mut ServiceSpec) {
    move |spec| spec.mode = ServiceMode::ReplicatedJob { max_concurrent, total_completions }
}

fn completed(world: &World) -> usize {
    world.tasks_of("job").iter().filter(|task| task.status.state == TaskState::Complete).count()
}

#[test]
fn a_job_runs_until_all_completed_and_no_more_at_once_than_allowed() {
    let mut world = World::with_nodes(2);
    world.create("job", "slow", 0, job(2, 5));
    world.settle();
    assert_eq!(world.active("job").len(), 2);
    let mut world = World::with_nodes(2);
    world.create("job", "done", 0, job(2, 5));
    world.pass(secs(60));
    assert_eq!(completed(&world), 5);
    assert_eq!(world.show("job").len(), 5);
}

#[test]
fn a_completed_job_is_not_run_again_by_a_new_leader_but_by_an_update() {
    let mut world = World::with_nodes(2);
    world.create("job", "done", 0, job(3, 3));
    world.pass(secs(60));
    world.new_leader();
    world.pass(secs(60));
    assert_eq!(world.show("job").len(), 3);
    let first: Vec<TaskId> = world.tasks_of("job").iter().map(|task| task.id).collect();
    world.update("job", |spec| Arc::make_mut(&mut spec.task).force_update += 1);
    world.pass(secs(60));
    assert_eq!(completed(&world), 3);
    assert!(world.tasks_of("job").iter().all(|task| !first.contains(&task.id)));
}

#[test]
fn a_failing_job_is_retried_up_to_max_attempts() {
    let mut world = World::with_nodes(1);
    world.create("job", "crash", 0, |spec| {
        job(1, 1)(spec);
        Arc::make_mut(&mut spec.task).restart = Some(RestartPolicy { max_attempts: 2, ..RestartPolicy::default() });
    });
    world.pass(secs(600));
    assert_eq!(world.show("job").len(), 3);
    assert_eq!(world.active("job").len(), 0);
}

#[test]
fn a_global_job_runs_once_on_every_node() {
    let mut world = World::with_nodes(3);
    world.create("job", "done", 0, |spec| spec.mode = ServiceMode::GlobalJob);
    world.pass(secs(60));
    assert_eq!(completed(&world), 3);
    world.join("n4");
    world.pass(secs(60));
    assert_eq!(completed(&world), 4);
    assert_eq!(world.show("job").len(), 4);
}
