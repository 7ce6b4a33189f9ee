//! What is watched over: ends, restarts of the daemon, health, events, processes.

use std::time::{Duration, Instant};

use bytes::Bytes;
use container_runtime::*;

use crate::support::*;

pub async fn stop_sends_the_configured_signal_and_kills_after_the_grace_period(lab: Lab) -> Lab {
    let mut c = sh("trap 'echo got it; exit 7' USR1; echo ready; while :; do sleep 0.05; done");
    c.stop_signal = Some("SIGUSR1".into());
    let id = lab.create(c).await;
    lab.runtime.start(&id).await.unwrap();
    lab.until_log(&id, "ready").await;
    lab.runtime.stop(&id, None, None).await.unwrap();
    assert_eq!(lab.runtime.inspect(&id).unwrap().state.exit_code, 7);
    assert_eq!(lab.log(&id).await, "ready\ngot it\n");

    let id = lab.create(sh("trap '' TERM; echo ready; sleep 1000")).await;
    lab.runtime.start(&id).await.unwrap();
    lab.until_log(&id, "ready").await;
    let began = Instant::now();
    lab.runtime.stop(&id, None, Some(Duration::from_millis(300))).await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(300) && began.elapsed() < Duration::from_secs(5));
    assert_eq!(lab.runtime.inspect(&id).unwrap().state.exit_code, 137);
    lab.runtime.stop(&id, None, None).await.unwrap();
    lab
}

pub async fn a_restarted_daemon_finds_running_and_finished_containers(lab: Lab) -> Lab {
    let running = lab.create(sh("echo one; read x; echo two; exit 4").tap(|c| c.open_stdin = true)).await;
    let short = lab.create(sh("sleep 0.3; exit 6")).await;
    let done = lab.create(sh("exit 5")).await;
    let never = lab.create(sh("true")).await;
    for id in [&running, &short, &done] {
        lab.runtime.start(id).await.unwrap();
    }
    within(lab.runtime.wait(&done, false)).await.unwrap();
    let pid = lab.runtime.pid(&running).unwrap();
    let Lab { runtime, dir, rootless } = lab;
    drop(runtime);
    // This one ends while no daemon looks.
    let gone = dir.join("containers").join(short.as_str()).join("exit.state");
    for _ in 0..500 {
        if gone.exists() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let lab = Lab { runtime: open(&dir, rootless).await, dir, rootless };
    let state = |id: &ContainerId| lab.runtime.inspect(id).unwrap().state;
    assert_eq!((state(&short).status, state(&short).exit_code), (Status::Exited, 6));
    assert_eq!((state(&done).status, state(&done).exit_code), (Status::Exited, 5));
    assert_eq!(state(&never).status, Status::Created);
    assert_eq!((state(&running).status, state(&running).pid), (Status::Running, pid));
    assert_eq!(lab.exec(&running, "echo still here").await, (0, "still here\n".into()));
    let streams = lab.runtime.attach(&running, true, true, true).await.unwrap();
    streams.input.send(Input::Data(Bytes::from_static(b"\n"))).await.unwrap();
    assert_eq!(within(lab.runtime.wait(&running, false)).await.unwrap().exit_code, 4);
    assert_eq!(lab.log(&running).await, "one\ntwo\n");
    lab
}

pub async fn a_killed_shim_takes_its_container_along_and_is_reported(lab: Lab) -> Lab {
    let id = lab.create(sh("sleep 1000")).await;
    lab.runtime.start(&id).await.unwrap();
    let pid = lab.runtime.pid(&id).unwrap().unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let shim: i32 = stat.lines().find_map(|l| l.strip_prefix("PPid:")).unwrap().trim().parse().unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(shim), nix::sys::signal::Signal::SIGKILL).unwrap();
    let state = within(lab.runtime.wait(&id, false)).await.unwrap();
    assert_eq!(state.exit_code, 137);
    assert!(state.error.unwrap().contains("shim was killed"));
    for _ in 0..200 {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        if status.is_empty() || status.contains("State:\tZ") {
            return lab;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the container outlived its shim");
}

pub async fn events_tell_every_change_in_order(lab: Lab) -> Lab {
    let mut events = lab.runtime.events();
    let id = lab.create(sh("exit 2").tap(|c| c.name = Some("told".into()))).await;
    lab.runtime.start(&id).await.unwrap();
    within(lab.runtime.wait(&id, false)).await.unwrap();
    lab.runtime.remove(&id, false).await.unwrap();
    let mut kinds = Vec::new();
    let mut last = 0;
    while kinds.last() != Some(&EventKind::Removed) {
        let e = within(events.recv()).await.unwrap();
        assert!(e.container == id && e.name == "told" && e.at >= last);
        last = e.at;
        kinds.push(e.kind);
    }
    assert_eq!(
        kinds,
        [EventKind::Created, EventKind::Started, EventKind::Exited { code: 2, oom: false }, EventKind::Removed]
    );
    lab
}

fn web(tag: &str) -> ContainerConfig {
    ContainerConfig { image: format!("swarmlab/web:{tag}"), ..Default::default() }
}

pub async fn the_web_server_gets_healthy_and_tells_who_it_is(lab: Lab) -> Lab {
    let mut c = web("2.0");
    c.hostname = Some("web-1".into());
    c.env = vec!["SWARMLAB_TASK_SLOT=3".into(), "SWARMLAB_NODE=worker2".into()];
    let id = lab.create(c).await;
    lab.runtime.start(&id).await.unwrap();
    let mut state = lab.runtime.watch(&id).unwrap();
    within(state.wait_for(|s| s.health.as_ref().is_some_and(|h| h.status == HealthStatus::Healthy))).await.unwrap();
    let (code, out) = lab.exec(&id, "/.swarmlab/bin lab-image probe http://127.0.0.1/?format=json").await;
    let me: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (code, &me["version"], &me["slot"], &me["node"], &me["hostname"]),
        (0, &"2.0".into(), &"3".into(), &"worker2".into(), &"web-1".into())
    );
    assert_eq!(lab.exec(&id, "/.swarmlab/bin lab-image probe http://127.0.0.1/nope").await.0, 1);
    let began = Instant::now();
    lab.runtime.stop(&id, None, None).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(2), "TERM is handled as PID 1");
    assert_eq!(lab.runtime.inspect(&id).unwrap().state.exit_code, 0);
    let log = lab.log(&id).await;
    assert!(log.contains("GET /?format=json 200") && log.contains("GET /nope 404"), "{log}");
    lab
}

