//! `docker run`

use super::create::{create, request, with_help};
use super::flags::shared;
use super::session::{Exit, attach, exit_code, wait_early};
use crate::client::path;
use crate::command::{Arity, Command};
use crate::context::{Context, Joined};
use crate::error::{CliError, EXIT_USAGE, Result};
use crate::flags::{Kind, Parsed, flag, short};
use crate::handler;
use crate::spec::json::object_mut;
use docker_api::query::AttachContainer;
use serde_json::json;

/// Its flags.
pub fn command() -> Command {
    let mut flags = shared();
    flags.extend([
        short('d', "detach", Kind::Bool, "Print the container's id and let it run"),
        flag("detach-keys", Kind::String, "Keys that detach from the container"),
        flag("sig-proxy", Kind::Bool, "Pass signals on to the container").default("true"),
    ]);
    Command::new(
        "run",
        "[OPTIONS] IMAGE [COMMAND] [ARG...]",
        "Make a container and start it",
        Arity::AtLeast(1),
        handler!(run),
    )
    .flags(flags)
    .flags_first()
    .also(&["docker container run", "docker run"])
}

async fn run(context: &Context, flags: Parsed) -> Result {
    let mut wanted = request(context, &flags, "run")?;
    let tty = flags.bool("tty");
    let detach = flags.bool("detach");
    if detach && !flags.list("attach").is_empty() {
        return Err(CliError::new("conflicting options: cannot specify both --attach and --detach"));
    }
    if detach {
        wanted.attach = [false; 3];
        for key in ["AttachStdin", "AttachStdout", "AttachStderr", "StdinOnce"] {
            object_mut(&mut wanted.body).insert(key.into(), json!(false));
        }
    } else if wanted.attach[0] && tty && !context.host().stdin_is_terminal() {
        return Err(CliError::new("the input device is not a TTY"));
    }
    let [stdin, stdout, stderr] = wanted.attach;
    if tty && let Some((rows, columns)) = context.host().terminal_size() {
        let host = crate::spec::json::child(&mut wanted.body, "HostConfig");
        object_mut(host).insert("ConsoleSize".into(), json!([rows, columns]));
    }
    let id = create(context, &flags, wanted).await.map_err(refused)?;
    let attached = stdin || stdout || stderr;
    if !attached {
        // Docker does not wait for the start before it says which container it made.
        context.line(&id);
        return start(context, &id).await;
    }
    let keys = flags.string("detach-keys").to_owned();
    let query =
        AttachContainer { stream: true, stdin, stdout, stderr, detach_keys: keys.clone(), ..Default::default() };
    let passed = flags.bool("sig-proxy") && !tty;
    let conversation = attach(context, &id, &query, passed).await?;
    let condition = if flags.bool("rm") { "removed" } else { "next-exit" };
    let mut exit = Exit::new(context, &id, condition);
    wait_early(context, &mut exit).await;
    start(context, &id).await?;
    let joined = Joined {
        stdin,
        tty,
        detach_keys: keys,
        resize: tty.then(|| path("/containers", &id, "/resize")),
        signals: passed.then(|| path("/containers", &id, "/kill")),
    };
    let detached = conversation.run(&context.client, joined).await?;
    if detached {
        return Ok(());
    }
    exit_code(exit.code().await?)
}

async fn start(context: &Context, id: &str) -> Result {
    let started = context.client.post(&path("/containers", id, "/start"), "", None).await;
    started.map(drop).map_err(|error| refused(error.into()))
}

/// 127 when the command is not there, 126 when it cannot be run, else 125.
fn refused(error: CliError) -> CliError {
    let has = |texts: &[&str]| texts.iter().any(|text| error.message.contains(text));
    let code = if has(&["executable file not found", "no such file or directory"]) && !has(&["No such image"]) {
        127
    } else if has(&["permission denied", "is a directory"]) {
        126
    } else {
        EXIT_USAGE
    };
    with_help(error, "run", code)
}
