//! A swarm in virtual time: the orchestrator's components against a store, and nodes that do what they are told.
//!
//! Proposals apply at once. A stand-in for scheduler and agents gives each new task to the least loaded node and drives
//! it to its desired state; images say how a task behaves: `crash` fails right after its start, `bad` cannot be
//! prepared, `done` completes, `slow` stays in STARTING, everything else runs.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use swarm_types::*;

use crate::component::{Component, MAX_ACTIONS};
use crate::orchestrator::{ConstraintEnforcer, ServiceOrchestrator, TaskReaper};
use crate::store::{Proposal, Store, StoreAction};

pub struct World {
    pub store: Store,
    pub now: Timestamp,
    components: Vec<Box<dyn Component>>,
    /// Proposals under way, by component, where they do not apply at once.
    in_flight: Vec<Vec<StoreAction>>,
    /// Whether a round applies all proposals, or leaves a random part of them under way.
    pub lagging: bool,
    ids: IdSource,
    /// Tasks told to stop go on running.
    pub stubborn: bool,
}

pub fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

impl World {
    /// A swarm of `count` ready nodes `n1`...
    pub fn with_nodes(count: usize) -> Self {
        let mut world = Self {
            store: Store::default(),
            now: Timestamp::from_secs(1_000_000),
            components: Vec::new(),
            in_flight: Vec::new(),
            lagging: false,
            ids: IdSource::from_seed(7),
            stubborn: false,
        };
        world.new_leader();
        let cluster = Cluster {
            id: world.ids.id(),
            meta: Meta::default(),
            spec: ClusterSpec::default(),
            root_ca: RootCa::default(),
            network_keys: Vec::new(),
            unlock_key: None,
            default_address_pool: Vec::new(),
            subnet_size: 24,
            data_path_port: 4789,
            revoked_nodes: Vec::new(),
        };
        world.apply(vec![StoreAction::Create(Object::Cluster(Arc::new(cluster)))]);
        for number in 1..=count {
            world.join(&format!("n{number}"));
        }
        world
    }

    /// Other components take over, knowing nothing but the store.
    pub fn new_leader(&mut self) {
        self.components = vec![
            Box::new(ServiceOrchestrator::new(IdSource::from_seed(self.ids.next_u64()))),
            Box::new(TaskReaper::new()),
            Box::new(ConstraintEnforcer::new()),
        ];
        for component in &mut self.components {
            component.start(self.now, &self.store);
        }
        // What the old leader had under way is lost.
        self.in_flight = vec![Vec::new(); self.components.len()];
    }

    pub fn join(&mut self, name: &str) {
        let node = Node {
            id: self.ids.id(),
            meta: Meta::default(),
            spec: NodeSpec::default(),
            role: NodeRole::Worker,
            description: Some(NodeDescription { hostname: name.to_owned(), ..NodeDescription::default() }),
            status: NodeStatus { state: NodeState::Ready, ..NodeStatus::default() },
            manager_status: None,
            certificate: NodeCertificate::default(),
            attachments: Default::default(),
        };
        self.apply(vec![StoreAction::Create(Object::Node(Arc::new(node)))]);
    }

    pub fn node(&self, name: &str) -> Arc<Node> {
        self.store.nodes().iter().find(|node| node.display_name() == name).unwrap().clone()
    }

    pub fn edit_node(&mut self, name: &str, edit: impl FnOnce(&mut Node)) {
        let mut node = Node::clone(&self.node(name));
        edit(&mut node);
        self.apply(vec![StoreAction::Update(Object::Node(Arc::new(node)))]);
    }

    pub fn remove_node(&mut self, name: &str) {
        let id = self.node(name).id;
        self.apply(vec![StoreAction::Remove(ObjectId::Node(id))]);
    }

    pub fn set_state(&mut self, name: &str, state: NodeState) {
        self.edit_node(name, |node| node.status.state = state);
    }

    pub fn set_availability(&mut self, name: &str, availability: NodeAvailability) {
        self.edit_node(name, |node| node.spec.availability = availability);
    }

    /// A replicated service of an image; `edit` makes it another one.
    pub fn create(&mut self, name: &str, image: &str, replicas: u64, edit: impl FnOnce(&mut ServiceSpec)) {
        let mut spec = ServiceSpec {
            annotations: Annotations::named(name),
            task: Arc::new(TaskSpec {
                container: ContainerSpec { image: image.to_owned(), ..ContainerSpec::default() },
                ..TaskSpec::default()
            }),
            mode: ServiceMode::Replicated { replicas },
            update: None,
            rollback: None,
            endpoint: None,
        };
        edit(&mut spec);
        let service = Service {
            id: self.ids.id(),
            meta: Meta::default(),
            job_status: spec.mode.is_job().then(JobStatus::default),
            spec,
            spec_version: Version(1),
            previous_spec: None,
            previous_spec_version: None,
            endpoint: None,
            update_status: None,
        };
        self.apply(vec![StoreAction::Create(Object::Service(Arc::new(service)))]);
    }

