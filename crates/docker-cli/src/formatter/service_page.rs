//! The page of `service inspect --pretty`. Docker's own spacing is uneven; scripts read it, so it is kept.

use super::age;
use super::units::{bytes_size, human_duration};
use crate::spec::json::{array, at, int, strings, text};
use docker_api::time::{UnixTime, format_duration};
use go_template::print::print;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The page. `networks` maps network ids to names.
pub fn page(service: &Value, networks: &BTreeMap<String, String>, now: UnixTime) -> String {
    let mut p = Page(String::new());
    let empty = json!({});
    let spec = at(service, "Spec").unwrap_or(&empty);
    let task = at(spec, "TaskTemplate").unwrap_or(&empty);
    let container = at(task, "ContainerSpec").unwrap_or(&empty);
    p.line(format_args!("\nID:\t\t{}", text(service, "ID")));
    p.line(format_args!("Name:\t\t{}", text(spec, "Name")));
    p.pairs("Labels:", at(spec, "Labels"), " ", "=");
    p.mode(spec);
    p.update_status(service, now);
    p.placement(task);
    p.update_config("UpdateConfig:", "Update order:      ", at(spec, "UpdateConfig"));
    p.update_config("RollbackConfig:", "Rollback order:    ", at(spec, "RollbackConfig"));
    p.container(container);
    p.log_driver(task);
    p.resources(task);
    // One that is gone is shown by its id.
    let name = |network| {
        let id = text(network, "Target");
        networks.get(id).map_or(id, String::as_str)
    };
    let names: Vec<&str> = array(task, "Networks").iter().map(name).collect();
    if !names.is_empty() {
        p.line(format_args!("Networks: {} ", names.join(" ")));
    }
    let endpoint_mode = text(spec, "EndpointSpec.Mode");
    p.line(format_args!("Endpoint Mode:\t{endpoint_mode}"));
    p.ports(service);
    p.health(container);
    p.0.push('\n');
    p.0
}

struct Page(String);

impl Page {
    fn line(&mut self, text: std::fmt::Arguments<'_>) {
        use std::fmt::Write;
        // Writing to a String does not fail.
        let _ = writeln!(self.0, "{text}");
    }

    fn pairs(&mut self, title: &str, value: Option<&Value>, indent: &str, separator: &str) {
        let Some(Value::Object(map)) = value else {
            return;
        };
        let sorted: BTreeMap<_, _> = map.iter().collect();
        if !sorted.is_empty() {
            self.line(format_args!("{title}"));
        }
        for (key, value) in sorted {
            match value.as_str().unwrap_or("") {
                "" => self.line(format_args!("{indent}{key}")),
                value => self.line(format_args!("{indent}{key}{separator}{value}")),
            }
        }
    }

    fn mode(&mut self, spec: &Value) {
        let kind = if at(spec, "Mode.Global").is_some() {
            "\tGlobal"
        } else if at(spec, "Mode.Replicated").is_some() {
            "\tReplicated"
        } else {
            ""
        };
        self.line(format_args!("Service Mode:{kind}"));
        if let Some(n) = at(spec, "Mode.Replicated.Replicas") {
            self.line(format_args!(" Replicas:\t{n}"));
        }
    }

    fn update_status(&mut self, service: &Value, now: UnixTime) {
        let Some(status) = at(service, "UpdateStatus").filter(|s| !text(s, "State").is_empty()) else {
            return;
        };
        self.line(format_args!("UpdateStatus:\n State:\t\t{}", text(status, "State")));
        let ago = |key: &str| human_duration(age(text(status, key), now));
        if at(status, "StartedAt").is_some() {
            self.line(format_args!(" Started:\t{} ago", ago("StartedAt")));
        }
        if text(status, "State") == "completed" && at(status, "CompletedAt").is_some() {
            self.line(format_args!(" Completed:\t{} ago", ago("CompletedAt")));
        }
        self.line(format_args!(" Message:\t{}", text(status, "Message")));
    }

    fn placement(&mut self, task: &Value) {
        self.line(format_args!("Placement:"));
        let Some(placement) = at(task, "Placement") else {
            return;
        };
        let constraints = strings(placement, "Constraints");
        if !constraints.is_empty() {
            self.line(format_args!(" Constraints:\t[{}]", constraints.join(" ")));
        }
        let preferences: Vec<String> = array(placement, "Preferences")
            .iter()
            .filter(|p| at(p, "Spread").is_some())
            .map(|p| format!("spread={}", text(p, "Spread.SpreadDescriptor")))
            .collect();
        if !preferences.is_empty() {
            self.line(format_args!(" Preferences:   [{}]", preferences.join(" ")));
        }
        if int(placement, "MaxReplicas") > 0 {
            self.line(format_args!(" Max Replicas Per Node:   {}", int(placement, "MaxReplicas")));
        }
    }

