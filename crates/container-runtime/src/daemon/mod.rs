//! The daemon's side: the table of containers and the calls on it. Leaves out everything that one container needs
//! while it runs, which its shim does.

pub(crate) mod client;
pub(crate) mod events;
pub(crate) mod exec;
pub(crate) mod health;
mod images;
mod lifecycle;
pub(crate) mod logs;
mod monitor;
mod names;
pub(crate) mod record;
pub(crate) mod stream;
pub(crate) mod top;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{broadcast, watch};

use crate::durable;
use crate::error::{Context, Error, Result};
use crate::image;
use crate::plan::Paths;
use events::{Event, EventKind};
use record::{ContainerId, Inspect, Record, State, Status};

/// How a runtime is set up.
#[derive(Debug, Clone)]
pub struct Options {
    /// The swarmlab binary: started as `EXE shim DIR`, and bound into the built-in images. `/proc/self/exe` is
    /// resolved when the runtime opens; the file must be visible in the daemon's mount namespace.
    pub shim_exe: PathBuf,
    /// Whether the daemon is root of a user namespace rather than the machine's root; detected when `None`.
    pub rootless: Option<bool>,
    /// What to do with limits.
    pub cgroups: CgroupMode,
}

/// What becomes of memory, CPU and process limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CgroupMode {
    /// Enforced, in groups below this path of every hierarchy in /sys/fs/cgroup.
    Enforce {
        /// For example `/swarmlab/lab1/manager1`. Made when first needed; the caller's to remove at the end.
        parent: String,
    },
    /// Accepted and not enforced. /sys/fs/cgroup must still be a mounted tmpfs or cgroup filesystem.
    Ignore,
}

/// What does not change while a runtime is open.
#[derive(Debug)]
pub(crate) struct Setup {
    pub exe: PathBuf,
    pub rootless: bool,
    pub enforce: bool,
    pub cgroup_parent: String,
    pub images_dir: PathBuf,
    pub containers_dir: PathBuf,
}

/// The container runtime of one node. Clones share it.
#[derive(Clone)]
pub struct Runtime {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub setup: Setup,
    pub images: image::Store,
    entries: Mutex<BTreeMap<ContainerId, Arc<Entry>>>,
    pub execs: Mutex<BTreeMap<String, Arc<exec::Exec>>>,
    events: broadcast::Sender<Event>,
}

/// One container.
pub(crate) struct Entry {
    pub dir: PathBuf,
    record: Mutex<Record>,
    pub state: watch::Sender<State>,
    /// One operation at a time.
    pub busy: tokio::sync::Mutex<()>,
    /// False while a shim lives.
    pub shim_gone: watch::Sender<bool>,
}

impl Entry {
    pub(crate) fn new(dir: PathBuf, record: Record, state: State) -> Arc<Entry> {
        Arc::new(Entry {
            dir,
            record: Mutex::new(record),
            state: watch::Sender::new(state),
            busy: tokio::sync::Mutex::new(()),
            shim_gone: watch::Sender::new(true),
        })
    }

    pub(crate) fn record(&self) -> MutexGuard<'_, Record> {
        lock(&self.record)
    }

    pub(crate) fn status(&self) -> Status {
        self.state.borrow().status
    }

    pub(crate) fn save(&self) -> Result<()> {
        let record = self.record().clone();
        durable::write(&self.dir.join(Paths::RECORD), &record)
    }
}

