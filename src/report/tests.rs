//! Report formats on one made-up run.
#![allow(clippy::unwrap_used)]

use lab::report::{CheckReport, CommandReport, Report, Reports, StepReport};
use lab::{CheckResult, Lab, Status};

use super::*;
use crate::executor::Event;

fn lab() -> Lab {
    let chapter = include_str!("../../crates/lab/tests/fixtures/sample/chapter.md");
    let toml = include_str!("../../crates/lab/tests/fixtures/sample/lab.toml");
    lab::parse("c.md", chapter, "labs/sample/lab.toml", toml).unwrap()
}

fn reports() -> Reports {
    let lab = lab();
    let mut failed = StepReport::new(lab.step("look").unwrap(), Status::Fail, None);
    failed.commands.push(CommandReport {
        node: "manager1".into(),
        command: "docker node ls".into(),
        exit: 0,
        output: "<none> & \u{1b}[1mbold\u{1b}[0m".into(),
        duration_ms: 3,
    });
    let result =
        CheckResult { status: Status::Fail, expected: "3".into(), seen: "2".into(), asked: "GET /nodes".into() };
    failed.checks.push(CheckReport::new(&lab.step("look").unwrap().checks[0], result));
    let skipped = StepReport::new(lab.step("refused").unwrap(), Status::Skip, Some("it needs `look`".into()));
    let passed = StepReport::new(lab.step("scale").unwrap(), Status::Pass, None);
    let report = Report::new(&lab, "embedded", "2026-01-01T00:00:00Z".into(), 5, 1234, vec![failed, skipped, passed]);
    Reports::new("embedded", vec![report])
}

#[test]
fn one_chapter_is_one_json_report_and_many_are_a_list() {
    let one: serde_json::Value = serde_json::from_str(&json(reports(), false).unwrap()).unwrap();
    assert_eq!(one["chapter"], "sample");
    assert_eq!(one["steps"][0]["checks"][0]["status"], "fail");
    let many: serde_json::Value = serde_json::from_str(&json(reports(), true).unwrap()).unwrap();
    assert_eq!(many["chapters"][0]["steps"][1]["status"], "skip");
    assert_eq!((many["format_version"].as_u64(), many["status"].as_str()), (Some(1), Some("fail")));
}

#[test]
fn junit_has_a_case_for_each_step_and_escapes_what_xml_cannot_hold() {
    let xml = junit::document(&reports()).unwrap();
    assert!(xml.contains(r#"tests="3""#) && xml.contains(r#"failures="1""#) && xml.contains("<skipped"), "{xml}");
    assert!(xml.contains("&lt;none&gt; &amp; bold"), "{xml}");
}

#[test]
fn exit_codes_tell_failure_from_trouble() {
    assert_eq!(exit_code(Status::Pass), ExitCode::SUCCESS);
    assert_eq!(exit_code(Status::Fail), ExitCode::from(1));
    assert_eq!(exit_code(Status::Error), ExitCode::from(2));
}

#[test]
fn a_failed_check_is_told_with_what_was_asked_expected_and_seen() {
    let reports = reports();
    let report = &reports.chapters[0];
    let mut live = Live::kept();
    live.event(&Event::CheckDone(&report.steps[0].checks[0]));
    live.event(&Event::StepDone(&report.steps[1]));
    live.summary(report);
    let text = live.lines().join("\n");
    for want in [
        "FAIL  Both nodes are ready.",
        "asked     GET /nodes",
        "expected  3",
        "seen      2",
        "look      manager1$ docker node ls",
        "skip  it needs `look`",
        "FAIL  sample: 1 of 3 steps passed, 1 failed, 1 skipped, 0 checks held, 2 of 2 points in 1.2 s",
    ] {
        assert!(text.contains(want), "{want:?} is not in\n{text}");
    }
}
