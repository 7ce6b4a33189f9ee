//! Images: stored by content, found by name, digest or id. Leaves out registries.
//!
//! ```text
//! <state>/images/
//!   index.state           images and tags; index.state.prev is the one before
//!   layers/<24 hex>/      a layer's files, named after its diff id (short, because mount options are)
//!   layers/empty/         below every image
//!   tmp/                  loads under way; swept at start
//! ```

mod archive;
mod config;
mod layer;
mod load;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

pub use archive::Limits;
pub use config::ImageConfig;
pub(crate) use load::architecture;
pub use load::{ChannelReader, Loaded};

use crate::builtin;
use crate::daemon::lock;
use crate::durable;
use crate::error::{Context, Error, Kind, Result};
use crate::reference::{self, Reference};

/// The directory below every image's layers.
pub(crate) const EMPTY_LAYER: &str = "empty";

/// An image.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Image {
    /// `sha256:` of its configuration.
    pub id: String,
    /// The configuration file's text, as loaded.
    pub config_json: String,
    /// What of it matters here.
    pub config: ImageConfig,
    /// Its layers, lowest first.
    pub layers: Vec<Layer>,
    /// `sha256:` digests of manifests that named it, with repository: `repo@sha256:..`, normalised.
    pub digests: BTreeSet<String>,
    /// Seconds since 1970 at which it was tagged or loaded last.
    pub loaded_at: i64,
    /// One of ours: the machine's own /usr is bound in when it runs.
    pub machine_userland: bool,
}

/// A layer of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// `sha256:` of the uncompressed archive.
    pub diff_id: String,
    /// Its directory under `layers/`.
    pub dir: String,
    /// Bytes of its files.
    pub size: u64,
}

impl Image {
    /// Bytes of its files.
    pub fn size(&self) -> u64 {
        self.layers.iter().map(|l| l.size).sum()
    }
}

/// An image for a reader.
#[derive(Debug, Clone)]
pub struct ImageInfo {
    /// The image.
    pub image: Arc<Image>,
    /// `repo:tag` as Docker shows them.
    pub tags: Vec<String>,
    /// `repo@sha256:..` as Docker shows them.
    pub digests: Vec<String>,
}

/// A line of an image's history.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HistoryEntry {
    /// RFC 3339, or empty.
    pub created: String,
    /// The build step.
    pub created_by: String,
    /// Remarks.
    pub comment: String,
    /// It made no layer.
    pub empty_layer: bool,
    /// Bytes of its layer.
    #[serde(skip)]
    pub size: u64,
}

/// What a removal did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// This name is gone.
    Untagged(String),
    /// This image is gone.
    Deleted(String),
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Index {
    images: BTreeMap<String, Arc<Image>>,
    /// Normalised reference to id.
    tags: BTreeMap<String, String>,
}

/// The images of one node.
pub struct Store {
    dir: PathBuf,
    rootless: bool,
    limits: Limits,
    index: Mutex<Index>,
    /// One load or removal of files at a time.
    files: Mutex<()>,
}

impl Store {
    pub(crate) fn open(dir: &Path, rootless: bool) -> Result<Store> {
        let tmp = dir.join("tmp");
        let _ = std::fs::remove_dir_all(&tmp);
        for d in [tmp, dir.join("layers").join(EMPTY_LAYER)] {
            std::fs::create_dir_all(&d).context(|| format!("making {}", d.display()))?;
        }
        let mut index = match durable::read::<Index>(&dir.join("index.state")) {
            Ok(i) => i.unwrap_or_default(),
            Err(e) if e.kind == Kind::Corrupt => {
                tracing::error!("{e}; going back to the index before it");
                durable::read::<Index>(&dir.join("index.state.prev"))?.unwrap_or_default()
            }
            Err(e) => return Err(e),
        };
        for (image, name) in builtin::images(dir)? {
            let name = Reference::parse(name)?.to_string();
            index.tags.insert(name, image.id.clone());
            index.images.insert(image.id.clone(), Arc::new(image));
        }
        let store = Store {
            dir: dir.into(),
            rootless,
            limits: Limits::default(),
            index: Mutex::default(),
            files: Mutex::default(),
        };
        store.save(&index)?;
        *lock(&store.index) = index;
        Ok(store)
    }

    /// All images, newest first.
    pub fn list(&self) -> Vec<ImageInfo> {
        let index = lock(&self.index);
        let mut all: Vec<ImageInfo> = index.images.values().map(|i| info(&index, i)).collect();
        all.sort_by(|a, b| b.image.config.created.cmp(&a.image.config.created).then(a.tags.cmp(&b.tags)));
        all
    }

