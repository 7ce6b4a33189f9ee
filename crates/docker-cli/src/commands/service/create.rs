//! `docker service create`

use super::{flags::shared, wait};
use crate::command::{Arity, Command};
use crate::commands::resolve;
use crate::context::Context;
use crate::error::{CliError, Result};
use crate::flags::{Kind, Parsed, flag, short};
use crate::handler;
use crate::spec::create::{Resolved, check, service_spec};
use crate::spec::json::{strings, text};

/// Its flags.
pub fn command() -> Command {
    let mut flags = shared(true);
    flags.extend([
        flag("config", Kind::Config, "Config to give to the tasks"),
        flag("constraint", Kind::List, "Condition that nodes must meet"),
        flag("container-label", Kind::Label, "Label of the containers"),
        flag("dns", Kind::Ip, "DNS server"),
        flag("dns-option", Kind::List, "DNS option"),
        flag("dns-search", Kind::DnsSearch, "DNS search domain"),
        short('e', "env", Kind::Env, "Variable of the environment"),
        flag("env-file", Kind::List, "File with variables of the environment"),
        flag("generic-resource", Kind::GenericResource, "Resource of your own that nodes must have"),
        flag("group", Kind::List, "Further group of the processes"),
        flag("host", Kind::Host, "Line for /etc/hosts, HOST:IP"),
        short('l', "label", Kind::Label, "Label of the service"),
        flag("mode", Kind::String, "\"replicated\", \"global\", \"replicated-job\" or \"global-job\"")
            .default("replicated"),
        flag("mount", Kind::Mount, "Volume, folder or memory to mount"),
        flag("name", Kind::String, "Name of the service"),
        flag("network", Kind::Network, "Network to attach to"),
        flag("placement-pref", Kind::Pref, "How to spread tasks, spread=LABEL"),
        short('p', "publish", Kind::Port, "Port to open on the nodes"),
        flag("secret", Kind::Secret, "Secret to give to the tasks"),
        flag("sysctl", Kind::List, "Kernel setting of the containers"),
        flag("ulimit", Kind::Ulimit, "Limit of the processes"),
    ]);
    Command::new("create", "[OPTIONS] IMAGE [COMMAND] [ARG...]", "Make a new service", Arity::AtLeast(1), handler!(run))
        .flags(flags)
        .flags_first()
}

async fn run(context: &Context, flags: Parsed) -> Result {
    if flags.bool("with-registry-auth") {
        return Err(CliError::new("--with-registry-auth: not supported by this version of swarmlab"));
    }
    let env = resolve::environment(context.host(), flags.list("env-file"), flags.list("env"))?;
    check(&flags)?;
    let resolved = Resolved {
        env,
        networks: resolve::networks(&context.client, flags.list("network")).await?,
        secrets: resolve::files(&context.client, flags.list("secret"), "secret").await?,
        configs: resolve::files(&context.client, flags.list("config"), "config").await?,
    };
    let spec = service_spec(&flags, resolved)?;
    let answer = context.client.post("/services/create", "", Some(spec)).await?;
    for warning in strings(&answer, "Warnings") {
        context.warn(warning);
    }
    let id = text(&answer, "ID");
    context.line(id);
    if flags.bool("detach") {
        return Ok(());
    }
    wait::converged(context, id, flags.bool("quiet")).await
}
