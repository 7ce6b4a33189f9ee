//! The little languages inside flag values: mounts, limits, secrets, words. Ports, networks and addresses have files of
//! their own.

use super::json::{object_mut, set};
use serde_json::{Value, json};

/// What a flag value says, or why it cannot be read, in Docker's words.
pub(super) type Parse<T> = Result<T, String>;

/// The first record of comma-separated fields, where a field may be quoted to hold a comma or a line's end. Columns in
/// errors count bytes from 1, as Go counts them.
pub fn csv(text: &str) -> Parse<Vec<String>> {
    // Empty lines are skipped.
    let text = text.trim_start_matches(['\n', '\r']);
    if text.is_empty() {
        return Err("EOF".into());
    }
    let mut fields = Vec::new();
    let mut rest = text;
    // Of the place where `rest` begins.
    let (mut line, mut line_start) = (1, 0);
    let failure = |line: usize, column: usize, what: &str| {
        let record = if line > 1 { "record on line 1; " } else { "" };
        Err(format!("{record}parse error on line {line}, column {column}: {what}"))
    };
    loop {
        let column = |rest: &str, line_start: usize| text.len() - rest.len() - line_start + 1;
        let Some(quoted) = rest.strip_prefix('"') else {
            let end = rest.find([',', '\n']).unwrap_or(rest.len());
            let field = &rest[..end];
            if let Some(at) = field.find('"') {
                return failure(line, column(rest, line_start) + at, "bare \" in non-quoted-field");
            }
            fields.push(field.trim_end_matches('\r').to_owned());
            match rest[end..].strip_prefix(',') {
                Some(next) => rest = next,
                None => return Ok(fields),
            }
            continue;
        };
        let mut field = String::new();
        rest = quoted;
        loop {
            let end = rest.find(['"', '\n']).unwrap_or(rest.len());
            field.push_str(&rest[..end]);
            rest = &rest[end..];
            if let Some(next) = rest.strip_prefix('\n') {
                field.push('\n');
                rest = next;
                if !rest.is_empty() {
                    (line, line_start) = (line + 1, text.len() - rest.len());
                }
            } else if let Some(next) = rest.strip_prefix("\"\"") {
                field.push('"');
                rest = next;
            } else if let Some(next) = rest.strip_prefix('"') {
                let at = column(rest, line_start);
                fields.push(std::mem::take(&mut field));
                match next.strip_prefix(',') {
                    Some(next) => rest = next,
                    None if matches!(next, "" | "\r") || next.starts_with(['\n']) => return Ok(fields),
                    None => return failure(line, at, "extraneous or missing \" in quoted-field"),
                }
                break;
            } else {
                return failure(line, column(rest, line_start), "extraneous or missing \" in quoted-field");
            }
        }
    }
}

/// An image as Docker's client sends it for a service: familiar, and with a tag.
pub fn tagged_image(image: &str) -> String {
    match image.parse::<docker_api::ImageReference>() {
        Ok(reference) => reference.with_default_tag().familiar(),
        Err(_) => image.to_owned(),
    }
}

/// Splits a command line into words as a shell does, without expansions.
pub fn split_words(text: &str) -> Parse<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\r' | '\n' => words.extend(word.take()),
            '#' if word.is_none() => break,
            '\\' => {
                let next = chars.next().ok_or("EOF found after escape character")?;
                word.get_or_insert_default().push(next);
            }
            '\'' => loop {
                match chars.next().ok_or("EOF found when expecting closing quote")? {
                    '\'' => {
                        word.get_or_insert_default();
                        break;
                    }
                    other => word.get_or_insert_default().push(other),
                }
            },
            '"' => loop {
                match chars.next().ok_or("EOF found when expecting closing quote")? {
                    '"' => {
                        word.get_or_insert_default();
                        break;
                    }
                    '\\' => {
                        let next = chars.next().ok_or("EOF found after escape character")?;
                        word.get_or_insert_default().push(next);
                    }
                    other => word.get_or_insert_default().push(other),
                }
            },
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    Ok(words)
}

