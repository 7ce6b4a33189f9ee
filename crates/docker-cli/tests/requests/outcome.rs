//! What a command line did: its requests, output, errors and exit code.

use crate::normal::normalise;
use serde_json::{Value, json};

/// What a command line did.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Exit code.
    pub code: i64,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
    /// Requests in their order, in a form in which equal ones are equal.
    pub requests: Vec<Value>,
}

impl Outcome {
    /// With the requests as they were sent.
    pub fn new(code: i64, out: String, err: String, requests: &[Value]) -> Self {
        let requests = requests.iter().map(normalise).collect();
        Self { code, out, err, requests }
    }

    /// As a line of the record.
    pub fn to_json(&self) -> Value {
        json!({ "code": self.code, "out": self.out, "err": self.err, "requests": self.requests })
    }

    /// From a line of the record.
    pub fn from_json(value: &Value) -> Self {
        let text = |key: &str| value[key].as_str().unwrap_or("").to_owned();
        Self {
            code: value["code"].as_i64().unwrap_or(-1),
            out: text("out"),
            err: text("err"),
            requests: value["requests"].as_array().cloned().unwrap_or_default(),
        }
    }

    /// Nothing when both did the same, else what differs.
    pub fn difference(line: &str, genuine: &Self, own: &Self) -> String {
        if genuine == own {
            return String::new();
        }
        let mut report = format!("== docker {line}\n");
        let mut show = |what: &str, genuine: String, own: String| {
            if genuine != own {
                report.push_str(&format!("{what}:\n  docker: {genuine}\n  ours:   {own}\n"));
            }
        };
        show("exit code", genuine.code.to_string(), own.code.to_string());
        show("output", format!("{:?}", genuine.out), format!("{:?}", own.out));
        show("errors", format!("{:?}", genuine.err), format!("{:?}", own.err));
        for at in 0..genuine.requests.len().max(own.requests.len()) {
            let text = |side: &Self| side.requests.get(at).map_or("-".to_owned(), Value::to_string);
            show("request", text(genuine), text(own));
        }
        report
    }
}
