//! One struct per endpoint that takes query parameters.

use super::{Query, QueryError, QueryParams, QueryValue};
use crate::filters::Filters;

macro_rules! endpoint {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty = $key:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct $name { $($(#[$field_doc])* pub $field: $type),* }

        impl QueryParams for $name {
            fn read(query: &Query) -> Result<Self, QueryError> {
                Ok(Self { $($field: QueryValue::read(query, $key)?),* })
            }

            fn write(&self, query: &mut Query) {
                $(self.$field.write($key, query);)*
            }
        }
    };
}

endpoint! {
    /// Lists that take filters only: nodes, tasks, networks, volumes, secrets, configs.
    ListFiltered {
        /// See the endpoint for the keys that it knows.
        filters: Filters = "filters",
    }
}
endpoint! {
    /// `GET /services`
    ListServices {
        /// `id`, `label`, `mode`, `name`.
        filters: Filters = "filters",
        /// Adds `ServiceStatus` with the running and desired tasks (1.41 and later).
        status: bool = "status",
    }
}
endpoint! {
    /// `GET /services/{id}`
    InspectService {
        /// Fills unset fields with the values that the engine would use.
        insert_defaults: bool = "insertDefaults",
    }
}
endpoint! {
    /// `POST /services/{id}/update`
    UpdateService {
        /// Version of the object that the client read; required.
        version: Option<u64> = "version",
        /// `spec` or `previous-spec`: whence the registry credentials come.
        registry_auth_from: String = "registryAuthFrom",
        /// `previous` rolls back on the engine's side.
        rollback: String = "rollback",
    }
}
endpoint! {
    /// `POST /nodes/{id}/update`, `POST /secrets/{id}/update`, `POST /configs/{id}/update`
    UpdateVersioned {
        /// Version of the object that the client read; required.
        version: Option<u64> = "version",
    }
}
endpoint! {
    /// `DELETE /nodes/{id}`, `POST /swarm/leave`, `DELETE /volumes/{name}`
    Forced {
        /// Although it would be refused otherwise.
        force: bool = "force",
    }
}
endpoint! {
    /// `POST /swarm/update`
    UpdateSwarm {
        /// Version of the object that the client read; required.
        version: Option<u64> = "version",
        /// Makes a new worker token.
        rotate_worker_token: bool = "rotateWorkerToken",
        /// Makes a new manager token.
        rotate_manager_token: bool = "rotateManagerToken",
        /// Makes a new unlock key.
        rotate_manager_unlock_key: bool = "rotateManagerUnlockKey",
    }
}
endpoint! {
    /// `GET /services/{id}/logs`, `GET /tasks/{id}/logs`, `GET /containers/{id}/logs`
    Logs {
        /// Adds `key=value` pairs of the task in front of each message.
        details: bool = "details",
        /// Keeps the stream open.
        follow: bool = "follow",
        /// Wants standard output.
        stdout: bool = "stdout",
        /// Wants standard error.
        stderr: bool = "stderr",
        /// Only messages after this; see [`crate::time::parse_param`].
        since: String = "since",
        /// Only messages before this.
        until: String = "until",
        /// Puts a time in front of each message.
        timestamps: bool = "timestamps",
        /// Number of messages from the end, or `all`.
        tail: String = "tail",
    }
}
endpoint! {
    /// `GET /containers/json`
    ListContainers {
        /// Stopped ones too.
        all: bool = "all",
        /// At most this many, the newest.
        limit: Option<i64> = "limit",
        /// Adds sizes.
        size: bool = "size",
        /// `ancestor`, `id`, `label`, `name`, `status`, `health`, `is-task`, ...
        filters: Filters = "filters",
        /// Only containers created since this one (name or id; old form of the filter).
        since: String = "since",
        /// Only containers created before this one (name or id; old form of the filter).
        before: String = "before",
    }
}
endpoint! {
    /// `POST /containers/create`
    CreateContainer {
        /// Name, generated when empty.
        name: String = "name",
        /// `os/arch`, checked against the image when not empty.
        platform: String = "platform",
    }
}
endpoint! {
    /// `GET /containers/{id}/json`
    InspectContainer {
        /// Adds sizes.
        size: bool = "size",
    }
}
endpoint! {
    /// `POST /containers/{id}/start`
    StartContainer {
        /// Keys that detach an attached terminal.
        detach_keys: String = "detachKeys",
    }
}
endpoint! {
    /// `POST /containers/{id}/stop`, `POST /containers/{id}/restart`
    StopContainer {
        /// Signal instead of the container's own.
        signal: String = "signal",
        /// Seconds of grace; -1 waits for ever; absent is the container's own.
        timeout: Option<i64> = "t",
    }
}
endpoint! {
    /// `POST /containers/{id}/kill`
    KillContainer {
        /// Name or number, `SIGKILL` when empty.
        signal: String = "signal",
    }
}
endpoint! {
    /// `POST /containers/{id}/wait`
    WaitContainer {
        /// `not-running` (also when empty), `next-exit` or `removed`.
        condition: String = "condition",
    }
}
endpoint! {
    /// `DELETE /containers/{id}`
    RemoveContainer {
        /// Its anonymous volumes too.
        volumes: bool = "v",
        /// A running one too.
        force: bool = "force",
        /// Removes a link instead (legacy).
        link: bool = "link",
    }
}
endpoint! {
    /// `POST /containers/{id}/attach`
    AttachContainer {
        /// Keys that detach an attached terminal.
        detach_keys: String = "detachKeys",
        /// Replays the logs first.
        logs: bool = "logs",
        /// Goes on with what comes.
        stream: bool = "stream",
        /// Wants to write standard input.
        stdin: bool = "stdin",
        /// Wants standard output.
        stdout: bool = "stdout",
        /// Wants standard error.
        stderr: bool = "stderr",
    }
}
endpoint! {
    /// `POST /containers/{id}/resize`, `POST /exec/{id}/resize`
    Resize {
        /// Rows.
        height: Option<u16> = "h",
        /// Columns.
        width: Option<u16> = "w",
    }
}
endpoint! {
    /// `GET /containers/{id}/top`
    TopContainer {
        /// Arguments of `ps`, `-ef` when empty.
        ps_args: String = "ps_args",
    }
}
endpoint! {
    /// `GET /containers/{id}/stats`
    StatsContainer {
        /// Keeps on; absent means yes.
        stream: Option<bool> = "stream",
        /// With `stream=false`: does not wait for a second measurement.
        one_shot: bool = "one-shot",
    }
}
endpoint! {
    /// `POST /containers/{id}/rename`
    RenameContainer {
        /// The new name.
        name: String = "name",
    }
}
endpoint! {
    /// `GET /images/json`
    ListImages {
        /// Intermediate images too.
        all: bool = "all",
        /// `dangling`, `label`, `reference`, `before`, `since`, `until`.
        filters: Filters = "filters",
        /// Adds digests.
        digests: bool = "digests",
        /// Adds `SharedSize`.
        shared_size: bool = "shared-size",
        /// Adds `Manifests`.
        manifests: bool = "manifests",
    }
}
endpoint! {
    /// `POST /images/load`
    LoadImages {
        /// No progress in the answer.
        quiet: bool = "quiet",
        /// Only this platform (JSON of an OCI platform), may be repeated.
        platform: Vec<String> = "platform",
    }
}
endpoint! {
    /// `POST /images/create` (pull)
    CreateImage {
        /// Image to pull.
        from_image: String = "fromImage",
        /// Archive to import.
        from_src: String = "fromSrc",
        /// Repository for the import.
        repo: String = "repo",
        /// Tag or digest.
        tag: String = "tag",
        /// `os/arch`.
        platform: String = "platform",
    }
}
endpoint! {
    /// `POST /images/{name}/tag`
    TagImage {
        /// Repository.
        repo: String = "repo",
        /// Tag, `latest` when empty.
        tag: String = "tag",
    }
}
endpoint! {
    /// `DELETE /images/{name}`
    RemoveImage {
        /// Although tags or stopped containers refer to it.
        force: bool = "force",
        /// Leaves untagged parents.
        noprune: bool = "noprune",
    }
}
endpoint! {
    /// `GET /events`
    Events {
        /// From this time on; see [`crate::time::parse_param`].
        since: String = "since",
        /// Until this time.
        until: String = "until",
        /// `type`, `event`, `container`, `service`, `node`, `label`, `scope`, ...
        filters: Filters = "filters",
    }
}
endpoint! {
    /// `GET /networks/{id}`
    InspectNetwork {
        /// Adds the tasks and nodes of a swarm network.
        verbose: bool = "verbose",
        /// `local`, `swarm` or `global`.
        scope: String = "scope",
    }
}
endpoint! {
    /// `GET /system/df`
    DiskUsage {
        /// `container`, `image`, `volume`, `build-cache`; all when empty.
        kinds: Vec<String> = "type",
    }
}
