//! The container engine behind the API, and the tasks that run on it.
//!
//! [`Engine`] joins `container-runtime` (processes, images, logs) and `overlay-network` (cables) into what Docker
//! calls a container: with restart policy, removal at its end, volumes, places on networks, and events. What it
//! adds to the runtime's own record is kept in [`Record`], one checked file for each container, so that a restarted
//! daemon goes on where it was.
//!
//! Left out: the Docker API's JSON (`convert`), and overlays (`networking`).

mod checked_file;
mod create;
mod events;
mod lifecycle;
mod network;
mod record;
mod restart;
mod tasks;
mod volumes;
mod wait;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use container_runtime::{Attached, ContainerId, Error, Inspect, Kind, Options, Result, Runtime, Status};
use tokio::sync::{Notify, oneshot, watch};

pub(crate) use create::random_name;
pub use events::{DockerEvent, EventHub};
pub use network::{Attachment, Endpoint, LocalNetwork, NetworkMember, PREDEFINED, Published, local_network_id};
pub(crate) use network::{dns_names, endpoint_id};
pub use record::{MountPoint, Record};
pub use tasks::EngineTasks;
pub(crate) use tasks::{memory_bytes, processors};
pub use volumes::{Volume, Volumes};
pub use wait::WaitCondition;

use crate::core::NodeHandle;
use crate::networking::{Networking, Places};

/// Where the namespaces of networks are pinned; Docker's place.
const NETNS_DIR: &str = "/var/run/docker/netns";

/// The container engine of one node. Clones share it.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    runtime: Runtime,
    /// The node's own networks.
    networks: Arc<network::Networks>,
    /// The swarm's networks.
    networking: Networking,
    /// The way to the managers, once there is one.
    node: OnceLock<NodeHandle>,
    /// What the managers gave to containers that users attached to the swarm's networks.
    attachments: network::SwarmPlaces,
    entries: Mutex<BTreeMap<ContainerId, Arc<Entry>>>,
    events: Arc<EventHub>,
    volumes: Volumes,
    records: PathBuf,
}

/// Where a container stands, roughly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalState {
    /// Its program runs.
    Running,
    /// It does not.
    Stopped,
}

/// What the engine knows of one container beyond the runtime.
struct Entry {
    record: Mutex<Record>,
    /// One change of its state at a time.
    busy: tokio::sync::Mutex<()>,
    /// It ended and waits to be started again; a stop cancels that.
    restarting: Mutex<Option<Arc<Notify>>>,
    /// Clients that attached before the start.
    waiting: Mutex<Vec<PendingAttach>>,
    /// Set once it is removed.
    gone: watch::Sender<bool>,
}

/// A client that attached before the start, and the streams that it wants.
struct PendingAttach {
    stdin: bool,
    stdout: bool,
    stderr: bool,
    ready: oneshot::Sender<Attached>,
}

impl Entry {
    fn new(record: Record) -> Arc<Self> {
        Arc::new(Self {
            record: Mutex::new(record),
            busy: tokio::sync::Mutex::new(()),
            restarting: Mutex::new(None),
            waiting: Mutex::new(Vec::new()),
            gone: watch::Sender::new(false),
        })
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        lock(&self.record)
    }

    fn is_restarting(&self) -> bool {
        lock(&self.restarting).is_some()
    }
}

