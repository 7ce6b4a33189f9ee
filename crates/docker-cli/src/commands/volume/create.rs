//! `docker volume create`. The flags of cluster volumes are left out, as there are none here.

use crate::command::{Arity, Command};
use crate::context::Context;
use crate::error::Result;
use crate::flags::{Kind, Parsed, flag, short};
use crate::handler;
use crate::spec::json::{key_values, set, text};
use serde_json::json;

pub(super) fn command() -> Command {
    Command::new("create", "[OPTIONS] [VOLUME]", "Make a volume", Arity::AtMost(1), handler!(run)).flags(vec![
        short('d', "driver", Kind::String, "Kind of volume").default("local"),
        flag("label", Kind::Label, "Label of the volume"),
        flag("name", Kind::String, "Name of the volume").hidden(),
        short('o', "opt", Kind::Map, "Option for the driver").default("map[]"),
    ])
}

async fn run(context: &Context, flags: Parsed) -> Result {
    let name = match (flags.string("name"), flags.args.first()) {
        (name, None) => name,
        ("", Some(name)) => name,
        _ => {
            return Err(
                "conflicting options: cannot specify a volume-name through both --name and as a positional arg"
                    .to_owned()
                    .into(),
            );
        }
    };
    let mut request = json!({ "Driver": flags.string("driver") });
    set(&mut request, "DriverOpts", key_values(flags.list("opt")));
    set(&mut request, "Labels", key_values(flags.list("label")));
    set(&mut request, "Name", json!(name));
    let answer = context.client.post("/volumes/create", "", Some(request)).await?;
    context.line(text(&answer, "Name"));
    Ok(())
}
