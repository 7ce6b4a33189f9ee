//! Networks of one engine with real packets: users' bridges, names, several networks for a container, published ports,
//! and all of it after the daemon's death.
#![allow(clippy::unwrap_used)]

use crate::support::Cluster;

/// A line for the one node, with what `TOOLS`, `WEB` and `FETCH` stand for.
fn line(text: &str) -> String {
    let text = text.replace("FETCH", "curl -s -m 3").replace("TOOLS", "swarmlab/tools:1.0");
    format!("manager1 {}", text.replace("WEB", "swarmlab/web:1.0"))
}

/// Fetches a page until it is the web server's: a container runs before the server in it listens.
#[track_caller]
fn reach(c: &Cluster, text: &str) {
    c.until(&line(text), |out| out.contains("hostname"));
}

#[test]
fn containers_on_a_network_of_their_own_find_and_reach_each_other() {
    for c in Cluster::each(1, 0) {
        let d = |text: &str| c.ok(&line(text));
        let id = d("network create --subnet 10.77.0.0/24 --label tier=front own");
        d("network create other");
        assert!(d("network ls --filter label=tier=front").contains("own"));
        d("run -d --name web --network own --network-alias shop --ip 10.77.0.9 WEB");
        assert_eq!(d("inspect -f '{{.NetworkSettings.Networks.own.IPAddress}}' web"), "10.77.0.9");
        for name in ["web", "shop", "web.own", "10.77.0.9"] {
            reach(&c, &format!("run --rm --network own TOOLS FETCH http://{name}/"));
        }
        assert!(d("run --rm --network own TOOLS nslookup 10.77.0.9").contains("web.own"));
        assert!(d("exec web cat /etc/hosts").contains("10.77.0.9"));
        assert!(d("exec web cat /etc/resolv.conf").contains("nameserver 127.0.0.11"));
        // not from the default network: neither by name nor by address
        // (unknown at once, or only after the machine's own name server has not answered)
        assert_ne!(c.docker(&line("run --rm TOOLS FETCH http://web/")).code, Some(0));
        assert_ne!(c.docker(&line("run --rm TOOLS FETCH http://10.77.0.9/")).code, Some(0));

        // a second network, while it runs
        d("network connect --alias late other web");
        assert!(d("exec web ls /sys/class/net").contains("eth1"));
        reach(&c, "run --rm --network other TOOLS FETCH http://late/");
        c.refused(&line("network connect other web"), 1, "endpoint with name web already exists in network other");
        c.refused(
            &line("network rm other"),
            1,
            "error while removing network: network other has active endpoints (name:\"web\"",
        );
        d("network disconnect other web");
        assert!(!d("exec web ls /sys/class/net").contains("eth1"));
        reach(&c, "run --rm --network own TOOLS FETCH http://web/"); // the first one stays
        assert_eq!(d("network rm other"), "other");

        // a third party in its namespace
        reach(&c, "run --rm --network container:web TOOLS FETCH http://127.0.0.1/");
        assert_eq!(d("run --rm --network container:web TOOLS hostname"), d("exec web hostname"));
        c.refused(
            &line("run --rm --network container:web -p 80:80 TOOLS true"),
            125,
            "port publishing and the container type",
        );

        // and at its end
        d("rm -f web");
        assert_eq!(d("network inspect -f '{{len .Containers}}' own"), "0");
        assert_eq!(d("network rm own"), "own");
        c.refused(&line(&format!("network inspect {id}")), 1, "not found");
    }
}

#[test]
fn published_ports_lead_to_their_containers_and_to_nobody_else() {
    for c in Cluster::each(1, 0) {
        let d = |text: &str| c.ok(&line(text));
        d("run -d --name web -p 8080:80 WEB");
        let ports = d("port web");
        assert!(ports.starts_with("80/tcp -> 0.0.0.0:8080"), "{ports}");
        assert!(d("ps --format {{.Ports}}").starts_with("0.0.0.0:8080->80/tcp"));
        let address = d("inspect -f '{{.NetworkSettings.IPAddress}}' web");
        for host in ["127.0.0.1", "localhost", "manager1", "172.17.0.1", "[::1]"] {
            if host == "[::1]" && !ports.contains("[::]") {
                continue;
            }
            reach(&c, &format!("run --rm --network host TOOLS FETCH http://{host}:8080/"));
        }
        // from a container, by the node's address: also from itself
        reach(&c, "run --rm TOOLS FETCH http://172.17.0.1:8080/");
        reach(&c, "exec web curl -s -m 3 http://172.17.0.1:8080/");
        reach(&c, &format!("run --rm TOOLS FETCH http://{address}/"));

        let taken = "Bind for 0.0.0.0:8080 failed: port is already allocated";
        c.refused(&line("run --name late -p 8080:80 WEB"), 125, taken);
        assert_eq!(d("inspect -f {{.State.Status}} late"), "created");
        d("rm late");
        d("run -d --name any -p 127.0.0.1::80 -p 9000-9010:81/udp WEB");
        let ports = d("port any");
        assert!(ports.contains("80/tcp -> 127.0.0.1:") && ports.contains("81/udp -> 0.0.0.0:9000"), "{ports}");
        let port = d("port any 80").rsplit(':').next().unwrap().to_owned();
        assert!(port.parse::<u16>().unwrap() >= 32768, "{port}");
        reach(&c, &format!("run --rm --network host TOOLS FETCH http://127.0.0.1:{port}/"));

        // a port is free again with its container's end, and taken again with its next start
        d("stop -t 0 web");
        assert_eq!(d("port web"), "");
        d("run -d --rm --name next -p 8080:80 WEB");
        c.refused(&line("start web"), 1, taken);
        d("rm -f next");
        d("start web");
        reach(&c, "run --rm --network host TOOLS FETCH http://127.0.0.1:8080/");
        d("rm -f web any");
    }
}

