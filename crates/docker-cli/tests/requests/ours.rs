//! Our command line, in this process, in front of the table.

use crate::Line;
use crate::fake::{API, Engine, Requests};
use crate::outcome::Outcome;
use docker_api::time::UnixTime;
use docker_cli::client::{Body, ByteStream, Client, ClientError, Request, Response};
use docker_cli::command::{Asked, read};
use docker_cli::context::{Context, Conversation, Host, Local};
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

/// Runs a line.
pub fn run(engine: &Engine, line: &str) -> Result<Outcome, String> {
    let line = Line::parse(line)?;
    let requests = Requests::default();
    requests.take(&line.variant);
    let output = Rc::new(RefCell::new((String::new(), String::new())));
    let host =
        Table { engine: engine.clone(), requests: requests.clone(), input: line.input.clone(), output: output.clone() };
    let result = match read(&docker_cli::commands::root(), &line.words) {
        Err(error) => Err(error),
        Ok((_, Asked::Print(page))) => {
            host.out(page.as_bytes());
            Ok(())
        }
        Ok((_, Asked::Remind(page))) => {
            host.err(page.as_bytes());
            Ok(())
        }
        Ok((_, Asked::Run { handler, parsed, path })) => {
            let context = Context { client: Client::new(Box::new(host), None), path };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map_err(|e| e.to_string())?.block_on(handler(&context, parsed))
        }
    };
    let (out, mut err) = output.borrow().clone();
    let code = match result {
        Ok(()) => 0,
        Err(error) => {
            if !error.message.is_empty() {
                err.push_str(&format!("{}\n", error.message));
            }
            i64::from(error.code)
        }
    };
    Ok(line.outcome(code, out, err, &requests.take("")))
}

struct Table {
    engine: Engine,
    requests: Requests,
    input: String,
    output: Rc<RefCell<(String, String)>>,
}

impl Host for Table {
    fn send(&self, request: Request) -> Local<'_, Result<Response, ClientError>> {
        let body = match request.body {
            Body::Json(value) => Some(value),
            _ => None,
        };
        let (status, answer) = self.engine.answer(&self.requests, request.method, &request.target, body);
        let bytes = if status == 204 { Vec::new() } else { answer.to_string().into_bytes() };
        let body: ByteStream = Box::pin(futures_util::stream::iter([Ok(bytes.into())]));
        let headers = vec![("api-version".to_owned(), API.to_owned())];
        Box::pin(async move { Ok(Response { status, headers, body }) })
    }

    fn converse(&self, _: Request) -> Local<'_, Result<Box<dyn Conversation>, ClientError>> {
        Box::pin(async { Err(ClientError::Broken("the table holds no conversations".into())) })
    }

    fn now(&self) -> UnixTime {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        UnixTime::new(now.as_secs() as i64, now.subsec_nanos())
    }

    fn sleep(&self, duration: Duration) -> Local<'_, ()> {
        Box::pin(tokio::time::sleep(duration))
    }

    fn interrupted(&self) -> Local<'_, ()> {
        Box::pin(std::future::pending())
    }

    fn env(&self, _: &str) -> Option<String> {
        None
    }

    fn read_file(&self, _: &str, _: usize) -> Result<Vec<u8>, String> {
        Err("no such file or directory".into())
    }

    fn open_input(&self, path: Option<&str>) -> Result<ByteStream, String> {
        match path {
            None => Ok(Box::pin(futures_util::stream::iter([Ok(self.input.clone().into())]))),
            Some("/") => Err("is a directory".into()),
            Some(_) => Err("no such file or directory".into()),
        }
    }

    fn create_file(&self, _: &str, _: &str) -> Result<(), String> {
        Ok(())
    }

    fn read_line(&self) -> Result<String, String> {
        Ok(self.input.clone())
    }

    fn out(&self, bytes: &[u8]) {
        self.output.borrow_mut().0.push_str(&String::from_utf8_lossy(bytes));
    }

    fn err(&self, bytes: &[u8]) {
        self.output.borrow_mut().1.push_str(&String::from_utf8_lossy(bytes));
    }

    fn stdin_is_terminal(&self) -> bool {
        false
    }

    fn stdout_is_terminal(&self) -> bool {
        false
    }

    fn terminal_size(&self) -> Option<(u16, u16)> {
        None
    }
}
