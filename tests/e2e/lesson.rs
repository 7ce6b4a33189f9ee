//! A learner's way through a lab: `start`, `status`, `check`, `hint`, `solve`, `reset`, `shell`, `stop`; and a playground
//! by `cluster up`, `env`, `down`. With real containers on the embedded engine.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{Done, Terminal, User, eventually, users};

const CHAPTER: &str = "# A lab

```console {step=look}
manager1$ docker node ls --format '{{.Hostname}} {{.Status}}'
manager1 Ready
worker1 Ready
```

```exercise {step=scale}
Make a service `web` of `swarmlab/web:1.0` with **two** replicas on the network `inside`.
```

```exercise {step=publish}
Publish port 80 of `web` as port PORT of every node.
```

```console {step=reach}
lab$ curl -s localhost:PORT
version: 1.0
...
lab$ swarmlab fault partition worker1
worker1 is cut off from manager1
lab$ swarmlab fault heal
no longer: worker1 is cut off from manager1
manager1$ netview inside
overlay network inside ([..])
...
```
";

const LAB: &str = r#"
format_version = 1
title = "A lab"
slug = "sample"
[cluster]
managers = 1
workers = 1

[[step]]
id = "look"
title = "Look at the nodes"
[[step.check]]
kind = "api"
path = "/nodes"
select = "/*/Status/State"
expect = { count = 2, all = "ready" }
always = "the lab starts with a swarm"
words = "Both nodes are ready."

[[step]]
id = "scale"
title = "Two of a kind"
kind = "exercise"
timeout = "60s"
hints = ["`docker service create` makes one.", "Its flag `--replicas` says how many.", "And `--network` where."]
solution = [
  "manager1$ docker network create -d overlay --attachable inside",
  "manager1$ docker service create -q --name web --replicas 2 --network inside swarmlab/web:1.0",
]
reset = [
  "manager1$ docker service rm web",
  "manager1$ until docker network rm inside 2>/dev/null; do sleep 0.1; done",
]
[[step.check]]
kind = "api"
path = '/tasks?filters={"service":["web"],"desired-state":["running"]}'
select = "/*/Status/State"
expect = { count = 2, all = "running" }
eventually = { timeout = "30s" }
words = "Two tasks of `web` run."
[[step.check]]
kind = "dns"
container = "web"
name = "tasks.web"
node = "manager1"
expect = { count = 2, all = { matches = "^10\\." } }
eventually = { timeout = "20s" }
words = "`tasks.web` means both of them."
[[step.check]]
kind = "http"
container = "web"
node = "worker1"
url = "http://web/"
requests = 10
expect = { count = 10, all = { contains = "version: 1.0" } }
eventually = { timeout = "20s" }
words = "A task reaches `web` by its name."

[[step]]
id = "publish"
title = "Out into the world"
kind = "exercise"
timeout = "60s"
hints = ["`docker service update --publish-add`"]
solution = ["manager1$ docker service update -q --publish-add published=PORT,target=80 web"]
reset = ["manager1$ docker service update -q --publish-rm 80 web"]
[[step.check]]
kind = "http"
node = "lab"
url = "http://localhost:PORT/"
requests = 5
expect = { all = { contains = "version: 1.0" } }
eventually = { timeout = "30s" }
words = "Your own browser sees it."
[[step.check]]
kind = "command"
node = "worker1"
run = "cat /proc/sys/kernel/hostname"
times = 4
expect = { count = 4, distinct = 1, share = 1, all = "worker1" }
always = "it only shows how a command is repeated"
words = "A node has one name."

[[step]]
id = "reach"
title = "Reach it"
"#;

/// A learner with a home, and a lab to work through.
struct Learner {
    user: User,
    home: PathBuf,
    port: u16,
}

