//! The local terminal joined to a container: raw mode, its size, keys to detach, signals.

use super::keys::DetachKeys;
use super::stdio;
use crate::client::Client;
use crate::context::{Conversation, Joined, Local};
use crate::error::{CliError, Result};
use docker_api::frame::{Decoder, Stream};
use docker_api::query::{KillContainer, QueryParams, Resize};
use hyper_util::rt::TokioIo;
use nix::sys::termios::{self, SetArg, Termios};
use std::io::IsTerminal;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::signal::unix::{Signal, SignalKind, signal};

type Socket = TokioIo<hyper::upgrade::Upgraded>;

/// A connection that became a two-way stream.
pub struct Upgraded {
    read: ReadHalf<Socket>,
    write: WriteHalf<Socket>,
    caught: Caught,
}

/// Signals on their way to a container, by name.
type Caught = Vec<(&'static str, Signal)>;

impl Upgraded {
    pub fn new(socket: Socket) -> Self {
        let (read, write) = tokio::io::split(socket);
        Self { read, write, caught: Caught::new() }
    }
}

impl Conversation for Upgraded {
    fn catch_signals(&mut self) {
        const SIGNALS: &[(&str, SignalKind)] = &[
            ("INT", SignalKind::interrupt()),
            ("TERM", SignalKind::terminate()),
            ("HUP", SignalKind::hangup()),
            ("QUIT", SignalKind::quit()),
            ("USR1", SignalKind::user_defined1()),
            ("USR2", SignalKind::user_defined2()),
        ];
        self.caught = SIGNALS.iter().filter_map(|(name, kind)| Some((*name, signal(*kind).ok()?))).collect();
    }

    fn run<'a>(self: Box<Self>, client: &'a Client, joined: Joined) -> Local<'a, Result<bool>>
    where
        Self: 'a,
    {
        Box::pin(run(*self, client, joined))
    }
}

enum Ended {
    Output(Result),
    Detached,
}

async fn run(stream: Upgraded, client: &Client, joined: Joined) -> Result<bool> {
    let is_terminal = std::io::stdin().is_terminal();
    let _raw = match joined.tty && joined.stdin && is_terminal {
        true => Some(RawMode::enter()?),
        false => None,
    };
    let keys = match joined.tty && is_terminal {
        true => Some(DetachKeys::parse(&joined.detach_keys).map_err(CliError::new)?),
        false => None,
    };
    let output = async { Ended::Output(copy_output(stream.read, joined.tty).await) };
    let input = async {
        // The end of the input is not the end of the conversation: the container may go on writing.
        if !joined.stdin || !copy_input(stream.write, keys).await {
            std::future::pending::<()>().await;
        }
        Ended::Detached
    };
    let size = follow_size(client, joined.resize.as_deref());
    let signals = pass_signals(client, stream.caught, joined.signals.as_deref());
    tokio::select! {
        ended = output => match ended {
            Ended::Output(result) => result.map(|()| false),
            Ended::Detached => Ok(true),
        },
        _ = input => Ok(true),
        () = size => Ok(false),
        enough = signals => Err(enough),
    }
}

async fn copy_output(mut read: ReadHalf<Socket>, raw: bool) -> Result {
    let mut buffer = vec![0; 32 * 1024];
    let mut decoder = Decoder::new();
    loop {
        let n = match read.read(&mut buffer).await {
            Ok(0) => return Ok(()),
            Ok(n) => n,
            // An engine may close without ceremony once the container has ended.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return Ok(()),
            Err(error) => return Err(CliError::new(format!("error during connect: {error}"))),
        };
        if raw {
            stdio::out(&buffer[..n]);
            continue;
        }
        let decoded = decoder.decode(&buffer[..n], |piece| match piece.stream {
            Stream::Stderr | Stream::SystemError => stdio::err(piece.data),
            Stream::Stdin | Stream::Stdout => stdio::out(piece.data),
        });
        decoded.map_err(|e| CliError::new(e.to_string()))?;
    }
}

