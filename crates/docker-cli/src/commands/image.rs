//! `docker image`, and the same commands without the word `image`.

pub mod history;
pub mod load;
pub mod ls;
pub mod rm;
pub mod tag;

use crate::command::{Arity, Command};
use crate::commands::{inspect, inspect_format};
use crate::context::Context;
use crate::error::Result;
use crate::flags::Parsed;
use crate::handler;

/// The group.
pub fn group() -> Command {
    let inspect =
        Command::new("inspect", "[OPTIONS] IMAGE [IMAGE...]", "Show images in full", Arity::AtLeast(1), handler!(show))
            .flags(vec![inspect_format()]);
    Command::group(
        "image",
        "Images of this node",
        vec![history::command(), inspect, load::command(), ls::command(), rm::command(), tag::command()],
    )
}

async fn show(context: &Context, flags: Parsed) -> Result {
    let find = async |name: &str| inspect::object(context, "/images", name, "/json").await;
    inspect::each(context, flags.string("format"), &flags.args, None, find).await
}
