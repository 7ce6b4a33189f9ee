//! Images: what loads, what is refused, what is found and removed.

use container_runtime::config::*;
use container_runtime::*;

use crate::archives::{self, Tar};
use crate::support::*;

fn layers() -> Vec<Vec<u8>> {
    vec![
        archives::userland()
            .dir("a/")
            .file("a/gone", "1")
            .file("a/kept", "2")
            .dir("b/")
            .file("b/hidden", "3")
            .file("data/x", "x")
            .end(),
        Tar::default()
            .file("a/.wh.gone", "")
            .dir("b/")
            .file("b/.wh..wh..opq", "")
            .file("b/new", "4")
            .hard("b/same", "b/new")
            .end(),
    ]
}

fn usr() -> Vec<Mount> {
    let mut all = vec![Mount { target: "/usr".into(), read_only: true, source: MountSource::Bind("/usr".into()) }];
    for d in ["/bin", "/lib", "/lib64"] {
        if std::fs::symlink_metadata(d).is_ok_and(|m| m.is_dir()) {
            all.push(Mount { target: d.into(), read_only: true, source: MountSource::Bind(d.into()) });
        }
    }
    all
}

pub async fn a_saved_image_loads_and_runs_with_its_settings_and_whiteouts(lab: Lab) -> Lab {
    let settings = serde_json::json!({"Entrypoint": ["/bin/sh", "-c"], "Cmd": ["echo $GREETING; pwd; ls /a /b; cat /b/same"],
        "Env": ["PATH=/usr/bin:/bin", "GREETING=hi"], "WorkingDir": "/data", "StopSignal": "SIGINT", "ExposedPorts": {"80/tcp": {}},
        "Volumes": {"/data": {}}, "Labels": {"l": "1"}, "Healthcheck": {"Test": ["CMD", "true"], "Interval": 1000000000_i64, "Retries": 2}});
    let archive = archives::gzip(&archives::docker("team/app:1", &layers(), settings));
    let loaded = lab.runtime.load_images(std::io::Cursor::new(archive.clone())).await.unwrap();
    assert_eq!(loaded[0].names, ["team/app:1"]);
    let again = lab.runtime.load_images(std::io::Cursor::new(archive)).await.unwrap();
    assert_eq!(again, loaded, "loading twice is harmless");
    let info = lab.runtime.images().inspect("team/app:1").unwrap();
    assert_eq!(info.image.config.exposed_ports, ["80/tcp"]);
    assert_eq!(info.image.config.healthcheck.as_ref().unwrap().retries, Some(2));
    let c = ContainerConfig { image: "team/app:1".into(), mounts: usr(), ..Default::default() };
    let id = lab.create(c.clone()).await;
    let i = lab.runtime.inspect(&id).unwrap();
    assert_eq!((i.stop_signal, i.labels["l"].as_str()), (2, "1"));
    let (code, out) = lab.run(c).await;
    assert_eq!((code, out.as_str()), (0, "hi\n/data\n/a:\nkept\n\n/b:\nnew\nsame\n4"));
    // The index survives a restart of the daemon.
    let lab = lab.restart().await;
    assert_eq!(lab.runtime.images().inspect("team/app:1").unwrap().image.id, loaded[0].id);
    lab
}

pub async fn an_oci_archive_loads_and_is_found_by_name_digest_and_id(lab: Lab) -> Lab {
    let settings = serde_json::json!({"Cmd": ["/bin/sh", "-c", "cat /a/kept"], "Env": ["PATH=/usr/bin:/bin"]});
    let archive = archives::oci("docker.io/team/oci:2", &layers(), settings);
    let loaded = lab.runtime.load_images(std::io::Cursor::new(archive)).await.unwrap();
    let images = lab.runtime.images();
    let info = images.inspect("team/oci:2").unwrap();
    assert_eq!(info.digests.len(), 1);
    for name in [info.digests[0].as_str(), &loaded[0].id, &loaded[0].id[7..19], "docker.io/team/oci:2"] {
        assert_eq!(images.resolve(name).unwrap().id, loaded[0].id, "{name}");
    }
    let c = ContainerConfig { image: loaded[0].id[7..19].to_owned(), mounts: usr(), ..Default::default() };
    assert_eq!(lab.run(c).await, (0, "2".into()));
    lab
}