/// `--mount` to an API mount.
pub fn mount(text: &str) -> Parse<Value> {
    let mut kind = "volume".to_owned();
    let mut out = json!({});
    let (mut volume, mut bind, mut tmpfs, mut image) = (None, None, None, None);
    for field in csv(text)? {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_lowercase(), Some(value)),
            None => (field.to_lowercase(), None),
        };
        let Some(value) = value else {
            match key.as_str() {
                "readonly" | "ro" => set(&mut out, "ReadOnly", json!(true)),
                "volume-nocopy" => set(volume.get_or_insert(json!({})), "NoCopy", json!(true)),
                "bind-nonrecursive" => set(bind.get_or_insert(json!({})), "NonRecursive", json!(true)),
                _ => return Err(format!("invalid field '{field}' must be a key=value pair")),
            }
            continue;
        };
        let truth = || match value {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            _ => Err(format!("invalid value for {key}: {value}")),
        };
        match key.as_str() {
            "type" => kind = value.to_lowercase(),
            "source" | "src" => set(&mut out, "Source", json!(absolute(value))),
            "target" | "dst" | "destination" => set(&mut out, "Target", json!(value)),
            "readonly" | "ro" => set(&mut out, "ReadOnly", json!(truth()?)),
            "consistency" => set(&mut out, "Consistency", json!(value.to_lowercase())),
            "bind-propagation" => set(bind.get_or_insert(json!({})), "Propagation", json!(value.to_lowercase())),
            "bind-nonrecursive" => set(bind.get_or_insert(json!({})), "NonRecursive", json!(truth()?)),
            "bind-recursive" => {
                let bind = bind.get_or_insert(json!({}));
                match value {
                    "enabled" => {}
                    "disabled" => set(bind, "NonRecursive", json!(true)),
                    "writable" => set(bind, "ReadOnlyNonRecursive", json!(true)),
                    "readonly" => set(bind, "ReadOnlyForceRecursive", json!(true)),
                    _ => {
                        return Err(format!(
                            "invalid value for {key}: {value} (must be \"enabled\", \"disabled\", \"writable\", or \"readonly\")"
                        ));
                    }
                }
            }
            "volume-subpath" => set(volume.get_or_insert(json!({})), "Subpath", json!(value)),
            "volume-nocopy" => set(volume.get_or_insert(json!({})), "NoCopy", json!(truth()?)),
            "volume-label" => add_pair(volume.get_or_insert(json!({})), &["Labels"], value),
            "volume-driver" => {
                let config = super::json::child(volume.get_or_insert(json!({})), "DriverConfig");
                set(config, "Name", json!(value));
            }
            "volume-opt" => add_pair(volume.get_or_insert(json!({})), &["DriverConfig", "Options"], value),
            "image-subpath" => set(image.get_or_insert(json!({})), "Subpath", json!(value)),
            "tmpfs-size" => {
                let size = crate::flags::parse_bytes(value).map_err(|_| format!("invalid value for {key}: {value}"))?;
                set(tmpfs.get_or_insert(json!({})), "SizeBytes", json!(size));
            }
            "tmpfs-mode" => {
                let mode = u32::from_str_radix(value, 8).map_err(|_| format!("invalid value for {key}: {value}"))?;
                set(tmpfs.get_or_insert(json!({})), "Mode", json!(mode));
            }
            _ => return Err(format!("unexpected key '{key}' in '{field}'")),
        }
    }
    if kind.is_empty() {
        return Err("type is required".into());
    }
    if out.get("Target").is_none() {
        return Err("target is required".into());
    }
    let read_only = super::json::truth(&out, "ReadOnly");
    if let Some(bind) = &bind {
        if super::json::truth(bind, "ReadOnlyNonRecursive") && !read_only {
            return Err("option 'bind-recursive=writable' requires 'readonly' to be specified in conjunction".into());
        }
        if super::json::truth(bind, "ReadOnlyForceRecursive") && !read_only {
            return Err("option 'bind-recursive=readonly' requires 'readonly' to be specified in conjunction".into());
        }
    }
    for (name, options, field) in [
        ("volume", volume, "VolumeOptions"),
        ("image", image, "ImageOptions"),
        ("bind", bind, "BindOptions"),
        ("tmpfs", tmpfs, "TmpfsOptions"),
    ] {
        if let Some(mut options) = options {
            if name == "volume" {
                // Docker's client always sends one.
                super::json::child(&mut options, "DriverConfig");
            }
            if kind != name {
                return Err(format!("cannot mix '{name}-*' options with mount type '{kind}'"));
            }
            object_mut(&mut out).insert(field.to_owned(), options);
        }
    }
    let mut mount = json!({ "Type": kind });
    object_mut(&mut mount).extend(object_mut(&mut out).clone());
    Ok(mount)
}

