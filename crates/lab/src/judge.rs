//! Observations to results. An observation is what the runner saw; whether that is good is decided here and nowhere else.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::{Check, CheckKind, HttpPart, LAB_NODE, Parse, Place, RecordingMode, Stream};
use crate::predicate::show;
use crate::{Command, Pointer, limits, recording};

/// How a check, a step or a report ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It holds.
    Pass,
    /// It does not hold, and the learner or the chapter can mend that.
    Fail,
    /// The machinery failed; nobody's points are touched.
    Error,
    /// It was not tried, for a reason that is told.
    Skip,
}

impl Status {
    /// `pass`, `fail`, `error` or `skip`.
    pub fn name(self) -> &'static str {
        match self {
            Status::Pass => "pass",
            Status::Fail => "fail",
            Status::Error => "error",
            Status::Skip => "skip",
        }
    }

    /// The status of a whole whose parts have these: trouble before failure before success; skipped only if all are.
    pub fn of_all(parts: impl IntoIterator<Item = Status>) -> Status {
        let mut all = Status::Skip;
        for part in parts {
            all = match (all, part) {
                (Status::Error, _) | (_, Status::Error) => Status::Error,
                (Status::Fail, _) | (_, Status::Fail) => Status::Fail,
                (Status::Pass, _) | (_, Status::Pass) => Status::Pass,
                _ => Status::Skip,
            };
        }
        all
    }
}

/// What the runner saw when it made a check.
#[derive(Debug, Clone, PartialEq)]
pub enum Observation {
    /// An answer of the Docker API.
    Response {
        /// The HTTP status.
        status: u16,
        /// The body.
        body: String,
    },
    /// What a command did, each time that it was run. Fewer than were asked for, where one did not end as it should.
    Output(Vec<Ran>),
    /// What HTTP requests brought; one entry for each.
    Replies(Vec<Reply>),
    /// A file's content; `None` where there is no such file.
    File(Option<String>),
    /// What a name server answered, in its order: addresses or names, none where it knows no such name; or why there
    /// was no answer.
    Records(Result<Vec<String>, String>),
    /// There is nothing that could be asked or from where, and a learner can mend that.
    Missing(String),
    /// The machinery failed before anything could be seen.
    Trouble(String),
}

/// What a command did.
#[derive(Debug, Clone, PartialEq)]
pub struct Ran {
    /// Its exit code.
    pub exit: i32,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
    /// Whether it was stopped for taking too long.
    pub timed_out: bool,
}

/// One HTTP reply, or why there was none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reply {
    /// A reply.
    Ok {
        /// Its status.
        status: u16,
        /// Its body.
        body: String,
    },
    /// None: refused, no route, timed out.
    Err(String),
}

/// A check's result.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckResult {
    /// How it ended.
    pub status: Status,
    /// What was expected, in words.
    pub expected: String,
    /// What was seen, in words.
    pub seen: String,
    /// What was asked: the request, command, URL or file.
    pub asked: String,
}

impl CheckResult {
    /// A check that was not made.
    pub fn skipped(check: &Check, reason: &str) -> Self {
        Self { status: Status::Skip, expected: expected(check), seen: reason.to_owned(), asked: asked(check) }
    }

    /// A check that could not be made.
    pub fn trouble(check: &Check, why: &str) -> Self {
        Self { status: Status::Error, expected: expected(check), seen: why.to_owned(), asked: asked(check) }
    }
}

/// Judges one observation of a check.
pub fn judge(check: &Check, observation: &Observation) -> CheckResult {
    let (status, seen) = match seen_value(check, observation) {
        Seen::Value(value) => {
            let good = match &check.expect {
                Some(predicate) => predicate.test(value.as_ref()),
                None => !matches!(check.kind, CheckKind::File { .. }) || value.is_some(),
            };
            let seen = value.as_ref().map_or_else(|| "nothing there".to_owned(), show);
            (if good { Status::Pass } else { Status::Fail }, seen)
        }
        Seen::Other(text) => (Status::Fail, text),
        Seen::Trouble(text) => (Status::Error, text),
    };
    CheckResult { status, expected: expected(check), seen: cut(&seen), asked: asked(check) }
}

enum Seen {
    /// What the predicate judges.
    Value(Option<Value>),
    /// Something that cannot be what was expected.
    Other(String),
    Trouble(String),
}

