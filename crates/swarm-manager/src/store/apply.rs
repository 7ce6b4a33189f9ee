//! Applying proposals: the only way that a store changes.

use std::sync::Arc;

use swarm_types::*;

use super::table::{Stored, Table};
use super::{Event, Proposal, Refused, Store, StoreAction};

/// What applying a proposal did.
#[derive(Debug, Clone, Default)]
pub struct Applied {
    /// The changes, in order.
    pub events: Vec<Event>,
    /// The actions that were refused, by their place in the proposal.
    pub refused: Vec<(usize, Refused)>,
}

impl Store {
    /// Applies the proposal that stands at `index` of the raft log. An atomic proposal with a refused action changes
    /// nothing but the store's version.
    pub fn apply(&mut self, index: u64, proposal: &Proposal) -> Applied {
        debug_assert!(index > self.version.0, "proposals are applied once and in order");
        let stamp = Meta { version: Version(index), created_at: proposal.now, updated_at: proposal.now };
        let mut applied = Applied::default();
        for (place, action) in proposal.actions.iter().enumerate() {
            match self.apply_action(stamp, action) {
                Ok(event) => applied.events.push(event),
                Err(refused) => {
                    applied.refused.push((place, refused));
                    if proposal.atomic {
                        self.undo(std::mem::take(&mut applied.events));
                        break;
                    }
                }
            }
        }
        self.version = Version(index);
        applied
    }

    fn undo(&mut self, events: Vec<Event>) {
        for event in events.into_iter().rev() {
            match event {
                Event::Created(object) => drop(self.take(object.id())),
                Event::Updated { old, .. } | Event::Removed(old) => drop(self.put(old)),
            }
        }
    }

    fn take(&mut self, id: ObjectId) -> Option<Object> {
        match id {
            ObjectId::Cluster(id) => self.clusters.take(id).map(Object::Cluster),
            ObjectId::Node(id) => self.nodes.take(id).map(Object::Node),
            ObjectId::Service(id) => self.services.take(id).map(Object::Service),
            ObjectId::Task(id) => {
                let old = self.tasks.take(id);
                self.index_task(old.as_deref(), None);
                old.map(Object::Task)
            }
            ObjectId::Network(id) => self.networks.take(id).map(Object::Network),
            ObjectId::Secret(id) => self.secrets.take(id).map(Object::Secret),
            ObjectId::Config(id) => self.configs.take(id).map(Object::Config),
        }
    }

    fn apply_action(&mut self, stamp: Meta, action: &StoreAction) -> Result<Event, Refused> {
        match action {
            StoreAction::Create(object) => {
                let object = match object {
                    Object::Cluster(o) => checked_new(&self.clusters, o, stamp)?,
                    Object::Node(o) => checked_new(&self.nodes, o, stamp)?,
                    Object::Service(o) => checked_new(&self.services, o, stamp)?,
                    Object::Task(o) => checked_new(&self.tasks, o, stamp)?,
                    Object::Network(o) => checked_new(&self.networks, o, stamp)?,
                    Object::Secret(o) => checked_new(&self.secrets, o, stamp)?,
                    Object::Config(o) => checked_new(&self.configs, o, stamp)?,
                };
                self.put(object.clone());
                Ok(Event::Created(object))
            }
            StoreAction::Update(object) => {
                let object = match object {
                    Object::Cluster(o) => checked_update(&self.clusters, o, stamp)?,
                    Object::Node(o) => checked_update(&self.nodes, o, stamp)?,
                    Object::Service(o) => checked_update(&self.services, o, stamp)?,
                    Object::Task(o) => checked_update(&self.tasks, o, stamp)?,
                    Object::Network(o) => checked_update(&self.networks, o, stamp)?,
                    Object::Secret(o) => checked_update(&self.secrets, o, stamp)?,
                    Object::Config(o) => checked_update(&self.configs, o, stamp)?,
                };
                self.replace(object)
            }
            StoreAction::Remove(id) => self.take(*id).map(Event::Removed).ok_or(Refused::NotFound(*id)),
            StoreAction::AssignTask { id, read, node, resources, status } => {
                let current = found(&self.tasks, *id)?;
                unchanged(current.as_ref(), *read)?;
                advances(current, status.state)?;
                self.edit_task(*id, stamp, |task| {
                    task.node_id = Some(*node);
                    task.assigned_resources.clone_from(resources);
                    task.status = status.clone();
                })
            }
            StoreAction::SetTaskStatus { id, status } => {
                advances(found(&self.tasks, *id)?, status.state)?;
                self.edit_task(*id, stamp, |task| task.status = status.clone())
            }
            StoreAction::SetDesiredState { id, desired } => {
                let current = found(&self.tasks, *id)?;
                if *desired < current.desired_state {
                    return Err(Refused::Backwards {
                        id: ObjectId::Task(*id),
                        from: current.desired_state.as_str().to_owned(),
                        to: desired.as_str().to_owned(),
                    });
                }
                self.edit_task(*id, stamp, |task| task.desired_state = *desired)
            }
            StoreAction::SetNodeStatus { id, status } => {
                let node = edited(&self.nodes, *id, stamp, |node| node.status = status.clone())?;
                self.replace(Object::Node(node))
            }
            StoreAction::SetNodeDescription { id, description } => {
                let node = edited(&self.nodes, *id, stamp, |node| node.description = Some(description.clone()))?;
                self.replace(Object::Node(node))
            }
            StoreAction::SetNodeAttachments { id, attachments } => {
                let node = edited(&self.nodes, *id, stamp, |node| node.attachments.clone_from(attachments))?;
                self.replace(Object::Node(node))
            }
            StoreAction::SetNetworkKeys { id, keys } => {
                let newest = |keys: &[EncryptionKey]| keys.iter().map(|key| key.lamport_time).max().unwrap_or(0);
                let (from, to) = (newest(&found(&self.clusters, *id)?.network_keys), newest(keys));
                if to <= from {
                    let (from, to) = (format!("key {from}"), format!("key {to}"));
                    return Err(Refused::Backwards { id: ObjectId::Cluster(*id), from, to });
                }
                let cluster = edited(&self.clusters, *id, stamp, |cluster| cluster.network_keys.clone_from(keys))?;
                self.replace(Object::Cluster(cluster))
            }
            StoreAction::SetServiceEndpoint { id, endpoint } => {
                let service = edited(&self.services, *id, stamp, |service| service.endpoint = Some(endpoint.clone()))?;
                self.replace(Object::Service(service))
            }
            StoreAction::SetUpdateStatus { id, spec_version, status } => {
                let current = found(&self.services, *id)?;
                if current.spec_version != *spec_version {
                    let (read, current) = (*spec_version, current.spec_version);
                    return Err(Refused::Stale { id: ObjectId::Service(*id), read, current });
                }
                let service =
                    edited(&self.services, *id, stamp, |service| service.update_status = Some(status.clone()))?;
                self.replace(Object::Service(service))
            }
        }
    }

