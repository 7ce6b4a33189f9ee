//! `docker start`

use super::get;
use super::session::{Exit, attach, exit_code, wait_early};
use crate::client::path;
use crate::command::{Arity, Command};
use crate::context::{Context, Joined};
use crate::error::{CliError, Result};
use crate::flags::{Kind, Parsed, flag, short};
use crate::handler;
use crate::spec::json::{text, truth};
use docker_api::query::AttachContainer;

pub fn command() -> Command {
    Command::new("start", "[OPTIONS] CONTAINER [CONTAINER...]", "Start containers", Arity::AtLeast(1), handler!(run))
        .flags(vec![
            short('a', "attach", Kind::Bool, "Join the container's output"),
            flag("detach-keys", Kind::String, "Keys that detach from the container"),
            short('i', "interactive", Kind::Bool, "Send standard input"),
        ])
        .also(&["docker container start", "docker start"])
}

async fn run(context: &Context, flags: Parsed) -> Result {
    if !flags.bool("attach") && !flags.bool("interactive") {
        let mut failed = Vec::new();
        for name in &flags.args {
            match context.client.post(&path("/containers", name, "/start"), "", None).await {
                Ok(_) => context.line(name),
                Err(error) => {
                    context.warn(error);
                    failed.push(name.as_str());
                }
            }
        }
        return match failed.is_empty() {
            true => Ok(()),
            false => Err(CliError::new(format!("Error: failed to start containers: {}", failed.join(", ")))),
        };
    }
    let [name] = flags.args.as_slice() else {
        return Err(CliError::new("you cannot start and attach multiple containers at once"));
    };
    let container = get(context, name).await?;
    let id = text(&container, "Id");
    let tty = truth(&container, "Config.Tty");
    let stdin = flags.bool("interactive") && truth(&container, "Config.OpenStdin");
    if stdin && tty && !context.host().stdin_is_terminal() {
        return Err(CliError::new("the input device is not a TTY"));
    }
    let keys = flags.string("detach-keys").to_owned();
    let query = AttachContainer {
        stream: true,
        stdin,
        stdout: true,
        stderr: true,
        detach_keys: keys.clone(),
        ..Default::default()
    };
    let passed = !tty;
    let conversation = attach(context, id, &query, passed).await?;
    let condition = if truth(&container, "HostConfig.AutoRemove") { "removed" } else { "next-exit" };
    let mut exit = Exit::new(context, id, condition);
    wait_early(context, &mut exit).await;
    context.client.post(&path("/containers", id, "/start"), "", None).await?;
    let joined = Joined {
        stdin,
        tty,
        detach_keys: keys,
        resize: tty.then(|| path("/containers", id, "/resize")),
        signals: passed.then(|| path("/containers", id, "/kill")),
    };
    match conversation.run(&context.client, joined).await? {
        true => Ok(()),
        false => exit_code(exit.code().await?),
    }
}
