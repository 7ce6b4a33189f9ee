//! API versions: `1.24`, the `/v1.24/` path prefix, and the agreement between a client and an engine.
//!
//! Left out: which field belongs to which version. This project speaks the newest shape to everyone, as clients
//! ignore fields that they do not know.

use std::fmt;
use std::str::FromStr;

/// Version of the Engine API, ordered by age.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApiVersion {
    /// Always 1 so far.
    pub major: u16,
    /// Grows with each change of the API.
    pub minor: u16,
}

impl ApiVersion {
    /// Oldest version that Docker 28 engines accept.
    pub const MIN: Self = Self { major: 1, minor: 24 };
    /// Version of Docker 28.3 and later, the newest that Docker 28 speaks.
    pub const MAX: Self = Self { major: 1, minor: 51 };

    /// Takes a `/v1.43` prefix off a request path. A path without prefix is a request in the newest version.
    /// `/version` is a route, not a prefix, hence the look at the digits.
    pub fn split_path(path: &str) -> (Option<Self>, &str) {
        let Some(rest) = path.strip_prefix("/v") else {
            return (None, path);
        };
        let end = rest.find('/').unwrap_or(rest.len());
        let (version, rest) = rest.split_at(end);
        match version.parse() {
            Ok(version) => (Some(version), if rest.is_empty() { "/" } else { rest }),
            Err(_) => (None, path),
        }
    }

    /// What an engine does with the version that a request asks for.
    pub fn check_supported(self) -> Result<Self, VersionError> {
        if self < Self::MIN {
            Err(VersionError::TooOld { client: self })
        } else if self > Self::MAX {
            Err(VersionError::TooNew { client: self })
        } else {
            Ok(self)
        }
    }

    /// What a client uses after the engine announced `engine` in `/_ping`: the older of the two, and when the
    /// engine is so old that it announces nothing, 1.24.
    pub fn negotiate(engine: Option<Self>) -> Self {
        engine.unwrap_or(Self::MIN).min(Self::MAX)
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl FromStr for ApiVersion {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let invalid = || VersionError::Invalid(text.chars().take(32).collect());
        let (major, minor) = text.split_once('.').ok_or_else(invalid)?;
        let number = |part: &str| {
            if part.is_empty() || !part.bytes().all(|b| b.is_ascii_digit()) {
                return Err(invalid());
            }
            part.parse::<u16>().map_err(|_| invalid())
        };
        Ok(Self { major: number(major)?, minor: number(minor)? })
    }
}

/// Why a version cannot be used; the texts are those of genuine engines.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    /// Not of the form `1.43`.
    #[error("invalid API version: {0:?}: expected the form 1.43")]
    Invalid(String),
    /// Below [`ApiVersion::MIN`].
    #[error(
        "client version {client} is too old. Minimum supported API version is {}, please upgrade your client to a newer version",
        ApiVersion::MIN
    )]
    TooOld {
        /// The version asked for.
        client: ApiVersion,
    },
    /// Above [`ApiVersion::MAX`].
    #[error("client version {client} is too new. Maximum supported API version is {}", ApiVersion::MAX)]
    TooNew {
        /// The version asked for.
        client: ApiVersion,
    },
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_taken_off_and_the_version_route_is_left_alone() {
        let v = |minor| Some(ApiVersion { major: 1, minor });
        assert_eq!(ApiVersion::split_path("/v1.43/nodes"), (v(43), "/nodes"));
        assert_eq!(ApiVersion::split_path("/v1.43"), (v(43), "/"));
        assert_eq!(ApiVersion::split_path("/version"), (None, "/version"));
        assert_eq!(ApiVersion::split_path("/volumes"), (None, "/volumes"));
        assert_eq!(ApiVersion::split_path("/nodes"), (None, "/nodes"));
    }

    #[test]
    fn versions_order_by_number_not_by_text() {
        assert!("1.9".parse::<ApiVersion>().unwrap() < "1.24".parse().unwrap());
        for bad in ["", "1", "1.", ".1", "1.x", "1.2.3", "+1.2", "1.99999999"] {
            assert!(bad.parse::<ApiVersion>().is_err(), "{bad}");
        }
    }

    #[test]
    fn old_and_new_clients_are_told_the_bounds() {
        let error = |text: &str| text.parse::<ApiVersion>().unwrap().check_supported().unwrap_err().to_string();
        assert!(error("1.23").contains("Minimum supported API version is 1.24"));
        assert!(error("1.99").ends_with("Maximum supported API version is 1.51"));
    }

    #[test]
    fn the_older_side_decides() {
        assert_eq!(ApiVersion::negotiate("1.41".parse().ok()).to_string(), "1.41");
        assert_eq!(ApiVersion::negotiate("1.60".parse().ok()), ApiVersion::MAX);
        assert_eq!(ApiVersion::negotiate(None), ApiVersion::MIN);
    }
}
