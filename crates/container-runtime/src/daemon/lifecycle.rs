//! From a configuration to a running container and to nothing again. Leaves out noticing the end: see `monitor`.

use std::collections::BTreeSet;
use std::io::Read;
use std::net::IpAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};

use super::events::EventKind;
use super::record::{ContainerId, Inspect, Record, State, Status, random_id};
use super::{Entry, Runtime, client, names};
use crate::config::{ContainerConfig, HostEntry, MountSource, Network};
use crate::durable;
use crate::error::{Context, Error, Kind, Result};
use crate::plan::Paths;
use crate::resolution::{NameService, Resolution, own_hosts, resolution};
use crate::shim::wire::Request;

impl Runtime {
    /// Records a container. Nothing runs yet; everything that can be refused now is.
    pub async fn create(&self, config: ContainerConfig) -> Result<Inspect> {
        config.validate()?;
        for m in &config.mounts {
            if let MountSource::Bind(p) = &m.source
                && !p.exists()
            {
                return Err(Error::invalid(format!(
                    "invalid mount config for type \"bind\": bind source path does not exist: {}",
                    p.display()
                )));
            }
        }
        let image = self.inner.images.resolve(&config.image)?;
        let id = match &config.id {
            Some(id) => id.clone(),
            None => random_id()?,
        };
        let entry = {
            let mut entries = self.entries();
            let taken: BTreeSet<String> = entries.values().map(|e| e.record().name.clone()).collect();
            let name = match &config.name {
                Some(n) => n.strip_prefix('/').unwrap_or(n).to_owned(),
                None => names::choose(&taken)?,
            };
            if let Some((other, _)) = entries.iter().find(|(i, e)| i.as_str() == id || e.record().name == name) {
                return Err(Error::conflict(format!(
                    "Conflict. The container name \"/{name}\" is already in use by container \"{other}\". You have to \
                     remove (or rename) that container to be able to reuse that name."
                )));
            }
            let record = Record::new(config, name, id.clone(), &image)?;
            let dir = self.inner.setup.containers_dir.join(&id);
            std::fs::create_dir(&dir).context(|| format!("making {}", dir.display()))?;
            let entry = Entry::new(dir, record, State::created());
            if let Err(e) = entry.save() {
                let _ = std::fs::remove_dir_all(&entry.dir);
                return Err(e);
            }
            entries.insert(ContainerId::new(id), entry.clone());
            entry
        };
        let created = entry.record().created_at;
        self.emit(&entry, created, EventKind::Created);
        Ok(super::inspect(&entry))
    }

    /// Makes the container's namespaces and returns its first process, which waits. Preparing twice is harmless.
    /// The new network namespace is `/proc/PID/ns/net`; only `lo` is in it, and up.
    pub async fn prepare(&self, id: &ContainerId) -> Result<i32> {
        let entry = self.entry(id)?;
        let _busy = entry.busy.lock().await;
        self.prepare_locked(&entry).await
    }

