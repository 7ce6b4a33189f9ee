//! Docker's own client and ours against the same node: same output, same errors, same exit codes.
#![allow(clippy::unwrap_used)]

use std::process::Command;

use crate::support::{Cluster, Done, words};

/// Read-only command lines, and some that are refused.
const LINES: &str = "\
node ls
node ls -q
node ls --filter role=worker
node ps --no-trunc manager1
node inspect --pretty worker1
node inspect worker1 manager1
node inspect nosuch
node demote manager1
node rm worker1
service ls
service ls --format json
service ps web
service ps --no-trunc web
service ps nosuch
service inspect web
service inspect --pretty web
service inspect nosuch
service scale nosuch=1
service rm nosuch
service logs --raw talk
service logs nosuch
swarm join-token worker
swarm join-token cook
swarm init
swarm join --token x 10.77.0.11
swarm leave
images
images -q --no-trunc
image inspect swarmlab/web:1.0
image inspect nosuch
history swarmlab/web:1.0
rmi nosuch
ps -a
ps -a --no-trunc
ps -aq --filter name=plain
ps --filter nosuch=1
inspect plain
inspect -f {{.State.Status}} plain
inspect -f {{.Nope}} plain
inspect nosuch
logs plain
logs -t plain
logs --tail 1 plain
logs nosuch
port plain
wait nosuch
stop nosuch
kill nosuch
rm plain
exec plain nosuch
exec plain sh -c 'exit 9'
run --rm swarmlab/tools:1.0 nosuch
run --rm swarmlab/tools:1.0 /etc
run --rm swarmlab/tools:1.0 echo hi
run --nosuch
network ls
network inspect bridge
volume ls
volume inspect nosuch
info --format '{{json .Swarm}}'
version --format '{{json .Server}}'
tag nosuch x
nosuch";

#[test]
fn docker_s_client_and_ours_say_the_same() {
    let version = Command::new("docker").arg("--version").output();
    let Ok(version) = version else {
        println!("SKIPPED: no docker client is installed");
        return;
    };
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    if !version.contains("version 28.2") {
        println!("SKIPPED: the texts are those of Docker 28.2, this is {}", version.trim());
        return;
    }
    let c = Cluster::one(1, 1);
    c.ok("manager1 service create -d --name web --replicas 2 swarmlab/tools:1.0 sleep 1000");
    c.ok("manager1 service create -d --name talk --restart-condition none swarmlab/tools:1.0 echo word");
    c.ok("manager1 run -d --name plain swarmlab/tools:1.0 sh -c 'echo one; echo two; exec sleep 1000'");
    c.until("manager1 service ls --format {{.Replicas}}", |out| out.contains("2/2"));
    c.until("manager1 service ps talk --format {{.CurrentState}}", |out| out.starts_with("Complete"));
    c.until("manager1 logs plain", |out| out == "one\ntwo");
    let mut different = String::new();
    for line in LINES.lines() {
        // ages in words may tick over between the two; that does not happen thrice
        let mut difference = None;
        for _ in 0..3 {
            let ours = show(c.docker(&format!("manager1 {line}")));
            let theirs = show(Done::of(
                Command::new("docker")
                    .args(words(line))
                    .env("DOCKER_HOST", format!("unix://{}", c.socket("manager1").display()))
                    .env("DOCKER_CONFIG", "/nonexistent")
                    .env_remove("DOCKER_CONTEXT")
                    .output()
                    .unwrap(),
            ));
            difference =
                (ours != theirs).then(|| format!("== docker {line}\n-- docker:\n{theirs}\n-- ours:\n{ours}\n"));
            if difference.is_none() {
                break;
            }
        }
        different.extend(difference);
    }
    assert!(different.is_empty(), "{different}");
}

fn show(done: Done) -> String {
    format!("{}{}exit {:?}", done.out, done.err, done.code)
}
