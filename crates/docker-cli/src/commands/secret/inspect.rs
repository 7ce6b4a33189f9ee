//! `docker secret inspect` and `docker config inspect`

use super::Noun;
use crate::command::{Arity, Command};
use crate::commands::{inspect, page_flags, page_or_format};
use crate::context::Context;
use crate::error::Result;
use crate::flags::Parsed;
use crate::formatter::secret;
use crate::handler;
use crate::spec::json::{at, from_base64};
use go_template::print::bytes;
use serde_json::Value;

pub(super) fn command(usage: &'static str) -> Command {
    Command::new("inspect", usage, "Show them in full", Arity::AtLeast(1), handler!(run)).flags(page_flags())
}

async fn run(context: &Context, flags: Parsed) -> Result {
    let noun = Noun::of(context);
    let format = page_or_format(&flags)?;
    let find = async |name: &str| inspect::object(context, noun.path(), name, "").await;
    if matches!(format, "" | "json") {
        return inspect::each(context, format, &flags.args, None, find).await;
    }
    if format != "pretty" {
        let find = async |name: &str| Ok(with_bytes(find(name).await?));
        return inspect::each(context, format, &flags.args, None, find).await;
    }
    let mut pages = String::new();
    for name in &flags.args {
        let object = find(name).await?;
        pages.push_str(&match noun {
            Noun::Secret => secret::secret_page(&object),
            Noun::Config => secret::config_page(&object),
        });
    }
    context.print(&pages);
    Ok(())
}

/// For templates a config's content is bytes, not the text that JSON makes of them.
fn with_bytes(mut object: Value) -> Value {
    if let Some(content) = at(&object, "Spec.Data").and_then(Value::as_str).and_then(from_base64) {
        object["Spec"]["Data"] = bytes(&content);
    }
    object
}
