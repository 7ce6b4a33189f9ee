//! `swarmlab verify`: proves every check of a chapter both ways, and prints a table.

use std::process::ExitCode;

use super::support::Failure;
use crate::content::Content;
use crate::engine;
use crate::executor::{Event, Options, verify_chapter};
use crate::report;

pub use super::support::ChapterArgs as Args;

/// Runs the command.
pub fn run(args: Args) -> ExitCode {
    execute(&args).unwrap_or_else(Failure::report)
}

fn execute(args: &Args) -> Result<ExitCode, Failure> {
    let content = Content::find(args.labs.path())?;
    let labs = if args.chapter == "all" { content.all()? } else { vec![content.lab(&args.chapter)?] };
    let engine = engine::by_name(&args.engine)?;
    crate::interrupt::watch();
    let mut wrong = 0;
    for (source, lab) in &labs {
        let scratch = tempfile::tempdir().map_err(Failure::io("a temporary folder"))?;
        let fixtures = content.fixtures(&source.id, scratch.path())?;
        let options = Options { fixtures, ..Options::default() };
        let proofs = verify_chapter(lab, &*engine, &options, &mut |event| {
            if let Event::Step(step) = event {
                eprintln!("{}: {}", lab.id, step.id);
            }
        })?;
        say!("{}: {}", lab.id, lab.title);
        say!("{}", report::proofs(&proofs).trim_end());
        let here = proofs.iter().filter(|p| p.wrong.is_some()).count();
        match here {
            0 => say!("every check holds both ways\n"),
            n => say!("{} wrong\n", report::count(n, "line")),
        }
        wrong += here;
    }
    Ok(if wrong == 0 { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
