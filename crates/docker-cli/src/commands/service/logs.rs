//! `docker service logs`

use super::logs_copy::{copy, since};
use crate::client::{Body, ClientError, path};
use crate::command::{Arity, Command};
use crate::commands::resolve::name;
use crate::context::Context;
use crate::error::{CliError, Result};
use crate::flags::{Kind, Parsed, flag, short};
use crate::formatter::short_id;
use crate::handler;
use crate::spec::json::{int, truth};
use docker_api::frame::{Decoder, Stream};
use docker_api::query::{Logs, QueryParams};
use futures_util::StreamExt;
use std::collections::BTreeMap;

pub fn command() -> Command {
    Command::new(
        "logs",
        "[OPTIONS] SERVICE|TASK",
        "Show what the tasks of a service wrote",
        Arity::Exactly(1),
        handler!(run),
    )
    .flags(vec![
        flag("details", Kind::Bool, "Show further details of each message"),
        short('f', "follow", Kind::Bool, "Go on with what comes"),
        flag("no-resolve", Kind::Bool, "Show ids rather than names"),
        flag("no-task-ids", Kind::Bool, "Leave out ids of tasks"),
        flag("no-trunc", Kind::Bool, "Show everything in full"),
        flag("raw", Kind::Bool, "Show the messages only"),
        flag("since", Kind::String, "Only messages after a time, or as old as 42m"),
        short('n', "tail", Kind::Tail, "Number of messages from the end").default("all"),
        short('t', "timestamps", Kind::Bool, "Show times"),
    ])
}

async fn run(context: &Context, flags: Parsed) -> Result {
    let target = flags.args[0].as_str();
    let (prefix, tty, width) = match context.client.get(&path("/services", target, "")).await {
        Ok(service) => {
            let replicas = int(&service, "Spec.Mode.Replicated.Replicas").max(1);
            ("/services", truth(&service, "Spec.TaskTemplate.ContainerSpec.TTY"), replicas.to_string().len())
        }
        Err(error) if error.is_not_found() => match context.client.get(&path("/tasks", target, "")).await {
            Ok(task) => ("/tasks", truth(&task, "Spec.ContainerSpec.TTY"), int(&task, "Slot").to_string().len()),
            Err(error) if error.is_not_found() => {
                return Err(CliError::new(format!("no such task or service: {target}")));
            }
            Err(error) => return Err(error.into()),
        },
        Err(error) => return Err(error.into()),
    };
    let raw = flags.bool("raw");
    if tty && !raw {
        return Err(CliError::new("tty service logs only supported with --raw"));
    }
    let query = Logs {
        stdout: true,
        stderr: true,
        since: since(context, flags.string("since"), "since")?,
        timestamps: flags.bool("timestamps"),
        follow: flags.bool("follow"),
        tail: flags.string("tail").to_owned(),
        // The names in front of each message are made of its details.
        details: flags.bool("details") || !raw,
        ..Default::default()
    };
    let response = context.client.send("GET", &path(prefix, target, "/logs"), &query.to_query(), Body::Empty).await?;
    if tty || raw {
        return copy(context, response, tty).await;
    }
    let mut prefixer = Prefixer { context, flags: &flags, width, names: BTreeMap::new(), tasks: BTreeMap::new() };
    let mut body = response.body;
    let mut decoder = Decoder::new();
    let mut partial: Vec<u8> = Vec::new();
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|e| CliError::from(ClientError::Broken(e)))?;
        let mut whole: Vec<(Stream, Vec<u8>)> = Vec::new();
        let decoded = decoder.decode(&chunk, |piece| {
            partial.extend_from_slice(piece.data);
            if piece.ends {
                whole.push((piece.stream, std::mem::take(&mut partial)));
            }
        });
        for (stream, message) in whole {
            prefixer.print(stream, &message).await?;
        }
        decoded.map_err(|e| CliError::new(e.to_string()))?;
    }
    Ok(())
}

/// Puts `web.1.abcdef@node    | ` in front of messages.
struct Prefixer<'a> {
    context: &'a Context,
    flags: &'a Parsed,
    width: usize,
    names: BTreeMap<String, String>,
    tasks: BTreeMap<String, String>,
}

impl Prefixer<'_> {
    async fn print(&mut self, stream: Stream, message: &[u8]) -> Result {
        if stream == Stream::SystemError {
            let words = String::from_utf8_lossy(message);
            return Err(CliError::new(format!("error from daemon in stream: {}", words.trim_end())));
        }
        let mut rest = message;
        let mut word = || {
            let at = rest.iter().position(|b| *b == b' ')?;
            let (word, tail) = rest.split_at(at);
            rest = &tail[1..];
            Some(String::from_utf8_lossy(word).into_owned())
        };
        let time = if self.flags.bool("timestamps") { word() } else { Some(String::new()) };
        let (Some(time), Some(details)) = (time, word()) else {
            let shown = String::from_utf8_lossy(message);
            return Err(CliError::new(format!("invalid context in log message: {shown}")));
        };
        let mut details: BTreeMap<String, String> = details
            .split(',')
            .filter_map(|pair| pair.split_once('='))
            .map(|(k, v)| (unescape(k), unescape(v)))
            .collect();
        let mut take = |what: &str| {
            let key = format!("com.docker.swarm.{what}.id");
            details.remove(&key).ok_or_else(|| CliError::new(format!("missing {what} id in details")))
        };
        let (node, service, task) = (take("node")?, take("service")?, take("task")?);
        let source = self.source(&node, &service, &task).await?;
        let mut out = Vec::new();
        if !time.is_empty() {
            out.extend_from_slice(format!("{time} ").as_bytes());
        }
        out.extend_from_slice(format!("{source}    | ").as_bytes());
        if self.flags.bool("details") {
            let pairs: Vec<String> = details.iter().map(|(k, v)| format!("{k}={v}")).collect();
            out.extend_from_slice(format!("{} ", pairs.join(",")).as_bytes());
        }
        out.extend_from_slice(rest);
        match stream {
            Stream::Stderr => self.context.host().err(&out),
            _ => self.context.host().out(&out),
        }
        Ok(())
    }

    async fn source(&mut self, node: &str, service: &str, task: &str) -> Result<String> {
        if let Some(known) = self.tasks.get(task) {
            return Ok(known.clone());
        }
        let client = &self.context.client;
        let (node, service) = match self.flags.bool("no-resolve") {
            true => (node.to_owned(), service.to_owned()),
            false => (
                name(client, &mut self.names, "/nodes", node.to_owned()).await,
                name(client, &mut self.names, "/services", service.to_owned()).await,
            ),
        };
        let slot = int(&client.get(&path("/tasks", task, "")).await?, "Slot");
        let mut source = format!("{service}.{slot}");
        if !self.flags.bool("no-task-ids") {
            let id = if self.flags.bool("no-trunc") { task.to_owned() } else { short_id(task) };
            source.push_str(&format!(".{id}"));
        }
        let padding = self.width.saturating_sub(slot.to_string().len());
        source.push_str(&format!("@{node}{}", " ".repeat(padding)));
        self.tasks.insert(task.to_owned(), source.clone());
        Ok(source)
    }
}

/// Details are encoded as in a query string.
fn unescape(text: &str) -> String {
    let query = format!("x={text}");
    docker_api::Query::parse(&query).ok().and_then(|q| q.get("x").map(str::to_owned)).unwrap_or_else(|| text.to_owned())
}