fn add_pair(object: &mut Value, path: &[&str], pair: &str) {
    let target = path.iter().fold(object, |object, key| super::json::child(object, key));
    let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
    if !key.is_empty() {
        object_mut(target).insert(key.to_owned(), json!(value));
    }
}

/// Relative sources that begin with a dot are meant from the working directory.
fn absolute(path: &str) -> String {
    if !path.starts_with('.') {
        return path.to_owned();
    }
    match std::path::absolute(path) {
        Ok(path) => path.display().to_string(),
        Err(_) => path.to_owned(),
    }
}

/// Does the text use the `key=value,...` form?
pub(super) fn is_long_form(text: &str) -> bool {
    let is_word = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
    text.match_indices('=').any(|(at, _)| is_word(text[..at].chars().last()) && is_word(text[at + 1..].chars().next()))
}

/// `--secret` and `--config`: the name, and the reference without the id.
pub fn file_reference(text: &str, what: &str) -> Parse<(String, Value)> {
    let fields = csv(text)?;
    let (mut name, mut target, mut uid, mut gid, mut mode) =
        (String::new(), String::new(), "0".to_owned(), "0".to_owned(), 0o444u32);
    if let [only] = fields.as_slice()
        && !only.contains('=')
    {
        (name, target) = (only.clone(), only.clone());
    } else {
        for field in &fields {
            let Some((key, value)) = field.split_once('=').filter(|(key, _)| !key.is_empty()) else {
                return Err(format!("invalid field '{field}' must be a key=value pair"));
            };
            match key.to_lowercase().as_str() {
                "source" | "src" => name = value.into(),
                "target" => target = value.into(),
                "uid" => uid = value.into(),
                "gid" => gid = value.into(),
                "mode" => {
                    let parsed = match value.strip_prefix("0o").or(value.strip_prefix('0')) {
                        Some(octal) if !octal.is_empty() => u32::from_str_radix(octal, 8),
                        _ => value.parse(),
                    };
                    mode = parsed.map_err(|_| {
                        format!("invalid mode specified: strconv.ParseUint: parsing {value:?}: invalid syntax")
                    })?;
                }
                _ => return Err(format!("invalid field in {what} request: {key}")),
            }
        }
    }
    if name.is_empty() {
        return Err("source is required".into());
    }
    if target.is_empty() {
        target.clone_from(&name);
    }
    let file = json!({ "Name": target, "UID": uid, "GID": gid, "Mode": mode });
    Ok((name, json!({ "File": file })))
}

