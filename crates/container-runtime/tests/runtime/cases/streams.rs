//! Input and output: attach, exec, terminals, logs.

use std::time::Duration;

use bytes::Bytes;
use container_runtime::*;

use crate::support::*;

pub async fn an_exec_has_its_own_output_status_input_and_terminal(lab: Lab) -> Lab {
    let mut c = sh("sleep 1000");
    c.env = vec!["A=container".into()];
    let id = lab.create(c).await;
    assert!(lab.runtime.exec_create(&id, ExecConfig { args: vec!["true".into()], ..Default::default() }).is_err());
    lab.runtime.start(&id).await.unwrap();
    assert_eq!(lab.exec(&id, "echo $A; echo err >&2; exit 5").await.0, 5);
    let (_, out) = lab.exec(&id, "cat /proc/1/cmdline; grep CapEff /proc/self/status").await;
    assert!(out.contains("sleep") && out.contains("00000000a80425fb"), "{out}");

    let config = ExecConfig { args: vec!["cat".into()], stdin: true, ..Default::default() };
    let exec = lab.runtime.exec_create(&id, config).unwrap();
    let streams = lab.runtime.exec_start(&exec).await.unwrap();
    assert!(lab.runtime.exec_inspect(&exec).unwrap().running);
    assert!(lab.runtime.exec_start(&exec).await.is_err(), "an exec starts once");
    streams.input.send(Input::Data(Bytes::from_static(b"to cat"))).await.unwrap();
    streams.input.send(Input::Eof).await.unwrap();
    assert_eq!(output(streams).await, (0, "to cat".into()));
    assert_eq!(within(lab.runtime.exec_wait(&exec)).await.unwrap(), 0);

    let args = ["/bin/sh", "-c", "read x; tty; stty size"].map(String::from).to_vec();
    let exec = lab.runtime.exec_create(&id, ExecConfig { args, tty: true, stdin: true, ..Default::default() }).unwrap();
    let streams = lab.runtime.exec_start(&exec).await.unwrap();
    streams.input.send(Input::Resize { height: 33, width: 111 }).await.unwrap();
    streams.input.send(Input::Data(Bytes::from_static(b"\n"))).await.unwrap();
    let (code, out) = output(streams).await;
    assert!(code == 0 && out.contains("/dev/pts/") && out.contains("33 111"), "{code} {out:?}");

    let exec = lab.runtime.exec_create(&id, ExecConfig { args: vec!["nope".into()], ..Default::default() }).unwrap();
    let e = lab.runtime.exec_start(&exec).await.unwrap_err();
    assert_eq!((e.kind, e.exit_code()), (Kind::CommandNotFound, 127), "{e}");

    // An exec whose client leaves goes on, and its end is told.
    let mut events = lab.runtime.events();
    let args = ["/bin/sh", "-c", "sleep 0.2; exit 9"].map(String::from).to_vec();
    let exec = lab.runtime.exec_create(&id, ExecConfig { args, ..Default::default() }).unwrap();
    drop(lab.runtime.exec_start(&exec).await.unwrap());
    assert_eq!(within(lab.runtime.exec_wait(&exec)).await.unwrap(), 9);
    let died = EventKind::ExecDied { exec, code: 9 };
    while within(events.recv()).await.unwrap().kind != died {}
    lab
}

pub async fn an_exec_of_ten_megabytes_loses_nothing(lab: Lab) -> Lab {
    let id = lab.create(sh("sleep 1000")).await;
    lab.runtime.start(&id).await.unwrap();
    let args = ["/bin/sh", "-c", "head -c 10000000 /dev/zero"].map(String::from).to_vec();
    let exec = lab.runtime.exec_create(&id, ExecConfig { args, ..Default::default() }).unwrap();
    let mut streams = lab.runtime.exec_start(&exec).await.unwrap();
    // A slow beginning fills every buffer on the way.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let mut total = 0;
    loop {
        match within(streams.output.recv()).await {
            Some(Output::Stdout(b)) => total += b.len(),
            Some(Output::Exit(0)) => break,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(total, 10_000_000);
    lab
}

pub async fn a_terminal_container_is_attached_to_resized_and_answers(lab: Lab) -> Lab {
    let mut c = sh("tty; read line; stty size; echo you said $line");
    (c.tty, c.open_stdin) = (true, true);
    let id = lab.create(c).await;
    lab.runtime.prepare(&id).await.unwrap();
    let streams = lab.runtime.attach(&id, true, true, true).await.unwrap();
    lab.runtime.start(&id).await.unwrap();
    lab.runtime.resize(&id, 44, 99).await.unwrap();
    streams.input.send(Input::Data(Bytes::from_static(b"hi\r"))).await.unwrap();
    let (code, out) = output(streams).await;
    assert_eq!(code, 0);
    assert!(out.contains("/dev/") && out.contains("44 99\r\n") && out.contains("you said hi\r\n"), "{out:?}");
    assert!(lab.log(&id).await.contains("you said hi"));
    lab
}

pub async fn input_reaches_the_container_and_ends_with_the_first_client(lab: Lab) -> Lab {
    let mut c = sh("cat; echo end");
    (c.open_stdin, c.stdin_once) = (true, true);
    let id = lab.create(c).await;
    lab.runtime.prepare(&id).await.unwrap();
    let streams = lab.runtime.attach(&id, true, true, true).await.unwrap();
    lab.runtime.start(&id).await.unwrap();
    let big = Bytes::from(vec![b'x'; 300_000]);
    streams.input.send(Input::Data(big)).await.unwrap();
    streams.input.send(Input::Eof).await.unwrap();
    let (code, out) = output(streams).await;
    assert_eq!((code, out.len()), (0, 300_004));
    lab
}

pub async fn logs_follow_tail_and_filter_in_order(lab: Lab) -> Lab {
    let id = lab
        .create(sh("i=0; while [ $i -lt 20 ]; do echo line $i; i=$((i+1)); done; echo bad >&2; sleep 0.3; echo last"))
        .await;
    lab.runtime.start(&id).await.unwrap();
    let follow = lab.runtime.logs(&id, LogOptions { follow: true, ..Default::default() }).await.unwrap();
    let all = collect(follow).await;
    assert!(all.starts_with("line 0\nline 1\n") && all.ends_with("last\n"), "{all}");
    assert_eq!(all, lab.log(&id).await);
    let get = |o: LogOptions| async { collect(lab.runtime.logs(&id, o).await.unwrap()).await };
    assert_eq!(get(LogOptions { stdout: false, ..Default::default() }).await, "bad\n");
    let tail = LogOptions { tail: Some(2), stderr: false, ..Default::default() };
    assert_eq!(get(tail).await, "line 19\nlast\n");
    assert_eq!(get(LogOptions { tail: Some(0), ..Default::default() }).await, "");
    let mut lines = lab.runtime.logs(&id, LogOptions { tail: Some(1), ..Default::default() }).await.unwrap();
    let last = lines.recv().await.unwrap().unwrap().at;
    assert_eq!(get(LogOptions { since: Some(last), ..Default::default() }).await, "last\n");
    assert!(!get(LogOptions { until: Some(last - 1), ..Default::default() }).await.contains("last"));
    lab
}
