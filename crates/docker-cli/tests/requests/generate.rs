//! Command lines made up from the grammar of ports, networks and addresses: mostly right, often not quite.

use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

/// So many lines of each kind; the same ones every time.
pub fn lines(each: usize) -> Vec<String> {
    let kinds = [
        publish("run -d -p", "img").boxed(),
        publish("create --expose", "img").boxed(),
        publish("service create -d --no-resolve-image -p", "img").boxed(),
        publish("service update -d --no-resolve-image --publish-add", "web").boxed(),
        publish("service update -d --no-resolve-image --publish-rm", "web").boxed(),
        attach("create", "img").boxed(),
        attach_service("service create -d --no-resolve-image --network", "img").boxed(),
        addresses().boxed(),
        subnets().boxed(),
    ];
    let mut out: Vec<String> = kinds.into_iter().flat_map(|kind| samples(kind, each)).collect();
    out.sort();
    out.dedup();
    out
}

/// So many containers with ports as engines report them.
pub fn containers(count: usize) -> Value {
    let address = select(vec!["", "", "0.0.0.0", "::", "127.0.0.1", "10.0.0.5", "fd00::5"]);
    let port = (address, 78u16..84, 78u16..84, select(vec!["tcp", "tcp", "udp", "sctp"]));
    let ports = proptest::collection::vec(port, 0..9);
    let container = |(at, ports): (usize, Vec<(&str, u16, u16, &str)>)| {
        let ports = ports.into_iter().map(|(ip, private, public, protocol)| match ip {
            "" => json!({"PrivatePort": private, "Type": protocol}),
            ip => json!({"IP": ip, "PrivatePort": private, "PublicPort": public, "Type": protocol}),
        });
        let id = format!("{at:064}");
        json!({
            "Id": id, "Names": [format!("/c{at}")], "Image": "img:1", "Command": "x", "Created": 1714557600, "State": "running",
            "Status": "Up 3 hours", "Ports": ports.collect::<Vec<_>>(), "NetworkSettings": {"Networks": {}},
        })
    };
    samples(ports, count).into_iter().enumerate().map(container).collect()
}

/// So many services with published ports.
pub fn services(count: usize) -> Value {
    let port = (0u16..8, 78u16..84, select(vec!["tcp", "tcp", "udp"]), select(vec!["ingress", "ingress", "host"]));
    let ports = proptest::collection::vec(port, 0..9);
    let service = |(at, ports): (usize, Vec<(u16, u16, &str, &str)>)| {
        // Two ports that differ in the target only have no order that is worth agreeing on.
        let mut taken = std::collections::BTreeSet::new();
        let ports = ports.into_iter().filter(|(published, _, protocol, _)| taken.insert((*published, *protocol)));
        let ports = ports.map(|(published, target, protocol, mode)| {
            json!({"Protocol": protocol, "TargetPort": target, "PublishedPort": published, "PublishMode": mode})
        });
        let ports: Vec<Value> = ports.collect();
        json!({
            "ID": format!("{at:025}"), "Version": {"Index": 1}, "Spec": {"Name": format!("s{at}"), "Mode": {"Global": {}}},
            "Endpoint": {"Ports": ports}, "ServiceStatus": {"RunningTasks": 1, "DesiredTasks": 1},
        })
    };
    samples(ports, count).into_iter().enumerate().map(service).collect()
}

fn samples<S: Strategy>(strategy: S, count: usize) -> Vec<S::Value> {
    let mut runner = TestRunner::deterministic();
    (0..count).filter_map(|_| strategy.new_tree(&mut runner).ok()).map(|tree| tree.current()).collect()
}

fn words(all: &'static [&'static str]) -> impl Strategy<Value = String> + Clone {
    select(all).prop_map(str::to_owned)
}

/// A text as one word of a line.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn port() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => words(&["80", "443", "8080", "81", "8081", "8082"]),
        2 => words(&["80-82", "8080-8082", "8081-8083", "90-80", "80-80", "80-81-82"]),
        1 => words(&["", "0", "65535", "65536", "x", "-1", "+80", "080", "80-", "-", " 80", "1e3"]),
    ]
}

