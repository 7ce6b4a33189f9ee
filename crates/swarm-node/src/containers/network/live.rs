//! `docker network connect` and `disconnect`, on running containers and on others, and what both and the making of a
//! container refuse. The messages and the order of the checks are Docker's (28.5).

use container_runtime::{ContainerId, Error, Kind, Result, Status};

use super::super::{Engine, Entry};
use super::attachment::{Attachment, Endpoint};
use super::define::{forbidden, invalid};
use super::internal;
use super::plug::{Found, Wanted, free_interface};
use super::registry::{LocalNetwork, PREDEFINED};

const SHARED: &str =
    "container sharing network namespace with another container or host cannot be connected to any other network";
const TO_HOST: &str = "cannot connect container to host network - container must be created in host network mode";
const FROM_HOST: &str = "cannot disconnect container from host network - container was created in host network mode";
const WITH_NONE: &str =
    "container cannot be connected to multiple networks with one of the networks in private (none) mode";

impl Engine {
    /// Connects a container to a network. `wanted.network`: its name, id or unique id prefix.
    pub async fn connect_network(&self, container: &str, wanted: Attachment) -> Result<()> {
        let id = self.resolve(container)?;
        let entry = self.entry(&id)?;
        let _busy = entry.busy.lock().await;
        let inspect = self.inner.runtime.inspect(&id)?;
        let record = entry.record().clone();
        let running = inspect.state.status == Status::Running;
        if running && record.network.starts_with("container:") {
            return Err(invalid(SHARED));
        }
        let local = self.find_network(&wanted.network)?;
        if let Some(local) = &local {
            self.check_join(&record.network, &record.attachments(), local)?;
        }
        let name = local.as_ref().map_or(wanted.network.clone(), |local| local.name.clone());
        check_endpoint(&name, local.as_ref(), &wanted)?;
        if !running {
            // one that is not known may come to be before the container's start, as with Docker
            let wanted = local.map_or(wanted.clone(), |local| Found::Local(local).named(&wanted));
            return self.note(&id, &entry, wanted);
        }
        let on = |one: &&Endpoint| {
            one.network == name || one.network_id == name || local.as_ref().is_some_and(|l| l.id == one.network_id)
        };
        if let Some(endpoint) = record.endpoints.iter().filter(|one| !one.is_added_gateway()).find(on) {
            return Err(forbidden(format!(
                "endpoint with name {} already exists in network {}",
                inspect.name, endpoint.network
            )));
        }
        let pid = inspect.state.pid.and_then(|pid| u32::try_from(pid).ok());
        let pid = pid.ok_or_else(|| internal("the container has no process"))?;
        let found = self.find_for(&id, &entry, &wanted).await?;
        self.join_one(&id, &entry, pid, (found.named(&wanted), found, String::new())).await
    }

    /// Keeps an attachment for the next start; one to a network that is there already stays as it is.
    fn note(&self, id: &ContainerId, entry: &Entry, wanted: Attachment) -> Result<()> {
        {
            let mut record = entry.record();
            let mut attachments = record.attachments();
            if !attachments.iter().any(|known| known.network == wanted.network) {
                attachments.push(wanted);
            }
            record.attachments = Some(attachments);
        }
        self.save(id, entry)
    }

    async fn join_one(&self, id: &ContainerId, entry: &Entry, pid: u32, mut new: Wanted) -> Result<()> {
        let before = entry.record().clone();
        let used: Vec<String> = before.endpoints.iter().map(|one| one.interface.clone()).collect();
        new.2 = free_interface(&used);
        let (wanted, network_id) = (new.0.clone(), new.1.id());
        let mut all = vec![new];
        if matches!(all[0].1, Found::Swarm(_)) {
            // the swarm's networks want the container's whole list
            for endpoint in before.endpoints.iter().filter(|one| one.is_swarm()) {
                let attachment = before.attachments().into_iter().find(|one| one.network_id == endpoint.network_id);
                let attachment = attachment.unwrap_or_else(|| Attachment::to(&endpoint.network_id));
                let found = self.find_for(id, entry, &attachment).await?;
                all.push((attachment, found, endpoint.interface.clone()));
            }
        }
        {
            let mut record = entry.record();
            let mut attachments = record.attachments();
            attachments.retain(|one| one.network != wanted.network);
            attachments.push(wanted);
            record.attachments = Some(attachments);
        }
        let joined = async {
            let mut endpoints = self.join_all(id, entry, pid, &all, self.is_serving(id)).await?;
            endpoints.retain(|new| !before.endpoints.iter().any(|old| old.network_id == new.network_id));
            entry.record().endpoints.extend(endpoints);
            self.lead_out(id, entry, pid).await?;
            self.write_names(id, entry, pid).await
        };
        if let Err(error) = joined.await {
            self.leave_one(id, entry, &network_id).await;
            let mut record = entry.record();
            (record.endpoints, record.attachments) = (before.endpoints, before.attachments);
            return Err(error);
        }
        self.save(id, entry)?;
        let endpoint = entry.record().endpoints.iter().find(|one| one.network_id == network_id).cloned();
        if let Some(endpoint) = endpoint {
            self.tell_endpoint(id, &endpoint, "connect");
        }
        Ok(())
    }

    async fn leave_one(&self, id: &ContainerId, entry: &Entry, network_id: &str) {
        self.leave_overlay(id, entry, network_id).await;
        let mut driver = self.inner.networks.driver.lock().await;
        if let Ok(driver) = &mut *driver
            && driver.lookup(network_id, id.as_str()).is_some()
            && let Err(error) = driver.detach(network_id, id.as_str()).await
        {
            tracing::warn!(container = %id, "taking its cable back: {error}");
        }
    }

