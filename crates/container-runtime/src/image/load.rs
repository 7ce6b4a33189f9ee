//! What an archive's files mean: docker-save's manifest.json, or an OCI image layout. Checks every digest.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::archive::{Contents, Limits, decompress};
use super::{Image, ImageConfig, Layer, layer, layer_dir};
use crate::durable;
use crate::error::{Context, Error, Result};
use crate::reference::{Reference, check_digest};

/// An image that has been loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// Its id.
    pub id: String,
    /// The names it now has.
    pub names: Vec<String>,
}

/// An image read from an archive, not yet stored.
pub(super) struct Found {
    pub image: Image,
    pub names: Vec<String>,
    /// Layers that the store lacks, with the directories they were unpacked into.
    pub new_layers: Vec<(PathBuf, Layer)>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerManifest {
    config: String,
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default)]
    annotations: std::collections::BTreeMap<String, String>,
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

#[derive(Deserialize)]
struct OciIndex {
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct OciManifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

pub(super) fn read(
    archive: impl Read,
    work: &Path,
    rootless: bool,
    limits: &Limits,
    known: impl Fn(&str) -> Option<Layer>,
) -> Result<Vec<Found>> {
    let blobs = work.join("blobs");
    std::fs::create_dir(&blobs).context(|| format!("making {}", blobs.display()))?;
    let contents = Contents::unpack(archive, &blobs, limits)?;
    let mut loader = Loader { contents, work, rootless, limits, known: &known, unpacked: Vec::new() };
    if loader.contents.has("manifest.json") {
        loader.docker()
    } else if loader.contents.has("index.json") {
        loader.oci()
    } else {
        Err(Error::invalid("invalid archive: it holds neither manifest.json (docker save) nor index.json (OCI layout)"))
    }
}

struct Loader<'a> {
    contents: Contents,
    work: &'a Path,
    rootless: bool,
    limits: &'a Limits,
    known: &'a dyn Fn(&str) -> Option<Layer>,
    /// Layers unpacked from this archive, shared by its images.
    unpacked: Vec<(PathBuf, Layer)>,
}

