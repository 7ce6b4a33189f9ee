//! The networks that a swarm begins with: the routing mesh's, and names for those that every node has of its own.

use std::sync::Arc;

use swarm_types::*;

use crate::store::StoreAction;

/// Creates them, for the first proposal of a new swarm.
///
/// `ingress` may be removed and made anew by the operator. `bridge` and `host` stand for each node's own networks of
/// these names (swarmkit's predefined networks): `docker service create --network host` finds the swarm's `host`.
pub(super) fn first_networks(ids: &mut IdSource) -> Vec<StoreAction> {
    let ingress = NetworkSpec {
        annotations: Annotations::named("ingress"),
        driver: Some(Driver::default()),
        ingress: true,
        ..NetworkSpec::default()
    };
    let predefined = ["bridge", "host"].map(|name| {
        let mut annotations = Annotations::named(name);
        annotations.labels.insert(PREDEFINED_LABEL.to_owned(), "true".to_owned());
        let driver = Some(Driver { name: name.to_owned(), ..Driver::default() });
        NetworkSpec { annotations, driver, scope: "swarm".to_owned(), ..NetworkSpec::default() }
    });
    let specs = std::iter::once(ingress).chain(predefined);
    specs
        .map(|spec| {
            let (id, meta) = (ids.id(), Meta::default());
            let network = Network { id, meta, spec, driver_state: None, ipam: None, pending_delete: false };
            StoreAction::Create(Object::Network(Arc::new(network)))
        })
        .collect()
}
