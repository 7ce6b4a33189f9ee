//! JUnit XML: a chapter is a suite, a step a case. For CI systems.

use std::time::Duration;

use lab::Status;
use lab::report::{Reports, StepReport};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

/// The XML document.
pub fn document(reports: &Reports) -> Result<String, quick_junit::SerializeError> {
    let mut document = Report::new("swarmlab");
    for chapter in &reports.chapters {
        let mut suite = TestSuite::new(chapter.chapter.as_str());
        suite.set_time(Duration::from_millis(chapter.duration_ms));
        suite.add_property(("engine", chapter.engine.as_str()));
        suite.add_property(("points", format!("{}/{}", chapter.points.earned, chapter.points.possible).as_str()));
        if let Some(trouble) = &chapter.trouble {
            suite.set_system_err(trouble.as_str());
        }
        for step in &chapter.steps {
            let mut case = TestCase::new(step.id.as_str(), status(step));
            case.set_classname(chapter.chapter.as_str());
            case.set_time(Duration::from_millis(step.duration_ms));
            let ran: Vec<String> =
                step.commands.iter().map(|c| format!("{}$ {}\n{}", c.node, c.command, c.output)).collect();
            case.set_system_out(ran.join("\n"));
            suite.add_test_case(case);
        }
        document.add_test_suite(suite);
    }
    document.to_string()
}

fn status(step: &StepReport) -> TestCaseStatus {
    let kind = match step.status {
        Status::Pass => return TestCaseStatus::success(),
        Status::Skip => {
            let mut skipped = TestCaseStatus::skipped();
            skipped.set_message(step.reason.clone().unwrap_or_default());
            return skipped;
        }
        Status::Fail => NonSuccessKind::Failure,
        Status::Error => NonSuccessKind::Error,
    };
    let mut status = TestCaseStatus::non_success(kind);
    let wrong: Vec<String> = step
        .checks
        .iter()
        .filter(|c| matches!(c.status, Status::Fail | Status::Error))
        .map(|c| format!("{}\nasked: {}\nexpected: {}\nseen: {}", c.words, c.command, c.expected, c.seen))
        .collect();
    let first = step.checks.iter().find(|c| matches!(c.status, Status::Fail | Status::Error)).map(|c| c.words.clone());
    status.set_message(step.reason.clone().or(first).unwrap_or_default());
    status.set_description(wrong.join("\n\n"));
    status
}
