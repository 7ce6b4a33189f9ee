//! `swarmlab list`: the chapters, and how far the learner is.

use std::process::ExitCode;

use super::support::{Failure, LabsDir};
use crate::content::Content;
use crate::session::{Session, StepState};

/// Arguments of `swarmlab list`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(flatten)]
    labs: LabsDir,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Format {
    Table,
    Json,
}

/// Runs the command.
pub fn run(args: Args) -> ExitCode {
    execute(&args).map_or_else(Failure::report, |()| ExitCode::SUCCESS)
}

fn execute(args: &Args) -> Result<(), Failure> {
    let labs = Content::find(args.labs.path())?.all()?;
    // without a home there is no progress, and the chapters can be listed all the same
    let session = Session::load().ok();
    let mut rows = Vec::new();
    for (_, lab) in &labs {
        let state = |id: &str| session.as_ref().map_or(StepState::Open, |s| s.step(&lab.id, id).state);
        let done = lab.steps.iter().filter(|s| state(&s.id) == StepState::Done).count();
        rows.push((lab, done));
    }
    match args.format {
        Format::Json => {
            let chapters: Vec<serde_json::Value> = rows
                .iter()
                .map(|(lab, done)| {
                    let steps: Vec<_> = lab.steps.iter().map(|s| serde_json::json!({"id": s.id, "title": s.title, "kind": s.kind.name(), "points": s.points})).collect();
                    serde_json::json!({
                        "id": lab.id, "slug": lab.slug, "title": lab.title, "points": lab.points(), "done": done,
                        "managers": lab.cluster.managers, "workers": lab.cluster.workers, "steps": steps,
                    })
                })
                .collect();
            let document = serde_json::json!({"format_version": 1, "chapters": chapters});
            say!("{document:#}");
        }
        Format::Table => {
            let width = rows.iter().map(|(lab, _)| lab.title.chars().count()).max().unwrap_or(0).max(5);
            say!("{:12}  {:width$}  {:>5}  {:>4}  {:>6}  WORD", "CHAPTER", "TITLE", "STEPS", "DONE", "POINTS");
            for (lab, done) in rows {
                let (id, title, steps, points, slug) = (&lab.id, &lab.title, lab.steps.len(), lab.points(), &lab.slug);
                say!("{id:12}  {title:width$}  {steps:>5}  {done:>4}  {points:>6}  {slug}");
            }
            say!("\n`swarmlab start CHAPTER` opens one to work through, `swarmlab run CHAPTER` shows it running.");
        }
    }
    Ok(())
}
