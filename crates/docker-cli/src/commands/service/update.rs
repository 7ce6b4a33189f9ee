//! `docker service update`

use super::{flags::shared, get, put, wait};
use crate::command::{Arity, Command};
use crate::commands::resolve;
use crate::context::Context;
use crate::error::{CliError, Result};
use crate::flags::{Kind, Parsed, flag};
use crate::handler;
use crate::spec::create::Resolved;
use crate::spec::update::apply;
use docker_api::query::UpdateService;

/// Its flags.
pub fn command() -> Command {
    let mut flags = shared(false);
    flags.extend([
        flag("args", Kind::Command, "Arguments of the command"),
        flag("config-add", Kind::Config, "Add a config"),
        flag("config-rm", Kind::List, "Take a config away"),
        flag("constraint-add", Kind::List, "Add a condition that nodes must meet"),
        flag("constraint-rm", Kind::List, "Take a condition away"),
        flag("container-label-add", Kind::Label, "Set a label of the containers"),
        flag("container-label-rm", Kind::List, "Take a label of the containers away"),
        flag("dns-add", Kind::Ip, "Add a DNS server"),
        flag("dns-option-add", Kind::List, "Add a DNS option"),
        flag("dns-option-rm", Kind::List, "Take a DNS option away"),
        flag("dns-rm", Kind::List, "Take a DNS server away"),
        flag("dns-search-add", Kind::DnsSearch, "Add a DNS search domain"),
        flag("dns-search-rm", Kind::List, "Take a DNS search domain away"),
        flag("env-add", Kind::Env, "Set a variable of the environment"),
        flag("env-rm", Kind::List, "Take a variable of the environment away"),
        flag("force", Kind::Bool, "Start all tasks anew although nothing changed"),
        flag("generic-resource-add", Kind::GenericResource, "Add a resource of your own"),
        flag("generic-resource-rm", Kind::List, "Take a resource of your own away"),
        flag("group-add", Kind::List, "Add a further group"),
        flag("group-rm", Kind::List, "Take a further group away"),
        flag("host-add", Kind::Host, "Add a line for /etc/hosts, HOST:IP"),
        flag("host-rm", Kind::List, "Take a line for /etc/hosts away, HOST:IP"),
        flag("image", Kind::String, "New image"),
        flag("label-add", Kind::Label, "Set a label of the service"),
        flag("label-rm", Kind::List, "Take a label of the service away"),
        flag("mount-add", Kind::Mount, "Add a mount"),
        flag("mount-rm", Kind::List, "Take a mount away, by its target"),
        flag("network-add", Kind::Network, "Attach to a network"),
        flag("network-rm", Kind::List, "Detach from a network"),
        flag("placement-pref-add", Kind::Pref, "Add a way to spread tasks"),
        flag("placement-pref-rm", Kind::Pref, "Take a way to spread tasks away"),
        flag("publish-add", Kind::Port, "Open a port on the nodes"),
        flag("publish-rm", Kind::Port, "Close a port, by the port of the containers"),
        flag("rollback", Kind::Bool, "Go back to the specification before this one"),
        flag("secret-add", Kind::Secret, "Add a secret"),
        flag("secret-rm", Kind::List, "Take a secret away"),
        flag("sysctl-add", Kind::List, "Set a kernel setting"),
        flag("sysctl-rm", Kind::List, "Take a kernel setting away"),
        flag("ulimit-add", Kind::Ulimit, "Set a limit"),
        flag("ulimit-rm", Kind::List, "Take a limit away"),
    ]);
    Command::new("update", "[OPTIONS] SERVICE", "Change a service", Arity::Exactly(1), handler!(run)).flags(flags)
}

async fn run(context: &Context, flags: Parsed) -> Result {
    let name = flags.args[0].as_str();
    let mut service = get(context, name).await?;
    let rollback = flags.bool("rollback");
    if rollback && flags.given().any(|flag| !matches!(flag, "rollback" | "detach" | "quiet")) {
        return Err(CliError::new("other flags may not be combined with --rollback"));
    }
    if flags.bool("with-registry-auth") {
        return Err(CliError::new("--with-registry-auth: not supported by this version of swarmlab"));
    }
    let client = &context.client;
    let mut removed = Vec::new();
    for network in flags.list("network-rm") {
        removed.push(resolve::network_id(client, network).await?);
    }
    let resolved = Resolved {
        env: resolve::environment(context.host(), &[], flags.list("env-add"))?,
        networks: resolve::networks(client, flags.list("network-add")).await?,
        secrets: resolve::files(client, flags.list("secret-add"), "secret").await?,
        configs: resolve::files(client, flags.list("config-add"), "config").await?,
    };
    if !rollback {
        apply(&flags, &mut service["Spec"], resolved, &removed)?;
    }
    let query = UpdateService {
        registry_auth_from: "spec".into(),
        rollback: if rollback { "previous".into() } else { String::new() },
        ..Default::default()
    };
    for warning in put(context, &service, query).await? {
        context.warn(warning);
    }
    context.line(name);
    if flags.bool("detach") {
        return Ok(());
    }
    wait::converged(context, name, flags.bool("quiet")).await
}