    /// The image of this name, digest, id or unique id prefix.
    pub fn resolve(&self, name: &str) -> Result<Arc<Image>> {
        find(&lock(&self.index), name)
    }

    /// The same, with its names.
    pub fn inspect(&self, name: &str) -> Result<ImageInfo> {
        let index = lock(&self.index);
        find(&index, name).map(|i| info(&index, &i))
    }

    /// How the image was built, newest step first.
    pub fn history(&self, name: &str) -> Result<Vec<HistoryEntry>> {
        let image = self.resolve(name)?;
        let mut layers = image.layers.iter();
        let mut steps = image.config.history.clone();
        for s in steps.iter_mut().filter(|s| !s.empty_layer) {
            s.size = layers.next().map_or(0, |l| l.size);
        }
        steps.reverse();
        Ok(steps)
    }

    /// Gives an image another name. A name that another image had moves over.
    pub fn tag(&self, source: &str, target: &str) -> Result<()> {
        let reference = Reference::parse(target)?;
        if reference.digest.is_some() {
            return Err(Error::invalid("refusing to create a tag with a digest reference"));
        }
        let mut index = lock(&self.index);
        let image = find(&index, source)?;
        let mut next = index.clone();
        next.tags.insert(reference.to_string(), image.id.clone());
        self.save(&next)?;
        *index = next;
        Ok(())
    }

    /// Removes a name; with the last one, the image. `used` tells which image ids containers use: those are refused
    /// unless `force`, which then takes away only the names and leaves the containers their files.
    pub fn remove(&self, name: &str, force: bool, used: &BTreeMap<String, String>) -> Result<Vec<Removed>> {
        let _files = lock(&self.files);
        let mut index = lock(&self.index);
        let image = find(&index, name)?;
        let mut next = index.clone();
        let tags: Vec<String> = next.tags.iter().filter(|(_, id)| **id == image.id).map(|(t, _)| t.clone()).collect();
        let by_id =
            image.id.strip_prefix("sha256:").is_some_and(|hex| hex.starts_with(name.trim_start_matches("sha256:")))
                && !tags.iter().any(|t| Reference::parse(name).is_ok_and(|r| r.to_string() == *t));
        let going: Vec<String> = match Reference::parse(name) {
            Ok(r) if !by_id => tags.iter().filter(|t| **t == r.to_string()).cloned().collect(),
            _ => tags.clone(),
        };
        if by_id && tags.len() > 1 && !force {
            return Err(Error::conflict(format!(
                "conflict: unable to delete {} (must be forced) - image is referenced in multiple repositories",
                short(&image.id)
            )));
        }
        let last = going.len() == tags.len();
        if let (true, false, Some(container)) = (last, force, used.get(&image.id)) {
            return Err(Error::conflict(format!(
                "conflict: unable to remove repository reference \"{name}\" (must force) - container {container} is using \
                 its referenced image {}",
                short(&image.id)
            )));
        }
        let mut removed = Vec::new();
        for t in &going {
            next.tags.remove(t);
            removed.push(Removed::Untagged(familiar(t)));
        }
        // A used image keeps its files and its id; only its names go.
        let delete = last && !used.contains_key(&image.id);
        if delete {
            next.images.remove(&image.id);
            removed.push(Removed::Deleted(image.id.clone()));
        }
        self.save(&next)?;
        *index = next;
        if delete {
            self.sweep(&index, &image.layers);
        }
        Ok(removed)
    }

    /// Loads a docker-save or OCI archive: all of it, or nothing. Blocking: call it on a blocking thread.
    pub fn load(&self, archive: impl std::io::Read) -> Result<Vec<Loaded>> {
        let _files = lock(&self.files);
        let work = tempdir(&self.dir.join("tmp"))?;
        let result = load::read(archive, &work, self.rootless, &self.limits, |diff_id| self.has_layer(diff_id))
            .and_then(|found| {
                let mut index = lock(&self.index);
                let mut next = index.clone();
                let mut loaded = Vec::new();
                for f in found {
                    // Layers first, index last: a crash in between leaves files that nobody names, and no more.
                    for (from, layer) in &f.new_layers {
                        let to = self.dir.join("layers").join(&layer.dir);
                        if !to.exists() {
                            std::fs::rename(from, &to).context(|| format!("storing layer {}", layer.diff_id))?;
                        }
                    }
                    for name in &f.names {
                        next.tags.insert(name.clone(), f.image.id.clone());
                    }
                    loaded
                        .push(Loaded { id: f.image.id.clone(), names: f.names.iter().map(|n| familiar(n)).collect() });
                    next.images.entry(f.image.id.clone()).or_insert_with(|| Arc::new(f.image));
                }
                self.save(&next)?;
                *index = next;
                Ok(loaded)
            });
        let _ = std::fs::remove_dir_all(&work);
        result
    }

