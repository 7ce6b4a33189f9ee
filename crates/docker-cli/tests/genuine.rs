//! Our command line beside Docker's own, on one genuine engine: same output, same errors, same exit codes, and the
//! same specifications. Needs root, `dockerd`, `docker` and `unshare`; elsewhere it says what is missing and passes.
//!
//! The engine runs in namespaces of its own (network, mounts, hostname) with its state in a temporary folder.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Output, Stdio};
use std::time::{Duration, Instant};

type Result<T = ()> = std::result::Result<T, String>;

fn main() -> ExitCode {
    if let Some(missing) = missing() {
        println!("genuine: SKIPPED: {missing}");
        return ExitCode::SUCCESS;
    }
    match compare() {
        Ok(count) => {
            println!("genuine: {count} comparisons agree");
            ExitCode::SUCCESS
        }
        Err(report) => {
            println!("genuine: FAILED\n{report}");
            ExitCode::FAILURE
        }
    }
}

/// What this machine lacks.
fn missing() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("not root: an engine of its own cannot be started".into());
    }
    for program in ["dockerd", "docker", "unshare", "setpriv", "tar", "ldd"] {
        let found = std::env::var_os("PATH")
            .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()));
        if !found {
            return Some(format!("{program} is not installed (Debian: apt-get install docker.io)"));
        }
    }
    let version = text(&Command::new("docker").arg("--version").output().ok()?.stdout);
    // Texts of errors differ between Docker's own versions.
    let known = version.contains("version 28.2");
    (!known).then(|| format!("the texts are those of Docker 28.2, this is {}", version.trim()))
}

fn compare() -> Result<usize> {
    let engine = Engine::start()?;
    let mut differences = String::new();
    let mut count = 0;
    for line in lines(include_str!("genuine/services.txt")) {
        count += 1;
        differences.push_str(&engine.compare_service(line)?);
    }
    engine.populate()?;
    for line in lines(include_str!("genuine/commands.txt")) {
        count += 1;
        differences.push_str(&engine.compare_command(line)?);
    }
    for script in include_str!("genuine/scripts.txt").split("\n\n").filter(|script| lines(script).next().is_some()) {
        count += lines(script).count();
        differences.push_str(&engine.compare_script(script)?);
    }
    count += 1;
    differences.push_str(&engine.compare_progress()?);
    match differences.is_empty() {
        true => Ok(count),
        false => Err(differences),
    }
}

