//! Published ports on the learner's own machine: found by the nodes' Docker APIs, here played by the test, and reached
//! over the forwarder. The engine is `bare`: what an engine does behind a published port is not the matter here.
#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::chown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{User, eventually, processes, users};

/// What a node's Docker API says, until it says something else.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<(Value, Value, Vec<UnixStream>)>>);

impl Said {
    /// Services and containers from now on; whoever listens to events hears of it.
    fn now(&self, services: Value, containers: Value) {
        let mut said = self.0.lock().unwrap();
        (said.0, said.1) = (services, containers);
        for listener in &mut said.2 {
            let _ = listener.write_all(b"3\r\n{}\n\r\n");
        }
    }

    fn answer(&self, mut client: UnixStream) {
        let mut bytes = [0; 4096];
        let length = client.read(&mut bytes).unwrap_or(0);
        let request = String::from_utf8_lossy(&bytes[..length]).into_owned();
        let path = request.split(' ').nth(1).unwrap_or_default();
        let mut said = self.0.lock().unwrap();
        let node = |addr| json!({"Spec": {"Role": "manager"}, "Status": {"State": "ready", "Addr": addr}});
        let body = match path.split('?').next().unwrap_or_default() {
            "/events" => {
                let _ = client.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
                said.2.push(client);
                return;
            }
            "/services" => said.0.clone(),
            "/containers/json" => said.1.clone(),
            "/nodes" => json!([node("10.77.0.11"), node("10.77.0.12")]),
            _ => json!({"ID": "swarm"}),
        };
        let body = body.to_string();
        let _ = write!(client, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    }
}

/// Plays the Docker API of a node of cluster `c`.
fn play(user: &User, node: &str) -> Said {
    let socket = user.state().join("c/nodes").join(node).join("docker.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    chown(&socket, user.uid(), user.uid()).unwrap();
    let said = Said::default();
    said.now(json!([]), json!([]));
    let playing = said.clone();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            match client {
                Ok(client) => playing.answer(client),
                Err(_) => return,
            }
        }
    });
    said
}

fn published(name: &str, protocol: &str, port: u16) -> Value {
    let ports = json!([{"Protocol": protocol, "TargetPort": 80, "PublishedPort": port, "PublishMode": "ingress"}]);
    json!({"Spec": {"Name": name, "EndpointSpec": {"Ports": ports}}, "Endpoint": {"Ports": ports}})
}

/// A port that nobody listens at, here and now.
fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

/// `GET /`, or why there was no answer.
fn get(at: impl Into<SocketAddr>) -> Result<String, String> {
    let mut stream = TcpStream::connect_timeout(&at.into(), Duration::from_secs(5)).map_err(|e| e.to_string())?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").map_err(|e| e.to_string())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(|e| e.to_string())?;
    if answer.starts_with("HTTP/1.1 200") { Ok(answer) } else { Err(answer) }
}

/// Starts the lab web server in a node, which says its host's name.
fn web(user: &User, node: &str, port: u16) {
    user.sh(node, &format!("swarmlab lab-image web --port {port} >/dev/null 2>&1 &"));
}

fn ports(user: &User) -> Vec<Value> {
    let told: Value = serde_json::from_str(&user.ok(&["cluster", "ports", "c", "--format", "json"])).unwrap();
    told["ports"].as_array().unwrap().clone()
}

fn up(user: &User, more: &[&str]) {
    let mut args = vec!["cluster", "up", "c", "--plain", "2", "--engine", "bare"];
    args.extend(more);
    user.ok(&args);
}

#[test]
fn a_published_port_is_reachable_on_the_machine_as_long_as_it_is_published() {
    for user in users() {
        up(&user, &[]);
        let said = play(&user, "node1");
        let port = free_port();
        web(&user, "node1", port);
        said.now(json!([published("web", "tcp", port)]), json!([]));
        eventually("the port is reachable", || get((Ipv4Addr::LOCALHOST, port)).map(drop));
        let answer = get((Ipv4Addr::LOCALHOST, port)).unwrap();
        assert!(answer.contains("hostname: node1") && answer.contains("client: 10.77.0.1"), "{answer}");
        if UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
            get((Ipv6Addr::LOCALHOST, port)).unwrap();
        }
        let told = user.ok(&["cluster", "ports", "c"]);
        assert_eq!(told, format!("web  http://localhost:{port}  (published port {port})\n"));
        assert_eq!(ports(&user)[0]["url"], format!("http://localhost:{port}"));

        // node1 does not answer any more: any other node of the mesh will do
        web(&user, "node2", port);
        user.ok(&["cluster", "node", "c", "node1", "kill"]);
        eventually("another node answers", || {
            let answer = get((Ipv4Addr::LOCALHOST, port))?;
            if answer.contains("hostname: node2") { Ok(()) } else { Err(answer) }
        });

        said.now(json!([]), json!([]));
        eventually("the port is closed", || match TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
            Ok(_) => Err("open".into()),
            Err(_) => Ok(()),
        });
        assert_eq!(user.ok(&["cluster", "ports", "c"]), "No port is published.\n");
        user.ok(&["cluster", "down", "c"]);
        eventually("the forwarder has ended", || match user.processes() {
            left if left.is_empty() => Ok(()),
            left => Err(format!("{left:?}")),
        });
    }
}