impl Learner {
    fn all() -> impl Iterator<Item = Self> {
        users().into_iter().map(|user| {
            let home = user.folder("home");
            let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let learner = Self { user, home, port };
            for (name, text) in
                [("book/src/chapter-7.md", CHAPTER), ("book/src/SUMMARY.md", ""), ("labs/chapter-7/lab.toml", LAB)]
            {
                let path = learner.home.join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text.replace("PORT", &port.to_string())).unwrap();
            }
            learner
        })
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.user.command(args);
        command.current_dir(&self.home).env("HOME", &self.home).env("NO_COLOR", "1");
        command.env_remove("XDG_STATE_HOME").env_remove("XDG_RUNTIME_DIR");
        command
    }

    /// Runs a line such as `check scale`, which must end with this exit code; all that it says.
    fn says(&self, line: &str, code: i32) -> String {
        let args: Vec<&str> = line.split(' ').collect();
        let done = Done::of(self.command(&args).output().unwrap());
        assert_eq!(done.code, Some(code), "as {}: {line}: {done:?}", self.user.name());
        done.out + &done.err
    }

    fn docker(&self, line: &str) -> String {
        let mut args = vec!["docker"];
        args.extend(line.split(' '));
        let socket = self.user.state().join("lab-chapter-7/nodes/manager1/docker.sock");
        let mut command = self.command(&args);
        let done = Done::of(command.env("DOCKER_HOST", format!("unix://{}", socket.display())).output().unwrap());
        assert_eq!(done.code, Some(0), "as {}: {line}: {done:?}", self.user.name());
        done.out.trim().to_owned()
    }

    fn state(&self, step: &str) -> String {
        let status: Value = serde_json::from_str(&self.says("status --format json", 0)).unwrap();
        let steps = status["steps"].as_array().unwrap();
        steps.iter().find(|found| found["id"] == step).unwrap()["state"].as_str().unwrap().to_owned()
    }

    fn leaves_nothing(&self) {
        eventually(&format!("as {}: nothing is left", self.user.name()), || match self.user.traces() {
            left if left.is_empty() => Ok(()),
            left => Err(left.join("\n")),
        });
    }
}

#[track_caller]
fn contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
}

#[test]
fn a_learner_works_through_a_lab_and_finds_it_again() {
    for learner in Learner::all() {
        contains(&learner.says("status", 2), &["swarmlab start CHAPTER"]);
        let said = learner.says("start 7", 0);
        contains(
            &said,
            &["chapter-7: A lab", "Nodes: manager1, worker1.", "Look at the nodes (look)", "docker node ls"],
        );
        contains(&learner.says("start 7", 0), &["still running; nothing in it was changed"]);
        contains(&learner.says("status", 0), &["on embedded, runs", "> open     look", "  open     scale"]);
        contains(&learner.says("check", 0), &["Both nodes are ready.", "Two of a kind (scale)", "**two** replicas"]);
        assert_eq!(learner.state("look"), "done");

        contains(&learner.says("check", 1), &["Two tasks of `web` run.", "Not yet. `swarmlab hint` helps"]);
        let first = learner.says("hint", 0);
        contains(&first, &["expected", "2 in number", "docker service ps web", "`swarmlab hint` again tells more."]);
        assert!(!first.contains("Hint 1"), "first the state: {first}");
        contains(&learner.says("hint", 0), &["Hint 1 of 3: `docker service create` makes one."]);
        contains(&learner.says("hint scale", 0), &["Hint 1 of 3", "Hint 2 of 3"]);

        // another way than the author's, which is as good
        learner.docker("network create -d overlay inside");
        learner.docker("service create -q --name web --network inside swarmlab/web:1.0");
        learner.docker("service scale -d web=2");
        let said = learner.says("check --wait", 0);
        contains(&said, &["`tasks.web` means both of them.", "A task reaches `web` by its name."]);
        assert_eq!(learner.state("scale"), "done");
        contains(&learner.says("reset", 0), &["Undone: Two of a kind (scale)"]);
        assert_eq!((learner.docker("service ls -q"), learner.state("scale")), (String::new(), "open".to_owned()));
        contains(&learner.says("reset look", 2), &["has nothing to undo it"]);
        contains(&learner.says("solve", 0), &["docker service create", "Out into the world (publish)"]);
        assert_eq!(learner.state("scale"), "skipped");

        contains(&learner.says("solve publish", 0), &["Your own browser sees it.", "A node has one name."]);
        let status = learner.says("status", 0);
        let told = format!("web  http://localhost:{port}  (published port {port})", port = learner.port);
        contains(&status, &[&told, "skipped  publish", "> open     reach"]);
        contains(&learner.says("solve", 0), &["all 4 are through (3 of them by `solve`)"]);
        contains(&learner.says("fault pause worker1", 0), &["worker1: frozen"]);
        contains(&learner.says("status", 0), &["fault: worker1: frozen; `swarmlab fault start worker1` lets it run"]);
        contains(&learner.says("fault start worker1", 0), &["worker1: running"]);
        contains(&learner.says("fault kill worker9", 2), &["no node `worker9`", "did you mean `worker1`"]);

        let mut shell = learner.command(&["shell", "worker1"]);
        let mut shell = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        shell.stdin.take().unwrap().write_all(b"hostname; exit 7\n").unwrap();
        let done = Done::of(shell.wait_with_output().unwrap());
        assert_eq!((done.code, done.out.as_str()), (Some(7), "worker1\n"));

        let mut shell = Terminal::open(learner.command(&["shell"]), (30, 120));
        shell.until("manager1$ ");
        // a mistake is corrected with the arrow keys
        shell.types("docker node ls --format '{{.Host}}'\x1b[D\x1b[D\x1b[Dname\r");
        shell.until("manager1\r\nworker1\r\n");
        shell.types("stty size; exit 5\r");
        shell.until("30 120\r");
        assert_eq!(shell.finish(), Some(5));

        contains(&learner.says("stop", 0), &["your progress is kept"]);
        learner.leaves_nothing();
        contains(&learner.says("status", 2), &["no lab is open"]);
        let again = learner.says("start sample", 0);
        contains(
            &again,
            &["Doing again: Two of a kind", "Doing again: Out into the world", "all 4 are through", &told],
        );
        assert_eq!(learner.docker("service ls --format {{.Name}}"), "web");
        let fresh = learner.says("start 7 --fresh", 0);
        contains(&fresh, &["Look at the nodes (look)"]);
        assert_eq!((learner.docker("service ls -q"), learner.state("scale")), (String::new(), "open".to_owned()));
        learner.says("stop", 0);
        learner.leaves_nothing();
    }
}

