//! The pure part of the certificate authority: join tokens and the roles that they give.
//!
//! A token is `SWMTKN-1-<digest>-<secret>`: the digest pins the root certificate for the joiner, the secret proves to
//! the managers that the joiner was invited, and says to which role. Drawing secrets and signing certificates happen
//! at the edge, with a cryptographic source.

use swarm_types::{Cluster, NodeRole, SecretString};

/// Digits of the root's digest in a token: 256 bits in base 36.
pub const DIGEST_DIGITS: usize = 50;

/// Digits of a token's secret: 128 bits in base 36.
pub const SECRET_DIGITS: usize = 25;

/// A join token, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// The root certificate's digest, 50 base-36 digits.
    pub digest: String,
    /// The secret, 25 base-36 digits.
    pub secret: SecretString,
}

/// A text that is no join token. Does not repeat the text: it may be a token with one wrong character.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("invalid join token")]
pub struct InvalidToken;

impl JoinToken {
    /// Takes a token apart.
    pub fn parse(text: &str) -> Result<Self, InvalidToken> {
        let mut parts = text.trim().split('-');
        let (Some("SWMTKN"), Some("1"), Some(digest), Some(secret), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(InvalidToken);
        };
        if !base36(digest, DIGEST_DIGITS) || !base36(secret, SECRET_DIGITS) {
            return Err(InvalidToken);
        }
        Ok(Self { digest: digest.to_owned(), secret: SecretString(secret.to_owned()) })
    }
}

/// The token of this digest and secret.
pub fn format_token(digest: &str, secret: &SecretString) -> SecretString {
    SecretString(format!("SWMTKN-1-{digest}-{}", secret.0))
}

/// The digest part of the tokens of a root certificate: its SHA-256 as 50 base-36 digits.
pub fn token_digest(sha256: [u8; 32]) -> String {
    base36_digits(&sha256, DIGEST_DIGITS)
}

/// 16 random bytes as the secret part of a token.
pub fn token_secret(random: [u8; 16]) -> SecretString {
    SecretString(base36_digits(&random, SECRET_DIGITS))
}

/// A big-endian number in base 36, padded to `digits`.
fn base36_digits(bytes: &[u8], digits: usize) -> String {
    let mut number = bytes.to_vec();
    let mut text = vec![b'0'; digits];
    for digit in text.iter_mut().rev() {
        let mut rest = 0u32;
        for byte in &mut number {
            let value = (rest << 8) | u32::from(*byte);
            *byte = (value / 36) as u8;
            rest = value % 36;
        }
        *digit = b"0123456789abcdefghijklmnopqrstuvwxyz"[rest as usize];
    }
    text.into_iter().map(char::from).collect()
}

fn base36(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase())
}

/// The role that a token gives in this swarm, if it is one of its tokens. Takes the same time for any wrong token.
pub fn role_for_token(cluster: &Cluster, token: &str) -> Option<NodeRole> {
    let tokens = &cluster.root_ca.join_tokens;
    let worker = same(token, &tokens.worker.0);
    let manager = same(token, &tokens.manager.0);
    match (manager, worker) {
        (true, _) => Some(NodeRole::Manager),
        (_, true) => Some(NodeRole::Worker),
        _ => None,
    }
}

fn same(a: &str, b: &str) -> bool {
    !b.is_empty() && a.len() == b.len() && a.bytes().zip(b.bytes()).fold(0, |diff, (a, b)| diff | (a ^ b)) == 0
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_token_survives_its_text(digest: [u8; 32], secret: [u8; 16]) {
            let text = format_token(&token_digest(digest), &token_secret(secret));
            let token = JoinToken::parse(&text.0).unwrap();
            prop_assert_eq!(token.digest, token_digest(digest));
            prop_assert_eq!(token.secret, token_secret(secret));
        }

        #[test]
        fn no_text_makes_parsing_panic(text: String) {
            let _ = JoinToken::parse(&text);
        }
    }

    #[test]
    fn a_secret_is_the_same_number_as_an_id() {
        let bits = 0x0123_4567_89ab_cdef_0011_2233_4455_6677_u128;
        let id = swarm_types::TaskId::from_bits(bits);
        assert_eq!(token_secret(bits.to_be_bytes()).0, id.to_string());
    }

    #[test]
    fn a_tokens_debug_text_hides_its_secret() {
        let token = JoinToken { digest: "d".to_owned(), secret: SecretString("s3cr3t".to_owned()) };
        assert!(!format!("{token:?}").contains("s3cr3t"));
    }
}
