//! The network commands of the built-in images.

use container_runtime::config::*;
use container_runtime::*;

use crate::support::*;

pub async fn the_images_have_their_own_network_commands_first_on_the_path(lab: Lab) -> Lab {
    for image in ["swarmlab/tools:1.0", "swarmlab/web:1.0"] {
        let mut c = sh("for c in curl nc nslookup ping; do command -v $c; done; ls -l /.swarmlab/applets/ping");
        c.image = image.into();
        c.entrypoint = Some(vec![]);
        let (code, out) = lab.run(c).await;
        assert_eq!(code, 0, "{out}");
        assert!(
            out.starts_with(
                "/.swarmlab/applets/curl\n/.swarmlab/applets/nc\n/.swarmlab/applets/nslookup\n/.swarmlab/applets/ping\n"
            ),
            "{out}"
        );
        assert!(out.contains("/.swarmlab/applets/ping -> /.swarmlab/bin\n"), "{out}");
    }
    lab
}

pub async fn curl_fetches_from_the_web_server_and_ends_with_curls_codes(lab: Lab) -> Lab {
    let mut c = ContainerConfig { image: "swarmlab/web:2.0".into(), ..Default::default() };
    c.hostname = Some("web-1".into());
    let id = lab.create(c).await;
    lab.runtime.start(&id).await.unwrap();
    let mut state = lab.runtime.watch(&id).unwrap();
    within(state.wait_for(|s| s.health.as_ref().is_some_and(|h| h.status == HealthStatus::Healthy))).await.unwrap();
    let (code, out) = lab.exec(&id, "curl -s localhost").await;
    assert!(code == 0 && out.contains("version: 2.0\nhostname: web-1\n"), "{code} {out}");
    let run = async |line: &str| lab.exec(&id, line).await;
    assert_eq!(
        run("curl -so /dev/null -w '%{http_code} %{remote_ip}\\n' http://localhost/health").await,
        (0, "200 127.0.0.1\n".into())
    );
    assert_eq!(
        run("curl -s -o /dev/null -o /dev/null -w '%{http_code}' localhost/nope localhost/").await,
        (0, "404200".into())
    );
    assert_eq!(
        run("curl -fsS localhost/nope").await,
        (22, "curl: (22) The requested URL returned error: 404\n".into())
    );
    assert_eq!(run("curl -fs localhost/nope").await, (22, String::new()));
    assert_eq!(
        run("curl localhost:81").await,
        (7, "curl: (7) Failed to connect to localhost port 81: Connection refused\n".into())
    );
    assert_eq!(run("curl nowhere.").await, (6, "curl: (6) Could not resolve host: nowhere.\n".into()));
    // by datagrams as well
    let (code, out) = run("echo | nc -u -W 1 127.0.0.1 80").await;
    assert!(code == 0 && out.contains("client: 127.0.0.1\n") && out.contains("version: 2.0\n"), "{code} {out}");
    assert_eq!(
        run("echo | nc -u 127.0.0.1 81").await,
        (1, "nc: 127.0.0.1 (127.0.0.1) 81 (udp): Connection refused\n".into())
    );
    assert_eq!(
        run("nc -zv 127.0.0.1 80; nc -zv 127.0.0.1 81").await,
        (
            1,
            "Connection to 127.0.0.1 (127.0.0.1) 80 port [tcp/*] succeeded!\n\
             nc: connect to 127.0.0.1 (127.0.0.1) port 81 (tcp) failed: Connection refused\n"
                .into()
        )
    );
    let (code, out) = run("curl -sI localhost").await;
    assert!(code == 0 && out.starts_with("HTTP/1.1 200 OK\r\n") && out.ends_with("\r\n\r\n"), "{code} {out}");
    lab
}

pub async fn ping_counts_its_replies(lab: Lab) -> Lab {
    let (code, out) = lab.sh("ping -c 2 -i 0.05 127.0.0.9").await;
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(code, 0, "{out}");
    assert_eq!(lines[0], "PING 127.0.0.9 (127.0.0.9): 56 data bytes");
    for (line, start) in lines[1..3].iter().zip(["seq=0", "seq=1"]) {
        assert!(
            line.starts_with(&format!("64 bytes from 127.0.0.9: {start} ttl=64 time=")) && line.ends_with(" ms"),
            "{out}"
        );
    }
    assert_eq!(
        lines[3..6],
        ["", "--- 127.0.0.9 ping statistics ---", "2 packets transmitted, 2 packets received, 0% packet loss"]
    );
    assert!(lines[6].starts_with("round-trip min/avg/max = "), "{out}");
    let (code, out) = lab.sh("ping -q -c 1 localhost").await;
    assert!(code == 0 && !out.contains("64 bytes"), "{out}");
    // no default route leads out of this container
    assert_eq!(lab.sh("ping -c 1 192.0.2.1 2>&1 | tail -n 1").await.1, "ping: sendto: Network is unreachable\n");
    assert_eq!(lab.sh("ping -c 1 nowhere.").await, (1, "ping: bad address 'nowhere.'\n".into()));
    // stopped, it sums up; also as the first process
    let id =
        lab.create(ContainerConfig { cmd: Some(["ping", "127.0.0.1"].map(String::from).to_vec()), ..sh("") }).await;
    lab.runtime.start(&id).await.unwrap();
    let mut logs = lab.runtime.logs(&id, LogOptions { follow: true, ..Default::default() }).await.unwrap();
    while !String::from_utf8_lossy(&within(logs.recv()).await.unwrap().unwrap().bytes).contains("seq=0") {}
    lab.runtime.stop(&id, None, None).await.unwrap();
    assert_eq!(lab.runtime.inspect(&id).unwrap().state.exit_code, 0);
    assert!(lab.log(&id).await.contains(" 0% packet loss\n"));
    lab
}

pub async fn ping_needs_no_capability_where_the_kernel_has_a_socket_for_it(lab: Lab) -> Lab {
    let mut c = sh("ping -c 1 127.0.0.1");
    c.cap_drop = vec!["NET_RAW".into()];
    let (code, out) = lab.run(c).await;
    match lab.rootless {
        // the range of groups that may ping cannot be set without root
        true => assert_eq!((code, out.as_str()), (1, "ping: cannot open a socket for ICMP: Permission denied\n")),
        false => assert!(code == 0 && out.contains("64 bytes from 127.0.0.1: seq=0 time="), "{code} {out}"),
    }
    lab
}

pub async fn nslookup_tells_when_nobody_answers(lab: Lab) -> Lab {
    let mut c = sh(
        "nslookup web || nslookup web 127.0.0.1; nslookup -type=mx web 2>&1 | head -n 1; nslookup a..b 2>&1 | head -n 1",
    );
    c.dns = Dns { servers: vec!["127.0.0.7".into()], ..Default::default() };
    let (code, out) = lab.run(c).await;
    let timed_out = |server| {
        format!(
            "Server:\t\t{server}\nAddress:\t{server}:53\n\n;; connection timed out; no servers could be reached\n\n"
        )
    };
    assert_eq!(code, 0, "that of head");
    let expected =
        timed_out("127.0.0.7") + &timed_out("127.0.0.1") + "nslookup: no type 'mx' here\nnslookup: 'a..b' is no name\n";
    assert_eq!(out, expected);
    lab
}
