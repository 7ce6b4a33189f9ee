//! `docker stop`, `restart`, `kill`, `pause`, `unpause`, `rename` and `port`: small commands that change or name one thing.

use super::get;
use crate::client::path;
use crate::command::{Arity, Command};
use crate::context::Context;
use crate::error::{CliError, Result};
use crate::flags::{Flag, Kind, Parsed, short};
use crate::formatter::{host_and_port, natural_order};
use crate::handler;
use crate::spec::json::{at, text};
use docker_api::query::{KillContainer, QueryParams, RenameContainer, StopContainer};
use serde_json::Value;

const SOME: &str = "[OPTIONS] CONTAINER [CONTAINER...]";
const PLAIN: &str = "CONTAINER [CONTAINER...]";

pub fn commands() -> Vec<Command> {
    vec![
        Command::new(
            "stop",
            SOME,
            "Ask containers to end, and kill those that do not",
            Arity::AtLeast(1),
            handler!(stop),
        )
        .flags(stop_flags())
        .also(&["docker container stop", "docker stop"]),
        Command::new("restart", SOME, "Stop containers and start them again", Arity::AtLeast(1), handler!(restart))
            .flags(stop_flags())
            .also(&["docker container restart", "docker restart"]),
        Command::new(
            "kill",
            SOME,
            "Send containers a signal, to end at once by default",
            Arity::AtLeast(1),
            handler!(kill),
        )
        .flags(vec![short('s', "signal", Kind::String, "Signal to send")])
        .also(&["docker container kill", "docker kill"]),
        Command::new("pause", PLAIN, "Let containers stand still", Arity::AtLeast(1), handler!(pause))
            .also(&["docker container pause", "docker pause"]),
        Command::new("unpause", PLAIN, "Let containers that stand still go on", Arity::AtLeast(1), handler!(unpause))
            .also(&["docker container unpause", "docker unpause"]),
        Command::new(
            "rename",
            "CONTAINER NEW_NAME",
            "Give a container another name",
            Arity::Exactly(2),
            handler!(rename),
        )
        .also(&["docker container rename", "docker rename"]),
        Command::new(
            "port",
            "CONTAINER [PRIVATE_PORT[/PROTO]]",
            "Show the open ports of a container",
            Arity::Between(1, 2),
            handler!(port),
        )
        .also(&["docker container port", "docker port"]),
    ]
}

fn stop_flags() -> Vec<Flag> {
    vec![
        short('s', "signal", Kind::String, "Signal that asks the container to end"),
        short('t', "timeout", Kind::Int, "Seconds to wait before killing it"),
    ]
}

async fn post(context: &Context, flags: &Parsed, action: &str, query: String) -> Result {
    let run = async |name| {
        context.client.post(&path("/containers", name, action), &query, None).await?;
        Ok(name.to_owned())
    };
    context.each(&flags.args, run).await
}

fn stop_query(flags: &Parsed) -> String {
    StopContainer { signal: flags.string("signal").to_owned(), timeout: flags.i64("timeout") }.to_query()
}

async fn stop(context: &Context, flags: Parsed) -> Result {
    post(context, &flags, "/stop", stop_query(&flags)).await
}

async fn restart(context: &Context, flags: Parsed) -> Result {
    post(context, &flags, "/restart", stop_query(&flags)).await
}

async fn kill(context: &Context, flags: Parsed) -> Result {
    post(context, &flags, "/kill", KillContainer { signal: flags.string("signal").to_owned() }.to_query()).await
}

async fn pause(context: &Context, flags: Parsed) -> Result {
    post(context, &flags, "/pause", String::new()).await
}

async fn unpause(context: &Context, flags: Parsed) -> Result {
    post(context, &flags, "/unpause", String::new()).await
}

async fn rename(context: &Context, flags: Parsed) -> Result {
    let (old, new) = (flags.args[0].trim(), flags.args[1].trim());
    if old.is_empty() || new.is_empty() {
        return Err(CliError::new("Error: Neither old nor new names may be empty"));
    }
    let query = RenameContainer { name: new.to_owned() }.to_query();
    context.client.post(&path("/containers", old, "/rename"), &query, None).await?;
    Ok(())
}

async fn port(context: &Context, flags: Parsed) -> Result {
    let container = get(context, &flags.args[0]).await?;
    let none = serde_json::Map::new();
    let ports = at(&container, "NetworkSettings.Ports").and_then(Value::as_object).unwrap_or(&none);
    let addresses = |bindings: &Value| -> Vec<String> {
        let bindings = bindings.as_array().map_or(&[][..], Vec::as_slice);
        bindings.iter().map(|b| host_and_port(text(b, "HostIp"), text(b, "HostPort"))).collect()
    };
    let mut lines = Vec::new();
    match flags.args.get(1).map(String::as_str).unwrap_or("") {
        "" => {
            for (private, bindings) in ports {
                lines.extend(addresses(bindings).iter().map(|address| format!("{private} -> {address}")));
            }
        }
        wanted => {
            let (port, protocol) = wanted.split_once('/').unwrap_or((wanted, ""));
            let protocol = if protocol.is_empty() { "tcp" } else { protocol };
            crate::flags::parse_uint(port, 16)
                .map_err(|reason| CliError::new(format!("Error: invalid port ({port}): {reason}")))?;
            lines = ports.get(&format!("{port}/{protocol}")).map(addresses).unwrap_or_default();
            if lines.is_empty() {
                let name = &flags.args[0];
                return Err(CliError::new(format!("Error: No public port '{wanted}' published for {name}")));
            }
        }
    }
    lines.sort_by(|a, b| natural_order(a, b));
    for line in lines {
        context.line(line);
    }
    Ok(())
}
