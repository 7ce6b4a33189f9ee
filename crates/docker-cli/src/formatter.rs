//! What commands print: rows and pages out of the engine's JSON. Pure: the current time is passed in.

pub mod container;
pub mod event;
pub mod image;
pub mod info;
pub mod inspect;
pub mod list;
pub mod network;
pub mod node;
pub mod secret;
pub mod service;
pub mod service_page;
pub mod stats;
pub mod tabwriter;
pub mod task;
pub mod units;
pub mod version;
pub mod volume;

use docker_api::time::UnixTime;
use serde_json::{Map, Value};

/// First letter large, the others small, as Docker shows states.
pub fn capitalize(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars.as_str().to_lowercase().chars()).collect(),
        None => String::new(),
    }
}

/// The first 12 characters of an id, without `sha256:`.
pub fn short_id(id: &str) -> String {
    let id = id.split_once(':').map_or(id, |(_, hex)| hex);
    id.chars().take(12).collect()
}

/// Cuts a text to a display width, with an ellipsis as its last character.
pub fn ellipsis(text: &str, width: usize) -> String {
    use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};
    if text.width() <= width {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = 0;
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used > width.saturating_sub(1) {
            break;
        }
        out.push(c);
    }
    out + "…"
}

/// An image as lists show it: familiar, and without a digest where there is a tag.
pub fn display_image(image: &str) -> String {
    match image.parse::<docker_api::ImageReference>() {
        Ok(reference) if reference.tag.is_some() => docker_api::ImageReference { digest: None, ..reference }.familiar(),
        _ => image.to_owned(),
    }
}

/// `key=value,...` of an object of texts.
pub fn labels(value: Option<&Value>, sorted: bool) -> String {
    let Some(Value::Object(map)) = value else {
        return String::new();
    };
    let mut pairs: Vec<String> = map.iter().map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or(""))).collect();
    if sorted {
        pairs.sort();
    }
    pairs.join(",")
}

/// Nanoseconds between a time of the engine and now; 0 when the time cannot be read. As in Go they are at most some 292
/// years, which is what the time "never" shows as.
pub fn age(time: &str, now: UnixTime) -> i128 {
    let age = UnixTime::parse_rfc3339(time).map_or(0, |then| now.as_nanos() - then.as_nanos());
    age.clamp(i64::MIN.into(), i64::MAX.into())
}

/// A time as Go prints one: `2024-05-01 10:00:00.123 +0000 UTC`.
pub fn go_time(time: UnixTime) -> String {
    let text = time.to_string();
    text.replace('T', " ").replace('Z', " +0000 UTC")
}

/// An address and a port as one text; an IPv6 address goes into brackets.
pub fn host_and_port(host: &str, port: &str) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Under this name a row holds the labels that the accessor `Label` looks into.
pub const LABEL_METHOD: &str = "\0Label";

/// One row of a list: accessors and their values.
pub fn row<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::Object(fields.into_iter().map(|(k, v)| (k.to_owned(), v)).collect::<Map<_, _>>())
}

/// Order of names with numbers in them: `web.2` before `web.10`.
pub fn natural_order(a: &str, b: &str) -> std::cmp::Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (da, db) = (digits(a), digits(b));
        if da > 0 && db > 0 {
            let (na, nb) = (a[..da].trim_start_matches('0'), b[..db].trim_start_matches('0'));
            let order = na.len().cmp(&nb.len()).then_with(|| na.cmp(nb)).then_with(|| da.cmp(&db));
            if order.is_ne() {
                return order;
            }
            (a, b) = (&a[da..], &b[db..]);
            continue;
        }
        match (a.chars().next(), b.chars().next()) {
            (Some(x), Some(y)) if x == y => (a, b) = (&a[x.len_utf8()..], &b[y.len_utf8()..]),
            (x, y) => return x.cmp(&y),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_numbers_order_by_number() {
        let mut names = vec!["web.10", "web.2", "db", "web.1", "web"];
        names.sort_by(|a, b| natural_order(a, b));
        assert_eq!(names, ["db", "web", "web.1", "web.2", "web.10"]);
    }

    #[test]
    fn texts_are_cut_by_display_width() {
        assert_eq!(ellipsis("abcdef", 4), "abc…");
        assert_eq!(ellipsis("abcd", 4), "abcd");
        assert_eq!(ellipsis("도커스웜", 5), "도커…");
        assert_eq!(short_id("sha256:0123456789abcdef"), "0123456789ab");
        assert_eq!(
            display_image("docker.io/library/nginx:1@sha256:".to_owned().as_str()),
            "docker.io/library/nginx:1@sha256:"
        );
        assert_eq!(capitalize("pREPARING"), "Preparing");
    }
}
