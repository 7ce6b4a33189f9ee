//! `docker inspect`, and the helper that all inspects share.

use crate::client::{Answer, ClientError, path};
use crate::command::{Arity, Command};
use crate::commands::inspect_format;
use crate::context::Context;
use crate::error::{CliError, Result};
use crate::flags::{Kind, Parsed, flag, short};
use crate::formatter::inspect::{parse, render};
use crate::handler;
use docker_api::query::{InspectContainer, InspectService};
use serde_json::Value;

/// `docker inspect`
pub fn command() -> Command {
    Command::new(
        "inspect",
        "[OPTIONS] NAME|ID [NAME|ID...]",
        "Show objects of any kind in full",
        Arity::AtLeast(1),
        handler!(run),
    )
    .flags(vec![
        inspect_format(),
        short('s', "size", Kind::Bool, "Add sizes of containers"),
        flag("type", Kind::String, "Look for objects of this kind only"),
    ])
}

/// Kinds in the order in which Docker looks for a name.
const KINDS: &[(&str, &str, &str)] = &[
    ("container", "/containers", "/json"),
    ("image", "/images", "/json"),
    ("network", "/networks", ""),
    ("volume", "/volumes", ""),
    ("service", "/services", ""),
    ("task", "/tasks", ""),
    ("node", "/nodes", ""),
    ("secret", "/secrets", ""),
    ("config", "/configs", ""),
    ("plugin", "/plugins", "/json"),
];

async fn run(context: &Context, flags: Parsed) -> Result {
    let kind = flags.string("type").to_owned();
    if flags.changed("type") && kind.is_empty() {
        return Err(CliError::new(
            "type is empty: must be one of \"config\", \"container\", \"image\", \"network\", \"node\", \"plugin\", \"secret\", \"service\", \"task\", \"volume\"",
        ));
    }
    if !kind.is_empty() && !KINDS.iter().any(|(name, _, _)| *name == kind) {
        return Err(CliError::new(format!(
            "unknown type: {kind:?}: must be one of \"config\", \"container\", \"image\", \"network\", \"node\", \"plugin\", \"secret\", \"service\", \"task\", \"volume\""
        )));
    }
    let size = flags.bool("size");
    each(context, flags.string("format"), &flags.args, None, async |name: &str| find(context, name, &kind, size).await)
        .await
}

async fn find(context: &Context, name: &str, only: &str, size: bool) -> Result<Value> {
    for (kind, prefix, suffix) in KINDS {
        if !only.is_empty() && only != *kind {
            continue;
        }
        let target = path(prefix, name, suffix);
        let client = &context.client;
        let found = match *kind {
            "container" => client.get_with(&target, &InspectContainer { size }).await,
            "service" => client.get_with(&target, &InspectService { insert_defaults: true }).await,
            _ => client.get(&target).await,
        };
        match found {
            Ok(object) => return Ok(object),
            Err(error) if only.is_empty() && skips(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(CliError::new(format!("Error: No such object: {name}")))
}

/// Is this the answer of an engine that has no such object, or no such kind of objects here?
fn skips(error: &ClientError) -> bool {
    match error {
        ClientError::Refused { status, message } => {
            matches!(status, 404 | 501 | 503)
                || *status == 400 && message.starts_with("invalid reference format")
                || message.contains("This node is not a swarm manager")
                || message.contains("not supported")
                || message.contains("plugin ")
        }
        _ => false,
    }
}

/// Inspects several objects: those found are printed, those not found are named at the end.
pub async fn each<'a, F>(
    context: &'a Context,
    format: &str,
    names: &'a [String],
    type_name: Option<&'static str>,
    get: F,
) -> Result
where
    F: AsyncFn(&'a str) -> Result<Value>,
{
    if !matches!(format, "" | "json") {
        parse(format).map_err(|e| CliError::with_code(64, e))?;
    }
    let (mut objects, mut errors) = (Vec::new(), Vec::new());
    for name in names {
        match get(name).await {
            Ok(object) => objects.push(object),
            Err(error) => errors.push(error.message),
        }
    }
    let (text, failures) = render(format, &objects, type_name);
    context.print(&text);
    errors.extend(failures);
    match errors.is_empty() {
        true => Ok(()),
        false => Err(CliError::new(errors.join("\n"))),
    }
}

/// The object at a path.
pub async fn object(context: &Context, prefix: &str, name: &str, suffix: &str) -> Result<Value> {
    let answer: Answer = context.client.get(&path(prefix, name, suffix)).await;
    Ok(answer?)
}