// A panic elsewhere does not make these tables wrong: each is changed in one step.
pub(crate) fn lock<T>(m: &Mutex<T>) -> MutexGuard<'_, T> {
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Runtime {
    /// Opens the state directory, finds running shims and finished containers again, and adds the built-in images.
    /// Must be called within a tokio runtime.
    pub async fn open(state_dir: &Path, options: Options) -> Result<Runtime> {
        let rootless = options.rootless.unwrap_or_else(in_user_namespace);
        let exe = std::fs::canonicalize(&options.shim_exe)
            .context(|| format!("finding the shim's program {}", options.shim_exe.display()))?;
        let (enforce, cgroup_parent) = match options.cgroups {
            CgroupMode::Enforce { parent } => (true, format!("/{}", parent.trim_matches('/'))),
            CgroupMode::Ignore => (false, format!("/{}", crate::shim::cgroup::IGNORED)),
        };
        let state_dir = std::path::absolute(state_dir).context(|| "finding the state directory".into())?;
        let setup = Setup {
            exe,
            rootless,
            enforce,
            cgroup_parent,
            images_dir: state_dir.join("images"),
            containers_dir: state_dir.join("containers"),
        };
        std::fs::create_dir_all(&setup.containers_dir)
            .context(|| format!("making {}", setup.containers_dir.display()))?;
        let images = image::Store::open(&setup.images_dir, rootless)?;
        let inner = Inner {
            setup,
            images,
            entries: Mutex::default(),
            execs: Mutex::default(),
            events: broadcast::Sender::new(1024),
        };
        let runtime = Runtime { inner: Arc::new(inner) };
        runtime.rediscover().await?;
        Ok(runtime)
    }

    /// What happens from now on. A receiver that lags more than 1024 events behind is told so and should list.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.inner.events.subscribe()
    }

    /// The images.
    pub fn images(&self) -> &image::Store {
        &self.inner.images
    }

    /// Whether limits are enforced.
    pub fn enforces_limits(&self) -> bool {
        self.inner.setup.enforce
    }

    /// All containers, oldest first.
    pub fn list(&self) -> Vec<Inspect> {
        let mut all: Vec<Inspect> = lock(&self.inner.entries).values().map(|e| inspect(e)).collect();
        all.sort_by_key(|i| i.created_at);
        all
    }

    /// One container.
    pub fn inspect(&self, id: &ContainerId) -> Result<Inspect> {
        self.entry(id).map(|e| inspect(&e))
    }

    /// The container of this name, id or unique id prefix.
    pub fn resolve(&self, name: &str) -> Result<ContainerId> {
        let missing = || Error::not_found(format!("No such container: {name}"));
        let name = name.strip_prefix('/').unwrap_or(name);
        if name.is_empty() {
            return Err(missing());
        }
        let entries = lock(&self.inner.entries);
        if let Some(id) = entries.keys().find(|id| id.as_str() == name) {
            return Ok(id.clone());
        }
        if let Some((id, _)) = entries.iter().find(|(_, e)| e.record().name == name) {
            return Ok(id.clone());
        }
        let mut hits = entries.keys().filter(|id| id.as_str().starts_with(name));
        match (hits.next(), hits.next()) {
            (Some(id), None) => Ok(id.clone()),
            (Some(_), Some(_)) => Err(Error::invalid(format!("Multiple IDs found with provided prefix: {name}"))),
            _ => Err(missing()),
        }
    }

    /// The container's first process in the daemon's pid namespace, from `prepare` to its end.
    pub fn pid(&self, id: &ContainerId) -> Result<Option<i32>> {
        Ok(self.entry(id)?.state.borrow().pid)
    }

    /// A receiver of the container's states, present one first.
    pub fn watch(&self, id: &ContainerId) -> Result<watch::Receiver<State>> {
        Ok(self.entry(id)?.state.subscribe())
    }

    pub(crate) fn entry(&self, id: &ContainerId) -> Result<Arc<Entry>> {
        lock(&self.inner.entries).get(id).cloned().ok_or_else(|| Error::not_found(format!("No such container: {id}")))
    }

    pub(crate) fn entries(&self) -> MutexGuard<'_, BTreeMap<ContainerId, Arc<Entry>>> {
        lock(&self.inner.entries)
    }

    pub(crate) fn emit(&self, entry: &Entry, at: i64, kind: EventKind) {
        let r = entry.record();
        // Nobody listening is no error.
        let _ = self.inner.events.send(Event {
            at,
            container: r.id.clone(),
            name: r.name.clone(),
            image: r.config.image.clone(),
            labels: r.labels.clone(),
            kind,
        });
    }

    /// Tells listeners of an image's change.
    pub(crate) fn emit_image(&self, image: &str, kind: EventKind) {
        let _ = self.inner.events.send(Event {
            at: durable::now_nanos(),
            container: ContainerId::default(),
            name: String::new(),
            image: image.to_owned(),
            labels: BTreeMap::new(),
            kind,
        });
    }
}

fn inspect(e: &Entry) -> Inspect {
    let state = e.state.borrow().clone();
    let r = e.record();
    Inspect {
        id: r.id.clone(),
        name: r.name.clone(),
        created_at: r.created_at,
        config: r.config.clone(),
        image_id: r.image_id.clone(),
        args: r.args.clone(),
        env: r.env.clone(),
        working_dir: r.cwd.clone(),
        user: r.user.clone(),
        labels: r.labels.clone(),
        stop_signal: r.stop_signal,
        stop_grace: r.stop_grace,
        healthcheck: r.health.clone(),
        state,
    }
}

// The machine's root has the identity mapping over all 2^32 - 1 ids.
fn in_user_namespace() -> bool {
    std::fs::read_to_string("/proc/self/uid_map").is_ok_and(|m| !m.contains("4294967295"))
}
