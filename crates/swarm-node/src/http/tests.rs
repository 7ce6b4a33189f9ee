//! The API over a real socket, with a real engine and event loop behind it; nothing is started, since a test binary
//! is no shim. What runs containers is tested end to end with the whole binary.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{UnixListener, UnixStream};

mod networks;

use super::{Api, serve_unix};
use crate::containers::{Engine, EngineTasks};
use crate::core::{NodeOptions, start};

/// A node outside any swarm, with its API on a socket of its own.
struct Node {
    dir: tempfile::TempDir,
}

/// An answer, read to its end.
struct Answer {
    status: StatusCode,
    headers: http::HeaderMap,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    fn message(&self) -> String {
        self.json()["message"].as_str().unwrap().to_owned()
    }
}

impl Node {
    async fn start() -> Self {
        // as root: `docker0` is made in a network namespace of this thread's own, not on the machine
        let _ = nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET);
        let dir = tempfile::tempdir().unwrap();
        let options = container_runtime::Options {
            shim_exe: "/proc/self/exe".into(),
            rootless: None,
            cgroups: container_runtime::CgroupMode::Ignore,
        };
        let engine = Engine::open(dir.path(), options).await.unwrap();
        let runner = Arc::new(EngineTasks::new(engine.clone(), "node1"));
        let (node, _) = start(NodeOptions::new(dir.path().to_owned(), runner)).unwrap();
        let api = Api::new(node, engine, "node1", dir.path());
        let listener = UnixListener::bind(dir.path().join("docker.sock")).unwrap();
        tokio::spawn(serve_unix(listener, api));
        Self { dir }
    }

    async fn send(&self, method: Method, path: &str, content_type: &str, body: impl Into<Vec<u8>>) -> Answer {
        let stream = UnixStream::connect(self.dir.path().join("docker.sock")).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path).header("Host", "docker");
        if !content_type.is_empty() {
            request = request.header("Content-Type", content_type);
        }
        let answer = sender.send_request(request.body(Full::<bytes::Bytes>::from(body.into())).unwrap()).await.unwrap();
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        Answer { status, headers, body: String::from_utf8(body.to_vec()).unwrap() }
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, "", "").await
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(Method::POST, path, "application/json", body.to_string()).await
    }

    async fn delete(&self, path: &str) -> Answer {
        self.send(Method::DELETE, path, "", "").await
    }

    async fn create(&self, name: &str, body: Value) -> String {
        let answer = self.post(&format!("/containers/create?name={name}"), body).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        answer.json()["Id"].as_str().unwrap().to_owned()
    }
}

fn tools() -> Value {
    json!({"Image": "swarmlab/tools:1.0", "Cmd": ["true"]})
}

#[tokio::test]
async fn a_ping_tells_version_system_and_swarm() {
    let node = Node::start().await;
    for method in [Method::GET, Method::HEAD] {
        let answer = node.send(method.clone(), "/_ping", "", "").await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.body, if method == Method::GET { "OK" } else { "" });
        for (name, value) in
            [("api-version", "1.51"), ("docker-experimental", "false"), ("ostype", "linux"), ("swarm", "inactive")]
        {
            assert_eq!(answer.headers[name], value);
        }
    }
}

#[tokio::test]
async fn versions_outside_the_bounds_are_refused_with_the_bounds() {
    let node = Node::start().await;
    assert_eq!(node.get("/v1.24/version").await.status, 200);
    assert_eq!(node.get("/v1.51/version").await.json()["ApiVersion"], "1.51");
    let new = node.get("/v1.99/version").await;
    assert_eq!(new.status, 400);
    assert_eq!(new.message(), "client version 1.99 is too new. Maximum supported API version is 1.51");
    assert!(node.get("/v1.12/version").await.message().contains("Minimum supported API version is 1.24"));
}

#[tokio::test]
async fn unknown_pages_and_methods_are_not_found() {
    let node = Node::start().await;
    for path in ["/", "/nope", "/v1.44/containers", "/containers/x/nope", "/vX.1/info", "/%zz"] {
        let answer = node.get(path).await;
        assert!(answer.status == 404 || answer.status == 400, "{path}");
    }
    let answer = node.send(Method::PUT, "/info", "", "").await;
    assert_eq!((answer.status, answer.message().as_str()), (StatusCode::NOT_FOUND, "page not found"));
}

#[tokio::test]
async fn swarm_requests_outside_a_swarm_say_so() {
    let node = Node::start().await;
    for path in ["/nodes", "/services", "/tasks", "/secrets", "/configs", "/swarm", "/services/web/logs?stdout=1"] {
        let answer = node.get(path).await;
        assert_eq!(answer.status, 503, "{path}: {}", answer.body);
        assert!(answer.message().starts_with("This node is not a swarm manager."), "{path}");
    }
    let answer = node.post("/swarm/leave", json!({})).await;
    assert_eq!((answer.status.as_u16(), answer.message().as_str()), (503, "This node is not part of a swarm"));
    let info = node.get("/info").await.json();
    assert_eq!(info["Swarm"]["LocalNodeState"], "inactive");
    assert_eq!(info["Swarm"]["ControlAvailable"], false);
}

