//! How soon a new task answers behind its service's virtual address, counted from the moment that its node gives for
//! RUNNING.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::containers::{Task, virtual_ip};
use crate::common::report::{Figure, Goal};
use crate::common::{Cluster, Outcome};

/// How often a task is added to the only one, and taken away again.
const ADDED: usize = 8;
const SERVICE: &str = "web";
const PORT: u16 = 80;
/// An answer that takes longer is none.
const LIMIT: Duration = Duration::from_millis(500);
/// Between two requests: asking without a pause would take the processor from those who are to answer.
const PAUSE: Duration = Duration::from_millis(1);
const ENOUGH: Duration = Duration::from_secs(20);

/// When each host first answered.
type Answers = Mutex<BTreeMap<String, Timestamp>>;

/// One figure, with a value for each new task.
pub fn measure(cluster: &Cluster, client: &Task, network: &str) -> Outcome<Figure> {
    let image = "swarmlab/web:1.0";
    cluster.docker(&["service", "create", "-d", "--name", SERVICE, "--network", network, "--replicas", "1", image])?;
    cluster.until_running(SERVICE, 1)?;
    let to = SocketAddr::new(virtual_ip(cluster, SERVICE, network)?, PORT);
    let (answers, ended) = (Answers::default(), AtomicBool::new(false));
    let values = std::thread::scope(|scope| {
        let asking = scope.spawn(|| client.place.run(|| ask(to, &answers, &ended)));
        let values = add(cluster, &answers);
        ended.store(true, Ordering::Relaxed);
        asking.join().map_err(|_| "a thread panicked")??;
        values
    })?;
    cluster.docker(&["service", "rm", SERVICE])?;
    Ok(Figure::new("a new task's first answer after RUNNING", "ms", values).goal(Goal::Most(100.0)))
}

/// Milliseconds for each.
fn add(cluster: &Cluster, answers: &Answers) -> Outcome<Vec<f64>> {
    let scale = |replicas: usize| cluster.docker(&["service", "scale", "-d", &format!("{SERVICE}={replicas}")]);
    let mut values = Vec::new();
    for _ in 0..ADDED {
        let before: Vec<String> = cluster.running(SERVICE)?.iter().filter_map(host).collect();
        scale(2)?;
        let running = cluster.until_running(SERVICE, 2)?;
        let new = running.iter().find(|task| host(task).is_some_and(|host| !before.contains(&host)));
        let new = new.ok_or("no new task")?;
        let since: Timestamp = new["Status"]["Timestamp"].as_str().ok_or("a status without a time")?.parse()?;
        let answered = first(answers, &host(new).ok_or("a task without a container")?)?;
        values.push(answered.duration_since(since).as_secs_f64() * 1000.0);
        scale(1)?;
        let began = Instant::now();
        while cluster.running(SERVICE)?.len() > 1 {
            if began.elapsed() > ENOUGH {
                return Err(format!("a task that is not wanted any more runs after {ENOUGH:?}").into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    Ok(values)
}

/// The host name of a task's container.
fn host(task: &serde_json::Value) -> Option<String> {
    let id = task["Status"]["ContainerStatus"]["ContainerID"].as_str()?;
    Some(id.chars().take(12).collect())
}

fn first(answers: &Answers, host: &str) -> Outcome<Timestamp> {
    let began = Instant::now();
    while began.elapsed() < ENOUGH {
        if let Some(answered) = answers.lock().unwrap_or_else(PoisonError::into_inner).get(host) {
            return Ok(*answered);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Err(format!("{host} runs and does not answer within {ENOUGH:?}").into())
}

fn ask(to: SocketAddr, answers: &Answers, ended: &AtomicBool) {
    while !ended.load(Ordering::Relaxed) {
        // one that is refused or lost is followed by the next
        if let Ok(page) = page(to)
            && let Some(host) = page.lines().find_map(|line| line.strip_prefix("hostname:"))
        {
            let mut answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
            answers.entry(host.trim().to_owned()).or_insert_with(Timestamp::now);
        }
        std::thread::sleep(PAUSE);
    }
}

fn page(to: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&to, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(b"GET / HTTP/1.0\r\nHost: web\r\n\r\n")?;
    let mut page = String::new();
    stream.take(1 << 16).read_to_string(&mut page)?;
    Ok(page)
}
