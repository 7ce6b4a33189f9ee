//! An interactive shell in a node, on this process's own terminal.

use std::io::IsTerminal;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

use super::EngineError;
use crate::sandbox::{Sandbox, SandboxError, SpawnSpec};

/// How often a changed window size is noticed. Its signal would need a handler in a process that may have threads.
const LOOK_AT_SIZE_MS: u8 = 200;

/// Runs `bash` (or `sh`) in the node until it ends; its exit code. Without a terminal it reads commands from the input.
pub fn shell(sandbox: &Sandbox, node: &str) -> Result<i32, EngineError> {
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let interactive = stdin.is_terminal() && stdout.is_terminal();
    let size = window_size(stdout.as_fd());
    let program = "if command -v bash >/dev/null; then exec bash; else exec sh; fi";
    let mut spec = SpawnSpec {
        argv: vec!["sh".into(), "-c".into(), program.into()],
        env: vec![
            ("TERM".into(), std::env::var("TERM").unwrap_or_else(|_| "xterm".into())),
            ("PS1".into(), format!("{node}$ ")),
        ],
        cwd: PathBuf::from("/root"),
        tty: interactive.then_some((size.ws_row, size.ws_col)),
        keep: false,
        files: Vec::new(),
    };
    if !interactive {
        spec.files = vec![stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
        return Ok(sandbox.spawn(node, &spec)?.finish()?);
    }
    let mut running = sandbox.spawn(node, &spec)?;
    let terminal = running
        .take_terminal()
        .ok_or_else(|| SandboxError::Remote("the node gave no terminal for the shell".into()))?;
    let _raw = RawMode::enter(stdin.as_fd());
    relay(&terminal, stdin.as_fd(), stdout.as_fd(), size);
    Ok(running.finish()?)
}

/// Runs a program with this process's own three files, whatever they are; its exit code.
pub fn run(sandbox: &Sandbox, node: &str, argv: &[String]) -> Result<i32, EngineError> {
    let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    let spec = SpawnSpec {
        argv: argv.to_vec(),
        env: Vec::new(),
        cwd: PathBuf::from("/root"),
        tty: None,
        keep: false,
        files: vec![stdin.as_fd(), stdout.as_fd(), stderr.as_fd()],
    };
    Ok(sandbox.spawn(node, &spec)?.finish()?)
}

/// Moves bytes both ways until the shell closes its side.
fn relay(terminal: &OwnedFd, stdin: BorrowedFd<'_>, stdout: BorrowedFd<'_>, size: libc::winsize) {
    let mut size = size;
    let mut input_open = true;
    let mut bytes = [0u8; 16 * 1024];
    loop {
        let mut fds = vec![PollFd::new(terminal.as_fd(), PollFlags::POLLIN)];
        if input_open {
            fds.push(PollFd::new(stdin, PollFlags::POLLIN));
        }
        match nix::poll::poll(&mut fds, PollTimeout::from(LOOK_AT_SIZE_MS)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return,
        }
        let now = window_size(stdout);
        if (now.ws_row, now.ws_col) != (size.ws_row, size.ws_col) {
            size = now;
            // SAFETY: the structure lives through the call.
            unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
        }
        let ready: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(false)).collect();
        if ready[0] {
            match nix::unistd::read(terminal, &mut bytes) {
                Ok(count) if count > 0 => write_all(stdout, &bytes[..count]),
                Err(Errno::EINTR) => {}
                _ => return,
            }
        }
        if ready.get(1) == Some(&true) {
            match nix::unistd::read(stdin, &mut bytes) {
                Ok(count) if count > 0 => write_all(terminal.as_fd(), &bytes[..count]),
                Err(Errno::EINTR) => {}
                _ => input_open = false,
            }
        }
    }
}

fn write_all(fd: BorrowedFd<'_>, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match nix::unistd::write(fd, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::EINTR) => {}
            Err(_) => return,
        }
    }
}

fn window_size(fd: BorrowedFd<'_>) -> libc::winsize {
    let mut size = libc::winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the structure lives through the call; on failure it keeps its defaults.
    unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    size
}

/// The terminal hands every key on, until this is dropped.
struct RawMode<'a> {
    fd: BorrowedFd<'a>,
    before: Option<Termios>,
}

impl<'a> RawMode<'a> {
    fn enter(fd: BorrowedFd<'a>) -> Self {
        let before = tcgetattr(fd).ok();
        if let Some(before) = &before {
            let mut raw = before.clone();
            cfmakeraw(&mut raw);
            let _ = tcsetattr(fd, SetArg::TCSANOW, &raw);
        }
        Self { fd, before }
    }
}

impl Drop for RawMode<'_> {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = tcsetattr(self.fd, SetArg::TCSADRAIN, before);
        }
    }
}
