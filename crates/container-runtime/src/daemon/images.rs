//! Calls on images that concern the whole runtime: they look at containers, tell listeners, or take long.

use std::collections::BTreeMap;
use std::io::Read;

use super::Runtime;
use super::events::EventKind;
use crate::error::{Error, Result};
use crate::image::{Loaded, Removed};

impl Runtime {
    /// Loads an archive on a blocking thread; see [`crate::image::ChannelReader`] for uploads.
    pub async fn load_images(&self, archive: impl Read + Send + 'static) -> Result<Vec<Loaded>> {
        let this = self.clone();
        let loaded = tokio::task::spawn_blocking(move || this.inner.images.load(archive))
            .await
            .map_err(|e| Error::internal(format!("loading an image: {e}")))??;
        for l in &loaded {
            self.emit_image(&l.id, EventKind::ImageLoaded);
        }
        Ok(loaded)
    }

    /// Gives an image another name.
    pub fn tag_image(&self, source: &str, target: &str) -> Result<()> {
        self.inner.images.tag(source, target)?;
        self.emit_image(target, EventKind::ImageTagged);
        Ok(())
    }

    /// Removes a name or an image; refused while containers use it, unless forced.
    pub fn remove_image(&self, name: &str, force: bool) -> Result<Vec<Removed>> {
        let used: BTreeMap<String, String> = self
            .entries()
            .values()
            .map(|e| e.record().clone())
            .map(|r| (r.image_id.clone(), r.id.short().to_owned()))
            .collect();
        let removed = self.inner.images.remove(name, force, &used)?;
        for r in &removed {
            match r {
                Removed::Untagged(t) => self.emit_image(t, EventKind::ImageUntagged),
                Removed::Deleted(id) => self.emit_image(id, EventKind::ImageDeleted),
            }
        }
        Ok(removed)
    }
}