    /// Takes a container from a network. `force`: also when the network is gone already.
    pub async fn disconnect_network(&self, container: &str, network: &str, force: bool) -> Result<()> {
        let id = self.resolve(container)?;
        let entry = self.entry(&id)?;
        let _busy = entry.busy.lock().await;
        let inspect = self.inner.runtime.inspect(&id)?;
        let local = self.find_network(network)?;
        let record = entry.record().clone();
        let name = local.as_ref().map_or(network, |local| &local.name);
        let is_meant = |name_of: &str, id_of: &str| {
            name_of == name
                || (!id_of.is_empty() && (id_of == network || local.as_ref().is_some_and(|l| l.id == id_of)))
        };
        let endpoint = record.endpoints.iter().filter(|one| !one.is_added_gateway());
        let endpoint = endpoint.into_iter().find(|one| is_meant(&one.network, &one.network_id)).cloned();
        if inspect.state.status != Status::Running || (local.is_none() && endpoint.is_none() && force) {
            let mut attachments = record.attachments();
            let before = attachments.len();
            attachments.retain(|one| !is_meant(&one.network, &one.network_id));
            if attachments.len() == before {
                return Err(internal(format!("container {id} is not connected to the network {name}")));
            }
            entry.record().attachments = Some(attachments);
            return self.save(&id, &entry);
        }
        if record.network == "host" && local.as_ref().is_some_and(|local| local.driver == "host") {
            return Err(invalid(FROM_HOST));
        }
        let Some(endpoint) = endpoint else {
            return Err(match local {
                Some(local) => internal(format!("container {id} is not connected to network {}", local.name)),
                None => Error::new(Kind::NotFound, format!("network {network} not found")),
            });
        };
        self.leave_one(&id, &entry, &endpoint.network_id).await;
        let orphaned = {
            let mut record = entry.record();
            record.endpoints.retain(|one| one.id != endpoint.id);
            let kept = record.attachments().into_iter().filter(|one| !is_meant(&one.network, &one.network_id));
            record.attachments = Some(kept.collect());
            // without overlays nobody needs the way out that was added for them
            let orphaned = !record.endpoints.iter().any(Endpoint::is_swarm);
            let had = record.endpoints.len();
            record.endpoints.retain(|one| !(orphaned && one.is_added_gateway()));
            record.endpoints.len() < had
        };
        if orphaned {
            self.inner.networks.gateway_detach(id.as_str()).await;
        }
        if let Some(pid) = inspect.state.pid.and_then(|pid| u32::try_from(pid).ok()) {
            self.lead_out(&id, &entry, pid).await?;
            self.write_names(&id, &entry, pid).await?;
        }
        if endpoint.has_names() && !endpoint.is_swarm() {
            self.update_names(&endpoint.network_id, &endpoint.network);
        }
        self.save(&id, &entry)?;
        self.tell_endpoint(&id, &endpoint, "disconnect");
        Ok(())
    }

    /// Which networks go together.
    fn check_join(&self, mode: &str, attachments: &[Attachment], new: &LocalNetwork) -> Result<()> {
        if mode != "host" && new.driver == "host" {
            return Err(invalid(TO_HOST));
        }
        for attachment in attachments {
            let Ok(Some(known)) = self.find_network(attachment.key()) else { continue };
            if known.id == new.id {
                continue;
            }
            if known.driver == "host" || new.driver == "host" {
                return Err(invalid(SHARED));
            }
            if known.driver == "null" || new.driver == "null" {
                return Err(invalid(WITH_NONE));
            }
        }
        Ok(())
    }

    /// Refuses what a new container wants of its networks, as far as they are known.
    pub(in super::super) fn check_attachments(&self, attachments: &[Attachment]) -> Result<()> {
        for attachment in attachments {
            let known = self.find_network(attachment.key())?;
            check_endpoint(&attachment.network, known.as_ref(), attachment).map_err(|error| {
                invalid(format!("invalid config for network {}: {}", attachment.network, error.message))
            })?;
        }
        Ok(())
    }
}

/// Wishes that the network cannot fulfil, all told at once.
fn check_endpoint(name: &str, network: Option<&LocalNetwork>, wanted: &Attachment) -> Result<()> {
    let mut errors = Vec::new();
    let (v4, v6) = (wanted.wish.ipv4, wanted.wish.ipv6);
    if PREDEFINED.contains(&name) || name == "default" {
        if v4.is_some() || v6.is_some() {
            errors.push("user specified IP address is supported on user defined networks only".to_owned());
        }
        if !wanted.aliases.is_empty() {
            errors.push("network-scoped alias is supported only for containers in user defined networks".to_owned());
        }
    }
    if let Some(network) = network {
        for ip in v4.map(std::net::IpAddr::V4).into_iter().chain(v6.map(std::net::IpAddr::V6)) {
            let mut subnets = network.configured.iter().filter(|subnet| subnet.is_ipv6() == ip.is_ipv6()).peekable();
            if subnets.peek().is_none() {
                errors.push(
                    "user specified IP address is supported only when connecting to networks with user configured subnets"
                        .to_owned(),
                );
            } else if !subnets.any(|subnet| subnet.contains(ip)) {
                errors.push(format!("no configured subnet or ip-range contain the IP address {ip}"));
            }
        }
    }
    match errors.is_empty() {
        true => Ok(()),
        false => Err(Error::new(Kind::InvalidArgument, format!("invalid endpoint settings:\n{}", errors.join("\n")))),
    }
}
