//! Secrets and configs: named data that services refer to. Their values never change, and a secret's is never told.

use std::sync::Arc;

use swarm_types::*;

use super::error::{invalid, name_taken, out_of_sequence, rpc};
use super::{ControlError, ControlErrorKind, Decision, lookup, validate};
use crate::store::{Store, StoreAction};

const MAX_SECRET_BYTES: usize = 500 * 1024;
const MAX_CONFIG_BYTES: usize = 1000 * 1024;

/// A secret as it may be shown.
pub(super) fn without_value(secret: &Secret) -> Object {
    let spec = SecretSpec { data: SecretBytes::default(), ..secret.spec.clone() };
    Object::Secret(Arc::new(Secret { id: secret.id, meta: secret.meta, spec }))
}

pub(super) fn create_secret(ids: &mut IdSource, store: &Store, spec: &SecretSpec) -> Result<Decision, ControlError> {
    validate::file_name(&spec.annotations.name)?;
    validate::size("secret labels", &spec.annotations.labels)?;
    if let Some(driver) = &spec.driver {
        return Err(match driver.name.as_str() {
            "" => invalid("secret driver must have a name"),
            name => rpc(ControlErrorKind::Unimplemented, format!("secret driver {name} is not supported")),
        });
    }
    if spec.data.0.is_empty() || spec.data.0.len() >= MAX_SECRET_BYTES {
        return Err(invalid(format!("secret data must be larger than 0 and less than {MAX_SECRET_BYTES} bytes")));
    }
    if let Some(holder) = store.secrets().by_name(&spec.annotations.name) {
        return Err(name_taken(ObjectId::Secret(holder.id), &spec.annotations.name));
    }
    let secret = Secret { id: ids.id(), meta: Meta::default(), spec: spec.clone() };
    Ok(Decision::created(Object::Secret(Arc::new(secret))))
}

pub(super) fn create_config(ids: &mut IdSource, store: &Store, spec: &ConfigSpec) -> Result<Decision, ControlError> {
    validate::file_name(&spec.annotations.name)?;
    validate::size("config labels", &spec.annotations.labels)?;
    if spec.data.is_empty() || spec.data.len() >= MAX_CONFIG_BYTES {
        return Err(invalid(format!("config data must be larger than 0 and less than {MAX_CONFIG_BYTES} bytes")));
    }
    if let Some(holder) = store.configs().by_name(&spec.annotations.name) {
        return Err(name_taken(ObjectId::Config(holder.id), &spec.annotations.name));
    }
    let config = Config { id: ids.id(), meta: Meta::default(), spec: spec.clone() };
    Ok(Decision::created(Object::Config(Arc::new(config))))
}

pub(super) fn update_secret(
    store: &Store,
    text: &str,
    version: Version,
    spec: &SecretSpec,
) -> Result<Decision, ControlError> {
    let current = lookup::secret(store, text)?;
    // A client that read the secret sends it back without its value: that is no change.
    let same_value = spec.data.0.is_empty() || spec.data == current.spec.data;
    only_labels_differ(&spec.annotations, &current.spec.annotations, same_value)?;
    if current.meta.version != version {
        return Err(out_of_sequence());
    }
    let mut secret = Secret::clone(current);
    secret.spec.annotations.labels.clone_from(&spec.annotations.labels);
    Ok(Decision::done(vec![StoreAction::Update(Object::Secret(Arc::new(secret)))]))
}

pub(super) fn update_config(
    store: &Store,
    text: &str,
    version: Version,
    spec: &ConfigSpec,
) -> Result<Decision, ControlError> {
    let current = lookup::config(store, text)?;
    let same_value = spec.data.is_empty() || spec.data == current.spec.data;
    only_labels_differ(&spec.annotations, &current.spec.annotations, same_value)?;
    if current.meta.version != version {
        return Err(out_of_sequence());
    }
    let mut config = Config::clone(current);
    config.spec.annotations.labels.clone_from(&spec.annotations.labels);
    Ok(Decision::done(vec![StoreAction::Update(Object::Config(Arc::new(config)))]))
}

fn only_labels_differ(new: &Annotations, current: &Annotations, same_value: bool) -> Result<(), ControlError> {
    if new.name != current.name || !same_value {
        return Err(invalid("only updates to Labels are allowed"));
    }
    validate::size("labels", &new.labels)
}

pub(super) fn remove_secret(store: &Store, text: &str) -> Result<Decision, ControlError> {
    let secret = lookup::secret(store, text)?;
    let uses = |service: &Service| service.spec.task.container.secrets.iter().any(|r| r.secret_id == secret.id);
    unused(store, "secret", &secret.spec.annotations.name, uses)?;
    Ok(Decision::done(vec![StoreAction::Remove(ObjectId::Secret(secret.id))]))
}

pub(super) fn remove_config(store: &Store, text: &str) -> Result<Decision, ControlError> {
    let config = lookup::config(store, text)?;
    let uses = |service: &Service| service.spec.task.container.configs.iter().any(|r| r.config_id == config.id);
    unused(store, "config", &config.spec.annotations.name, uses)?;
    Ok(Decision::done(vec![StoreAction::Remove(ObjectId::Config(config.id))]))
}

fn unused(store: &Store, kind: &str, name: &str, uses: impl Fn(&Service) -> bool) -> Result<(), ControlError> {
    let users: Vec<&str> = store
        .services()
        .iter()
        .filter(|service| uses(service))
        .map(|service| service.spec.annotations.name.as_str())
        .collect();
    let services = match users.len() {
        0 => return Ok(()),
        1 => "service",
        _ => "services",
    };
    Err(invalid(format!("{kind} '{name}' is in use by the following {services}: {}", users.join(", "))))
}
