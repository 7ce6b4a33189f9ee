//! The swarm itself: its settings, and what `init`, `join`, `unlock` hand in.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use serde_json::{Value, json};
use swarm_types::{Cluster, ClusterSpec, NodeAvailability, NodeTlsInfo, SecretString};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::json::nanos;
use super::node::{read_availability, tls_info};
use super::{Fields, InvalidField, Result, Writer, annotations, driver, object, read_driver};
use crate::core::{InitOptions, JoinOptions};

/// `GET /swarm`
pub fn swarm(from: &Cluster) -> Value {
    cluster_info(from)
        .put(
            "JoinTokens",
            json!({"Worker": from.root_ca.join_tokens.worker.0, "Manager": from.root_ca.join_tokens.manager.0}),
        )
        .build()
}

/// The swarm without its join tokens, as `GET /info` shows it.
pub fn cluster_info(from: &Cluster) -> Writer {
    object(from.id, &from.meta)
        .put("Spec", cluster_spec(&from.spec))
        .put("TLSInfo", tls_info(&root_info(&from.root_ca.certificate)))
        .put("RootRotationInProgress", false)
        .put("DefaultAddrPool", json!(from.default_address_pool))
        .put("SubnetSize", from.subnet_size)
        .put("DataPathPort", from.data_path_port)
}

/// What a root certificate says of itself: subject and public key in DER.
fn root_info(pem: &str) -> NodeTlsInfo {
    let mut info = NodeTlsInfo { trust_root: pem.to_owned(), ..NodeTlsInfo::default() };
    if let Ok((_, pem)) = x509_parser::pem::parse_x509_pem(pem.as_bytes())
        && let Ok((_, certificate)) = X509Certificate::from_der(&pem.contents)
    {
        info.cert_issuer_subject = certificate.subject().as_raw().to_vec();
        info.cert_issuer_public_key = certificate.public_key().raw.to_vec();
    }
    info
}

fn cluster_spec(from: &ClusterSpec) -> Value {
    let raft = json!({
        "SnapshotInterval": from.raft.snapshot_interval,
        "KeepOldSnapshots": from.raft.keep_old_snapshots,
        "LogEntriesForSlowFollowers": from.raft.log_entries_for_slow_followers,
        "ElectionTick": from.raft.election_tick,
        "HeartbeatTick": from.raft.heartbeat_tick,
    });
    let ca = Writer::default()
        .duration("NodeCertExpiry", from.node_cert_expiry)
        .number("ForceRotate", i128::from(from.ca_force_rotate));
    annotations(Writer::default(), &from.annotations)
        .put("Orchestration", json!({"TaskHistoryRetentionLimit": from.task_history_retention_limit}))
        .put("Raft", raft)
        .put("Dispatcher", json!({"HeartbeatPeriod": nanos(from.heartbeat_period)}))
        .put("CAConfig", ca.build())
        .put("TaskDefaults", Writer::default().some("LogDriver", from.default_log_driver.as_ref().map(driver)).build())
        .put("EncryptionConfig", json!({"AutoLockManagers": from.auto_lock_managers}))
        .build()
}

