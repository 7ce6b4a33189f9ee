//! Lines while a run goes on: what runs, what was expected, what was seen.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use lab::report::{CheckReport, Report, StepReport};
use lab::{Lab, Status};

use super::{Format, count, elapsed};
use crate::engine::Progress;
use crate::executor::Event;

/// Lines of a passing command's output that are shown on a terminal; the whole output is in the JSON report.
const SHOWN_LINES: usize = 12;

/// Shows events as they come.
pub struct Live {
    to_stdout: bool,
    colours: bool,
    spinner: Option<ProgressBar>,
    /// Test seam: lines are kept here instead of printed.
    kept: Option<Vec<String>>,
}

impl Live {
    /// For this format, on this process's terminal.
    pub fn new(format: Format) -> Self {
        let to_stdout = matches!(format, Format::Pretty | Format::Plain);
        let terminal = if to_stdout { io::stdout().is_terminal() } else { io::stderr().is_terminal() };
        let plain = format == Format::Plain || std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        let moving = terminal && format != Format::Plain && io::stderr().is_terminal();
        let spinner = moving.then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Self { to_stdout, colours: terminal && !plain, spinner, kept: None }
    }

    #[cfg(test)]
    pub fn kept() -> Self {
        Self { to_stdout: true, colours: false, spinner: None, kept: Some(Vec::new()) }
    }

    #[cfg(test)]
    pub fn lines(&self) -> &[String] {
        self.kept.as_deref().unwrap_or_default()
    }

