//! swarmlab: the lab runner, the node daemon and a docker-compatible CLI in one binary.
//!
//! This file only decides which of its modes the binary was called in. The hidden modes come first, before any
//! thread, runtime or argument parser exists: `shim` and `sandbox-init` fork and enter namespaces and must be
//! single-threaded. What the modes do is elsewhere.

mod commands;
mod content;
mod engine;
mod executor;
mod forward;
mod interrupt;
mod lab_line;
mod netview;
mod own_client;
mod preprocessor;
mod probe;
mod report;
mod sandbox;
mod session;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    let called_as = args.first().and_then(|arg0| Path::new(arg0).file_name()).and_then(|name| name.to_str());
    let mode = args.get(1).and_then(|arg| arg.to_str());
    let rest = args.get(2..).unwrap_or_default();
    match (called_as, mode) {
        // first: `docker probe` is for docker to refuse
        (Some("docker"), _) => docker_cli::main(args.into_iter().skip(1)),
        (Some(name), _) if container_runtime::builtin::APPLETS.contains(&name) => {
            let rest = strings(args.get(1..).unwrap_or_default());
            container_runtime::builtin::main(std::iter::once(name.to_owned()).chain(rest))
        }
        (Some("netview"), _) => netview::main(args),
        (_, Some("docker")) => docker_cli::main(args.into_iter().skip(2)),
        (_, Some("forwarder")) => forward::main(rest),
        (_, Some("sandbox-init")) => sandbox::guard::main(rest),
        (_, Some("node-daemon")) => swarm_node::main(strings(rest)),
        (_, Some("shim")) => container_runtime::shim::main(strings(rest)),
        (_, Some("lab-image")) => container_runtime::builtin::main(strings(rest)),
        (Some("mdbook-swarmlab"), _) => preprocessor::main(args.get(1..).unwrap_or_default()),
        (_, Some("preprocessor")) => preprocessor::main(rest),
        (_, Some("probe")) => probe::main(rest),
        _ => commands::main(args),
    }
}

/// Arguments of our own processes, which we only ever start with text.
fn strings(args: &[OsString]) -> impl Iterator<Item = String> + '_ {
    args.iter().map(|arg| arg.to_string_lossy().into_owned())
}
