//! A cluster of the embedded engine that ends with its value, and `docker` commands against its nodes.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::{User, users};

/// How long a fact of a cluster may take; generous, since test machines are busy.
const PATIENCE: Duration = Duration::from_secs(40);

/// Cluster `c` of a user. The name of a node is the first word of every command.
pub struct Cluster {
    /// Whose it is.
    pub user: User,
}

/// What a command did.
#[derive(Debug)]
pub struct Done {
    /// Exit code.
    pub code: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Cluster {
    /// One cluster for every user of [`users`].
    pub fn each(managers: usize, workers: usize) -> impl Iterator<Item = Self> {
        users().into_iter().map(move |user| Self::up(user, &[("--managers", managers), ("--workers", workers)]))
    }

    /// One cluster, as an ordinary user if root runs the tests: what is not about rights is not worth two.
    pub fn one(managers: usize, workers: usize) -> Self {
        let user = users().pop().unwrap();
        Self::up(user, &[("--managers", managers), ("--workers", workers)])
    }

    /// Engines outside any swarm.
    pub fn plain(engines: usize) -> Self {
        Self::up(users().pop().unwrap(), &[("--plain", engines)])
    }

    fn up(user: User, counts: &[(&str, usize)]) -> Self {
        let counts: Vec<(&str, String)> = counts.iter().map(|(flag, count)| (*flag, count.to_string())).collect();
        let mut args = vec!["cluster", "up", "c"];
        for (flag, count) in &counts {
            args.extend([*flag, count.as_str()]);
        }
        user.ok(&args);
        Self { user }
    }

    /// A node's socket, outside.
    pub fn socket(&self, node: &str) -> PathBuf {
        self.user.state().join("c/nodes").join(node).join("docker.sock")
    }

    /// A raw connection to a node's socket.
    pub fn connect(&self, node: &str) -> UnixStream {
        let stream = UnixStream::connect(self.socket(node)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// `swarmlab docker ARGS` against a node, ready to run.
    pub fn command(&self, node: &str, args: &[&str]) -> Command {
        let mut all = vec!["docker"];
        all.extend(args);
        let mut command = self.user.command(&all);
        command.env("DOCKER_HOST", format!("unix://{}", self.socket(node).display()));
        command.env("DOCKER_CONFIG", "/nonexistent").env_remove("DOCKER_CONTEXT");
        command
    }

    /// Runs a line such as `manager1 node ls`: its words are split at blanks, except within `'...'`.
    pub fn docker(&self, line: &str) -> Done {
        let words = words(line);
        let args: Vec<&str> = words[1..].iter().map(String::as_str).collect();
        Done::of(self.command(&words[0], &args).output().unwrap())
    }

    /// The same, which must succeed; its trimmed standard output.
    pub fn ok(&self, line: &str) -> String {
        let done = self.docker(line);
        assert_eq!(done.code, Some(0), "as {}: {line}: {done:?}", self.user.name());
        done.out.trim().to_owned()
    }

    /// The same, which must fail with this exit code and say this on standard error.
    pub fn refused(&self, line: &str, code: i32, words: &str) {
        let done = self.docker(line);
        let told = done.code == Some(code) && done.err.contains(words);
        assert!(told, "as {}: {line}: wanted exit {code} and {words:?}: {done:?}", self.user.name());
    }

    /// Repeats a line until its output satisfies the fact.
    pub fn until(&self, line: &str, fact: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let done = self.docker(line);
            if done.code == Some(0) && fact(done.out.trim()) {
                return done.out.trim().to_owned();
            }
            assert!(Instant::now() < deadline, "as {}: {line}: never as wanted: {done:?}", self.user.name());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Cuts a node's power, or starts it.
    pub fn power(&self, node: &str, action: &str) {
        self.user.ok(&["cluster", "node", "c", node, action]);
    }

    /// Feeds standard input to a line.
    pub fn feed(&self, line: &str, input: &[u8]) -> Done {
        use std::io::Write as _;
        let words = words(line);
        let args: Vec<&str> = words[1..].iter().map(String::as_str).collect();
        let mut command = self.command(&words[0], &args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // one that refuses early does not read to the end
        let _ = child.stdin.take().unwrap().write_all(input);
        Done::of(child.wait_with_output().unwrap())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = self.user.run(&["cluster", "down", "c"]);
    }
}

impl Done {
    /// From a finished process.
    pub fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Splits at blanks, except within single quotes.
pub fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (at, part) in line.split('\'').enumerate() {
        match at % 2 {
            0 => words.extend(part.split_whitespace().map(str::to_owned)),
            _ => words.push(part.to_owned()),
        }
    }
    words
}
