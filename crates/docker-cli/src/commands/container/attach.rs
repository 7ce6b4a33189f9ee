//! `docker attach`

use super::get;
use super::session::{Exit, attach, exit_code, wait_early};
use crate::client::path;
use crate::command::{Arity, Command};
use crate::context::{Context, Joined};
use crate::error::{CliError, Result};
use crate::flags::{Kind, Parsed, flag};
use crate::handler;
use crate::spec::json::{text, truth};
use docker_api::query::AttachContainer;

pub fn command() -> Command {
    Command::new(
        "attach",
        "[OPTIONS] CONTAINER",
        "Join a running container's streams",
        Arity::Exactly(1),
        handler!(run),
    )
    .flags(vec![
        flag("detach-keys", Kind::String, "Keys that detach from the container"),
        flag("no-stdin", Kind::Bool, "Do not send standard input"),
        flag("sig-proxy", Kind::Bool, "Pass signals on to the container").default("true"),
    ])
    .also(&["docker container attach", "docker attach"])
}

async fn run(context: &Context, flags: Parsed) -> Result {
    let container = get(context, &flags.args[0]).await?;
    if !truth(&container, "State.Running") {
        return Err(CliError::new("You cannot attach to a stopped container, start it first"));
    }
    if truth(&container, "State.Paused") {
        return Err(CliError::new("You cannot attach to a paused container, unpause it first"));
    }
    if truth(&container, "State.Restarting") {
        return Err(CliError::new("You cannot attach to a restarting container, wait until it is running"));
    }
    let tty = truth(&container, "Config.Tty");
    let stdin = !flags.bool("no-stdin") && truth(&container, "Config.OpenStdin");
    if stdin && tty && !context.host().stdin_is_terminal() {
        return Err(CliError::new("the input device is not a TTY"));
    }
    let id = text(&container, "Id");
    let keys = flags.string("detach-keys").to_owned();
    let query = AttachContainer {
        stream: true,
        stdin,
        stdout: true,
        stderr: true,
        detach_keys: keys.clone(),
        ..Default::default()
    };
    let mut exit = Exit::new(context, id, "");
    wait_early(context, &mut exit).await;
    let passed = flags.bool("sig-proxy") && !tty;
    let conversation = attach(context, id, &query, passed).await?;
    let joined = Joined {
        stdin,
        tty,
        detach_keys: keys,
        resize: tty.then(|| path("/containers", id, "/resize")),
        signals: passed.then(|| path("/containers", id, "/kill")),
    };
    match conversation.run(&context.client, joined).await? {
        true => Err(CliError::new("read escape sequence")),
        false => exit_code(exit.code().await?),
    }
}
