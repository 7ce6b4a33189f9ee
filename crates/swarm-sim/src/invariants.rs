//! What must hold: at every step, and once the faults have stopped.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use swarm_agent::RuntimeCommand;
use swarm_manager::manager::Manager;
use swarm_manager::store::{Event, Store};
use swarm_types::*;

use crate::addresses;
use crate::client::LAST;
use crate::runtime::{SLOW, STEADY};
use crate::views;
use crate::world::World;

/// Something that must never be, was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The seed that shows it.
    pub seed: u64,
    /// When, in virtual time.
    pub at: Duration,
    /// What.
    pub reason: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "after {:.3} s: {}\nreplay it: cargo sim -- --seed {} --trace",
            self.at.as_secs_f64(),
            self.reason,
            self.seed
        )
    }
}

impl std::error::Error for Violation {}

/// Watches every change on every manager.
#[derive(Debug, Default)]
pub(crate) struct Checker {
    /// What was applied at each index, by whoever applied it first.
    digests: BTreeMap<u64, u64>,
    /// How far each task is known to have come, by what its agent put on disk.
    observed: BTreeMap<(usize, TaskId), TaskState>,
}

impl Checker {
    pub fn applied(&mut self, host: usize, events: &[Event], store: &Store) -> Result<(), String> {
        let mut index = 0;
        let mut digest = Digest::default();
        for event in events {
            match event {
                Event::Updated { old: Object::Task(old), new: Object::Task(new) } => advances(old, new)?,
                Event::Removed(Object::Task(task))
                    if task.status.state == TaskState::Running
                        && task.desired_state < DesiredState::Shutdown
                        && task.service_id.is_some_and(|service| store.services().get(service).is_some()) =>
                {
                    return Err(format!("task {} was forgotten while it should run", task.id));
                }
                _ => {}
            }
            if !matches!(event, Event::Removed(_)) {
                index = index.max(event.object().meta().version.0);
            }
            digest.event(event);
        }
        if events.iter().any(addresses::concerns) {
            addresses::check(store).map_err(|reason| format!("on host {host}: {reason}"))?;
        }
        if index == 0 {
            return Ok(());
        }
        match self.digests.insert(index, digest.0) {
            Some(known) if known != digest.0 => Err(format!("host {host} applied something else at index {index}")),
            _ => Ok(()),
        }
    }

    /// An agent put a task on its disk. (After a power failure it may know less than before: that is looked at when
    /// the managers apply what it reports.)
    pub fn observed(&mut self, host: usize, task: &Task) -> Result<(), String> {
        self.observed.insert((host, task.id), task.status.state);
        match task.node_id {
            Some(_) => Ok(()),
            None => Err(format!("host {host} was given task {}, which has no node", task.id)),
        }
    }

