//! What a container finds by name: its own lines of /etc/hosts, resolv.conf, and the name server of networks that have
//! one (users' own, not the default `bridge`, as with Docker).

use std::collections::BTreeSet;
use std::net::IpAddr;

use container_runtime::{ContainerId, NameService, Result};
use overlay_network::dns::{DnsServers, DnsView, NameEntry};

use super::super::{Engine, Entry, lock};
use super::attachment::{Attachment, Endpoint};
use super::internal;

impl Engine {
    /// The name servers of the containers, and what names mean.
    pub fn dns(&self) -> &DnsServers {
        self.inner.networking.dns()
    }

    /// Writes hosts and resolv.conf, starts or changes the name server. After every change of the endpoints.
    pub(super) async fn write_names(&self, id: &ContainerId, entry: &Entry, pid: u32) -> Result<()> {
        let endpoints = entry.record().endpoints.clone();
        let own = endpoints.iter().filter(|endpoint| endpoint.is_own_address());
        let addresses: Vec<IpAddr> = own.flat_map(Endpoint::addresses).collect();
        if !addresses.is_empty() {
            self.inner.runtime.set_own_addresses(id, &addresses)?;
        }
        if endpoints.iter().any(Endpoint::has_server) {
            self.inner.runtime.set_name_service(id, NameService::Embedded)?;
            self.start_names(id, entry, pid).await?;
        } else if let Some(place) = endpoints.iter().find_map(|endpoint| endpoint.place.as_ref()) {
            let ipv6 = place.ipv6().is_some();
            self.dns().stop(id.as_str());
            self.inner.runtime.set_name_service(id, NameService::Direct { ipv6 })?;
        }
        self.names_changed(id);
        Ok(())
    }

    /// Starts the container's name server, or one for what it is on now.
    pub(super) async fn start_names(&self, id: &ContainerId, entry: &Entry, pid: u32) -> Result<()> {
        let endpoints = entry.record().endpoints.clone();
        if !endpoints.iter().any(Endpoint::has_server) {
            return Ok(());
        }
        // Docker's order: the swarm's networks before local ones
        let named = |swarm: bool| endpoints.iter().filter(move |one| one.has_names() && one.is_swarm() == swarm);
        let networks = named(true).chain(named(false)).map(|one| (one.network_id.clone(), one.network.clone()));
        let view = DnsView {
            networks: networks.collect(),
            upstream: self.inner.runtime.resolution(id, NameService::Embedded)?.upstream,
            forward: endpoints.iter().any(|one| one.place.as_ref().is_some_and(|place| !place.gateways.is_empty())),
        };
        self.dns().start(id.as_str(), pid, view).await.map_err(internal)
    }

    /// Makes names on a local network mean the containers that are on it now.
    pub(super) fn update_names(&self, network_id: &str, network: &str) {
        let mut entries = Vec::new();
        let all: Vec<_> = lock(&self.inner.entries).iter().map(|(id, entry)| (id.clone(), entry.clone())).collect();
        for (id, entry) in all {
            let record = entry.record().clone();
            let Some(endpoint) = record.endpoints.iter().find(|one| one.network_id == network_id) else { continue };
            let Ok(inspect) = self.inner.runtime.inspect(&id) else { continue };
            let attachment = record.attachments().into_iter().find(|one| one.network_id == network_id);
            entries.push(NameEntry {
                names: dns_names(&inspect.name, id.short(), inspect.config.hostname.as_deref(), attachment.as_ref()),
                addresses: endpoint.addresses(),
                reverse: Some(format!("{}.{network}", inspect.name)),
            });
        }
        self.dns().update(|names| names.set_network(network_id, entries));
    }

    /// Its names follow a container that is called otherwise now.
    pub(in super::super) fn names_changed(&self, id: &ContainerId) {
        let Ok(entry) = self.entry(id) else { return };
        let endpoints = entry.record().endpoints.clone();
        for endpoint in endpoints.iter().filter(|endpoint| endpoint.has_names() && !endpoint.is_swarm()) {
            self.update_names(&endpoint.network_id, &endpoint.network);
        }
    }
}

/// The names of a container on a network, in Docker's order: the first is the one that its addresses are called by.
pub(crate) fn dns_names(
    name: &str,
    short_id: &str,
    hostname: Option<&str>,
    attachment: Option<&Attachment>,
) -> Vec<String> {
    let aliases = attachment.iter().flat_map(|attachment| attachment.aliases.iter().map(String::as_str));
    let all = std::iter::once(name).chain(aliases).chain([short_id]).chain(hostname);
    let mut seen = BTreeSet::new();
    all.filter(|name| !name.is_empty() && seen.insert(*name)).map(str::to_owned).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_known_by_name_aliases_id_and_hostname_each_once() {
        let attachment = Attachment { aliases: vec!["db".into(), "web".into()], ..Attachment::default() };
        let names = dns_names("web", "0123456789ab", Some("host1"), Some(&attachment));
        assert_eq!(names, ["web", "db", "0123456789ab", "host1"]);
    }
}