#[test]
fn a_port_that_is_taken_or_forbidden_is_reachable_at_another_and_told() {
    for user in users() {
        up(&user, &[]);
        let said = play(&user, "node1");
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        web(&user, "node1", port);
        web(&user, "node2", 80);
        let own = json!([{"Names": ["/own"], "Ports": [{"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 80, "Type": "tcp"}]}]);
        // one swarm, of which both managers say the same
        let services = json!([published("web", "tcp", port)]);
        said.now(services.clone(), json!([]));
        play(&user, "node2").now(services, own);
        eventually("both are forwarded", || {
            if ports(&user).len() == 2 { Ok(()) } else { Err(format!("{:?}", ports(&user))) }
        });
        let all = ports(&user);
        let at = |entry: &Value| u16::try_from(entry["port"].as_u64().unwrap()).unwrap();
        assert_ne!(at(&all[0]), port);
        assert!(get((Ipv4Addr::LOCALHOST, at(&all[0]))).unwrap().contains("hostname: node1"));
        assert_eq!((&all[1]["node"], &all[1]["published"]), (&json!("node2"), &json!(80)));
        if user.uid().is_some() {
            assert_ne!(at(&all[1]), 80, "an ordinary user may not listen there");
        }
        assert!(get((Ipv4Addr::LOCALHOST, at(&all[1]))).unwrap().contains("hostname: node2"));
        let told = user.ok(&["cluster", "ports", "c"]);
        assert!(told.contains(&format!("own  http://localhost:{}  (port 80 of node2)", at(&all[1]))), "{told}");
        user.ok(&["cluster", "down", "c"]);
    }
}

#[test]
fn datagrams_go_there_and_back() {
    if !nix::unistd::geteuid().is_root() {
        println!("not run: an ordinary user's test cannot open a socket in a node");
        return;
    }
    for user in users() {
        up(&user, &[]);
        let said = play(&user, "node1");
        let echo = in_node(&user, "node1", || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap());
        let port = echo.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let mut bytes = [0; 2048];
            while let Ok((length, from)) = echo.recv_from(&mut bytes) {
                let _ = echo.send_to(&bytes[..length], from);
            }
        });
        said.now(json!([published("dns", "udp", port)]), json!([]));
        eventually("it is forwarded", || if ports(&user).len() == 1 { Ok(()) } else { Err("not yet".into()) });
        let local = u16::try_from(ports(&user)[0]["port"].as_u64().unwrap()).unwrap();
        let clients: Vec<UdpSocket> = (0..3).map(|_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).collect();
        for (number, client) in clients.iter().enumerate() {
            client.connect((Ipv4Addr::LOCALHOST, local)).unwrap();
            client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            client.send(format!("hello {number}").as_bytes()).unwrap();
        }
        for (number, client) in clients.iter().enumerate() {
            let mut bytes = [0; 64];
            let length = client.recv(&mut bytes).unwrap();
            assert_eq!(bytes[..length], *format!("hello {number}").as_bytes(), "each client its own answer");
        }
        user.ok(&["cluster", "down", "c"]);
    }
}

/// Runs something in a node's network namespace.
fn in_node<T: Send>(user: &User, node: &str, act: impl FnOnce() -> T + Send) -> T {
    let marker = format!("8{}", free_port());
    user.sh(node, &format!("sleep {marker} >/dev/null 2>&1 &"));
    let pid = processes(&format!("sleep {marker}"))[0].0;
    std::thread::scope(|scope| {
        let inside = scope.spawn(|| {
            let file = File::open(format!("/proc/{pid}/ns/net")).unwrap();
            nix::sched::setns(file, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            act()
        });
        inside.join().unwrap()
    })
}

#[test]
fn other_addresses_are_listened_at_only_when_asked_for() {
    for user in users() {
        let refused = user.run(&["cluster", "up", "c", "--plain", "1", "--engine", "bare", "--listen", "192.0.2.1"]);
        assert_eq!(refused.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&refused.stderr).contains("--listen 192.0.2.1"), "{refused:?}");
        // every address of 127.0.0.0/8 is this machine's own
        let other = Ipv4Addr::new(127, 0, 0, 2);
        for (args, listened) in [(&[] as &[&str], false), (&["--listen", "127.0.0.2"], true)] {
            up(&user, args);
            let said = play(&user, "node1");
            let port = free_port();
            web(&user, "node1", port);
            said.now(json!([published("web", "tcp", port)]), json!([]));
            eventually("the port is reachable", || get((Ipv4Addr::LOCALHOST, port)).map(drop));
            assert_eq!(get((other, port)).is_ok(), listened);
            user.ok(&["cluster", "down", "c"]);
        }
    }
}
