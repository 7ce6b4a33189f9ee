//! A process of the container as the shim sees it: its number, its streams, what waits for its input.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::pty::Winsize;

use crate::error::Result;
use crate::log::Stream;

/// How much input may wait for a process before its senders are held back.
pub(super) const INPUT_BACKLOG: usize = 256 << 10;

nix::ioctl_write_ptr_bad!(set_size, nix::libc::TIOCSWINSZ, Winsize);

#[derive(Default)]
pub(super) struct Process {
    pub pid: i32,
    pub out: Option<OwnedFd>,
    pub err: Option<OwnedFd>,
    pub stdin: Option<OwnedFd>,
    pub tty: bool,
    pub pending: Vec<u8>,
    input_ends: bool,
}

impl Process {
    /// Uses a terminal's master for both directions.
    pub(super) fn adopt_terminal(&mut self, master: OwnedFd) -> Result<()> {
        let master = super::nonblocking(master)?;
        let copy = master.try_clone().map_err(|e| crate::Error::internal(format!("duplicating the terminal: {e}")))?;
        (self.stdin, self.out, self.tty) = (Some(copy), Some(master), true);
        Ok(())
    }

    pub(super) fn fd(&self, stream: Stream) -> Option<BorrowedFd<'_>> {
        match stream {
            Stream::Stdout => self.out.as_ref(),
            Stream::Stderr => self.err.as_ref(),
        }
        .map(|f| f.as_fd())
    }

    /// Reads what is there: bytes, or nothing for now. At the end the stream is closed.
    pub(super) fn read(&mut self, stream: Stream, buf: &mut [u8]) -> usize {
        let slot = match stream {
            Stream::Stdout => &mut self.out,
            Stream::Stderr => &mut self.err,
        };
        let Some(fd) = slot else { return 0 };
        match nix::unistd::read(&*fd, buf) {
            Ok(n) if n > 0 => n,
            Err(nix::errno::Errno::EAGAIN | nix::errno::Errno::EINTR) => 0,
            // End of file; a terminal says EIO once its last holder is gone.
            _ => {
                *slot = None;
                0
            }
        }
    }

    /// Takes input for the process.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        if self.stdin.is_some() && !self.input_ends {
            self.pending.extend_from_slice(bytes);
            self.write_pending();
        }
    }

    /// Closes standard input once what waits is written. A terminal stays open: it is also the output.
    pub(super) fn end_input(&mut self) {
        if !self.tty {
            self.input_ends = true;
            self.write_pending();
        }
    }

    pub(super) fn write_pending(&mut self) {
        while let Some(fd) = &self.stdin
            && !self.pending.is_empty()
        {
            match nix::unistd::write(fd, &self.pending) {
                Ok(n) => drop(self.pending.drain(..n)),
                Err(nix::errno::Errno::EINTR) => {}
                Err(nix::errno::Errno::EAGAIN) => return,
                Err(_) => {
                    self.pending = Vec::new();
                    self.stdin = None;
                }
            }
        }
        self.pending.shrink_to(4096);
        if self.input_ends && self.pending.is_empty() {
            self.stdin = None;
        }
    }

    pub(super) fn resize(&self, height: u16, width: u16) {
        if let (true, Some(fd)) = (self.tty, &self.out) {
            let size = Winsize { ws_row: height, ws_col: width, ws_xpixel: 0, ws_ypixel: 0 };
            // SAFETY: the descriptor is an open terminal and `size` outlives the call.
            let _ = unsafe { set_size(std::os::fd::AsRawFd::as_raw_fd(fd), &size) };
        }
    }
}