    pub fn service(&self, name: &str) -> Arc<Service> {
        self.store.services().by_name(name).unwrap().clone()
    }

    /// As the control API updates a service.
    pub fn update(&mut self, name: &str, edit: impl FnOnce(&mut ServiceSpec)) {
        let mut service = Service::clone(&self.service(name));
        service.previous_spec = Some(Box::new(service.spec.clone()));
        edit(&mut service.spec);
        service.spec_version = Version(service.spec_version.0 + 1);
        service.update_status = None;
        if let Some(job) = &mut service.job_status {
            job.iteration = Version(job.iteration.0 + 1);
        }
        self.apply(vec![StoreAction::Update(Object::Service(Arc::new(service)))]);
    }

    pub fn set_image(&mut self, name: &str, image: &str) {
        self.update(name, |spec| Arc::make_mut(&mut spec.task).container.image = image.to_owned());
    }

    pub fn scale(&mut self, name: &str, replicas: u64) {
        self.update(name, |spec| spec.mode = ServiceMode::Replicated { replicas });
    }

    pub fn remove_service(&mut self, name: &str) {
        let id = self.service(name).id;
        self.apply(vec![StoreAction::Remove(ObjectId::Service(id))]);
    }

    /// The running task of a slot (or of a node, for global services) ends.
    pub fn end(&mut self, service: &str, place: &str, state: TaskState) {
        let task = self
            .tasks_of(service)
            .into_iter()
            .find(|task| task.status.state == TaskState::Running && self.place(task).starts_with(place))
            .unwrap();
        self.observe(&task, state);
    }

    fn observe(&mut self, task: &Task, state: TaskState) {
        let status = TaskStatus { timestamp: self.now, state, ..TaskStatus::default() };
        self.apply(vec![StoreAction::SetTaskStatus { id: task.id, status }]);
    }

    /// Applies actions and tells the components. Nothing that they propose may be refused: each sees its own
    /// proposals applied before it is asked again.
    pub fn apply(&mut self, actions: Vec<StoreAction>) {
        assert!(actions.len() <= MAX_ACTIONS || self.components.is_empty());
        let index = self.store.version().0 + 1;
        let proposal = Proposal { now: self.now, actions, ..Proposal::default_for_tests() };
        let applied = self.store.apply(index, &proposal);
        assert!(self.lagging || applied.refused.is_empty(), "{:?}\n{}", applied.refused, self.show_all());
        for event in &applied.events {
            for component in &mut self.components {
                component.handle(self.now, event, &self.store);
            }
        }
    }

    /// One round of the components: what they propose, applied.
    pub fn poll(&mut self) -> usize {
        let mut count = 0;
        for place in 0..self.components.len() {
            if self.in_flight[place].is_empty() {
                let actions = self.components[place].poll_actions(self.now, &self.store);
                assert!(actions.len() <= MAX_ACTIONS, "{} proposes too much", self.components[place].name());
                self.in_flight[place] = actions;
            }
            count += self.in_flight[place].len();
            let under_way = self.lagging && self.ids.below(2) == 0;
            if !under_way && !self.in_flight[place].is_empty() {
                let actions = std::mem::take(&mut self.in_flight[place]);
                self.apply(actions);
            }
        }
        count
    }

    /// Lets everybody act until nothing changes any more; no time passes.
    pub fn settle(&mut self) -> &mut Self {
        for _ in 0..10_000 {
            if self.poll() + self.nodes_act() == 0 {
                return self;
            }
        }
        panic!("never quiet:\n{}", self.show_all());
    }

    /// Lets time pass, stopping wherever a component wants to be woken.
    pub fn pass(&mut self, by: Duration) -> &mut Self {
        let end = self.now.plus(by);
        self.settle();
        loop {
            let wake = self.components.iter().filter_map(|component| component.poll_timeout()).min();
            let next = wake.map_or(end, |wake| wake.max(self.now)).min(end);
            self.now = next;
            for component in &mut self.components {
                component.tick(self.now, &self.store);
            }
            self.settle();
            if self.now >= end {
                return self;
            }
            let wake = self.components.iter().filter_map(|component| component.poll_timeout()).min();
            assert!(wake.is_none_or(|wake| wake > self.now), "a component asks again for a wake that it had");
        }
    }

