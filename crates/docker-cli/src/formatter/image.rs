//! Images: the list, and the history of one.

use super::list::Kind;
use super::units::{human_duration, human_size};
use super::{ellipsis, go_time, row, short_id};
use crate::spec::json::{int, strings, text};
use docker_api::ImageReference;
use docker_api::time::UnixTime;
use serde_json::{Value, json};

const HEADERS: &[(&str, &str)] = &[
    ("ID", "IMAGE ID"),
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("Digest", "DIGEST"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("Size", "SIZE"),
    ("Containers", "CONTAINERS"),
    ("VirtualSize", "SIZE"),
    ("SharedSize", "SHARED SIZE"),
    ("UniqueSize", "UNIQUE SIZE"),
];

/// `docker images`
pub const LIST: Kind = Kind {
    headers: HEADERS,
    table: "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{if .CreatedSince }}{{.CreatedSince}}{{else}}N/A{{end}}\t{{.Size}}",
    type_name: "*formatter.imageContext",
    raw: None,
};

/// `docker images --digests`
pub const LIST_WITH_DIGESTS: Kind = Kind {
    table: "{{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{if .CreatedSince }}{{.CreatedSince}}{{else}}N/A{{end}}\t{{.Size}}",
    ..LIST
};

/// One row for each tag; `digests` adds rows for names that have digests only.
pub fn list_rows(image: &Value, now: UnixTime, trunc: bool, digests: bool) -> Vec<Value> {
    let parse = |key: &str| -> Vec<ImageReference> {
        strings(image, key).iter().filter_map(|reference| reference.parse().ok()).collect()
    };
    let (tagged, digested) = (parse("RepoTags"), parse("RepoDigests"));
    let none = || "<none>".to_owned();
    let mut names: Vec<(String, String, String)> = Vec::new();
    for reference in &tagged {
        let own: Vec<&ImageReference> =
            digested.iter().filter(|d| digests && d.familiar_name() == reference.familiar_name()).collect();
        let tag = reference.tag.clone().unwrap_or_else(none);
        if own.is_empty() {
            names.push((reference.familiar_name(), tag, none()));
        } else {
            names.extend(
                own.iter().map(|d| (reference.familiar_name(), tag.clone(), d.digest.clone().unwrap_or_else(none))),
            );
        }
    }
    for reference in &digested {
        if !tagged.iter().any(|t| t.familiar_name() == reference.familiar_name()) {
            let digest = if digests { reference.digest.clone().unwrap_or_else(none) } else { String::new() };
            names.push((reference.familiar_name(), none(), digest));
        }
    }
    if names.is_empty() {
        names.push((none(), none(), none()));
    }
    names.into_iter().map(|name| list_row(image, name, now, trunc)).collect()
}

fn list_row(image: &Value, (repository, tag, digest): (String, String, String), now: UnixTime, trunc: bool) -> Value {
    let id = text(image, "Id");
    let created = UnixTime::new(int(image, "Created"), 0);
    let (size, shared) = (int(image, "Size"), int(image, "SharedSize"));
    let count = |n: i64, words: String| if n == -1 { "N/A".to_owned() } else { words };
    row([
        ("ID", json!(if trunc { short_id(id) } else { id.to_owned() })),
        ("Repository", json!(repository)),
        ("Tag", json!(tag)),
        ("Digest", json!(digest)),
        ("CreatedSince", json!(format!("{} ago", human_duration(now.as_nanos() - created.as_nanos())))),
        ("CreatedAt", json!(go_time(created))),
        ("Size", json!(human_size(size as f64, 3))),
        ("Containers", json!(count(int(image, "Containers"), int(image, "Containers").to_string()))),
        ("VirtualSize", json!(human_size(size as f64, 4))),
        ("SharedSize", json!(count(shared, human_size(shared as f64, 4)))),
        ("UniqueSize", json!(count(shared, human_size((size - shared) as f64, 4)))),
    ])
}

/// `docker history`
pub const HISTORY: Kind = Kind {
    headers: &[
        ("ID", "IMAGE"),
        ("CreatedSince", "CREATED"),
        ("CreatedAt", "CREATED AT"),
        ("CreatedBy", "CREATED BY"),
        ("Size", "SIZE"),
        ("Comment", "COMMENT"),
    ],
    table: "{{.ID}}\t{{.CreatedSince}}\t{{.CreatedBy}}\t{{.Size}}\t{{.Comment}}",
    type_name: "*image.historyContext",
    raw: None,
};

/// One layer of an image's history.
pub fn history_row(layer: &Value, now: UnixTime, trunc: bool, human: bool) -> Value {
    /// 2000-01-01: images of reproducible builds carry times near 1970, which say nothing.
    const EPOCH: i64 = 946_684_800;
    let id = text(layer, "Id");
    let created = UnixTime::new(int(layer, "Created"), 0);
    let since = match (human, created.seconds <= EPOCH) {
        (false, _) => created.to_string(),
        (true, true) => "N/A".into(),
        (true, false) => format!("{} ago", human_duration(now.as_nanos() - created.as_nanos())),
    };
    let by = text(layer, "CreatedBy").replace('\t', " ");
    let size = int(layer, "Size");
    row([
        ("ID", json!(if trunc { short_id(id) } else { id.to_owned() })),
        ("CreatedSince", json!(since)),
        ("CreatedAt", json!(created.to_string())),
        ("CreatedBy", json!(if trunc { ellipsis(&by, 45) } else { by })),
        ("Size", json!(if human { human_size(size as f64, 3) } else { size.to_string() })),
        ("Comment", json!(text(layer, "Comment"))),
    ])
}
