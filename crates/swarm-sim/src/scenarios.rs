//! Sequences in virtual time with a known outcome, where random runs would only show that something holds in the end.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use swarm_gossip::view::network_view;
use swarm_manager::control_api::ControlRequest;
use swarm_manager::manager::Manager;
use swarm_types::*;

use crate::client::service;
use crate::runtime::STEADY;
use crate::views::NEWS;
use crate::world::{OVERLAY, World};

/// What the leader says of a node, from the moment on that `world` is given.
fn states(world: &mut World<'_>, node: NodeId, span: Duration) -> Vec<(Duration, NodeState)> {
    let (start, mut seen) = (world.now, Vec::new());
    let end = start.plus(span);
    while world.now < end {
        world.step().unwrap();
        let store = world.leader().and_then(|leader| world.hosts[leader].manager.as_ref()).map(Manager::store);
        let Some(state) = store.and_then(|store| store.nodes().get(node)).map(|node| node.status.state) else {
            continue;
        };
        if seen.last().is_none_or(|(_, last)| *last != state) {
            seen.push((world.now.since(start), state));
        }
    }
    seen
}

fn swarm<'a>(seed: u64, trace: &'a mut dyn FnMut(&str)) -> World<'a> {
    let mut world = World::of(IdSource::from_seed(seed), 3, 2, trace);
    world.form_swarm().unwrap();
    world
}

/// With Docker's timings: three heartbeat periods of silence for a session (15 s, counted from the last heartbeat), ten
/// to twenty seconds for an election, and six periods (30 s) for nodes that a new leader has not heard of.
#[test]
fn the_leaders_death_shows_within_a_minute() {
    for seed in 0..5 {
        let mut silent = |_: &str| {};
        let mut world = swarm(seed, &mut silent);
        let leader = world.leader().unwrap();
        let (dead, alive) = (world.hosts[leader].node, world.hosts[4].node);
        world.hosts[leader].kill();
        world.break_connections_to(leader);
        let seen = states(&mut world, dead, Duration::from_secs(120));
        let kinds: Vec<NodeState> = seen.iter().map(|(_, state)| *state).collect();
        // Until the new leader has written that it knows nothing, the old leader's word stands.
        let last_two = &kinds[kinds.len().saturating_sub(2)..];
        assert_eq!(last_two, [NodeState::Unknown, NodeState::Down], "seed {seed}: {seen:?}");
        let down = seen.last().unwrap().0;
        assert!(down < Duration::from_secs(60), "seed {seed}: {seen:?}");
        let unknown = down - seen[seen.len() - 2].0;
        assert!(unknown <= Duration::from_secs(31), "seed {seed}: {seen:?}");
        let other = states(&mut world, alive, Duration::from_secs(5));
        assert_eq!(other.last().unwrap().1, NodeState::Ready, "seed {seed}");
    }
}

/// A worker dies, and before it is missed the leader does too: the new leader has never heard of it.
#[test]
fn a_node_that_died_before_the_leader_did_goes_down_as_well() {
    for seed in 0..5 {
        let mut silent = |_: &str| {};
        let mut world = swarm(seed, &mut silent);
        let (leader, worker) = (world.leader().unwrap(), 4);
        let dead = world.hosts[worker].node;
        for host in [worker, leader] {
            world.hosts[host].kill();
            world.break_connections_to(host);
        }
        let seen = states(&mut world, dead, Duration::from_secs(120));
        let down = *seen.last().unwrap();
        assert_eq!(down.1, NodeState::Down, "seed {seed}: {seen:?}");
        assert!(down.0 < Duration::from_secs(60), "seed {seed}: {seen:?}");
    }
}

