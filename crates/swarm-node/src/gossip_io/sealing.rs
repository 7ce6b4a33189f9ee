//! Payloads, sealed: AES-256-GCM under keys that only the swarm's nodes have.
//!
//! A sealed payload is `version (1) | key id (8) | nonce (12) | ciphertext | tag (16)`; what stands before the ciphertext
//! is authenticated with it. Nonces are random, so that nodes which share a key need not agree on them: at 2^32 payloads
//! under one key two would be equal with a chance of 2^-33, and managers rotate keys every 12 hours. An old payload that
//! is played back opens, and is harmless since gossip takes only later versions.

use std::collections::BTreeMap;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf;
use ring::rand::{SecureRandom, SystemRandom};
use swarm_types::EncryptionKey;

/// What managers call the keys that gossip is sealed with.
const SUBSYSTEM: &str = "networking:gossip";
/// The format's version.
const VERSION: u8 = 1;
const KEY_ID: usize = 8;
const HEAD: usize = 1 + KEY_ID + NONCE_LEN;
/// How many bytes sealing adds.
pub(super) const OVERHEAD: usize = HEAD + 16;
/// The most keys that are kept; managers hand out three.
const MAX_KEYS: usize = 8;

/// How a payload travels. What was sealed for one way does not open on another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Way {
    Datagram = 0,
    Stream = 1,
}

type KeyId = [u8; KEY_ID];

/// The keys in use.
#[derive(Debug, Default)]
pub(super) struct Keyring {
    seals: Option<KeyId>,
    keys: BTreeMap<KeyId, LessSafeKey>,
}

struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// A name for the key that tells nothing of it, and the key proper: both are derived, so that a key may have any length
/// (managers draw 16 bytes, as swarmkit's do) and serves nothing else.
fn derive(secret: &[u8]) -> Option<(KeyId, LessSafeKey)> {
    let root = hkdf::Salt::new(hkdf::HKDF_SHA256, b"swarmlab gossip 1").extract(secret);
    let (mut id, mut key) = ([0; KEY_ID], [0; 32]);
    root.expand(&[b"id"], Length(KEY_ID)).ok()?.fill(&mut id).ok()?;
    root.expand(&[b"key"], Length(32)).ok()?.fill(&mut key).ok()?;
    Some((id, LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).ok()?)))
}

impl Keyring {
    /// All of the keys open. The second newest seals, or the only one: the newest is not used before every node has it,
    /// which is so at the next rotation (`swarm-manager/src/manager/keys.rs`, and swarmkit's agents).
    pub(super) fn new(keys: &[EncryptionKey]) -> Self {
        let mut gossip: Vec<&EncryptionKey> =
            keys.iter().filter(|key| key.subsystem == SUBSYSTEM && !key.key.0.is_empty()).collect();
        gossip.sort_by_key(|key| std::cmp::Reverse(key.lamport_time));
        gossip.truncate(MAX_KEYS);
        let derived: Vec<(KeyId, LessSafeKey)> = gossip.iter().filter_map(|key| derive(&key.key.0)).collect();
        let seals = derived.get(1).or(derived.first()).map(|(id, _)| *id);
        Self { seals, keys: derived.into_iter().collect() }
    }

    /// Whether anything can be sent.
    pub(super) fn can_seal(&self) -> bool {
        self.seals.is_some()
    }