    fn edit_task(&mut self, id: TaskId, stamp: Meta, edit: impl FnOnce(&mut Task)) -> Result<Event, Refused> {
        let task = edited(&self.tasks, id, stamp, edit)?;
        self.replace(Object::Task(task))
    }

    fn replace(&mut self, new: Object) -> Result<Event, Refused> {
        let old = self.put(new.clone()).ok_or(Refused::NotFound(new.id()))?;
        Ok(Event::Updated { old, new })
    }
}

fn found<T: Stored>(table: &Table<T>, id: Id<T::Kind>) -> Result<&Arc<T>, Refused> {
    table.get(id).ok_or_else(|| Refused::NotFound(T::wrap_id(id)))
}

fn unchanged<T: Stored>(current: &T, read: Version) -> Result<(), Refused> {
    let version = current.meta().version;
    if version == read { Ok(()) } else { Err(Refused::Stale { id: T::wrap_id(current.id()), read, current: version }) }
}

fn advances(current: &Task, to: TaskState) -> Result<(), Refused> {
    if to >= current.status.state {
        return Ok(());
    }
    let from = current.status.state.as_str().to_owned();
    Err(Refused::Backwards { id: ObjectId::Task(current.id), from, to: to.as_str().to_owned() })
}

fn name_free<T: Stored>(table: &Table<T>, object: &T) -> Result<(), Refused> {
    match table.name_holder(object) {
        None => Ok(()),
        Some(holder) => {
            let name = object.unique_name().unwrap_or_default().to_owned();
            Err(Refused::NameTaken { name, holder: T::wrap_id(holder) })
        }
    }
}

fn checked_new<T: Stored + Clone>(table: &Table<T>, object: &Arc<T>, stamp: Meta) -> Result<Object, Refused> {
    if table.get(object.id()).is_some() {
        return Err(Refused::IdTaken(T::wrap_id(object.id())));
    }
    name_free(table, object)?;
    let mut object = T::clone(object);
    *object.meta_mut() = stamp;
    Ok(T::wrap(Arc::new(object)))
}

fn checked_update<T: Stored + Clone>(table: &Table<T>, object: &Arc<T>, stamp: Meta) -> Result<Object, Refused> {
    let current = found(table, object.id())?;
    unchanged(current.as_ref(), object.meta().version)?;
    name_free(table, object)?;
    let mut object = T::clone(object);
    *object.meta_mut() = Meta { created_at: current.meta().created_at, ..stamp };
    Ok(T::wrap(Arc::new(object)))
}

fn edited<T: Stored + Clone>(
    table: &Table<T>,
    id: Id<T::Kind>,
    stamp: Meta,
    edit: impl FnOnce(&mut T),
) -> Result<Arc<T>, Refused> {
    let current = found(table, id)?;
    let mut object = T::clone(current);
    edit(&mut object);
    *object.meta_mut() = Meta { created_at: current.meta().created_at, ..stamp };
    Ok(Arc::new(object))
}
