//! `docker secret ls` and `docker config ls`

use super::Noun;
use crate::command::{Arity, Command};
use crate::commands::{filters, list_flags};
use crate::context::Context;
use crate::error::Result;
use crate::flags::Parsed;
use crate::formatter::{list, natural_order, secret};
use crate::handler;
use crate::spec::json::text;
use docker_api::query::ListFiltered;
use docker_api::time::UnixTime;
use serde_json::Value;

pub(super) fn command() -> Command {
    Command::new("ls", "[OPTIONS]", "List them", Arity::None, handler!(run)).aliases(&["list"]).flags(list_flags())
}

async fn run(context: &Context, flags: Parsed) -> Result {
    let noun = Noun::of(context);
    let query = ListFiltered { filters: filters(flags.list("filter")) };
    let mut objects = context.client.list(noun.path(), &query).await?;
    objects.sort_by(|a, b| natural_order(text(a, "Spec.Name"), text(b, "Spec.Name")));
    let now = context.host().now();
    let (kind, row): (_, fn(&Value, UnixTime) -> Value) = match noun {
        Noun::Secret => (secret::SECRETS, secret::secret_row),
        Noun::Config => (secret::CONFIGS, secret::config_row),
    };
    let rows: Vec<_> = objects.iter().map(|object| row(object, now)).collect();
    context.print(&list::render(kind, flags.string("format"), flags.bool("quiet"), &rows)?);
    Ok(())
}
