//! `swarmlab record`: runs a chapter and writes what its commands print into its Markdown.

use std::io::Write;
use std::process::ExitCode;

use lab::{NewOutput, Status};

use super::support::Failure;
use crate::content::{Content, ContentError};
use crate::engine;
use crate::executor::{Options, run_chapter};
use crate::report::{self, Format, Live};

pub use super::support::ChapterArgs as Args;

/// Runs the command.
pub fn run(args: Args) -> ExitCode {
    execute(&args).unwrap_or_else(Failure::report)
}

fn execute(args: &Args) -> Result<ExitCode, Failure> {
    let content = Content::find(args.labs.path())?;
    let Some(folder) = content.folder() else {
        return Err(Failure::usage(
            "there is no chapter here to write to: stand in a checkout, or name one by --labs DIR",
        ));
    };
    let (source, lab) = content.lab(&args.chapter)?;
    let engine = engine::by_name(&args.engine)?;
    crate::interrupt::watch();
    let options = Options { fixtures: content.fixtures(&lab.id, folder)?, ..Options::default() };
    let mut live = Live::new(Format::Pretty);
    let report = run_chapter(&lab, &*engine, &options, &mut |event| live.event(&event));
    live.summary(&report);
    if report.trouble.is_some() {
        return Ok(report::exit_code(report.status));
    }
    let mut outputs = Vec::new();
    for step in report.steps.iter().filter(|s| s.kind == "demo") {
        let new = |(command, done): (usize, &lab::report::CommandReport)| NewOutput {
            step: step.id.clone(),
            command,
            ran: done.command.clone(),
            output: done.output.clone(),
        };
        outputs.extend(step.commands.iter().enumerate().map(new));
    }
    let text = lab::rewrite(&source.chapter_path, &source.chapter, &lab, &outputs).map_err(ContentError::Malformed)?;
    let path = folder.join(format!("book/src/{}.md", lab.id));
    if text == source.chapter {
        say!("{}: every recording still matches; nothing was changed", path.display());
    } else {
        let write = || -> std::io::Result<()> {
            let mut file = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(folder))?;
            file.write_all(text.as_bytes())?;
            file.as_file().set_permissions(std::fs::metadata(&path)?.permissions())?;
            file.persist(&path).map_err(|error| error.error)?;
            Ok(())
        };
        write().map_err(|why| ContentError::Io { path: path.clone(), why })?;
        say!("{}: recordings brought up to date; look at the difference before you commit it", path.display());
    }
    let other = report.steps.iter().flat_map(|s| &s.checks).any(|c| c.kind != "recording" && c.status == Status::Fail);
    let status = match report.status {
        Status::Fail if !other => Status::Pass,
        status => status,
    };
    Ok(report::exit_code(status))
}