fn seen_value(check: &Check, observation: &Observation) -> Seen {
    match (&check.kind, observation) {
        (_, Observation::Trouble(why)) => Seen::Trouble(why.clone()),
        (CheckKind::Api { status: want, select, filter, .. }, Observation::Response { status, body }) => {
            if status != want {
                return Seen::Other(format!("status {status}: {}", message(body)));
            }
            let value: Value = serde_json::from_str(body).unwrap_or_else(|_| Value::String(body.trim().to_owned()));
            Seen::Value(select.select(&keep(value, filter)))
        }
        (_, Observation::Missing(what)) => Seen::Other(what.clone()),
        (CheckKind::Command { exit: want, stream, parse, select, times, .. }, Observation::Output(all)) => {
            let one = |ran: &Ran| {
                if ran.timed_out {
                    return Seen::Other("the command did not end in time".to_owned());
                }
                if let Some(want) = want.filter(|w| *w != ran.exit) {
                    let said = if ran.stderr.trim().is_empty() { ran.stdout.trim() } else { ran.stderr.trim() };
                    return Seen::Other(format!("exit code {} instead of {want}: {said}", ran.exit));
                }
                read(if *stream == Stream::Stdout { &ran.stdout } else { &ran.stderr }, *parse, select)
            };
            every(*times, all.iter().map(one), *parse == Parse::Lines)
        }
        (CheckKind::Dns { .. }, Observation::Records(answer)) => match answer {
            Ok(records) => {
                let mut records = records.clone();
                records.sort();
                Seen::Value(Some(records.into()))
            }
            Err(why) => Seen::Other(why.clone()),
        },
        (CheckKind::Http { requests, part, select, .. }, Observation::Replies(replies)) => {
            http(*requests, *part, select, replies)
        }
        (CheckKind::File { .. }, Observation::File(content)) => {
            Seen::Value(content.as_ref().map(|c| Value::String(c.trim_end().to_owned())))
        }
        (_, other) => Seen::Trouble(format!("an observation of another kind: {other:?}")),
    }
}

fn keep(value: Value, filter: &[(Pointer, crate::Predicate)]) -> Value {
    match value {
        Value::Array(list) if !filter.is_empty() => Value::Array(
            list.into_iter().filter(|v| filter.iter().all(|(p, want)| want.test(p.select(v).as_ref()))).collect(),
        ),
        other => other,
    }
}

fn read(text: &str, parse: Parse, select: &Pointer) -> Seen {
    let text = text.trim();
    match parse {
        Parse::Text => Seen::Value(Some(Value::String(text.to_owned()))),
        Parse::Lines => {
            let lines = text.lines().map(str::trim).filter(|l| !l.is_empty());
            Seen::Value(Some(Value::Array(lines.map(|l| Value::String(l.to_owned())).collect())))
        }
        Parse::Number => match text.parse::<f64>().ok().and_then(serde_json::Number::from_f64) {
            Some(number) => Seen::Value(Some(whole(number))),
            None => Seen::Other(format!("no number: {text}")),
        },
        Parse::Json => match serde_json::from_str::<Value>(text) {
            Ok(value) => Seen::Value(select.select(&value)),
            Err(error) => Seen::Other(format!("no JSON ({error}): {text}")),
        },
    }
}

/// `3` rather than `3.0` in what a reader is told.
fn whole(number: serde_json::Number) -> Value {
    match number.as_f64() {
        Some(n) if n.fract() == 0.0 && n.abs() < 9e15 => Value::from(n as i64),
        _ => Value::Number(number),
    }
}

/// The values of all runs as a list, or the first run that has none; of a single run its value as it is.
fn every(times: u32, runs: impl Iterator<Item = Seen>, lines: bool) -> Seen {
    let mut values = Vec::new();
    let mut count = 0;
    for run in runs {
        count += 1;
        match run {
            Seen::Value(value) if times == 1 => return Seen::Value(value),
            Seen::Value(Some(Value::Array(list))) if lines => values.extend(list),
            Seen::Value(value) => values.push(value.unwrap_or(Value::Null)),
            other => return other,
        }
    }
    if count == times {
        Seen::Value(Some(Value::Array(values)))
    } else {
        Seen::Trouble(format!("the command ran {count} of {times} times"))
    }
}

fn http(requests: u32, part: HttpPart, select: &Pointer, replies: &[Reply]) -> Seen {
    let mut values = Vec::new();
    for reply in replies {
        values.push(match (reply, part) {
            (Reply::Err(why), _) => return Seen::Other(why.clone()),
            (Reply::Ok { status, .. }, HttpPart::Status) => Value::from(*status),
            (Reply::Ok { status, body }, _) if *status >= 400 => {
                return Seen::Other(format!("status {status}: {}", message(body)));
            }
            (Reply::Ok { body, .. }, HttpPart::Body) => Value::String(body.trim().to_owned()),
            (Reply::Ok { body, .. }, HttpPart::Json) => match serde_json::from_str::<Value>(body) {
                Ok(value) => select.select(&value).unwrap_or(Value::Null),
                Err(error) => return Seen::Other(format!("no JSON ({error}): {}", body.trim())),
            },
        });
    }
    if replies.len() != usize::try_from(requests).unwrap_or(usize::MAX) {
        return Seen::Trouble(format!("{} replies to {requests} requests", replies.len()));
    }
    Seen::Value(if requests == 1 { values.pop() } else { Some(Value::Array(values)) })
}