    /// Stores at the same index are the same.
    pub fn agree(&self, managers: &[(usize, &Manager)]) -> Result<(), String> {
        let mut by_version: BTreeMap<Version, (usize, &Store)> = BTreeMap::new();
        for (host, manager) in managers {
            let store = manager.store();
            match by_version.get(&store.version()) {
                None => drop(by_version.insert(store.version(), (*host, store))),
                Some((other, same)) if same.snapshot() != store.snapshot() => {
                    return Err(format!("hosts {other} and {host} differ at {:?}", store.version()));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Of all that was applied.
    pub fn digest(&self) -> u64 {
        let mut digest = Digest::default();
        for (index, of_index) in &self.digests {
            digest.add(*index);
            digest.add(*of_index);
        }
        digest.0
    }
}

fn advances(old: &Task, new: &Task) -> Result<(), String> {
    if new.status.state < old.status.state || new.desired_state < old.desired_state {
        return Err(format!(
            "task {} went back from {:?}/{:?} to {:?}/{:?}",
            new.id, old.status.state, old.desired_state, new.status.state, new.desired_state
        ));
    }
    if old.node_id.is_some() && new.node_id != old.node_id {
        return Err(format!("task {} moved from one node to another", new.id));
    }
    if new.status.state >= TaskState::Assigned && new.status.state <= TaskState::Running && new.node_id.is_none() {
        return Err(format!("task {} is {:?} without a node", new.id, new.status.state));
    }
    Ok(())
}

/// Folds numbers (FNV-1a by whole words; it need not resist anybody).
#[derive(Debug)]
pub(crate) struct Digest(u64);

impl Default for Digest {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Digest {
    pub fn value(&self) -> u64 {
        self.0
    }

    pub fn add(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(17);
    }

    fn event(&mut self, event: &Event) {
        let object = event.object();
        self.add(match event {
            Event::Created(_) => 1,
            Event::Updated { .. } => 2,
            Event::Removed(_) => 3,
        });
        self.add(object.meta().version.0);
        match object {
            Object::Task(task) => {
                self.add(task.id.bits() as u64);
                self.add(task.status.state as u64);
                self.add(task.desired_state as u64);
                self.add(task.node_id.map_or(0, |node| node.bits() as u64));
            }
            Object::Node(node) => {
                self.add(node.id.bits() as u64);
                self.add(node.status.state as u64);
            }
            Object::Service(service) => self.add(service.id.bits() as u64),
            _ => {}
        }
    }
}

/// Whether the swarm has come to what its users asked for; if not, what is missing.
pub(crate) fn settled(world: &World<'_>) -> Result<(), String> {
    settled_without(world, None)
}

/// The same where a node is away for good: it is down, and nothing is asked of it.
pub(crate) fn settled_without(world: &World<'_>, away: Option<NodeId>) -> Result<(), String> {
    let leader = world.leader().ok_or("there is no leader")?;
    let store = world.hosts[leader].manager.as_ref().map(Manager::store).ok_or("there is no leader")?;
    world.client.check_reached(store)?;
    let state = |node: &Node| if Some(node.id) == away { NodeState::Down } else { NodeState::Ready };
    if let Some(node) = store.nodes().iter().find(|node| node.status.state != state(node)) {
        return Err(format!("node {} is {:?}", node.id, node.status.state));
    }
    addresses::check(store)?;
    addresses::nodes_attached(store)?;
    roles_taken(world, leader)?;
    for (number, host) in world.hosts.iter().enumerate().filter(|(_, host)| Some(host.node) != away) {
        let node = store.nodes().get(host.node).ok_or_else(|| format!("host {number} is in no swarm"))?;
        let newest = store.cluster().and_then(|c| c.network_keys.iter().map(|key| key.lamport_time).max());
        if Some(host.newest_key) != newest {
            return Err(format!("host {number} lacks the newest keys"));
        }
        if host.attachments != node.attachments {
            return Err(format!("host {number} knows other addresses of its own than the managers"));
        }
        if !node.attachments.keys().all(|network| host.networks.contains(network)) {
            return Err(format!("host {number} lacks a network that it is attached to"));
        }
        if let Some(network) = host.networks.iter().find(|network| store.networks().get(**network).is_none()) {
            return Err(format!("host {number} still has network {network}, which was removed"));
        }
    }
    for service in store.services().iter().filter(|service| service.spec.mode.is_job()) {
        // Which nodes a job has still to run on is no question while one is away.
        if away.is_none() {
            done(store, service)?;
        }
    }
    for service in store.services().iter().filter(|service| !service.spec.mode.is_job()) {
        let name = &service.spec.annotations.name;
        let wanted: Vec<_> =
            store.service_tasks(service.id).filter(|t| t.desired_state <= DesiredState::Complete).collect();
        let places: BTreeSet<_> = wanted.iter().map(|t| (t.slot, if t.slot == 0 { t.node_id } else { None })).collect();
        let expected = match service.spec.mode {
            ServiceMode::Replicated { replicas } => usize::try_from(replicas).unwrap_or(usize::MAX),
            _ => store.nodes().len() - usize::from(away.is_some()),
        };
        // Its ports on the nodes may leave too few of them.
        if away.is_some() && wants_host_ports(service) {
            continue;
        }
        if places.len() != expected {
            return Err(format!("service {name} has {} of {expected} tasks", places.len()));
        }
        for task in wanted.iter().filter(|task| well_behaved(task)) {
            if task.desired_state != DesiredState::Running || task.status.state != TaskState::Running {
                let (state, desired) = (task.status.state, task.desired_state);
                return Err(format!("task {} is {state:?}, should be {desired:?}: {}", task.name(), task.status.err));
            }
            let host = task.node_id.and_then(|node| world.host_of(node)).ok_or("a task has an unknown node")?;
            if !world.hosts[host].runtime.running().any(|id| id == task.id) {
                return Err(format!("task {} is reported to run on host {host}, but does not", task.name()));
            }
        }
    }
    Ok(())
}

/// Whether a job has completed as often as it should have.
fn done(store: &Store, service: &Service) -> Result<(), String> {
    let iteration = service.job_status.unwrap_or_default().iteration;
    let completed = store
        .service_tasks(service.id)
        .filter(|task| task.job_iteration.unwrap_or_default() == iteration && task.status.state == TaskState::Complete);
    let is_global = matches!(service.spec.mode, ServiceMode::GlobalJob);
    let places: BTreeSet<_> =
        completed.map(|task| if is_global { (0, task.node_id) } else { (task.slot, None) }).collect();
    let there = |place: &&(u64, Option<NodeId>)| place.1.is_none_or(|node| store.nodes().get(node).is_some());
    let (have, expected) = match service.spec.mode {
        ServiceMode::ReplicatedJob { total_completions, .. } => {
            (places.len(), usize::try_from(total_completions).unwrap_or(usize::MAX))
        }
        _ => (places.iter().filter(there).count(), store.nodes().len()),
    };
    if have != expected {
        return Err(format!("job {} has {have} of {expected} completions", service.spec.annotations.name));
    }
    Ok(())
}

/// Whether a container is made with just the secrets and configs that its task names, and the right ones.
pub(crate) fn given_what_it_names(command: &RuntimeCommand) -> Result<(), String> {
    let RuntimeCommand::Prepare { task, secrets, configs, .. } = command else { return Ok(()) };
    let container = &task.spec.container;
    let named: Vec<_> =
        container.secrets.iter().map(|reference| (reference.secret_id, &reference.secret_name)).collect();
    let given: Vec<_> = secrets.iter().map(|secret| (secret.id, &secret.spec.annotations.name)).collect();
    let values = secrets.iter().all(|secret| secret.spec.data.0 == secret.spec.annotations.name.as_bytes());
    let named_configs: Vec<_> =
        container.configs.iter().map(|reference| (reference.config_id, &reference.config_name)).collect();
    let given_configs: Vec<_> = configs.iter().map(|config| (config.id, &config.spec.annotations.name)).collect();
    if named != given || named_configs != given_configs || !values {
        return Err(format!(
            "task {} names {named:?} and {named_configs:?}, but gets {given:?} and {given_configs:?}",
            task.id
        ));
    }
    Ok(())
}

/// Whether every node is what the operator wants, in the store, on the host and in the raft group.
fn roles_taken(world: &World<'_>, leader: usize) -> Result<(), String> {
    let Some(manager) = &world.hosts[leader].manager else { return Err("there is no leader".to_owned()) };
    for (number, host) in world.hosts.iter().enumerate() {
        let node = manager.store().nodes().get(host.node).ok_or_else(|| format!("host {number} is in no swarm"))?;
        let member = manager.members().values().any(|member| member.node_id == host.node);
        let wanted = node.spec.desired_role == NodeRole::Manager;
        let is = [node.role == NodeRole::Manager, host.role == NodeRole::Manager, host.is_manager(), member];
        if is != [wanted; 4] {
            return Err(format!("host {number} should be a {:?}: {is:?}", node.spec.desired_role));
        }
    }
    Ok(())
}

fn wants_host_ports(service: &Service) -> bool {
    let mut ports = service.spec.endpoint.iter().flat_map(|endpoint| &endpoint.ports);
    ports.any(|port| port.publish_mode == PublishMode::Host)
}

fn well_behaved(task: &Task) -> bool {
    let image = task.spec.container.image.as_str();
    image == STEADY || image == SLOW
}

/// What must hold once everything is settled.
pub(crate) fn at_rest(world: &World<'_>) -> Result<(), String> {
    let leader = world.leader().ok_or("there is no leader")?;
    let store = world.hosts[leader].manager.as_ref().map(Manager::store).ok_or("there is no leader")?;
    for (number, host) in world.hosts.iter().enumerate() {
        for id in host.runtime.running() {
            let task =
                store.tasks().get(id).ok_or_else(|| format!("host {number} runs task {id}, which nobody knows"))?;
            if task.node_id != Some(host.node) {
                return Err(format!("host {number} runs task {id} of another node"));
            }
        }
    }
    let last = store.services().by_name(LAST).ok_or("the last service is gone")?;
    let mut counts: BTreeMap<NodeId, usize> = store.nodes().iter().map(|node| (node.id, 0)).collect();
    for task in store.service_tasks(last.id).filter(|task| task.desired_state == DesiredState::Running) {
        if let Some(count) = task.node_id.and_then(|node| counts.get_mut(&node)) {
            *count += 1;
        }
    }
    let (least, most) = (counts.values().min().copied().unwrap_or(0), counts.values().max().copied().unwrap_or(0));
    if most - least > 1 {
        return Err(format!("service {LAST} is spread unevenly: {counts:?}"));
    }
    views::at_rest(world, store)
}
