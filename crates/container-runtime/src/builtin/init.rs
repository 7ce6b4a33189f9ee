//! The small init of `--init`: starts a program, passes signals on to it, reaps what it leaves behind, and ends with
//! its status.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

pub(super) fn main(args: Vec<String>) -> ExitCode {
    let mut args = args.into_iter().skip_while(|a| a == "--");
    let Some(program) = args.next() else {
        eprintln!("init: expected a program");
        return ExitCode::from(2);
    };
    let all = SigSet::all();
    if let Err(e) = all.thread_block() {
        eprintln!("init: blocking signals: {e}");
        return ExitCode::FAILURE;
    }
    let mut command = Command::new(&program);
    command.args(args).process_group(0);
    // SAFETY: between fork and exec only one system call is made, and nothing is allocated.
    unsafe {
        command.pre_exec(|| SigSet::all().thread_unblock().map_err(Into::into));
    }
    let child = match command.spawn() {
        Ok(c) => Pid::from_raw(c.id() as i32),
        Err(e) => {
            eprintln!("init: {program}: {e}");
            return ExitCode::from(if e.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 });
        }
    };
    // A terminal, if there is one, belongs to the program. Needs SIGTTOU blocked, which it is.
    // SAFETY: plain system call on the open standard input; failure means that it is no terminal.
    unsafe { nix::libc::tcsetpgrp(0, child.as_raw()) };
    loop {
        match all.wait() {
            Ok(Signal::SIGCHLD) => {
                while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                    match status {
                        WaitStatus::Exited(pid, code) if pid == child => {
                            return ExitCode::from(code as u8);
                        }
                        WaitStatus::Signaled(pid, signal, _) if pid == child => {
                            return ExitCode::from(128 + signal as u8);
                        }
                        WaitStatus::StillAlive => break,
                        _ => {}
                    }
                }
            }
            Ok(signal) => drop(kill(child, signal)),
            Err(_) => {}
        }
    }
}
