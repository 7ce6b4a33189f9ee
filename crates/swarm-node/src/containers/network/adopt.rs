//! Containers' networks after a start of the daemon: what runs is taken over with its addresses, ports and name server,
//! the rest is forgotten.

use container_runtime::{ContainerId, Status};
use overlay_network::{EndpointInfo, EndpointWish, Mac};

use super::super::{Engine, Entry, lock};

impl Engine {
    /// See the module.
    pub(in super::super) async fn adopt_endpoints(&self) {
        let live = |status: Status| matches!(status, Status::Running | Status::Prepared);
        let all = self.inner.runtime.list();
        let running: Vec<&ContainerId> = all.iter().filter(|one| live(one.state.status)).map(|one| &one.id).collect();
        for (id, entry) in lock(&self.inner.entries).iter() {
            if !running.contains(&id) {
                let mut record = entry.record();
                record.endpoints.clear();
                record.published.clear();
            }
        }
        self.adopt_leases(&running).await;
        for inspect in all.iter().filter(|one| live(one.state.status)) {
            let pid = inspect.state.pid.and_then(|pid| u32::try_from(pid).ok());
            if let (Ok(entry), Some(pid)) = (self.entry(&inspect.id), pid) {
                self.take_over(&inspect.id, &entry, pid).await;
            }
        }
        let driver = self.inner.networks.driver.lock().await;
        if let Ok(driver) = &*driver {
            self.inner.networks.apply_rules(driver).await;
        }
    }

    async fn adopt_leases(&self, running: &[&ContainerId]) {
        let mut driver = self.inner.networks.driver.lock().await;
        let Ok(driver) = &mut *driver else { return };
        if let Err(error) = driver.reconcile(|_, owner| running.iter().any(|id| id.as_str() == owner)).await {
            tracing::warn!("tidying the local networks: {error}");
        }
        for id in running {
            let Ok(entry) = self.entry(id) else { continue };
            let endpoints = entry.record().endpoints.clone();
            for endpoint in endpoints.iter().filter(|endpoint| endpoint.driver == "bridge") {
                let Some(place) = &endpoint.place else { continue };
                // changes something only when the leases were lost
                if let Err(error) = driver.reserve(&endpoint.network_id, id.as_str(), &wish_of(place)) {
                    tracing::warn!(container = %id, "its address on {}: {error}", endpoint.network);
                }
            }
        }
    }

    async fn take_over(&self, id: &ContainerId, entry: &Entry, pid: u32) {
        self.republish(id, entry);
        self.lead_ports(id, entry).await;
        let record = entry.record().clone();
        let interface = |network: String| record.endpoints.iter().find(|one| one.network_id == network);
        let places: Vec<_> = record
            .swarm
            .iter()
            .filter_map(|place| Some((place.clone(), interface(place.network.to_string())?.interface.clone())))
            .collect();
        if !places.is_empty()
            && let Err(error) = self.join_swarm(id, entry, pid, places, self.is_serving(id)).await
        {
            tracing::warn!(container = %id, "finding its networks again: {error}");
        }
        if let Err(error) = self.start_names(id, entry, pid).await {
            tracing::warn!(container = %id, "its name server: {error}");
        }
        self.names_changed(id);
    }
}

/// The wish that leads to this place again.
fn wish_of(place: &EndpointInfo) -> EndpointWish {
    let derived = place.addresses.first().map(|cidr| Mac::of_ip(cidr.address));
    EndpointWish {
        ipv4: place.ipv4().map(|(ip, _)| ip),
        ipv6: place.ipv6().map(|(ip, _)| ip),
        mac: Some(place.mac).filter(|mac| derived != Some(*mac)),
    }
}
