//! `docker swarm init`

use super::{address_flags, availability, change_settings, print_join_command, print_unlock_key, settings_flags};
use crate::command::{Arity, Command};
use crate::context::Context;
use crate::error::{CliError, Result};
use crate::flags::{Kind, Parsed, flag};
use crate::handler;
use crate::spec::json::text;
use serde_json::json;

pub fn command() -> Command {
    let mut flags = settings_flags();
    flags.extend(address_flags());
    flags.extend([
        flag("data-path-port", Kind::Uint32, "UDP port for the traffic of containers, 1024 to 49151; 0 is 4789"),
        flag("default-addr-pool", Kind::Cidr, "Addresses for new networks, in CIDR form"),
        flag("default-addr-pool-mask-length", Kind::Uint32, "Size of new networks in the pool").default("24"),
        flag("force-new-cluster", Kind::Bool, "Make a swarm of one manager out of the current state"),
    ]);
    Command::new("init", "[OPTIONS]", "Make a new swarm, with this node as its manager", Arity::None, handler!(run))
        .flags(flags)
}

async fn run(context: &Context, flags: Parsed) -> Result {
    let mut spec = json!({
        "Labels": null, "Orchestration": {}, "Raft": {"ElectionTick": 0, "HeartbeatTick": 0}, "Dispatcher": {}, "CAConfig": {},
        "TaskDefaults": {}, "EncryptionConfig": {"AutoLockManagers": false},
    });
    change_settings(&flags, &mut spec)?;
    let request = json!({
        "ListenAddr": flags.string("listen-addr"),
        "AdvertiseAddr": flags.string("advertise-addr"),
        "DataPathAddr": flags.string("data-path-addr"),
        "DataPathPort": flags.u64("data-path-port").unwrap_or(0),
        "ForceNewCluster": flags.bool("force-new-cluster"),
        "Spec": spec,
        "AutoLockManagers": flags.bool("autolock"),
        "Availability": availability(&flags)?.unwrap_or_default(),
        "DefaultAddrPool": flags.list("default-addr-pool"),
        "SubnetSize": flags.u64("default-addr-pool-mask-length"),
    });
    let node = context.client.post("/swarm/init", "", Some(request)).await.map_err(|error| {
        let message = error.to_string();
        let names_address = message.contains("could not choose an IP address to advertise")
            || message.contains("could not find the system's IP address");
        CliError::new(if names_address { message + " - specify one with --advertise-addr" } else { message })
    })?;
    let node = node.as_str().unwrap_or("");
    context.print(&format!("Swarm initialized: current node ({node}) is now a manager.\n\n"));
    print_join_command(context, node, true, false).await?;
    context.line("To add a manager to this swarm, run 'docker swarm join-token manager' and follow the instructions.");
    if flags.bool("autolock") {
        let key = context.client.get("/swarm/unlockkey").await?;
        print_unlock_key(context, text(&key, "UnlockKey"));
    }
    Ok(())
}
