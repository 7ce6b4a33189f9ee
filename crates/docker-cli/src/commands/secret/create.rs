//! `docker secret create` and `docker config create`

use super::Noun;
use crate::command::{Arity, Command};
use crate::context::Context;
use crate::error::{CliError, Result};
use crate::flags::{Flag, Kind, Parsed, flag, short};
use crate::handler;
use crate::spec::json::{base64, key_values, set, text};
use futures_util::StreamExt;
use serde_json::json;

/// How much is read of a secret: twice what an engine takes, which then says that it is too large.
const SECRET_READ: usize = 2 * 500 * 1024;
/// The same for a config.
const CONFIG_READ: usize = 2 * 1000 * 1024;

pub(super) fn secret() -> Command {
    Command::new(
        "create",
        "[OPTIONS] SECRET [file|-]",
        "Make a secret of a file or of standard input",
        Arity::Between(1, 2),
        handler!(run),
    )
    .flags(vec![
        short('d', "driver", Kind::String, "Where the value comes from"),
        label("Label of the secret"),
        template_driver(),
    ])
}

pub(super) fn config() -> Command {
    Command::new(
        "create",
        "[OPTIONS] CONFIG file|-",
        "Make a config of a file or of standard input",
        Arity::Exactly(2),
        handler!(run),
    )
    .flags(vec![label("Label of the config"), template_driver()])
}

fn label(about: &'static str) -> Flag {
    short('l', "label", Kind::Label, about)
}

fn template_driver() -> Flag {
    flag("template-driver", Kind::String, "Fill templates in the content for each task (golang)")
}

async fn run(context: &Context, flags: Parsed) -> Result {
    let noun = Noun::of(context);
    let [name, file @ ..] = flags.args.as_slice() else {
        return Err(CliError::new("a name is required"));
    };
    let mut request = json!({ "Name": name, "Labels": key_values(flags.list("label")) });
    let driver = match noun {
        Noun::Secret => flags.string("driver"),
        Noun::Config => "",
    };
    match file.first().filter(|file| !file.is_empty()) {
        Some(_) if !driver.is_empty() => {
            return Err(CliError::new("When using secret driver secret data must be empty"));
        }
        None if !driver.is_empty() => set(&mut request, "Driver", json!({ "Name": driver })),
        None if noun == Noun::Secret => return Err(CliError::new("secret file is required")),
        file => {
            let file = file.map_or("", String::as_str);
            let content = content(context, noun, file).await.map_err(|error| match noun {
                Noun::Secret => CliError::new(error),
                Noun::Config => CliError::new(format!("Error reading content from {file:?}: {error}")),
            })?;
            set(&mut request, "Data", json!(base64(&content)));
        }
    }
    if !flags.string("template-driver").is_empty() {
        set(&mut request, "Templating", json!({ "Name": flags.string("template-driver") }));
    }
    let answer = context.client.post(&format!("{}/create", noun.path()), "", Some(request)).await?;
    context.line(text(&answer, "ID"));
    Ok(())
}

/// The content of a file, or of standard input for `-`.
async fn content(context: &Context, noun: Noun, file: &str) -> std::result::Result<Vec<u8>, String> {
    let limit = match noun {
        Noun::Secret => SECRET_READ,
        Noun::Config => CONFIG_READ,
    };
    let (path, name) = if file == "-" { (None, "STDIN") } else { (Some(file), file) };
    if file.is_empty() {
        return Err("config file is required".into());
    }
    let failed = |error: String| format!("error reading from {name}: {error}");
    let mut input = context.host().open_input(path).map_err(|error| {
        let doing = if error == "is a directory" { "read" } else { "open" };
        failed(format!("{doing} {file}: {error}"))
    })?;
    let mut out = Vec::new();
    while out.len() < limit
        && let Some(chunk) = input.next().await
    {
        out.extend_from_slice(&chunk.map_err(&failed)?);
    }
    out.truncate(limit);
    match out.is_empty() {
        true => Err(failed("data is empty".into())),
        false => Ok(out),
    }
}
