//! A host that goes off once everything is at rest, and stays off: the managers must say that it is down when Docker's
//! timings say so, and what it ran must run elsewhere. Then it comes back.

use std::time::Duration;

use swarm_manager::manager::Manager;
use swarm_types::*;

use crate::invariants::settled_without;
use crate::world::World;

/// Three heartbeat periods of silence, and what a message and a write take.
const DUE: Duration = Duration::from_secs(16);
/// Where the leader itself goes: an election (ten to twenty seconds; a second one where votes are split), then six
/// heartbeat periods in which nodes may turn to the new leader.
const DUE_OF_LEADER: Duration = Duration::from_secs(16 + 2 * 20 + 30);
/// In which tasks are made anew (after a restart delay), placed and started.
const REPLACED: Duration = Duration::from_secs(60);
/// In which a host that came back has taken up its duties and dropped its former tasks.
const BACK: Duration = Duration::from_secs(120);

/// Takes one host away and brings it back; the others must keep a majority of managers.
pub(crate) fn one_stays_away(world: &mut World<'_>) -> Result<(), String> {
    let leader = world.leader().ok_or("there is no leader")?;
    let members = world.hosts[leader].manager.as_ref().map_or(0, |manager| manager.members().len());
    let may_go: Vec<usize> =
        (0..world.hosts.len()).filter(|host| !world.hosts[*host].is_manager() || members >= 3).collect();
    let place = usize::try_from(world.random.below(may_go.len() as u64)).unwrap_or(0);
    let Some(host) = may_go.get(place).copied() else { return Ok(()) };
    let (node, due) = (world.hosts[host].node, if host == leader { DUE_OF_LEADER } else { DUE });
    world.trace(&format!("host {host} goes and stays away"));
    if world.random.below(2) == 0 {
        world.hosts[host].kill();
    } else {
        let mut random = IdSource::from_seed(world.random.next_u64());
        world.hosts[host].power_failure(&mut random);
    }
    world.talk.stop(host, world.now);
    world.away = Some(host);
    world.break_connections_to(host);
    world.client.manager_lost(host);
    let is_down = |world: &World<'_>| {
        let store = world.leader().and_then(|leader| world.hosts[leader].manager.as_ref()).map(Manager::store);
        store.and_then(|store| store.nodes().get(node)).is_some_and(|node| node.status.state == NodeState::Down)
    };
    let deadline = world.now.plus(due);
    world.until("a host that went to be down", deadline, is_down)?;
    world.trace(&format!("host {host} is down"));
    rest(world, Some(node), REPLACED)?;
    world.away = None;
    world.start(host)?;
    rest(world, None, BACK)
}

/// Waits until all is as it should be, without the node that is away.
fn rest(world: &mut World<'_>, away: Option<NodeId>, patience: Duration) -> Result<(), String> {
    let deadline = world.now.plus(patience);
    loop {
        match settled_without(world, away) {
            Ok(()) => return Ok(()),
            Err(reason) if world.now > deadline => {
                let how = if away.is_some() { "went" } else { "came back" };
                return Err(format!("not settled in time after a host {how}: {reason}"));
            }
            Err(_) => {}
        }
        let next = world.now.plus(Duration::from_secs(1));
        while world.now < next {
            world.step()?;
        }
    }
}
