//! Measurements: `cargo test -p overlay-network --test rules -- --ignored --nocapture --test-threads=1 speed`.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::resource::{UsageWho, getrusage};
use nix::unistd::Pid;
use overlay_network::rules::*;

use super::namespaces::{Net, in_namespaces};
use super::node::{Node, node_address};
use super::overlay::{self, Overlay};
use super::publishing::ingress;

/// Seconds of processor time that this process has used, the kernel's for it included: on a machine that others use
/// too, that says more than the time that passed.
fn used() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_SELF).unwrap();
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    seconds(usage.user_time()) + seconds(usage.system_time())
}

/// The middle one.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// How fast something went: by the clock, and by processor time.
#[derive(Clone, Copy)]
struct Rate(f64, f64);

impl Rate {
    fn of(f: impl FnOnce() -> f64) -> Self {
        let (clock, processor) = (Instant::now(), used());
        let done = f();
        Self(done / clock.elapsed().as_secs_f64(), done / (used() - processor))
    }
}

/// Rounds of one and the other in turn, so that both have the same share of a machine that others use; says the
/// medians.
fn compare(what: &str, rounds: usize, mut one: impl FnMut() -> Rate, mut other: impl FnMut() -> Rate) {
    let rounds: Vec<(Rate, Rate)> = (0..rounds).map(|_| (one(), other())).collect();
    let of = |pick: fn(&(Rate, Rate)) -> f64| median(rounds.iter().map(pick).collect());
    let (clock, processor) = ((of(|r| r.0.0), of(|r| r.1.0)), (of(|r| r.0.1), of(|r| r.1.1)));
    println!(
        "note: {what}: {:.1} and {:.1} a second, {:.2}; by processor time {:.1} and {:.1}, {:.2}",
        clock.0,
        clock.1,
        clock.1 / clock.0,
        processor.0,
        processor.1,
        processor.1 / processor.0
    );
}

#[test]
#[ignore = "a measurement"]
fn replacing_the_rules_of_many_services() {
    in_namespaces("speed::replacing_the_rules_of_many_services", || {
        let net = Net::new();
        let many = |services: u16, backends: u16, rest: u16| {
            let service = |number: u16| VirtualService {
                name: format!("service-{number}"),
                virtual_ips: vec![IpAddr::from([10, 0, (number / 200) as u8, (number % 200) as u8 + 2])],
                backends: (0..backends + rest)
                    .map(|backend| u32::from(number) * u32::from(backends) + u32::from(backend) + 0x0a01_0000)
                    .map(|backend| IpAddr::from(backend.to_be_bytes()))
                    .collect(),
                ports: Vec::new(),
            };
            OverlayRules {
                load_balancer: vec!["10.0.255.254".parse().unwrap()],
                services: (0..services).map(service).collect(),
                ..OverlayRules::default()
            }
        };
        for (services, backends) in [(1, 2), (10, 10), (100, 10), (200, 20), (1000, 2)] {
            let (times, same) = net.with(async |namespace| {
                let time = async |rules: &OverlayRules, changed| {
                    let (clock, processor) = (Instant::now(), used());
                    assert_eq!(namespace.apply_overlay_rules(rules).await.unwrap(), changed);
                    (clock.elapsed().as_secs_f64() * 1000.0, (used() - processor) * 1000.0)
                };
                time(&many(services, backends, 1), true).await;
                let mut times = Vec::new();
                for round in 0..9 {
                    times.push(time(&many(services, backends, round % 2), true).await);
                }
                (times, time(&many(services, backends, 0), false).await)
            });
            let (clock, processor) = times.into_iter().unzip();
            println!(
                "note: {services} services of {backends}: {:.1} ms, {:.1} ms of processor time; again {:.1} and {:.1} ms",
                median(clock),
                median(processor),
                same.0,
                same.1
            );
            net.overlay(&OverlayRules::default());
        }
    });
}

/// Lets a thread run on one processor only, if there are several: who asks on one, who answers on another, as it
/// would be with idle processors.
fn on_processor(number: usize) {
    let mut set = CpuSet::new();
    set.set(number).unwrap();
    // not ours to have where the machine gave us one only
    let _ = sched_setaffinity(Pid::from_raw(0), &set);
}

/// Answers everyone who sends 100 bytes with 4 KiB, as a small web server does.
fn greet(net: &Net, port: u16) {
    let listener = net.run(|| TcpListener::bind(("0.0.0.0", port)).unwrap());
    std::thread::spawn(move || {
        on_processor(1);
        for mut stream in listener.incoming().flatten() {
            if stream.read_exact(&mut [0; 100]).is_ok() {
                let _ = stream.write_all(&[0; 4096]);
            }
        }
    });
}

