//! The swarm's settings, tokens and unlock key.

use std::sync::Arc;
use std::time::Duration;

use swarm_types::*;

use super::error::{invalid, out_of_sequence, precondition};
use super::{ControlError, ControlErrorKind, ControlResponse, Decision, FreshSecrets, Rotate, validate};
use crate::ca;
use crate::store::{Store, StoreAction};

/// Certificates of less would be renewed all the time.
const MIN_CERT_EXPIRY: Duration = Duration::from_secs(3600);

/// How long the ids of removed nodes are remembered after their certificates ended (clocks may differ).
const REVOKED_GRACE: Duration = Duration::from_secs(7 * 24 * 3600);

/// The most that heartbeats and ticks may be set to: more is a slip of the unit.
const MAX_HEARTBEAT: Duration = Duration::from_secs(24 * 3600);

/// The swarm, without its keys. Join tokens are part of it: managers may show them.
pub(super) fn get(store: &Store) -> Result<Decision, ControlError> {
    let mut cluster = Cluster::clone(stored(store)?);
    cluster.root_ca.key = SecretString::default();
    cluster.network_keys.clear();
    cluster.unlock_key = None;
    Ok(Decision::object(Object::Cluster(Arc::new(cluster))))
}

pub(super) fn unlock_key(store: &Store) -> Result<Decision, ControlError> {
    let key = stored(store)?.unlock_key.as_ref().map(|key| key.key.clone()).unwrap_or_default();
    Ok(Decision::Answer(ControlResponse::UnlockKey(key)))
}

pub(super) fn update(
    now: Timestamp,
    store: &Store,
    version: Version,
    spec: &ClusterSpec,
    rotate: Rotate,
    fresh: Option<&FreshSecrets>,
) -> Result<Decision, ControlError> {
    let current = stored(store)?;
    check(spec, current)?;
    if current.meta.version != version {
        return Err(out_of_sequence());
    }
    let mut cluster = Cluster::clone(current);
    cluster.spec = spec.clone();
    forget_expired(&mut cluster, now);

    let fresh = || fresh.ok_or_else(|| ControlError::new(ControlErrorKind::Internal, "no fresh secrets to rotate to"));
    if rotate.worker_token {
        cluster.root_ca.join_tokens.worker = token(current, &fresh()?.worker_token)?;
    }
    if rotate.manager_token {
        cluster.root_ca.join_tokens.manager = token(current, &fresh()?.manager_token)?;
    }
    if !spec.auto_lock_managers {
        cluster.unlock_key = None;
    } else if cluster.unlock_key.is_none() || rotate.unlock_key {
        let lamport_time = current.unlock_key.as_ref().map_or(1, |key| key.lamport_time + 1);
        let key = fresh()?.unlock_key.clone();
        if key.0.len() != 32 {
            return Err(ControlError::new(ControlErrorKind::Internal, "an unlock key has 32 bytes"));
        }
        cluster.unlock_key = Some(EncryptionKey { subsystem: "unlock".to_owned(), key, lamport_time });
    }
    Ok(Decision::done(vec![StoreAction::Update(Object::Cluster(Arc::new(cluster)))]))
}

fn check(spec: &ClusterSpec, current: &Cluster) -> Result<(), ControlError> {
    if spec.node_cert_expiry < MIN_CERT_EXPIRY {
        return Err(invalid("minimum certificate expiry time is: 1h0m0s"));
    }
    if spec.heartbeat_period.is_zero() {
        return Err(invalid("heartbeat time period must be larger than zero"));
    }
    if spec.heartbeat_period > MAX_HEARTBEAT {
        return Err(invalid("heartbeat time period cannot be longer than 24h0m0s"));
    }
    if spec.annotations.name != current.spec.annotations.name {
        return Err(invalid("modification of cluster name is not allowed"));
    }
    if spec.raft.heartbeat_tick == 0 || spec.raft.election_tick <= spec.raft.heartbeat_tick {
        return Err(invalid(
            "invalid raft settings: the election tick must be greater than the heartbeat tick, and both \
                            greater than zero",
        ));
    }
    if spec.ca_force_rotate != current.spec.ca_force_rotate {
        return Err(super::error::rpc(
            ControlErrorKind::Unimplemented,
            "rotation of the root certificate is not supported yet",
        ));
    }
    validate::size("cluster spec", spec)
}

/// A token with a new secret; the digest is that of the root certificate, as in the token before.
fn token(cluster: &Cluster, secret: &SecretString) -> Result<SecretString, ControlError> {
    let broken = |why: &str| ControlError::new(ControlErrorKind::Internal, format!("cannot make a join token: {why}"));
    let digest = match sha256_of(&cluster.root_ca.digest) {
        Some(digest) => ca::token_digest(digest),
        None => {
            ca::JoinToken::parse(&cluster.root_ca.join_tokens.worker.0)
                .map_err(|_| broken("the digest of the swarm's root certificate is not known"))?
                .digest
        }
    };
    let token = ca::format_token(&digest, secret);
    ca::JoinToken::parse(&token.0).map_err(|_| broken("the fresh secret is not 25 digits of 0-9 and a-z"))?;
    Ok(token)
}

fn sha256_of(digest: &str) -> Option<[u8; 32]> {
    let hex = digest.strip_prefix("sha256:")?;
    if hex.len() != 64 || !hex.is_ascii() {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, place) in bytes.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(&hex[place..place + 2], 16).ok()?;
    }
    Some(bytes)
}

/// Forgets removed nodes whose certificates have ended long enough ago.
pub(super) fn forget_expired(cluster: &mut Cluster, now: Timestamp) {
    cluster.revoked_nodes.retain(|(_, until)| now <= until.plus(REVOKED_GRACE));
}

pub(super) fn stored(store: &Store) -> Result<&Arc<Cluster>, ControlError> {
    store.cluster().ok_or_else(|| precondition("this swarm has not been initialised"))
}