    async fn prepare_locked(&self, entry: &Arc<Entry>) -> Result<i32> {
        match (entry.status(), entry.state.borrow().pid) {
            (Status::Prepared, Some(pid)) => return Ok(pid),
            (Status::Running, _) => {
                return Err(Error::conflict("the container is already running"));
            }
            _ => {}
        }
        // A shim of the last run may still be handing out its last output.
        let _ = entry.shim_gone.subscribe().wait_for(|gone| *gone).await;
        let mut plan = entry.record().plan(&self.inner.setup)?;
        let donor = match &plan.network {
            Network::Container(other) => Some(self.donor(entry, other)?),
            _ => None,
        };
        if let Some((donor, pid)) = &donor {
            plan.network_path = Some(format!("/proc/{pid}/ns/net").into());
            let (own, theirs) = (format!("HOSTNAME={}", plan.hostname), donor.record().hostname());
            if let Some(entry) = plan.env.iter_mut().find(|entry| **entry == own) {
                *entry = format!("HOSTNAME={theirs}");
            }
            plan.hostname = theirs;
        }
        for old in [Paths::EXIT, Paths::RUN, Paths::SOCKET] {
            let _ = std::fs::remove_file(entry.dir.join(old));
        }
        write_etc(entry, donor.as_ref().map(|(donor, _)| &**donor))?;
        let text = serde_json::to_vec(&plan).map_err(|e| Error::internal(format!("encoding the plan: {e}")))?;
        std::fs::write(entry.dir.join(Paths::PLAN), text).context(|| "writing the plan".into())?;
        let result = match spawn_shim(&self.inner.setup.exe, &entry.dir).await {
            Ok((mut child, pid)) => match client::stream(&entry.dir, &Request::Watch).await {
                Ok((stream, _)) => {
                    entry.shim_gone.send_replace(false);
                    entry.state.send_modify(|s| {
                        s.status = Status::Prepared;
                        s.pid = Some(pid);
                        s.error = None;
                        s.health = None;
                    });
                    self.monitor(entry.clone(), stream, Some(child), false);
                    Ok(pid)
                }
                Err(e) => {
                    let _ = child.kill().await;
                    Err(e)
                }
            },
            Err(e) => Err(e),
        };
        if let Err(e) = &result {
            self.record_failure(entry, e);
        }
        result
    }

    /// The container whose network namespace another one is to have, and its first process. Docker's messages.
    fn donor(&self, entry: &Arc<Entry>, name: &str) -> Result<(Arc<Entry>, i32)> {
        let donor = self
            .resolve(name)
            .and_then(|id| self.entry(&id))
            .map_err(|error| Error::internal(format!("joining network namespace of container: {}", error.message)))?;
        if Arc::ptr_eq(&donor, entry) {
            return Err(Error::invalid("cannot join own network namespace"));
        }
        match (donor.status(), donor.state.borrow().pid) {
            (Status::Running, Some(pid)) => Ok((donor.clone(), pid)),
            (status, _) => Err(Error::conflict(format!(
                "cannot join network namespace of a non running container: container {} is {}",
                donor.record().name,
                if status == Status::Exited { "exited" } else { "created" }
            ))),
        }
    }

    pub(super) fn record_failure(&self, entry: &Entry, e: &Error) {
        entry.record().start_error = Some((e.message.clone(), e.exit_code()));
        let _ = entry.save();
        entry.state.send_modify(|s| {
            s.status = Status::Created;
            s.pid = None;
            s.error = Some(e.message.clone());
            s.exit_code = e.exit_code();
        });
    }

    /// Runs the program, preparing first if need be. Starting a running container changes nothing, as with Docker.
    pub async fn start(&self, id: &ContainerId) -> Result<()> {
        let entry = self.entry(id)?;
        let _busy = entry.busy.lock().await;
        if entry.status() == Status::Running {
            return Ok(());
        }
        self.prepare_locked(&entry).await?;
        if entry.record().start_error.take().is_some() {
            entry.save()?;
        }
        let mut state = entry.state.subscribe();
        match client::ask(&entry.dir, &Request::Start).await {
            Ok(_) => {
                // The monitor hears of it on its own connection; wait until it has, so that callers see one order.
                let _ = state.wait_for(|s| s.status != Status::Prepared).await;
                Ok(())
            }
            Err(e) => {
                let _ = client::ask(&entry.dir, &Request::Signal { signal: 9 }).await;
                let _ = entry.shim_gone.subscribe().wait_for(|gone| *gone).await;
                let e = refused_by_runtime(e);
                self.record_failure(&entry, &e);
                Err(e)
            }
        }
    }

