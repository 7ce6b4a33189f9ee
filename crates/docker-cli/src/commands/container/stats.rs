//! `docker stats`

use crate::client::path;
use crate::command::{Arity, Command};
use crate::context::Context;
use crate::error::{CliError, Result};
use crate::flags::{Kind, Parsed, flag, short};
use crate::formatter::{list, stats};
use crate::handler;
use crate::spec::json::text;
use docker_api::query::{ListContainers, StatsContainer};
use futures_util::future::{Either, select};
use std::time::Duration;

pub fn command() -> Command {
    Command::new("stats", "[OPTIONS] [CONTAINER...]", "Show what containers use", Arity::AtLeast(0), handler!(run))
        .flags(vec![
            short('a', "all", Kind::Bool, "Stopped ones too"),
            flag("format", Kind::String, "\"table\" (default), \"table TEMPLATE\", \"json\", or a Go template"),
            flag("no-stream", Kind::Bool, "Show it once"),
            flag("no-trunc", Kind::Bool, "Show everything in full"),
        ])
        .also(&["docker container stats", "docker stats"])
}

async fn run(context: &Context, flags: Parsed) -> Result {
    let once = flags.bool("no-stream");
    loop {
        let page = measure(context, &flags).await?;
        if !once {
            // The whole screen anew, as Docker does.
            context.print("\x1b[2J\x1b[H");
        }
        context.print(&page);
        if once {
            return Ok(());
        }
        let pause = context.host().sleep(Duration::from_millis(500));
        if let Either::Right(_) = select(pause, context.host().interrupted()).await {
            return Ok(());
        }
    }
}

async fn measure(context: &Context, flags: &Parsed) -> Result<String> {
    let names = match flags.args.is_empty() {
        false => flags.args.clone(),
        true => {
            let query = ListContainers { all: flags.bool("all"), ..Default::default() };
            let containers = context.client.list("/containers/json", &query).await?;
            containers.iter().map(|c| text(c, "Id").to_owned()).collect()
        }
    };
    let query = StatsContainer { stream: Some(false), one_shot: false };
    let (mut rows, mut errors) = (Vec::new(), Vec::new());
    for name in &names {
        match context.client.get_with(&path("/containers", name, "/stats"), &query).await {
            Ok(measured) => rows.push(stats::list_row(&measured, name, !flags.bool("no-trunc"))),
            Err(error) => errors.push(error.to_string()),
        }
    }
    if !errors.is_empty() {
        return Err(CliError::new(errors.join("\n")));
    }
    Ok(list::render(stats::LIST, flags.string("format"), false, &rows)?)
}