/// `--ulimit NAME=SOFT[:HARD]`
pub fn ulimit(text: &str) -> Parse<Value> {
    const NAMES: &[&str] = &[
        "core",
        "cpu",
        "data",
        "fsize",
        "locks",
        "memlock",
        "msgqueue",
        "nice",
        "nofile",
        "nproc",
        "rss",
        "rtprio",
        "rttime",
        "sigpending",
        "stack",
    ];
    let (name, limits) = text.split_once('=').ok_or_else(|| format!("invalid ulimit argument: {text}"))?;
    if !NAMES.contains(&name) {
        return Err(format!("invalid ulimit type: {name}"));
    }
    let (soft, hard) = limits.split_once(':').unwrap_or((limits, limits));
    let number =
        |text: &str| text.parse::<i64>().map_err(|_| format!("strconv.ParseInt: parsing {text:?}: invalid syntax"));
    let (soft, hard) = (number(soft)?, number(hard)?);
    if hard >= 0 && (soft > hard || soft == -1) {
        return Err(format!("ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}"));
    }
    Ok(json!({ "Name": name, "Hard": hard, "Soft": soft }))
}

/// `--placement-pref spread=...`
pub fn preference(text: &str) -> Parse<Value> {
    match text.split_once('=') {
        None | Some(("", _)) => Err("placement preference must be of the format \"<strategy>=<arg>\"".into()),
        Some(("spread", descriptor)) => Ok(json!({ "Spread": { "SpreadDescriptor": descriptor } })),
        Some((other, _)) => Err(format!("unsupported placement preference {other} (only spread is supported)")),
    }
}

/// `--credential-spec`
pub fn credential_spec(text: &str) -> Parse<Value> {
    for (prefix, key) in [("config://", "Config"), ("file://", "File"), ("registry://", "Registry")] {
        if let Some(value) = text.strip_prefix(prefix) {
            return Ok(json!({ key: value }));
        }
    }
    match text {
        "" => Ok(json!({})),
        _ => Err("invalid credential spec: value must be prefixed with \"config://\", \"file://\", or \"registry://\""
            .into()),
    }
}

/// `--generic-resource KIND=COUNT`
pub fn generic_resource(text: &str) -> Parse<Value> {
    let Some((kind, value)) = text.split_once('=') else {
        return Err(format!("invalid generic-resource format `{text}` expected `name=value`"));
    };
    match value.parse::<i64>() {
        Ok(count) => Ok(json!({ "DiscreteResourceSpec": { "Kind": kind, "Value": count } })),
        Err(_) => Err(format!(
            "invalid generic-resource request `{kind}={value}`, Named Generic Resources is not supported for service create or update"
        )),
    }
}

/// `--sysctl` of a container: only settings that belong to a namespace.
pub fn sysctl(text: &str) -> Parse<()> {
    const NAMES: &[&str] = &["msgmax", "msgmnb", "msgmni", "sem", "shmall", "shmmax", "shmmni", "shm_rmid_forced"];
    let allowed = text.split_once('=').is_some_and(|(key, _)| {
        key.starts_with("net.")
            || key.starts_with("fs.mqueue.")
            || key.strip_prefix("kernel.").is_some_and(|name| NAMES.contains(&name))
    });
    match allowed {
        true => Ok(()),
        false => Err(format!("sysctl '{text}' is not allowed")),
    }
}

/// Capabilities as the engine wants them: upper case, `CAP_` in front, sorted, without repetition.
pub fn capabilities(texts: &[String]) -> Vec<String> {
    let mut out: Vec<String> = texts
        .iter()
        .map(|text| {
            let upper = text.trim().to_uppercase();
            match upper.as_str() {
                "ALL" | "RESET" => upper,
                _ if upper.starts_with("CAP_") => upper,
                _ => format!("CAP_{upper}"),
            }
        })
        .collect();
    out.sort();
    out.dedup();
    out
}

/// Lines of an `--env-file`: comments and blank lines skipped, names without value filled from `lookup`.
pub fn env_file(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Parse<Vec<String>> {
    let mut out = Vec::new();
    for line in text.trim_start_matches('\u{feff}').lines() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let name = line.split_once('=').map_or(line, |(name, _)| name);
        if name.contains(char::is_whitespace) {
            return Err(format!("variable '{name}' contains whitespaces"));
        }
        if name.is_empty() {
            return Err(format!("no variable name on line '{line}'"));
        }
        match line.contains('=') {
            true => out.push(line.to_owned()),
            false => out.extend(lookup(name).map(|value| format!("{name}={value}"))),
        }
    }
    Ok(out)
}

