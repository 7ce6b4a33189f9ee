//! Secrets and configs: data that tasks read as files.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::*;

/// Bytes that must not show up in logs or messages.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretBytes(pub Vec<u8>);

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{} secret bytes]", self.0.len())
    }
}

/// Text that must not show up in logs or messages: keys in PEM, join tokens.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretString(pub String);

impl fmt::Debug for SecretString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// What a user gives for a secret.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SecretSpec {
    /// Name and labels.
    pub annotations: Annotations,
    /// The value, at most 500 KiB.
    pub data: SecretBytes,
    /// Template driver, if the value is a template.
    pub templating: Option<Driver>,
    /// An external secret driver, in place of data.
    pub driver: Option<Driver>,
}

/// A secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    /// Its id.
    pub id: SecretId,
    /// Set by the store.
    pub meta: Meta,
    /// What the user gave.
    pub spec: SecretSpec,
}

/// What a user gives for a config.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ConfigSpec {
    /// Name and labels.
    pub annotations: Annotations,
    /// The value, at most 1000 KiB.
    pub data: Vec<u8>,
    /// Template driver, if the value is a template.
    pub templating: Option<Driver>,
}

/// A config.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Its id.
    pub id: ConfigId,
    /// Set by the store.
    pub meta: Meta,
    /// What the user gave.
    pub spec: ConfigSpec,
}

/// Where a secret or config appears in a container.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FileTarget {
    /// File name, relative to `/run/secrets` for secrets, to `/` for configs.
    pub name: String,
    /// Owner, a number as text.
    pub uid: String,
    /// Group, a number as text.
    pub gid: String,
    /// Mode bits.
    pub mode: u32,
}

/// A task's use of a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretReference {
    /// Which one.
    pub secret_id: SecretId,
    /// Its name when the reference was made.
    pub secret_name: String,
    /// Where it appears.
    pub target: FileTarget,
}

/// A task's use of a config.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigReference {
    /// Which one.
    pub config_id: ConfigId,
    /// Its name when the reference was made.
    pub config_name: String,
    /// Where it appears; `None` for one that only the runtime uses (credential specs).
    pub target: Option<FileTarget>,
}