// A panic elsewhere does not make these values wrong: each is changed in one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Engine {
    /// Opens the state directory, finds containers again, makes the bridges, and starts what should run.
    /// Must be called within a tokio runtime.
    pub async fn open(state_dir: &Path, options: Options) -> Result<Self> {
        let runtime = Runtime::open(state_dir, options).await?;
        let records = state_dir.join("engine");
        std::fs::create_dir_all(&records)
            .map_err(|error| Error::new(Kind::Internal, format!("making {}: {error}", records.display())))?;
        let events = Arc::<EventHub>::default();
        let networks = Arc::new(network::Networks::open(state_dir, events.clone()).await?);
        let places = Places { state_dir: state_dir.to_owned(), netns_dir: PathBuf::from(NETNS_DIR) };
        let inner = Inner {
            runtime,
            networking: Networking::start(places, networks.clone()),
            networks,
            node: OnceLock::new(),
            attachments: network::SwarmPlaces::default(),
            entries: Mutex::default(),
            events,
            volumes: Volumes::open(&state_dir.join("volumes"))?,
            records,
        };
        let engine = Self { inner: Arc::new(inner) };
        // listen before looking, so that no end falls in between
        let events = engine.inner.runtime.events();
        engine.adopt().await;
        tokio::spawn(engine.clone().follow(events));
        engine.restart_after_boot().await;
        Ok(engine)
    }

    /// The runtime below.
    pub fn runtime(&self) -> &Runtime {
        &self.inner.runtime
    }

    /// The events of this node.
    pub fn events(&self) -> &EventHub {
        &self.inner.events
    }

    /// The swarm's networks on this node.
    pub fn networking(&self) -> &Networking {
        &self.inner.networking
    }

    /// The node's volumes.
    pub fn volumes(&self) -> &Volumes {
        &self.inner.volumes
    }

    /// The container of this name, id or unique id prefix.
    pub fn resolve(&self, name: &str) -> Result<ContainerId> {
        self.inner.runtime.resolve(name)
    }

    /// One container: the runtime's part, the engine's, whether it will be started again.
    pub fn inspect(&self, id: &ContainerId) -> Result<(Inspect, Record, bool)> {
        let inspect = self.inner.runtime.inspect(id)?;
        let entry = self.entry(id)?;
        let record = entry.record().clone();
        Ok((inspect, record, entry.is_restarting()))
    }

    /// All containers, newest first.
    pub fn list(&self) -> Vec<(Inspect, Record, bool)> {
        let mut all: Vec<_> = self.inner.runtime.list().iter().filter_map(|one| self.inspect(&one.id).ok()).collect();
        all.sort_by_key(|(inspect, ..)| std::cmp::Reverse(inspect.created_at));
        all
    }

    /// Where each container stands, for counting.
    pub fn count(&self) -> Vec<LocalState> {
        let state =
            |one: Inspect| if one.state.status == Status::Running { LocalState::Running } else { LocalState::Stopped };
        self.inner.runtime.list().into_iter().map(state).collect()
    }

    /// Whether the node runs without the machine's root.
    pub fn rootless(&self) -> bool {
        // the machine's root has the identity mapping over all ids
        std::fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| !map.contains("4294967295"))
    }

    /// Bytes of a container's own layer, and of it with its image's.
    pub fn sizes(&self, id: &ContainerId) -> (u64, u64) {
        let image = self.inner.runtime.inspect(id).and_then(|one| self.inner.runtime.images().resolve(&one.image_id));
        (0, image.map_or(0, |image| image.size()))
    }

    fn entry(&self, id: &ContainerId) -> Result<Arc<Entry>> {
        lock(&self.inner.entries)
            .get(id)
            .cloned()
            .ok_or_else(|| Error::new(Kind::NotFound, format!("No such container: {id}")))
    }

    fn record_file(&self, id: &ContainerId) -> PathBuf {
        self.inner.records.join(format!("{id}.json"))
    }

    fn save(&self, id: &ContainerId, entry: &Entry) -> Result<()> {
        entry.record().write(&self.record_file(id))
    }

    /// Reads the records of the containers that the runtime found, drops those of containers that it did not find.
    async fn adopt(&self) {
        let mut found = BTreeMap::new();
        for inspect in self.inner.runtime.list() {
            let record = Record::read(&self.record_file(&inspect.id)).unwrap_or_else(|error| {
                tracing::warn!(container = %inspect.id, "{error}; going on with defaults");
                Record::default()
            });
            found.insert(inspect.id.clone(), Entry::new(record));
        }
        if let Ok(files) = std::fs::read_dir(&self.inner.records) {
            for file in files.flatten() {
                let name = file.file_name().to_string_lossy().into_owned();
                let known = found.keys().any(|id| name == format!("{id}.json"));
                if !known {
                    let _ = std::fs::remove_file(file.path());
                }
            }
        }
        *lock(&self.inner.entries) = found;
        self.adopt_endpoints().await;
    }
}
