//! Places a group of equal tasks: one pass over the nodes to filter and order them, then a heap serves each task.
//!
//! A task goes to the node with the fewest tasks of its service, then the fewest tasks, then the lowest id. Nodes on
//! which the service failed often lately come last. Placement preferences come before all that: they split the nodes
//! into branches by the values of labels, and each task goes into the branch that has the fewest of the service.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;

use swarm_types::*;

use super::demand::Demand;
use super::filter::{Refusals, Requirements};
use super::node_set::{MAX_FAILURES, NodeInfo, NodeSet};

/// Tasks of one service and one version of its spec: whatever suits one suits all.
#[derive(Debug, Clone)]
pub struct Group {
    /// Their service.
    pub service: ServiceId,
    /// The version of the service's spec.
    pub spec_version: Version,
    /// What they run.
    pub spec: Arc<TaskSpec>,
    /// Their service's endpoint.
    pub endpoint: Option<Arc<Endpoint>>,
    /// Drivers of the networks that they are attached to.
    pub network_drivers: Vec<String>,
    /// The tasks.
    pub tasks: Vec<TaskId>,
}

/// Where a task goes.
#[derive(Debug, Clone, PartialEq)]
pub struct Placement {
    /// The task.
    pub task: TaskId,
    /// Its node.
    pub node: NodeId,
    /// Generic resources set aside for it there.
    pub resources: Vec<GenericResource>,
}

/// What became of a group. The placements are booked on the nodes.
#[derive(Debug, Clone, Default)]
pub struct Placed {
    /// Where tasks go, in the order of the group.
    pub placements: Vec<Placement>,
    /// Tasks that no node takes.
    pub unplaced: Vec<TaskId>,
    /// Why not, as in a task's status: `no suitable node (insufficient resources on 2 nodes)`; empty if all were placed.
    pub explanation: String,
    /// What each of the tasks takes, to take it back.
    pub(super) demand: Arc<Demand>,
}

/// Places groups one after the other: each sees what those before it took.
pub fn place(nodes: &mut NodeSet, groups: &[Group], now: Timestamp) -> Vec<Placed> {
    groups.iter().map(|group| place_group(nodes, group, now)).collect()
}

pub(super) fn place_group(nodes: &mut NodeSet, group: &Group, now: Timestamp) -> Placed {
    let requirements = Requirements::new(group.service, &group.spec, group.endpoint.as_deref(), &group.network_drivers);
    let preferences: Vec<Preference> =
        group.spec.placement.iter().flat_map(|p| &p.preferences).filter_map(Preference::parse).collect();
    let mut candidates = Vec::with_capacity(nodes.nodes.len());
    for (place, info) in nodes.nodes.iter().enumerate() {
        if requirements.check(info).is_ok() {
            candidates.push(Candidate::new(info, place, group, now));
        }
    }
    let mut tree = Branch::build(candidates, nodes, &preferences);
    let mut placed = Placed { demand: Arc::new(requirements.demand.clone()), ..Placed::default() };
    placed.placements.reserve(group.tasks.len());
    let mut tasks = group.tasks.iter();
    for task in tasks.by_ref() {
        let Some((node, resources)) = tree.take(nodes, &requirements) else {
            placed.unplaced.push(*task);
            break;
        };
        placed.placements.push(Placement { task: *task, node, resources });
    }
    placed.unplaced.extend(tasks);
    if !placed.unplaced.is_empty() {
        placed.explanation = explain(nodes, &requirements);
    }
    placed
}

/// Why no node takes one more.
fn explain(nodes: &NodeSet, requirements: &Requirements) -> String {
    let mut refusals = Refusals::default();
    for filter in nodes.nodes.iter().filter_map(|info| requirements.check(info).err()) {
        refusals.count(filter);
    }
    match refusals.explain() {
        reasons if reasons.is_empty() => "no suitable node".to_owned(),
        reasons => format!("no suitable node ({reasons})"),
    }
}

