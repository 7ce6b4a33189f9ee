//! From a request to a container that can be started.

use container_runtime::config::{self, MountSource, Network};
use container_runtime::{ContainerId, Error, Kind, Result};
use swarm_types::{Labels, Mount, MountKind};

use super::record::{MountPoint, Record};
use super::{Attachment, Engine, Entry, lock};
use crate::convert::container::CreateRequest;

impl Engine {
    /// Makes a container. When anything is refused, nothing is left behind.
    pub async fn create(&self, request: CreateRequest, name: Option<String>) -> Result<(ContainerId, Vec<String>)> {
        self.create_as(request, name, None).await
    }

    pub(super) async fn create_as(
        &self,
        mut request: CreateRequest,
        name: Option<String>,
        task: Option<String>,
    ) -> Result<(ContainerId, Vec<String>)> {
        if request.config.image.is_empty() {
            return Err(Error::new(Kind::InvalidArgument, "invalid reference format"));
        }
        let image = self.inner.runtime.images().resolve(&request.config.image).map_err(|error| match error.kind {
            Kind::NotFound => Error::new(Kind::NotFound, format!("No such image: {}", with_tag(&request.config.image))),
            _ => error,
        })?;
        self.check_mode(&mut request)?;
        request.ports.expose(&image.config.exposed_ports);
        for volume in &image.config.volumes {
            let target = volume.trim_end_matches('/');
            if !request.mounts.iter().any(|mount| mount.target.trim_end_matches('/') == target) {
                request.mounts.push(Mount { kind: MountKind::Volume, target: target.into(), ..Mount::default() });
            }
        }
        let warnings = self.warnings(&request);
        let mut made = Vec::new();
        let record = self.resolve_mounts(&mut request, &mut made).map(|(mounts, anonymous)| {
            request.config.name = name.filter(|name| !name.is_empty());
            request.config.network = match request.network.as_str() {
                "host" => Network::Host,
                other => other.strip_prefix("container:").map_or(Network::New, |id| Network::Container(id.to_owned())),
            };
            fill_config_json(&mut request.config_json, &image.config);
            Record {
                restart: request.restart,
                auto_remove: request.auto_remove,
                network: request.network.clone(),
                attachments: Some(match request.swarm.is_empty() {
                    true => request.attachments.clone(),
                    false => request.swarm.iter().map(Attachment::to_swarm).collect(),
                }),
                swarm: std::mem::take(&mut request.swarm),
                ports: request.ports.clone(),
                config_json: request.config_json.clone(),
                host_json: request.host_json.clone(),
                mounts,
                anonymous,
                task,
                ..Record::default()
            }
        });
        let created = match record {
            Ok(record) => self.inner.runtime.create(request.config).await.map(|inspect| (inspect.id, record)),
            Err(error) => Err(error),
        };
        let (id, record) = match created {
            Ok(created) => created,
            Err(error) => {
                for volume in made {
                    let _ = self.inner.volumes.remove(&volume);
                }
                return Err(error);
            }
        };
        let entry = Entry::new(record);
        self.save(&id, &entry)?;
        lock(&self.inner.entries).insert(id.clone(), entry);
        Ok((id, warnings))
    }

    /// What is wanted of networks, as far as it can be said before the start: a network that is missing shows then.
    fn check_mode(&self, request: &mut CreateRequest) -> Result<()> {
        if let Some(other) = request.network.strip_prefix("container:") {
            // the name may be another's by the time of the start; one that is nobody's shows then, as with Docker
            if let Ok(other) = self.resolve(other) {
                request.network = format!("container:{other}");
                request.host_json["NetworkMode"] = serde_json::json!(request.network);
            }
        }
        self.check_attachments(&request.attachments)
    }

    fn warnings(&self, request: &CreateRequest) -> Vec<String> {
        let resources = &request.config.resources;
        let mut warnings = Vec::new();
        if self.inner.runtime.enforces_limits() {
            return warnings;
        }
        if resources.memory.is_some() || resources.memory_reservation.is_some() {
            warnings.push("Your kernel does not support memory limit capabilities or the cgroup is not mounted. Limitation discarded.".into());
        }
        if resources.nano_cpus.is_some() || resources.cpu_shares.is_some() || resources.cpuset.is_some() {
            warnings.push(
                "Your kernel does not support CPU limits or the cgroup is not mounted. Limitation discarded.".into(),
            );
        }
        if resources.pids.is_some() {
            warnings.push("Your kernel does not support PIDs limit capabilities or the cgroup is not mounted. PIDs limit discarded.".into());
        }
        warnings
    }