fn lines(list: &str) -> impl Iterator<Item = &str> {
    list.lines().filter(|line| !line.starts_with('#') && !line.is_empty())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The example binary, which is built beside every test.
fn ours() -> Result<PathBuf> {
    let exe = std::env::current_exe().map_err(|e| e.to_string())?;
    let target = exe.parent().and_then(Path::parent).ok_or("no target folder")?;
    let path = target.join("examples/docker");
    match path.is_file() {
        true => Ok(path),
        false => Err(format!("{} is missing: cargo test builds it unless told to build one test", path.display())),
    }
}

struct Engine {
    process: Child,
    folder: tempfile::TempDir,
    ours: PathBuf,
}

impl Engine {
    fn start() -> Result<Self> {
        let ours = ours()?;
        let folder = tempfile::Builder::new().prefix("swarmlab-genuine-").tempdir().map_err(|e| e.to_string())?;
        let d = folder.path().display();
        // Pulls fail at once rather than waiting for a network that is not there. A private mount of /run keeps
        // an engine of the machine apart.
        let script = format!(
            "hostname clinode; ip link set lo up; ip addr add 10.79.0.1/24 dev lo; echo nameserver 127.0.0.1 > {d}/resolv.conf; \
             mount -t tmpfs tmpfs /run; mkdir -p /run/docker; mount --bind {d}/resolv.conf /etc/resolv.conf; \
             exec dockerd --data-root {d}/data --exec-root {d}/exec --pidfile {d}/pid -H unix://{d}/sock"
        );
        let log = std::fs::File::create(folder.path().join("log")).map_err(|e| e.to_string())?;
        let errors = log.try_clone().map_err(|e| e.to_string())?;
        let process = Command::new("setpriv")
            .args(["--pdeathsig", "TERM", "unshare", "--net", "--mount", "--uts", "sh", "-c", &script])
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .map_err(|e| format!("cannot start dockerd: {e}"))?;
        let engine = Self { process, folder, ours };
        let deadline = Instant::now() + Duration::from_secs(60);
        while !engine.genuine("version")?.status.success() {
            if Instant::now() > deadline {
                let log = std::fs::read_to_string(engine.folder.path().join("log")).unwrap_or_default();
                return Err(format!("dockerd did not come up:\n{log}"));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        engine.must(
            "swarm init --advertise-addr 10.79.0.1 --default-addr-pool 10.90.0.0/16 && \
             for net in net-a net-b net-c; do docker network create -d overlay $net || exit 1; done && \
             tar -C / -ch bin/sh usr/bin/sleep usr/bin/cat usr/bin/echo usr/bin/ls usr/bin/head \
             $(ldd /bin/sh /usr/bin/sleep /usr/bin/ls | grep -o '/[^ ]*\\.so[^ ]*' | sort -u | sed 's|^/||') | \
             docker import -c 'CMD [\"/bin/sh\"]' -c 'ENV PATH=/bin:/usr/bin' - fixture:1",
        )?;
        Ok(engine)
    }

    /// What the command lines of the list refer to.
    fn populate(&self) -> Result {
        self.must(
            "service create -d --name web --replicas 2 --no-resolve-image -p 8080:80 --label a=1 --env X=y \
             --constraint node.role==manager --update-delay 2s --limit-memory 64m --health-cmd true fixture:1 \
             sh -c 'i=0; while true; do echo line $i; echo err >&2; i=$((i+1)); sleep 1; done'",
        )?;
        self.must("service create -d --name bad --no-resolve-image --restart-condition none fixture:1 nope")?;
        self.must("service create -d --name glob --mode global --no-resolve-image fixture:1 sleep 1000")?;
        self.must("run -d --name c1 -l x=y -p 9000:90 fixture:1 sleep 1000")?;
        self.must("create --name c2 fixture:1 ls")?;
        self.genuine("run --name c3 fixture:1 sh -c 'exit 3'")?;
        // Lists are compared while nothing changes any more.
        let deadline = Instant::now() + Duration::from_secs(60);
        let settled = "service ps bad --format '{{.CurrentState}}'; docker service ls --format '{{.Replicas}}'";
        loop {
            let state = text(&self.genuine(settled)?.stdout);
            if (state.contains("Rejected") || state.contains("Failed"))
                && state.contains("2/2")
                && state.contains("1/1")
            {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!("the services of the comparison did not settle:\n{state}"));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn shell(&self, script: &str) -> Result<Output> {
        Command::new("sh")
            .args(["-c", script])
            .env("DOCKER_HOST", format!("unix://{}/sock", self.folder.path().display()))
            .env("DOCKER_CONFIG", self.folder.path().join("config"))
            .stdin(Stdio::null())
            .output()
            .map_err(|e| e.to_string())
    }

    fn genuine(&self, line: &str) -> Result<Output> {
        self.shell(&format!("docker {line}"))
    }

    fn own(&self, line: &str) -> Result<Output> {
        self.shell(&format!("{} {line}", self.ours.display()))
    }

    fn must(&self, line: &str) -> Result<String> {
        let output = self.genuine(line)?;
        match output.status.success() {
            true => Ok(text(&output.stdout)),
            false => Err(format!("docker {line}: {}", text(&output.stderr))),
        }
    }

    fn compare_command(&self, line: &str) -> Result<String> {
        let mut difference = String::new();
        // Times in words may tick over between the two runs; that does not happen thrice.
        for _ in 0..3 {
            let show = |output: Output| {
                let code = output.status.code();
                format!("exit {code:?}\n{}\nerrors:\n{}", text(&output.stdout), text(&output.stderr))
            };
            let (genuine, own) = (show(self.genuine(line)?), show(self.own(line)?));
            if genuine == own {
                return Ok(String::new());
            }
            difference = differing(&format!("docker {line}"), &genuine, &own);
        }
        Ok(difference)
    }

    /// Makes and changes a service by each client, and compares what the engine holds then.
    fn compare_service(&self, line: &str) -> Result<String> {
        let (create, update) = line.split_once('#').unwrap_or((line, ""));
        let mut results = Vec::new();
        for program in ["docker".to_owned(), self.ours.display().to_string()] {
            let script = format!(
                "{program} service create -d --no-resolve-image --name compared {create} >/dev/null; \
                 docker service inspect -f '{{{{json .Spec}}}}' compared; \
                 {program} service update -d --no-resolve-image {update} compared; \
                 docker service inspect -f '{{{{json .Spec}}}}' compared; docker service rm compared >/dev/null"
            );
            results.push(text(&self.shell(&script)?.stdout).lines().map(sorted_env).collect::<Vec<_>>().join("\n"));
        }
        match results[0] == results[1] && !results[0].is_empty() {
            true => Ok(String::new()),
            false => Ok(differing(&format!("service create {line}"), &results[0], &results[1])),
        }
    }

    /// Runs a script by each client, line by line.
    fn compare_script(&self, script: &str) -> Result<String> {
        let run = |program: &str| -> Result<Vec<String>> {
            let of = |line: &str| {
                let output = self.shell(&line.replace("docker ", &format!("{program} ")))?;
                let (out, err) = (text(&output.stdout), text(&output.stderr));
                Ok(format!("{line}\nexit {:?}\n{}errors:\n{}", output.status.code(), masked(&out), masked(&err)))
            };
            lines(script).map(of).collect()
        };
        let (genuine, own) = (run("docker")?, run(&self.ours.display().to_string())?);
        let differences = genuine.iter().zip(&own).filter(|(genuine, own)| genuine != own);
        Ok(differences.map(|(genuine, own)| differing(genuine.lines().next().unwrap_or(""), genuine, own)).collect())
    }

    /// The steps that a service is seen to take differ from run to run; where it begins and ends does not.
    fn compare_progress(&self) -> Result<String> {
        let ends = |output: Output| {
            let lines: Vec<String> = text(&output.stdout).lines().skip(1).map(str::to_owned).collect();
            let mut shown: Vec<String> = lines.iter().take(4).cloned().collect();
            shown.extend(lines.iter().rev().take(2).rev().cloned());
            shown.join("\n").replace("watched-a", "watched").replace("watched-b", "watched")
        };
        let line = |name: &str| {
            format!(
                "service create --no-resolve-image -d --name {name} --replicas 1 --update-monitor 1s fixture:1 sleep 1000 >/dev/null; \
                 PROGRAM service scale {name}=2"
            )
        };
        let genuine = ends(self.genuine(&line("watched-a").replace("PROGRAM", "docker"))?);
        let program = self.ours.display().to_string();
        let own = ends(self.own(&line("watched-b").replace("PROGRAM", &program))?);
        match genuine == own {
            true => Ok(String::new()),
            false => Ok(differing("service scale", &genuine, &own)),
        }
    }
}

/// Without ids, which are never the same twice.
fn masked(text: &str) -> String {
    let is_id = |word: &str| {
        let hex = word.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let base36 = word.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'z'));
        word.bytes().any(|b| b.is_ascii_digit()) && (hex && matches!(word.len(), 12 | 64) || base36 && word.len() == 25)
    };
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_alphanumeric()) {
        let (before, word) = rest.split_at(start);
        let end = word.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(word.len());
        out.push_str(before);
        out.push_str(if is_id(&word[..end]) { "ID" } else { &word[..end] });
        rest = &word[end..];
    }
    out + rest
}

/// Go's client writes the environment of an update in any order.
fn sorted_env(spec: &str) -> String {
    let Ok(mut value) = serde_json::from_str::<serde_json::Value>(spec) else { return spec.to_owned() };
    if let Some(env) = value.pointer_mut("/TaskTemplate/ContainerSpec/Env").and_then(|env| env.as_array_mut()) {
        env.sort_by_key(|text| text.to_string());
    }
    if let Some(ports) = value.pointer_mut("/EndpointSpec/Ports").and_then(|ports| ports.as_array_mut()) {
        ports.sort_by_key(|port| port.to_string());
    }
    value.to_string()
}

/// Only the lines that differ, with their sides.
fn differing(title: &str, genuine: &str, own: &str) -> String {
    let mut out = format!("== {title}\n");
    let (genuine_lines, own_lines): (Vec<&str>, Vec<&str>) = (genuine.lines().collect(), own.lines().collect());
    for line in genuine_lines.iter().filter(|line| !own_lines.contains(line)).take(20) {
        out.push_str(&format!("docker: {line}\n"));
    }
    for line in own_lines.iter().filter(|line| !genuine_lines.contains(line)).take(20) {
        out.push_str(&format!("ours:   {line}\n"));
    }
    out
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.shell(
            "docker swarm leave --force; docker ps -aq | xargs -r docker rm -f; docker volume ls -q | xargs -r docker volume rm",
        );
        let pid = nix::unistd::Pid::from_raw(self.process.id() as i32);
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let deadline = Instant::now() + Duration::from_secs(20);
        while matches!(self.process.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
        }
        // Takes what is left of the engine's processes, its containerd above all.
        let _ = nix::sys::signal::killpg(pid, nix::sys::signal::Signal::SIGKILL);
        let _ = self.process.wait();
    }
}
