//! What a command has at hand: the engine, and the [`Host`] that it runs on.
//!
//! Commands do no IO of their own. On Linux the host is [`crate::native`]; in a page it can be an engine in WebAssembly.

use crate::client::{Client, ClientError, Request, Response};
use crate::error::{CliError, Result};
use docker_api::time::UnixTime;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// A future that need not move between threads.
pub type Local<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Everything outside of the program that commands use.
pub trait Host {
    /// Sends a request; resolves when the head of the answer is there.
    fn send(&self, request: Request) -> Local<'_, std::result::Result<Response, ClientError>>;
    /// Sends a request that turns its connection into a two-way stream.
    fn converse(&self, request: Request) -> Local<'_, std::result::Result<Box<dyn Conversation>, ClientError>>;
    /// The time.
    fn now(&self) -> UnixTime;
    /// Waits.
    fn sleep(&self, duration: Duration) -> Local<'_, ()>;
    /// Resolves when the person at the terminal interrupts, or has done so since the first wait for it.
    fn interrupted(&self) -> Local<'_, ()>;
    /// A variable of the environment.
    fn env(&self, name: &str) -> Option<String>;
    /// A whole file, of at most `limit` bytes; the error is worded as the system words it.
    fn read_file(&self, path: &str, limit: usize) -> std::result::Result<Vec<u8>, String>;
    /// A file, or standard input, as a request's body.
    fn open_input(&self, path: Option<&str>) -> std::result::Result<crate::client::ByteStream, String>;
    /// Creates a file that must not exist.
    fn create_file(&self, path: &str, content: &str) -> std::result::Result<(), String>;
    /// One line from standard input.
    fn read_line(&self) -> std::result::Result<String, String>;
    /// Writes to standard output.
    fn out(&self, bytes: &[u8]);
    /// Writes to standard error.
    fn err(&self, bytes: &[u8]);
    /// Is standard input a terminal?
    fn stdin_is_terminal(&self) -> bool;
    /// Is standard output a terminal?
    fn stdout_is_terminal(&self) -> bool;
    /// Rows and columns of the terminal, if there is one.
    fn terminal_size(&self) -> Option<(u16, u16)>;
}

/// How standard streams are joined to a container's.
#[derive(Debug, Clone, Default)]
pub struct Joined {
    /// Sends standard input.
    pub stdin: bool,
    /// Raw bytes rather than frames; the local terminal is made raw.
    pub tty: bool,
    /// Keys that end the conversation.
    pub detach_keys: String,
    /// Where changes of the terminal's size go, `/containers/ID/resize`.
    pub resize: Option<String>,
    /// Where signals go, `/containers/ID/kill`.
    pub signals: Option<String>,
}

/// A two-way stream to a container.
pub trait Conversation {
    /// From now on signals to this program do not end it but are kept for [`run`](Self::run) to pass on. To be called
    /// before the container starts: whoever has seen its first output may already send one.
    fn catch_signals(&mut self);
    /// Moves bytes until the container's side ends; true when the person detached.
    fn run<'a>(self: Box<Self>, client: &'a Client, joined: Joined) -> Local<'a, Result<bool>>
    where
        Self: 'a;
}

/// What every command gets.
pub struct Context {
    /// The engine.
    pub client: Client,
    /// Words of the command, `docker service create`.
    pub path: String,
}

impl Context {
    /// The host.
    pub fn host(&self) -> &dyn Host {
        self.client.host()
    }

    /// Writes a line to standard output.
    pub fn line(&self, text: impl std::fmt::Display) {
        self.host().out(format!("{text}\n").as_bytes());
    }

    /// Writes text to standard output as it is.
    pub fn print(&self, text: &str) {
        self.host().out(text.as_bytes());
    }

    /// Writes a line to standard error.
    pub fn warn(&self, text: impl std::fmt::Display) {
        self.host().err(format!("{text}\n").as_bytes());
    }

    /// Asks for consent; only the letter y gives it.
    pub fn confirm(&self, question: &str) -> Result<bool> {
        self.print(&format!("{question} [y/N] "));
        let answer = self.host().read_line().map_err(CliError::new)?;
        Ok(answer.trim().eq_ignore_ascii_case("y"))
    }

    /// What a prune removed, if anything: a heading, a line for each, and an empty line.
    pub fn print_deleted(&self, what: &str, names: &[String]) {
        if !names.is_empty() {
            self.print(&format!("Deleted {what}:\n{}\n\n", names.join("\n")));
        }
    }

    /// Does the same to several objects and goes on after failures; prints what `action` returns for each.
    pub async fn each<'a, F>(&'a self, names: &'a [String], action: F) -> Result
    where
        F: AsyncFn(&'a str) -> Result<String>,
    {
        let mut errors = Vec::new();
        for name in names {
            match action(name).await {
                Ok(text) if text.is_empty() => {}
                Ok(text) => self.line(text),
                Err(error) => errors.push(error.message),
            }
        }
        match errors.is_empty() {
            true => Ok(()),
            false => Err(CliError::new(errors.join("\n"))),
        }
    }
}
