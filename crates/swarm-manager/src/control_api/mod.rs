//! Validates what users ask, with Docker's messages, and turns it into store actions.
//!
//! [`handle`] is a pure function of the request and the store. Reads answer at once. Writes return the actions to
//! propose as one atomic proposal, and what to answer once it was applied; when the store refuses them after all,
//! [`refusal`] words it. Defaults are not filled in here: a spec stays as the user gave it, except that names of
//! networks become ids.

mod attachments;
mod cluster;
mod error;
mod files;
mod filter;
mod lookup;
mod messages;
mod networks;
mod nodes;
mod service_spec;
mod services;
mod validate;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use swarm_types::*;

pub use error::refusal;
pub use messages::*;

use crate::store::{Store, StoreAction};

/// What the leader knows beyond the store: the members of the raft group and whether it reaches them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClusterView {
    /// All members, by node.
    pub managers: BTreeMap<NodeId, ManagerStatus>,
}

/// What is to be done about a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// Answer this; nothing changes.
    Answer(ControlResponse),
    /// Propose these as one atomic proposal, and answer when it was applied.
    Propose {
        /// The changes.
        actions: Vec<StoreAction>,
        /// The answer.
        answer: ControlResponse,
    },
}

impl Decision {
    fn done(actions: Vec<StoreAction>) -> Self {
        Self::Propose { actions, answer: ControlResponse::Done }
    }

    fn object(object: Object) -> Self {
        Self::Answer(ControlResponse::Object(object))
    }

    fn objects(objects: impl Iterator<Item = Object>) -> Self {
        Self::Answer(ControlResponse::Objects(objects.collect()))
    }

    fn created(object: Object) -> Self {
        let id = object.id();
        Self::Propose {
            actions: vec![StoreAction::Create(object)],
            answer: ControlResponse::Created { id, warnings: Vec::new() },
        }
    }
}

/// Decides about one request. `now` and `ids` are what the actions carry; `view` is the leader's.
pub fn handle(
    now: Timestamp,
    ids: &mut IdSource,
    request: &ControlRequest,
    store: &Store,
    view: &ClusterView,
) -> Result<Decision, ControlError> {
    match request {
        ControlRequest::GetCluster => cluster::get(store),
        ControlRequest::UpdateCluster { version, spec, rotate, fresh } => {
            cluster::update(now, store, *version, spec, *rotate, fresh.as_ref())
        }
        ControlRequest::GetUnlockKey => cluster::unlock_key(store),

        ControlRequest::ListNodes(filters) => {
            let matching = store.nodes().iter().filter(|node| filter::matches_nodes(filters, node));
            Ok(Decision::objects(matching.map(|node| Object::Node(nodes::with_status(node, view)))))
        }
        ControlRequest::GetNode(text) => {
            Ok(Decision::object(Object::Node(nodes::with_status(lookup::node(store, text)?, view))))
        }
        ControlRequest::UpdateNode { node, version, spec } => nodes::update(store, view, node, *version, spec),
        ControlRequest::RemoveNode { node, force } => nodes::remove(now, store, view, node, *force),

        ControlRequest::ListServices(filters) => {
            let matching = store.services().iter().filter(|service| filter::matches_services(filters, service));
            Ok(Decision::objects(matching.cloned().map(Object::Service)))
        }
        ControlRequest::GetService(text) => {
            Ok(Decision::object(Object::Service(lookup::service(store, text)?.clone())))
        }
        ControlRequest::CreateService(spec) => services::create(now, ids, store, spec),
        ControlRequest::UpdateService { service, version, spec, rollback } => {
            services::update(now, store, service, *version, spec, *rollback)
        }
        ControlRequest::RemoveService(text) => {
            let id = lookup::service(store, text)?.id;
            Ok(Decision::done(vec![StoreAction::Remove(ObjectId::Service(id))]))
        }

        ControlRequest::ListTasks(filters) => Ok(Decision::objects(filter::tasks(filters, store)?.into_iter())),
        ControlRequest::GetTask(text) => Ok(Decision::object(Object::Task(lookup::task(store, text)?.clone()))),

        ControlRequest::ListNetworks(filters) => {
            let matches = |n: &&Arc<Network>| filter::matches_objects(filters, &n.id.to_string(), &n.spec.annotations);
            Ok(Decision::objects(store.networks().iter().filter(matches).cloned().map(Object::Network)))
        }
        ControlRequest::GetNetwork(text) => {
            Ok(Decision::object(Object::Network(lookup::network(store, text)?.clone())))
        }
        ControlRequest::CreateNetwork(spec) => networks::create(ids, store, spec),
        ControlRequest::RemoveNetwork(text) => networks::remove(store, text),
        ControlRequest::AttachNetwork { node, network, container_id, addresses } => {
            attachments::attach(now, ids, store, *node, network, container_id, addresses)
        }
        ControlRequest::DetachNetwork { node, attachment } => attachments::detach(store, *node, *attachment),

        ControlRequest::ListSecrets(filters) => {
            let matches = |s: &&Arc<Secret>| filter::matches_objects(filters, &s.id.to_string(), &s.spec.annotations);
            Ok(Decision::objects(store.secrets().iter().filter(matches).map(|s| files::without_value(s))))
        }
        ControlRequest::GetSecret(text) => Ok(Decision::object(files::without_value(lookup::secret(store, text)?))),
        ControlRequest::CreateSecret(spec) => files::create_secret(ids, store, spec),
        ControlRequest::UpdateSecret { secret, version, spec } => files::update_secret(store, secret, *version, spec),
        ControlRequest::RemoveSecret(text) => files::remove_secret(store, text),

        ControlRequest::ListConfigs(filters) => {
            let matches = |c: &&Arc<Config>| filter::matches_objects(filters, &c.id.to_string(), &c.spec.annotations);
            Ok(Decision::objects(store.configs().iter().filter(matches).cloned().map(Object::Config)))
        }
        ControlRequest::GetConfig(text) => Ok(Decision::object(Object::Config(lookup::config(store, text)?.clone()))),
        ControlRequest::CreateConfig(spec) => files::create_config(ids, store, spec),
        ControlRequest::UpdateConfig { config, version, spec } => files::update_config(store, config, *version, spec),
        ControlRequest::RemoveConfig(text) => files::remove_config(store, text),
    }
}
