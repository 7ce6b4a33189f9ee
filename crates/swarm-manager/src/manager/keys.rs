//! The keys that nodes seal their networks' gossip and traffic with: drawn when a swarm is made, rotated from then on.
//!
//! Of each subsystem there are three: the newest is not used for sealing yet, so that every node has it before the first
//! one uses it; the middle one seals; the oldest still opens what slow nodes sent. A rotation adds one and drops the
//! oldest (swarmkit's key manager does the same, and its agents seal with the second newest). Drawing is the caller's
//! business: keys come from a cryptographic source, which this crate does not have.

use std::time::Duration;

use swarm_types::*;

use super::{Manager, Output};
use crate::consensus::ConsensusError;
use crate::store::StoreAction;

/// What the keys are for: `networking:gossip`, and `networking:ipsec` for encrypted overlays.
pub const KEY_SUBSYSTEMS: [&str; 2] = ["networking:gossip", "networking:ipsec"];

/// Length of a key: AES-128.
pub const KEY_BYTES: usize = 16;

/// Keys of one subsystem.
const RING: usize = 3;

/// So long after a leader began, and from then on each time.
pub const KEY_ROTATION: Duration = Duration::from_secs(12 * 3600);

/// The keys of a new swarm. `draw` gives bytes from a cryptographic source; `None` when that has none.
pub fn first_network_keys(mut draw: impl FnMut() -> Option<[u8; KEY_BYTES]>) -> Option<Vec<EncryptionKey>> {
    let mut keys = Vec::new();
    for _ in 0..RING {
        keys = rotated(&keys, &mut draw)?;
    }
    Some(keys)
}

fn rotated(keys: &[EncryptionKey], draw: &mut impl FnMut() -> Option<[u8; KEY_BYTES]>) -> Option<Vec<EncryptionKey>> {
    let newest = keys.iter().map(|key| key.lamport_time).max().unwrap_or(0);
    let mut rotated = Vec::new();
    for (subsystem, lamport_time) in KEY_SUBSYSTEMS.into_iter().zip(newest + 1..) {
        let mut ring: Vec<EncryptionKey> = keys.iter().filter(|key| key.subsystem == subsystem).cloned().collect();
        ring.sort_by_key(|key| key.lamport_time);
        let key = SecretBytes(draw()?.to_vec());
        ring.push(EncryptionKey { subsystem: subsystem.to_owned(), key, lamport_time });
        let surplus = ring.len().saturating_sub(RING);
        rotated.extend(ring.into_iter().skip(surplus));
    }
    Some(rotated)
}

impl Manager {
    /// The answer to [`Output::RotateNetworkKeys`]. `draw` gives bytes from a cryptographic source; while that has none
    /// the old keys stay.
    pub fn rotate_network_keys(
        &mut self,
        now: Timestamp,
        mut draw: impl FnMut() -> Option<[u8; KEY_BYTES]>,
    ) -> Result<(), ConsensusError> {
        if let Some(cluster) = self.store.cluster().filter(|_| self.leading.is_some()) {
            let keys = match cluster.network_keys.is_empty() {
                true => first_network_keys(draw),
                false => rotated(&cluster.network_keys, &mut draw),
            };
            let id = cluster.id;
            // One that is lost on the way is made up for by the next rotation.
            let action = keys.map(|keys| StoreAction::SetNetworkKeys { id, keys });
            if let Some(action) = action {
                self.propose(now, vec![action], false);
            }
        }
        self.run(now)
    }

    /// This manager begins to lead.
    pub(super) fn plan_key_rotation(&mut self, now: Timestamp) {
        let none = self.store.cluster().is_some_and(|cluster| cluster.network_keys.is_empty());
        self.keys_due = if none { now } else { now.plus(KEY_ROTATION) };
    }

    pub(super) fn ask_for_keys(&mut self, now: Timestamp) {
        if self.leading.is_some() && self.keys_due <= now {
            self.keys_due = now.plus(KEY_ROTATION);
            self.outputs.push_back(Output::RotateNetworkKeys);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_rotation_adds_a_key_and_drops_the_oldest_of_each_subsystem() {
        let mut next = 0u8;
        let mut draw = || {
            next += 1;
            Some([next; KEY_BYTES])
        };
        let first = first_network_keys(&mut draw).unwrap();
        let second = rotated(&first, &mut draw).unwrap();
        let of = |keys: &[EncryptionKey], subsystem: &str| -> Vec<(u64, u8)> {
            let ring = keys.iter().filter(|key| key.subsystem == subsystem);
            ring.map(|key| (key.lamport_time, key.key.0[0])).collect()
        };
        assert_eq!(of(&first, "networking:gossip"), [(1, 1), (3, 3), (5, 5)]);
        assert_eq!(of(&first, "networking:ipsec"), [(2, 2), (4, 4), (6, 6)]);
        assert_eq!(of(&second, "networking:gossip"), [(3, 3), (5, 5), (7, 7)]);
        assert_eq!(of(&second, "networking:ipsec"), [(4, 4), (6, 6), (8, 8)]);
    }
}