    fn nodes_act(&mut self) -> usize {
        let mut actions = Vec::new();
        let mut load: Vec<(usize, NodeId)> = self
            .store
            .nodes()
            .iter()
            .filter(|n| n.status.state == NodeState::Ready && n.spec.availability == NodeAvailability::Active)
            .map(|n| (self.store.node_tasks(n.id).filter(|t| t.desired_state < DesiredState::Shutdown).count(), n.id))
            .collect();
        let mut tasks: Vec<&Arc<Task>> = self.store.tasks().iter().collect();
        tasks.sort_by_key(|task| (task.service_id, task.slot));
        for task in tasks {
            let status = |state| TaskStatus { timestamp: self.now, state, ..TaskStatus::default() };
            let lives = task.node_id.and_then(|id| self.store.nodes().get(id));
            let lives = lives.is_some_and(|node| node.status.state == NodeState::Ready);
            if task.status.state < TaskState::Assigned && task.desired_state < DesiredState::Shutdown {
                let node = match task.node_id {
                    Some(node) => Some(node),
                    None => {
                        load.sort_by_key(|(count, id)| (*count, self.name_of(*id)));
                        let fits = |id: NodeId| {
                            let node = self.store.nodes().get(id).unwrap();
                            crate::orchestrator::slot::matches_constraints(&task.spec, node)
                        };
                        load.iter_mut().find(|(_, id)| fits(*id)).map(|(count, id)| {
                            *count += 1;
                            *id
                        })
                    }
                };
                if let Some(node) = node {
                    actions.push(StoreAction::AssignTask {
                        id: task.id,
                        read: task.meta.version,
                        node,
                        resources: Vec::new(),
                        status: status(TaskState::Assigned),
                    });
                }
                continue;
            }
            if !lives || task.status.state < TaskState::Assigned || task.status.state.is_terminal() {
                continue;
            }
            let image = task.spec.container.image.as_str();
            let next = match task.desired_state {
                DesiredState::Shutdown | DesiredState::Remove if self.stubborn => task.status.state,
                DesiredState::Shutdown | DesiredState::Remove => TaskState::Shutdown,
                _ if image.starts_with("bad") => TaskState::Rejected,
                DesiredState::Ready => TaskState::Ready,
                _ if task.status.state == TaskState::Running && image.starts_with("crash") => TaskState::Failed,
                _ if task.status.state == TaskState::Running && image.starts_with("done") => TaskState::Complete,
                _ if image.starts_with("slow") => TaskState::Starting,
                _ => TaskState::Running,
            };
            if next > task.status.state {
                actions.push(StoreAction::SetTaskStatus { id: task.id, status: status(next) });
            }
        }
        let count = actions.len();
        for chunk in actions.chunks(MAX_ACTIONS) {
            self.apply(chunk.to_vec());
        }
        count
    }

    fn name_of(&self, id: NodeId) -> String {
        self.store.nodes().get(id).map_or_else(|| "gone".to_owned(), |node| node.display_name())
    }

    pub fn tasks_of(&self, service: &str) -> Vec<Arc<Task>> {
        let mut tasks: Vec<&Arc<Task>> =
            self.store.tasks().iter().filter(|task| task.service_annotations.name == service).collect();
        crate::orchestrator::slot::sort_by_age(&mut tasks);
        tasks.into_iter().cloned().collect()
    }

    fn place(&self, task: &Task) -> String {
        let node = task.node_id.map_or_else(|| "-".to_owned(), |id| self.name_of(id));
        if task.slot == 0 { node } else { format!("{} {node}", task.slot) }
    }

    /// A service's tasks: slot, node, image, desired and observed state; by place, oldest first.
    pub fn show(&self, service: &str) -> Vec<String> {
        let mut lines: Vec<(u64, String, String)> = self
            .tasks_of(service)
            .iter()
            .map(|task| {
                let (image, desired) = (&task.spec.container.image, task.desired_state.as_str());
                let place = self.place(task);
                let key = if task.slot == 0 { place.clone() } else { String::new() };
                (task.slot, key, format!("{place} {image} {desired}/{}", task.status.state.as_str()))
            })
            .collect();
        lines.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        lines.into_iter().map(|(_, _, line)| line).collect()
    }

    /// The same, of tasks that are meant to run.
    pub fn active(&self, service: &str) -> Vec<String> {
        let active = |line: &String| !line.contains(" shutdown/") && !line.contains(" remove/");
        self.show(service).into_iter().filter(active).collect()
    }

    pub fn running(&self, service: &str) -> usize {
        self.tasks_of(service).iter().filter(|task| task.status.state == TaskState::Running).count()
    }

    pub fn show_all(&self) -> String {
        self.store
            .services()
            .iter()
            .flat_map(|service| self.show(&service.spec.annotations.name))
            .collect::<Vec<_>>()
            .join("\n")
    }

    pub fn update_state(&self, service: &str) -> Option<UpdateState> {
        self.service(service).update_status.as_ref().map(|status| status.state)
    }
}

impl Proposal {
    fn default_for_tests() -> Self {
        Self { id: Default::default(), now: Timestamp::ZERO, atomic: false, actions: Vec::new() }
    }
}