/// Docker wraps what it says in `{"message": ...}`.
fn message(body: &str) -> String {
    let inner = serde_json::from_str::<Value>(body).ok().and_then(|v| Some(v.get("message")?.as_str()?.to_owned()));
    inner.unwrap_or_else(|| body.trim().to_owned())
}

/// Judges the exit code of a step's command.
pub fn judge_exit(command: &Command, exit: i32, timed_out: bool, timeout: core::time::Duration) -> CheckResult {
    let expected =
        if command.exit == 0 { "exit code 0".to_owned() } else { format!("exit code {}: a refusal", command.exit) };
    let (status, seen) = if timed_out {
        (Status::Fail, format!("no end within {}", crate::show_duration(timeout)))
    } else if exit == command.exit {
        (Status::Pass, format!("exit code {exit}"))
    } else {
        (Status::Fail, format!("exit code {exit}"))
    };
    CheckResult { status, expected, seen, asked: command.line.clone() }
}

/// Judges output against the chapter's recording; `None` where nothing is to be compared.
pub fn judge_recording(command: &Command, mode: RecordingMode, output: &str) -> Option<CheckResult> {
    let recorded = &command.recording.as_ref()?.text;
    let observed = recording::tidy(output);
    let good = match mode {
        RecordingMode::Ignored => return None,
        RecordingMode::Ordered => recording::matches(recorded, &observed),
        RecordingMode::Unordered => recording::matches_unordered(recorded, &observed),
    };
    let seen = if good {
        "the recorded output".to_owned()
    } else {
        format!("\n{}", recording::difference(recorded, &observed))
    };
    Some(CheckResult {
        status: if good { Status::Pass } else { Status::Fail },
        expected: "the output that the chapter shows".to_owned(),
        seen: cut(&seen),
        asked: command.line.clone(),
    })
}

fn expected(check: &Check) -> String {
    let value = check.expect.as_ref().map(crate::Predicate::words);
    let (subject, default) = match &check.kind {
        CheckKind::Api { status, select, .. } => {
            let subject = if select.is_whole() { "the answer".to_owned() } else { select.words() };
            (subject, format!("status {status}"))
        }
        CheckKind::Command { exit, times, .. } => {
            let subject = if *times > 1 { format!("the outputs of {times} runs") } else { "the output".to_owned() };
            (subject, exit.map_or_else(|| "any exit code".to_owned(), |e| format!("exit code {e}")))
        }
        CheckKind::Http { part, select, requests, .. } => {
            let what = match part {
                HttpPart::Status => "the status".to_owned(),
                HttpPart::Body => "the body".to_owned(),
                HttpPart::Json => select.words(),
            };
            (if *requests > 1 { format!("{what} of {requests} replies") } else { what }, "a reply".to_owned())
        }
        CheckKind::File { .. } => ("the file".to_owned(), "a file".to_owned()),
        CheckKind::Dns { .. } => ("the answer".to_owned(), "an answer".to_owned()),
    };
    value.map_or(default, |v| format!("{subject}: {v}"))
}

fn asked(check: &Check) -> String {
    let node = if check.node == LAB_NODE { "your machine" } else { &check.node };
    let within = |place: &Place| match place {
        Place::Node => String::new(),
        Place::Container(name) => format!(" in container {name}"),
    };
    let repeated = |times: u32| if times > 1 { format!(", {times} times") } else { String::new() };
    match &check.kind {
        CheckKind::Api { path, .. } => format!("{node}: GET {path}"),
        CheckKind::Command { run, times, .. } => format!("{node}: {run}{}", repeated(*times)),
        CheckKind::Http { from, url, requests, .. } => {
            format!("{node}: GET {url}{}{}", within(from), repeated(*requests))
        }
        CheckKind::File { source, path } => format!("{node}: {path}{}", within(source)),
        CheckKind::Dns { container, name, record } => {
            format!("{node}: DNS {} {name} in container {container}", record.name())
        }
    }
}

fn cut(text: &str) -> String {
    // A difference of outputs keeps more: its lines are what the author has to look at.
    let most = if text.starts_with('\n') { limits::SEEN_CHARS * 8 } else { limits::SEEN_CHARS };
    let mut out: String = text.chars().take(most).collect();
    if out.len() < text.len() {
        out.push('…');
    }
    out
}
