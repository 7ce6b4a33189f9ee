//! The runner's commands: one file each, which parses its arguments and delegates.
//!
//! A new command: a file here with `Args` and `run(Args) -> ExitCode`, one variant in [`Command`], one arm in
//! [`main`]. Exit codes: 0 done, 1 a step or check failed, 2 the machinery failed (or a wrong command line).

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// As `println!`, but a reader that closed its end of the pipe has seen enough: that is no reason to panic.
macro_rules! say {
    ($($text:tt)*) => {{
        let _ = std::io::Write::write_fmt(&mut std::io::stdout(), format_args!("{}\n", format_args!($($text)*)));
    }};
}

pub mod book;
pub mod check;
pub mod cluster;
pub mod doctor;
pub mod fault;
pub mod hint;
mod lesson;
pub mod list;
pub mod net;
pub mod record;
pub mod reset;
pub mod run;
pub mod shell;
pub mod solve;
pub mod start;
pub mod status;
pub mod stop;
mod support;
pub mod verify;

/// Learn container orchestration by running it.
#[derive(Debug, Parser)]
#[command(name = "swarmlab", version, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the chapters
    List(list::Args),
    /// Boot a cluster, run the steps of a chapter and check them
    Run(run::Args),
    /// Open a chapter's lab to work through it
    Start(start::Args),
    /// Enter a node of the open lab
    Shell(shell::Args),
    /// Judge a step of the open lab
    Check(check::Args),
    /// Help with a step, a little more at each call
    Hint(hint::Args),
    /// Do a step of the open lab; it counts as skipped
    Solve(solve::Args),
    /// Undo a step of the open lab
    Reset(reset::Args),
    /// Tell how far the open lab is
    Status(status::Args),
    /// End the open lab's cluster
    Stop(stop::Args),
    /// Break a node or the network of the open lab, or mend it
    Fault(fault::Args),
    /// Look into the kernel's network of a node
    Net(net::Args),
    /// For authors: prove every check of a chapter both ways
    Verify(verify::Args),
    /// For authors: write what commands print into the chapter
    Record(record::Args),
    /// Build the book, check its links
    Book(book::Args),
    /// Start, find and stop playground clusters
    Cluster(cluster::Args),
    /// Say what this machine lacks for running labs, and how to mend it
    Doctor(doctor::Args),
}

/// Parses the command line and runs the command.
pub fn main(args: Vec<OsString>) -> ExitCode {
    match Cli::parse_from(args).command {
        Command::List(args) => list::run(args),
        Command::Run(args) => run::run(args),
        Command::Start(args) => start::run(args),
        Command::Shell(args) => shell::run(args),
        Command::Check(args) => check::run(args),
        Command::Hint(args) => hint::run(args),
        Command::Solve(args) => solve::run(args),
        Command::Reset(args) => reset::run(args),
        Command::Status(args) => status::run(args),
        Command::Stop(args) => stop::run(args),
        Command::Fault(args) => fault::run(args),
        Command::Net(args) => net::run(args),
        Command::Verify(args) => verify::run(args),
        Command::Record(args) => record::run(args),
        Command::Book(args) => book::run(args),
        Command::Cluster(args) => cluster::run(args),
        Command::Doctor(args) => doctor::run(args),
    }
}
