//! `docker service scale`

use super::{get, put, wait};
use crate::command::{Arity, Command};
use crate::context::Context;
use crate::error::{CliError, Result};
use crate::flags::{Kind, Parsed, short};
use crate::handler;
use crate::spec::json::{at, object_mut};
use docker_api::query::UpdateService;
use serde_json::json;

const ABOUT: &str = "Change the number of tasks of services";
const USAGE: &str = "SERVICE=REPLICAS [SERVICE=REPLICAS...]";

pub fn command() -> Command {
    Command::new("scale", USAGE, ABOUT, Arity::AtLeast(1), handler!(run)).flags(vec![short(
        'd',
        "detach",
        Kind::Bool,
        "Do not wait until the services are as they should be",
    )])
}

async fn run(context: &Context, flags: Parsed) -> Result {
    for arg in &flags.args {
        if arg.split_once('=').is_none_or(|(name, count)| name.is_empty() || count.is_empty()) {
            return Err(CliError::new(format!(
                "invalid scale specifier '{arg}'.\nSee 'docker service scale --help'.\n\nUsage:  docker service scale {USAGE}\n\n{ABOUT}"
            )));
        }
    }
    let (mut errors, mut scaled) = (Vec::new(), Vec::new());
    for (name, count) in flags.args.iter().filter_map(|arg| arg.split_once('=')) {
        let parsed = count.parse::<u64>().map_err(|e| {
            let reason = match e.kind() {
                std::num::IntErrorKind::PosOverflow => "value out of range",
                _ => "invalid syntax",
            };
            CliError::new(format!("invalid replicas value {count}: strconv.ParseUint: parsing {count:?}: {reason}"))
        });
        let result = match parsed {
            Ok(count) => scale(context, name, count).await,
            Err(error) => Err(error),
        };
        match result {
            Ok(()) => scaled.push(name),
            Err(error) => errors.push(format!("{name}: {error}")),
        }
    }
    if !flags.bool("detach") {
        for name in scaled {
            if let Err(error) = wait::converged(context, name, false).await {
                errors.push(format!("{name}: {error}"));
            }
        }
    }
    match errors.is_empty() {
        true => Ok(()),
        false => Err(CliError::new(errors.join("\n"))),
    }
}

async fn scale(context: &Context, name: &str, count: u64) -> Result {
    let mut service = get(context, name).await?;
    let (mode, key) = if at(&service, "Spec.Mode.Replicated").is_some() {
        ("Replicated", "Replicas")
    } else if at(&service, "Spec.Mode.ReplicatedJob").is_some() {
        ("ReplicatedJob", "TotalCompletions")
    } else {
        return Err(CliError::new("scale can only be used with replicated or replicated-job mode"));
    };
    object_mut(&mut service["Spec"]["Mode"][mode]).insert(key.into(), json!(count));
    for warning in put(context, &service, UpdateService::default()).await? {
        context.warn(warning);
    }
    context.line(format_args!("{name} scaled to {count}"));
    Ok(())
}
