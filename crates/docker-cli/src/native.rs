//! The host on Linux, and the entry point of the program.

mod endpoint;
mod keys;
mod stdio;
mod terminal;
mod transport;

use crate::client::{ByteStream, Client, ClientError, Request, Response};
use crate::command::{Asked, read};
use crate::commands;
use crate::context::{Context, Conversation, Host, Local};
use crate::error::{CliError, Result};
use docker_api::ApiVersion;
use docker_api::time::UnixTime;
use endpoint::Endpoint;
use std::cell::RefCell;
use std::ffi::OsString;
use std::io::{IsTerminal, Read};
use std::process::ExitCode;
use std::task::Poll;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Runs a command line, the program's name not included. Ends with Docker's exit codes.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args: Vec<String> = args.map(|arg| arg.to_string_lossy().into_owned()).collect();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !error.message.is_empty() {
                stdio::err(format!("{}\n", error.message).as_bytes());
            }
            ExitCode::from(error.code)
        }
    }
}

fn run(args: &[String]) -> Result {
    let (global, asked) = read(&commands::root(), args)?;
    let (handler, parsed, path) = match asked {
        Asked::Print(page) => {
            stdio::out(page.as_bytes());
            return Ok(());
        }
        Asked::Remind(page) => {
            stdio::err(page.as_bytes());
            return Ok(());
        }
        Asked::Run { handler, parsed, path } => (handler, parsed, path),
    };
    let endpoint = Endpoint::find(&global, &|name| std::env::var(name).ok())?;
    let version = match std::env::var("DOCKER_API_VERSION") {
        Ok(text) if !text.is_empty() => {
            let text = text.trim_start_matches('v');
            Some(text.parse::<ApiVersion>().map_err(|e| CliError::new(format!("DOCKER_API_VERSION: {e}")))?)
        }
        _ => None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| CliError::new(format!("cannot start: {e}")))?;
    let context =
        Context { client: Client::new(Box::new(Native { endpoint, interrupts: RefCell::default() }), version), path };
    let result = runtime.block_on(handler(&context, parsed));
    // A read of standard input may still be waiting in a thread; it must not hold the program up.
    runtime.shutdown_background();
    result
}

/// The host.
struct Native {
    endpoint: Endpoint,
    /// From the first wait for an interrupt on: one that comes while nobody waits is kept for the next who does.
    interrupts: RefCell<Option<Signal>>,
}

impl Host for Native {
    fn send(&self, request: Request) -> Local<'_, std::result::Result<Response, ClientError>> {
        Box::pin(transport::send(&self.endpoint, request))
    }

    fn converse(&self, request: Request) -> Local<'_, std::result::Result<Box<dyn Conversation>, ClientError>> {
        Box::pin(transport::converse(&self.endpoint, request))
    }

    fn now(&self) -> UnixTime {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        UnixTime::new(now.as_secs() as i64, now.subsec_nanos())
    }

    fn sleep(&self, duration: Duration) -> Local<'_, ()> {
        Box::pin(tokio::time::sleep(duration))
    }

    fn interrupted(&self) -> Local<'_, ()> {
        Box::pin(std::future::poll_fn(|cx| {
            let mut interrupts = self.interrupts.borrow_mut();
            if interrupts.is_none() {
                *interrupts = signal(SignalKind::interrupt()).ok();
            }
            match interrupts.as_mut().map(|interrupts| interrupts.poll_recv(cx)) {
                Some(Poll::Ready(Some(()))) => Poll::Ready(()),
                _ => Poll::Pending,
            }
        }))
    }

    fn env(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn read_file(&self, path: &str, limit: usize) -> std::result::Result<Vec<u8>, String> {
        let file = std::fs::File::open(path).map_err(|e| stdio::reason(&e))?;
        let mut out = Vec::new();
        file.take(limit as u64 + 1).read_to_end(&mut out).map_err(|e| stdio::reason(&e))?;
        match out.len() > limit {
            true => Err(format!("larger than {limit} bytes")),
            false => Ok(out),
        }
    }

    fn open_input(&self, path: Option<&str>) -> std::result::Result<ByteStream, String> {
        stdio::open(path)
    }

    fn create_file(&self, path: &str, content: &str) -> std::result::Result<(), String> {
        use std::io::Write;
        let mut file = std::fs::File::create_new(path).map_err(|e| format!("open {path}: {}", stdio::reason(&e)))?;
        file.write_all(content.as_bytes()).map_err(|e| stdio::reason(&e))
    }

    fn read_line(&self) -> std::result::Result<String, String> {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).map_err(|e| stdio::reason(&e))?;
        Ok(line)
    }

    fn out(&self, bytes: &[u8]) {
        stdio::out(bytes);
    }

    fn err(&self, bytes: &[u8]) {
        stdio::err(bytes);
    }

    fn stdin_is_terminal(&self) -> bool {
        std::io::stdin().is_terminal()
    }

    fn stdout_is_terminal(&self) -> bool {
        std::io::stdout().is_terminal()
    }

    fn terminal_size(&self) -> Option<(u16, u16)> {
        terminal::size()
    }
}