fn ip() -> impl Strategy<Value = String> {
    words(&[
        "127.0.0.1",
        "0.0.0.0",
        "10.0.0.5",
        "::1",
        "::",
        "[::1]",
        "[::]",
        "fd00::5",
        "[fd00::5]",
        "[::1",
        "::1]",
        "[]",
        "[::1]x",
        "[[::1]]",
        "1.2.3",
        "localhost",
        "1.2.3.4.5",
        "256.0.0.1",
        "01.2.3.4",
        "fe80::1%eth0",
        "::ffff:1.2.3.4",
        "0:0:0:0:0:0:0:1",
        "",
    ])
}

fn protocol() -> impl Strategy<Value = String> {
    prop_oneof![3 => Just(String::new()), 3 => words(&["/tcp", "/udp", "/sctp"]), 1 => words(&["/", "/UDP", "/icmp", "/tcp/udp", "//"])]
}

fn short_port() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => (port(), protocol()).prop_map(|(a, p)| format!("{a}{p}")),
        6 => (port(), port(), protocol()).prop_map(|(a, b, p)| format!("{a}:{b}{p}")),
        3 => (ip(), port(), port(), protocol()).prop_map(|(ip, a, b, p)| format!("{ip}:{a}:{b}{p}")),
    ]
}

fn long_port() -> impl Strategy<Value = String> {
    let field = prop_oneof![
        4 => port().prop_map(|p| format!("target={p}")),
        4 => port().prop_map(|p| format!("published={p}")),
        2 => words(&["protocol=tcp", "protocol=udp", "protocol=UDP", "protocol=x", "protocol="]),
        2 => words(&["mode=host", "mode=ingress", "mode=HOST", "mode=x"]),
        1 => words(&["Target=80", "target", "=80", "foo=bar", "target = 80", "\"target=80\"", "tar\"get=80", ""]),
    ];
    proptest::collection::vec(field, 1..5).prop_map(|fields| fields.join(","))
}

fn publish(command: &'static str, name: &'static str) -> impl Strategy<Value = String> {
    let value = prop_oneof![2 => short_port(), 1 => long_port()];
    let flag = command.rsplit(' ').next().unwrap_or("");
    proptest::collection::vec(value, 1..3).prop_map(move |values| {
        let mut line = command.strip_suffix(flag).unwrap_or(command).to_owned();
        for value in values {
            line.push_str(&format!("{flag} {} ", quoted(&value)));
        }
        line + name
    })
}

fn network_value() -> impl Strategy<Value = String> {
    let field = prop_oneof![
        5 => words(&["name=front", "name=back", "name=Front", "name=host", "name=nope", "name="]),
        3 => words(&["alias=a", "alias=B", "alias=", "alias=a b"]),
        2 => ip().prop_map(|ip| format!("ip={ip}")),
        1 => ip().prop_map(|ip| format!("ip6={ip}")),
        1 => words(&["mac-address=02:42:ac:11:00:02", "mac-address=x", "mac-address=02-42-ac-11-00-02"]),
        1 => words(&["driver-opt=a=b", "driver-opt=a", "driver-opt==b", "driver-opt=A=B=c", "link-local-ip=169.254.1.1"]),
        1 => words(&["gw-priority=1", "gw-priority=-5", "gw-priority=x", "gw-priority=99999999999999999999", "foo=bar", "name", " name = front "]),
    ];
    prop_oneof![
        2 => words(&["front", "back", "host", "none", "bridge", "default", "container:c1", "nope", "", " ", "Front", "front,back"]),
        3 => proptest::collection::vec(field, 1..4).prop_map(|fields| fields.join(",")),
    ]
}

fn attach(command: &'static str, name: &'static str) -> impl Strategy<Value = String> {
    let more = prop_oneof![
        2 => words(&["--network-alias x", "--network-alias x --network-alias y", "--net-alias z", "--network-alias ''"]),
        2 => ip().prop_map(|ip| format!("--ip {}", quoted(&ip))),
        1 => ip().prop_map(|ip| format!("--ip6 {}", quoted(&ip))),
        1 => words(&["--mac-address 02:42:ac:11:00:02", "--mac-address x", "--mac-address 0242.ac11.0002", "--mac-address ' '"]),
        2 => words(&["--link c1", "--link c1:db", "--link a:b:c", "--link ''", "--link /c1:/c2/db"]),
        1 => words(&["--link-local-ip 169.254.1.1", "-P", "--hostname h", "--domainname d"]),
    ];
    let networks = proptest::collection::vec((words(&["--network", "--net"]), network_value()), 0..3);
    (networks, proptest::collection::vec(more, 0..3)).prop_map(move |(networks, more)| {
        let networks: String = networks.iter().map(|(flag, value)| format!("{flag} {} ", quoted(value))).collect();
        format!("{command} {networks}{} {name}", more.join(" "))
    })
}

