//! Hostile and broken input over the node's socket and its port: refused, and the daemon stays up.
#![allow(clippy::unwrap_used)]

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::support::Cluster;

fn request(method: &str, path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "{method} {path} HTTP/1.1\r\nHost: d\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Sends bytes, returns what comes back until the end.
fn exchange(c: &Cluster, bytes: &[u8]) -> String {
    let mut stream = c.connect("manager1");
    // one that refuses early does not read to the end
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn bad_requests_are_refused_with_docker_s_status_and_change_nothing() {
    let c = Cluster::one(1, 0);
    let create = "/v1.50/services/create";
    let deep = "[".repeat(100_000);
    let huge = format!("{{\"Name\":\"{}\"}}", "x".repeat(40 << 20));
    for (method, path, body, status, words) in [
        ("GET", "/v1.50/nope", "", "404", "page not found"),
        ("DELETE", "/v1.50/info", "", "404", "page not found"),
        ("GET", "/v9.99/info", "", "400", "client version 9.99 is too new"),
        ("GET", "/v1.1/info", "", "400", "client version 1.1 is too old"),
        ("GET", "/vx/info", "", "404", "page not found"),
        ("POST", create, "{bad", "400", "invalid JSON"),
        ("POST", create, "", "400", "EOF"),
        ("POST", create, "[]", "400", "cannot unmarshal array"),
        (
            "POST",
            create,
            "{\"Name\":5,\"TaskTemplate\":{\"ContainerSpec\":{\"Image\":\"x\"}}}",
            "400",
            "ServiceSpec.Name of type string",
        ),
        ("POST", create, "{\"Name\":\"\u{0}\"}", "400", "invalid JSON"),
        ("POST", create, deep.as_str(), "400", "invalid JSON"),
        ("POST", create, huge.as_str(), "4", "message"),
        ("POST", "/v1.50/containers/create", "{\"Cmd\":{\"a\":1}}", "400", "cannot unmarshal object"),
        ("GET", "/v1.50/containers/json?filters=no", "", "400", "invalid filter"),
        ("GET", "/v1.50/containers/json?limit=many", "", "400", "limit"),
        ("GET", "/v1.50/containers/..%2f..%2fetc/json", "", "404", "No such container"),
        ("POST", "/v1.50/nodes/x/update?version=-1", "{}", "400", "version"),
        ("POST", "/v1.50/images/load", "no archive", "400", "tar"),
    ] {
        let answer = exchange(&c, &request(method, path, body));
        let told = answer.starts_with(&format!("HTTP/1.1 {status}")) && answer.contains(words);
        assert!(told, "{method} {path} {:.40}: {answer:.600}", body);
    }
    assert!(exchange(&c, b"\x00\x01garbage\r\n\r\n").starts_with("HTTP/1.1 400"));
    let long = format!("GET /{} HTTP/1.1\r\nHost: d\r\n\r\n", "a".repeat(100_000));
    assert!(exchange(&c, long.as_bytes()).starts_with("HTTP/1.1 4"));
    assert_eq!(c.ok("manager1 service ls -q"), "");
    assert_eq!(c.ok("manager1 ps -aq"), "");
}

#[test]
fn half_requests_many_connections_and_garbage_on_the_swarm_port_leave_the_daemon_answering() {
    let c = Cluster::one(1, 1);
    let mut held: Vec<UnixStream> = Vec::new();
    for part in [
        &b"GET /v1.50/in"[..],
        b"POST /v1.50/services/create HTTP/1.1\r\nHost: d\r\nContent-Length: 99999999\r\n\r\n{",
        b"",
    ] {
        let mut stream = c.connect("manager1");
        stream.write_all(part).unwrap();
        held.push(stream);
    }
    for _ in 0..1000 {
        // a full backlog would block; whatever is refused is the bound at work
        match UnixStream::connect(c.socket("manager1")) {
            Ok(stream) => {
                stream.set_write_timeout(Some(Duration::from_millis(100))).unwrap();
                held.push(stream);
            }
            Err(_) => break,
        }
    }
    drop(held);
    c.until("manager1 node ls -q", |out| out.lines().count() == 2);

    let garbage = "for i in 1 2 3; do head -c 100000 /dev/urandom >/dev/tcp/10.77.0.11/2377; done 2>/dev/null; \
                   exec 3<>/dev/tcp/10.77.0.11/2377; printf 'GET / HTTP/1.1\\r\\n\\r\\n' >&3; head -c 20 <&3 >/dev/null; true";
    c.user.ok(&["cluster", "exec", "c", "worker1", "bash", "-c", garbage]);
    assert_eq!(c.ok("manager1 node ls --format {{.Status}}"), "Ready\nReady");
}
