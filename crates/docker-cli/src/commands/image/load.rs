//! `docker load`

use crate::client::{Body, JsonLines};
use crate::command::{Arity, Command};
use crate::context::Context;
use crate::error::{CliError, Result};
use crate::flags::{Kind, Parsed, flag, short};
use crate::handler;
use crate::spec::json::{at, text};
use docker_api::query::{LoadImages, QueryParams};

/// Its flags.
pub fn command() -> Command {
    Command::new("load", "[OPTIONS]", "Read images from an archive", Arity::None, handler!(run))
        .flags(vec![
            short('i', "input", Kind::String, "File to read rather than standard input"),
            flag("platform", Kind::String, "Only this platform (not supported by this program)"),
            short('q', "quiet", Kind::Bool, "No progress"),
        ])
        .also(&["docker image load", "docker load"])
}

async fn run(context: &Context, flags: Parsed) -> Result {
    if flags.changed("platform") {
        return Err(CliError::new("--platform: not supported by this version of swarmlab"));
    }
    let input = flags.string("input");
    if input.is_empty() && context.host().stdin_is_terminal() {
        return Err(CliError::new("requested load from stdin, but stdin is empty"));
    }
    let archive = match input {
        "" => context.host().open_input(None).map_err(CliError::new)?,
        file => context.host().open_input(Some(file)).map_err(|e| CliError::new(format!("open {file}: {e}")))?,
    };
    // Progress is for people: without a terminal Docker asks for none either.
    let query = LoadImages { quiet: flags.bool("quiet") || !context.host().stdout_is_terminal(), ..Default::default() };
    let body = Body::Stream("application/x-tar", archive);
    let response = context.client.send("POST", "/images/load", &query.to_query(), body).await?;
    let is_json = response.header("content-type").is_some_and(|kind| kind.starts_with("application/json"));
    if !is_json {
        let bytes = response.bytes().await?;
        context.host().out(&bytes);
        return Ok(());
    }
    let mut lines = JsonLines::new(response);
    while let Some(line) = lines.read().await? {
        if let Some(detail) = at(&line, "errorDetail") {
            return Err(CliError::new(text(detail, "message")));
        }
        if !text(&line, "error").is_empty() {
            return Err(CliError::new(text(&line, "error")));
        }
        if at(&line, "progressDetail").is_none() {
            context.print(text(&line, "stream"));
        }
    }
    Ok(())
}
