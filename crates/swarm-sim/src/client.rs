//! Users: they create, scale, update and remove services, drain nodes, and remember what was acknowledged.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use swarm_manager::control_api::{ControlError, ControlErrorKind, ControlRequest, ControlResponse};
use swarm_manager::manager::{Answer, Manager, RequestId};
use swarm_manager::store::Store;
use swarm_types::*;

use crate::runtime::{FINISHING, IMAGES, SLOW, STEADY};

/// A request, and what it is about.
#[derive(Debug)]
pub(crate) struct Ask {
    pub what: String,
    pub request: ControlRequest,
    subject: Subject,
}

#[derive(Debug, Clone)]
enum Subject {
    Create,
    Update(ServiceId, u64),
    Remove(ServiceId),
    Node,
    Role,
    /// A network, or a container on one; a secret or a config.
    Network,
}

/// What is known of a service from answers alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    /// It exists since this version of the store, with at least this revision.
    There { since: Version, revision: u64 },
    /// Its removal was asked for, and nobody knows yet.
    Unsure,
    /// It is gone since this version.
    Gone { since: Version },
}

#[derive(Debug)]
pub(crate) struct Client {
    random: IdSource,
    names: u64,
    revisions: u64,
    known: BTreeMap<ServiceId, Known>,
    waiting: BTreeMap<(usize, RequestId), Subject>,
    /// Once the faults stopped: when to create the last service.
    winding_up: Option<Timestamp>,
    last_created: bool,
    /// Changes of roles whose outcome is not known.
    roles: u64,
    pub acknowledged: u64,
}

/// The label that counts a service's updates.
const REVISION: &str = "revision";
/// The service that is created after the faults, to see how tasks are spread.
pub(crate) const LAST: &str = "last";

impl Client {
    pub fn new(seed: u64) -> Self {
        Self {
            random: IdSource::from_seed(seed),
            names: 0,
            revisions: 0,
            known: BTreeMap::new(),
            waiting: BTreeMap::new(),
            winding_up: None,
            last_created: false,
            roles: 0,
            acknowledged: 0,
        }
    }

    /// From now on: all nodes active, nothing that keeps failing, and once it is calm one last service.
    pub fn wind_up(&mut self, calm: Timestamp) {
        self.winding_up = Some(calm);
    }

    pub fn has_more(&self) -> bool {
        !self.last_created
    }

    /// Whether a role may still change by what was asked.
    pub fn awaits_roles(&self) -> bool {
        self.roles > 0
    }

    /// The next request, given what a user sees now; `busy`: the operator is at work on a node.
    pub fn next(&mut self, now: Timestamp, store: &Store, busy: bool) -> Option<Ask> {
        if let Some(calm) = self.winding_up {
            return self.next_of_the_last(now >= calm && !busy, store);
        }
        let services = store.services().len() as u64;
        match self.random.below(18) {
            0..=3 if services < 6 => Some(self.create(store)),
            4 if services < 6 => Some(self.create_job(store)),
            5..=7 => self.update(store),
            8 => self.remove(store),
            9..=10 => self.update_node(store),
            11 if !busy => self.change_role(store),
            12 => Some(self.create_network()),
            13 => self.remove_network(store),
            14 => self.attach(store),
            15 => self.detach(store),
            16 => Some(self.create_file()),
            17 => self.remove_file(store),
            _ => None,
        }
    }