fn attach_service(command: &'static str, name: &'static str) -> impl Strategy<Value = String> {
    proptest::collection::vec(network_value(), 1..3).prop_map(move |values| {
        let flag = command.rsplit(' ').next().unwrap_or("");
        let values: String = values.iter().map(|value| format!("{flag} {} ", quoted(value))).collect();
        format!("{}{values}{name}", command.strip_suffix(flag).unwrap_or(command))
    })
}

/// `--dns`, `--dns-search`, `--add-host` and their kin.
fn addresses() -> impl Strategy<Value = String> {
    let domain = words(&["example.com", "a.b.", ".", " a ", "-a", "a-", "1.2", "a..b", "A_b", "a:b", "", "x.1"]);
    let host = (
        words(&["a", "a.b", "", "a:b", "A"]),
        words(&[":", "=", ""]),
        prop_oneof![4 => ip(), 1 => words(&["host-gateway", " 1.2.3.4", "x"])],
    )
        .prop_map(|(name, separator, ip)| format!("{name}{separator}{ip}"));
    prop_oneof![
        ip().prop_map(|ip| format!("create --dns {} img", quoted(&ip))),
        domain.clone().prop_map(|d| format!("create --dns-search {} img", quoted(&d))),
        host.clone().prop_map(|h| format!("create --add-host {} img", quoted(&h))),
        ip().prop_map(|ip| format!("service create -d --no-resolve-image --dns {} img", quoted(&ip))),
        domain.clone().prop_map(|d| format!("service create -d --no-resolve-image --dns-search {} img", quoted(&d))),
        host.clone().prop_map(|h| format!("service create -d --no-resolve-image --host {} img", quoted(&h))),
        host.clone().prop_map(|h| format!("service update -d --no-resolve-image --host-add {} web", quoted(&h))),
        host.prop_map(|h| format!("service update -d --no-resolve-image --host-rm {} web", quoted(&h))),
        domain.prop_map(|d| format!("service update -d --no-resolve-image --dns-search-add {} web", quoted(&d))),
    ]
}

/// `network create` and `swarm init` with subnets.
fn subnets() -> impl Strategy<Value = String> {
    let subnet = || {
        words(&[
            "10.1.0.0/16",
            "10.1.2.0/24",
            "10.2.0.0/16",
            "172.30.0.0/24",
            "fd00::/64",
            "fd00:1::/64",
            "::ffff:10.3.0.0/112",
            "10.1.2.3/16",
            "10.0.0.0/33",
            "10.0.0.0",
            "x",
            "",
            "10.1.0.0/016",
            "10.1.0.0/-1",
            "10.1.0.0/16,fd00::/64",
            "0.0.0.0/0",
        ])
    };
    let address = || {
        words(&[
            "10.1.0.1",
            "10.1.2.5",
            "10.2.0.1",
            "fd00::1",
            "172.30.0.200",
            "x",
            "",
            "10.1.0.1/16",
            "::ffff:10.1.0.9",
        ])
    };
    let flag = prop_oneof![
        2 => address().prop_map(|a| format!("--gateway {}", quoted(&a))),
        2 => subnet().prop_map(|s| format!("--ip-range {}", quoted(&s))),
        1 => address().prop_map(|a| format!("--aux-address a={a}")),
        1 => words(&["--ipv6", "--ipv6=false", "--ipv4=false", "--internal", "--attachable", "-d overlay", "--ingress", "--label a=b"]),
    ];
    let create =
        (proptest::collection::vec(subnet(), 0..3), proptest::collection::vec(flag, 0..4)).prop_map(|(s, f)| {
            let subnets: String = s.iter().map(|s| format!("--subnet {} ", quoted(s))).collect();
            format!("network create {subnets}{} net", f.join(" "))
        });
    let pool = (
        subnet(),
        words(&[
            "",
            "--default-addr-pool-mask-length 26",
            "--default-addr-pool-mask-length x",
            "--data-path-port 7777",
            "--data-path-addr eth0",
        ]),
    )
        .prop_map(|(s, more)| format!("swarm init --default-addr-pool {} {more}", quoted(&s)));
    prop_oneof![4 => create, 1 => pool]
}
