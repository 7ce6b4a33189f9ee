//! A program on a terminal of its own: what a person would see and type.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Test machines are busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// The person's end of the terminal. The program is killed with it.
pub struct Terminal {
    child: Child,
    end: File,
    seen: String,
}

impl Terminal {
    /// Starts a program on a new terminal of this many rows and columns.
    pub fn open(mut command: Command, (rows, columns): (u16, u16)) -> Self {
        let pty = nix::pty::openpty(&size(rows, columns), None).unwrap();
        let end = || pty.slave.try_clone().unwrap();
        command.stdin(end()).stdout(end()).stderr(end()).env("TERM", "xterm");
        // SAFETY: both calls are async-signal-safe.
        unsafe {
            command.pre_exec(|| {
                nix::unistd::setsid()?;
                // the standard input becomes the terminal whose keys make signals
                if libc::ioctl(0, libc::TIOCSCTTY, 0) < 0 {
                    return Err(std::io::Error::last_os_error());
                }
                Ok(())
            });
        }
        let child = command.spawn().unwrap();
        Self { child, end: pty.master.into(), seen: String::new() }
    }

    /// Types.
    pub fn types(&mut self, keys: &str) {
        self.end.write_all(keys.as_bytes()).unwrap();
    }

    /// Changes the size of the window.
    pub fn resize(&self, rows: u16, columns: u16) {
        let size = size(rows, columns);
        // SAFETY: the structure lives through the call.
        let done = unsafe { libc::ioctl(self.end.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
        assert_eq!(done, 0);
    }

    /// Waits until the screen has shown a text since what was last waited for.
    #[track_caller]
    pub fn until(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.seen.find(text) {
                self.seen.drain(..at + text.len());
                return;
            }
            assert!(self.reads(deadline), "no {text:?} in {:?}", self.seen);
        }
    }

    /// Waits for the end of the program: its exit code.
    #[track_caller]
    pub fn finish(mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        while self.reads(deadline) {}
        assert!(Instant::now() < deadline, "it does not end: {:?}", self.seen);
        self.child.wait().unwrap().code()
    }

    /// Takes in what is shown next; `false` once the program has closed the terminal, or the time is over.
    fn reads(&mut self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut fds = [PollFd::new(self.end.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, PollTimeout::try_from(left).unwrap()).unwrap() == 0 {
            return false;
        }
        let mut bytes = [0; 4096];
        match self.end.read(&mut bytes) {
            Ok(count) if count > 0 => self.seen.push_str(&String::from_utf8_lossy(&bytes[..count])),
            // the kernel's way to say that nobody has the other end open
            _ => return false,
        }
        true
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn size(rows: u16, columns: u16) -> libc::winsize {
    libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}
