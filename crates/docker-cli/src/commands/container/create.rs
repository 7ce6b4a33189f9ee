//! `docker create`, and what `run` shares with it.

use super::flags::shared;
use crate::client::ClientError;
use crate::command::{Arity, Command};
use crate::commands::resolve;
use crate::context::Context;
use crate::error::{CliError, EXIT_USAGE, Result};
use crate::flags::Parsed;
use crate::handler;
use crate::spec::json::{at, strings, text};
use crate::spec::run::{ContainerRequest, container_request};
use docker_api::ApiVersion;
use docker_api::query::{CreateContainer, QueryParams};
use serde_json::Value;
use std::net::IpAddr;

pub fn command() -> Command {
    Command::new(
        "create",
        "[OPTIONS] IMAGE [COMMAND] [ARG...]",
        "Make a container without starting it",
        Arity::AtLeast(1),
        handler!(run),
    )
    .flags(shared())
    .flags_first()
    .also(&["docker container create", "docker create"])
}

async fn run(context: &Context, flags: Parsed) -> Result {
    let request = request(context, &flags, "create")?;
    let id = create(context, &flags, request).await?;
    context.line(id);
    Ok(())
}

/// Reads the flags; malformed ones end with Docker's hint and exit code 125.
pub fn request(context: &Context, flags: &Parsed, command: &str) -> Result<ContainerRequest> {
    let build = || -> Result<ContainerRequest> {
        let env = resolve::environment(context.host(), flags.list("env-file"), flags.list("env"))?;
        let mut labels = resolve::environment(context.host(), flags.list("label-file"), &[])?;
        labels.extend_from_slice(flags.list("label"));
        if !matches!(flags.string("pull"), "always" | "missing" | "never" | "") {
            let given = flags.string("pull");
            return Err(CliError::new(format!(
                "invalid pull option: '{given}': must be one of \"always\", \"missing\" or \"never\""
            )));
        }
        Ok(container_request(flags, env, &labels)?)
    };
    build().map_err(|error| with_help(error, command, EXIT_USAGE))
}

/// Creates the container; returns its id.
pub async fn create(context: &Context, flags: &Parsed, request: ContainerRequest) -> Result<String> {
    if flags.string("pull") == "always" {
        return Err(CliError::new("--pull always: not supported by this version of swarmlab"));
    }
    let query =
        CreateContainer { name: flags.string("name").to_owned(), platform: flags.string("platform").to_owned() };
    let body = request.body;
    let version = context.client.version().await?;
    let names_mac = at(&body, "NetworkingConfig.EndpointsConfig")
        .and_then(Value::as_object)
        .is_some_and(|map| map.values().any(|endpoint| endpoint.get("MacAddress").is_some()));
    if names_mac && version < (ApiVersion { major: 1, minor: 44 }) {
        return Err(CliError::new(format!(
            "\"specify mac-address per network\" requires API version 1.44, but the Docker daemon API version is {version}"
        )));
    }
    let loopback = loopback_server(&body);
    let answer = context.client.post("/containers/create", &query.to_query(), Some(body)).await;
    let answer = answer.map_err(|error| match error {
        // Docker would pull now. There is no registry here, so it is said what is missing.
        ClientError::Refused { status: 404, message } if message.contains("No such image") => {
            let image = flags.args[0].as_str();
            CliError::new(format!(
                "Unable to find image '{image}' locally\ndocker: Error response from daemon: {message}"
            ))
        }
        error => error.into(),
    })?;
    let warning = loopback.map(|server| format!("Localhost DNS ({server}) may fail in containers."));
    for warning in strings(&answer, "Warnings").into_iter().chain(warning) {
        context.warn(format_args!("WARNING: {warning}"));
    }
    let id = text(&answer, "Id").to_owned();
    if flags.changed("cidfile") {
        let path = flags.string("cidfile");
        context
            .host()
            .create_file(path, &id)
            .map_err(|e| CliError::new(format!("failed to create the container ID file: {e}")))?;
    }
    Ok(id)
}

/// The first DNS server that is the container itself.
fn loopback_server(body: &Value) -> Option<IpAddr> {
    let host = body.get("HostConfig")?;
    strings(host, "Dns").iter().filter_map(|text| text.parse().ok()).find(IpAddr::is_loopback)
}

/// `docker: WHY`, and how to get help.
pub fn with_help(error: CliError, command: &str, code: u8) -> CliError {
    let message = match error.message.split_once("\ndocker: ") {
        Some(_) => error.message,
        None => format!("docker: {}", error.message),
    };
    CliError::with_code(code, format!("{message}\n\nRun 'docker {command} --help' for more information"))
}
