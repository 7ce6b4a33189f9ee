//! Image references: what a person types (`nginx`), what it means (`docker.io/library/nginx:latest`), and the short
//! form that lists show.
//!
//! Left out: whether an image exists, and registries.

use std::fmt;
use std::str::FromStr;

const DEFAULT_DOMAIN: &str = "docker.io";
const OFFICIAL_PREFIX: &str = "library/";
const MAX_NAME: usize = 255;
const MAX_TAG: usize = 128;

/// A normalised reference: registry domain, path, and a tag, a digest, both or neither.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageReference {
    /// Registry, `docker.io` unless given.
    pub domain: String,
    /// Repository inside the registry, `library/...` for official images.
    pub path: String,
    /// Tag, without the colon.
    pub tag: Option<String>,
    /// Digest such as `sha256:...`, without the at sign.
    pub digest: Option<String>,
}

impl ImageReference {
    /// With the tag `latest` when there is neither tag nor digest.
    pub fn with_default_tag(mut self) -> Self {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some("latest".into());
        }
        self
    }

    /// The name without tag and digest as people write it: `nginx`, `user/app`, `registry:5000/app`.
    pub fn familiar_name(&self) -> String {
        match self.domain.as_str() {
            DEFAULT_DOMAIN => self.path.strip_prefix(OFFICIAL_PREFIX).unwrap_or(&self.path).to_owned(),
            domain => format!("{domain}/{}", self.path),
        }
    }

    /// The whole reference as people write it: `nginx:1.27`.
    pub fn familiar(&self) -> String {
        self.suffixed(self.familiar_name())
    }

    fn suffixed(&self, mut name: String) -> String {
        if let Some(tag) = &self.tag {
            name.push(':');
            name.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            name.push('@');
            name.push_str(digest);
        }
        name
    }
}

/// The full form, `docker.io/library/nginx:1.27`.
impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.suffixed(format!("{}/{}", self.domain, self.path)))
    }
}

impl FromStr for ImageReference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if text.len() == 64 && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            return Err(ReferenceError::IsId(text.into()));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(parse_digest(digest)?)),
            None => (text, None),
        };
        // A colon before the last slash belongs to the registry's port.
        let name_start = rest.rfind('/').map_or(0, |at| at + 1);
        let (name, tag) = match rest[name_start..].split_once(':') {
            Some((last, tag)) => (&rest[..name_start + last.len()], Some(parse_tag(tag)?)),
            None => (rest, None),
        };
        let (domain, path) = split_domain(name);
        check_path(&path)?;
        check_domain(&domain)?;
        if domain.len() + 1 + path.len() > MAX_NAME {
            return Err(ReferenceError::TooLong);
        }
        Ok(Self { domain, path, tag, digest })
    }
}

/// The part before the first slash is a registry when it looks like a host: a dot, a port, capitals, or `localhost`.
fn split_domain(name: &str) -> (String, String) {
    let (domain, path) = match name.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" || first.to_lowercase() != first => {
            let domain = if first == "index.docker.io" { DEFAULT_DOMAIN } else { first };
            (domain, rest)
        }
        _ => (DEFAULT_DOMAIN, name),
    };
    let path = match domain == DEFAULT_DOMAIN && !path.contains('/') {
        true => format!("{OFFICIAL_PREFIX}{path}"),
        false => path.to_owned(),
    };
    (domain.to_owned(), path)
}

fn check_domain(domain: &str) -> Result<(), ReferenceError> {
    let (host, port) = match domain.rsplit_once(':') {
        Some((host, port)) if !host.ends_with(':') && !port.ends_with(']') => (host, Some(port)),
        _ => (domain, None),
    };
    let port_ok = port.is_none_or(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()));
    let host_ok = match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        Some(v6) => !v6.is_empty() && v6.bytes().all(|b| b.is_ascii_hexdigit() || b == b':'),
        None => host.split('.').all(|part| {
            !part.is_empty()
                && !part.starts_with('-')
                && !part.ends_with('-')
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        }),
    };
    if port_ok && host_ok { Ok(()) } else { Err(ReferenceError::Format) }
}

