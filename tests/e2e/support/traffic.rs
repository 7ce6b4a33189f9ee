//! What containers of a cluster find out by names, virtual addresses and published ports.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::Cluster;

/// How long a swarm may take to agree on something; generous, since test machines are busy.
const PATIENCE: Duration = Duration::from_secs(90);

/// Repeats a question until it has the wanted answer; a failure tells the last one. What is asked gives no event.
#[track_caller]
pub fn poll<T: std::fmt::Debug>(what: &str, ask: impl Fn() -> T, wanted: impl Fn(&T) -> bool) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = ask();
        if wanted(&answer) {
            return answer;
        }
        assert!(Instant::now() < deadline, "{what}: never as wanted: {answer:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// How often each host name answered.
pub type Shares = BTreeMap<String, usize>;

impl Cluster {
    /// The program of the built-in images that fetches a page, inside a container on the node.
    pub fn fetch(&self, node: &str, container: &str, url: &str) -> Option<String> {
        let done = self.docker(&format!("{node} exec {container} curl -s -m 3 {url}"));
        (done.code == Some(0)).then_some(done.out)
    }

    /// How often each task's host name answers `count` requests that a container makes; `-` where none did.
    pub fn tried(&self, node: &str, container: &str, url: &str, count: usize) -> Shares {
        let mut shares = Shares::new();
        for _ in 0..count {
            let page = self.fetch(node, container, url).unwrap_or_else(|| "-".into());
            let host = page.lines().find_map(|line| line.strip_prefix("hostname:")).unwrap_or(&page).trim().to_owned();
            *shares.entry(host).or_default() += 1;
        }
        shares
    }

    /// The addresses of `10.5.0.0/24` that a name has in a container, in order, each as often as it was answered.
    pub fn addresses(&self, node: &str, container: &str, name: &str) -> Vec<String> {
        let done = self.docker(&format!("{node} exec {container} nslookup -type=a {name}"));
        let found = done.out.split_whitespace().filter(|word| word.starts_with("10.5.0."));
        let mut found: Vec<String> = found.map(str::to_owned).collect();
        found.sort();
        found
    }

    /// The container of a service on a node, once there is one.
    pub fn container_of(&self, node: &str, service: &str) -> String {
        let line = format!("{node} ps -q -f label=com.docker.swarm.service.name={service}");
        self.until(&line, |out| !out.is_empty())
    }

    /// Waits for a service to have its replicas.
    pub fn running(&self, service: &str, count: &str) {
        self.until(&format!("manager1 service ls -f name={service} --format {{{{.Replicas}}}}"), |out| out == count);
    }

    /// The addresses of `10.5.0.0/24` that the managers gave to the tasks of a service that shall run, in order.
    pub fn given(&self, service: &str) -> Vec<String> {
        let tasks = self.ok(&format!("manager1 service ps -q --no-trunc -f desired-state=running {service}"));
        let tasks: Vec<&str> = tasks.split_whitespace().collect();
        let format = "{{range .NetworksAttachments}}{{range .Addresses}}{{.}} {{end}}{{end}}";
        let told = self.ok(&format!("manager1 inspect --type task -f '{format}' {}", tasks.join(" ")));
        let addresses = told.split_whitespace().filter(|address| address.starts_with("10.5.0."));
        let mut addresses: Vec<String> = addresses.map(|address| address.split('/').next().unwrap().into()).collect();
        addresses.sort();
        addresses
    }

    /// `swarmlab fault LINE`, which must succeed; what it says.
    pub fn fault(&self, line: &str) -> String {
        let mut args = vec!["fault", "--cluster", "c"];
        args.extend(line.split(' '));
        self.user.ok(&args)
    }
}
