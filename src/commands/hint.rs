//! `swarmlab hint`: first what differs right now, then the author's hints, one more at each call.

use std::process::ExitCode;

use super::lesson::Lesson;
use super::support::Failure;
use crate::executor::Executor;

pub use super::support::StepArgs as Args;

/// Runs the command.
pub fn run(args: Args) -> ExitCode {
    execute(&args).map_or_else(Failure::report, |()| ExitCode::SUCCESS)
}

fn execute(args: &Args) -> Result<(), Failure> {
    let mut lesson = Lesson::open(&args.labs)?;
    let step = lesson.step(args.step.as_deref())?.clone();
    let cluster = lesson.cluster()?;
    say!("{} ({})", step.title, step.id);
    let lacks = |feature: &str| lesson.lacks(feature);
    let executor = Executor::new(&*cluster, &lacks);
    let wrong = step.checks.iter().find_map(|check| lab::state_hint(check, &executor.look(check)));
    drop(executor);
    match wrong {
        Some(wrong) => say!("\n{wrong}"),
        None => say!("\nAll that is checked holds right now: `swarmlab check {}`.", step.id),
    }
    if step.hints.is_empty() {
        if step.kind == lab::StepKind::Demo {
            say!("\nThe chapter shows the commands:");
            for command in &step.commands {
                say!("  {}$ {}", command.node, command.line.replace('\n', "\n  > "));
            }
        }
        return Ok(());
    }
    let progress = lesson.session.step_mut(&lesson.lab.id, &step.id);
    // the first call tells only the state; what to do about it comes when asked again
    let shown = progress.hints.min(step.hints.len());
    progress.hints = (progress.hints + 1).min(step.hints.len());
    for (at, hint) in step.hints.iter().take(shown).enumerate() {
        say!("\nHint {} of {}: {hint}", at + 1, step.hints.len());
    }
    if shown < step.hints.len() {
        say!("\n`swarmlab hint` again tells more.");
    } else {
        say!("\n`swarmlab solve` does it for you; the step then counts as skipped.");
    }
    lesson.session.save()?;
    Ok(())
}
