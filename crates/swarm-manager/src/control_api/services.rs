//! Creating and updating services.

use std::sync::Arc;

use swarm_types::*;

use super::error::{name_taken, out_of_sequence, precondition, rpc};
use super::service_spec::{check, check_against_store, check_ports_free, with_network_ids};
use super::{ControlError, ControlErrorKind, Decision, lookup, networks};
use crate::store::{Store, StoreAction};

pub(super) fn create(
    now: Timestamp,
    ids: &mut IdSource,
    store: &Store,
    spec: &ServiceSpec,
) -> Result<Decision, ControlError> {
    check(spec)?;
    let spec = with_network_ids(store, spec)?;
    check_ports_free(store, &spec, None)?;
    needs_met(store, &spec)?;
    check_against_store(store, &spec)?;
    if let Some(holder) = store.services().by_name(&spec.annotations.name) {
        return Err(name_taken(ObjectId::Service(holder.id), &spec.annotations.name));
    }
    let job_status = spec.mode.is_job().then_some(JobStatus { iteration: Version(0), last_execution: now });
    Ok(Decision::created(Object::Service(Arc::new(Service {
        id: ids.id(),
        meta: Meta::default(),
        spec,
        // From 1: 0 is what a task has that was made from no spec.
        spec_version: Version(1),
        previous_spec: None,
        previous_spec_version: None,
        endpoint: None,
        update_status: None,
        job_status,
    }))))
}

/// A new spec, or the previous one again. Each change of the spec raises its version by one, a rollback too: tasks of
/// the rollback are then told from those of the first time.
pub(super) fn update(
    now: Timestamp,
    store: &Store,
    text: &str,
    version: Version,
    spec: &ServiceSpec,
    rollback: bool,
) -> Result<Decision, ControlError> {
    let current = lookup::service(store, text)?;
    let spec = if rollback {
        let previous = current.previous_spec.as_deref();
        previous
            .cloned()
            .ok_or_else(|| precondition(format!("service {} does not have a previous spec", current.id)))?
    } else {
        check(spec)?;
        with_network_ids(store, spec)?
    };
    if spec.endpoint != current.spec.endpoint {
        check_ports_free(store, &spec, Some(current.id))?;
    }
    check_against_store(store, &spec)?;
    if std::mem::discriminant(&current.spec.mode) != std::mem::discriminant(&spec.mode) {
        return Err(rpc(ControlErrorKind::Unimplemented, "service mode change is not allowed"));
    }
    if current.spec.annotations.name != spec.annotations.name {
        return Err(rpc(ControlErrorKind::Unimplemented, "renaming services is not supported"));
    }
    needs_met(store, &spec)?;
    if current.meta.version != version {
        return Err(out_of_sequence());
    }

    let mut service = Service::clone(current);
    if let Some(job) = &mut service.job_status {
        job.iteration = Version(job.iteration.0 + 1);
        job.last_execution = now;
    }
    if spec != current.spec {
        service.spec_version = Version(current.spec_version.0 + 1);
    }
    service.previous_spec = Some(Box::new(current.spec.clone()));
    service.previous_spec_version = Some(current.spec_version);
    service.spec = spec;
    service.update_status = rollback.then(|| UpdateStatus {
        state: UpdateState::RollbackStarted,
        started_at: Some(now),
        completed_at: None,
        message: "manually requested rollback".to_owned(),
    });
    Ok(Decision::done(vec![StoreAction::Update(Object::Service(Arc::new(service)))]))
}

fn needs_met(store: &Store, spec: &ServiceSpec) -> Result<(), ControlError> {
    if networks::needs_ingress(spec) && networks::ingress(store).is_none() {
        return Err(precondition("service needs ingress network, but no ingress network is present"));
    }
    Ok(())
}