#[test]
fn a_chapter_runs_and_its_checks_hold_both_ways() {
    for learner in Learner::all() {
        let said = learner.says("run 7 --format plain", 0);
        contains(&said, &["Reach it", "Your own browser sees it."]);
        learner.leaves_nothing();
    }
    let learner = Learner::all().last().unwrap();
    let said = learner.says("verify 7", 0);
    contains(&said, &["every check holds both ways"]);
    learner.leaves_nothing();
}

#[test]
fn what_the_learner_s_machine_does_not_know_is_told_with_file_and_line() {
    let learner = Learner::all().last().unwrap();
    let chapter = learner.home.join("book/src/chapter-7.md");
    let text = fs::read_to_string(&chapter).unwrap();
    for (from, to, told) in [
        ("fault partition worker1", "fault partiton worker1", "unrecognized subcommand 'partiton'"),
        ("fault partition worker1", "fault partition worker2", "the node `worker2` of"),
        ("curl -s localhost", "curl -s example.org", "only a port of this machine can be asked"),
        ("lab$ curl -s", "lab$ wget -q", "wget"),
    ] {
        fs::write(&chapter, text.replace(from, to)).unwrap();
        let said = learner.says("run 7", 2);
        contains(&said, &["book/src/chapter-7.md:", told]);
    }
}

#[test]
fn a_playground_is_entered_by_its_environment() {
    for learner in Learner::all() {
        let up = learner.says("cluster up mine --managers 1 --workers 1", 0);
        contains(
            &up,
            &["worker1 is in the swarm", "eval \"$(swarmlab cluster env mine)\"", "swarmlab cluster down mine"],
        );
        contains(&learner.says("cluster up mine", 2), &["already running"]);
        let hosts: Vec<String> = ["cluster env mine", "cluster env mine worker1"]
            .map(|line| learner.says(line, 0).trim().strip_prefix("export DOCKER_HOST=").unwrap().to_owned())
            .into();
        let names = ["manager1", "worker1"];
        for (host, name) in hosts.iter().zip(names) {
            let mut docker = learner.command(&["docker", "info", "--format", "{{.Name}} {{.Swarm.LocalNodeState}}"]);
            let done = Done::of(docker.env("DOCKER_HOST", host).output().unwrap());
            assert_eq!(done.out, format!("{name} active\n"), "{done:?}");
        }
        contains(&learner.says("cluster env mine worker7", 2), &["no node `worker7`", "did you mean `worker1`"]);
        contains(&learner.says("cluster env other", 2), &["no cluster named \"other\" is running (running: mine)"]);
        contains(&learner.says("cluster ports mine", 0), &["No port is published."]);
        contains(&learner.says("cluster ls", 0), &["mine", "embedded", "manager1 worker1"]);
        contains(&learner.says("cluster down mine", 0), &["mine is down."]);
        contains(&learner.says("cluster ls", 0), &["No cluster runs."]);
        learner.leaves_nothing();
    }
}