/// Connections per second.
fn connections(net: &Net, to: SocketAddr) -> Rate {
    const CONNECTIONS: u32 = 400;
    let connect = || {
        for _ in 0..CONNECTIONS {
            let mut stream = TcpStream::connect(to).unwrap();
            stream.write_all(&[0; 100]).unwrap();
            let mut answer = Vec::new();
            assert_eq!(stream.read_to_end(&mut answer).unwrap(), 4096);
        }
        f64::from(CONNECTIONS)
    };
    net.run(|| {
        on_processor(0);
        Rate::of(connect)
    })
}

#[test]
#[ignore = "a measurement"]
fn connections_through_a_virtual_address() {
    in_namespaces("speed::connections_through_a_virtual_address", || {
        let net = Overlay::new(2);
        greet(&net.containers[1], 90);
        let direct = SocketAddr::new(overlay::address(true, 1), 90);
        net.balancer.overlay(&overlay::rules(vec![overlay::service(0, &[1])]));
        let through = SocketAddr::new(overlay::virtual_ip(true, 0), 90);
        let client = &net.containers[0];
        compare("connections", 15, || connections(client, direct), || connections(client, through));
    });
}

/// Swallows what comes.
fn sink(net: &Net, port: u16) {
    let listener = net.run(|| TcpListener::bind(("0.0.0.0", port)).unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut buffer = vec![0; 1 << 20];
                while stream.read(&mut buffer).is_ok_and(|read| read > 0) {}
            });
        }
    });
}

/// Gigabits per second.
fn throughput(net: &Net, to: SocketAddr) -> Rate {
    let mut stream = net.run(|| TcpStream::connect(to).unwrap());
    let chunk = vec![0; 1 << 18];
    Rate::of(|| {
        let begun = Instant::now();
        let mut sent = 0;
        while begun.elapsed() < Duration::from_millis(400) {
            stream.write_all(&chunk).unwrap();
            sent += chunk.len();
        }
        sent as f64 * 8.0 / 1e9
    })
}

#[test]
#[ignore = "a measurement"]
fn throughput_through_a_virtual_address() {
    in_namespaces("speed::throughput_through_a_virtual_address", || {
        let net = Overlay::new(2);
        sink(&net.containers[1], 90);
        let direct = SocketAddr::new(overlay::address(true, 1), 90);
        net.balancer.overlay(&overlay::rules(vec![overlay::service(0, &[1])]));
        let through = SocketAddr::new(overlay::virtual_ip(true, 0), 90);
        let client = &net.containers[0];
        compare("Gbit", 9, || throughput(client, direct), || throughput(client, through));
    });
}

#[test]
#[ignore = "a measurement"]
fn through_the_ingress_network() {
    in_namespaces("speed::through_the_ingress_network", || {
        let node = Node::new();
        let (net, mut rules) = ingress(&node, 1);
        let task = &net.containers[0];
        sink(task, 90);
        greet(task, 91);
        // the task has a second interface at docker_gwbridge, as containers have: the direct way to it
        node.net.cable("veth-task", task, "eth1");
        node.net.ip("link set veth-task master docker_gwbridge");
        task.ip("address add 172.18.0.3/16 dev eth1\nroute add 192.0.2.0/24 via 172.18.0.1");
        rules.ingress.as_mut().unwrap().ports.insert((Protocol::Tcp, 8090));
        rules.ingress.as_mut().unwrap().ports.insert((Protocol::Tcp, 8091));
        let port = |host_port, port| PublishedPort {
            protocol: Protocol::Tcp,
            host_ip: None,
            host_port,
            to: ([172, 18, 0, 3], port).into(),
            bridge: "docker_gwbridge".into(),
        };
        rules.published = vec![port(9090, 90), port(9091, 91)];
        node.net.node(&rules);
        let service = |name: &str, published, target| VirtualService {
            name: name.into(),
            virtual_ips: Vec::new(),
            backends: vec![overlay::address(true, 0)],
            ports: vec![ServicePort { protocol: Protocol::Tcp, published, target }],
        };
        let mut services = overlay::rules(vec![service("sink", 8090, 90), service("greet", 8091, 91)]);
        services.ingress_interface = Some("eth1".into());
        net.balancer.overlay(&services);
        let at = |port| SocketAddr::new(node_address(true), port);
        let out = &node.outside;
        compare(
            "Gbit by a container's port, by the mesh",
            9,
            || throughput(out, at(9090)),
            || throughput(out, at(8090)),
        );
        let (by_port, by_mesh) = (|| connections(out, at(9091)), || connections(out, at(8091)));
        compare("connections by a container's port, by the mesh", 15, by_port, by_mesh);
        // routed to the container, with no rule at all
        node.net.node(&NodeRules::default());
        let direct = |port| SocketAddr::from(([172, 18, 0, 3], port));
        let bytes = median((0..9).map(|_| throughput(out, direct(90)).1).collect());
        let quick = median((0..9).map(|_| connections(out, direct(91)).1).collect());
        println!("note: without any rules, by processor time: {bytes:.1} Gbit, {quick:.1} connections");
    });
}
