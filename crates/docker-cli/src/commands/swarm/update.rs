//! `docker swarm update`

use super::{change_settings, print_unlock_key, settings_flags};
use crate::command::{Arity, Command};
use crate::context::Context;
use crate::error::Result;
use crate::flags::Parsed;
use crate::handler;
use crate::spec::json::{int, text, truth};
use docker_api::query::{QueryParams, UpdateSwarm};

pub fn command() -> Command {
    Command::new("update", "[OPTIONS]", "Change settings of the swarm", Arity::None, handler!(run))
        .flags(settings_flags())
}

async fn run(context: &Context, flags: Parsed) -> Result {
    if flags.given().next().is_none() {
        // Without a flag there is nothing to do; Docker shows the help page.
        let root = crate::commands::root();
        let args = ["swarm", "update", "--help"].map(str::to_owned);
        if let Ok(crate::command::Asked::Print(page)) = crate::command::resolve(&root, &args) {
            context.print(&page);
        }
        return Ok(());
    }
    let mut swarm = context.client.get("/swarm").await?;
    let locked_before = truth(&swarm, "Spec.EncryptionConfig.AutoLockManagers");
    change_settings(&flags, &mut swarm["Spec"])?;
    let query = UpdateSwarm { version: Some(int(&swarm, "Version.Index") as u64), ..Default::default() };
    context.client.post("/swarm/update", &query.to_query(), Some(swarm["Spec"].clone())).await?;
    context.line("Swarm updated.");
    if truth(&swarm, "Spec.EncryptionConfig.AutoLockManagers") && !locked_before {
        let key = context.client.get("/swarm/unlockkey").await?;
        print_unlock_key(context, text(&key, "UnlockKey"));
    }
    Ok(())
}
