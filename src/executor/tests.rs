//! The executor against a cluster that answers from a script: what runs in which order, and what follows from it.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;

use lab::Lab;

use super::*;
use crate::engine::{Command, ExecResult, NodePlan};

/// Answers commands by their line: exit code and output. Unknown lines succeed silently.
struct Script {
    answers: Mutex<BTreeMap<String, Vec<(i32, String)>>>,
    ran: Mutex<Vec<String>>,
}

impl Script {
    fn new(answers: &[(&str, i32, &str)]) -> Self {
        let mut map: BTreeMap<String, Vec<(i32, String)>> = BTreeMap::new();
        for (line, exit, output) in answers {
            map.entry((*line).to_owned()).or_default().push((*exit, (*output).to_owned()));
        }
        Self { answers: Mutex::new(map), ran: Mutex::new(Vec::new()) }
    }

    fn ran(&self) -> Vec<String> {
        self.ran.lock().unwrap().clone()
    }
}

impl Cluster for Script {
    fn engine(&self) -> &str {
        "embedded"
    }

    fn nodes(&self) -> &[NodePlan] {
        &[]
    }

    fn socket(&self, node: &str) -> Result<PathBuf, EngineError> {
        Ok(PathBuf::from(format!("/nonexistent/{node}")))
    }

    fn exec(&self, node: &str, command: &Command, options: &ExecOptions) -> Result<ExecResult, EngineError> {
        let Command::Shell(line) = command else { panic!("only shell lines here") };
        let env: String = options.env.iter().map(|(k, v)| format!("{k}={v} ")).collect();
        self.ran.lock().unwrap().push(format!("{node}$ {env}{line}"));
        let mut answers = self.answers.lock().unwrap();
        let list = answers.get_mut(line.as_str());
        let (exit_code, output) = match list {
            Some(list) if list.len() > 1 => list.remove(0),
            Some(list) => list[0].clone(),
            None => (0, String::new()),
        };
        Ok(ExecResult { exit_code, stdout: output.clone().into(), output: output.into(), ..ExecResult::default() })
    }

    fn shell(&self, _: &str) -> Result<i32, EngineError> {
        Ok(0)
    }

    fn run(&self, _: &str, _: &[String]) -> Result<i32, EngineError> {
        Ok(0)
    }

    fn kill_node(&self, node: &str) -> Result<(), EngineError> {
        self.ran.lock().unwrap().push(format!("kill {node}"));
        Ok(())
    }

    fn pause_node(&self, _: &str) -> Result<(), EngineError> {
        Ok(())
    }

    fn start_node(&self, _: &str) -> Result<(), EngineError> {
        Ok(())
    }

    fn shutdown(&self) -> Result<(), EngineError> {
        Ok(())
    }
}

fn lab(chapter: &str, steps: &str) -> Lab {
    let head = "format_version = 1\ntitle = \"T\"\n[cluster]\nmanagers = 1\nworkers = 1\n";
    lab::parse("c.md", chapter, "labs/t/lab.toml", &format!("{head}{steps}")).unwrap_or_else(|all| panic!("{}", all[0]))
}

fn run(lab: &Lab, script: &Script) -> Vec<StepReport> {
    let lacks = |feature: &str| (feature == "vip").then(|| "no vip here".to_owned());
    let mut executor = Executor::new(script, &lacks);
    run::run_steps(&mut executor, &lab.steps.iter().collect::<Vec<_>>(), &mut |_| {})
}

const TOKEN: &str = "SWMTKN-1-49nj1cmql0jkz5s954yi3oex3nedyz0fb0xx14ie39trti4wxv-8vxv8rssmk743ojnwacrr2e7c";

#[test]
fn a_quoted_token_is_replaced_by_the_one_that_this_run_printed() {
    let lab = lab(
        &format!("```console {{step=a}}\nmanager1$ token\n{TOKEN}\nworker1$ join {TOKEN}\n```\n"),
        "[[step]]\nid = \"a\"\n",
    );
    let new = TOKEN.replace("49nj", "zzzz");
    let script = Script::new(&[("token", 0, &format!("{new}\n"))]);
    assert_eq!(run(&lab, &script)[0].status, Status::Pass);
    assert_eq!(script.ran(), ["manager1$ token".to_owned(), format!("worker1$ join {new}")]);
}

#[test]
fn before_anything_is_recorded_a_quoted_token_means_the_one_printed_last() {
    let lab = lab(
        &format!("```console {{step=a}}\nmanager1$ token\nworker1$ join {TOKEN}\n```\n"),
        "[[step]]\nid = \"a\"\ncontinue_on_error = true\n",
    );
    let new = TOKEN.replace("49nj", "zzzz");
    let script = Script::new(&[("token", 0, &format!("{new}\n"))]);
    run(&lab, &script);
    assert_eq!(script.ran()[1], format!("worker1$ join {new}"));
}

