//! Image references as Docker reads them: `web` is `docker.io/library/web:latest`.
//! Leaves out what a reference points to: see [`crate::image`].

use std::fmt;

use crate::error::{Error, Result};

/// A parsed, normalised reference: registry, path, and a tag or a digest (or both).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// Registry host, `docker.io` by default.
    pub domain: String,
    /// Repository path, with `library/` in front for Docker's official ones.
    pub path: String,
    /// The tag; `None` only when a digest is given without one.
    pub tag: Option<String>,
    /// `sha256:<hex>`.
    pub digest: Option<String>,
}

impl Reference {
    /// Parses and normalises. Without tag and digest the tag is `latest`.
    pub fn parse(text: &str) -> Result<Reference> {
        let bad = || Error::invalid(format!("invalid reference format: {text:?}"));
        if text.is_empty() || text.len() > 1024 {
            return Err(bad());
        }
        if text.len() == 64 && is_hex(text) {
            return Err(Error::invalid(format!(
                "invalid repository name ({text}), cannot specify 64-byte hexadecimal strings"
            )));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                check_digest(digest).map_err(|_| bad())?;
                (rest, Some(digest.to_owned()))
            }
            None => (text, None),
        };
        // A colon after the last slash starts the tag; one before it belongs to the host's port.
        let slash = rest.rfind('/').map_or(0, |i| i + 1);
        let (name, tag) = match rest[slash..].find(':') {
            Some(i) => (&rest[..slash + i], Some(&rest[slash + i + 1..])),
            None => (rest, None),
        };
        if let Some(tag) = tag
            && !valid_tag(tag)
        {
            return Err(bad());
        }
        let (domain, path) = match name.split_once('/') {
            Some((first, path))
                if first.contains(['.', ':'])
                    || first == "localhost"
                    || first.bytes().any(|b| b.is_ascii_uppercase()) =>
            {
                (first, path.to_owned())
            }
            _ => ("docker.io", name.to_owned()),
        };
        let domain = if domain == "index.docker.io" { "docker.io" } else { domain };
        if !valid_domain(domain) {
            return Err(bad());
        }
        if path.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(Error::invalid(format!(
                "invalid reference format: repository name ({path}) must be lowercase"
            )));
        }
        if path.is_empty() || path.len() > 255 || !path.split('/').all(valid_component) {
            return Err(bad());
        }
        let path = if domain == "docker.io" && !path.contains('/') { format!("library/{path}") } else { path };
        let tag = match (tag, &digest) {
            (Some(t), _) => Some(t.to_owned()),
            (None, None) => Some("latest".to_owned()),
            (None, Some(_)) => None,
        };
        Ok(Reference { domain: domain.to_owned(), path, tag, digest })
    }

    /// The repository as Docker shows it: without `docker.io/` and `library/`.
    pub fn familiar_name(&self) -> String {
        if self.domain != "docker.io" {
            return format!("{}/{}", self.domain, self.path);
        }
        self.path.strip_prefix("library/").unwrap_or(&self.path).to_owned()
    }

    /// Name with tag and digest, as Docker shows it.
    pub fn familiar(&self) -> String {
        let mut s = self.familiar_name();
        if let Some(t) = &self.tag {
            s.push(':');
            s.push_str(t);
        }
        if let Some(d) = &self.digest {
            s.push('@');
            s.push_str(d);
        }
        s
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.domain, self.path)?;
        if let Some(t) = &self.tag {
            write!(f, ":{t}")?;
        }
        if let Some(d) = &self.digest {
            write!(f, "@{d}")?;
        }
        Ok(())
    }
}

/// The hexadecimal half of a `sha256:` digest.
pub(crate) fn check_digest(digest: &str) -> Result<&str> {
    match digest.strip_prefix("sha256:") {
        Some(hex) if hex.len() == 64 && is_hex(hex) => Ok(hex),
        _ => Err(Error::invalid(format!("invalid digest {digest:?}: expected sha256:<64 hexadecimal digits>"))),
    }
}

fn is_hex(s: &str) -> bool {
    s.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn valid_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    (1..=128).contains(&tag.len())
        && tag.bytes().enumerate().all(|(i, b)| word(b) || (i > 0 && matches!(b, b'.' | b'-')))
}

fn valid_domain(domain: &str) -> bool {
    let (host, port) = domain.split_once(':').map_or((domain, None), |(h, p)| (h, Some(p)));
    let label = |l: &str| {
        !l.is_empty()
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    host.split('.').all(label)
        && port.is_none_or(|p| !p.is_empty() && p.len() <= 5 && p.bytes().all(|b| b.is_ascii_digit()))
}

// Lower-case words joined by one dot, one or two underscores, or any number of hyphens.
fn valid_component(c: &str) -> bool {
    let b = c.as_bytes();
    let alnum = |x: &u8| x.is_ascii_lowercase() || x.is_ascii_digit();
    if !b.first().is_some_and(alnum) || !b.last().is_some_and(alnum) {
        return false;
    }
    b.split(alnum).all(|sep| matches!(sep, b"" | b"." | b"_" | b"__") || sep.iter().all(|x| *x == b'-'))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn names_are_normalised_as_docker_does() {
        for (given, full, familiar) in [
            ("web", "docker.io/library/web:latest", "web:latest"),
            ("swarmlab/web:1.0", "docker.io/swarmlab/web:1.0", "swarmlab/web:1.0"),
            ("localhost/x", "localhost/x:latest", "localhost/x:latest"),
            ("reg:5000/a/b:t", "reg:5000/a/b:t", "reg:5000/a/b:t"),
            ("index.docker.io/a", "docker.io/library/a:latest", "a:latest"),
            ("a__b/c--d.e", "docker.io/a__b/c--d.e:latest", "a__b/c--d.e:latest"),
        ] {
            let r = Reference::parse(given).unwrap();
            assert_eq!((r.to_string().as_str(), r.familiar().as_str()), (full, familiar), "{given}");
        }
        let digest = format!("web@sha256:{HEX}");
        assert_eq!(Reference::parse(&digest).unwrap().tag, None);
    }

    #[test]
    fn malformed_references_are_refused() {
        for bad in [
            "",
            "Web",
            "a:",
            "a:b:c",
            "a/",
            "/a",
            "a//b",
            "a..b",
            "a___b",
            "-a",
            "a@sha256:12",
            "a b",
            "a:.x",
            HEX,
            "re_g.io:5000/x",
            "reg.io:/x",
            "reg.io:123456/x",
        ] {
            assert!(Reference::parse(bad).is_err(), "{bad:?} was accepted");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_what_parses_reparses_to_itself(s in "[a-zA-Z0-9:/@._ -]{0,40}|\\PC{0,20}") {
            if let Ok(r) = Reference::parse(&s) {
                prop_assert_eq!(&Reference::parse(&r.to_string()).unwrap(), &r);
                prop_assert_eq!(&Reference::parse(&r.familiar()).unwrap(), &r);
            }
        }
    }
}
