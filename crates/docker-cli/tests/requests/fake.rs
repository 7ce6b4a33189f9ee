//! An engine that is a table: each request is written down and answered by what the table has for it.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex};

/// The newest API version of Docker 28.2's client, so that both clients use it.
pub const API: &str = "1.50";

/// The table.
#[derive(Clone)]
pub struct Engine(Arc<serde_json::Map<String, Value>>);

/// What a client sent.
#[derive(Clone, Default)]
pub struct Requests(Arc<Mutex<Sent>>);

#[derive(Default)]
struct Sent {
    requests: Vec<Value>,
    /// Whose answers come first: those of `@NAME GET /x` before those of `GET /x`.
    variant: String,
}

impl Requests {
    /// Takes what was sent out, and sets which answers the next line gets.
    pub fn take(&self, variant: &str) -> Vec<Value> {
        let Ok(mut sent) = self.0.lock() else { return Vec::new() };
        sent.variant = variant.to_owned();
        std::mem::take(&mut sent.requests)
    }
}

impl Engine {
    /// `{"GET /networks/x": {"body": ...}, "POST /y": {"status": 500, "body": {"message": ...}}}`
    pub fn new(table: &str) -> Result<Self, String> {
        match serde_json::from_str(table) {
            Ok(Value::Object(table)) => Ok(Self(Arc::new(table))),
            other => Err(format!("engine.json: {other:?}")),
        }
    }

    /// The same with another answer.
    pub fn with(&self, request: &str, body: Value) -> Self {
        let mut table = (*self.0).clone();
        table.insert(request.to_owned(), json!({ "body": body }));
        Self(Arc::new(table))
    }

    /// The status and body for a request, which is written down. `target` has version and query.
    pub fn answer(&self, requests: &Requests, method: &str, target: &str, body: Option<Value>) -> (u16, Value) {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let path = path.strip_prefix(&format!("/v{API}")).unwrap_or(path);
        let path = docker_api::query::Query::parse(&format!("x={}", path.replace('+', "%2B").replace('&', "%26")));
        let path = path.ok().and_then(|query| query.get("x").map(str::to_owned)).unwrap_or_default();
        if path == "/_ping" {
            return (200, json!("OK"));
        }
        // How and when a container's end is waited for is not our subject.
        if path.ends_with("/wait") {
            return (200, json!({ "StatusCode": 0 }));
        }
        // Docker asks registries for digests; that is not our subject.
        if path.starts_with("/distribution/") {
            return (404, json!({ "message": "no registry" }));
        }
        let mut request = json!({ "request": format!("{method} {path}") });
        if !query.is_empty() {
            let query = docker_api::query::Query::parse(query).unwrap_or_default();
            let mut pairs: Vec<&str> = Vec::new();
            let text = query.encode();
            pairs.extend(text.split('&').filter(|pair| !pair.ends_with("=false")));
            pairs.sort_unstable();
            if !pairs.is_empty() {
                request["query"] = json!(pairs.join("&").replace("=true", "=1"));
            }
        }
        if let Some(body) = body {
            request["body"] = body;
        }
        let variant = match requests.0.lock() {
            Ok(mut sent) => {
                sent.requests.push(request);
                format!("@{} ", sent.variant)
            }
            Err(_) => String::new(),
        };
        let own = self.0.get(&format!("{variant}{method} {path}"));
        let found = own.or_else(|| self.0.get(&format!("{method} {path}"))).or_else(|| {
            let (parent, _) = path.rsplit_once('/')?;
            self.0.get(&format!("{method} {parent}/*"))
        });
        match found {
            Some(answer) => (answer["status"].as_u64().unwrap_or(200) as u16, answer["body"].clone()),
            None => (404, json!({ "message": format!("{path} not found") })),
        }
    }

    /// Answers on a socket, from threads of their own, until the process ends.
    pub fn listen(&self, socket: &std::path::Path, requests: &Requests) -> Result<(), String> {
        let listener = UnixListener::bind(socket).map_err(|e| e.to_string())?;
        let (engine, requests) = (self.clone(), requests.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (engine, requests) = (engine.clone(), requests.clone());
                std::thread::spawn(move || engine.serve(stream, &requests));
            }
        });
        Ok(())
    }

    fn serve(&self, stream: UnixStream, requests: &Requests) -> Option<()> {
        let mut reader = BufReader::new(stream.try_clone().ok()?);
        let mut stream = stream;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let mut words = line.split_whitespace();
            let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
            let mut length = 0;
            loop {
                let mut header = String::new();
                reader.read_line(&mut header).ok()?;
                let (name, value) = header.split_once(':').unwrap_or((header.trim(), ""));
                match name.to_lowercase().as_str() {
                    "" => break,
                    "content-length" => length = value.trim().parse().ok()?,
                    "transfer-encoding" => panic!("the client sends a body in chunks, which this engine cannot read"),
                    _ => {}
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).ok()?;
            let (status, answer) = self.answer(requests, &method, &target, serde_json::from_slice(&body).ok());
            let text = match (method.as_str(), status) {
                ("HEAD", _) | (_, 204) => String::new(),
                _ => answer.to_string(),
            };
            write!(
                stream,
                "HTTP/1.1 {status} Answer\r\nApi-Version: {API}\r\nOstype: linux\r\nSwarm: active/manager\r\n\
                 Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{text}",
                text.len()
            )
            .ok()?;
        }
    }
}
