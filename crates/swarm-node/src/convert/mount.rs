//! Mounts of services and of `docker run --mount`.

use serde_json::Value;
use swarm_types::{Mount, MountKind};

use super::{Fields, InvalidField, Result, Writer, driver, read_driver};

/// `Type`, `Source`, `Target`, ...
pub fn mount(from: &Mount) -> Value {
    let kind = match from.kind {
        MountKind::Bind => "bind",
        MountKind::Volume => "volume",
        MountKind::Tmpfs => "tmpfs",
        MountKind::NamedPipe => "npipe",
        MountKind::Cluster => "cluster",
        MountKind::Image => "image",
    };
    let bind = Writer::default()
        .text("Propagation", &from.bind_propagation)
        .flag("NonRecursive", from.bind_non_recursive)
        .flag("CreateMountpoint", from.bind_create_mountpoint)
        .build();
    let volume = Writer::default()
        .flag("NoCopy", from.volume_no_copy)
        .map("Labels", &from.volume_labels)
        .text("Subpath", &from.volume_subpath)
        .some("DriverConfig", from.volume_driver.as_ref().map(driver))
        .build();
    let tmpfs = Writer::default().number("SizeBytes", from.tmpfs_size_bytes).number("Mode", from.tmpfs_mode).build();
    let filled = |value: Value| value.as_object().is_some_and(|o| !o.is_empty()).then_some(value);
    Writer::default()
        .put("Type", kind)
        .text("Source", &from.source)
        .text("Target", &from.target)
        .flag("ReadOnly", from.read_only)
        .text("Consistency", &from.consistency)
        .some("BindOptions", filled(bind))
        .some("VolumeOptions", filled(volume))
        .some("TmpfsOptions", filled(tmpfs))
        .build()
}

/// The reverse.
pub fn read_mount(fields: &Fields<'_>) -> Result<Mount> {
    let kind = match fields.string("Type")?.as_str() {
        "bind" => MountKind::Bind,
        "volume" => MountKind::Volume,
        "tmpfs" => MountKind::Tmpfs,
        "npipe" => MountKind::NamedPipe,
        "cluster" => MountKind::Cluster,
        "image" => MountKind::Image,
        other => return Err(InvalidField::Value(format!("invalid MountType: {other:?}"))),
    };
    fields.refuse_all(&["ImageOptions", "ClusterOptions"])?;
    let mut mount = Mount {
        kind,
        source: fields.string("Source")?,
        target: fields.string("Target")?,
        read_only: fields.boolean("ReadOnly")?,
        consistency: fields.string("Consistency")?,
        ..Mount::default()
    };
    if let Some(bind) = fields.object("BindOptions")? {
        bind.refuse_all(&["ReadOnlyNonRecursive", "ReadOnlyForceRecursive"])?;
        mount.bind_propagation = bind.string("Propagation")?;
        mount.bind_non_recursive = bind.boolean("NonRecursive")?;
        mount.bind_create_mountpoint = bind.boolean("CreateMountpoint")?;
    }
    if let Some(volume) = fields.object("VolumeOptions")? {
        mount.volume_no_copy = volume.boolean("NoCopy")?;
        mount.volume_labels = volume.map("Labels")?;
        mount.volume_subpath = volume.string("Subpath")?;
        mount.volume_driver = volume.object("DriverConfig")?.map(|driver| read_driver(&driver)).transpose()?;
    }
    if let Some(tmpfs) = fields.object("TmpfsOptions")? {
        tmpfs.refuse("Options", "")?;
        mount.tmpfs_size_bytes = tmpfs.int("SizeBytes")?;
        mount.tmpfs_mode = tmpfs.int("Mode")?;
    }
    Ok(mount)
}