#[tokio::test]
async fn bad_bodies_are_refused_and_nothing_changes() {
    let node = Node::start().await;
    let path = "/containers/create?name=bad";
    let bad = async |content_type: &str, body: Vec<u8>| node.send(Method::POST, path, content_type, body).await;
    assert_eq!(bad("application/json", b"{".to_vec()).await.status, 400);
    assert_eq!(bad("application/json", Vec::new()).await.message(), "invalid JSON: got EOF while reading request body");
    assert_eq!(
        bad("text/plain", b"{}".to_vec()).await.message(),
        "unsupported Content-Type header (text/plain): must be 'application/json'"
    );
    let wrong = bad("application/json", br#"{"Image": 5}"#.to_vec()).await;
    assert_eq!(
        wrong.message(),
        "json: cannot unmarshal number into Go struct field ContainerCreateConfig.Image of type string"
    );
    let oversized = vec![b' '; docker_api::limits::MAX_JSON_BODY + 1];
    assert_eq!(bad("application/json", oversized).await.status, 413);
    assert_eq!(node.get("/containers/json?all=1").await.json(), json!([]));
}

#[tokio::test]
async fn what_is_not_supported_is_refused_by_name() {
    let node = Node::start().await;
    for host in [
        json!({"Links": ["db:db"]}),
        json!({"PidMode": "host"}),
        json!({"Devices": [{"PathOnHost": "/dev/null"}]}),
        json!({"SecurityOpt": ["seccomp=/x.json"]}),
        json!({"LogConfig": {"Type": "syslog"}}),
    ] {
        let mut body = tools();
        body["HostConfig"] = host.clone();
        let answer = node.post("/containers/create", body).await;
        assert_eq!(answer.status, 400, "{host}: {}", answer.body);
    }
    for path in ["/build", "/auth", "/commit", "/plugins/pull", "/images/x/push"] {
        let answer = node.post(path, json!({})).await;
        assert_eq!(answer.status, 501, "{path}: {}", answer.body);
        assert!(answer.message().contains("support"), "{path}");
    }
    let pull = node.post("/images/create?fromImage=docker.io/library/nope&tag=1", json!({})).await;
    assert_eq!(pull.status, 404);
    assert!(pull.message().contains("no registry access"));
}

#[tokio::test]
async fn a_container_is_found_by_name_and_by_unambiguous_prefix() {
    let node = Node::start().await;
    let id = node.create("one", tools()).await;
    for name in ["one", "/one", &id, &id[..12]] {
        let name = name.replace('/', "%2F");
        assert_eq!(node.get(&format!("/containers/{name}/json")).await.json()["Id"], *id);
    }
    let missing = node.get("/containers/nope/json").await;
    assert_eq!((missing.status.as_u16(), missing.message().as_str()), (404, "No such container: nope"));
    let again = node.post("/containers/create?name=one", tools()).await;
    assert_eq!(again.status, 409);
    assert!(again.message().contains(&format!("\"/one\" is already in use by container \"{id}\"")), "{}", again.body);
}

#[tokio::test]
async fn a_container_shows_what_was_asked_and_what_the_image_adds() {
    let node = Node::start().await;
    let mut body = tools();
    body["Env"] = json!(["A=b"]);
    body["HostConfig"] =
        json!({"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 3}, "Binds": ["data:/data:ro"]});
    let id = node.create("shown", body).await;
    let shown = node.get(&format!("/containers/{id}/json")).await.json();
    assert_eq!(shown["Name"], "/shown");
    assert_eq!(shown["State"]["Status"], "created");
    assert_eq!((&shown["Path"], &shown["Config"]["Cmd"]), (&json!("true"), &json!(["true"])));
    assert!(shown["Config"]["Env"].as_array().unwrap().contains(&json!("A=b")));
    assert_eq!(shown["HostConfig"]["RestartPolicy"]["MaximumRetryCount"], 3);
    assert_eq!(shown["HostConfig"]["NetworkMode"], "bridge");
    assert_eq!(shown["Mounts"][0]["Name"], "data");
    assert_eq!(shown["Mounts"][0]["RW"], false);
    // the generated models of other clients read it
    serde_json::from_value::<docker_api::models::ContainerInspectResponse>(shown).unwrap();
    let list = node.get("/containers/json?all=1").await.json();
    serde_json::from_value::<Vec<docker_api::models::ContainerSummary>>(list.clone()).unwrap();
    assert_eq!((&list[0]["Status"], &list[0]["State"]), (&json!("Created"), &json!("created")));
    assert_eq!(node.get("/containers/json").await.json(), json!([]));
    assert_eq!(node.get("/volumes").await.json()["Volumes"][0]["Name"], "data");
    let used = node.delete("/volumes/data").await;
    assert_eq!((used.status.as_u16(), used.message()), (409, format!("remove data: volume is in use - [{id}]")));
}

#[tokio::test]
async fn a_container_that_does_not_run_answers_as_docker_does() {
    let node = Node::start().await;
    let id = node.create("still", tools()).await;
    assert_eq!(node.post("/containers/still/stop", json!({})).await.status, 304);
    let kill = node.post("/containers/still/kill", json!({})).await;
    assert_eq!(kill.status, 409);
    assert_eq!(kill.message(), format!("cannot kill container: still: container {id} is not running"));
    let exec = node.post("/containers/still/exec", json!({"Cmd": ["true"]})).await;
    assert_eq!((exec.status.as_u16(), exec.message()), (409, format!("container {id} is not running")));
    assert_eq!(node.post("/containers/still/wait", json!({})).await.json()["StatusCode"], 0);
    assert_eq!(
        node.post("/containers/still/wait?condition=maybe", json!({})).await.message(),
        "invalid condition: \"maybe\""
    );
    assert_eq!(
        node.get("/containers/still/logs").await.message(),
        "Bad parameters: you must choose at least one stream"
    );
    assert_eq!(
        node.get("/containers/still/logs?stdout=1").await.headers["content-type"],
        "application/vnd.docker.multiplexed-stream"
    );
    assert_eq!(node.post("/containers/still/rename?name=moved", json!({})).await.status, 204);
    assert_eq!(node.delete("/containers/moved").await.status, 204);
    assert_eq!(node.delete("/containers/moved").await.status, 404);
}

#[tokio::test]
async fn unknown_filters_and_values_are_named() {
    let node = Node::start().await;
    for (path, message) in [
        ("/containers/json?filters={%22foo%22:[%22x%22]}", "invalid filter 'foo'"),
        ("/containers/json?filters=nonsense", "invalid filter"),
        ("/containers/json?filters={%22status%22:[%22x%22]}", "invalid filter 'status=x'"),
        ("/images/json?filters={%22foo%22:[%22x%22]}", "invalid filter 'foo'"),
        ("/volumes?filters={%22foo%22:[%22x%22]}", "invalid filter 'foo'"),
        ("/networks?filters={%22foo%22:[%22x%22]}", "invalid filter 'foo'"),
        ("/system/df?type=nope", "unknown object type: nope"),
    ] {
        let answer = node.get(path).await;
        assert_eq!((answer.status.as_u16(), answer.message().as_str()), (400, message), "{path}");
    }
}

#[tokio::test]
async fn events_since_a_time_tell_what_happened_until_another() {
    let node = Node::start().await;
    let id = node.create("told", tools()).await;
    // the engine tells what the runtime told it: a list after that is in order
    let path = "/events?since=1&until=2&filters={%22container%22:[%22told%22]}";
    assert_eq!(node.get(path).await.body, "");
    let until = crate::core::now().as_nanos() / 1_000_000_000 + 1;
    let told = node.get(&format!("/events?since=1&until={until}&filters={{%22event%22:[%22create%22]}}")).await.body;
    let first: Value = serde_json::from_str(told.lines().next().unwrap()).unwrap();
    assert_eq!((&first["Type"], &first["Action"]), (&json!("container"), &json!("create")));
    assert_eq!((&first["Actor"]["ID"], &first["Actor"]["Attributes"]["name"]), (&json!(id), &json!("told")));
}

#[tokio::test]
async fn a_damaged_image_archive_changes_nothing() {
    let node = Node::start().await;
    let before = node.get("/images/json").await.json();
    let answer = node.send(Method::POST, "/images/load?quiet=1", "application/x-tar", "no archive").await;
    assert!(answer.status.is_client_error(), "{} {}", answer.status, answer.body);
    assert_eq!(node.get("/images/json").await.json(), before);
    let gone = node.get("/images/library/nope:9/json").await;
    assert_eq!((gone.status.as_u16(), gone.message().as_str()), (404, "No such image: nope:9"));
}

#[tokio::test]
async fn local_networks_are_there_and_stay() {
    let node = Node::start().await;
    let names: Vec<Value> =
        node.get("/networks").await.json().as_array().unwrap().iter().map(|one| one["Name"].clone()).collect();
    assert_eq!(names, ["bridge", "host", "none"]);
    let answer = node.delete("/networks/bridge").await;
    assert_eq!(
        (answer.status.as_u16(), answer.message().as_str()),
        (403, "bridge is a pre-defined network and cannot be removed")
    );
    assert_eq!(node.get("/networks/nope").await.message(), "network nope not found");
}