    fn next_of_the_last(&mut self, calm: bool, store: &Store) -> Option<Ask> {
        let drained = store.nodes().iter().find(|node| node.spec.availability != NodeAvailability::Active);
        if let Some(node) = drained {
            return Some(availability(node, NodeAvailability::Active));
        }
        if store.services().by_name(LAST).is_some() {
            self.last_created = true;
            return None;
        }
        // What keeps failing would go on for ever and tell nothing new; the rest must come to what it should be.
        let failing = store.services().iter().find(|s| {
            let image = s.spec.task.container.image.as_str();
            // One whose port or network another request took in between waits for ever.
            let waits =
                store.service_tasks(s.id).any(|t| t.status.state <= TaskState::Pending && !t.status.err.is_empty());
            (waits || ![STEADY, SLOW, FINISHING].contains(&image)) && !self.is_being_removed(s.id)
        });
        if let Some(service) = failing {
            return Some(removal(service));
        }
        let settled = |node: &Arc<Node>| node.status.state == NodeState::Ready && node.role == node.spec.desired_role;
        let all_ready = store.nodes().iter().all(settled);
        (calm && all_ready).then(|| {
            let replicas = store.nodes().len() as u64 + 1 + self.random.below(5);
            let spec = service(LAST, STEADY, ServiceMode::Replicated { replicas });
            Ask {
                what: format!("create {LAST} x{replicas}"),
                request: ControlRequest::CreateService(Box::new(spec)),
                subject: Subject::Create,
            }
        })
    }

    /// Whether an answer to a removal is still to come. (Where nobody knows what became of one, and the service is there,
    /// it is asked for again.)
    fn is_being_removed(&self, service: ServiceId) -> bool {
        self.waiting.values().any(|subject| matches!(subject, Subject::Remove(of) if *of == service))
    }

