//! `docker version`.

use super::tabwriter::{Layout, align};
use crate::spec::json::{array, at, text};
use serde_json::{Value, json};

/// What the client says of itself. `api` is the version in use, `default_api` the newest that it speaks.
pub fn client(api: &str, default_api: &str) -> Value {
    json!({
        "Version": env!("CARGO_PKG_VERSION"),
        "ApiVersion": api,
        "DefaultAPIVersion": default_api,
        "GitCommit": "swarmlab",
        "GoVersion": "none (Rust)",
        "Os": std::env::consts::OS,
        "Arch": arch(),
        "BuildTime": "",
        "Context": "default",
    })
}

fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The page.
pub fn page(client: &Value, server: Option<&Value>) -> String {
    let mut out = String::from("Client:\n");
    let api = match (text(client, "ApiVersion"), text(client, "DefaultAPIVersion")) {
        (api, default) if api == default => api.to_owned(),
        (api, default) => format!("{api} (downgraded from {default})"),
    };
    let mut line = |label: &str, value: &str| out.push_str(&format!(" {label}:\t{value}\n"));
    line("Version", text(client, "Version"));
    line("API version", &api);
    line("Go version", text(client, "GoVersion"));
    line("Git commit", text(client, "GitCommit"));
    line("Built", text(client, "BuildTime"));
    line("OS/Arch", &format!("{}/{}", text(client, "Os"), text(client, "Arch")));
    line("Context", text(client, "Context"));
    if let Some(server) = server {
        out.push('\n');
        match text(server, "Platform.Name") {
            "" => out.push_str("Server:\n"),
            name => out.push_str(&format!("Server: {name}\n")),
        }
        for component in array(server, "Components") {
            out.push_str(&format!(" {}:\n", text(component, "Name")));
            out.push_str(&format!("  Version:\t{}\n", text(component, "Version")));
            let details = at(component, "Details");
            let detail = |key: &str| details.map_or("", |d| text(d, key));
            if text(component, "Name") == "Engine" {
                out.push_str(&format!(
                    "  API version:\t{} (minimum version {})\n",
                    detail("ApiVersion"),
                    detail("MinAPIVersion")
                ));
                for (label, key) in [("Go version", "GoVersion"), ("Git commit", "GitCommit")] {
                    out.push_str(&format!("  {label}:\t{}\n", detail(key)));
                }
                out.push_str(&format!("  Built:\t{}\n", detail("BuildTime")));
                out.push_str(&format!("  OS/Arch:\t{}/{}\n", detail("Os"), detail("Arch")));
                out.push_str(&format!("  Experimental:\t{}\n", detail("Experimental")));
            } else {
                let mut pairs: Vec<(&String, &Value)> =
                    details.and_then(Value::as_object).map_or(Vec::new(), |map| map.iter().collect());
                pairs.sort_by(|a, b| a.0.cmp(b.0));
                for (key, value) in pairs {
                    out.push_str(&format!("  {key}:\t{}\n", value.as_str().unwrap_or("")));
                }
            }
        }
    }
    align(&out, Layout { min_width: 20, padding: 1 })
}
