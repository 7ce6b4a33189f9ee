//! `docker top`

use crate::client::path;
use crate::command::{Arity, Command};
use crate::context::Context;
use crate::error::Result;
use crate::flags::Parsed;
use crate::formatter::tabwriter::{Layout, align};
use crate::handler;
use crate::spec::json::{array, strings};
use docker_api::query::TopContainer;

pub fn command() -> Command {
    Command::new("top", "CONTAINER [ps OPTIONS]", "List the processes of a container", Arity::AtLeast(1), handler!(run))
        .flags_first()
        .also(&["docker container top", "docker top"])
}

async fn run(context: &Context, flags: Parsed) -> Result {
    let query = TopContainer { ps_args: flags.args[1..].join(" ") };
    let answer = context.client.get_with(&path("/containers", &flags.args[0], "/top"), &query).await?;
    let mut out = strings(&answer, "Titles").join("\t") + "\n";
    for process in array(&answer, "Processes") {
        let words: Vec<&str> = process.as_array().into_iter().flatten().filter_map(|w| w.as_str()).collect();
        out.push_str(&(words.join("\t") + "\n"));
    }
    context.print(&align(&out, Layout { min_width: 20, padding: 3 }));
    Ok(())
}