fn check_path(path: &str) -> Result<(), ReferenceError> {
    if path.bytes().any(|b| b.is_ascii_uppercase()) {
        return Err(ReferenceError::Uppercase(path.chars().take(MAX_NAME).collect()));
    }
    if path.split('/').all(component_ok) { Ok(()) } else { Err(ReferenceError::Format) }
}

/// Letters and digits, parted by one dot, one or two underscores, or any number of dashes.
fn component_ok(component: &str) -> bool {
    let bytes = component.as_bytes();
    let is_word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    if !is_word(*first) || !is_word(*last) {
        return false;
    }
    component
        .split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        .all(|separator| matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|b| b == b'-'))
}

fn parse_tag(tag: &str) -> Result<String, ReferenceError> {
    let ok = !tag.is_empty()
        && tag.len() <= MAX_TAG
        && !tag.starts_with(['.', '-'])
        && tag.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    if ok { Ok(tag.to_owned()) } else { Err(ReferenceError::Format) }
}

fn parse_digest(digest: &str) -> Result<String, ReferenceError> {
    let Some((algorithm, hex)) = digest.split_once(':') else {
        return Err(ReferenceError::Format);
    };
    let expected = match algorithm {
        "sha256" => 64,
        "sha384" => 96,
        "sha512" => 128,
        _ => return Err(ReferenceError::Digest),
    };
    if hex.len() != expected || !hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
        return Err(ReferenceError::Format);
    }
    Ok(digest.to_owned())
}

/// Why a text is no image reference; the texts are Docker's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// None of the forms.
    #[error("invalid reference format")]
    Format,
    /// Capital letters in the repository.
    #[error("invalid reference format: repository name ({0}) must be lowercase")]
    Uppercase(String),
    /// An image id, which names no repository.
    #[error("invalid repository name ({0}), cannot specify 64-byte hexadecimal strings")]
    IsId(String),
    /// Name above 255 bytes.
    #[error("repository name must not be more than 255 characters")]
    TooLong,
    /// A digest of unknown kind.
    #[error("unsupported digest algorithm")]
    Digest,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<ImageReference, ReferenceError> {
        text.parse()
    }

    #[test]
    fn short_names_belong_to_the_default_registry() {
        for (text, full, familiar) in [
            ("nginx", "docker.io/library/nginx", "nginx"),
            ("nginx:1.27", "docker.io/library/nginx:1.27", "nginx:1.27"),
            ("user/app", "docker.io/user/app", "user/app"),
            ("localhost/app", "localhost/app", "localhost/app"),
            ("registry:5000/a/b:x", "registry:5000/a/b:x", "registry:5000/a/b:x"),
            ("index.docker.io/library/nginx", "docker.io/library/nginx", "nginx"),
        ] {
            let reference = parse(text).unwrap();
            assert_eq!(reference.to_string(), full);
            assert_eq!(reference.familiar(), familiar);
        }
        assert_eq!(parse("a").unwrap().with_default_tag().familiar(), "a:latest");
    }

    #[test]
    fn a_digest_may_follow_a_tag() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let reference = parse(&format!("nginx:1@{digest}")).unwrap().with_default_tag();
        assert_eq!((reference.tag.as_deref(), reference.digest.as_deref()), (Some("1"), Some(digest.as_str())));
    }

    #[test]
    fn malformed_references_are_named() {
        for bad in ["", ":x", "a:", "a//b", "-a", "a..b", "a:b:c", "a@sha256:12", "a b", "/a", "a/", "a___b"] {
            assert_eq!(parse(bad), Err(ReferenceError::Format), "{bad}");
        }
        let error = parse("UPPER").unwrap_err().to_string();
        assert_eq!(error, "invalid reference format: repository name (library/UPPER) must be lowercase");
        assert!(matches!(parse(&"a".repeat(64)), Err(ReferenceError::IsId(_))));
        assert_eq!(parse(&"z".repeat(300)), Err(ReferenceError::TooLong));
    }

    proptest! {
        #[test]
        fn what_parses_reads_back(text in "[a-zA-Z0-9./:@_-]{0,40}") {
            if let Ok(reference) = parse(&text) {
                prop_assert_eq!(parse(&reference.to_string()).unwrap(), reference.clone());
                prop_assert_eq!(parse(&reference.familiar()).unwrap(), reference);
            }
        }
    }
}