#[test]
fn networks_names_and_ports_outlive_the_daemon() {
    let c = Cluster::one(1, 0);
    let d = |text: &str| c.ok(&line(text));
    d("network create own");
    d("run -d --name web --network own -p 8080:80 WEB");
    d("run -d --name client --network own TOOLS sleep infinity");
    let place = "inspect -f '{{.NetworkSettings.Networks.own.IPAddress}} {{.NetworkSettings.Ports}}' web";
    let before = d(place);
    // within the node: its own processes only
    let again = "for p in /proc/[0-9]*; do line=$(tr '\\0' ' ' <$p/cmdline); case $line in 'swarmlab node-daemon '*) \
                 kill -9 ${p#/proc/}; while [ -e $p ]; do :; done; $line </dev/null >/tmp/again.log 2>&1 & echo $line;; \
                 esac; done 2>/dev/null";
    let killed = c.user.sh("manager1", again);
    assert_eq!(killed.lines().count(), 1, "one daemon: {killed:?}");
    assert_eq!(c.until(&line(place), |out| !out.is_empty()), before);
    reach(&c, "exec client curl -s -m 3 http://web/"); // names are answered again
    reach(&c, "run --rm --network host TOOLS FETCH http://127.0.0.1:8080/");
    c.refused(&line("run --rm -p 8080:80 WEB"), 125, "port is already allocated");
    d("run -d --name third --network own TOOLS sleep infinity");
    let third = d("inspect -f '{{.NetworkSettings.Networks.own.IPAddress}}' third");
    assert!(!before.starts_with(&third), "an address is not given twice");
    d("rm -f web client third");
    d("network rm own");

    // without power everything ends but what is on disk
    d("network create --subnet 10.77.0.0/24 kept");
    d("run -d --name always --restart always --network kept --ip 10.77.0.7 WEB");
    c.power("manager1", "kill");
    c.power("manager1", "start");
    c.until(&line("inspect -f {{.State.Running}} always"), |out| out == "true");
    reach(&c, "run --rm --network kept TOOLS FETCH http://10.77.0.7/");
}

#[test]
fn containers_join_overlays_by_hand_and_tasks_publish_on_their_own_node() {
    let c = Cluster::one(1, 1);
    let d = |text: &str| c.ok(&line(text));
    d("network create -d overlay --attachable --subnet 10.88.0.0/24 att");
    d("network create own");
    d("run -d --name both --network own WEB");
    d("network connect --alias late att both");
    let seen =
        d("inspect -f '{{range $name, $one := .NetworkSettings.Networks}}{{$name}}={{$one.IPAddress}} {{end}}' both");
    assert!(seen.starts_with("att=10.88.0.") && seen.contains(" own=172."), "{seen}");
    assert!(d("network inspect -f '{{range .Containers}}{{.Name}} {{end}}' att").contains("both"));
    let far = |text: &str| c.docker(&format!("worker1 {}", text.replace("TOOLS", "swarmlab/tools:1.0")));
    assert_eq!(far("run -d --name far --network att TOOLS sleep infinity").code, Some(0));
    for name in ["both", "late"] {
        let page = c.until(&format!("worker1 exec far curl -s -m 3 http://{name}/"), |out| !out.is_empty());
        assert!(page.contains("hostname"), "{page}");
    }
    assert!(far("exec far ip route").out.contains("default via 172.18.0.1"), "docker_gwbridge leads out");
    c.refused(&line("network rm att"), 1, "");
    d("network disconnect att both");
    assert!(!d("exec both ls /sys/class/net").contains("eth1"));
    reach(&c, "run --rm --network own TOOLS FETCH http://both/"); // the local one stays
    assert_eq!(far("rm -f far").code, Some(0));
    c.until(&line("network rm att"), |out| out == "att");

    d("service create -d --name web --mode global --publish mode=host,published=8090,target=80 WEB");
    c.until(&line("service ls --format {{.Replicas}}"), |out| out == "2/2");
    for node in ["manager1", "worker1"] {
        let page = format!("{node} run --rm --network host swarmlab/tools:1.0 curl -s -m 3 http://127.0.0.1:8090/");
        c.until(&page, |out| out.contains("hostname"));
        c.refused(
            &format!("{node} run --rm -p 8090:80 swarmlab/web:1.0"),
            125,
            "Bind for 0.0.0.0:8090 failed: port is already allocated",
        );
    }
    assert!(d("service ps --format {{.Ports}} web").contains("*:8090->80/tcp"));
}
