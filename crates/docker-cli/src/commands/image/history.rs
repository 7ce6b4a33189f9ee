//! `docker history`

use crate::client::path;
use crate::command::{Arity, Command};
use crate::context::Context;
use crate::error::Result;
use crate::flags::{Kind, Parsed, flag, short};
use crate::formatter::{image, list};
use crate::handler;
use docker_api::query::ListFiltered;

/// Its flags.
pub fn command() -> Command {
    Command::new("history", "[OPTIONS] IMAGE", "Show how an image was made", Arity::Exactly(1), handler!(run))
        .flags(vec![
            flag("format", Kind::String, "\"table\" (default), \"table TEMPLATE\", \"json\", or a Go template"),
            short('H', "human", Kind::Bool, "Show sizes and times in words").default("true"),
            flag("no-trunc", Kind::Bool, "Show everything in full"),
            short('q', "quiet", Kind::Bool, "Show ids only"),
        ])
        .also(&["docker image history", "docker history"])
}

async fn run(context: &Context, flags: Parsed) -> Result {
    let layers = context.client.list(&path("/images", &flags.args[0], "/history"), &ListFiltered::default()).await?;
    let (now, trunc, human) = (context.host().now(), !flags.bool("no-trunc"), flags.bool("human"));
    let rows: Vec<_> = layers.iter().map(|layer| image::history_row(layer, now, trunc, human)).collect();
    context.print(&list::render(image::HISTORY, flags.string("format"), flags.bool("quiet"), &rows)?);
    Ok(())
}