    /// `None` without a key.
    pub(super) fn seal(&self, random: &SystemRandom, way: Way, payload: &[u8]) -> Option<Vec<u8>> {
        let id = self.seals?;
        let key = self.keys.get(&id)?;
        let mut nonce = [0; NONCE_LEN];
        random.fill(&mut nonce).ok()?;
        let mut sealed = Vec::with_capacity(payload.len() + OVERHEAD);
        sealed.push(VERSION);
        sealed.extend_from_slice(&id);
        sealed.extend_from_slice(&nonce);
        let aad = aad(way, &sealed);
        sealed.extend_from_slice(payload);
        let tag = key
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), sealed.get_mut(HEAD..)?)
            .ok()?;
        sealed.extend_from_slice(tag.as_ref());
        Some(sealed)
    }

    /// `None`: not sealed with a key of this ring, or damaged.
    pub(super) fn open(&self, way: Way, mut sealed: Vec<u8>) -> Option<Vec<u8>> {
        let (head, _) = sealed.split_at_checked(HEAD)?;
        let (&VERSION, rest) = head.split_first()? else { return None };
        let (id, nonce) = rest.split_at_checked(KEY_ID)?;
        let key = self.keys.get(id)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let aad = aad(way, head);
        let length = key.open_within(nonce, Aad::from(aad), &mut sealed, HEAD..).ok()?.len();
        sealed.truncate(length);
        Some(sealed)
    }
}

/// What is authenticated beside the payload.
fn aad(way: Way, head: &[u8]) -> Vec<u8> {
    [&[way as u8], head].concat()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;
    use swarm_types::SecretBytes;

    use super::*;

    fn key(byte: u8, lamport_time: u64) -> EncryptionKey {
        EncryptionKey { subsystem: SUBSYSTEM.into(), key: SecretBytes(vec![byte; 16]), lamport_time }
    }

    #[test]
    fn the_second_newest_key_seals_and_all_open() {
        let random = SystemRandom::new();
        let before = Keyring::new(&[key(1, 1), key(2, 3), key(3, 5)]);
        let after = Keyring::new(&[key(4, 7), key(2, 3), key(3, 5)]);
        let only = |byte| Keyring::new(&[key(byte, 9)]);
        for (ring, byte) in [(&before, 2), (&after, 3)] {
            let sealed = ring.seal(&random, Way::Datagram, b"hello").unwrap();
            assert_eq!(sealed.len(), 5 + OVERHEAD);
            assert_eq!(only(byte).open(Way::Datagram, sealed.clone()).unwrap(), b"hello");
            assert_eq!(before.open(Way::Datagram, sealed.clone()).unwrap(), b"hello");
            assert_eq!(after.open(Way::Datagram, sealed).unwrap(), b"hello");
        }
    }

    #[test]
    fn without_a_key_of_gossip_nothing_is_sealed() {
        let other = EncryptionKey { subsystem: "networking:ipsec".into(), ..key(1, 1) };
        for keys in [vec![], vec![other]] {
            assert!(Keyring::new(&keys).seal(&SystemRandom::new(), Way::Datagram, b"hello").is_none());
        }
    }

    #[test]
    fn what_travels_one_way_does_not_open_on_another() {
        let ring = Keyring::new(&[key(1, 1)]);
        let sealed = ring.seal(&SystemRandom::new(), Way::Stream, b"hello").unwrap();
        assert!(ring.open(Way::Datagram, sealed).is_none());
    }

    #[test]
    fn keys_do_not_show() {
        assert!(!format!("{:?}", Keyring::new(&[key(171, 1)])).contains("171"));
    }

    proptest! {
        #[test]
        fn any_damage_is_noticed(
            payload in proptest::collection::vec(any::<u8>(), 0..100),
            at in any::<proptest::sample::Index>(),
            by in 1..=255u8,
        ) {
            let ring = Keyring::new(&[key(1, 1)]);
            let mut sealed = ring.seal(&SystemRandom::new(), Way::Stream, &payload).unwrap();
            prop_assert_eq!(ring.open(Way::Stream, sealed.clone()).unwrap(), payload);
            let at = at.index(sealed.len());
            sealed[at] ^= by;
            prop_assert!(ring.open(Way::Stream, sealed.clone()).is_none());
            sealed.truncate(at);
            prop_assert!(ring.open(Way::Stream, sealed).is_none());
        }

        #[test]
        fn no_bytes_make_opening_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let ring = Keyring::new(&[key(1, 1)]);
            prop_assert!(ring.open(Way::Datagram, bytes).is_none());
        }
    }
}