    fn line(&mut self, line: &str) {
        if let Some(kept) = &mut self.kept {
            kept.push(line.to_owned());
            return;
        }
        let print = || {
            // a reader that closed its end has seen enough
            let _ = if self.to_stdout { writeln!(io::stdout(), "{line}") } else { writeln!(io::stderr(), "{line}") };
        };
        match &self.spinner {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    fn doing(&self, what: &str) {
        if let Some(bar) = &self.spinner {
            bar.set_message(what.replace('\n', " "));
        }
    }

    fn paint(&self, text: &str, code: &str) -> String {
        if self.colours { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// The word for a status, always of one width.
    fn mark(&self, status: Status) -> String {
        // only the sixteen colours of the terminal's own palette: they are legible on light and dark alike
        match status {
            Status::Pass => self.paint("pass ", "32"),
            Status::Fail => self.paint("FAIL ", "1;31"),
            Status::Error => self.paint("error", "1;35"),
            Status::Skip => self.paint("skip ", "33"),
        }
    }

    /// Shows one event.
    pub fn event(&mut self, event: &Event<'_>) {
        match event {
            Event::Chapter(lab) => self.chapter(lab),
            Event::Boot(progress) => self.boot(progress),
            Event::Step(step) => {
                let title = self.paint(&step.title, "1");
                let kind = if step.kind == lab::StepKind::Exercise { ", exercise" } else { "" };
                self.line(&format!("\n  {title} ({}{kind})", step.id));
            }
            Event::Command(node, line) => self.doing(&format!("{node}$ {line}")),
            Event::CommandDone(done) => {
                let command = done.command.replace('\n', "\n    > ");
                let line = format!("    {} {command}", self.paint(&format!("{}$", done.node), "36"));
                self.line(&line);
                self.output(&done.output);
            }
            Event::Check(words) => self.doing(&format!("waiting: {words}")),
            Event::CheckDone(check) => self.check(check),
            Event::StepDone(step) => self.step_done(step),
        }
    }

    fn chapter(&mut self, lab: &Lab) {
        let nodes = format!(
            "{}, {}",
            count(lab.cluster.managers.into(), "manager"),
            count(lab.cluster.workers.into(), "worker")
        );
        let title = self.paint(&lab.title, "1");
        self.line(&format!("{}: {title} ({}; {nodes})", lab.id, count(lab.steps.len(), "step")));
    }

    fn boot(&mut self, progress: &Progress) {
        match progress {
            Progress::Sandbox { nodes } => {
                self.doing(&format!("the sandbox is there; booting {}", count(*nodes, "node")))
            }
            Progress::NodeReady { node } => self.doing(&format!("{node} answers")),
            Progress::Joined { node } => self.doing(&format!("{node} joined the swarm")),
            Progress::Done { elapsed: time } => {
                let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
                self.line(&format!("  cluster up in {}", elapsed(ms)));
            }
        }
    }

    fn output(&mut self, output: &str) {
        let tidy = lab::recording::tidy(output);
        let lines: Vec<&str> = tidy.lines().collect();
        for line in lines.iter().take(SHOWN_LINES) {
            self.line(&format!("    {line}"));
        }
        if lines.len() > SHOWN_LINES {
            self.line(&format!("    ({} more)", count(lines.len() - SHOWN_LINES, "line")));
        }
    }

    fn check(&mut self, check: &CheckReport) {
        let mark = self.mark(check.status);
        match check.status {
            Status::Pass => {
                let told = match check.kind.as_str() {
                    "exit" | "recording" => format!("{}: {}", check.kind, check.seen),
                    _ => format!(
                        "{}  expected {}; seen {}",
                        check.words,
                        check.expected,
                        check.seen.replace('\n', "\\n")
                    ),
                };
                self.line(&format!("    {mark} {told}"));
            }
            Status::Skip => self.line(&format!("    {mark} {}  {}", check.words, check.seen)),
            Status::Fail | Status::Error => {
                self.line(&format!("    {mark} {}", check.words));
                self.line(&format!("          asked     {}", check.command));
                self.line(&format!("          expected  {}", check.expected));
                self.line(&format!("          seen      {}", check.seen.replace('\n', "\n            ")));
                let look = check
                    .hint
                    .as_deref()
                    .and_then(|h| h.lines().find_map(|l| l.trim().strip_prefix("look at it yourself: ")));
                if let Some(look) = look {
                    self.line(&format!("          look      {look}"));
                }
            }
        }
    }

    fn step_done(&mut self, step: &StepReport) {
        self.doing("");
        match (&step.reason, step.status) {
            (Some(reason), status) => {
                let line = format!("    {} {reason}", self.mark(status));
                self.line(&line);
            }
            (None, Status::Pass) if step.points > 0 => {
                let line = format!("    {}", count(step.points as usize, "point"));
                self.line(&line);
            }
            _ => {}
        }
    }

    /// The last line of a chapter.
    pub fn summary(&mut self, report: &Report) {
        if let Some(bar) = &self.spinner {
            bar.finish_and_clear();
        }
        self.spinner = None;
        let of = |status: Status| report.steps.iter().filter(|s| s.status == status).count();
        let checks: usize =
            report.steps.iter().map(|s| s.checks.iter().filter(|c| c.status == Status::Pass).count()).sum();
        let mut told = vec![format!("{} of {} passed", of(Status::Pass), count(report.steps.len(), "step"))];
        for (status, word) in [(Status::Fail, "failed"), (Status::Error, "in trouble"), (Status::Skip, "skipped")] {
            if of(status) > 0 {
                told.push(format!("{} {word}", of(status)));
            }
        }
        told.push(format!("{} held", count(checks, "check")));
        if report.points.possible > 0 {
            told.push(format!("{} of {} points", report.points.earned, report.points.possible));
        }
        if let Some(trouble) = &report.trouble {
            self.line(&format!("\n  {} {trouble}", self.mark(Status::Error)));
        }
        let mark = self.mark(report.status);
        self.line(&format!("\n{mark} {}: {} in {}\n", report.chapter, told.join(", "), elapsed(report.duration_ms)));
    }

    /// Ends the live display without a summary.
    pub fn end(&mut self) {
        if let Some(bar) = self.spinner.take() {
            bar.finish_and_clear();
        }
    }
}