/// The leader dies, and before its heir has given up waiting the heir dies too: the next leader waits anew, which is how
/// a dead node can be seen to be unknown for longer than six periods. It goes down all the same, and what it ran is
/// made anew elsewhere.
#[test]
fn a_second_change_of_leader_makes_a_dead_node_wait_again_but_not_for_ever() {
    for seed in 0..3 {
        let mut silent = |_: &str| {};
        let mut world = World::of(IdSource::from_seed(seed), 5, 2, &mut silent);
        world.form_swarm().unwrap();
        let leader = world.leader().unwrap();
        let node = world.hosts[6].node;
        let web = ServiceSpec {
            annotations: Annotations::named("web"),
            task: TaskSpec {
                container: ContainerSpec { image: STEADY.to_owned(), ..ContainerSpec::default() },
                ..TaskSpec::default()
            }
            .into(),
            mode: ServiceMode::Replicated { replicas: 7 },
            update: None,
            rollback: None,
            endpoint: None,
        };
        let create = ControlRequest::CreateService(Box::new(web));
        world.on_manager(leader, |manager, now| manager.control(now, &create).map(drop)).unwrap();
        let running = |world: &World<'_>| -> Vec<NodeId> {
            let Some(manager) = world.leader().and_then(|leader| world.hosts[leader].manager.as_ref()) else {
                return Vec::new();
            };
            let wanted = |task: &&std::sync::Arc<Task>| {
                task.status.state == TaskState::Running && task.desired_state == DesiredState::Running
            };
            manager.store().tasks().iter().filter(wanted).filter_map(|task| task.node_id).collect()
        };
        let deadline = world.now.plus(Duration::from_secs(30));
        world.until("a task on every node", deadline, |world| running(world).len() == 7).unwrap();
        assert!(running(&world).contains(&node));

        let lose = |world: &mut World<'_>, host: usize| {
            world.hosts[host].power_failure(&mut IdSource::from_seed(seed));
            world.break_connections_to(host);
        };
        let died = world.now;
        lose(&mut world, 6);
        lose(&mut world, leader);
        let deadline = world.now.plus(Duration::from_secs(60));
        world.until("an heir", deadline, |world| world.leader().is_some_and(|heir| heir != leader)).unwrap();
        states(&mut world, node, Duration::from_secs(20));
        let heir = world.leader().unwrap();
        lose(&mut world, heir);
        let seen = states(&mut world, node, Duration::from_secs(90));
        let down = seen.last().unwrap();
        assert_eq!(down.1, NodeState::Down, "seed {seed}: {seen:?}");
        assert!(down.0 > Duration::from_secs(8 + 30), "seed {seed}: an election and six periods: {seen:?}");
        let due = died.plus(Duration::from_secs(40 + 20 + 40 + 30 + 30));
        let gone = [6, leader, heir].map(|host| world.hosts[host].node);
        world
            .until("seven tasks on the living", due, |world| {
                let nodes = running(world);
                nodes.len() == 7 && nodes.iter().all(|node| !gone.contains(node))
            })
            .unwrap();
    }
}

#[test]
fn without_a_change_of_leader_a_dead_node_is_down_after_three_periods() {
    let mut silent = |_: &str| {};
    let mut world = swarm(1, &mut silent);
    let dead = world.hosts[4].node;
    world.hosts[4].kill();
    let seen = states(&mut world, dead, Duration::from_secs(60));
    let kinds: Vec<NodeState> = seen.iter().map(|(_, state)| *state).collect();
    assert_eq!(kinds, [NodeState::Ready, NodeState::Down]);
    let down = seen[1].0;
    assert!(down > Duration::from_secs(9) && down < Duration::from_secs(16), "{down:?}");
}

/// The only manager begins anew just when it has got a successor and is demoted: the workers know nobody else.
#[test]
fn no_manager_goes_before_the_nodes_know_its_successor() {
    for seed in 0..8 {
        let mut silent = |_: &str| {};
        let mut world = World::of(IdSource::from_seed(seed), 1, 4, &mut silent);
        world.form_swarm().unwrap();
        let role = |world: &mut World<'_>, host: usize, desired_role| {
            let leader = world.leader().unwrap();
            let store = world.hosts[leader].manager.as_ref().unwrap().store();
            let node = store.nodes().get(world.hosts[host].node).unwrap();
            let spec = NodeSpec { desired_role, ..node.spec.clone() };
            let request = ControlRequest::UpdateNode { node: node.id.to_string(), version: node.meta.version, spec };
            world.on_manager(leader, |manager, now| manager.control(now, &request).map(|_| ())).unwrap();
        };
        role(&mut world, 1, NodeRole::Manager);
        let due = world.now.plus(Duration::from_secs(60));
        let members = |world: &World<'_>| world.hosts[0].manager.as_ref().map_or(0, |m| m.members().len());
        world.until("a second manager", due, |world| members(world) == 2).unwrap();
        world.hosts[0].kill();
        world.break_connections_to(0);
        world.start(0).unwrap();
        world.until("a leader", due, |world| world.leader().is_some()).unwrap();
        // Refused until the leader has heard of the other one.
        let first = world.hosts[0].node;
        let demoted = |world: &World<'_>| {
            let manager = world.leader().and_then(|leader| world.hosts[leader].manager.as_ref());
            let node = manager.and_then(|manager| manager.store().nodes().get(first));
            node.is_some_and(|node| node.spec.desired_role == NodeRole::Worker)
        };
        while !demoted(&world) {
            role(&mut world, 0, NodeRole::Worker);
            run(&mut world, Duration::from_millis(20));
        }
        run(&mut world, Duration::from_secs(60));
        let manager = world.hosts[1].manager.as_ref().unwrap();
        assert_eq!((world.leader(), manager.members().len()), (Some(1), 1), "seed {seed}");
        let ready = |node: &std::sync::Arc<Node>| node.status.state == NodeState::Ready;
        assert!(manager.store().nodes().iter().all(ready), "seed {seed}");
    }
}