    /// Makes volumes and directories, and turns the mounts into the runtime's.
    fn resolve_mounts(
        &self,
        request: &mut CreateRequest,
        made: &mut Vec<String>,
    ) -> Result<(Vec<MountPoint>, Vec<String>)> {
        let (mut points, mut anonymous) = (Vec::new(), Vec::new());
        for mount in &request.mounts {
            if points.iter().any(|point: &MountPoint| point.target == mount.target) {
                return Err(Error::new(Kind::InvalidArgument, format!("Duplicate mount point: {}", mount.target)));
            }
            let mut point = MountPoint {
                target: mount.target.clone(),
                read_only: mount.read_only,
                mode: if mount.read_only { "ro".into() } else { String::new() },
                ..MountPoint::default()
            };
            let source = match mount.kind {
                MountKind::Bind => bind(mount, &mut point)?,
                MountKind::Volume => {
                    if mount
                        .volume_driver
                        .as_ref()
                        .is_some_and(|d| !["", "local"].contains(&d.name.as_str()) || !d.options.is_empty())
                    {
                        return Err(Error::new(
                            Kind::InvalidArgument,
                            "only the local volume driver without options is supported by this engine",
                        ));
                    }
                    if !mount.volume_subpath.is_empty() {
                        return Err(unsupported("mounting a path inside a volume"));
                    }
                    let name = match mount.source.is_empty() {
                        true => random_name()?,
                        false => mount.source.clone(),
                    };
                    let mut labels = mount.volume_labels.clone();
                    if mount.source.is_empty() {
                        labels.insert("com.docker.volume.anonymous".into(), String::new());
                        anonymous.push(name.clone());
                    }
                    if self.inner.volumes.ensure(&name, labels, Labels::new())?.1 {
                        made.push(name.clone());
                        self.tell_of("volume", "create", &name, &[("driver", "local")]);
                    }
                    let path = self.inner.volumes.data(&name);
                    (point.kind, point.source) = ("volume".into(), path.display().to_string());
                    point.name = name;
                    MountSource::Volume { path, no_copy: mount.volume_no_copy }
                }
                MountKind::Tmpfs => {
                    point.kind = "tmpfs".into();
                    MountSource::Tmpfs {
                        size: u64::try_from(mount.tmpfs_size_bytes).ok().filter(|size| *size > 0),
                        mode: Some(mount.tmpfs_mode).filter(|mode| *mode > 0),
                    }
                }
                MountKind::NamedPipe | MountKind::Cluster | MountKind::Image => {
                    return Err(unsupported("mounts of type npipe, cluster or image"));
                }
            };
            request.config.mounts.push(config::Mount {
                target: mount.target.clone(),
                read_only: mount.read_only,
                source,
            });
            points.push(point);
        }
        Ok((points, anonymous))
    }
}

fn unsupported(what: &str) -> Error {
    Error::new(Kind::InvalidArgument, format!("{what}: not supported by this engine"))
}

fn bind(mount: &Mount, point: &mut MountPoint) -> Result<MountSource> {
    if !mount.source.starts_with('/') {
        return Err(Error::new(
            Kind::InvalidArgument,
            format!(
                "invalid mount config for type \"bind\": invalid mount path: '{}' mount path must be absolute",
                mount.source
            ),
        ));
    }
    if !["", "rprivate", "private"].contains(&mount.bind_propagation.as_str()) {
        return Err(unsupported(&format!("bind propagation {}", mount.bind_propagation)));
    }
    let path = std::path::PathBuf::from(&mount.source);
    if mount.bind_create_mountpoint && !path.exists() {
        std::fs::create_dir_all(&path).map_err(|error| {
            Error::new(
                Kind::InvalidArgument,
                format!("error while creating mount source path '{}': {error}", path.display()),
            )
        })?;
    }
    (point.kind, point.source) = ("bind".into(), mount.source.clone());
    Ok(MountSource::Bind(path))
}

/// A name as Docker's message has it, with the tag that was meant.
pub(super) fn with_tag(image: &str) -> String {
    match image.parse::<docker_api::ImageReference>() {
        Ok(reference) => reference.with_default_tag().familiar(),
        Err(_) => image.to_owned(),
    }
}

/// 64 random hexadecimal digits.
pub(crate) fn random_name() -> Result<String> {
    use std::io::Read;
    let mut bytes = [0; 32];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .map_err(|error| Error::new(Kind::Internal, format!("reading /dev/urandom: {error}")))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Entrypoint and command as inspect shows them: the image's where the client gave none.
fn fill_config_json(config: &mut serde_json::Value, image: &container_runtime::image::ImageConfig) {
    use serde_json::{Value, json};
    let given = |config: &Value, key: &str| config.get(key).is_some_and(|value| !value.is_null());
    let own_entrypoint = given(config, "Entrypoint");
    if !given(config, "Cmd") && !own_entrypoint && !image.cmd.is_empty() {
        config["Cmd"] = json!(image.cmd);
    }
    if !own_entrypoint && !image.entrypoint.is_empty() {
        config["Entrypoint"] = json!(image.entrypoint);
    }
    for port in &image.exposed_ports {
        if !config["ExposedPorts"].is_object() {
            config["ExposedPorts"] = json!({});
        }
        config["ExposedPorts"][port] = json!({});
    }
    if !given(config, "StopSignal") && !image.stop_signal.is_empty() {
        config["StopSignal"] = json!(image.stop_signal);
    }
}
