//! `docker exec`

use super::get;
use super::session::exit_code;
use crate::client::{Body, path};
use crate::command::{Arity, Command};
use crate::commands::resolve;
use crate::context::{Context, Joined};
use crate::error::{CliError, Result};
use crate::flags::{Kind, Parsed, flag, short};
use crate::handler;
use crate::spec::json::{int, text};
use serde_json::json;

/// Its flags.
pub fn command() -> Command {
    Command::new(
        "exec",
        "[OPTIONS] CONTAINER COMMAND [ARG...]",
        "Run a command in a running container",
        Arity::AtLeast(2),
        handler!(run),
    )
    .flags(vec![
        short('d', "detach", Kind::Bool, "Do not wait for the command"),
        flag("detach-keys", Kind::String, "Keys that detach from the command"),
        short('e', "env", Kind::Env, "Variable of the environment"),
        flag("env-file", Kind::List, "File with variables of the environment"),
        short('i', "interactive", Kind::Bool, "Keep standard input open"),
        flag("privileged", Kind::Bool, "Give the command nearly all rights"),
        short('t', "tty", Kind::Bool, "Give the command a terminal"),
        short('u', "user", Kind::String, "User of the command, NAME|UID[:GROUP|GID]"),
        short('w', "workdir", Kind::String, "Working directory"),
    ])
    .flags_first()
    .also(&["docker container exec", "docker exec"])
}

async fn run(context: &Context, flags: Parsed) -> Result {
    let env = resolve::environment(context.host(), flags.list("env-file"), flags.list("env"))?;
    // Asked for first, so that a mistyped name is an answer about containers.
    let container = get(context, &flags.args[0]).await?;
    let (tty, stdin, detach) = (flags.bool("tty"), flags.bool("interactive"), flags.bool("detach"));
    if !detach && stdin && tty && !context.host().stdin_is_terminal() {
        return Err(CliError::new("the input device is not a TTY"));
    }
    let keys = flags.string("detach-keys");
    let mut config = json!({
        "User": flags.string("user"),
        "Privileged": flags.bool("privileged"),
        "Tty": tty,
        "AttachStdin": stdin && !detach,
        "AttachStdout": !detach,
        "AttachStderr": !detach,
        "DetachKeys": keys,
        "Env": env,
        "WorkingDir": flags.string("workdir"),
        "Cmd": flags.args[1..],
    });
    if tty && let Some((rows, columns)) = context.host().terminal_size() {
        config["ConsoleSize"] = json!([rows, columns]);
    }
    let client = &context.client;
    let answer = client.post(&path("/containers", text(&container, "Id"), "/exec"), "", Some(config)).await?;
    let id = text(&answer, "Id");
    if id.is_empty() {
        return Err(CliError::new("exec ID empty"));
    }
    let start = path("/exec", id, "/start");
    if detach {
        client.post(&start, "", Some(json!({ "Detach": true, "Tty": tty }))).await?;
        return Ok(());
    }
    let conversation = client.converse(&start, "", Body::Json(json!({ "Detach": false, "Tty": tty }))).await?;
    let joined = Joined {
        stdin,
        tty,
        detach_keys: keys.to_owned(),
        resize: tty.then(|| path("/exec", id, "/resize")),
        signals: None,
    };
    if conversation.run(client, joined).await? {
        return Err(CliError::new("read escape sequence"));
    }
    let result = client.get(&path("/exec", id, "/json")).await?;
    exit_code(int(&result, "ExitCode"))
}