/// Lays what a client sent over the present settings: what it left out, or set to zero, stays.
pub fn merge_cluster_spec(fields: &Fields<'_>, present: &ClusterSpec) -> Result<ClusterSpec> {
    let mut spec = present.clone();
    let name = fields.string("Name")?;
    if !name.is_empty() {
        spec.annotations.name = name;
    }
    let labels = fields.map("Labels")?;
    if !labels.is_empty() {
        spec.annotations.labels = labels;
    }
    if let Some(limit) =
        fields.object("Orchestration")?.map(|o| o.opt_int("TaskHistoryRetentionLimit")).transpose()?.flatten()
    {
        spec.task_history_retention_limit = limit;
    }
    if let Some(raft) = fields.object("Raft")? {
        let to = &mut spec.raft;
        set(&mut to.snapshot_interval, raft.int("SnapshotInterval")?);
        to.keep_old_snapshots = raft.opt_int("KeepOldSnapshots")?.unwrap_or(to.keep_old_snapshots);
        set(&mut to.log_entries_for_slow_followers, raft.int("LogEntriesForSlowFollowers")?);
        set(&mut to.election_tick, raft.int("ElectionTick")?);
        set(&mut to.heartbeat_tick, raft.int("HeartbeatTick")?);
    }
    if let Some(dispatcher) = fields.object("Dispatcher")? {
        set(&mut spec.heartbeat_period, dispatcher.duration("HeartbeatPeriod")?);
    }
    if let Some(ca) = fields.object("CAConfig")? {
        ca.refuse("ExternalCAs", ": the swarm's own authority signs")?;
        ca.refuse_all(&["SigningCACert", "SigningCAKey"])?;
        set(&mut spec.node_cert_expiry, ca.duration("NodeCertExpiry")?);
        spec.ca_force_rotate = ca.int("ForceRotate")?;
    }
    if let Some(log) = fields.object("TaskDefaults")?.map(|d| d.object("LogDriver")).transpose()?.flatten() {
        spec.default_log_driver = Some(read_driver(&log)?);
    }
    if let Some(encryption) = fields.object("EncryptionConfig")? {
        spec.auto_lock_managers = encryption.boolean("AutoLockManagers")?;
    }
    Ok(spec)
}

fn set<T: Default + PartialEq>(to: &mut T, value: T) {
    if value != T::default() {
        *to = value;
    }
}

/// The body of `POST /swarm/update`.
pub fn read_update(body: &Value, present: &ClusterSpec) -> Result<ClusterSpec> {
    merge_cluster_spec(&Fields::new(body, "Spec")?, present)
}

/// The body of `POST /swarm/init`.
pub fn read_init(body: &Value) -> Result<InitOptions> {
    let fields = Fields::new(body, "InitRequest")?;
    let mut spec = match fields.object("Spec")? {
        Some(spec) => merge_cluster_spec(&spec, &ClusterSpec::default())?,
        None => ClusterSpec::default(),
    };
    let auto_lock = fields.boolean("AutoLockManagers")? || spec.auto_lock_managers;
    spec.auto_lock_managers = auto_lock;
    Ok(InitOptions {
        advertise_addr: fields.string("AdvertiseAddr")?,
        listen_addr: listen_addr(&fields)?,
        force_new_cluster: fields.boolean("ForceNewCluster")?,
        spec,
        availability: opt_availability(&fields)?,
        default_addr_pool: fields.strings("DefaultAddrPool")?,
        subnet_size: fields.int("SubnetSize")?,
        data_path_port: fields.int("DataPathPort")?,
        data_path_addr: fields.string("DataPathAddr")?,
        auto_lock,
    })
}

/// The body of `POST /swarm/join`.
pub fn read_join(body: &Value) -> Result<JoinOptions> {
    let fields = Fields::new(body, "JoinRequest")?;
    let remote_addrs = fields.strings("RemoteAddrs")?;
    if remote_addrs.iter().all(String::is_empty) {
        return Err(InvalidField::Value("at least 1 RemoteAddr is required to join".into()));
    }
    Ok(JoinOptions {
        remote_addrs,
        token: SecretString(fields.string("JoinToken")?),
        advertise_addr: fields.string("AdvertiseAddr")?,
        listen_addr: listen_addr(&fields)?,
        data_path_addr: fields.string("DataPathAddr")?,
        availability: opt_availability(&fields)?,
    })
}

/// The body of `POST /swarm/unlock`.
pub fn read_unlock(body: &Value) -> Result<SecretString> {
    Ok(SecretString(Fields::new(body, "UnlockRequest")?.string("UnlockKey")?))
}

/// An unlock key as people see it.
pub fn unlock_key(key: &[u8]) -> String {
    if key.is_empty() { String::new() } else { format!("SWMKEY-1-{}", STANDARD_NO_PAD.encode(key)) }
}

fn listen_addr(fields: &Fields<'_>) -> Result<String> {
    fields.string("ListenAddr")
}

fn opt_availability(fields: &Fields<'_>) -> Result<NodeAvailability> {
    match fields.string("Availability")?.as_str() {
        "" => Ok(NodeAvailability::Active),
        text => read_availability(text),
    }
}
