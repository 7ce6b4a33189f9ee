//! Secrets and configs.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde_json::Value;
use swarm_types::{Config, ConfigSpec, Driver, Secret, SecretBytes, SecretSpec};

use super::{Fields, InvalidField, Result, Writer, annotations, driver, object, read_annotations, read_driver};

/// A secret, without its value.
pub fn secret(from: &Secret) -> Value {
    let spec = annotations(Writer::default(), &from.spec.annotations)
        .some("Driver", from.spec.driver.as_ref().map(driver))
        .some("Templating", from.spec.templating.as_ref().map(driver));
    object(from.id, &from.meta).put("Spec", spec.build()).build()
}

/// A config with its value.
pub fn config(from: &Config) -> Value {
    let spec = annotations(Writer::default(), &from.spec.annotations)
        .put("Data", STANDARD.encode(&from.spec.data))
        .some("Templating", from.spec.templating.as_ref().map(driver));
    object(from.id, &from.meta).put("Spec", spec.build()).build()
}

/// The body of `POST /secrets/create`.
pub fn read_secret(body: &Value) -> Result<SecretSpec> {
    let fields = Fields::new(body, "SecretSpec")?;
    Ok(SecretSpec {
        annotations: read_annotations(&fields)?,
        data: SecretBytes(data(&fields)?),
        templating: opt_driver(&fields, "Templating")?,
        driver: opt_driver(&fields, "Driver")?,
    })
}

/// The body of `POST /configs/create`.
pub fn read_config(body: &Value) -> Result<ConfigSpec> {
    let fields = Fields::new(body, "ConfigSpec")?;
    Ok(ConfigSpec {
        annotations: read_annotations(&fields)?,
        data: data(&fields)?,
        templating: opt_driver(&fields, "Templating")?,
    })
}

fn opt_driver(fields: &Fields<'_>, key: &str) -> Result<Option<Driver>> {
    let driver = fields.object(key)?.map(|driver| read_driver(&driver)).transpose()?;
    Ok(driver.filter(|driver| !driver.name.is_empty()))
}

/// Base64 in either alphabet: Go's own decoder takes the standard one, some SDKs send the other.
fn data(fields: &Fields<'_>) -> Result<Vec<u8>> {
    let text = fields.string("Data")?;
    STANDARD
        .decode(&text)
        .or_else(|_| URL_SAFE.decode(&text))
        .map_err(|error| InvalidField::Value(format!("illegal base64 data in {}: {error}", fields.path("Data"))))
}
