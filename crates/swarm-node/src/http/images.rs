//! Images: list, inspect, load, tag, remove. There is no registry: a pull finds what is there, or says so.

use container_runtime::image::{ChannelReader, ImageInfo, Removed};
use docker_api::limits::MAX_IMAGE_ARCHIVE;
use docker_api::query::{CreateImage, ListImages, LoadImages, RemoveImage, TagImage};
use docker_api::time::UnixTime;
use http::StatusCode;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::call::Call;
use super::containers::familiar;
use super::reply::{self, ApiError, Result};

/// `GET /images/json`
pub(crate) fn list(call: &Call) -> Result {
    let query: ListImages = call.query()?;
    let filters = &query.filters;
    filters.validate(&["dangling", "label", "reference", "before", "since", "until"])?;
    for unsupported in ["until"] {
        if filters.contains(unsupported) {
            return Err(ApiError::bad_request(format!("filter {unsupported:?} is not supported by this engine")));
        }
    }
    let store = call.api.engine.runtime().images();
    let created = |key: &str| -> Result<Option<i64>> {
        filters.get(key).last().map(|name| Ok(created(&store.inspect(name)?))).transpose()
    };
    let (before, since) = (created("before")?, created("since")?);
    let dangling = filters.contains("dangling").then(|| filters.boolean("dangling", false)).transpose()?;
    let mut images = store.list();
    images.retain(|one| {
        let referenced =
            || filters.get("reference").any(|pattern| one.tags.iter().any(|tag| reference_matches(pattern, tag)));
        dangling.is_none_or(|wanted| wanted == one.tags.is_empty())
            && filters.matches_labels("label", |key| one.image.config.labels.get(key).map(String::as_str))
            && (!filters.contains("reference") || referenced())
            && before.is_none_or(|at| self::created(one) < at)
            && since.is_none_or(|at| self::created(one) > at)
    });
    for one in &mut images {
        // of an image with several names only those asked for
        one.tags.retain(|tag| {
            !filters.contains("reference") || filters.get("reference").any(|pattern| reference_matches(pattern, tag))
        });
    }
    Ok(reply::json(summaries(call, &images)))
}

fn reference_matches(pattern: &str, tag: &str) -> bool {
    let name = tag.rsplit_once(':').map_or(tag, |(name, _)| name);
    glob(pattern.as_bytes(), tag.as_bytes()) || glob(pattern.as_bytes(), name.as_bytes())
}

/// `*` and `?` do not cross a slash, as in Go's `path.Match`.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => {
            glob(rest, text) || text.split_first().is_some_and(|(c, more)| *c != b'/' && glob(pattern, more))
        }
        (Some((b'?', rest)), Some((c, more))) => *c != b'/' && glob(rest, more),
        (Some((p, rest)), Some((c, more))) => p == c && glob(rest, more),
        _ => false,
    }
}

fn created(one: &ImageInfo) -> i64 {
    UnixTime::parse_rfc3339(&one.image.config.created).map_or(0, |at| at.seconds)
}

/// The lines of `GET /images/json`.
pub(crate) fn summaries(call: &Call, images: &[ImageInfo]) -> Vec<Value> {
    let containers = call.api.engine.list();
    let mut lines: Vec<(i64, Value)> = images
        .iter()
        .map(|one| {
            let used = containers.iter().filter(|(inspect, ..)| inspect.image_id == one.image.id).count();
            let line = json!({
                "Id": one.image.id,
                "ParentId": "",
                "RepoTags": one.tags,
                "RepoDigests": one.digests,
                "Created": created(one),
                "Size": one.image.size(),
                "SharedSize": -1,
                "Labels": one.image.config.labels,
                "Containers": used,
            });
            (created(one), line)
        })
        .collect();
    lines.sort_by_key(|(created, _)| std::cmp::Reverse(*created));
    lines.into_iter().map(|(_, line)| line).collect()
}

/// `GET /images/{name}/json`
pub(crate) fn inspect(call: &Call, name: &str) -> Result {
    let one = find(call, name)?;
    let (image, config) = (&one.image, &one.image.config);
    // the image's own words, for the fields that the runtime has no use for
    let original: Value = serde_json::from_str(&image.config_json).unwrap_or_default();
    let own = original.get("config").cloned().unwrap_or_else(|| json!({}));
    Ok(reply::json(json!({
        "Id": image.id,
        "RepoTags": one.tags,
        "RepoDigests": one.digests,
        "Parent": "",
        "Comment": "",
        "Created": config.created,
        "DockerVersion": "",
        "Author": config.author,
        "Config": own,
        "Architecture": config.architecture,
        "Os": config.os,
        "Size": image.size(),
        "GraphDriver": {"Name": "overlay2", "Data": null},
        "RootFS": {"Type": "layers", "Layers": config.diff_ids},
        "Metadata": {"LastTagTime": UnixTime::new(image.loaded_at, 0).to_string()},
    })))
}

fn find(call: &Call, name: &str) -> Result<ImageInfo> {
    let found = call.api.engine.runtime().images().inspect(name);
    found.map_err(|error| match error.kind {
        container_runtime::Kind::NotFound => ApiError::not_found(format!("No such image: {}", familiar(name))),
        _ => error.into(),
    })
}

