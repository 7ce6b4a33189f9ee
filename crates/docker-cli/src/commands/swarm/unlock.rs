//! `docker swarm unlock` and `docker swarm unlock-key`

use super::print_unlock_key;
use crate::command::{Arity, Command};
use crate::context::Context;
use crate::error::{CliError, Result};
use crate::flags::{Kind, Parsed, flag, short};
use crate::handler;
use crate::spec::json::{int, text, truth};
use docker_api::query::{QueryParams, UpdateSwarm};
use serde_json::json;

pub fn command() -> Command {
    Command::new("unlock", "", "Give a locked manager its key", Arity::None, handler!(unlock))
}

pub fn key_command() -> Command {
    Command::new("unlock-key", "[OPTIONS]", "Show or change the key that unlocks managers", Arity::None, handler!(key))
        .flags(vec![short('q', "quiet", Kind::Bool, "Show the key only"), flag("rotate", Kind::Bool, "Make a new key")])
}

async fn unlock(context: &Context, _: Parsed) -> Result {
    let info = context.client.get("/info").await?;
    match text(&info, "Swarm.LocalNodeState") {
        "inactive" => return Err(CliError::new("Error: This node is not part of a swarm")),
        "locked" => {}
        _ => return Err(CliError::new("Error: swarm is not locked")),
    }
    context.print("Enter unlock key: ");
    let key = context.host().read_line().map_err(CliError::new)?;
    context.client.post("/swarm/unlock", "", Some(json!({ "UnlockKey": key.trim() }))).await?;
    Ok(())
}

async fn key(context: &Context, flags: Parsed) -> Result {
    let quiet = flags.bool("quiet");
    if flags.bool("rotate") {
        let swarm = context.client.get("/swarm").await?;
        if !truth(&swarm, "Spec.EncryptionConfig.AutoLockManagers") {
            return Err(CliError::new("cannot rotate because autolock is not turned on"));
        }
        let query = UpdateSwarm {
            version: Some(int(&swarm, "Version.Index") as u64),
            rotate_manager_unlock_key: true,
            ..Default::default()
        };
        context.client.post("/swarm/update", &query.to_query(), Some(swarm["Spec"].clone())).await?;
        if !quiet {
            context.line("Successfully rotated manager unlock key.");
        }
    }
    let answer = context
        .client
        .get("/swarm/unlockkey")
        .await
        .map_err(|e| CliError::new(format!("could not fetch unlock key: {e}")))?;
    let key = text(&answer, "UnlockKey");
    if key.is_empty() {
        return Err(CliError::new("no unlock key is set"));
    }
    if quiet {
        context.line(key);
    } else {
        print_unlock_key(context, key);
    }
    Ok(())
}