    /// Sends a signal to the container's first process.
    pub async fn kill(&self, id: &ContainerId, signal: i32) -> Result<()> {
        let entry = self.entry(id)?;
        if entry.status() != Status::Running {
            return Err(Error::conflict(format!("Container {id} is not running")));
        }
        match client::ask(&entry.dir, &Request::Signal { signal }).await {
            Ok(_) => {
                self.emit(&entry, durable::now_nanos(), EventKind::Killed { signal });
                Ok(())
            }
            // It ended just now; so Docker says too.
            Err(_) if entry.state.borrow().status != Status::Running => {
                Err(Error::conflict(format!("Container {id} is not running")))
            }
            Err(e) => Err(e),
        }
    }

    /// Sends the stop signal, waits for the grace period, then kills. `None` means what the configuration says.
    /// Returns when the container has ended; stopping one that does not run is no error. A prepared container
    /// goes back to created.
    pub async fn stop(&self, id: &ContainerId, signal: Option<i32>, grace: Option<Duration>) -> Result<()> {
        let entry = self.entry(id)?;
        let (own_signal, own_grace) = {
            let r = entry.record();
            (r.stop_signal, r.stop_grace)
        };
        let mut state = entry.state.subscribe();
        match entry.status() {
            Status::Running => {}
            Status::Prepared => {
                let _ = client::ask(&entry.dir, &Request::Signal { signal: 9 }).await;
                let _ = state.wait_for(|s| s.status != Status::Prepared).await;
                return Ok(());
            }
            _ => return Ok(()),
        }
        let ended = |s: &State| s.status != Status::Running;
        if self.kill(id, signal.unwrap_or(own_signal)).await.is_ok() {
            let wait = state.wait_for(ended);
            if tokio::time::timeout(grace.unwrap_or(own_grace), wait).await.is_ok() {
                return Ok(());
            }
            let _ = self.kill(id, 9).await;
        }
        let _ = state.wait_for(ended).await;
        Ok(())
    }

    /// Waits for the end of the present run, or of the next one if none runs, and returns that state. For a
    /// container that has already ended it returns at once, unless `next` is asked for.
    pub async fn wait(&self, id: &ContainerId, next: bool) -> Result<State> {
        let entry = self.entry(id)?;
        let mut state = entry.state.subscribe();
        let seen = state.borrow().finished_at;
        let gone = || Error::not_found(format!("No such container: {id}"));
        let ended = |s: &State| s.status == Status::Exited && (!next || s.finished_at != seen);
        drop(entry);
        state.wait_for(ended).await.map(|s| s.clone()).map_err(|_| gone())
    }

    /// Removes a container and its writable layer. A running one is refused, or killed if `force`.
    pub async fn remove(&self, id: &ContainerId, force: bool) -> Result<()> {
        let entry = self.entry(id)?;
        if entry.status() == Status::Running && !force {
            return Err(Error::conflict(format!(
                "cannot remove container \"{}\": container is running: stop the container before removing or force remove",
                entry.record().name
            )));
        }
        let _busy = entry.busy.lock().await;
        if matches!(entry.status(), Status::Running | Status::Prepared) {
            let _ = client::ask(&entry.dir, &Request::Signal { signal: 9 }).await;
        }
        let _ = entry.shim_gone.subscribe().wait_for(|gone| *gone).await;
        // Renamed first: after a crash halfway, the next start finds only rubbish to sweep, never half a container.
        let trash = self.inner.setup.containers_dir.join(format!(".removed-{id}"));
        std::fs::rename(&entry.dir, &trash).context(|| format!("removing container {id}"))?;
        if self.entries().remove(id).is_none() {
            return Err(Error::not_found(format!("No such container: {id}")));
        }
        super::lock(&self.inner.execs).retain(|_, e| e.container != *id);
        let swept = tokio::task::spawn_blocking(move || std::fs::remove_dir_all(&trash)).await;
        self.emit(&entry, durable::now_nanos(), EventKind::Removed);
        match swept {
            Ok(r) => r.context(|| format!("deleting the files of container {id}")),
            Err(e) => Err(Error::internal(format!("deleting the files of container {id}: {e}"))),
        }
    }

