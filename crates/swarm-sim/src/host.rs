//! One machine of the simulated swarm: its agent, perhaps its manager, its disks and its containers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use swarm_agent::{Agent, Config, Input};
use swarm_manager::manager::{Manager, ManagerConfig};
use swarm_types::*;

use crate::disk::{AgentDisk, ManagerDisk};
use crate::runtime::Runtime;

/// The managers' word on a node's networks, which outlives its processes.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub networks: BTreeMap<NetworkId, Arc<Network>>,
    pub attachments: BTreeMap<NetworkId, NetworkAttachment>,
    /// Raised whenever they change.
    pub changes: u64,
}

pub(crate) struct Host {
    pub node: NodeId,
    pub addr: String,
    /// The processes: `None` while they are down.
    pub agent: Option<Agent>,
    pub manager: Option<Manager>,
    pub disk: AgentDisk,
    pub manager_disk: Option<(ManagerConfig, ManagerDisk)>,
    pub runtime: Runtime,
    /// Raised by every start, so that what was meant for a former process does not reach the next.
    pub life: u64,
    /// Raised whenever the machine loses its power.
    pub boots: u64,
    /// Raised with every manager process, so that a disk's answer does not reach another one.
    pub manager_generation: u64,
    /// The agent's connection: its number, and to which host.
    pub connection: Option<(u64, usize)>,
    /// A connection that lost a message: nothing more arrives on it, until the agent has waited long enough and gives it up.
    pub severed: Option<u64>,
    /// Messages on a connection arrive one after the other.
    pub arrival: BTreeMap<(u64, bool), Timestamp>,
    /// Known managers, as the agent's disk keeps them.
    pub managers: Vec<ManagerPeer>,
    /// The role in the node's certificate.
    pub role: NodeRole,
    /// The role that the last session's facts gave it.
    pub role_told: NodeRole,
    /// The raft id that the last session's facts gave it.
    pub place_told: Option<u64>,
    /// What the agent was last told to have of the swarm's networks.
    pub networks: BTreeSet<NetworkId>,
    /// The node's own addresses, as it was last told.
    pub attachments: BTreeMap<NetworkId, NetworkAttachment>,
    /// What the node's networks keep on disk of what the managers said.
    pub facts: Facts,
    /// The Lamport time of the newest network key that it was told.
    pub newest_key: u64,
    /// Out of the swarm, until it has joined anew.
    pub out: bool,
}

impl Host {
    pub fn new(number: usize, seed: u64) -> Self {
        Self {
            node: node_id(number),
            addr: format!("10.77.0.{}", 11 + number),
            agent: None,
            manager: None,
            disk: AgentDisk::default(),
            manager_disk: None,
            runtime: Runtime::new(seed),
            life: 0,
            boots: 0,
            manager_generation: 0,
            connection: None,
            severed: None,
            arrival: BTreeMap::new(),
            managers: Vec::new(),
            role: NodeRole::Worker,
            role_told: NodeRole::Worker,
            place_told: None,
            networks: BTreeSet::new(),
            attachments: BTreeMap::new(),
            facts: Facts::default(),
            newest_key: 0,
            out: false,
        }
    }

    /// Whether messages arrive on this connection of the agent to that host.
    pub fn is_connected(&self, connection: u64, to: usize) -> bool {
        self.connection == Some((connection, to)) && self.severed != Some(connection)
    }

    /// Whether it is, or was when it went down, a member of the raft group.
    pub fn is_manager(&self) -> bool {
        self.manager_disk.is_some()
    }

    /// Whether the managers have another place in the raft group for it than it knows, or none: it was demoted and
    /// promoted again while it was away.
    pub fn is_misplaced(&self) -> bool {
        self.manager_disk.as_ref().is_some_and(|(config, _)| self.place_told != Some(config.raft_id))
    }

    /// Its state in the swarm is gone, and with it who it was.
    pub fn forget_swarm(&mut self) {
        self.kill();
        self.lose_disk();
        self.manager_disk = None;
        self.role = NodeRole::Worker;
        self.role_told = NodeRole::Worker;
        self.out = true;
    }

    /// The agent's part of it, and all containers.
    pub fn lose_disk(&mut self) {
        self.disk.lose_all();
        self.runtime.lose_all();
        self.facts = Facts { changes: self.facts.changes + 1, ..Facts::default() };
    }

    /// The agent was told of the swarm's networks.
    pub fn told_networks(&mut self, networks: &[Arc<Network>]) {
        self.networks = networks.iter().map(|network| network.id).collect();
        let known = networks.iter().map(|network| (network.id, Arc::clone(network))).collect();
        if self.facts.networks != known {
            self.facts.networks = known;
            self.facts.changes += 1;
        }
    }

    /// The agent was told of the node's own addresses.
    pub fn told_attachments(&mut self, attachments: &BTreeMap<NetworkId, NetworkAttachment>) {
        if self.facts.attachments != *attachments {
            self.facts.attachments.clone_from(attachments);
            self.facts.changes += 1;
        }
        self.attachments.clone_from(attachments);
    }

    pub fn peer(&self) -> ManagerPeer {
        ManagerPeer { node_id: self.node, addr: self.manager_addr() }
    }

    pub fn manager_addr(&self) -> String {
        format!("{}:2377", self.addr)
    }

    pub fn is_up(&self) -> bool {
        self.agent.is_some()
    }

    /// Starts what is on disk.
    pub fn start(&mut self, now: Timestamp, seed: u64) -> Result<(), String> {
        self.life += 1;
        self.connection = None;
        let mut agent = Agent::new(Config { description: self.description(), managers: self.managers.clone(), seed });
        agent.handle(now, Input::Restored(self.disk.read()));
        self.agent = Some(agent);
        if let Some((config, _)) = &mut self.manager_disk {
            config.seed = seed;
        }
        self.start_manager(now)
    }

    /// Starts the manager, if one is on disk.
    pub fn start_manager(&mut self, now: Timestamp) -> Result<(), String> {
        if let Some((config, disk)) = &mut self.manager_disk {
            self.manager_generation += 1;
            let manager = Manager::new(now, config.clone(), disk.read());
            self.manager = Some(manager.map_err(|error| format!("manager of {} does not start: {error}", self.addr))?);
        }
        Ok(())
    }

    /// The processes are killed; disks and containers go on.
    pub fn kill(&mut self) {
        self.life += 1;
        self.agent = None;
        self.manager = None;
        self.connection = None;
        self.networks.clear();
        self.attachments.clear();
        self.runtime.agent_killed();
    }

    /// The machine stops at once.
    pub fn power_failure(&mut self, random: &mut IdSource) {
        self.kill();
        self.disk.power_failure(random);
        if let Some((_, disk)) = &mut self.manager_disk {
            disk.power_failure(random);
        }
        self.boots += 1;
        self.runtime.power_failure();
    }

    fn description(&self) -> NodeDescription {
        NodeDescription {
            hostname: format!("host-{}", self.addr),
            engine_labels: [("zone".to_owned(), format!("zone{}", self.node.bits() % 2))].into_iter().collect(),
            os: "linux".to_owned(),
            architecture: "x86_64".to_owned(),
            resources: Resources { nano_cpus: 4_000_000_000, memory_bytes: 8 << 30, ..Resources::default() },
            ..NodeDescription::default()
        }
    }
}

pub(crate) fn node_id(number: usize) -> NodeId {
    // Far apart and not in the order of their numbers, as real ids are.
    Id::from_bits(u128::from(IdSource::from_seed(number as u64 + 1).next_u64()) << 40 | number as u128)
}
