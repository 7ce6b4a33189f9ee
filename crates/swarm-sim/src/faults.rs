//! What goes wrong, and when.

use std::collections::BTreeSet;
use std::time::Duration;

use swarm_types::IdSource;

use crate::world::{Event, World};

#[derive(Debug)]
pub(crate) struct Faults {
    random: IdSource,
    /// Of ten seeds one runs without faults: what fails there fails everywhere.
    enabled: bool,
    pub injected: u64,
}

impl Faults {
    pub fn new(seed: u64) -> Self {
        let mut random = IdSource::from_seed(seed);
        let enabled = random.below(10) != 0;
        Self { random, enabled, injected: 0 }
    }

    pub fn enabled(&self) -> bool {
        self.enabled
    }

    pub fn stop(&mut self) {
        self.enabled = false;
    }
}

/// One fault, and the time of the next.
pub(crate) fn inject(world: &mut World<'_>) -> Result<(), String> {
    if !world.faults.enabled {
        return Ok(());
    }
    world.faults.injected += 1;
    let host = usize::try_from(world.faults.random.below(world.hosts.len() as u64)).unwrap_or(0);
    let outage = Duration::from_millis(100 + world.faults.random.below(40_000));
    match world.faults.random.below(13) {
        0..=2 => kill(world, host, outage, false),
        3 => kill(world, host, outage, true),
        4 => {
            // A worker loses its disk and everything on it, but not its identity. (A manager that loses its disk must
            // not come back as the same member: it forgot its votes.)
            let workers: Vec<usize> =
                (0..world.hosts.len()).filter(|h| !world.hosts[*h].is_manager() && !world.hosts[*h].out).collect();
            let Some(worker) = workers.get(host % workers.len().max(1)).copied() else { return next(world) };
            kill(world, worker, outage, true);
            world.trace(&format!("host {worker} loses its disk"));
            world.hosts[worker].lose_disk();
        }
        5..=6 => {
            let cut_off: BTreeSet<usize> =
                (0..world.hosts.len()).filter(|_| world.faults.random.below(3) == 0).collect();
            world.trace(&format!("hosts {cut_off:?} are cut off for {outage:?}"));
            world.talk.disturbed(&world.network, world.now);
            world.network.partition(cut_off);
            world.later(outage, Event::Heal);
        }
        7..=8 => {
            world.talk.disturbed(&world.network, world.now);
            world.network.loss = world.faults.random.below(300);
            world.network.doubled = world.faults.random.below(200);
            world.network.delay = Duration::from_millis(1 + world.faults.random.below(300));
            let network = &world.network;
            let line = format!(
                "loss {}/1000, doubled {}/1000, delay {:?} for {outage:?}",
                network.loss, network.doubled, network.delay
            );
            world.trace(&line);
            world.later(outage, Event::Heal);
        }
        10 => crate::membership::lose_manager(world),
        11 => crate::membership::leave(world, host)?,
        _ => {
            // The whole room loses power.
            for host in 0..world.hosts.len() {
                let outage = Duration::from_millis(100 + world.faults.random.below(5_000));
                kill(world, host, outage, true);
            }
        }
    }
    next(world)
}

fn next(world: &mut World<'_>) -> Result<(), String> {
    let wait = Duration::from_millis(500 + world.faults.random.below(15_000));
    world.later(wait, Event::Fault);
    Ok(())
}

pub(crate) fn kill(world: &mut World<'_>, host: usize, outage: Duration, power: bool) {
    if !world.hosts[host].is_up() {
        return;
    }
    world.trace(&format!("host {host} {} for {outage:?}", if power { "loses power" } else { "is killed" }));
    if power {
        world.hosts[host].power_failure(&mut world.faults.random);
    } else {
        world.hosts[host].kill();
    }
    world.talk.stop(host, world.now);
    world.break_connections_to(host);
    world.client.manager_lost(host);
    world.later(outage, Event::Start { host });
}