/// Sends what is typed; true when the person detached.
async fn copy_input(mut write: WriteHalf<Socket>, mut keys: Option<DetachKeys>) -> bool {
    let mut stdin = tokio::io::stdin();
    let mut buffer = vec![0; 8 * 1024];
    loop {
        let n = match stdin.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(n) => n,
        };
        let (bytes, detached) = match &mut keys {
            Some(keys) => keys.filter(&buffer[..n]),
            None => (buffer[..n].to_vec(), false),
        };
        if write.write_all(&bytes).await.and(write.flush().await).is_err() {
            break;
        }
        if detached {
            return true;
        }
    }
    // Says that no more input comes; the other direction stays open.
    let _ = write.shutdown().await;
    std::future::pending::<()>().await;
    false
}

/// Tells the engine the terminal's size, now and whenever it changes. Never ends.
async fn follow_size(client: &Client, path: Option<&str>) {
    let changes = signal(SignalKind::window_change());
    if let (Some(path), Ok(mut changes)) = (path, changes) {
        loop {
            if let Some((rows, columns)) = size() {
                let query = Resize { height: Some(rows), width: Some(columns) }.to_query();
                // A container that has not started yet refuses; it starts with the size of its creation.
                for _ in 0..10 {
                    if client.post(path, &query, None).await.is_ok() {
                        break;
                    }
                    tokio::time::sleep(std::time::Duration::from_millis(10)).await;
                }
            }
            if changes.recv().await.is_none() {
                break;
            }
        }
    }
    std::future::pending().await
}

/// How many requests to end are passed on; who makes so many wants to be rid of this program at least.
const INSISTENCE: usize = 3;

/// Passes signals on to the container. Ends when the person insists.
async fn pass_signals(client: &Client, mut caught: Caught, path: Option<&str>) -> CliError {
    let Some(path) = path else {
        return std::future::pending().await;
    };
    let mut asked = 0;
    loop {
        let name = std::future::poll_fn(|cx| {
            for (name, stream) in &mut caught {
                if stream.poll_recv(cx).is_ready() {
                    return std::task::Poll::Ready(*name);
                }
            }
            std::task::Poll::Pending
        })
        .await;
        asked += usize::from(["INT", "TERM"].contains(&name));
        if asked == INSISTENCE {
            return CliError::new(format!("\ngot {INSISTENCE} SIGTERM/SIGINTs, forcefully exiting"));
        }
        let query = KillContainer { signal: name.into() }.to_query();
        // The container may have ended in this moment; then there is nobody to tell.
        let _ = client.post(path, &query, None).await;
    }
}

/// Rows and columns of the terminal, if there is one.
pub fn size() -> Option<(u16, u16)> {
    nix::ioctl_read_bad!(get_size, nix::libc::TIOCGWINSZ, nix::libc::winsize);
    for descriptor in [nix::libc::STDOUT_FILENO, nix::libc::STDIN_FILENO] {
        let mut size = nix::libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: TIOCGWINSZ writes one winsize, which `size` is; the descriptor is only read.
        let done = unsafe { get_size(descriptor, &mut size) };
        if done.is_ok() && size.ws_row > 0 && size.ws_col > 0 {
            return Some((size.ws_row, size.ws_col));
        }
    }
    None
}

/// The terminal passes every key on as it is typed; undone when dropped.
struct RawMode(Termios);

impl RawMode {
    fn enter() -> Result<Self> {
        let failed = |e: nix::Error| CliError::new(format!("cannot set the terminal to raw mode: {e}"));
        let stdin = std::io::stdin();
        let before = termios::tcgetattr(&stdin).map_err(failed)?;
        let mut raw = before.clone();
        termios::cfmakeraw(&mut raw);
        termios::tcsetattr(&stdin, SetArg::TCSADRAIN, &raw).map_err(failed)?;
        Ok(Self(before))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // When the terminal is gone there is nothing to restore.
        let _ = termios::tcsetattr(std::io::stdin(), SetArg::TCSADRAIN, &self.0);
    }
}