impl Loader<'_> {
    fn docker(&mut self) -> Result<Vec<Found>> {
        let manifests: Vec<DockerManifest> = parse("manifest.json", &self.contents.json("manifest.json")?)?;
        if manifests.is_empty() {
            return Err(Error::invalid("invalid manifest.json: it lists no image"));
        }
        let mut found = Vec::new();
        for m in manifests {
            let config = self.contents.json(&m.config)?;
            // The file is named after its digest; a name that does not match is damage or deceit.
            let stem = m.config.rsplit('/').next().unwrap_or("").trim_end_matches(".json");
            if stem.len() == 64 {
                verify(&m.config, &format!("sha256:{stem}"), &config)?;
            }
            let names = m.repo_tags.unwrap_or_default();
            let names = names.iter().map(|t| Reference::parse(t).map(|r| r.to_string())).collect::<Result<Vec<_>>>()?;
            let sources = m.layers.into_iter().map(|name| (name, None)).collect();
            found.push(self.image(config, sources, names, BTreeSet::new())?);
        }
        Ok(found)
    }

    fn oci(&mut self) -> Result<Vec<Found>> {
        let index: OciIndex = parse("index.json", &self.contents.json("index.json")?)?;
        let mut found = Vec::new();
        for d in index.manifests {
            let name = d
                .annotations
                .get("io.containerd.image.name")
                .or(d.annotations.get("org.opencontainers.image.ref.name"));
            let names = match name {
                // A bare tag, as skopeo writes it, names nothing by itself.
                Some(n) if n.contains('/') || n.contains(':') => vec![Reference::parse(n)?],
                _ => Vec::new(),
            };
            self.descriptor(&d, &names, &mut found, 0)?;
        }
        if found.is_empty() {
            return Err(Error::invalid(format!("the archive holds no image for linux/{}", architecture())));
        }
        Ok(found)
    }

    fn descriptor(&mut self, d: &Descriptor, names: &[Reference], found: &mut Vec<Found>, depth: u32) -> Result<()> {
        if depth > 4 {
            return Err(Error::invalid("image indexes nested too deeply"));
        }
        let (bytes, _) = self.blob_json(d)?;
        if d.media_type.contains("index") || d.media_type.contains("manifest.list") {
            let index: OciIndex = parse(&d.digest, &bytes)?;
            for inner in &index.manifests {
                // Build attestations have the platform unknown/unknown.
                if inner.platform.as_ref().is_none_or(|p| p.os == "linux" && p.architecture == architecture()) {
                    self.descriptor(inner, names, found, depth + 1)?;
                }
            }
            return Ok(());
        }
        let manifest: OciManifest = parse(&d.digest, &bytes)?;
        let (config, _) = self.blob_json(&manifest.config)?;
        let sources = manifest
            .layers
            .into_iter()
            .map(|l| Ok((blob(&l.digest)?, Some((l.digest, l.size)))))
            .collect::<Result<Vec<_>>>()?;
        let digests = names.iter().map(|r| format!("{}/{}@{}", r.domain, r.path, d.digest)).collect();
        let names = names
            .iter()
            .filter(|r| r.tag.is_some())
            .map(|r| Reference { digest: None, ..r.clone() }.to_string())
            .collect();
        found.push(self.image(config, sources, names, digests)?);
        Ok(())
    }

    fn blob_json(&self, d: &Descriptor) -> Result<(Vec<u8>, String)> {
        let name = blob(&d.digest)?;
        let bytes = self.contents.json(&name)?;
        if bytes.len() as u64 != d.size {
            return Err(Error::invalid(format!("{name} has {} bytes, its descriptor says {}", bytes.len(), d.size)));
        }
        verify(&name, &d.digest, &bytes)?;
        Ok((bytes, name))
    }

    #[allow(clippy::type_complexity)]
    fn image(
        &mut self,
        config_json: Vec<u8>,
        sources: Vec<(String, Option<(String, u64)>)>,
        names: Vec<String>,
        digests: BTreeSet<String>,
    ) -> Result<Found> {
        let config = ImageConfig::parse(&config_json)?;
        if !config.architecture.is_empty() && config.architecture != architecture() {
            return Err(Error::invalid(format!(
                "the image is for {}, this machine is {}",
                config.architecture,
                architecture()
            )));
        }
        if config.diff_ids.len() != sources.len() {
            return Err(Error::invalid(format!(
                "invalid manifest, layers length mismatch: expected {}, got {}",
                config.diff_ids.len(),
                sources.len()
            )));
        }
        if sources.len() > self.limits.layers {
            return Err(Error::invalid(format!(
                "max depth exceeded: {} layers, at most {}",
                sources.len(),
                self.limits.layers
            )));
        }
        let mut layers = Vec::new();
        for (diff_id, (name, descriptor)) in config.diff_ids.iter().zip(sources) {
            layers.push(self.layer(diff_id, &name, descriptor)?);
        }
        let id = format!("sha256:{}", durable::hex(&Sha256::digest(&config_json)));
        let text =
            String::from_utf8(config_json).map_err(|_| Error::invalid("the image configuration is not UTF-8"))?;
        let image = Image {
            id,
            config_json: text,
            config,
            layers,
            digests,
            loaded_at: durable::now_nanos() / 1_000_000_000,
            machine_userland: false,
        };
        Ok(Found { image, names, new_layers: self.unpacked.clone() })
    }

    fn layer(&mut self, diff_id: &str, name: &str, descriptor: Option<(String, u64)>) -> Result<Layer> {
        let dir = layer_dir(diff_id)?;
        // Known by its digest: the bytes in the archive do not matter, and old ones may even be left out.
        if let Some(l) = (self.known)(diff_id)
            .or_else(|| self.unpacked.iter().find(|(_, l)| l.diff_id == *diff_id).map(|(_, l)| l.clone()))
        {
            return Ok(l);
        }
        let (file, size) = self.contents.open(name)?;
        let mut packed = Hashing { inner: file, hash: Sha256::new(), left: u64::MAX };
        let to = self.work.join(&dir);
        std::fs::create_dir(&to).context(|| format!("making {}", to.display()))?;
        let (got, bytes) = {
            let mut plain =
                Hashing { inner: decompress(&mut packed)?, hash: Sha256::new(), left: self.limits.layer_bytes };
            let bytes = layer::unpack(&mut plain, &to, self.rootless, self.limits)?;
            // The archive's padding belongs to the digest though not to any entry.
            std::io::copy(&mut plain, &mut std::io::sink())
                .map_err(|e| Error::invalid(format!("layer {name}: {e}")))?;
            (format!("sha256:{}", durable::hex(&plain.hash.finalize())), bytes)
        };
        if got != *diff_id {
            return Err(Error::invalid(format!(
                "layer {name} is damaged: its digest is {got}, the configuration says {diff_id}"
            )));
        }
        if let Some((digest, expected)) = descriptor {
            std::io::copy(&mut packed, &mut std::io::sink())
                .map_err(|e| Error::invalid(format!("layer {name}: {e}")))?;
            let got = format!("sha256:{}", durable::hex(&packed.hash.finalize()));
            if got != digest || size != expected {
                return Err(Error::invalid(format!(
                    "layer {name} is damaged: {got} of {size} bytes, expected {digest} of {expected}"
                )));
            }
        }
        let layer = Layer { diff_id: diff_id.to_owned(), dir, size: bytes };
        self.unpacked.push((to, layer.clone()));
        Ok(layer)
    }
}

fn parse<'a, T: Deserialize<'a>>(name: &str, bytes: &'a [u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|e| Error::invalid(format!("invalid {name}: {e}")))
}

fn blob(digest: &str) -> Result<String> {
    Ok(format!("blobs/sha256/{}", check_digest(digest)?))
}

fn verify(name: &str, digest: &str, bytes: &[u8]) -> Result<()> {
    let got = format!("sha256:{}", durable::hex(&Sha256::digest(bytes)));
    if got == digest {
        return Ok(());
    }
    Err(Error::invalid(format!("{name} is damaged: its digest is {got}, expected {digest}")))
}

/// This machine in Docker's words.
pub(crate) fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

/// Hashes what passes, and stops what never ends.
struct Hashing<R> {
    inner: R,
    hash: Sha256,
    left: u64,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.left = self
            .left
            .checked_sub(n as u64)
            .ok_or_else(|| std::io::Error::other("the layer is too large when unpacked"))?;
        let _ = self.hash.write_all(&buf[..n]);
        Ok(n)
    }
}

/// Reads an upload that arrives in pieces: what an HTTP handler feeds to [`super::Store::load`] on a blocking thread.
pub struct ChannelReader {
    pieces: mpsc::Receiver<std::io::Result<Bytes>>,
    current: Bytes,
}

impl ChannelReader {
    /// The upload ends when the channel closes; an upload cut short should send an error first.
    pub fn new(pieces: mpsc::Receiver<std::io::Result<Bytes>>) -> Self {
        ChannelReader { pieces, current: Bytes::new() }
    }
}

impl Read for ChannelReader {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        while self.current.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.current = piece?,
                None => return Ok(0),
            }
        }
        let n = buf.len().min(self.current.len());
        buf[..n].copy_from_slice(&self.current.split_to(n));
        Ok(n)
    }
}
