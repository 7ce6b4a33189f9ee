//! One kind of object, by id and by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use swarm_types::*;

/// What the store needs to know of a kind of object.
pub trait Stored: Sized {
    /// The kind of its id.
    type Kind: 'static;

    /// Its id.
    fn id(&self) -> Id<Self::Kind>;
    /// Its metadata.
    fn meta(&self) -> &Meta;
    /// Its metadata, to be set by the store.
    fn meta_mut(&mut self) -> &mut Meta;
    /// The name that no other of its kind may have, if it has one.
    fn unique_name(&self) -> Option<&str>;
    /// As any object.
    fn wrap(this: Arc<Self>) -> Object;
    /// Its id as any object's.
    fn wrap_id(id: Id<Self::Kind>) -> ObjectId;
}

macro_rules! stored {
    ($($type:ident, $kind:ident, |$o:ident| $name:expr;)*) => {$(
        impl Stored for $type {
            type Kind = $kind;
            fn id(&self) -> Id<$kind> { self.id }
            fn meta(&self) -> &Meta { &self.meta }
            fn meta_mut(&mut self) -> &mut Meta { &mut self.meta }
            fn unique_name(&self) -> Option<&str> { let $o = self; $name }
            fn wrap(this: Arc<Self>) -> Object { Object::$type(this) }
            fn wrap_id(id: Id<$kind>) -> ObjectId { ObjectId::$type(id) }
        }
    )*};
}

stored! {
    Cluster, ClusterKind, |c| Some(&c.spec.annotations.name);
    Node, NodeKind, |_n| None;
    Service, ServiceKind, |s| Some(&s.spec.annotations.name);
    Task, TaskKind, |_t| None;
    Network, NetworkKind, |n| Some(&n.spec.annotations.name);
    Secret, SecretKind, |s| Some(&s.spec.annotations.name);
    Config, ConfigKind, |c| Some(&c.spec.annotations.name);
}

/// The objects of one kind.
#[derive(Debug, Clone)]
pub struct Table<T: Stored> {
    objects: BTreeMap<Id<T::Kind>, Arc<T>>,
    // Lower case: swarmkit's names differ by more than case.
    names: BTreeMap<String, Id<T::Kind>>,
}

impl<T: Stored> Default for Table<T> {
    fn default() -> Self {
        Self { objects: BTreeMap::new(), names: BTreeMap::new() }
    }
}

impl<T: Stored> Table<T> {
    /// The object of this id.
    pub fn get(&self, id: Id<T::Kind>) -> Option<&Arc<T>> {
        self.objects.get(&id)
    }

    /// The object of this name; case does not count.
    pub fn by_name(&self, name: &str) -> Option<&Arc<T>> {
        self.names.get(&name.to_lowercase()).and_then(|id| self.objects.get(id))
    }

    /// All objects in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<T>> {
        self.objects.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// Who else has this object's name.
    pub(super) fn name_holder(&self, object: &T) -> Option<Id<T::Kind>> {
        let name = object.unique_name().filter(|name| !name.is_empty())?;
        self.names.get(&name.to_lowercase()).copied().filter(|holder| *holder != object.id())
    }

    /// The names that are taken.
    #[cfg(test)]
    pub(super) fn names(&self) -> impl Iterator<Item = &String> {
        self.names.keys()
    }

    pub(super) fn put(&mut self, object: Arc<T>) -> Option<Arc<T>> {
        let (id, name) = (object.id(), object.unique_name().map(str::to_lowercase));
        let old = self.objects.insert(id, object);
        if let Some(old_name) = old.as_ref().and_then(|old| old.unique_name().map(str::to_lowercase)) {
            self.names.remove(&old_name);
        }
        if let Some(name) = name.filter(|name| !name.is_empty()) {
            self.names.insert(name, id);
        }
        old
    }

    pub(super) fn take(&mut self, id: Id<T::Kind>) -> Option<Arc<T>> {
        let old = self.objects.remove(&id)?;
        if let Some(name) = old.unique_name() {
            self.names.remove(&name.to_lowercase());
        }
        Some(old)
    }
}
