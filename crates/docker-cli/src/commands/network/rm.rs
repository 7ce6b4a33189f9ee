//! `docker network rm`

use crate::client::path;
use crate::command::{Arity, Command};
use crate::context::Context;
use crate::error::{CliError, Result};
use crate::flags::{Kind, Parsed, short};
use crate::handler;
use crate::spec::json::truth;

const INGRESS_WARNING: &str = "WARNING! Before removing the routing-mesh network, make sure all the nodes in your swarm run the same docker engine version. Otherwise, removal may not be effective and functionality of newly create ingress networks will be impaired.\nAre you sure you want to continue?";

pub(super) fn command() -> Command {
    Command::new("rm", "NETWORK [NETWORK...]", "Remove networks", Arity::AtLeast(1), handler!(run))
        .aliases(&["remove"])
        .flags(vec![short('f', "force", Kind::Bool, "No error where there is no such network")])
}

async fn run(context: &Context, flags: Parsed) -> Result {
    let mut failed = false;
    for name in &flags.args {
        let target = path("/networks", name, "");
        // The routing mesh of the whole swarm hangs on this one.
        let found = context.client.get(&target).await;
        if found.is_ok_and(|network| truth(&network, "Ingress")) && !context.confirm(INGRESS_WARNING)? {
            continue;
        }
        match context.client.delete(&target, "").await {
            Ok(_) => context.line(name),
            Err(error) if flags.bool("force") && error.is_not_found() => {}
            Err(error) => {
                context.warn(error);
                failed = true;
            }
        }
    }
    match failed {
        true => Err(CliError::new("exit status 1")),
        false => Ok(()),
    }
}