/// `-e` values: a name without `=` takes its value from `lookup`, or is left as it is when there is none.
pub fn env_values(texts: &[String], lookup: &dyn Fn(&str) -> Option<String>) -> Vec<String> {
    let fill = |text: &String| match text.contains('=') {
        true => text.clone(),
        false => lookup(text).map_or_else(|| text.clone(), |value| format!("{text}={value}")),
    };
    texts.iter().map(fill).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn mounts_take_options_of_their_own_kind_only() {
        assert_eq!(
            mount("type=bind,src=/a,dst=/b,ro").unwrap(),
            json!({"Type": "bind", "Source": "/a", "Target": "/b", "ReadOnly": true})
        );
        assert_eq!(
            mount("src=data,target=/d,volume-nocopy,volume-opt=a=b").unwrap(),
            json!({"Type": "volume", "Source": "data", "Target": "/d", "VolumeOptions": {"NoCopy": true, "DriverConfig": {"Options": {"a": "b"}}}})
        );
        assert_eq!(mount("type=foo").unwrap_err(), "target is required");
        assert_eq!(
            mount("type=tmpfs,dst=/t,volume-nocopy").unwrap_err(),
            "cannot mix 'volume-*' options with mount type 'tmpfs'"
        );
        assert_eq!(mount("x").unwrap_err(), "invalid field 'x' must be a key=value pair");
    }

    #[test]
    fn fields_may_be_quoted() {
        assert_eq!(csv("a,\"b,\"\"c\"\"\",").unwrap(), ["a", "b,\"c\"", ""]);
        assert_eq!(csv("a,b\nc").unwrap(), ["a", "b"]);
        assert_eq!(csv("a,b\"c").unwrap_err(), "parse error on line 1, column 4: bare \" in non-quoted-field");
        assert_eq!(
            csv("\"a\"b").unwrap_err(),
            "parse error on line 1, column 3: extraneous or missing \" in quoted-field"
        );
        assert_eq!(
            csv("\"a").unwrap_err(),
            "parse error on line 1, column 3: extraneous or missing \" in quoted-field"
        );
        assert_eq!(csv("").unwrap_err(), "EOF");
    }

    #[test]
    fn words_split_as_in_a_shell() {
        assert_eq!(split_words("sh -c 'a b' \"c\\\" d\" e\\ f").unwrap(), ["sh", "-c", "a b", "c\" d", "e f"]);
        assert!(split_words("'open").is_err());
    }

    #[test]
    fn secrets_name_their_target() {
        let (name, reference) = file_reference("source=pw,target=/x,mode=0400", "secret").unwrap();
        assert_eq!(name, "pw");
        assert_eq!(reference["File"], json!({"Name": "/x", "UID": "0", "GID": "0", "Mode": 0o400}));
        assert_eq!(file_reference("target=x", "secret").unwrap_err(), "source is required");
    }

    #[test]
    fn limits_are_checked() {
        assert_eq!(ulimit("nofile=1:2").unwrap(), json!({"Name": "nofile", "Hard": 2, "Soft": 1}));
        assert_eq!(ulimit("foo=1").unwrap_err(), "invalid ulimit type: foo");
        assert_eq!(capabilities(&["net_admin".into(), "CAP_SYS_TIME".into()]), ["CAP_NET_ADMIN", "CAP_SYS_TIME"]);
    }

    proptest! {
        #[test]
        fn any_text_parses_or_is_refused(text in ".{0,60}") {
            let _ = (csv(&text), split_words(&text), mount(&text));
            let _ = (file_reference(&text, "secret"), ulimit(&text), generic_resource(&text));
        }
    }
}
