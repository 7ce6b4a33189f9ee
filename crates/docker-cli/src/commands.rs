//! One module per noun, one file per verb. A verb's file declares its flags and delegates: to [`crate::spec`] for what
//! it sends, to [`crate::formatter`] for what it prints.

pub mod container;
pub mod image;
pub mod inspect;
pub mod network;
pub mod node;
mod resolve;
pub mod secret;
pub mod service;
pub mod swarm;
pub mod system;
mod unsupported;
pub mod volume;

use crate::command::Command;
use crate::error::{CliError, Result};
use crate::flags::{Flag, Kind, Parsed, flag, short};
use docker_api::Filters;

/// The whole tree.
pub fn root() -> Command {
    let mut commands = vec![
        container::run::command().section("Common Commands"),
        container::exec::command().section("Common Commands"),
        container::ls::command().named("ps", &[]).section("Common Commands"),
        image::ls::command().named("images", &[]).section("Common Commands"),
        system::version::command().section("Common Commands"),
        system::info::command().section("Common Commands"),
        container::group(),
        image::group(),
        network::group(),
        system::group(),
        volume::group(),
        node::group().section("Swarm Commands"),
        secret::configs().section("Swarm Commands"),
        secret::secrets().section("Swarm Commands"),
        service::group().section("Swarm Commands"),
        swarm::group().section("Swarm Commands"),
        system::events::command(),
        inspect::command(),
        image::load::command(),
        image::tag::command(),
        image::history::command(),
        image::rm::command().named("rmi", &[]),
    ];
    commands.extend(container::shortcuts());
    commands.extend(unsupported::commands());
    let mut root = Command::group("docker", "Runs and orchestrates containers", commands);
    root.flags = global_flags();
    root
}

/// Flags before the first word.
pub fn global_flags() -> Vec<Flag> {
    vec![
        flag("config", Kind::String, "Folder of the client's settings (not used by this program)"),
        short('c', "context", Kind::String, "Name of the context to use; only \"default\" exists"),
        short('D', "debug", Kind::Bool, "Say more"),
        short('H', "host", Kind::List, "Socket of the engine, unix://PATH or tcp://HOST:PORT"),
        short('l', "log-level", Kind::String, "How much to log").default("info"),
        flag("tls", Kind::Bool, "Use TLS (not supported by this program)"),
        flag("tlscacert", Kind::String, "Certificate authority to trust"),
        flag("tlscert", Kind::String, "Own certificate"),
        flag("tlskey", Kind::String, "Own key"),
        flag("tlsverify", Kind::Bool, "Use TLS and check the engine (not supported by this program)"),
        short('v', "version", Kind::Bool, "Print the version"),
    ]
}

const FORMAT_HELP: &str = "\"table\" (default), \"table TEMPLATE\", \"json\", or a Go template";

/// `--filter`, `--format` and `-q` of lists.
fn list_flags() -> Vec<Flag> {
    vec![
        short('f', "filter", Kind::Filter, "Show only what matches, KEY=VALUE"),
        flag("format", Kind::String, FORMAT_HELP),
        short('q', "quiet", Kind::Bool, "Show ids only"),
    ]
}

/// `-f` and `--filter` of what removes the unused.
fn prune_flags() -> Vec<Flag> {
    vec![
        flag("filter", Kind::Filter, "Remove only what matches, KEY=VALUE"),
        short('f', "force", Kind::Bool, "Do not ask"),
    ]
}

/// `--format` of inspects.
fn inspect_format() -> Flag {
    short('f', "format", Kind::String, "\"json\", or a Go template for each object")
}

/// `--format` and `--pretty` of inspects that have a page to read.
fn page_flags() -> Vec<Flag> {
    vec![inspect_format(), flag("pretty", Kind::Bool, "Print a page to read rather than JSON")]
}

/// The format that [`page_flags`] ask for; `pretty` is the page.
fn page_or_format(flags: &Parsed) -> Result<&str> {
    let format = if flags.bool("pretty") { "pretty" } else { flags.string("format") };
    match format.starts_with("pretty") && format != "pretty" {
        true => Err(CliError::new("cannot supply extra formatting options to the pretty template")),
        false => Ok(format),
    }
}

/// The values of `--filter`; keys are read without regard to case, as Docker does.
fn filters(values: &[String]) -> Filters {
    let mut filters = Filters::default();
    for (key, value) in values.iter().filter_map(|text| text.split_once('=')) {
        filters.add(key.trim().to_lowercase(), value.trim());
    }
    filters
}
