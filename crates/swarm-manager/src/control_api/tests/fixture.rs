//! A leader without a network: requests are decided, and what they propose is applied at once.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use swarm_types::*;

use crate::control_api::*;
use crate::store::{Applied, Proposal, Store, StoreAction};

pub struct Leader {
    pub store: Store,
    pub view: ClusterView,
    pub now: Timestamp,
    pub ids: IdSource,
}

impl Leader {
    /// A swarm of managers `m1`... and workers `w1`..., all ready and reachable.
    pub fn of(managers: u64, workers: u64) -> Self {
        let mut leader = Self {
            store: Store::default(),
            view: ClusterView::default(),
            now: Timestamp::from_secs(1_000_000),
            ids: IdSource::from_seed(1),
        };
        let root_ca = RootCa {
            key: SecretString("the key".into()),
            certificate: "the certificate".into(),
            digest: format!("sha256:{}", "0".repeat(63) + "1"),
            join_tokens: JoinTokens::default(),
        };
        leader.apply(vec![StoreAction::Create(Object::Cluster(Arc::new(Cluster {
            id: ClusterId::from_bits(1),
            meta: Meta::default(),
            spec: ClusterSpec::default(),
            root_ca,
            network_keys: vec![EncryptionKey::default()],
            unlock_key: None,
            default_address_pool: vec!["10.0.0.0/8".into()],
            subnet_size: 24,
            data_path_port: 4789,
            revoked_nodes: Vec::new(),
        })))]);
        for number in 1..=managers {
            leader.join(100 + u128::from(number), format!("m{number}"), NodeRole::Manager);
        }
        for number in 1..=workers {
            leader.join(200 + u128::from(number), format!("w{number}"), NodeRole::Worker);
        }
        leader
    }

    fn join(&mut self, bits: u128, hostname: String, role: NodeRole) {
        let id = NodeId::from_bits(bits << 100);
        if role == NodeRole::Manager {
            let leader = self.view.managers.is_empty();
            let status =
                ManagerStatus { raft_id: 1, addr: String::new(), leader, reachability: Reachability::Reachable };
            self.view.managers.insert(id, status);
        }
        self.apply(vec![StoreAction::Create(Object::Node(Arc::new(Node {
            id,
            meta: Meta::default(),
            spec: NodeSpec { desired_role: role, ..NodeSpec::default() },
            role,
            description: Some(NodeDescription { hostname, ..NodeDescription::default() }),
            status: NodeStatus { state: NodeState::Ready, ..NodeStatus::default() },
            manager_status: None,
            certificate: NodeCertificate { not_after: Timestamp::from_secs(2_000_000), ..NodeCertificate::default() },
            attachments: Default::default(),
        })))]);
    }

    pub fn apply(&mut self, actions: Vec<StoreAction>) -> Applied {
        let index = self.store.version().0 + 1;
        self.store.apply(index, &Proposal { id: Default::default(), now: self.now, atomic: true, actions })
    }

    pub fn ask(&mut self, request: &ControlRequest) -> Result<ControlResponse, ControlError> {
        let decision = handle(self.now, &mut self.ids, request, &self.store, &self.view)?;
        match decision {
            Decision::Answer(response) => {
                // An attachment that is there already is answered without a change.
                assert!(request.is_read() || request.own_node().is_some());
                Ok(response)
            }
            Decision::Propose { actions, answer } => {
                assert!(!request.is_read());
                let applied = self.apply(actions);
                match applied.refused.first() {
                    None => Ok(answer),
                    Some((_, refused)) => Err(refusal(request, refused)),
                }
            }
        }
    }

    /// The message of a refusal.
    pub fn refused(&mut self, request: &ControlRequest) -> String {
        let before = self.store.snapshot();
        let message = self.ask(request).unwrap_err().message;
        assert_eq!(self.store.snapshot().objects, before.objects, "a refused request changes nothing");
        message
    }

    pub fn create(&mut self, spec: &ServiceSpec) -> ServiceId {
        match self.ask(&ControlRequest::CreateService(Box::new(spec.clone()))).unwrap() {
            ControlResponse::Created { id: ObjectId::Service(id), .. } => id,
            other => panic!("{other:?}"),
        }
    }

    pub fn service(&self, name: &str) -> Arc<Service> {
        self.store.services().by_name(name).unwrap().clone()
    }

    /// The request that updates a service as it is now.
    pub fn update_of(&self, name: &str, edit: impl FnOnce(&mut ServiceSpec)) -> ControlRequest {
        let service = self.service(name);
        let mut spec = service.spec.clone();
        edit(&mut spec);
        ControlRequest::UpdateService {
            service: name.to_owned(),
            version: service.meta.version,
            spec: Box::new(spec),
            rollback: false,
        }
    }

    pub fn with_ingress(mut self) -> Self {
        let annotations = Annotations::named("ingress");
        let spec = NetworkSpec { annotations, ingress: true, ..NetworkSpec::default() };
        self.ask(&ControlRequest::CreateNetwork(Box::new(spec))).unwrap();
        self
    }
}

pub fn spec(name: &str) -> ServiceSpec {
    ServiceSpec {
        annotations: Annotations::named(name),
        task: Arc::new(TaskSpec {
            container: ContainerSpec { image: "nginx:alpine".to_owned(), ..ContainerSpec::default() },
            ..TaskSpec::default()
        }),
        mode: ServiceMode::Replicated { replicas: 1 },
        update: None,
        rollback: None,
        endpoint: None,
    }
}

pub fn publishing(name: &str, port: u16, mode: PublishMode) -> ServiceSpec {
    let port = PortConfig { target_port: 80, published_port: port, publish_mode: mode, ..PortConfig::default() };
    ServiceSpec { endpoint: Some(EndpointSpec { ports: vec![port], ..EndpointSpec::default() }), ..spec(name) }
}