    /// Gives a container another name.
    pub fn rename(&self, id: &ContainerId, name: &str) -> Result<()> {
        let name = name.strip_prefix('/').unwrap_or(name);
        ContainerConfig { name: Some(name.to_owned()), ..Default::default() }.validate()?;
        let entry = self.entry(id)?;
        {
            let entries = self.entries();
            if entries.values().any(|e| e.record().name == name) {
                return Err(Error::conflict(format!("Conflict. The container name \"/{name}\" is already in use.")));
            }
            entry.record().name = name.to_owned();
        }
        entry.save()
    }

    /// Adds lines to the container's `/etc/hosts`: its own addresses, once they are known. Replaces what an earlier
    /// call added; visible inside at once.
    pub fn set_hosts(&self, id: &ContainerId, own: &[HostEntry]) -> Result<()> {
        let entry = self.entry(id)?;
        let text = hosts(&entry.record(), own);
        overwrite(&entry.dir.join("etc/hosts"), &text)
    }

    /// The same for the addresses that the container's own name stands for: all of its endpoints but those on the
    /// ingress network and on docker_gwbridge, as in Docker.
    pub fn set_own_addresses(&self, id: &ContainerId, addresses: &[IpAddr]) -> Result<()> {
        let entry = self.entry(id)?;
        let (hostname, domain) = {
            let record = entry.record();
            (record.hostname(), record.config.domainname.clone().unwrap_or_default())
        };
        self.set_hosts(id, &own_hosts(&hostname, &domain, addresses))
    }

    /// How a container would find what names mean, if that is who answers. Changes nothing: for a daemon that finds a
    /// running container and starts the server of its networks again.
    pub fn resolution(&self, id: &ContainerId, service: NameService) -> Result<Resolution> {
        let entry = self.entry(id)?;
        let record = entry.record();
        Ok(resolution(&machines_resolv_conf(service), &record.config.dns, service))
    }

    /// Says who answers a container's questions for names, by its `/etc/resolv.conf`; visible inside at once. Every
    /// start begins with what suits the container's network namespace: the machine's own, or
    /// [`NameService::Direct`] without IPv6.
    pub fn set_name_service(&self, id: &ContainerId, service: NameService) -> Result<Resolution> {
        let made = self.resolution(id, service)?;
        overwrite(&self.entry(id)?.dir.join("etc/resolv.conf"), &made.resolv_conf)?;
        Ok(made)
    }

    /// Sets the size of a container's terminal.
    pub async fn resize(&self, id: &ContainerId, height: u16, width: u16) -> Result<()> {
        let entry = self.entry(id)?;
        client::ask(&entry.dir, &Request::Resize { height, width }).await.map(|_| ())
    }

    /// Connects to a container's streams, from now on. Prepared containers can be attached to, so that not a byte
    /// is missed: prepare, attach, start.
    pub async fn attach(
        &self,
        id: &ContainerId,
        stdin: bool,
        stdout: bool,
        stderr: bool,
    ) -> Result<super::stream::Attached> {
        let entry = self.entry(id)?;
        if !matches!(entry.status(), Status::Running | Status::Prepared) {
            return Err(Error::conflict("You cannot attach to a stopped container, start it first"));
        }
        let (stream, _) = client::stream(&entry.dir, &Request::Attach { stdin, stdout, stderr }).await?;
        Ok(super::stream::attach(stream))
    }
}

/// A program that cannot be run, in the words of Docker 28: what was being done comes before what went wrong.
fn refused_by_runtime(error: Error) -> Error {
    match error.kind {
        Kind::CommandNotFound | Kind::CommandNotExecutable => Error::new(
            error.kind,
            format!(
                "failed to create task for container: failed to create shim task: OCI runtime create failed: \
                 runc create failed: unable to start container process: error during container init: {error}: unknown"
            ),
        ),
        _ => error,
    }
}

// In place, not by rename: the container sees this inode.
fn overwrite(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).context(|| format!("writing {}", path.display()))
}