pub async fn the_unhealthy_web_server_is_found_unhealthy_and_the_crashing_one_exits_with_one(lab: Lab) -> Lab {
    let mut events = lab.runtime.events();
    let bad = lab.create(web("unhealthy")).await;
    let crash = lab.create(web("crash")).await;
    lab.runtime.start(&bad).await.unwrap();
    lab.runtime.start(&crash).await.unwrap();
    while within(events.recv()).await.unwrap().kind != EventKind::Health(HealthStatus::Unhealthy) {}
    let health = lab.runtime.inspect(&bad).unwrap().state.health.unwrap();
    assert!(health.failing_streak >= 3 && health.log[0].output.contains("unhealthy"), "{health:?}");
    assert_eq!(within(lab.runtime.wait(&crash, false)).await.unwrap().exit_code, 1);
    lab
}

pub async fn the_small_init_reaps_orphans_and_passes_signals_on(lab: Lab) -> Lab {
    let c = sh("trap 'echo term; exit 3' TERM; (sleep 0.1 & ) ; echo ready; while :; do sleep 0.05; done")
        .tap(|c| c.init = true);
    let id = lab.create(c).await;
    lab.runtime.start(&id).await.unwrap();
    lab.until_log(&id, "ready").await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let zombies = lab.exec(&id, "cat /proc/[0-9]*/stat 2>/dev/null | grep -c ') Z '").await.1;
    assert_eq!(zombies.trim(), "0");
    lab.runtime.stop(&id, None, None).await.unwrap();
    assert_eq!(lab.runtime.inspect(&id).unwrap().state.exit_code, 3);
    lab
}

