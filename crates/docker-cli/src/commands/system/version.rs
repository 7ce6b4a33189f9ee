//! `docker version`

use crate::client::Answer;
use crate::command::{Arity, Command};
use crate::commands::inspect_format;
use crate::context::Context;
use crate::error::{CliError, Result};
use crate::flags::Parsed;
use crate::formatter::{inspect, version};
use crate::handler;
use docker_api::ApiVersion;
use serde_json::{Value, json};

/// Its flags.
pub fn command() -> Command {
    Command::new("version", "[OPTIONS]", "Show versions of client and engine", Arity::None, handler!(run))
        .flags(vec![inspect_format()])
}

async fn run(context: &Context, flags: Parsed) -> Result {
    let format = match flags.string("format") {
        "json" => "{{json .}}",
        other => other,
    };
    let template = match format {
        "" => None,
        format => Some(inspect::parse(format).map_err(|e| CliError::with_code(64, e))?),
    };
    let default = ApiVersion::MAX.to_string();
    let server: Answer = context.client.get("/version").await;
    let api = context.client.version().await.map_or(default.clone(), |v| v.to_string());
    let client = version::client(&api, &default);
    match template {
        Some(template) => {
            let server = server.as_ref().ok().cloned().unwrap_or(Value::Null);
            context.line(template.execute(&json!({ "Client": client, "Server": server }), inspect::UNTYPED)?);
        }
        None => context.print(&version::page(&client, server.as_ref().ok())),
    }
    Ok(server.map(drop)?)
}