/// Keys reach all agents when they are rotated, half a day after the leader began.
#[test]
fn the_networks_keys_are_rotated_and_told() {
    let mut silent = |_: &str| {};
    let mut world = World::of(IdSource::from_seed(1), 1, 1, &mut silent);
    world.form_swarm().unwrap();
    let newest = |world: &World<'_>| -> Vec<u64> { world.hosts.iter().map(|host| host.newest_key).collect() };
    let settled = world.now.plus(Duration::from_secs(5));
    while world.now < settled {
        world.step().unwrap();
    }
    assert_eq!(newest(&world), [6; 2], "three keys of two subsystems, from the beginning");
    // Half a day of chatter would be most of what this costs.
    for host in 0..2 {
        world.talk.stop(host, world.now);
    }
    let end = world.now.plus(Duration::from_secs(12 * 3600 + 60));
    while world.now < end {
        world.step().unwrap();
    }
    assert_eq!(newest(&world), [8; 2]);
}

/// A service with a task on every host, on a network; told of everywhere.
fn deploy(world: &mut World<'_>) -> NetworkId {
    let leader = world.leader().unwrap();
    let network = world.hosts[leader].manager.as_ref().unwrap().store().networks().by_name(OVERLAY).unwrap().id;
    let mut spec = service("web", STEADY, ServiceMode::Global);
    let attachment = NetworkAttachmentConfig { target: network.to_string(), ..Default::default() };
    std::sync::Arc::make_mut(&mut spec.task).networks = vec![attachment];
    let create = ControlRequest::CreateService(Box::new(spec));
    world.on_manager(leader, |manager, now| manager.control(now, &create).map(|_| ())).unwrap();
    run(world, Duration::from_secs(30));
    network
}

fn run(world: &mut World<'_>, span: Duration) {
    let end = world.now.plus(span);
    while world.now < end {
        world.step().unwrap();
    }
}

/// On which hosts a host sees endpoints of the network, and how many backends there are behind its service.
fn seen(world: &World<'_>, host: usize, network: NetworkId) -> (Vec<usize>, usize) {
    let gossip = world.talk.members[host].gossip.as_ref().unwrap();
    let peers: std::collections::BTreeMap<_, _> = gossip.peers().map(|peer| (peer.id, peer.clone())).collect();
    let view = network_view(world.hosts[host].node, network, gossip.records(), &peers);
    let on = |at: &usize| view.remote.iter().any(|remote| remote.data_path == crate::gossip::address(*at).ip());
    let hosts = (0..world.hosts.len()).filter(on).collect();
    (hosts, view.services.first().map_or(0, |service| service.backends.len()))
}

/// Two of three managers' processes end: nothing can be decided any more, and every connection still finds its task.
#[test]
fn without_a_quorum_no_view_loses_a_running_endpoint() {
    let mut silent = |_: &str| {};
    let mut world = swarm(3, &mut silent);
    let network = deploy(&mut world);
    for host in [0, 1] {
        world.hosts[host].manager = None;
        world.break_connections_to(host);
    }
    let end = world.now.plus(Duration::from_secs(120));
    while world.now < end {
        run(&mut world, Duration::from_secs(1));
        for host in 0..5 {
            let others: Vec<usize> = (0..5).filter(|other| *other != host).collect();
            assert_eq!(seen(&world, host, network), (others, 5), "host {host}");
        }
    }
    assert_eq!(world.leader(), None);
    world.check_views(NEWS).unwrap();
}

/// The only manager is cut off, and after that everybody is together again.
#[test]
fn hosts_that_are_cut_off_from_the_managers_keep_each_other() {
    let mut silent = |_: &str| {};
    let mut world = World::of(IdSource::from_seed(4), 1, 3, &mut silent);
    world.form_swarm().unwrap();
    let network = deploy(&mut world);
    world.talk.disturbed(&world.network, world.now);
    world.network.partition([0].into());
    let end = world.now.plus(Duration::from_secs(60));
    while world.now < end {
        run(&mut world, Duration::from_secs(1));
        for host in 1..4 {
            let (on, backends) = seen(&world, host, network);
            assert!((1..4).all(|other| other == host || on.contains(&other)), "host {host} sees {on:?}");
            assert!(backends >= 3, "host {host} has {backends}");
        }
    }
    assert_eq!(seen(&world, 1, network), (vec![2, 3], 3), "what cannot be reached is out of the rotation");
    world.heal();
    run(&mut world, Duration::from_secs(45));
    assert_eq!(seen(&world, 1, network), (vec![0, 2, 3], 4));
    world.check_views(NEWS).unwrap();
}

/// A task that stops takes no connections from the moment on that it is told to.
#[test]
fn a_service_that_goes_is_gone_from_all_views() {
    let mut silent = |_: &str| {};
    let mut world = swarm(5, &mut silent);
    let network = deploy(&mut world);
    assert_eq!(seen(&world, 4, network), (vec![0, 1, 2, 3], 5));
    let leader = world.leader().unwrap();
    let remove = ControlRequest::RemoveService("web".to_owned());
    world.on_manager(leader, |manager, now| manager.control(now, &remove).map(|_| ())).unwrap();
    run(&mut world, Duration::from_millis(300));
    assert_eq!(seen(&world, 4, network).1, 0, "they are told to stop, and some still do");
    run(&mut world, Duration::from_secs(10));
    world.check_views(NEWS).unwrap();
    assert!(
        world.talk.members.iter().flat_map(|member| member.told.values()).all(|told| told.record.service.is_none())
    );
}
