//! Runs the steps of a lab on a cluster and observes what its checks ask for.
//!
//! Whether what was observed is good is decided by the `lab` crate; how it is shown is [`crate::report`]'s. The
//! executor meets the cluster only through [`Cluster`], so the same labs run on every engine.

mod observe;
mod run;
mod verify;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use lab::report::{CheckReport, CommandReport, StepReport};
use lab::{Check, CheckResult, LAB_NODE, RecordingMode, Status, Step, Verdict, Watch, recording};

pub use run::{Options, boot, cluster_spec, run_chapter};
pub use verify::{Proof, verify_chapter};

use crate::engine::{self, Cluster, EngineError, ExecOptions, Progress};
use crate::lab_line;

/// What happens during a run, for whoever shows it.
#[derive(Debug)]
pub enum Event<'a> {
    /// A chapter begins.
    Chapter(&'a lab::Lab),
    /// The cluster boots.
    Boot(Progress),
    /// A step begins.
    Step(&'a Step),
    /// A command begins.
    Command(&'a str, &'a str),
    /// A command ended.
    CommandDone(&'a CommandReport),
    /// A check is awaited.
    Check(&'a str),
    /// A check has its result.
    CheckDone(&'a CheckReport),
    /// A step ended.
    StepDone(&'a StepReport),
}

/// Takes events.
pub type Listener<'l> = dyn FnMut(Event<'_>) + 'l;

/// Runs steps on one cluster. Keeps what later commands need of earlier ones: saved variables, and which recorded id
/// or token stands for which one of this run.
pub struct Executor<'a> {
    cluster: &'a dyn Cluster,
    /// Why this engine cannot do a feature.
    lacks: &'a dyn Fn(&str) -> Option<String>,
    saved: BTreeMap<String, String>,
    bindings: BTreeMap<String, String>,
    /// Ids and tokens that commands without a recording printed, the newest last.
    loose: Vec<(&'static str, String)>,
    began: Instant,
}

impl<'a> Executor<'a> {
    /// An executor on this cluster; `lacks` is the engine's [`engine::Engine::lacks`].
    pub fn new(cluster: &'a dyn Cluster, lacks: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self {
            cluster,
            lacks,
            saved: BTreeMap::new(),
            bindings: BTreeMap::new(),
            loose: Vec::new(),
            began: Instant::now(),
        }
    }

    /// Runs a step's way (a demo's commands, an exercise's solution) and makes its checks.
    pub fn step(&mut self, step: &Step, listen: &mut Listener<'_>) -> StepReport {
        let began = Instant::now();
        if let Some(reason) = self.skips(&step.skip, &step.requires) {
            return StepReport::new(step, Status::Skip, Some(reason));
        }
        let mut report = StepReport::new(step, Status::Pass, None);
        match self.way(step, &mut report, listen) {
            Ok(true) => report.checks.extend(self.checks(step, None, listen)),
            Ok(false) => {}
            Err(error) => report.reason = Some(error.to_string()),
        }
        report.status = match &report.reason {
            Some(_) => Status::Error,
            None => Status::of_all(report.checks.iter().map(|c| c.status)),
        };
        report.duration_ms = millis(began.elapsed());
        report
    }

    /// Runs the commands of a step; `false` where one failed and the rest was left.
    fn way(&mut self, step: &Step, report: &mut StepReport, listen: &mut Listener<'_>) -> Result<bool, EngineError> {
        let last = step.way().len();
        for (at, command) in step.way().iter().enumerate() {
            let number = at + 1;
            let settle = step.settle.filter(|_| number == last);
            let (done, timed_out, compared) = self.until_settled(step, command, settle, listen)?;
            listen(Event::CommandDone(&done));
            let exit = lab::judge_exit(command, done.exit, timed_out, step.timeout);
            let exit_good = exit.status == Status::Pass || (step.continue_on_error && !timed_out);
            if let Some(recording) = &command.recording
                && step.recording != RecordingMode::Ignored
            {
                self.learn(&recording.text, &done.output);
            }
            report.commands.push(done);
            if !step.continue_on_error || timed_out {
                let id = format!("{}/exit-{number}", step.id);
                self.tell(CheckReport::implied(&id, "exit", "The command ends as it should.", exit), report, listen);
            }
            if let Some(result) = compared.filter(|_| exit_good) {
                let id = format!("{}/recording-{number}", step.id);
                let words = "The output is the one that the chapter shows.";
                self.tell(CheckReport::implied(&id, "recording", words, result), report, listen);
            }
            if !exit_good {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Runs a command; with a rule again and again, until its output is the recorded one. While there is no recording
    /// yet, it has settled when the step's checks hold.
    fn until_settled(
        &mut self,
        step: &Step,
        command: &lab::Command,
        rule: Option<lab::Eventually>,
        listen: &mut Listener<'_>,
    ) -> Result<(CommandReport, bool, Option<CheckResult>), EngineError> {
        let unrecorded = rule.is_some() && command.recording.as_ref().is_some_and(|r| r.text.is_empty());
        let mut watch = Watch::new(rule);
        loop {
            listen(Event::Command(&command.node, &command.line));
            let held = unrecorded && step.checks.iter().all(|c| self.look(c).status == Status::Pass);
            let (done, timed_out) = self.command(command, step.timeout)?;
            let Some(compared) = lab::judge_recording(command, step.recording, &done.output) else {
                return Ok((done, timed_out, None));
            };
            if held {
                return Ok((done, timed_out, Some(compared)));
            }
            match watch.observe(self.began.elapsed(), compared) {
                Verdict::Done(result) => return Ok((done, timed_out, Some(result))),
                Verdict::Again(at) => self.wait_until(at),
            }
        }
    }

    fn tell(&self, check: CheckReport, report: &mut StepReport, listen: &mut Listener<'_>) {
        listen(Event::CheckDone(&check));
        report.checks.push(check);
    }

    /// Runs commands without judging output: a reset, or the replay of a step. The first that fails ends it.
    pub fn commands(
        &mut self,
        commands: &[lab::Command],
        timeout: Duration,
    ) -> Result<Result<(), CommandReport>, EngineError> {
        for command in commands {
            let (done, timed_out) = self.command(command, timeout)?;
            if let Some(recording) = &command.recording {
                self.learn(&recording.text, &done.output);
            }
            if done.exit != command.exit || timed_out {
                return Ok(Err(done));
            }
        }
        Ok(Ok(()))
    }

    /// Learns which recorded ids and tokens stand for which ones of this run.
    fn learn(&mut self, recorded: &str, output: &str) {
        let observed = recording::tidy(output);
        self.bindings.extend(recording::bindings(recorded, &observed));
        self.loose.extend(recording::values(&observed));
    }

    /// A chapter that is not recorded yet quotes values that no recording holds: each then means the newest of its
    /// kind, as a reader copies what was printed last.
    fn bind_loose(&mut self, line: &str) {
        for (class, quoted) in recording::values(line) {
            let real = self.loose.iter().any(|(_, value)| *value == quoted);
            if real || self.bindings.contains_key(&quoted) {
                continue;
            }
            if let Some((_, value)) = self.loose.iter().rev().find(|(c, _)| *c == class) {
                self.bindings.insert(quoted, value.clone());
            }
        }
    }

    /// Runs one command; tells also whether it was stopped for taking too long.
    fn command(&mut self, command: &lab::Command, timeout: Duration) -> Result<(CommandReport, bool), EngineError> {
        if command.recording.is_some() {
            self.bind_loose(&command.line);
        }
        let bindings: Vec<(String, String)> = self.bindings.iter().map(|(a, b)| (a.clone(), b.clone())).collect();
        let line = recording::substitute(&command.line, &bindings);
        let result = if command.node == LAB_NODE {
            let wrong = |why| EngineError::Spec(format!("`lab$ {line}`: {why}"));
            lab_line::parse(&line).map_err(wrong).and_then(|known| known.run(self.cluster))
        } else {
            let options = ExecOptions {
                timeout,
                env: self.saved.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
                output_limit: lab::limits::OUTPUT_BYTES,
                ..ExecOptions::default()
            };
            self.cluster.exec(&command.node, &engine::Command::Shell(line.clone()), &options)
        };
        crate::interrupt::hold_if_stopping();
        let result = result?;
        if let Some(name) = &command.save {
            self.saved.insert(name.clone(), String::from_utf8_lossy(&result.stdout).trim().to_owned());
        }
        let mut output = String::from_utf8_lossy(&result.output).into_owned();
        if result.truncated {
            output.push_str("\n(more output was dropped)");
        }
        let report = CommandReport {
            node: command.node.clone(),
            command: line,
            exit: result.exit_code,
            output,
            duration_ms: millis(result.duration),
        };
        Ok((report, result.timed_out))
    }

    /// Makes every check of a step, each with its `eventually`; all together wait no longer than `patience`, if given.
    pub fn checks(&self, step: &Step, patience: Option<Duration>, listen: &mut Listener<'_>) -> Vec<CheckReport> {
        let end = patience.map(|patience| self.began.elapsed() + patience);
        let mut reports = Vec::new();
        for check in &step.checks {
            listen(Event::Check(&check.words));
            let mut hurried = check.clone();
            if let (Some(end), Some(rule)) = (end, &mut hurried.eventually) {
                rule.timeout = rule.timeout.min(end.saturating_sub(self.began.elapsed()));
            }
            let report = CheckReport::new(check, self.check(&hurried));
            listen(Event::CheckDone(&report));
            reports.push(report);
        }
        reports
    }

    /// Makes a check until it has its verdict.
    pub fn check(&self, check: &Check) -> CheckResult {
        let mut watch = Watch::new(check.eventually);
        loop {
            match watch.observe(self.began.elapsed(), self.look(check)) {
                Verdict::Done(result) => return result,
                Verdict::Again(at) => self.wait_until(at),
            }
        }
    }

    /// Makes a check once.
    pub fn look(&self, check: &Check) -> CheckResult {
        match self.skips(&check.skip, &check.requires) {
            Some(reason) => CheckResult::skipped(check, &reason),
            None => {
                let observed = observe::observe(self.cluster, check);
                crate::interrupt::hold_if_stopping();
                lab::judge(check, &observed)
            }
        }
    }

    fn skips(&self, skip: &BTreeMap<String, String>, requires: &[String]) -> Option<String> {
        let engine = self.cluster.engine();
        let told = skip.get(engine).map(|reason| format!("not on the engine {engine}: {reason}"));
        told.or_else(|| requires.iter().find_map(|feature| (self.lacks)(feature)))
    }

    /// The pause between two observations. What is observed gives no event to wait for: it is asked over a socket.
    fn wait_until(&self, at: Duration) {
        std::thread::sleep(at.saturating_sub(self.began.elapsed()));
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