/// A node that would do, ordered by how well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Candidate {
    /// Zero below the limit: a few failures do not make a node worse.
    failures: u32,
    of_service: u32,
    active: u32,
    id: NodeId,
    /// Where it stands in the set.
    place: usize,
}

impl Candidate {
    fn new(info: &NodeInfo, place: usize, group: &Group, now: Timestamp) -> Self {
        let failures = info.recent_failures(now, group.service, group.spec_version);
        Self {
            failures: if failures >= MAX_FAILURES { failures } else { 0 },
            of_service: info.tasks_of(group.service),
            active: info.active,
            id: info.node.id,
            place,
        }
    }
}

/// The nodes, split by the values of the preferences.
enum Branch {
    Leaf(BinaryHeap<Reverse<Candidate>>),
    Split {
        children: Vec<Branch>,
        /// Those with room, by how many tasks of the service they have.
        open: BTreeSet<(u64, usize)>,
    },
}

impl Branch {
    fn build(candidates: Vec<Candidate>, nodes: &NodeSet, preferences: &[Preference]) -> Self {
        let Some((first, rest)) = preferences.split_first() else {
            return Self::Leaf(candidates.into_iter().map(Reverse).collect());
        };
        let mut by_value: BTreeMap<&str, Vec<Candidate>> = BTreeMap::new();
        for candidate in candidates {
            let value = nodes.nodes.get(candidate.place).map_or("", |info| first.value(&info.node));
            by_value.entry(value).or_default().push(candidate);
        }
        let mut open = BTreeSet::new();
        let mut children = Vec::with_capacity(by_value.len());
        for candidates in by_value.into_values() {
            open.insert((candidates.iter().map(|c| u64::from(c.of_service)).sum(), children.len()));
            children.push(Self::build(candidates, nodes, rest));
        }
        Self::Split { children, open }
    }

    /// Books one task on the best node.
    fn take(&mut self, nodes: &mut NodeSet, requirements: &Requirements) -> Option<(NodeId, Vec<GenericResource>)> {
        match self {
            Self::Leaf(heap) => loop {
                let mut best = heap.peek_mut()?;
                let info = nodes.nodes.get_mut(best.0.place)?;
                if !requirements.still_fits(info) {
                    // Placing more of the same cannot make room again.
                    std::collections::binary_heap::PeekMut::pop(best);
                    continue;
                }
                let resources = info.usage.claim(info.offered(), &requirements.demand);
                info.add(requirements.service, true, &requirements.demand, &resources);
                best.0.of_service += 1;
                best.0.active += 1;
                return Some((best.0.id, resources));
            },
            Self::Split { children, open } => {
                while let Some((count, child)) = open.pop_first() {
                    if let Some(taken) = children.get_mut(child).and_then(|c| c.take(nodes, requirements)) {
                        open.insert((count + 1, child));
                        return Some(taken);
                    }
                }
                None
            }
        }
    }
}

/// A wish to spread over a label's values.
enum Preference {
    NodeLabel(String),
    EngineLabel(String),
}

impl Preference {
    /// Wishes that name nothing known are ignored, as swarmkit does.
    fn parse(preference: &PlacementPreference) -> Option<Self> {
        let PlacementPreference::Spread { descriptor } = preference;
        let label = |prefix: &str| {
            let head = descriptor.get(..prefix.len())?;
            let label = descriptor.get(prefix.len()..)?;
            (head.eq_ignore_ascii_case(prefix) && !label.is_empty()).then(|| label.to_owned())
        };
        label("node.labels.").map(Self::NodeLabel).or_else(|| label("engine.labels.").map(Self::EngineLabel))
    }

    /// Nodes without the label make up a branch of their own.
    fn value<'a>(&self, node: &'a Node) -> &'a str {
        let value = match self {
            Self::NodeLabel(label) => node.spec.annotations.labels.get(label),
            Self::EngineLabel(label) => node.description.as_ref().and_then(|d| d.engine_labels.get(label)),
        };
        value.map_or("", String::as_str)
    }
}
