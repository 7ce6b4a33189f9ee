//! Who is a manager, and who is in the swarm at all: what nodes do about the roles that they are told, and what an
//! operator does about nodes that leave or are lost.
//!
//! As in a node: a role is told by the managers, taken with a new certificate (which only the real leader can store),
//! and a new manager then asks for its place in the raft group. A manager that lost its disk comes back as another
//! node with another raft id: as the same member it would have forgotten its votes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use swarm_agent::Input;
use swarm_manager::control_api::ControlRequest;
use swarm_manager::manager::{Manager, RequestId};
use swarm_manager::store::StoreAction;
use swarm_types::*;

use crate::disk::ManagerDisk;
use crate::host::Host;
use crate::world::{Event, World, new_node};

/// What was asked for is asked for again after so long.
const RETRY: Duration = Duration::from_secs(2);
/// A manager that the others seem to have no place for asks after so long: usually they have just given it one.
const RECHECK: Duration = Duration::from_secs(5);
/// Between two looks of the operator.
const LOOK: Duration = Duration::from_secs(1);
/// A node that leaves has so long to stop its tasks.
const LEAVE_PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
pub(crate) struct Membership {
    /// Requests for a place in the raft group: whose, in which of its lives.
    joins: BTreeMap<(usize, RequestId), (usize, u64)>,
    /// Requests for a certificate, and of which role.
    renewals: BTreeMap<(usize, RequestId), (usize, u64, NodeRole)>,
    errand: Option<Errand>,
    /// Hosts that lost all managers that they knew although these expected them.
    abandoned: BTreeSet<usize>,
    replaced: u128,
}

/// One node goes and comes back as another.
#[derive(Debug, Clone, Copy)]
struct Errand {
    host: usize,
    old: NodeId,
    role: NodeRole,
    step: Step,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    /// It was told to leave.
    Leaving { until: Timestamp },
    /// The swarm is to forget it.
    Remove,
    /// It is to be let in again.
    Admit { new: NodeId },
}

impl Membership {
    /// Whether a node is on its way out or in.
    pub fn is_busy(&self) -> bool {
        self.errand.is_some()
    }
}

/// The host's processes were started.
pub(crate) fn started(world: &mut World<'_>, host: usize) {
    let (life, role) = (world.hosts[host].life, world.hosts[host].role);
    if role == NodeRole::Manager && !world.hosts[host].is_manager() {
        world.later(LOOK, Event::JoinGroup { host, life });
    }
    world.hosts[host].role_told = role;
}

/// The managers told the node its role, and its place in the raft group.
pub(crate) fn told(world: &mut World<'_>, host: usize, node: &Node) {
    let this = &mut world.hosts[host];
    (this.role_told, this.place_told) = (node.role, node.manager_status.as_ref().map(|status| status.raft_id));
    let life = this.life;
    if this.role != node.role {
        world.later(Duration::from_millis(50), Event::Renew { host, life });
    } else if this.role == NodeRole::Manager && (this.is_misplaced() || !this.is_manager()) {
        world.later(RECHECK, Event::JoinGroup { host, life });
    }
}

/// The leader as this host would reach it.
fn reached_leader(world: &World<'_>, host: usize) -> Option<usize> {
    world.leader().filter(|leader| world.network.reaches(host, *leader))
}

pub(crate) fn renew(world: &mut World<'_>, host: usize, life: u64) -> Result<(), String> {
    let this = &world.hosts[host];
    if this.life != life || !this.is_up() || this.role == this.role_told {
        return Ok(());
    }
    let (id, now) = (this.node, world.now);
    world.later(RETRY, Event::Renew { host, life });
    let Some(leader) = reached_leader(world, host) else { return Ok(()) };
    let Some(manager) = &mut world.hosts[leader].manager else { return Ok(()) };
    let Some(node) = manager.store().nodes().get(id) else { return Ok(()) };
    let mut renewed = Node::clone(node);
    let role = node.role;
    renewed.certificate = NodeCertificate { role, not_after: now, ..NodeCertificate::default() };
    let update = StoreAction::Update(Object::Node(Arc::new(renewed)));
    let request = manager.write(now, vec![update]).map_err(|error| format!("renewal: {error}"))?;
    world.membership.renewals.insert((leader, request), (host, life, role));
    world.drain(leader)
}

/// A write was applied: perhaps that of a certificate.
pub(crate) fn renewed(world: &mut World<'_>, leader: usize, request: RequestId) -> Result<(), String> {
    let Some((host, life, role)) = world.membership.renewals.remove(&(leader, request)) else { return Ok(()) };
    if world.hosts[host].life != life || world.hosts[host].role == role {
        return Ok(());
    }
    world.trace(&format!("host {host} is now a {role:?}"));
    world.hosts[host].role = role;
    match role {
        NodeRole::Manager => world.later(Duration::from_millis(10), Event::JoinGroup { host, life }),
        NodeRole::Worker => stop_managing(world, host),
    }
    Ok(())
}

