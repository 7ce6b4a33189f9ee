//! Finds the object that a user named: by full id, else by exact name, else by the beginning of its id.

use std::sync::Arc;

use swarm_types::*;

use super::{ControlError, ControlErrorKind};
use crate::store::{Store, Stored, Table};

/// A network by id, name or id prefix.
pub(super) fn network<'a>(store: &'a Store, text: &str) -> Result<&'a Arc<Network>, ControlError> {
    by_name_or_id(store.networks(), text)
}

/// A service by id, name or id prefix.
pub(super) fn service<'a>(store: &'a Store, text: &str) -> Result<&'a Arc<Service>, ControlError> {
    by_name_or_id(store.services(), text)
}

/// A secret by id, name or id prefix.
pub(super) fn secret<'a>(store: &'a Store, text: &str) -> Result<&'a Arc<Secret>, ControlError> {
    by_name_or_id(store.secrets(), text)
}

/// A config by id, name or id prefix.
pub(super) fn config<'a>(store: &'a Store, text: &str) -> Result<&'a Arc<Config>, ControlError> {
    by_name_or_id(store.configs(), text)
}

/// A node by id, host name or id prefix. Several nodes may have the same host name.
pub(super) fn node<'a>(store: &'a Store, text: &str) -> Result<&'a Arc<Node>, ControlError> {
    let hostname = |node: &&Arc<Node>| node.description.as_ref().is_some_and(|d| d.hostname == text);
    by_id(store.nodes(), text).map_or_else(|| one(text, store.nodes(), |node| hostname(&node)), Ok)
}

/// A task by id, name or id prefix.
pub(super) fn task<'a>(store: &'a Store, text: &str) -> Result<&'a Arc<Task>, ControlError> {
    by_id(store.tasks(), text).map_or_else(|| one(text, store.tasks(), |task| task.name() == text), Ok)
}

fn by_name_or_id<'a, T>(table: &'a Table<T>, text: &str) -> Result<&'a Arc<T>, ControlError>
where
    T: Stored,
    T::Kind: IdKind,
{
    let named = by_id(table, text).or_else(|| table.by_name(text));
    named.map_or_else(|| one(text, table, |_| false), Ok)
}

fn by_id<'a, T>(table: &'a Table<T>, text: &str) -> Option<&'a Arc<T>>
where
    T: Stored,
    T::Kind: IdKind,
{
    text.parse::<Id<T::Kind>>().ok().and_then(|id| table.get(id))
}

/// The one object whose name matches, or whose id begins with the text.
fn one<'a, T>(text: &str, table: &'a Table<T>, named: impl Fn(&'a Arc<T>) -> bool) -> Result<&'a Arc<T>, ControlError>
where
    T: Stored,
    T::Kind: IdKind,
{
    let kind = T::Kind::NAME;
    let shown: String = text.chars().take(256).collect();
    if text.is_empty() {
        return Err(super::error::invalid("invalid argument"));
    }
    let mut found: Vec<&Arc<T>> = table.iter().filter(|object| named(object)).collect();
    if found.is_empty() && text.len() <= ID_DIGITS {
        found = table.iter().filter(|object| object.id().to_string().starts_with(text)).collect();
    }
    match found.as_slice() {
        [object] => Ok(object),
        [] => Err(ControlError::new(ControlErrorKind::NotFound, format!("{kind} {shown} not found"))),
        many => Err(ControlError::new(
            ControlErrorKind::InvalidArgument,
            format!("{kind} {shown} is ambiguous ({} matches found)", many.len()),
        )),
    }
}