    fn update_config(&mut self, title: &str, order: &str, config: Option<&Value>) {
        let Some(config) = config else { return };
        self.line(format_args!("{title}\n Parallelism:\t{}", int(config, "Parallelism")));
        if int(config, "Delay") > 0 {
            self.line(format_args!(" Delay:\t\t{}", format_duration(int(config, "Delay"))));
        }
        self.line(format_args!(" On failure:\t{}", text(config, "FailureAction")));
        if int(config, "Monitor") > 0 {
            self.line(format_args!(" Monitoring Period: {}", format_duration(int(config, "Monitor"))));
        }
        let ratio = at(config, "MaxFailureRatio").map_or("0".to_owned(), print);
        self.line(format_args!(" Max failure ratio: {ratio}\n {order}{}", text(config, "Order")));
    }

    fn container(&mut self, c: &Value) {
        self.line(format_args!("ContainerSpec:\n Image:\t\t{}", text(c, "Image")));
        for (key, title) in [("Args", " Args:\t\t"), ("Env", " Env:\t\t")] {
            let words = strings(c, key);
            if !words.is_empty() {
                self.line(format_args!("{title}{} ", words.join(" ")));
            }
        }
        if !text(c, "Dir").is_empty() {
            self.line(format_args!(" Dir:\t\t{}", text(c, "Dir")));
        }
        if let Some(init) = at(c, "Init") {
            self.line(format_args!(" Init:\t\t{init}"));
        }
        if !text(c, "User").is_empty() {
            self.line(format_args!(" User: {}", text(c, "User")));
        }
        let (add, drop) = (strings(c, "CapabilityAdd"), strings(c, "CapabilityDrop"));
        if !add.is_empty() || !drop.is_empty() {
            self.line(format_args!("Capabilities:"));
        }
        if !add.is_empty() {
            self.line(format_args!(" Add: {}", add.join(", ")));
        }
        if !drop.is_empty() {
            self.line(format_args!(" Drop: {}", drop.join(", ")));
        }
        self.pairs("SysCtls:", at(c, "Sysctls"), " ", ": ");
        let ulimits = array(c, "Ulimits");
        if !ulimits.is_empty() {
            self.line(format_args!("Ulimits:"));
        }
        for limit in ulimits {
            self.line(format_args!(" {}: {}:{}", text(limit, "Name"), int(limit, "Soft"), int(limit, "Hard")));
        }
        let mounts = array(c, "Mounts");
        if !mounts.is_empty() {
            self.line(format_args!("Mounts:"));
        }
        for mount in mounts {
            self.line(format_args!(" Target:\t{}\n  Source:\t{}", text(mount, "Target"), text(mount, "Source")));
            let read_only = at(mount, "ReadOnly").and_then(Value::as_bool).unwrap_or(false);
            self.line(format_args!("  ReadOnly:\t{read_only}\n  Type:\t\t{}", text(mount, "Type")));
        }
        for (key, title, name) in [("Configs", "Configs:", "ConfigName"), ("Secrets", "Secrets:", "SecretName")] {
            let references = array(c, key);
            if !references.is_empty() {
                self.line(format_args!("{title}"));
            }
            for reference in references {
                self.line(format_args!(
                    " Target:\t{}\n  Source:\t{}",
                    text(reference, "File.Name"),
                    text(reference, name)
                ));
            }
        }
    }

    fn log_driver(&mut self, task: &Value) {
        let Some(driver) = at(task, "LogDriver") else {
            return;
        };
        self.line(format_args!("Log Driver:"));
        if !text(driver, "Name").is_empty() {
            self.line(format_args!(" Name:\t\t{}", text(driver, "Name")));
        }
        self.pairs(" LogOpts:", at(driver, "Options"), "  ", ":       ");
        self.0.push('\n');
    }

