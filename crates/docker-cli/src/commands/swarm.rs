//! `docker swarm`

mod init;
mod join;
mod join_token;
mod leave;
mod unlock;
mod update;

use crate::command::{Arity, Command};
use crate::context::Context;
use crate::error::{CliError, Result};
use crate::flags::{Flag, Kind, Parsed, flag, short};
use crate::handler;
use crate::spec::json::{child, object_mut, text};
use serde_json::{Value, json};

/// The group.
pub fn group() -> Command {
    let ca =
        Command::new("ca", "[OPTIONS]", "Show or rotate the root certificate", Arity::None, handler!(ca)).flags(vec![
            flag("ca-cert", Kind::String, "File with the new root certificate"),
            flag("ca-key", Kind::String, "File with the key of the new root certificate"),
            flag("cert-expiry", Kind::Duration, "How long certificates of nodes last").default("2160h0m0s"),
            short('d', "detach", Kind::Bool, "Do not wait for the rotation"),
            flag("external-ca", Kind::ExternalCa, "Outside certificate authorities"),
            short('q', "quiet", Kind::Bool, "No progress"),
            flag("rotate", Kind::Bool, "Make a new root certificate"),
        ]);
    Command::group(
        "swarm",
        "The swarm itself",
        vec![
            init::command(),
            join::command(),
            join_token::command(),
            leave::command(),
            unlock::command(),
            unlock::key_command(),
            update::command(),
            ca,
        ],
    )
}

async fn ca(context: &Context, flags: Parsed) -> Result {
    if flags.given().next().is_some() {
        if !flags.bool("rotate") {
            let given = flags.given().find(|name| ["ca-cert", "ca-key", "cert-expiry", "external-ca"].contains(name));
            if let Some(name) = given {
                return Err(CliError::new(format!("`--{name}` flag requires the `--rotate` flag to update the CA")));
            }
        }
        return Err(CliError::new("swarm ca --rotate: not supported by this version of swarmlab"));
    }
    let swarm = context.client.get("/swarm").await?;
    match text(&swarm, "TLSInfo.TrustRoot") {
        "" => Err(CliError::new("No CA information available")),
        root => {
            context.print(root);
            Ok(())
        }
    }
}

/// Settings of the swarm that `init` and `update` share.
fn settings_flags() -> Vec<Flag> {
    vec![
        flag("autolock", Kind::Bool, "Lock managers when they stop: starting one needs the unlock key"),
        flag("cert-expiry", Kind::Duration, "How long certificates of nodes last").default("2160h0m0s"),
        flag("dispatcher-heartbeat", Kind::Duration, "How often nodes report").default("5s"),
        flag("external-ca", Kind::ExternalCa, "Outside certificate authorities"),
        flag("max-snapshots", Kind::Uint, "Old Raft snapshots to keep"),
        flag("snapshot-interval", Kind::Uint, "Log entries between Raft snapshots").default("10000"),
        flag("task-history-limit", Kind::Int, "Finished tasks to keep for each slot").default("5"),
    ]
}

/// Applies the settings that were given.
fn change_settings(flags: &Parsed, spec: &mut Value) -> Result {
    let mut put = |section: &str, key: &str, value: Value| {
        object_mut(child(spec, section)).insert(key.into(), value);
    };
    if flags.changed("task-history-limit") {
        put("Orchestration", "TaskHistoryRetentionLimit", json!(flags.i64("task-history-limit")));
    }
    if flags.changed("dispatcher-heartbeat") {
        put("Dispatcher", "HeartbeatPeriod", json!(flags.duration("dispatcher-heartbeat")));
    }
    if flags.changed("max-snapshots") {
        put("Raft", "KeepOldSnapshots", json!(flags.u64("max-snapshots")));
    }
    if flags.changed("snapshot-interval") {
        put("Raft", "SnapshotInterval", json!(flags.u64("snapshot-interval")));
    }
    if flags.changed("autolock") {
        put("EncryptionConfig", "AutoLockManagers", json!(flags.bool("autolock")));
    }
    if flags.changed("cert-expiry") {
        put("CAConfig", "NodeCertExpiry", json!(flags.duration("cert-expiry")));
    }
    match flags.changed("external-ca") {
        true => Err(CliError::new("--external-ca: not supported by this version of swarmlab")),
        false => Ok(()),
    }
}

/// `--availability` of `init` and `join`.
fn availability(flags: &Parsed) -> Result<Option<String>> {
    if !flags.changed("availability") {
        return Ok(None);
    }
    let given = flags.string("availability");
    match given.to_lowercase().as_str() {
        value @ ("active" | "pause" | "drain") => Ok(Some(value.to_owned())),
        _ => Err(CliError::new(format!("invalid availability {given:?}, only active, pause and drain are supported"))),
    }
}

fn address_flags() -> Vec<Flag> {
    vec![
        flag(
            "advertise-addr",
            Kind::String,
            "Address that other nodes reach this one at, IP or INTERFACE, perhaps with :PORT",
        ),
        flag("availability", Kind::String, "\"active\", \"pause\" or \"drain\"").default("active"),
        flag("data-path-addr", Kind::String, "Address for the traffic of containers, IP or INTERFACE"),
        flag("listen-addr", Kind::NodeAddr, "Address to listen on").default("0.0.0.0:2377"),
    ]
}

/// The command line that joins a node, in words.
async fn print_join_command(context: &Context, node: &str, worker: bool, manager: bool) -> Result {
    let node = context.client.get(&crate::client::path("/nodes", node, "")).await?;
    let swarm = context.client.get("/swarm").await?;
    let address = text(&node, "ManagerStatus.Addr");
    if address.is_empty() {
        return Ok(());
    }
    for (wanted, role, key) in [(worker, "worker", "JoinTokens.Worker"), (manager, "manager", "JoinTokens.Manager")] {
        if wanted {
            context.print(&format!(
                "To add a {role} to this swarm, run the following command:\n\n    docker swarm join --token {} {address}\n\n",
                text(&swarm, key)
            ));
        }
    }
    Ok(())
}

fn print_unlock_key(context: &Context, key: &str) {
    if !key.is_empty() {
        context.print(&format!(
            "To unlock a swarm manager after it restarts, run the `docker swarm unlock`\ncommand and provide the following key:\n\n    {key}\n\nRemember to store this key in a password manager, since without it you\nwill not be able to restart the manager.\n"
        ));
    }
}