pub(crate) fn join_group(world: &mut World<'_>, host: usize, life: u64) -> Result<(), String> {
    let this = &world.hosts[host];
    if this.life != life || this.role != NodeRole::Manager || (this.is_manager() && !this.is_misplaced()) {
        return Ok(());
    }
    let (peer, now) = (this.peer(), world.now);
    world.later(RETRY, Event::JoinGroup { host, life });
    let Some(leader) = reached_leader(world, host) else { return Ok(()) };
    let Some(manager) = &mut world.hosts[leader].manager else { return Ok(()) };
    let to_be = |node: &&Arc<Node>| node.role == NodeRole::Manager && node.spec.desired_role == NodeRole::Manager;
    if manager.store().nodes().get(peer.node_id).filter(to_be).is_none() {
        return Ok(());
    }
    let request = manager.add_member(now, peer.node_id, peer.addr).map_err(|error| format!("joining: {error}"))?;
    world.membership.joins.insert((leader, request), (host, life));
    world.drain(leader)
}

/// A place in the raft group was given: whether it was asked for here.
pub(crate) fn joined_group(
    world: &mut World<'_>,
    leader: usize,
    request: RequestId,
    raft_id: u64,
) -> Result<bool, String> {
    let Some((host, life)) = world.membership.joins.remove(&(leader, request)) else { return Ok(false) };
    let this = &world.hosts[host];
    let has = this.manager_disk.as_ref().map(|(config, _)| config.raft_id);
    if this.life == life && this.role == NodeRole::Manager && has != Some(raft_id) {
        if has.is_some() {
            stop_managing(world, host);
        }
        world.trace(&format!("host {host} joins the raft group"));
        let config = world.manager_config(host, raft_id);
        world.hosts[host].manager_disk = Some((config, ManagerDisk::default()));
        let now = world.now;
        world.hosts[host].start_manager(now)?;
        world.drain(host)?;
    }
    Ok(true)
}

/// The host's manager was taken out of the raft group.
pub(crate) fn no_longer_member(world: &mut World<'_>, host: usize) {
    world.trace(&format!("host {host} is out of the raft group"));
    stop_managing(world, host);
    // Perhaps it was promoted again before it had a worker's certificate: then nothing else reminds it.
    let life = world.hosts[host].life;
    world.later(RECHECK, Event::JoinGroup { host, life });
}

fn stop_managing(world: &mut World<'_>, host: usize) {
    world.hosts[host].manager = None;
    world.hosts[host].manager_disk = None;
    world.client.manager_lost(host);
    world.break_connections_to(host);
}

/// Whether nobody's role is about to change, and all managers agree on who they are.
fn is_calm(world: &World<'_>) -> bool {
    let disks: BTreeSet<u64> =
        world.hosts.iter().filter_map(|host| host.manager_disk.as_ref().map(|(config, _)| config.raft_id)).collect();
    let agree = |manager: &Manager| manager.members().keys().copied().collect::<BTreeSet<_>>() == disks;
    let settled = |manager: &Manager| manager.store().nodes().iter().all(|node| node.role == node.spec.desired_role);
    let mut managers = world.hosts.iter().filter_map(|host| host.manager.as_ref());
    let told = world.hosts.iter().all(|host| host.role == host.role_told);
    world.membership.errand.is_none()
        && told
        && !world.client.awaits_roles()
        && world.leader().is_some()
        && managers.all(|manager| agree(manager) && settled(manager))
}

/// A manager loses its whole disk, and the operator puts another node in its place. Only where the others are a
/// majority without it.
pub(crate) fn lose_manager(world: &mut World<'_>) {
    let managers: Vec<usize> = (0..world.hosts.len()).filter(|host| world.hosts[*host].is_manager()).collect();
    if managers.len() < 3 || !is_calm(world) {
        return;
    }
    let place = usize::try_from(world.random.below(managers.len() as u64)).unwrap_or(0);
    let host = managers[place];
    world.trace(&format!("host {host}, a manager, loses its disk for good"));
    out_of_the_swarm(world, host);
    begin(world, host, NodeRole::Manager, Step::Remove);
}

/// A worker leaves, to come back as another node.
pub(crate) fn leave(world: &mut World<'_>, host: usize) -> Result<(), String> {
    let this = &world.hosts[host];
    if !this.is_up() || this.is_manager() || this.role == NodeRole::Manager || !is_calm(world) {
        return Ok(());
    }
    world.trace(&format!("host {host} leaves the swarm"));
    let until = world.now.plus(LEAVE_PATIENCE);
    begin(world, host, NodeRole::Worker, Step::Leaving { until });
    world.agent_input(host, Input::Leave)
}

fn begin(world: &mut World<'_>, host: usize, role: NodeRole, step: Step) {
    let old = world.hosts[host].node;
    world.membership.errand = Some(Errand { host, old, role, step });
    world.later(LOOK, Event::Operator);
}

fn out_of_the_swarm(world: &mut World<'_>, host: usize) {
    world.talk.forget(host, world.now);
    world.hosts[host].forget_swarm();
    world.break_connections_to(host);
    world.client.manager_lost(host);
}

