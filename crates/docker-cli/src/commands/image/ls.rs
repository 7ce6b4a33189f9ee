//! `docker images`

use crate::command::{Arity, Command};
use crate::commands::{filters, list_flags};
use crate::context::Context;
use crate::error::Result;
use crate::flags::{Kind, Parsed, flag, short};
use crate::formatter::{image, list};
use crate::handler;
use docker_api::query::ListImages;

/// Its flags.
pub fn command() -> Command {
    let mut flags = list_flags();
    flags.extend([
        short('a', "all", Kind::Bool, "Intermediate ones too"),
        flag("digests", Kind::Bool, "Show digests"),
        flag("no-trunc", Kind::Bool, "Show everything in full"),
    ]);
    Command::new("ls", "[OPTIONS] [REPOSITORY[:TAG]]", "List images", Arity::Between(0, 1), handler!(run))
        .aliases(&["list"])
        .also(&["docker image ls", "docker image list", "docker images"])
        .flags(flags)
}

async fn run(context: &Context, flags: Parsed) -> Result {
    let mut wanted = filters(flags.list("filter"));
    if let Some(name) = flags.args.first() {
        wanted.add("reference", name);
    }
    let query = ListImages { all: flags.bool("all"), filters: wanted, ..Default::default() };
    let images = context.client.list("/images/json", &query).await?;
    let (now, trunc) = (context.host().now(), !flags.bool("no-trunc"));
    let format = flags.string("format");
    let digests = flags.bool("digests") || format.contains("{{.Digest}}");
    let rows: Vec<_> = images.iter().flat_map(|i| image::list_rows(i, now, trunc, digests)).collect();
    let kind = if flags.bool("digests") { image::LIST_WITH_DIGESTS } else { image::LIST };
    context.print(&list::render(kind, format, flags.bool("quiet"), &rows)?);
    Ok(())
}
