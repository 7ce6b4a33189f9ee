//! Proves the checks of a chapter both ways: a check that cannot fail proves nothing, one that does not hold twice
//! proves luck.

use std::time::{Duration, Instant};

use lab::{Check, Lab, Status, Step, StepKind};

use super::run::{boot, cluster_spec, own_name};
use super::{Event, Executor, Listener, Options};
use crate::engine::{Engine, EngineError, Lifetime};

/// What was seen of one check.
#[derive(Debug, Clone)]
pub struct Proof {
    /// The step.
    pub step: String,
    /// The check.
    pub check: String,
    /// Before the step: it should fail.
    pub before: Status,
    /// After it: it should pass.
    pub after: Status,
    /// Asked again: it should pass.
    pub again: Status,
    /// After the step's reset, where it has one: it should fail.
    pub reset: Option<Status>,
    /// Why it may pass before the step.
    pub always: Option<String>,
    /// What went otherwise than it should.
    pub wrong: Option<String>,
}

/// How long to wait after a reset for a check to stop holding.
const RESET_WAIT: Duration = Duration::from_secs(30);

/// Goes through a chapter; the error is trouble with the machinery or a step that did not work at all.
pub fn verify_chapter(
    lab: &Lab,
    engine: &dyn Engine,
    options: &Options,
    listen: &mut Listener<'_>,
) -> Result<Vec<Proof>, EngineError> {
    listen(Event::Chapter(lab));
    let spec = cluster_spec(lab, own_name(lab), Lifetime::Foreground, options.fixtures.clone());
    let cluster = boot(engine, &spec, listen)?;
    let _guard = crate::interrupt::end_on_signal(&cluster, false);
    let lacks = |feature: &str| engine.lacks(feature);
    let mut executor = Executor::new(&*cluster, &lacks);
    let mut proofs = Vec::new();
    for step in &lab.steps {
        listen(Event::Step(step));
        proofs.extend(verify_step(&mut executor, step, listen));
    }
    drop(executor);
    cluster.shutdown()?;
    Ok(proofs)
}

fn verify_step(executor: &mut Executor<'_>, step: &Step, listen: &mut Listener<'_>) -> Vec<Proof> {
    let before: Vec<Status> = step.checks.iter().map(|c| executor.look(c).status).collect();
    let report = executor.step(step, listen);
    let again: Vec<Status> = step.checks.iter().map(|c| executor.check(c).status).collect();
    let mut proofs: Vec<Proof> = Vec::new();
    for (at, check) in step.checks.iter().enumerate() {
        let after = report.checks.iter().find(|r| r.id == check.id).map_or(Status::Skip, |r| r.status);
        proofs.push(Proof {
            step: step.id.clone(),
            check: check.words.clone(),
            before: before.get(at).copied().unwrap_or(Status::Skip),
            after,
            again: again.get(at).copied().unwrap_or(Status::Skip),
            reset: None,
            always: check.always.clone(),
            wrong: None,
        });
    }
    if step.checks.is_empty() || report.status != Status::Pass {
        proofs.extend(whole_step(step, &report));
    }
    if !step.reset.is_empty()
        && report.status == Status::Pass
        && let Err(why) = undo_and_redo(executor, step, &mut proofs)
    {
        proofs.push(only_wrong(step, "reset", report.status, why));
    }
    for proof in &mut proofs {
        proof.wrong = proof.wrong.take().or_else(|| objection(proof));
    }
    listen(Event::StepDone(&report));
    proofs
}

/// A step without checks of its own, or one that did not work: its exit codes and recordings in one line.
fn whole_step(step: &Step, report: &lab::report::StepReport) -> Option<Proof> {
    let failed = report.checks.iter().find(|c| !matches!(c.status, Status::Pass | Status::Skip));
    let wrong = match (report.status, failed) {
        (Status::Pass | Status::Skip, _) => None,
        (_, Some(check)) => Some(format!("{}: expected {}, seen {}", check.command, check.expected, check.seen)),
        (_, None) => Some(report.reason.clone().unwrap_or_else(|| "it did not work".to_owned())),
    };
    let mut proof = only_wrong(step, "its commands and their output", report.status, String::new());
    proof.wrong = wrong;
    Some(proof)
}

fn only_wrong(step: &Step, what: &str, status: Status, why: String) -> Proof {
    Proof {
        step: step.id.clone(),
        check: what.to_owned(),
        before: Status::Skip,
        after: status,
        again: status,
        reset: None,
        always: Some(String::new()),
        wrong: Some(why),
    }
}

/// Resets the step, waits until every check fails, and does the step once more for those that follow.
fn undo_and_redo(executor: &mut Executor<'_>, step: &Step, proofs: &mut [Proof]) -> Result<(), String> {
    let run = |executor: &mut Executor<'_>, commands: &[lab::Command], what: &str| match executor
        .commands(commands, step.timeout)
    {
        Ok(Ok(())) => Ok(()),
        Ok(Err(done)) => Err(format!(
            "the {what} failed: {}$ {}: exit code {}: {}",
            done.node,
            done.command,
            done.exit,
            done.output.trim()
        )),
        Err(error) => Err(format!("the {what} failed: {error}")),
    };
    run(executor, &step.reset, "reset")?;
    for (check, proof) in step.checks.iter().zip(proofs.iter_mut()) {
        if check.always.is_none() {
            proof.reset = Some(until_it_fails(executor, check));
        }
    }
    let what = if step.kind == StepKind::Exercise {
        "solution, run again after the reset,"
    } else {
        "commands, run again after the reset,"
    };
    run(executor, step.way(), what)?;
    match step.checks.iter().map(|c| executor.check(c)).find(|r| !matches!(r.status, Status::Pass | Status::Skip)) {
        None => Ok(()),
        Some(result) => {
            Err(format!("solved again after the reset: expected {}, seen {}", result.expected, result.seen))
        }
    }
}

fn until_it_fails(executor: &Executor<'_>, check: &Check) -> Status {
    let began = Instant::now();
    loop {
        let status = executor.look(check).status;
        if status != Status::Pass || began.elapsed() >= RESET_WAIT {
            return status;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn objection(proof: &Proof) -> Option<String> {
    if [proof.before, proof.after, proof.again].contains(&Status::Error) || proof.reset == Some(Status::Error) {
        return Some("the check could not be made".to_owned());
    }
    if proof.after == Status::Skip {
        return None;
    }
    if proof.after != Status::Pass {
        return Some("it does not hold after the step".to_owned());
    }
    if proof.again != Status::Pass {
        return Some("asked twice, it held only once".to_owned());
    }
    if proof.before == Status::Pass && proof.always.is_none() {
        return Some("it holds before the step too (if it must, say why: always = \"...\")".to_owned());
    }
    if proof.reset == Some(Status::Pass) {
        return Some("it still holds after the reset".to_owned());
    }
    None
}
