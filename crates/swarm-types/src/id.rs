//! Typed identifiers: 128 random bits that print as 25 base-36 digits, as swarmkit's do.
//!
//! Drawing the bits is the caller's business ([`IdSource`]), so that a simulation draws the same ones again.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How many digits an id prints as: `36^25 > 2^128`.
pub const ID_DIGITS: usize = 25;

/// An id of the kind of object `K`. Copyable, 16 bytes, ordered by value, which is also the order of its text.
pub struct Id<K> {
    bits: u128,
    kind: PhantomData<fn() -> K>,
}

/// Names what an [`Id`] identifies, for messages.
pub trait IdKind {
    /// The object's name in messages: `node`, `service`, `task`.
    const NAME: &'static str;
}

macro_rules! ids {
    ($($(#[$doc:meta])* $alias:ident, $kind:ident, $name:literal;)*) => {$(
        #[doc = concat!("Marks an [`Id`] as a ", $name, "'s.")]
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $kind {}
        impl IdKind for $kind { const NAME: &'static str = $name; }
        $(#[$doc])*
        pub type $alias = Id<$kind>;
    )*};
}

ids! {
    /// A node's id, also its certificate's common name.
    NodeId, NodeKind, "node";
    /// A service's id.
    ServiceId, ServiceKind, "service";
    /// A task's id.
    TaskId, TaskKind, "task";
    /// A swarm-scoped network's id.
    NetworkId, NetworkKind, "network";
    /// A secret's id.
    SecretId, SecretKind, "secret";
    /// A config's id.
    ConfigId, ConfigKind, "config";
    /// The swarm's own id, also its certificates' organisation.
    ClusterId, ClusterKind, "cluster";
    /// Names one dispatcher session of an agent.
    SessionId, SessionKind, "session";
}

impl<K> Id<K> {
    /// An id of exactly these bits.
    pub const fn from_bits(bits: u128) -> Self {
        Self { bits, kind: PhantomData }
    }

    /// The id's 128 bits.
    pub const fn bits(self) -> u128 {
        self.bits
    }
}

impl<K> Clone for Id<K> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K> Copy for Id<K> {}
impl<K> PartialEq for Id<K> {
    fn eq(&self, other: &Self) -> bool {
        self.bits == other.bits
    }
}
impl<K> Eq for Id<K> {}
impl<K> PartialOrd for Id<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<K> Ord for Id<K> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.bits.cmp(&other.bits)
    }
}
impl<K> Hash for Id<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bits.hash(state);
    }
}

impl<K> fmt::Display for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut digits = [b'0'; ID_DIGITS];
        let mut rest = self.bits;
        for digit in digits.iter_mut().rev() {
            *digit = b"0123456789abcdefghijklmnopqrstuvwxyz"[(rest % 36) as usize];
            rest /= 36;
        }
        f.pad(std::str::from_utf8(&digits).map_err(|_| fmt::Error)?)
    }
}

impl<K> fmt::Debug for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is no id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' is not a {kind} id: expected 25 digits of 0-9 and a-z")]
pub struct InvalidId {
    /// The text that was given, cut to 64 characters.
    pub text: String,
    /// What it should have identified.
    pub kind: &'static str,
}

impl<K: IdKind> FromStr for Id<K> {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = || InvalidId { text: text.chars().take(64).collect(), kind: K::NAME };
        if text.len() != ID_DIGITS {
            return Err(invalid());
        }
        let mut bits = 0u128;
        for byte in text.bytes() {
            let digit = match byte {
                b'0'..=b'9' => byte - b'0',
                b'a'..=b'z' => byte - b'a' + 10,
                _ => return Err(invalid()),
            };
            bits = bits.checked_mul(36).and_then(|b| b.checked_add(digit.into())).ok_or_else(invalid)?;
        }
        Ok(Self::from_bits(bits))
    }
}

impl<K> Serialize for Id<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, K: IdKind> Deserialize<'de> for Id<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Draws ids and other random choices: an input of the pure core.
///
/// A xoshiro-like generator (splitmix64) that is seeded from the system's entropy in a node and from the run's
/// seed in a simulation. Not for secrets: tokens and keys come from a cryptographic source at the edge.
#[derive(Debug, Clone)]
pub struct IdSource {
    state: u64,
}

impl IdSource {
    /// A source whose draws follow from `seed` alone.
    pub const fn from_seed(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        // splitmix64 (Steele, Lea, Flood 2014): one addition and a finaliser, full period.
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `0..bound`; 0 where `bound` is 0. The bias of the remainder is below 2^-32 for small bounds.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.next_u64() % bound }
    }

    /// A new id of any kind.
    pub fn id<K>(&mut self) -> Id<K> {
        Id::from_bits((u128::from(self.next_u64()) << 64) | u128::from(self.next_u64()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_id_survives_its_text(bits: u128) {
            let id = TaskId::from_bits(bits);
            prop_assert_eq!(id.to_string().len(), ID_DIGITS);
            prop_assert_eq!(id.to_string().parse::<TaskId>().unwrap(), id);
        }

        #[test]
        fn no_text_makes_parsing_panic(text: String) {
            let _ = text.parse::<NodeId>();
        }
    }

    #[test]
    fn a_value_above_128_bits_is_refused() {
        assert!("zzzzzzzzzzzzzzzzzzzzzzzzz".parse::<NodeId>().is_err());
    }
}
