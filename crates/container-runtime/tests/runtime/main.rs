//! Real containers, as root and inside a user namespace with one mapped id. One binary that is also its own shim:
//! `runtime shim DIR` and `runtime lab-image ..` run what swarmlab would. `runtime rootless` re-runs the cases in a
//! namespace tree like the lab's sandbox. Arguments filter cases by name, as with the usual harness.

#![allow(clippy::unwrap_used, missing_docs)]

mod archives;
mod cases;
mod sandbox;
mod support;

use std::process::ExitCode;

fn main() -> ExitCode {
    let called_as = std::env::args().next().and_then(|arg0| arg0.rsplit('/').next().map(str::to_owned));
    if let Some(name) = called_as.filter(|name| container_runtime::builtin::APPLETS.contains(&name.as_str())) {
        return container_runtime::builtin::main(std::iter::once(name).chain(std::env::args().skip(1)));
    }
    let mut args = std::env::args().skip(1);
    match args.next().as_deref() {
        Some("shim") => return container_runtime::shim::main(args),
        Some("lab-image") => return container_runtime::builtin::main(args),
        Some("sandbox-init") => return sandbox::init(args.collect()),
        _ => {}
    }
    support::run(std::env::args().skip(1).collect())
}
