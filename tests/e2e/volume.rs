//! Volumes with real containers: what they keep, what they begin with, who may remove them, and that each node has its own.
#![allow(clippy::unwrap_used)]

use crate::support::Cluster;

#[test]
fn a_named_volume_outlives_its_containers_and_begins_with_what_the_image_has() {
    for c in Cluster::each(1, 0) {
        let run =
            |flags: &str, script: &str| c.ok(&format!("manager1 run --rm {flags} swarmlab/tools:1.0 sh -c '{script}'"));
        run("-v data:/srv", "echo kept > /srv/f");
        assert_eq!(run("-v data:/srv:ro", "cat /srv/f"), "kept");
        c.refused("manager1 run --rm -v data:/srv:ro swarmlab/tools:1.0 touch /srv/g", 1, "Read-only file system");
        assert_eq!(run("-v etc:/etc", "grep -c ^root: /etc/passwd"), "1", "the image's files are copied in");
        assert_eq!(
            run("-v data:/etc", "ls /etc | grep -v -e hosts -e hostname -e resolv.conf"),
            "f",
            "only into an empty one"
        );
        assert_eq!(
            run("--mount type=volume,source=bare,target=/etc,volume-nocopy", "ls /etc | grep -c passwd || true"),
            "0"
        );
        c.ok("manager1 run -d --name holder -v data:/srv -v /anon swarmlab/tools:1.0 sleep 1000");
        c.refused("manager1 volume rm data", 1, "remove data: volume is in use - [");
        let anonymous = c.ok("manager1 volume ls -q").lines().find(|name| name.len() == 64).map(str::to_owned).unwrap();
        c.ok("manager1 rm -f -v holder");
        c.refused(&format!("manager1 volume inspect {anonymous}"), 1, "no such volume");
        c.refused("manager1 volume create x", 1, "volume name is too short");
        c.refused(
            "manager1 run --rm --mount type=bind,source=/nope,target=/x swarmlab/tools:1.0 true",
            125,
            "bind source path does not exist: /nope",
        );
        assert_eq!(c.ok("manager1 volume rm bare data etc"), "bare\ndata\netc");
    }
}

#[test]
fn each_node_has_a_volume_of_its_own_for_the_same_service() {
    let c = Cluster::one(1, 1);
    c.ok("manager1 service create -q --name store --constraint node.hostname==worker1 \
         --mount type=volume,source=data,target=/srv --mount type=tmpfs,target=/scratch,tmpfs-size=1m,tmpfs-mode=700 \
         swarmlab/tools:1.0 sleep 1000");
    let task = c.ok("worker1 ps -q -f name=store");
    c.ok(&format!("worker1 exec {task} sh -c 'echo here > /srv/f'"));
    assert_eq!(c.ok(&format!("worker1 exec {task} stat -c %a:%T -f -c %T /scratch")), "tmpfs");
    assert_eq!(c.ok("manager1 volume ls -q"), "", "made where a task runs, not before");
    c.ok("manager1 service update -q --constraint-rm node.hostname==worker1 --constraint-add node.hostname==manager1 store");
    let moved = c.ok("manager1 ps -q -f name=store");
    c.refused(&format!("manager1 exec {moved} cat /srv/f"), 1, "No such file");
    c.ok("manager1 service update -q --constraint-rm node.hostname==manager1 --constraint-add node.hostname==worker1 store");
    let back = c.until("worker1 ps -q -f name=store", |out| !out.is_empty());
    assert_eq!(c.ok(&format!("worker1 exec {back} cat /srv/f")), "here");
    c.ok("manager1 service rm store");
    c.until("worker1 ps -aq", str::is_empty);
    assert_eq!(c.ok("worker1 volume ls -q"), "data", "named volumes stay");
}
