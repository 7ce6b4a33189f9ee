//! Checks of single values, with swarmkit's limits and words.

use serde::Serialize;
use swarm_types::*;

use super::error::invalid;
use super::{ControlError, ControlErrorKind};
use crate::task_template::TaskContext;

/// A spec with everything in it, encoded: what fits well into one raft message.
const MAX_SPEC_BYTES: usize = 1024 * 1024;

/// Names that become DNS names: services and networks.
pub(super) fn dns_name(name: &str) -> Result<(), ControlError> {
    if name.is_empty() {
        return Err(invalid("meta: name must be provided"));
    }
    let valid = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.ends_with(|c: char| c.is_ascii_alphanumeric());
    if !valid {
        return Err(invalid("name must be valid as a DNS name component"));
    }
    if name.len() > 63 {
        return Err(invalid("name must be 63 characters or fewer"));
    }
    Ok(())
}

/// Names of secrets and configs.
pub(super) fn file_name(name: &str) -> Result<(), ControlError> {
    if name.is_empty() {
        return Err(invalid("name must be provided"));
    }
    let valid = name.len() <= 64
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.ends_with(|c: char| c.is_ascii_alphanumeric());
    if valid {
        return Ok(());
    }
    Err(invalid(
        "invalid name, only 64 [a-zA-Z0-9-_.] characters allowed, and the start and end character must be [a-zA-Z0-9]",
    ))
}

/// Refuses what would be too large for the managers' log.
pub(super) fn size(what: &str, spec: &impl Serialize) -> Result<(), ControlError> {
    let bytes = rmp_serde::to_vec(spec)
        .map_err(|error| ControlError::new(ControlErrorKind::Internal, format!("{what}: {error}")))?
        .len();
    if bytes > MAX_SPEC_BYTES {
        return Err(invalid(format!("{what} is too large: {bytes} bytes, at most {MAX_SPEC_BYTES} are allowed")));
    }
    Ok(())
}

/// Whether a text is a valid image reference: `[registry[:port]/]path[:tag][@digest]`.
pub(super) fn is_image_reference(text: &str) -> bool {
    let (rest, digest) = text.split_once('@').map_or((text, None), |(rest, digest)| (rest, Some(digest)));
    if !digest.is_none_or(is_digest) {
        return false;
    }
    // A colon after the last slash begins the tag; before it, a port.
    let path_start = rest.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = match rest[path_start..].find(':') {
        Some(colon) => (&rest[..path_start + colon], Some(&rest[path_start + colon + 1..])),
        None => (rest, None),
    };
    if !tag.is_none_or(is_tag) || name.is_empty() || name.len() > 255 {
        return false;
    }
    // 64 hex digits alone would be taken for an image's id.
    if name.len() == 64 && name.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
        return false;
    }
    let path = match name.split_once('/') {
        Some((domain, path)) if domain.contains(['.', ':']) || domain == "localhost" || has_upper(domain) => {
            if !is_domain(domain) {
                return false;
            }
            path
        }
        _ => name,
    };
    path.split('/').all(is_path_component)
}

fn has_upper(text: &str) -> bool {
    text.bytes().any(|b| b.is_ascii_uppercase())
}

fn is_domain(text: &str) -> bool {
    let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.split('.').all(label) && port.is_none_or(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()))
}

/// Lower-case letters and digits with single separators `.`, `_`, `__` or any number of `-` between them.
fn is_path_component(text: &str) -> bool {
    let alnum = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let separators = |run: &str| matches!(run, "" | "." | "_" | "__") || run.bytes().all(|b| b == b'-');
    text.bytes().next().is_some_and(alnum)
        && text.bytes().last().is_some_and(alnum)
        && text.bytes().all(|b| alnum(b) || b"._-".contains(&b))
        && text.split(|c: char| c.is_ascii_alphanumeric()).all(separators)
}

fn is_tag(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    (1..=128).contains(&text.len())
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

fn is_digest(text: &str) -> bool {
    let Some((algorithm, hex)) = text.split_once(':') else { return false };
    let digits = match algorithm {
        "sha256" => 64,
        "sha384" => 96,
        "sha512" => 128,
        _ => return false,
    };
    hex.len() == digits && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Checks the templates of a container spec by filling them in for a task that the service could have.
pub(super) fn templates(service: &Annotations, container: &ContainerSpec) -> Result<(), ControlError> {
    let context = TaskContext::imagined(service);
    let told = |what: &str, why: String| invalid(format!("expanding {what}: {why}"));
    let check = |what: &str, text: &str| context.expand(text).map(drop).map_err(|why| told(what, why));
    for env in &container.env {
        let what = format!("env failed: expanding env {env:?}");
        context.expand_variable(env).map_err(|why| told(&what, why))?;
    }
    for mount in &container.mounts {
        for (part, text) in [("source", &mount.source), ("target", &mount.target)] {
            check(&format!("mounts failed: expanding mount {part} {text:?}"), text)?;
        }
    }
    check("hostname failed", &container.hostname)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn image_references_are_told_from_nonsense() {
        let digest = format!("nginx@sha256:{}", "a".repeat(64));
        for good in [
            "nginx",
            "nginx:1.27-alpine",
            "user/app",
            "localhost:5000/app",
            "registry.example.com/a/b__c/d-e--f:v1",
            "LOCAL/app",
            &digest,
        ] {
            assert!(is_image_reference(good), "{good}");
        }
        let id = "a".repeat(64);
        for bad in
            ["", "Nginx", "nginx:", ":tag", "a//b", "nginx:ta g", "-a", "a-", "a.-b", "a@sha256:12", "a:b:c", &id]
        {
            assert!(!is_image_reference(bad), "{bad}");
        }
    }
}
