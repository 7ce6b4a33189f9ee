//! Docker's own client in front of the table.

use crate::Line;
use crate::fake::{Engine, Requests};
use crate::outcome::Outcome;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Clients at one time.
const AT_ONCE: usize = 2;

/// Docker's client.
pub struct Docker(PathBuf);

impl Docker {
    /// The client of this machine, if it is of the version whose texts are ours.
    pub fn find() -> Result<Self, String> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let found = std::env::split_paths(&path).map(|folder| folder.join("docker")).find(|path| path.is_file());
        let program = found.ok_or("docker is not installed")?;
        let output = Command::new(&program).arg("--version").output().map_err(|e| e.to_string())?;
        let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        match version.contains("version 28.2") {
            true => Ok(Self(program)),
            false => Err(format!("the texts are those of Docker 28.2, this is {version}")),
        }
    }

    /// What the client does with each of the lines.
    pub fn run_all(&self, engine: &Engine, lines: &[&str]) -> Result<Vec<Outcome>, String> {
        let folder = tempfile::Builder::new().prefix("swarmlab-requests-").tempdir().map_err(|e| e.to_string())?;
        let part = lines.len().div_ceil(AT_ONCE).max(1);
        let run = |(at, lines): (usize, &[&str])| -> Result<Vec<Outcome>, String> {
            let requests = Requests::default();
            let socket = folder.path().join(format!("socket-{at}"));
            engine.listen(&socket, &requests)?;
            lines.iter().map(|line| self.run(line, &socket, &requests)).collect()
        };
        let results: Vec<_> = std::thread::scope(|scope| {
            let run = &run;
            let threads: Vec<_> = lines.chunks(part).enumerate().map(|chunk| scope.spawn(move || run(chunk))).collect();
            threads.into_iter().map(|thread| thread.join().map_err(|_| "a client panicked".to_owned())).collect()
        });
        let mut out = Vec::new();
        for result in results {
            out.extend(result??);
        }
        Ok(out)
    }

    /// The help page of a command.
    pub fn help(&self, command: &str) -> Result<String, String> {
        let output = Command::new(&self.0)
            .args(command.split(' '))
            .arg("--help")
            .output()
            .map_err(|e| format!("docker {command} --help: {e}"))?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn run(&self, line: &str, socket: &Path, requests: &Requests) -> Result<Outcome, String> {
        let failed = |e: std::io::Error| format!("docker {line}: {e}");
        let line = Line::parse(line)?;
        requests.take(&line.variant);
        let mut child = Command::new(&self.0)
            .args(&line.words)
            .env_clear()
            .env("DOCKER_HOST", format!("unix://{}", socket.display()))
            .env("DOCKER_CONFIG", socket.with_file_name("config"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        if let Some(mut stdin) = child.stdin.take() {
            // A client that does not ask may have ended.
            let _ = stdin.write_all(line.input.as_bytes());
        }
        let output = child.wait_with_output().map_err(failed)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let code = output.status.code().map_or(-1, i64::from);
        Ok(line.outcome(code, text(&output.stdout), text(&output.stderr), &requests.take("")))
    }
}
