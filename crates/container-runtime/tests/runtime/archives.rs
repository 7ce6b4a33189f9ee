//! Image archives made by hand, good and bad.

use std::io::Write;

use sha2::{Digest, Sha256};

/// A tar of these entries, in order.
#[derive(Default)]
pub struct Tar(Vec<u8>);

impl Tar {
    pub fn file(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        self.entry(path, tar::EntryType::Regular, "", content.as_ref())
    }

    pub fn dir(self, path: &str) -> Self {
        self.entry(path, tar::EntryType::Directory, "", b"")
    }

    pub fn link(self, path: &str, target: &str) -> Self {
        self.entry(path, tar::EntryType::Symlink, target, b"")
    }

    pub fn hard(self, path: &str, target: &str) -> Self {
        self.entry(path, tar::EntryType::Link, target, b"")
    }

    // By hand: the tar crate's own builder refuses the unsafe names that these tests need.
    fn entry(mut self, path: &str, kind: tar::EntryType, target: &str, content: &[u8]) -> Self {
        let mut h = tar::Header::new_gnu();
        h.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        h.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        h.set_entry_type(kind);
        h.set_mode(if kind == tar::EntryType::Directory { 0o755 } else { 0o644 });
        h.set_uid(0);
        h.set_gid(0);
        h.set_mtime(1_700_000_000);
        h.set_size(content.len() as u64);
        h.set_cksum();
        self.0.extend_from_slice(h.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().div_ceil(512) * 512, 0);
        self
    }

    pub fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}

pub fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut e = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    e.write_all(bytes).unwrap();
    e.finish().unwrap()
}

fn config(layers: &[Vec<u8>], config: serde_json::Value) -> Vec<u8> {
    let diff_ids: Vec<String> = layers.iter().map(|l| format!("sha256:{}", digest(l))).collect();
    let arch = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
    serde_json::json!({"architecture": arch, "os": "linux", "created": "2025-01-01T00:00:00Z", "config": config,
        "rootfs": {"type": "layers", "diff_ids": diff_ids}})
    .to_string()
    .into_bytes()
}

/// As `docker save` writes.
pub fn docker(tag: &str, layers: &[Vec<u8>], settings: serde_json::Value) -> Vec<u8> {
    let config = config(layers, settings);
    let name = format!("{}.json", digest(&config));
    let names: Vec<String> = (0..layers.len()).map(|i| format!("{i}/layer.tar")).collect();
    let manifest = serde_json::json!([{"Config": name, "RepoTags": [tag], "Layers": names}]).to_string();
    let mut t = Tar::default();
    for (n, l) in names.iter().zip(layers) {
        t = t.file(n, l);
    }
    t.file(&name, config).file("manifest.json", manifest).end()
}

/// An OCI layout with zstd layers.
pub fn oci(name: &str, layers: &[Vec<u8>], settings: serde_json::Value) -> Vec<u8> {
    let config = config(layers, settings);
    let mut t = Tar::default();
    let blob = |t: Tar, bytes: &[u8], kind: &str| {
        let d = digest(bytes);
        let descriptor = serde_json::json!({"mediaType": kind, "digest": format!("sha256:{d}"), "size": bytes.len()});
        (t.file(&format!("blobs/sha256/{d}"), bytes), descriptor)
    };
    let mut descriptors = Vec::new();
    for l in layers {
        let packed = zstd::encode_all(l.as_slice(), 1).unwrap();
        let d;
        (t, d) = blob(t, &packed, "application/vnd.oci.image.layer.v1.tar+zstd");
        descriptors.push(d);
    }
    let (t, c) = blob(t, &config, "application/vnd.oci.image.config.v1+json");
    let manifest = serde_json::json!({"schemaVersion": 2, "config": c, "layers": descriptors}).to_string();
    let (t, mut m) = blob(t, manifest.as_bytes(), "application/vnd.oci.image.manifest.v1+json");
    m["annotations"] = serde_json::json!({"io.containerd.image.name": name});
    t.file("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#)
        .file("index.json", serde_json::json!({"schemaVersion": 2, "manifests": [m]}).to_string())
        .end()
}

/// A layer whose /bin and /lib* lead into /usr, which the test binds in.
pub fn userland() -> Tar {
    let mut t = Tar::default()
        .dir("usr/")
        .dir("etc/")
        .file("etc/passwd", "root:x:0:0::/root:/bin/sh\napp:x:1234:1234::/app:/bin/sh\n");
    for d in ["bin", "lib", "lib64"] {
        if let Ok(target) = std::fs::read_link(format!("/{d}")) {
            t = t.link(d, target.to_str().unwrap());
        }
    }
    t
}