/// `GET /images/{name}/history`
pub(crate) fn history(call: &Call, name: &str) -> Result {
    let one = find(call, name)?;
    let mut lines: Vec<Value> = Vec::new();
    for (at, step) in call.api.engine.runtime().images().history(name)?.iter().enumerate() {
        let created = UnixTime::parse_rfc3339(&step.created).map_or(0, |at| at.seconds);
        lines.push(json!({
            "Id": if at == 0 { one.image.id.as_str() } else { "<missing>" },
            "Created": created,
            "CreatedBy": step.created_by,
            "Tags": if at == 0 { json!(one.tags) } else { Value::Null },
            "Size": step.size,
            "Comment": step.comment,
        }));
    }
    Ok(reply::json(lines))
}

/// `POST /images/load`: the archive goes to the runtime as it arrives.
pub(crate) async fn load(mut call: Call) -> Result {
    let LoadImages { quiet: _, platform } = call.query()?;
    if platform.iter().any(|one| !one.is_empty()) {
        return Err(ApiError::bad_request("choosing a platform on load is not supported by this engine"));
    }
    let Some(mut body) = call.body.take() else { return Err(ApiError::bad_request("no image archive was sent")) };
    let (send, pieces) = mpsc::channel(8);
    tokio::spawn(async move {
        let mut left = MAX_IMAGE_ARCHIVE;
        while let Some(frame) = body.frame().await {
            let piece = match frame {
                Ok(frame) => match frame.into_data() {
                    Ok(data) => data,
                    Err(_) => continue,
                },
                Err(error) => {
                    let _ = send.send(Err(std::io::Error::other(error))).await;
                    return;
                }
            };
            let size = piece.len() as u64;
            let piece = if size > left {
                Err(std::io::Error::other(format!("the archive is larger than {MAX_IMAGE_ARCHIVE} bytes")))
            } else {
                Ok(piece)
            };
            left = left.saturating_sub(size);
            if send.send(piece).await.is_err() {
                return;
            }
        }
    });
    let loaded = call.api.engine.runtime().load_images(ChannelReader::new(pieces)).await?;
    let mut lines = String::new();
    for image in loaded {
        if image.names.is_empty() {
            lines.push_str(&format!("{}\n", json!({"stream": format!("Loaded image ID: {}\n", image.id)})));
        }
        for name in image.names {
            lines.push_str(&format!("{}\n", json!({"stream": format!("Loaded image: {}\n", familiar(&name))})));
        }
    }
    Ok(reply::stream("application/json", futures_util::stream::once(std::future::ready(lines.into()))))
}

/// `POST /images/create`: what is here counts as pulled; there is nowhere to pull from.
pub(crate) fn pull(call: &Call) -> Result {
    let CreateImage { from_image, from_src, tag, .. } = call.query()?;
    if !from_src.is_empty() {
        return Err(ApiError::unsupported("importing images is not supported by this engine: use docker load"));
    }
    let name = match tag.as_str() {
        "" => from_image,
        tag if tag.contains(':') => format!("{from_image}@{tag}"),
        tag => format!("{from_image}:{tag}"),
    };
    let reference: docker_api::ImageReference = name.parse()?;
    let from_image = reference.familiar_name();
    let familiar = reference.with_default_tag().familiar();
    if call.api.engine.runtime().images().resolve(&familiar).is_err() {
        return Err(ApiError::not_found(format!(
            "pull access denied for {from_image}: this engine has no registry access, and {familiar} is not on this node. Load an archive with docker load, or use an image of docker images"
        )));
    }
    let line = format!("{}\n", json!({"status": format!("Status: Image is up to date for {familiar}")}));
    Ok(reply::stream("application/json", futures_util::stream::once(std::future::ready(line.into()))))
}

/// `POST /images/{name}/tag`
pub(crate) fn tag(call: &Call, name: &str) -> Result {
    let TagImage { repo, tag } = call.query()?;
    find(call, name)?;
    let target = if tag.is_empty() { repo } else { format!("{repo}:{tag}") };
    let reference: docker_api::ImageReference = target.parse()?;
    call.api.engine.runtime().tag_image(name, &reference.with_default_tag().familiar())?;
    Ok(reply::empty(StatusCode::CREATED))
}

/// `DELETE /images/{name}`
pub(crate) fn remove(call: &Call, name: &str) -> Result {
    let RemoveImage { force, noprune: _ } = call.query()?;
    find(call, name)?;
    let removed = call.api.engine.runtime().remove_image(name, force)?;
    let lines = removed.into_iter().map(|one| match one {
        Removed::Untagged(name) => json!({"Untagged": name}),
        Removed::Deleted(id) => json!({"Deleted": id}),
    });
    Ok(reply::json(lines.collect::<Vec<Value>>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_match_by_name_or_by_name_and_tag() {
        assert!(reference_matches("swarmlab/*", "swarmlab/web:1.0"));
        assert!(reference_matches("swarmlab/web:?.0", "swarmlab/web:1.0"));
        assert!(reference_matches("*", "web:1.0") && !reference_matches("*", "swarmlab/web:1.0"));
    }
}