#[test]
fn a_recording_that_differs_fails_its_step_but_not_those_that_build_on_it() {
    let lab = lab(
        "```console {step=a}\nmanager1$ one\n1\n```\n```console {step=b}\nmanager1$ two\n```\n",
        "[[step]]\nid = \"a\"\n[[step]]\nid = \"b\"\n",
    );
    let reports = run(&lab, &Script::new(&[("one", 0, "other")]));
    assert_eq!((reports[0].status, reports[1].status), (Status::Fail, Status::Pass));
    assert_eq!(reports[0].checks.last().unwrap().seen, "\n- 1\n+ other");
}

#[test]
fn a_command_that_fails_ends_its_step_and_skips_those_that_need_it() {
    let lab = lab(
        "```console {step=a}\nmanager1$ one\nmanager1$ never\n```\n```console {step=b}\nmanager1$ two\n```\n```console {step=c}\nmanager1$ three\n```\n",
        "[[step]]\nid = \"a\"\n[[step]]\nid = \"b\"\n[[step]]\nid = \"c\"\nneeds = []\n",
    );
    let script = Script::new(&[("one", 125, "refused")]);
    let reports = run(&lab, &script);
    let status: Vec<Status> = reports.iter().map(|r| r.status).collect();
    assert_eq!(status, [Status::Fail, Status::Skip, Status::Pass]);
    assert_eq!(reports[1].reason.as_deref(), Some("it needs the step `a`, which failed"));
    assert_eq!(script.ran(), ["manager1$ one", "manager1$ three"]);
}

#[test]
fn a_refusal_that_is_shown_must_be_a_refusal() {
    let steps = "[[step]]\nid = \"a\"\nexit = 1\n";
    let lab = lab("```console {step=a}\nworker1$ no\nno\n```\n", steps);
    assert_eq!(run(&lab, &Script::new(&[("no", 1, "no\n")]))[0].status, Status::Pass);
    assert_eq!(run(&lab, &Script::new(&[("no", 0, "no\n")]))[0].status, Status::Fail);
}

#[test]
fn a_step_settles_when_its_last_command_shows_the_recorded_output() {
    let steps = "[[step]]\nid = \"a\"\nsettle = { timeout = \"5s\", interval = \"20ms\" }\n";
    let lab = lab("```console {step=a}\nmanager1$ ls\nDown\n```\n", steps);
    let script = Script::new(&[("ls", 0, "Ready"), ("ls", 0, "Ready"), ("ls", 0, "Down")]);
    assert_eq!(run(&lab, &script)[0].status, Status::Pass);
    assert_eq!(script.ran().len(), 3);
}

#[test]
fn saved_output_is_a_variable_for_later_commands_of_other_nodes() {
    let steps = "[[step]]\nid = \"a\"\nkind = \"exercise\"\nhints = [\"h\"]\nreset = [\"undo\"]\n\
                 solution = [{ run = \"manager1$ token\", save = \"TOKEN\" }, \"worker1$ join $TOKEN\"]\n\
                 [[step.check]]\nkind = \"command\"\nrun = \"cat state\"\nexpect = \"joined\"\nwords = \"It joined.\"\n";
    let lab = lab("```exercise {step=a}\nJoin.\n```\n", steps);
    let script = Script::new(&[("token", 0, "abc\n"), ("cat state", 0, "joined\n")]);
    assert_eq!(run(&lab, &script)[0].status, Status::Pass);
    assert_eq!(script.ran()[1], "worker1$ TOKEN=abc join $TOKEN");
}

#[test]
fn what_an_engine_lacks_is_skipped_and_what_cannot_be_asked_is_trouble() {
    let steps = "[[step]]\nid = \"a\"\nrequires = [\"vip\"]\n[[step]]\nid = \"b\"\nneeds = []\n\
                 [[step.check]]\nkind = \"api\"\npath = \"/info\"\nwords = \"It answers.\"\n";
    let lab = lab(
        "```console {step=a}\nmanager1$ x\n```\n```console {step=b}\nlab$ swarmlab fault kill worker1\nworker1: power cut\n```\n",
        steps,
    );
    let script = Script::new(&[]);
    let reports = run(&lab, &script);
    assert_eq!((reports[0].status, reports[0].reason.as_deref()), (Status::Skip, Some("no vip here")));
    assert_eq!(reports[1].status, Status::Error);
    assert_eq!(script.ran(), ["kill worker1"]);
}

#[test]
fn a_learner_s_patience_is_for_all_checks_of_a_step_together() {
    let check = |words: &str| {
        format!(
            "[[step.check]]\nkind = \"command\"\nrun = \"cat state\"\nexpect = \"joined\"\nwords = \"{words}\"\n\
             eventually = {{ timeout = \"10m\", interval = \"10ms\" }}\n"
        )
    };
    let steps = format!("[[step]]\nid = \"a\"\n{}{}", check("One."), check("Two."));
    let lab = lab("```console {step=a}\nmanager1$ x\n```\n", &steps);
    let script = Script::new(&[("cat state", 0, "left")]);
    let lacks = |_: &str| None;
    let executor = Executor::new(&script, &lacks);
    let reports = executor.checks(&lab.steps[0], Some(Duration::from_millis(50)), &mut |_| {});
    assert!(reports.iter().all(|report| report.status == Status::Fail && report.seen.ends_with("(after 0 s)")));
    assert!(script.ran().len() > 2, "the first is awaited, the second looked at once");
}