    fn resources(&mut self, task: &Value) {
        let Some(resources) = at(task, "Resources") else {
            return;
        };
        self.line(format_args!("Resources:"));
        for (key, title) in [("Reservations", " Reservations:"), ("Limits", " Limits:")] {
            let Some(part) = at(resources, key) else {
                continue;
            };
            let (cpus, memory, pids) = (int(part, "NanoCPUs"), int(part, "MemoryBytes"), int(part, "Pids"));
            if cpus > 0 || memory > 0 || (key == "Limits" && pids > 0) {
                self.line(format_args!("{title}"));
                if cpus > 0 {
                    self.line(format_args!("  CPU:\t\t{}", cpus as f64 / 1e9));
                }
                if memory > 0 {
                    self.line(format_args!("  Memory:\t{}", bytes_size(memory as f64)));
                }
            }
        }
        if int(resources, "Limits.Pids") > 0 {
            self.line(format_args!("  PIDs:\t\t{}", int(resources, "Limits.Pids")));
        }
    }

    fn ports(&mut self, service: &Value) {
        let ports = at(service, "Endpoint").map_or(&[][..], |endpoint| array(endpoint, "Ports"));
        if !ports.is_empty() {
            self.line(format_args!("Ports:"));
        }
        for (at_port, port) in ports.iter().enumerate() {
            let end = if at_port + 1 == ports.len() { " " } else { "" };
            self.line(format_args!(
                " PublishedPort = {}\n  Protocol = {}\n  TargetPort = {}\n  PublishMode = {}{end}",
                int(port, "PublishedPort"),
                text(port, "Protocol"),
                int(port, "TargetPort"),
                text(port, "PublishMode")
            ));
        }
    }

    fn health(&mut self, c: &Value) {
        let Some(health) = at(c, "Healthcheck") else {
            return;
        };
        self.line(format_args!(" Healthcheck:\n  Interval = {}", format_duration(int(health, "Interval"))));
        self.line(format_args!("  Retries = {}", int(health, "Retries")));
        self.line(format_args!("  StartPeriod =\t{}", format_duration(int(health, "StartPeriod"))));
        self.line(format_args!("  Timeout =\t{}", format_duration(int(health, "Timeout"))));
        let tests = strings(health, "Test");
        if !tests.is_empty() {
            self.line(format_args!("  Tests:"));
        }
        for (at_test, test) in tests.iter().enumerate() {
            let end = if at_test + 1 == tests.len() { " " } else { "" };
            self.line(format_args!("\t Test = {test}{end}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_shows_what_is_set_and_leaves_out_what_is_not() {
        let service = json!({
            "ID": "abc",
            "Spec": {
                "Name": "web", "Labels": {"b": "2", "a": ""}, "Mode": {"Replicated": {"Replicas": 2}},
                "TaskTemplate": {
                    "ContainerSpec": {"Image": "nginx:1", "Args": ["x", "y"], "Init": false},
                    "Placement": {"Constraints": ["node.role==worker"]},
                    "Resources": {"Limits": {"MemoryBytes": 67108864}, "Reservations": {}},
                },
                "UpdateConfig": {"Parallelism": 1, "FailureAction": "pause", "Monitor": 5000000000i64, "MaxFailureRatio": 0, "Order": "stop-first"},
                "EndpointSpec": {"Mode": "vip"},
            },
            "Endpoint": {"Ports": [{"Protocol": "tcp", "TargetPort": 80, "PublishedPort": 8080, "PublishMode": "ingress"}]},
        });
        let shown = page(&service, &BTreeMap::new(), UnixTime::default()).replace('\t', "<tab>");
        let shown: String = shown.lines().map(|line| format!("{line}|\n")).collect();
        snapbox::assert_data_eq!(
            shown,
            snapbox::str![[r#"
|
ID:<tab><tab>abc|
Name:<tab><tab>web|
Labels:|
 a|
 b=2|
Service Mode:<tab>Replicated|
 Replicas:<tab>2|
Placement:|
 Constraints:<tab>[node.role==worker]|
UpdateConfig:|
 Parallelism:<tab>1|
 On failure:<tab>pause|
 Monitoring Period: 5s|
 Max failure ratio: 0|
 Update order:      stop-first|
ContainerSpec:|
 Image:<tab><tab>nginx:1|
 Args:<tab><tab>x y |
 Init:<tab><tab>false|
Resources:|
 Limits:|
  Memory:<tab>64MiB|
Endpoint Mode:<tab>vip|
Ports:|
 PublishedPort = 8080|
  Protocol = tcp|
  TargetPort = 80|
  PublishMode = ingress |
|

"#]]
        );
    }
}
