//! `docker info`

use crate::command::{Arity, Command};
use crate::commands::inspect_format;
use crate::context::Context;
use crate::error::{CliError, Result};
use crate::flags::Parsed;
use crate::formatter::{info, inspect, version};
use crate::handler;
use crate::spec::json::{object_mut, strings};
use docker_api::ApiVersion;
use serde_json::{Value, json};

/// Its flags.
pub fn command() -> Command {
    Command::new("info", "[OPTIONS]", "Show the state of the engine", Arity::None, handler!(run))
        .flags(vec![inspect_format()])
        .also(&["docker system info", "docker info"])
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
    let mut info = context.client.get("/info").await?;
    match template {
        Some(template) => {
            let mut client = version::client("", &ApiVersion::MAX.to_string());
            let about = object_mut(&mut client);
            about.shift_remove("ApiVersion");
            about.insert("Debug".into(), json!(false));
            about.insert("Plugins".into(), json!([]));
            about.insert("Warnings".into(), Value::Null);
            object_mut(&mut info).insert("ClientInfo".into(), client);
            context.line(template.execute(&info, inspect::UNTYPED)?);
        }
        None => {
            context.print(&info::page(&info));
            for warning in strings(&info, "Warnings") {
                context.warn(warning);
            }
        }
    }
    Ok(())
}
