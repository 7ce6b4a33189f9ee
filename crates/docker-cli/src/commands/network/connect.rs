//! `docker network connect` and `docker network disconnect`

use crate::client::{ClientError, path};
use crate::command::{Arity, Command};
use crate::context::Context;
use crate::error::Result;
use crate::flags::{Kind, Parsed, flag, short};
use crate::handler;
use crate::spec::networks::connect_request;
use serde_json::json;

pub(super) fn command() -> Command {
    Command::new(
        "connect",
        "[OPTIONS] NETWORK CONTAINER",
        "Connect a container to a network",
        Arity::Exactly(2),
        handler!(connect),
    )
    .flags(vec![
        flag("alias", Kind::Strings, "Further name in the network"),
        flag("driver-opt", Kind::Strings, "Option for the driver"),
        flag("gw-priority", Kind::Int, "The highest gives the default route"),
        flag("ip", Kind::String, "IPv4 address"),
        flag("ip6", Kind::String, "IPv6 address"),
        flag("link", Kind::Link, "Name for another container"),
        flag("link-local-ip", Kind::Strings, "Link-local address"),
    ])
}

pub(super) fn disconnect_command() -> Command {
    Command::new(
        "disconnect",
        "[OPTIONS] NETWORK CONTAINER",
        "Disconnect a container from a network",
        Arity::Exactly(2),
        handler!(disconnect),
    )
    .flags(vec![short('f', "force", Kind::Bool, "Although the container does not answer")])
}

/// Docker's client does not ask the engine about a name that is none.
fn container(flags: &Parsed) -> std::result::Result<&str, ClientError> {
    match flags.args[1].trim() {
        "" => Err(ClientError::EmptyName("container".into())),
        name => Ok(name),
    }
}

async fn connect(context: &Context, flags: Parsed) -> Result {
    let request = connect_request(&flags, container(&flags)?)?;
    context.client.post(&path("/networks", &flags.args[0], "/connect"), "", Some(request)).await?;
    Ok(())
}

async fn disconnect(context: &Context, flags: Parsed) -> Result {
    let request = json!({ "Container": container(&flags)?, "Force": flags.bool("force") });
    context.client.post(&path("/networks", &flags.args[0], "/disconnect"), "", Some(request)).await?;
    Ok(())
}
