//! `docker tag`

use crate::client::path;
use crate::command::{Arity, Command};
use crate::context::Context;
use crate::error::{CliError, Result};
use crate::flags::Parsed;
use crate::handler;
use docker_api::ImageReference;
use docker_api::query::{QueryParams, TagImage};

/// No flags.
pub fn command() -> Command {
    Command::new(
        "tag",
        "SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]",
        "Give an image another name",
        Arity::Exactly(2),
        handler!(run),
    )
    .also(&["docker image tag", "docker tag"])
}

async fn run(context: &Context, flags: Parsed) -> Result {
    let (source, target) = (&flags.args[0], &flags.args[1]);
    let parsed = target.parse::<ImageReference>();
    let parsed = parsed.map_err(|e| {
        CliError::new(format!("Error parsing reference: {target:?} is not a valid repository/tag: {e}"))
    })?;
    if parsed.digest.is_some() {
        return Err(CliError::new("refusing to create a tag with a digest reference"));
    }
    let parsed = parsed.with_default_tag();
    let query = TagImage { repo: parsed.familiar_name(), tag: parsed.tag.unwrap_or_default() };
    context.client.post(&path("/images", source, "/tag"), &query.to_query(), None).await?;
    Ok(())
}