pub async fn damaged_and_hostile_archives_are_refused_and_change_nothing(lab: Lab) -> Lab {
    let ok = serde_json::json!({"Cmd": ["true"]});
    let before = listing(&lab);
    let outside = lab.dir.join("outside");
    let docker = |layer: Tar| archives::docker("bad:1", &[layer.end()], ok.clone());
    let mut flipped = archives::docker("bad:1", &layers(), ok.clone());
    let at = flipped.windows(7).position(|w| w == b"a/kept\0").unwrap() + 512;
    flipped[at] ^= 1;
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("empty", vec![]),
        ("text", b"this is not an archive, though it is long enough to look at twice".repeat(20)),
        ("no manifest", Tar::default().file("x", "y").end()),
        ("outer traversal", Tar::default().file("../x", "y").end()),
        ("outer absolute", Tar::default().file("/etc/x", "y").end()),
        ("manifest is no JSON", Tar::default().file("manifest.json", "{").end()),
        (
            "manifest names a missing file",
            Tar::default().file("manifest.json", r#"[{"Config":"c.json","Layers":[]}]"#).end(),
        ),
        ("flipped byte in a layer", flipped),
        ("layer traversal", docker(Tar::default().file("../../../outside", "x"))),
        ("layer traversal in the middle", docker(Tar::default().file("a/../../outside", "x"))),
        ("whiteout of ..", docker(Tar::default().file("a/.wh...", "x"))),
        ("hard link out", docker(Tar::default().hard("x", "../../../../etc/passwd"))),
        ("hard link to nothing", docker(Tar::default().hard("x", "nope"))),
        ("a file as a directory", docker(Tar::default().file("f", "x").file("f/g", "y"))),
        ("a dangling link as a directory", docker(Tar::default().link("l", "/nope/nope").file("l/g", "y"))),
        ("truncated gzip", archives::gzip(&docker(Tar::default().file("f", "x")))[..200].to_vec()),
        ("bad tag", archives::docker("BAD TAG", &[], ok.clone())),
    ];
    for (name, bytes) in cases {
        let result = lab.runtime.load_images(std::io::Cursor::new(bytes)).await;
        let e = result.expect_err(name);
        assert_eq!(e.kind, Kind::InvalidArgument, "{name}: {e}");
        assert_eq!(listing(&lab), before, "{name}");
    }
    assert!(!outside.exists());
    // A link that leads out is harmless: it is resolved inside the layer.
    let target = format!("/../../../../../..{}", lab.dir.display());
    if target.len() < 100 {
        let sly = docker(Tar::default().dir(&lab.dir.to_str().unwrap()[1..]).link("l", &target).file("l/outside", "x"));
        lab.runtime.load_images(std::io::Cursor::new(sly)).await.unwrap();
        assert!(!outside.exists());
    }
    lab
}

fn listing(lab: &Lab) -> (Vec<String>, usize) {
    let ids = lab.runtime.images().list().iter().map(|i| i.image.id.clone()).collect();
    (
        ids,
        std::fs::read_dir(lab.dir.join("images/layers")).unwrap().count()
            + std::fs::read_dir(lab.dir.join("images/tmp")).unwrap().count(),
    )
}

pub async fn an_archive_cut_anywhere_is_refused(lab: Lab) -> Lab {
    let whole =
        archives::docker("cut:1", &[Tar::default().file("f", "content").end()], serde_json::json!({"Cmd": ["true"]}));
    let before = listing(&lab);
    // The last 1024 bytes are the end marks; everything the image needs lies before them.
    for cut in (0..whole.len() - 1024).step_by(173).chain([whole.len() - 1025]) {
        let part = whole[..cut].to_vec();
        assert!(lab.runtime.load_images(std::io::Cursor::new(part)).await.is_err(), "cut at {cut} of {}", whole.len());
        assert_eq!(listing(&lab), before);
    }
    lab.runtime.load_images(std::io::Cursor::new(whole)).await.unwrap();
    lab
}

pub async fn an_image_in_use_is_not_removed_unless_forced(lab: Lab) -> Lab {
    let archive = archives::docker(
        "used:1",
        &layers(),
        serde_json::json!({"Cmd": ["/bin/cat", "/a/kept"], "Env": ["PATH=/bin"]}),
    );
    let loaded = lab.runtime.load_images(std::io::Cursor::new(archive)).await.unwrap();
    lab.runtime.tag_image("used:1", "used:2").unwrap();
    let id = lab.create(ContainerConfig { image: "used:1".into(), mounts: usr(), ..Default::default() }).await;
    assert_eq!(lab.runtime.remove_image("used:2", false).unwrap(), [image::Removed::Untagged("used:2".into())]);
    assert_eq!(lab.runtime.remove_image("used:1", false).unwrap_err().kind, Kind::Conflict);
    assert_eq!(lab.runtime.remove_image("used:1", true).unwrap(), [image::Removed::Untagged("used:1".into())]);
    lab.runtime.start(&id).await.unwrap();
    assert_eq!(within(lab.runtime.wait(&id, false)).await.unwrap().exit_code, 0);
    lab.runtime.remove(&id, false).await.unwrap();
    let gone = lab.runtime.remove_image(&loaded[0].id[7..19], false).unwrap();
    assert_eq!(gone, [image::Removed::Deleted(loaded[0].id.clone())]);
    assert_eq!(
        std::fs::read_dir(lab.dir.join("images/layers")).unwrap().count(),
        2,
        "only the empty layer and the skeleton"
    );
    lab
}

/// Whatever bytes are changed: an error or a whole image, never a panic, never a part.
pub async fn archives_changed_at_random_load_whole_or_not_at_all(lab: Lab) -> Lab {
    use proptest::strategy::{Strategy, ValueTree};
    let settings = serde_json::json!({"Cmd": ["true"]});
    let whole = [
        archives::docker(
            "random:1",
            &[Tar::default().dir("d/").file("d/f", "content").link("l", "d").end()],
            settings.clone(),
        ),
        archives::oci("random/oci:1", &[Tar::default().file("f", "content").file(".wh.g", "").end()], settings),
    ];
    let change = proptest::collection::vec((0..2usize, proptest::num::usize::ANY, proptest::num::u8::ANY), 1..6);
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for _ in 0..150 {
        let changes = change.new_tree(&mut runner).unwrap().current();
        let mut bytes = whole[changes[0].0].clone();
        for (_, at, value) in changes {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        let before = listing(&lab);
        match lab.runtime.load_images(std::io::Cursor::new(bytes)).await {
            Err(_) => assert_eq!(listing(&lab), before),
            Ok(loaded) => {
                for l in loaded {
                    let image = lab.runtime.images().resolve(&l.id).unwrap();
                    assert!(image.layers.iter().all(|l| lab.dir.join("images/layers").join(&l.dir).is_dir()));
                }
            }
        }
    }
    lab
}
