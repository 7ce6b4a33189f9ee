//! `docker events`

use crate::client::{Body, JsonLines};
use crate::command::{Arity, Command};
use crate::commands::filters;
use crate::context::Context;
use crate::error::Result;
use crate::flags::{Kind, Parsed, flag, short};
use crate::formatter::{event, inspect};
use crate::handler;
use docker_api::query::{Events, QueryParams};
use futures_util::future::{Either, select};

/// Its flags.
pub fn command() -> Command {
    Command::new("events", "[OPTIONS]", "Show what happens, as it happens", Arity::None, handler!(run))
        .flags(vec![
            short('f', "filter", Kind::Filter, "Show only what matches, KEY=VALUE"),
            flag("format", Kind::String, "\"json\", or a Go template"),
            flag("since", Kind::String, "From a time on, or from as long ago as 42m"),
            flag("until", Kind::String, "Until a time, or until as long ago as 42m"),
        ])
        .also(&["docker system events", "docker events"])
}

async fn run(context: &Context, flags: Parsed) -> Result {
    let format = match flags.string("format") {
        "json" => "{{json .}}",
        other => other,
    };
    let template = match format {
        "" => None,
        format => Some(inspect::parse(format).map_err(|e| crate::error::CliError::with_code(64, e))?),
    };
    let query = Events {
        since: time(context, flags.string("since"))?,
        until: time(context, flags.string("until"))?,
        filters: filters(flags.list("filter")),
    };
    let response = context.client.send("GET", "/events", &query.to_query(), Body::Empty).await?;
    let mut lines = JsonLines::new(response);
    loop {
        let next = match select(lines.read(), context.host().interrupted()).await {
            Either::Left((next, _)) => next?,
            Either::Right(_) => return Ok(()),
        };
        let Some(event) = next else { return Ok(()) };
        match &template {
            None => context.line(event::line(&event)),
            Some(template) => context.line(template.execute(&event, inspect::UNTYPED)?),
        }
    }
}

fn time(context: &Context, given: &str) -> Result<String> {
    if given.is_empty() {
        return Ok(String::new());
    }
    let time = docker_api::time::parse_since(given, context.host().now());
    time.map(|time| time.to_param()).map_err(|e| crate::error::CliError::new(e.to_string()))
}
