//! Looking into the kernel's network: by `netview` in a node and by `swarmlab net` outside.
#![allow(clippy::unwrap_used)]

use serde_json::Value;

use crate::support::{Cluster, users};

#[test]
fn a_node_without_any_tool_shows_its_interfaces_and_faults() {
    for user in users() {
        user.ok(&["cluster", "up", "c", "--plain", "2", "--engine", "bare"]);
        let page = user.sh("node1", "netview");
        assert!(page.starts_with("node node1\n\ninterfaces\n"), "{page}");
        let has = |page: &str, words: &[&str]| {
            page.lines().any(|line| line.split_whitespace().collect::<Vec<_>>().starts_with(words))
        };
        assert!(has(&page, &["eth0", "veth", "up", "mtu", "1500", "02:42:0a:4d:00:0b", "10.77.0.11/24"]), "{page}");
        assert!(has(&page, &["default", "eth0", "via", "10.77.0.1"]), "{page}");
        assert!(!page.contains("table "), "{page}");
        user.ok(&["fault", "--cluster", "c", "block", "node1", "--port", "4789/udp", "--peer", "node2"]);
        let page = user.ok(&["net", "--cluster", "c", "node1"]);
        assert!(page.contains("table inet swarmlab-fault {") && page.contains("udp dport 4789"), "{page}");
        assert!(!page.contains("another program"), "{page}");
        let all = user.ok(&["net", "--cluster", "c"]);
        assert!(all.contains("node node1\n") && all.contains("\nnode node2\n"), "{all}");
        let unknown = user.run(&["net", "--cluster", "c", "node3"]);
        assert_eq!(unknown.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&unknown.stderr).contains("did you mean `node1`"), "{unknown:?}");
        // there is no Docker to ask
        let network = user.run(&["net", "--cluster", "c", "node1", "web"]);
        assert_eq!(network.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&network.stderr).contains("Docker does not tell its networks"), "{network:?}");
        user.ok(&["cluster", "down", "c"]);
    }
}

#[test]
fn an_overlay_network_is_shown_by_its_name_as_the_kernel_has_it() {
    for c in Cluster::each(1, 1) {
        c.ok("manager1 network create -d overlay --attachable inside");
        c.ok("manager1 service create -q --name web --network inside --replicas 2 --detach=false swarmlab/web:1.0");
        let look = |node: &str, what: &[&str]| {
            let mut args = vec!["net", "--cluster", "c", node];
            args.extend(what);
            c.user.ok(&args)
        };
        let own = look("manager1", &[]);
        assert!(own.contains("docker_gwbridge") && own.contains("network inside\n"), "{own}");
        let vip = c.ok("manager1 service inspect web --format '{{(index .Endpoint.VirtualIPs 0).Addr}}'");
        let vip = vip.split('/').next().unwrap();
        for node in ["manager1", "worker1"] {
            c.until("manager1 service ps web --format {{.CurrentState}}", |out| out.matches("Running").count() == 2);
            crate::support::eventually("the node knows the other's task", || {
                let page = look(node, &["inside"]);
                let other = if node == "manager1" { "to node 10.77.0.12" } else { "to node 10.77.0.11" };
                let whole = page.starts_with("overlay network inside (/var/run/docker/netns/1-")
                    && page.contains("vni ")
                    && page.contains(other)
                    && page.contains(&format!("{vip} : goto service-web"))
                    && page.contains("numgen inc mod 2 map");
                if whole { Ok(()) } else { Err(page) }
            });
        }
        let json: Value = serde_json::from_str(&look("manager1", &["inside", "--format", "json"])).unwrap();
        let links = json["view"]["links"].as_array().unwrap();
        let vxlan = links.iter().find(|link| link["kind"] == "vxlan").unwrap();
        assert_eq!((&vxlan["vxlan"]["port"], &vxlan["vxlan"]["local"]), (&4789.into(), &"10.77.0.11".into()));
        let task = c.ok("manager1 ps -q -f name=web");
        let page = look("manager1", &["--container", &task]);
        assert!(page.starts_with("container web.") && page.contains("eth0  veth"), "{page}");
        let missing = c.user.run(&["net", "--cluster", "c", "manager1", "insid"]);
        assert!(String::from_utf8_lossy(&missing.stderr).contains("did you mean `inside`"), "{missing:?}");
    }
}
