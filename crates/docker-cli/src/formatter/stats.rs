//! Resource use of containers: the list of `stats`.

use super::list::Kind;
use super::units::{bytes_size, human_size};
use super::{row, short_id};
use crate::spec::json::{array, at, int, text};
use serde_json::{Value, json};

/// `docker stats`
pub const LIST: Kind = Kind {
    headers: &[
        ("BlockIO", "BLOCK I/O"),
        ("CPUPerc", "CPU %"),
        ("Container", "CONTAINER"),
        ("ID", "CONTAINER ID"),
        ("MemPerc", "MEM %"),
        ("MemUsage", "MEM USAGE / LIMIT"),
        ("Name", "NAME"),
        ("NetIO", "NET I/O"),
        ("PIDs", "PIDS"),
    ],
    table: "{{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}",
    type_name: "*container.statsContext",
    raw: None,
};

/// One measurement as a row. `container` is the name or id that was asked for.
pub fn list_row(stats: &Value, container: &str, trunc: bool) -> Value {
    let id = text(stats, "id");
    let used = int(stats, "memory_stats.usage") - cache(stats);
    let limit = int(stats, "memory_stats.limit");
    let memory_share = if limit > 0 { used as f64 / limit as f64 * 100.0 } else { 0.0 };
    let (mut received, mut sent) = (0, 0);
    for network in at(stats, "networks").and_then(Value::as_object).map_or(Vec::new(), |map| map.values().collect()) {
        received += int(network, "rx_bytes");
        sent += int(network, "tx_bytes");
    }
    let (mut read, mut written) = (0, 0);
    let none = json!({});
    for entry in array(at(stats, "blkio_stats").unwrap_or(&none), "io_service_bytes_recursive") {
        match text(entry, "op").chars().next() {
            Some('r' | 'R') => read += int(entry, "value"),
            Some('w' | 'W') => written += int(entry, "value"),
            _ => {}
        }
    }
    let pair = |a: i64, b: i64| format!("{} / {}", human_size(a as f64, 3), human_size(b as f64, 3));
    row([
        ("BlockIO", json!(pair(read, written))),
        ("CPUPerc", json!(format!("{:.2}%", cpu_share(stats)))),
        ("Container", json!(container)),
        ("ID", json!(if trunc { short_id(id) } else { id.to_owned() })),
        ("MemPerc", json!(format!("{memory_share:.2}%"))),
        ("MemUsage", json!(format!("{} / {}", bytes_size(used as f64), bytes_size(limit as f64)))),
        ("Name", json!(text(stats, "name").trim_start_matches('/'))),
        ("NetIO", json!(pair(received, sent))),
        ("PIDs", json!(int(stats, "pids_stats.current").to_string())),
    ])
}

/// Pages that the kernel would give back count as used, yet not as the container's need.
fn cache(stats: &Value) -> i64 {
    ["memory_stats.stats.total_inactive_file", "memory_stats.stats.inactive_file"]
        .iter()
        .map(|path| int(stats, path))
        .find(|n| *n > 0)
        .unwrap_or(0)
}

fn cpu_share(stats: &Value) -> f64 {
    let difference =
        |path: &str| (int(stats, &format!("cpu_stats.{path}")) - int(stats, &format!("precpu_stats.{path}"))) as f64;
    let (own, all) = (difference("cpu_usage.total_usage"), difference("system_cpu_usage"));
    let cpus = match int(stats, "cpu_stats.online_cpus") {
        0 => at(stats, "cpu_stats.cpu_usage").map_or(0, |usage| array(usage, "percpu_usage").len() as i64),
        n => n,
    };
    if own > 0.0 && all > 0.0 { own / all * cpus as f64 * 100.0 } else { 0.0 }
}