/// A node that was away while all managers that it knows were replaced never finds the others by itself, with Docker
/// either: the operator tells it of one.
pub(crate) fn help_the_lost(world: &mut World<'_>) -> Result<(), String> {
    for host in lost(world) {
        help(world, host)?;
    }
    Ok(())
}

/// The same once the faults have stopped, when managers may still be on their way out. Only a node that was down by then
/// may be left behind: while the managers expect that a node turns up, one that it knows must stay.
pub(crate) fn help_those_left_behind(world: &mut World<'_>) -> Result<(), String> {
    let lost = lost(world);
    let leader = world.leader().and_then(|leader| world.hosts[leader].manager.as_ref());
    let Some(store) = leader.map(Manager::store) else { return Ok(()) };
    let is_down = |host: &usize| {
        let node = store.nodes().get(world.hosts[*host].node);
        node.is_none_or(|node| node.status.state == NodeState::Down)
    };
    let (down, expected): (Vec<usize>, Vec<usize>) = lost.into_iter().partition(is_down);
    world.membership.abandoned.extend(expected);
    for host in down {
        if !world.membership.abandoned.contains(&host) {
            help(world, host)?;
        }
    }
    Ok(())
}

/// Hosts that are up and know none of the managers that there are.
fn lost(world: &World<'_>) -> Vec<usize> {
    let managers: BTreeSet<String> = world.hosts.iter().filter(|h| h.is_manager()).map(Host::manager_addr).collect();
    let knows_none = |host: &Host| !host.managers.iter().any(|peer| managers.contains(&peer.addr));
    let hosts = world.hosts.iter().enumerate();
    hosts.filter(|(_, host)| host.is_up() && !host.is_manager() && knows_none(host)).map(|(host, _)| host).collect()
}

fn help(world: &mut World<'_>, host: usize) -> Result<(), String> {
    let managers: Vec<ManagerPeer> = world.hosts.iter().filter(|h| h.is_manager()).map(Host::peer).collect();
    world.trace(&format!("host {host} knows no manager any more, and is told"));
    world.hosts[host].managers.clone_from(&managers);
    world.agent_input(host, Input::Managers(managers))
}

/// The agent has left: all its tasks are gone.
pub(crate) fn left(world: &mut World<'_>, host: usize) {
    if let Some(errand) = world.membership.errand.as_mut().filter(|errand| errand.host == host) {
        errand.step = Step::Remove;
        world.talk.leave(host, world.now, &world.network);
        out_of_the_swarm(world, host);
    }
}

/// The operator's next step.
pub(crate) fn operate(world: &mut World<'_>) -> Result<(), String> {
    let Some(errand) = world.membership.errand else { return Ok(()) };
    world.later(LOOK, Event::Operator);
    let Errand { host, old, role, step } = errand;
    let next = |world: &mut World<'_>, step| world.membership.errand = Some(Errand { step, ..errand });
    if let Step::Leaving { until } = step {
        if world.now >= until {
            world.talk.leave(host, world.now, &world.network);
            out_of_the_swarm(world, host);
            next(world, Step::Remove);
        }
        return Ok(());
    }
    let Some(leader) = world.leader() else { return Ok(()) };
    let now = world.now;
    let Some(manager) = &mut world.hosts[leader].manager else { return Ok(()) };
    let fail = |error| format!("the operator's request: {error}");
    match step {
        Step::Leaving { .. } => {}
        Step::Remove => match manager.store().nodes().get(old).cloned() {
            None => {
                world.membership.replaced += 1;
                let new = Id::from_bits(old.bits() ^ (world.membership.replaced << 20));
                next(world, Step::Admit { new });
            }
            // One that was promoted and never came into the group cannot be demoted, and need not be.
            Some(node)
                if node.spec.desired_role == NodeRole::Manager
                    && manager.members().values().any(|member| member.node_id == old) =>
            {
                let spec = NodeSpec { desired_role: NodeRole::Worker, ..node.spec.clone() };
                let (node, version) = (old.to_string(), node.meta.version);
                manager.control(now, &ControlRequest::UpdateNode { node, version, spec }).map_err(fail)?;
            }
            Some(_) => {
                let remove = ControlRequest::RemoveNode { node: old.to_string(), force: true };
                manager.control(now, &remove).map_err(fail)?;
            }
        },
        Step::Admit { new } if manager.store().nodes().get(new).is_some() => {
            world.trace(&format!("host {host} is back, as node {new}"));
            let peer = world.hosts[leader].peer();
            let this = &mut world.hosts[host];
            (this.node, this.role, this.role_told, this.out) = (new, role, role, false);
            this.managers = vec![peer];
            world.membership.errand = None;
            return world.start(host);
        }
        Step::Admit { new } => {
            let create = StoreAction::Create(Object::Node(new_node(new, role).into()));
            manager.write(now, vec![create]).map_err(fail)?;
        }
    }
    world.drain(leader)
}