    fn image(&mut self) -> &'static str {
        IMAGES[usize::try_from(self.random.below(IMAGES.len() as u64)).unwrap_or(0)]
    }

    fn create(&mut self, store: &Store) -> Ask {
        self.names += 1;
        let (name, image) = (format!("s{}", self.names), self.image());
        let mode = match self.random.below(4) {
            0 => ServiceMode::Global,
            _ => ServiceMode::Replicated { replicas: self.random.below(7) },
        };
        let mut spec = service(&name, image, mode.clone());
        let task = Arc::make_mut(&mut spec.task);
        if self.random.below(4) == 0 {
            let preference = PlacementPreference::Spread { descriptor: "engine.labels.zone".to_owned() };
            task.placement = Some(Placement { preferences: vec![preference], ..Placement::default() });
        }
        task.networks = self.networks(store);
        self.refer(store, task);
        spec.endpoint = self.endpoint();
        let what = format!("create {name} {image} {mode:?}");
        Ask { what, request: ControlRequest::CreateService(Box::new(spec)), subject: Subject::Create }
    }

    /// A job: a number of tasks that end well, or one on each node.
    fn create_job(&mut self, store: &Store) -> Ask {
        self.names += 1;
        let name = format!("j{}", self.names);
        let (max_concurrent, total_completions) = (1 + self.random.below(3), self.random.below(6));
        let mode = match self.random.below(3) {
            0 => ServiceMode::GlobalJob,
            _ => ServiceMode::ReplicatedJob { max_concurrent, total_completions },
        };
        let mut spec = service(&name, FINISHING, mode.clone());
        let task = Arc::make_mut(&mut spec.task);
        task.networks = self.networks(store);
        self.refer(store, task);
        let what = format!("create {name} {mode:?}");
        Ask { what, request: ControlRequest::CreateService(Box::new(spec)), subject: Subject::Create }
    }

    /// Has a task use secrets and configs, if there are any.
    fn refer(&mut self, store: &Store, task: &mut TaskSpec) {
        let target =
            |name: &str| FileTarget { name: name.to_owned(), uid: "0".to_owned(), gid: "0".to_owned(), mode: 0o444 };
        let (secrets, configs): (Vec<_>, Vec<_>) = (store.secrets().iter().collect(), store.configs().iter().collect());
        let container = &mut task.container;
        if let Some(secret) = self.pick(&secrets).filter(|_| self.random.below(2) == 0) {
            let name = &secret.spec.annotations.name;
            let (secret_name, target) = (name.clone(), target(name));
            container.secrets = vec![SecretReference { secret_id: secret.id, secret_name, target }];
        }
        if let Some(config) = self.pick(&configs).filter(|_| self.random.below(2) == 0) {
            let name = &config.spec.annotations.name;
            let (config_name, target) = (name.clone(), Some(target(name)));
            container.configs = vec![ConfigReference { config_id: config.id, config_name, target }];
        }
    }

    fn create_file(&mut self) -> Ask {
        self.names += 1;
        let name = format!("f{}", self.names);
        let annotations = Annotations::named(&name);
        let request = if self.random.below(2) == 0 {
            let data = SecretBytes(name.clone().into_bytes());
            ControlRequest::CreateSecret(Box::new(SecretSpec { annotations, data, templating: None, driver: None }))
        } else {
            let data = name.clone().into_bytes();
            ControlRequest::CreateConfig(Box::new(ConfigSpec { annotations, data, templating: None }))
        };
        Ask { what: format!("create secret or config {name}"), request, subject: Subject::Network }
    }

    fn remove_file(&mut self, store: &Store) -> Option<Ask> {
        let (secrets, configs): (Vec<_>, Vec<_>) = (store.secrets().iter().collect(), store.configs().iter().collect());
        let request = if self.random.below(2) == 0 {
            ControlRequest::RemoveSecret(self.pick(&secrets)?.id.to_string())
        } else {
            ControlRequest::RemoveConfig(self.pick(&configs)?.id.to_string())
        };
        Some(Ask { what: "remove a secret or config".to_owned(), request, subject: Subject::Network })
    }

    /// Networks for a service: often none.
    fn networks(&mut self, store: &Store) -> Vec<NetworkAttachmentConfig> {
        let overlays = overlays(store);
        let count = [0, 0, 1, 1, 2][usize::try_from(self.random.below(5)).unwrap_or(0)];
        let mut chosen: BTreeMap<NetworkId, NetworkAttachmentConfig> = BTreeMap::new();
        for _ in 0..count {
            if let Some(network) = self.pick(&overlays) {
                let target = network.id.to_string();
                chosen.insert(network.id, NetworkAttachmentConfig { target, ..Default::default() });
            }
        }
        chosen.into_values().collect()
    }

    /// Ports to publish: one that is assigned, one that others may want too, or none.
    fn endpoint(&mut self) -> Option<EndpointSpec> {
        let port = |published_port| PortConfig { target_port: 80, published_port, ..PortConfig::default() };
        let ports = match self.random.below(8) {
            0..=1 => vec![port(0)],
            2 => vec![port(8080)],
            3 => vec![port(8081), port(0)],
            4 => vec![PortConfig { publish_mode: PublishMode::Host, ..port(9000) }],
            _ => return None,
        };
        Some(EndpointSpec { ports, ..EndpointSpec::default() })
    }

    fn create_network(&mut self) -> Ask {
        self.names += 1;
        let name = format!("n{}", self.names);
        let (ipv6, attachable) = (self.random.below(3) == 0, self.random.below(2) == 0);
        let spec = NetworkSpec { annotations: Annotations::named(&name), ipv6, attachable, ..NetworkSpec::default() };
        let request = ControlRequest::CreateNetwork(Box::new(spec));
        Ask { what: format!("create network {name} ipv6={ipv6}"), request, subject: Subject::Network }
    }

    fn remove_network(&mut self, store: &Store) -> Option<Ask> {
        let network = self.pick(&overlays(store))?;
        let what = format!("remove network {}", network.spec.annotations.name);
        let request = ControlRequest::RemoveNetwork(network.id.to_string());
        Some(Ask { what, request, subject: Subject::Network })
    }

    /// A node's user runs a container on a network.
    fn attach(&mut self, store: &Store) -> Option<Ask> {
        let network = self.pick(&overlays(store))?.id.to_string();
        let node = self.pick(&store.nodes().iter().collect::<Vec<_>>())?.id;
        let (container_id, addresses) = (format!("{:0<64}", format!("{:016x}", self.random.next_u64())), Vec::new());
        let what = format!("attach a container of node {node} to network {network}");
        let request = ControlRequest::AttachNetwork { node, network, container_id, addresses };
        Some(Ask { what, request, subject: Subject::Network })
    }

    fn detach(&mut self, store: &Store) -> Option<Ask> {
        let attached: Vec<&Arc<Task>> = store.tasks().iter().filter(|t| t.spec.attachment.is_some()).collect();
        let task = self.pick(&attached)?;
        let (node, attachment) = (task.node_id?, task.id);
        let what = format!("detach {attachment}");
        Some(Ask { what, request: ControlRequest::DetachNetwork { node, attachment }, subject: Subject::Network })
    }

    /// Promotes or demotes a node, so that there are one to five managers.
    fn change_role(&mut self, store: &Store) -> Option<Ask> {
        let node = self.pick(&store.nodes().iter().collect::<Vec<_>>())?;
        let managers = store.nodes().iter().filter(|n| n.spec.desired_role == NodeRole::Manager).count();
        let desired_role = match node.spec.desired_role {
            NodeRole::Manager if managers > 1 => NodeRole::Worker,
            NodeRole::Worker if managers < 5 => NodeRole::Manager,
            _ => return None,
        };
        let spec = NodeSpec { desired_role, ..node.spec.clone() };
        let (name, version) = (node.id.to_string(), node.meta.version);
        let what = format!("make node {name} a {desired_role:?}");
        Some(Ask { what, request: ControlRequest::UpdateNode { node: name, version, spec }, subject: Subject::Role })
    }

    fn pick<'a, T>(&mut self, all: &[&'a Arc<T>]) -> Option<&'a Arc<T>> {
        let place = usize::try_from(self.random.below(all.len() as u64)).unwrap_or(0);
        all.get(place).copied()
    }

    fn update(&mut self, store: &Store) -> Option<Ask> {
        let service = self.pick(&store.services().iter().collect::<Vec<_>>())?;
        let mut spec = service.spec.clone();
        self.revisions += 1;
        spec.annotations.labels.insert(REVISION.to_owned(), self.revisions.to_string());
        match self.random.below(5) {
            0 if spec.mode.is_job() => self.refer(store, Arc::make_mut(&mut spec.task)),
            0 => Arc::make_mut(&mut spec.task).container.image = self.image().to_owned(),
            1 => Arc::make_mut(&mut spec.task).networks = self.networks(store),
            2 => spec.endpoint = self.endpoint(),
            3 => Arc::make_mut(&mut spec.task).force_update += 1,
            _ => {
                if let ServiceMode::Replicated { replicas } = &mut spec.mode {
                    *replicas = self.random.below(9);
                }
            }
        }
        let name = &spec.annotations.name;
        let what = format!("update {name} to {:?} {} r{}", spec.mode, spec.task.container.image, self.revisions);
        let subject = Subject::Update(service.id, self.revisions);
        let (service, version) = (service.id.to_string(), service.meta.version);
        let request = ControlRequest::UpdateService { service, version, spec: Box::new(spec), rollback: false };
        Some(Ask { what, request, subject })
    }

    fn remove(&mut self, store: &Store) -> Option<Ask> {
        let service = self.pick(&store.services().iter().collect::<Vec<_>>())?;
        Some(removal(service))
    }

    fn update_node(&mut self, store: &Store) -> Option<Ask> {
        let node = self.pick(&store.nodes().iter().collect::<Vec<_>>())?;
        let wanted = match self.random.below(5) {
            0 => NodeAvailability::Drain,
            1 => NodeAvailability::Pause,
            _ => NodeAvailability::Active,
        };
        Some(availability(node, wanted))
    }

    pub fn asked(&mut self, host: usize, request: RequestId, ask: Ask) {
        if let Subject::Remove(service) = ask.subject {
            self.known.insert(service, Known::Unsure);
        }
        if let Subject::Role = ask.subject {
            self.roles += 1;
        }
        self.waiting.insert((host, request), ask.subject);
    }

    /// The manager's process is gone: it will not answer any more.
    pub fn manager_lost(&mut self, host: usize) {
        self.waiting.retain(|(at, _), _| *at != host);
    }

    /// An answer; `version` is the store's on the manager that answers. Returns what to trace.
    pub fn answered(
        &mut self,
        host: usize,
        request: RequestId,
        answer: Result<Answer, ControlError>,
        version: Version,
    ) -> Option<String> {
        // A read, or a refusal at once, may be answered before `asked` is called; both change nothing that is known.
        let subject = self.waiting.remove(&(host, request))?;
        let response = match answer {
            Ok(Answer::Control(response)) => response,
            Ok(_) => return None,
            Err(error) => {
                // Without a leader nobody knows whether the change is in the log.
                if let (Subject::Role, true) = (subject, error.kind != ControlErrorKind::Unavailable) {
                    self.roles -= 1;
                }
                return Some(format!("client is refused: {error}"));
            }
        };
        self.acknowledged += 1;
        match (subject, response) {
            (Subject::Create, ControlResponse::Created { id: ObjectId::Service(id), .. }) => {
                self.known.insert(id, Known::There { since: version, revision: 0 });
            }
            (Subject::Update(id, revision), _) => {
                if let Some(Known::There { since, revision: known }) = self.known.get_mut(&id) {
                    (*since, *known) = (version, revision.max(*known));
                }
            }
            (Subject::Role, _) => self.roles -= 1,
            (Subject::Remove(id), _) => drop(self.known.insert(id, Known::Gone { since: version })),
            _ => {}
        }
        None
    }

    /// What was acknowledged at a version is in every store of that version or a later one.
    pub fn check_kept(&self, managers: &[(usize, &Manager)]) -> Result<(), String> {
        for (host, manager) in managers {
            let store = manager.store();
            for (id, known) in &self.known {
                let service = store.services().get(*id);
                match known {
                    Known::There { since, revision } if store.version() >= *since => {
                        let service =
                            service.ok_or_else(|| format!("host {host} lost service {id}, which was acknowledged"))?;
                        let has: u64 =
                            service.spec.annotations.labels.get(REVISION).and_then(|r| r.parse().ok()).unwrap_or(0);
                        if has < *revision {
                            return Err(format!(
                                "host {host} has revision {has} of service {id}, {revision} was acknowledged"
                            ));
                        }
                    }
                    Known::Gone { since } if store.version() >= *since && service.is_some() => {
                        return Err(format!("host {host} has service {id} again, whose removal was acknowledged"));
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// At the end the leader must have reached all that was acknowledged.
    pub fn check_reached(&self, leader: &Store) -> Result<(), String> {
        let newest = self.known.values().filter_map(|known| match known {
            Known::There { since, .. } | Known::Gone { since } => Some(*since),
            Known::Unsure => None,
        });
        match newest.max() {
            Some(newest) if leader.version() < newest => {
                Err(format!("the leader is at {:?}, but {newest:?} was acknowledged", leader.version()))
            }
            _ => Ok(()),
        }
    }
}

fn removal(service: &Service) -> Ask {
    let what = format!("remove {}", service.spec.annotations.name);
    let request = ControlRequest::RemoveService(service.id.to_string());
    Ask { what, request, subject: Subject::Remove(service.id) }
}

fn availability(node: &Node, wanted: NodeAvailability) -> Ask {
    let spec = NodeSpec { availability: wanted, ..node.spec.clone() };
    let (name, version) = (node.id.to_string(), node.meta.version);
    let what = format!("set node {name} to {wanted:?}");
    Ask { what, request: ControlRequest::UpdateNode { node: name, version, spec }, subject: Subject::Node }
}

pub(crate) fn service(name: &str, image: &str, mode: ServiceMode) -> ServiceSpec {
    let grace = Some(Duration::from_secs(2));
    let container = ContainerSpec { image: image.to_owned(), stop_grace_period: grace, ..ContainerSpec::default() };
    let restart = RestartPolicy { delay: Some(Duration::from_secs(4)), ..RestartPolicy::default() };
    ServiceSpec {
        annotations: Annotations::named(name),
        task: TaskSpec { container, restart: Some(restart), ..TaskSpec::default() }.into(),
        mode,
        update: None,
        rollback: None,
        endpoint: None,
    }
}

/// The swarm's networks that users made.
fn overlays(store: &Store) -> Vec<&Arc<Network>> {
    store.networks().iter().filter(|network| !network.spec.ingress && !network.is_predefined()).collect()
}
