//! `docker network create`

use crate::command::{Arity, Command};
use crate::context::Context;
use crate::error::Result;
use crate::flags::{Kind, Parsed, flag, short};
use crate::handler;
use crate::spec::json::{object_mut, text};
use crate::spec::networks::network_spec;
use docker_api::ApiVersion;
use serde_json::json;

/// Its flags.
pub fn command() -> Command {
    Command::new("create", "[OPTIONS] NETWORK", "Make a network", Arity::Exactly(1), handler!(run)).flags(vec![
        flag("attachable", Kind::Bool, "Let containers that are no tasks attach"),
        flag("aux-address", Kind::Map, "Address that is taken by something else, NAME=IP").default("map[]"),
        flag("config-from", Kind::String, "Network whose configuration to take"),
        flag("config-only", Kind::Bool, "Only hold a configuration for other networks"),
        short('d', "driver", Kind::String, "Kind of network").default("bridge"),
        flag("gateway", Kind::Strings, "Address of the gateway in a subnet"),
        flag("ingress", Kind::Bool, "Make the network of the routing mesh"),
        flag("internal", Kind::Bool, "No way out of the network"),
        flag("ip-range", Kind::Strings, "Part of a subnet to take addresses from"),
        flag("ipam-driver", Kind::String, "What hands out addresses").default("default"),
        flag("ipam-opt", Kind::Map, "Option for what hands out addresses").default("map[]"),
        flag("ipv4", Kind::Bool, "Give out IPv4 addresses").default("true"),
        flag("ipv6", Kind::Bool, "Give out IPv6 addresses"),
        flag("label", Kind::Label, "Label of the network"),
        short('o', "opt", Kind::Map, "Option for the driver").default("map[]"),
        flag("scope", Kind::String, "\"local\" or \"swarm\""),
        flag("subnet", Kind::Strings, "Subnet in CIDR form"),
    ])
}

async fn run(context: &Context, flags: Parsed) -> Result {
    let mut spec = network_spec(&flags)?;
    // Earlier engines allow two networks of one name unless told otherwise.
    if context.client.version().await? < (ApiVersion { major: 1, minor: 44 }) {
        object_mut(&mut spec).insert("CheckDuplicate".into(), json!(true));
    }
    let answer = context.client.post("/networks/create", "", Some(spec)).await?;
    context.line(text(&answer, "Id"));
    Ok(())
}