/// `donor`: the container whose network this one shares, and so the same two files.
fn write_etc(entry: &Entry, donor: Option<&Entry>) -> Result<()> {
    let etc = entry.dir.join("etc");
    std::fs::create_dir_all(&etc).context(|| format!("making {}", etc.display()))?;
    if let Some(donor) = donor {
        for name in ["hosts", "resolv.conf"] {
            let (theirs, own) = (donor.dir.join("etc").join(name), etc.join(name));
            let _ = std::fs::remove_file(&own);
            std::fs::hard_link(&theirs, &own).context(|| format!("sharing {}", theirs.display()))?;
        }
        return overwrite(&etc.join("hostname"), &format!("{}\n", donor.record().hostname()));
    }
    let record = entry.record();
    overwrite(&etc.join("hostname"), &format!("{}\n", record.hostname()))?;
    overwrite(&etc.join("hosts"), &hosts(&record, &[]))?;
    let service = match record.config.network {
        Network::Host => NameService::Machine,
        Network::New | Network::Container(_) => NameService::Direct { ipv6: false },
    };
    let made = resolution(&machines_resolv_conf(service), &record.config.dns, service);
    overwrite(&etc.join("resolv.conf"), &made.resolv_conf)
}

/// The names that a container knows by itself. On the node's own network these are the node's, as in Docker.
fn hosts(record: &Record, own: &[HostEntry]) -> String {
    const LONGEST: u64 = 256 * 1024;
    let nodes = || {
        let mut text = String::new();
        std::fs::File::open("/etc/hosts").ok()?.take(LONGEST).read_to_string(&mut text).ok()?;
        Some(text)
    };
    let mut text = matches!(record.config.network, Network::Host).then(nodes).flatten().unwrap_or_else(|| String::from(
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\nff00::\tip6-mcastprefix\n\
         ff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n",
    ));
    for h in record.config.extra_hosts.iter().chain(own) {
        text.push_str(&format!("{}\t{}\n", h.address, h.names.join(" ")));
    }
    text
}

/// The machine's `resolv.conf`, empty if it has none. Where that only names systemd's local server, which knows more
/// than a container can reach, it is the list of the servers behind that one, as in Docker.
fn machines_resolv_conf(service: NameService) -> String {
    const LONGEST: u64 = 64 * 1024;
    let read = |path: &str| {
        let mut text = Vec::new();
        let file = std::fs::File::open(path).ok()?;
        file.take(LONGEST).read_to_end(&mut text).ok()?;
        Some(String::from_utf8_lossy(&text).into_owned())
    };
    let text = read("/etc/resolv.conf").unwrap_or_default();
    let mut servers = text.lines().filter_map(|line| line.strip_prefix("nameserver"));
    let only_local = servers.next().is_some_and(|first| first.trim() == "127.0.0.53") && servers.next().is_none();
    match only_local && service != NameService::Machine {
        true => read("/run/systemd/resolve/resolv.conf").unwrap_or(text),
        false => text,
    }
}

async fn spawn_shim(exe: &Path, dir: &Path) -> Result<(Child, i32)> {
    let log = std::fs::File::options()
        .create(true)
        .append(true)
        .open(dir.join("shim.log"))
        .context(|| "opening shim.log".into())?;
    let mut child = Command::new(exe)
        .arg("shim")
        .arg(dir)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .context(|| format!("starting the shim {}", exe.display()))?;
    let mut line = Vec::new();
    if let Some(out) = child.stdout.take() {
        let _ = BufReader::new(out.take(1 << 20)).read_until(b'\n', &mut line).await;
    }
    match serde_json::from_slice::<Result<i32>>(&line) {
        Ok(Ok(pid)) => Ok((child, pid)),
        Ok(Err(e)) => {
            let _ = child.wait().await;
            Err(e)
        }
        Err(_) => {
            let _ = child.kill().await;
            Err(Error::internal(format!(
                "the container's shim did not start; {} tells more",
                dir.join("shim.log").display()
            )))
        }
    }
}
