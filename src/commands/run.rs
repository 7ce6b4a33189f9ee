//! `swarmlab run`: boots a cluster for each chapter, runs its steps and checks them.

use std::path::PathBuf;
use std::process::ExitCode;

use lab::report::Reports;
use lab::{Lab, Status};

use super::support::{Failure, LabsDir, Listen, find_step};
use crate::content::{Content, Source};
use crate::engine;
use crate::executor::{Options, run_chapter};
use crate::report::{self, Format, Live};
use crate::session::{Session, cluster_name};

/// Arguments of `swarmlab run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A chapter (`chapter-3`, `3` or its word), or `all`
    chapter: String,
    /// Run only this step and those that it needs
    #[arg(long, value_name = "ID")]
    step: Option<String>,
    /// What runs the cluster: embedded or dockerd
    #[arg(long, default_value = "embedded")]
    engine: String,
    /// How to tell
    #[arg(long, value_enum, default_value_t = Format::Pretty)]
    format: Format,
    /// Leave the cluster running, for `swarmlab shell` and `swarmlab stop`
    #[arg(long)]
    keep: bool,
    #[command(flatten)]
    listen: Listen,
    #[command(flatten)]
    labs: LabsDir,
}

/// Runs the command.
pub fn run(args: Args) -> ExitCode {
    execute(&args).unwrap_or_else(Failure::report)
}

fn execute(args: &Args) -> Result<ExitCode, Failure> {
    let content = Content::find(args.labs.path())?;
    let all = args.chapter == "all";
    if all && args.step.is_some() {
        return Err(Failure::usage("--step wants one chapter, not `all`"));
    }
    if all && args.keep {
        return Err(Failure::usage("--keep wants one chapter, not `all`"));
    }
    let labs = if all { content.all()? } else { vec![content.lab(&args.chapter)?] };
    if let (Some(step), Some((_, lab))) = (&args.step, labs.first()) {
        find_step(lab, step)?;
    }
    let engine = engine::by_name(&args.engine)?;
    let listen = args.listen.address()?;
    crate::interrupt::watch();
    let mut chapters = Vec::new();
    for (source, lab) in &labs {
        let scratch = tempfile::tempdir().map_err(Failure::io("a temporary folder"))?;
        let fixtures = fixtures(&content, source, scratch.path(), args.keep)?;
        let keep = args.keep.then(|| cluster_name(lab));
        let options = Options { step: args.step.clone(), keep: keep.clone(), listen, fixtures };
        let mut live = Live::new(args.format);
        let report = run_chapter(lab, &*engine, &options, &mut |event| live.event(&event));
        live.summary(&report);
        if keep.is_some() && report.trouble.is_none() {
            kept(lab, &args.engine)?;
        }
        chapters.push(report);
    }
    let reports = Reports::new(engine.name(), chapters);
    let status = if reports.chapters.is_empty() { Status::Skip } else { reports.status };
    report::document(args.format, reports, all).map_err(Failure::io("standard output"))?;
    Ok(report::exit_code(status))
}

/// The fixtures' folder; one that must outlive this process is not a temporary one.
fn fixtures(
    content: &Content,
    source: &Source,
    scratch: &std::path::Path,
    keep: bool,
) -> Result<Option<PathBuf>, Failure> {
    let into = if keep { Session::fixtures_dir(&source.id)? } else { scratch.to_owned() };
    Ok(content.fixtures(&source.id, &into)?)
}

fn kept(lab: &Lab, engine: &str) -> Result<(), Failure> {
    let mut session = Session::load()?;
    session.enter(&lab.id, engine);
    session.save()?;
    let name = cluster_name(lab);
    eprintln!("The cluster `{name}` stays: `swarmlab shell` enters it, `swarmlab stop` ends it.");
    Ok(())
}
