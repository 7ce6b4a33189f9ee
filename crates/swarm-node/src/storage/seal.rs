//! Sealing of records with ChaCha20-Poly1305: what is on disk is neither readable nor movable to another place
//! without the node's key.

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use swarm_types::SecretBytes;

/// Bytes that sealing adds.
pub(super) const OVERHEAD: usize = NONCE_LEN + 16;

/// A key that raft's files are sealed with.
pub struct SealKey {
    key: LessSafeKey,
    random: SystemRandom,
}

impl std::fmt::Debug for SealKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealKey")
    }
}

impl SealKey {
    /// The key of these 32 bytes; `None` for any other number.
    pub fn new(bytes: &SecretBytes) -> Option<Self> {
        let key = UnboundKey::new(&CHACHA20_POLY1305, &bytes.0).ok()?;
        Some(Self { key: LessSafeKey::new(key), random: SystemRandom::new() })
    }

    /// 32 new random bytes for a key.
    pub fn draw() -> std::io::Result<SecretBytes> {
        let mut bytes = vec![0; 32];
        let failed = |_| std::io::Error::other("the system gives no random numbers");
        SystemRandom::new().fill(&mut bytes).map_err(failed)?;
        Ok(SecretBytes(bytes))
    }

    /// Seals `content` for the place that `place` names, onto `out`. A fresh random nonce (96 bits) each time: with
    /// the at most 2^32 records of a node's life a repetition is as likely as 2^-33.
    pub(super) fn seal(&self, place: &[u8], content: &[u8], out: &mut Vec<u8>) -> std::io::Result<()> {
        let failed = |_| std::io::Error::other("sealing failed: no random numbers, or more than 256 GiB");
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).map_err(failed)?;
        out.extend_from_slice(&nonce);
        let start = out.len();
        out.extend_from_slice(content);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = self.key.seal_in_place_separate_tag(nonce, Aad::from(place), &mut out[start..]).map_err(failed)?;
        out.extend_from_slice(tag.as_ref());
        Ok(())
    }

    /// The content that was sealed for this place; `None`: another key, place or content.
    pub(super) fn open(&self, place: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, rest) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut bytes = rest.to_vec();
        let length = self.key.open_in_place(nonce, Aad::from(place), &mut bytes).ok()?.len();
        bytes.truncate(length);
        Some(bytes)
    }
}