    fn has_layer(&self, diff_id: &str) -> Option<Layer> {
        let index = lock(&self.index);
        index.images.values().flat_map(|i| &i.layers).find(|l| l.diff_id == diff_id).cloned()
    }

    fn sweep(&self, index: &Index, layers: &[Layer]) {
        let kept: BTreeSet<&str> = index.images.values().flat_map(|i| &i.layers).map(|l| l.dir.as_str()).collect();
        for l in layers.iter().filter(|l| !kept.contains(l.dir.as_str())) {
            if let Err(e) = std::fs::remove_dir_all(self.dir.join("layers").join(&l.dir)) {
                tracing::warn!(layer = l.dir, "deleting a layer: {e}");
            }
        }
    }

    fn save(&self, index: &Index) -> Result<()> {
        let path = self.dir.join("index.state");
        let prev = self.dir.join("index.state.prev");
        // The one before stays readable should this one be damaged later.
        let _ = std::fs::remove_file(&prev);
        let _ = std::fs::hard_link(&path, &prev);
        durable::write_synced(&path, index)
    }
}

fn find(index: &Index, name: &str) -> Result<Arc<Image>> {
    let missing = || {
        Error::not_found(format!("No such image: {}", Reference::parse(name).map_or(name.to_owned(), |r| r.familiar())))
    };
    let by_id = |id: &str| index.images.get(id).cloned();
    if let Some(hex) = name.strip_prefix("sha256:")
        && let Some(i) = by_id(&format!("sha256:{hex}"))
    {
        return Ok(i);
    }
    if let Ok(r) = Reference::parse(name) {
        if let Some(d) = &r.digest {
            let repo = format!("{}/{}@{d}", r.domain, r.path);
            return index
                .images
                .values()
                // The image's own id serves as a digest too: an image that never was in a registry has no other.
                .find(|i| {
                    i.digests.contains(&repo)
                        || (i.id == *d && index.tags.iter().any(|(t, id)| *id == i.id && same_repo(t, &r)))
                })
                .cloned()
                .ok_or_else(missing);
        }
        if let Some(i) = index.tags.get(&r.to_string()).and_then(|id| by_id(id)) {
            return Ok(i);
        }
    }
    let hex = name.strip_prefix("sha256:").unwrap_or(name);
    if hex.is_empty() || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(missing());
    }
    let prefix = format!("sha256:{hex}");
    let mut hits = index.images.range(prefix.clone()..).take_while(|(id, _)| id.starts_with(&prefix));
    match (hits.next(), hits.next()) {
        (Some((_, i)), None) => Ok(i.clone()),
        (Some(_), Some(_)) => Err(Error::invalid(format!("ambiguous image id prefix: {name}"))),
        _ => Err(missing()),
    }
}

fn same_repo(tag: &str, r: &Reference) -> bool {
    Reference::parse(tag).is_ok_and(|t| t.domain == r.domain && t.path == r.path)
}

fn info(index: &Index, image: &Arc<Image>) -> ImageInfo {
    let tags = index.tags.iter().filter(|(_, id)| **id == image.id).map(|(t, _)| familiar(t)).collect();
    ImageInfo { tags, digests: image.digests.iter().map(|d| familiar(d)).collect(), image: image.clone() }
}

fn familiar(normal: &str) -> String {
    Reference::parse(normal).map_or_else(|_| normal.to_owned(), |r| r.familiar())
}

fn short(id: &str) -> &str {
    id.strip_prefix("sha256:").and_then(|h| h.get(..12)).unwrap_or(id)
}

/// A layer's directory name: 96 bits of its digest, so that 127 of them fit into one page of mount options.
pub(crate) fn layer_dir(diff_id: &str) -> Result<String> {
    Ok(reference::check_digest(diff_id)?[..24].to_owned())
}

fn tempdir(parent: &Path) -> Result<PathBuf> {
    let dir = parent.join(&crate::daemon::record::random_id()?[..16]);
    std::fs::create_dir_all(&dir).context(|| format!("making {}", dir.display()))?;
    Ok(dir)
}
