//! `netview`: what the kernel's network of a node looks like, for a machine that has neither iproute2 nor nft.
//!
//! A program of every node, beside `docker`: `netview` shows the node's own namespace, `netview NETWORK` that of an
//! overlay network (or the bridge of a local one), `netview --container NAME` that of a container. The learner's
//! `swarmlab net` calls it in the node. It reads by netlink, so it shows genuine Docker's namespaces as well.

mod place;
mod text;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use serde_json::json;

use crate::lab_line::Format;
use place::Place;

/// Show interfaces, bridges, VXLAN, forwarding and packet filter of this node or one of its networks
#[derive(Debug, Parser)]
#[command(name = "netview", disable_help_subcommand = true)]
pub struct Args {
    #[command(flatten)]
    pub what: What,
}

/// What is looked at.
#[derive(Debug, Clone, clap::Args)]
pub struct What {
    /// A network by name or id, or a namespace of /var/run/docker/netns; without it the node's own
    pub network: Option<String>,
    /// A container by name or id
    #[arg(long, value_name = "NAME", conflicts_with = "network")]
    pub container: Option<String>,
    /// How to tell
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
}

impl What {
    /// The command that shows it on a node.
    pub fn argv(&self) -> Vec<String> {
        let mut argv = vec!["netview".to_owned()];
        argv.extend(self.network.clone());
        argv.extend(self.container.iter().map(|name| format!("--container={name}")));
        if self.format == Format::Json {
            argv.push("--format=json".to_owned());
        }
        argv
    }
}

/// The mode `netview`; `args` begin with the program's name.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let what = Args::parse_from(args).what;
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return refuse(&error.to_string()),
    };
    match runtime.block_on(show(&what)) {
        Ok(text) => {
            // a closed pipe is the reader's choice
            let _ = std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(why) => refuse(&why),
    }
}

fn refuse(why: &str) -> ExitCode {
    eprintln!("netview: {why}");
    ExitCode::from(1)
}

async fn show(what: &What) -> Result<String, String> {
    let place = Place::find(what).await?;
    let view = place.look().await?;
    Ok(match what.format {
        Format::Table => text::page(&place, &view),
        Format::Json => {
            let namespaces: Vec<_> =
                place.namespaces.iter().map(|(file, of)| json!({ "name": file, "network": of })).collect();
            let document = json!({
                "format_version": 1, "of": place.title, "namespace": place.file, "view": view, "namespaces": namespaces,
            });
            format!("{document:#}\n")
        }
    })
}
