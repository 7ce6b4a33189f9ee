//! Our command line beside Docker's own, each in front of an engine that is only a table of answers: same requests,
//! same output, same exit codes, for every line of `lines.txt` and for lines made up from the grammar of ports,
//! networks and addresses.
//!
//! What Docker's client did with the written lines is kept in `genuine.jsonl`, so that machines without it still
//! compare. Where Docker 28.2 is installed, that record is checked and the made-up lines are compared too.
//! `RECORD=1 cargo test -p docker-cli --test requests` writes the record anew.

mod fake;
mod generate;
mod genuine;
mod help;
mod normal;
mod ours;
mod outcome;

use outcome::Outcome;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Made-up lines of each kind.
const MADE_UP: usize = 150;

fn main() -> ExitCode {
    match compare() {
        Ok(summary) => {
            println!("requests: {summary}");
            ExitCode::SUCCESS
        }
        Err(report) => {
            println!("requests: FAILED\n{report}");
            ExitCode::FAILURE
        }
    }
}

fn compare() -> Result<String, String> {
    let engine = fake::Engine::new(include_str!("engine.json"))?;
    let lines: Vec<&str> = include_str!("lines.txt").lines().filter(|l| !l.is_empty() && !l.starts_with('#')).collect();
    let docker = genuine::Docker::find();
    if std::env::var_os("RECORD").is_some() {
        let docker = docker.map_err(|missing| format!("cannot record: {missing}"))?;
        let recorded = docker.run_all(&engine, &lines)?;
        return write_record(&lines, &recorded).map(|()| format!("{} lines recorded", lines.len()));
    }
    let record = read_record()?;
    let mut differences = String::new();
    for line in &lines {
        match record.get(*line) {
            Some(genuine) => differences.push_str(&Outcome::difference(line, genuine, &ours::run(&engine, line)?)),
            None => differences.push_str(&format!("== {line}\nnot in genuine.jsonl: record it with RECORD=1\n")),
        }
    }
    let summary = match docker {
        Err(missing) => {
            format!("{} recorded lines agree; SKIPPED the comparison with Docker itself: {missing}", lines.len())
        }
        Ok(docker) => {
            for (line, now) in lines.iter().zip(docker.run_all(&engine, &lines)?) {
                if record.get(*line).is_some_and(|recorded| *recorded != now) {
                    differences
                        .push_str(&format!("== {line}\ngenuine.jsonl is out of date: record it with RECORD=1\n"));
                }
            }
            let made_up = generate::lines(MADE_UP);
            let made_up: Vec<&str> = made_up.iter().map(String::as_str).collect();
            for (line, genuine) in made_up.iter().zip(docker.run_all(&engine, &made_up)?) {
                differences.push_str(&Outcome::difference(line, &genuine, &ours::run(&engine, line)?));
            }
            let lists = engine
                .with("GET /containers/json", generate::containers(MADE_UP))
                .with("GET /services", generate::services(MADE_UP));
            let shown = ["ps --format '{{.Names}}: {{.Ports}}'", "service ls --format '{{.Name}}: {{.Ports}}'"];
            for (line, genuine) in shown.iter().zip(docker.run_all(&lists, &shown)?) {
                differences.push_str(&Outcome::difference(line, &genuine, &ours::run(&lists, line)?));
            }
            let (pages, texts) = help::compare(&docker)?;
            differences.push_str(&texts);
            format!(
                "{} written lines, {} made-up lines, {} made-up lists of ports and {pages} help pages agree",
                lines.len(),
                made_up.len(),
                2 * MADE_UP
            )
        }
    };
    if differences.is_empty() { Ok(summary) } else { Err(differences) }
}

fn record_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/requests/genuine.jsonl")
}

fn write_record(lines: &[&str], outcomes: &[Outcome]) -> Result<(), String> {
    let texts = lines.iter().zip(outcomes).map(|(line, outcome)| {
        let mut entry = json!({ "line": line });
        if let (Value::Object(entry), Value::Object(fields)) = (&mut entry, outcome.to_json()) {
            entry.extend(fields);
        }
        format!("{entry}\n")
    });
    std::fs::write(record_path(), texts.collect::<String>()).map_err(|e| e.to_string())
}

fn read_record() -> Result<BTreeMap<String, Outcome>, String> {
    let text = std::fs::read_to_string(record_path()).map_err(|e| format!("{}: {e}", record_path().display()))?;
    let entry = |line: &str| {
        let value: Value = serde_json::from_str(line).map_err(|e| format!("genuine.jsonl: {e}: {line}"))?;
        Ok((value["line"].as_str().unwrap_or("").to_owned(), Outcome::from_json(&value)))
    };
    text.lines().map(entry).collect()
}

/// A line of the list.
struct Line {
    words: Vec<String>,
    /// What it finds on its standard input: `network prune <<< y`.
    input: String,
    /// Which answers it gets: `@worker info`.
    variant: String,
}

impl Line {
    fn parse(line: &str) -> Result<Self, String> {
        let (variant, rest) = match line.strip_prefix('@').and_then(|rest| rest.split_once(' ')) {
            Some((variant, rest)) => (variant.to_owned(), rest),
            None => (String::new(), line),
        };
        let (command, input) = match rest.split_once(" <<< ") {
            Some((command, input)) => (command, format!("{input}\n")),
            None => (rest, String::new()),
        };
        let words = docker_cli::spec::values::split_words(command).map_err(|e| format!("{line}: {e}"))?;
        Ok(Self { words, input, variant })
    }

    /// What a line did. Of `docker info`, only what it says of the engine.
    fn outcome(&self, code: i64, out: String, err: String, requests: &[Value]) -> Outcome {
        let out = match (self.words.as_slice(), out.split_once("\nServer:\n")) {
            ([info], Some((_, server))) if info == "info" => server.to_owned(),
            _ => out,
        };
        Outcome::new(code, out, err, requests)
    }
}