pub async fn top_and_stats_see_all_processes(lab: Lab) -> Lab {
    let id = lab.create(sh("sleep 1000 & sleep 2000; true")).await;
    lab.runtime.start(&id).await.unwrap();
    let mut top = Vec::new();
    for _ in 0..100 {
        top = lab.runtime.top(&id).unwrap();
        if top.iter().filter(|p| p.command.starts_with("sleep")).count() == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(top.len(), 3, "{top:?}");
    assert_eq!(Some(top[0].pid), lab.runtime.pid(&id).unwrap());
    let stats = lab.runtime.stats(&id).unwrap();
    assert!(stats.pids == 3 && stats.memory > 0);
    lab
}

/// Figures, not a test: `cargo test -p container-runtime --test runtime -- measure`.
pub async fn measure(lab: Lab) -> Lab {
    let mut times: Vec<[Duration; 4]> = Vec::new();
    let mut shims = Vec::new();
    for _ in 0..20 {
        let t0 = Instant::now();
        let id = lab.create(sh("sleep 1000").tap(|c| c.cmd = Some(vec!["sleep".into(), "1000".into()]))).await;
        let t1 = Instant::now();
        let pid = lab.runtime.prepare(&id).await.unwrap();
        let t2 = Instant::now();
        lab.runtime.start(&id).await.unwrap();
        let t3 = Instant::now();
        let stat = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        shims.push(stat.lines().find_map(|l| l.strip_prefix("PPid:")).unwrap().trim().to_owned());
        times.push([t1 - t0, t2 - t1, t3 - t2, t3 - t0]);
    }
    times.sort_by_key(|t| t[3]);
    let m = times[times.len() / 2];
    println!("median of {}: create {:?}, prepare {:?}, start {:?}, all {:?}", times.len(), m[0], m[1], m[2], m[3]);
    let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", shims[0])).unwrap_or_default();
    let field = |n: &str| {
        rollup.lines().find(|l| l.starts_with(n)).unwrap_or("?").split_whitespace().nth(1).unwrap_or("?").to_owned()
    };
    println!(
        "one of {} shims: Pss {} kB, Private_Dirty {} kB, Rss {} kB",
        shims.len(),
        field("Pss:"),
        field("Private_Dirty:"),
        field("Rss:")
    );
    lab
}

pub async fn many_containers_start_and_end_at_once(lab: Lab) -> Lab {
    let mut all = tokio::task::JoinSet::new();
    for i in 0..15 {
        let runtime = lab.runtime.clone();
        all.spawn(async move {
            let id = runtime.create(sh(&format!("echo {i}; exit {i}"))).await.unwrap().id;
            runtime.start(&id).await.unwrap();
            let state = within(runtime.wait(&id, false)).await.unwrap();
            assert_eq!(state.exit_code, i);
            let out = collect(runtime.logs(&id, LogOptions::default()).await.unwrap()).await;
            assert_eq!(out, format!("{i}\n"));
            runtime.remove(&id, false).await.unwrap();
        });
    }
    while let Some(done) = all.join_next().await {
        done.unwrap();
    }
    assert!(lab.runtime.list().is_empty());
    lab
}

pub async fn the_slow_web_server_is_starting_first_and_healthy_later(lab: Lab) -> Lab {
    let mut c = web("slow");
    c.env = vec!["SWARMLAB_WEB_DELAY=1".into()];
    let id = lab.create(c).await;
    lab.runtime.start(&id).await.unwrap();
    let health = lab.runtime.inspect(&id).unwrap().state.health.unwrap();
    assert_eq!(health.status, HealthStatus::Starting);
    let mut state = lab.runtime.watch(&id).unwrap();
    let decided = |s: &State| s.health.as_ref().is_some_and(|h| h.status != HealthStatus::Starting);
    let state = within(state.wait_for(decided)).await.unwrap().clone();
    let health = state.health.unwrap();
    assert_eq!(health.status, HealthStatus::Healthy);
    assert!(health.log[0].exit_code != 0, "the first probe came before it listened: {health:?}");
    lab
}
