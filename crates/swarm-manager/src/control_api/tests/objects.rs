//! Secrets, configs and networks.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use swarm_types::*;

use super::fixture::{Leader, spec};
use crate::control_api::*;

fn secret(name: &str, data: &[u8]) -> ControlRequest {
    ControlRequest::CreateSecret(Box::new(SecretSpec {
        annotations: Annotations::named(name),
        data: SecretBytes(data.to_vec()),
        ..SecretSpec::default()
    }))
}

fn config(name: &str, data: &[u8]) -> ControlRequest {
    ControlRequest::CreateConfig(Box::new(ConfigSpec {
        annotations: Annotations::named(name),
        data: data.to_vec(),
        ..ConfigSpec::default()
    }))
}

/// A service that reads the secret and the config.
fn reader(leader: &Leader, name: &str) -> ServiceSpec {
    let target = FileTarget { name: "file".into(), ..FileTarget::default() };
    let mut spec = spec(name);
    let container = &mut Arc::make_mut(&mut spec.task).container;
    container.secrets = leader
        .store
        .secrets()
        .iter()
        .map(|secret| SecretReference {
            secret_id: secret.id,
            secret_name: secret.spec.annotations.name.clone(),
            target: target.clone(),
        })
        .collect();
    container.configs = leader
        .store
        .configs()
        .iter()
        .map(|config| ConfigReference {
            config_id: config.id,
            config_name: config.spec.annotations.name.clone(),
            target: Some(target.clone()),
        })
        .collect();
    spec
}

#[test]
fn a_secrets_value_is_never_told() {
    let mut leader = Leader::of(1, 0);
    leader.ask(&secret("s", b"value")).unwrap();
    let shown = [
        leader.ask(&ControlRequest::GetSecret("s".into())).unwrap(),
        leader.ask(&ControlRequest::ListSecrets(ObjectFilters::default())).unwrap(),
    ];
    for response in shown {
        let objects = match response {
            ControlResponse::Object(object) => vec![object],
            ControlResponse::Objects(objects) => objects,
            other => panic!("{other:?}"),
        };
        let [Object::Secret(secret)] = objects.as_slice() else { panic!("one secret") };
        assert!(secret.spec.data.0.is_empty());
    }
    leader.ask(&config("c", b"value")).unwrap();
    let Ok(ControlResponse::Object(Object::Config(config))) = leader.ask(&ControlRequest::GetConfig("c".into())) else {
        panic!("a config")
    };
    assert_eq!(config.spec.data, b"value");
}

#[test]
fn values_names_and_drivers_are_checked() {
    let mut leader = Leader::of(1, 0);
    let prefix = "rpc error: code = InvalidArgument desc = ";
    let size = "data must be larger than 0 and less than";
    assert_eq!(leader.refused(&secret("s", b"")), format!("{prefix}secret {size} 512000 bytes"));
    assert_eq!(leader.refused(&secret("s", &[0; 512_000])), format!("{prefix}secret {size} 512000 bytes"));
    assert_eq!(leader.refused(&config("c", &[0; 1_024_000])), format!("{prefix}config {size} 1024000 bytes"));
    leader.ask(&secret("s", &[0; 511_999])).unwrap();
    assert_eq!(leader.refused(&secret("", b"v")), format!("{prefix}name must be provided"));
    for name in ["-s", "s!", &"s".repeat(65)] {
        assert!(leader.refused(&secret(name, b"v")).contains("invalid name, only 64"), "{name}");
    }
    assert_eq!(leader.refused(&secret("s", b"v")), "rpc error: code = AlreadyExists desc = secret s already exists");
    leader.ask(&config("s", b"v")).unwrap();
    assert_eq!(leader.refused(&config("s", b"v")), "rpc error: code = AlreadyExists desc = config s already exists");
}

#[test]
fn what_a_service_reads_cannot_be_removed() {
    let mut leader = Leader::of(1, 0);
    leader.ask(&secret("s", b"v")).unwrap();
    leader.ask(&config("c", b"v")).unwrap();
    for name in ["web", "api"] {
        let spec = reader(&leader, name);
        leader.create(&spec);
        if name == "web" {
            assert_eq!(
                leader.refused(&ControlRequest::RemoveSecret("s".into())),
                "rpc error: code = InvalidArgument desc = secret 's' is in use by the following service: web"
            );
        }
    }
    let message = leader.refused(&ControlRequest::RemoveConfig("c".into()));
    assert!(message.contains("config 'c' is in use by the following services: "), "{message}");
    for name in ["web", "api"] {
        leader.ask(&ControlRequest::RemoveService(name.into())).unwrap();
    }
    leader.ask(&ControlRequest::RemoveSecret("s".into())).unwrap();
    leader.ask(&ControlRequest::RemoveConfig("c".into())).unwrap();
    assert_eq!(leader.refused(&ControlRequest::RemoveConfig("c".into())), "config c not found");
}

#[test]
fn references_must_lead_somewhere_and_not_to_the_same_place() {
    let mut leader = Leader::of(1, 0);
    leader.ask(&secret("s1", b"v")).unwrap();
    leader.ask(&secret("s2", b"v")).unwrap();
    let clash = reader(&leader, "web");
    let message = leader.refused(&ControlRequest::CreateService(Box::new(clash.clone())));
    assert!(message.contains("have a conflicting target: 'file'"), "{message}");
    leader.ask(&ControlRequest::RemoveSecret("s2".into())).unwrap();
    let gone = reader(&leader, "web");
    leader.ask(&ControlRequest::RemoveSecret("s1".into())).unwrap();
    assert_eq!(
        leader.refused(&ControlRequest::CreateService(Box::new(gone))),
        "rpc error: code = InvalidArgument desc = secret not found: s1"
    );
}

#[test]
fn only_labels_of_secrets_and_configs_change() {
    let mut leader = Leader::of(1, 0);
    leader.ask(&secret("s", b"v")).unwrap();
    let stored = leader.store.secrets().by_name("s").unwrap().clone();
    let update = |edit: &dyn Fn(&mut SecretSpec)| {
        let mut spec = SecretSpec { data: SecretBytes::default(), ..stored.spec.clone() };
        edit(&mut spec);
        ControlRequest::UpdateSecret { secret: "s".into(), version: stored.meta.version, spec: Box::new(spec) }
    };
    let refused = "rpc error: code = InvalidArgument desc = only updates to Labels are allowed";
    assert_eq!(leader.refused(&update(&|spec| spec.data = SecretBytes(b"other".to_vec()))), refused);
    assert_eq!(leader.refused(&update(&|spec| spec.annotations.name = "t".into())), refused);
    let label = update(&|spec| drop(spec.annotations.labels.insert("a".into(), "b".into())));
    leader.ask(&label).unwrap();
    let after = leader.store.secrets().by_name("s").unwrap().clone();
    assert_eq!((after.spec.data.0.as_slice(), after.spec.annotations.labels.len()), (&b"v"[..], 1));
    assert_eq!(leader.refused(&label), "rpc error: code = Unknown desc = update out of sequence");
}
