//! `docker image`: what is there, other names for it, archives good and bad.
#![allow(clippy::unwrap_used)]

use crate::support::Cluster;

/// A docker-save archive of one image that has one file; `layer` goes in as it is.
fn archive(layer: &[u8], digest: &str) -> Vec<u8> {
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "created": "2024-01-01T00:00:00Z",
        "config": {"Cmd": ["/hello"], "Env": ["A=b"]},
        "rootfs": {"type": "layers", "diff_ids": [digest]},
    });
    let manifest = serde_json::json!([{"Config": "config.json", "RepoTags": ["made:1"], "Layers": ["layer.tar"]}]);
    let mut tar = tar::Builder::new(Vec::new());
    let mut add = |name: &str, data: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1);
        tar.append_data(&mut header, name, data).unwrap();
    };
    add("config.json", config.to_string().as_bytes());
    add("layer.tar", layer);
    add("manifest.json", manifest.to_string().as_bytes());
    tar.into_inner().unwrap()
}

fn layer() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    let text = b"hello\n";
    header.set_size(text.len() as u64);
    header.set_mode(0o755);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1);
    tar.append_data(&mut header, "hello", &text[..]).unwrap();
    tar.into_inner().unwrap()
}

fn sha256(data: &[u8]) -> String {
    use sha2::Digest as _;
    let hex: String = sha2::Sha256::digest(data).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

#[test]
fn images_are_listed_named_loaded_and_removed_and_bad_archives_change_nothing() {
    for c in Cluster::each(1, 0) {
        let list = "manager1 images --format '{{.Repository}}:{{.Tag}} {{.ID}}'";
        let before = c.ok(list);
        assert!(before.contains("swarmlab/tools:1.0") && before.contains("swarmlab/web:3.0"), "{before}");
        c.ok("manager1 tag swarmlab/tools:1.0 mine:2");
        assert!(c.ok(list).contains("mine:2"));
        assert_eq!(c.ok("manager1 rmi mine:2"), "Untagged: mine:2");
        c.refused("manager1 image inspect nosuch", 1, "No such image: nosuch");
        c.refused("manager1 rmi nosuch", 1, "No such image: nosuch:latest");
        c.refused("manager1 tag nosuch mine", 1, "No such image: nosuch:latest");

        let layer = layer();
        let good = archive(&layer, &sha256(&layer));
        let truncated = &good[..good.len() / 2];
        let mut damaged = layer.clone();
        damaged[514] ^= 0xff;
        let damaged = archive(&damaged, &sha256(&layer));
        for bad in [&b"no archive at all"[..], truncated, &damaged[..]] {
            let done = c.feed("manager1 load", bad);
            assert!(done.code == Some(1) && !done.err.is_empty(), "{done:?}");
            assert_eq!(c.ok(list), before, "nothing changed");
        }
        let done = c.feed("manager1 load", &good);
        assert_eq!((done.code, done.out.trim()), (Some(0), "Loaded image: made:1"), "{done:?}");
        assert_eq!(c.ok("manager1 inspect -f '{{index .Config.Cmd 0}} {{index .Config.Env 0}}' made:1"), "/hello A=b");
        let id = c.ok("manager1 create --name user made:1");
        c.refused("manager1 rmi made:1", 1, &id[..12]);
        c.ok("manager1 rm user");
        c.ok("manager1 rmi made:1");
        assert_eq!(c.ok(list), before);
    }
}
