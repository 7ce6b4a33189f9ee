//! Lists: `--format`, `-q`, `table`, `json`, and the default table of each kind.

use super::tabwriter::{LIST, align};
use go_template::print::go_json_escaped;
use go_template::{Absent, Template};
use serde_json::{Map, Value};

/// What a list of some kind can show.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// Accessor and column header.
    pub headers: &'static [(&'static str, &'static str)],
    /// The default table, after the word `table`.
    pub table: &'static str,
    /// Go's name of a row, which errors show.
    pub type_name: &'static str,
    /// What the format `raw` stands for, with `-q` and without.
    pub raw: Option<(&'static str, &'static str)>,
}

/// Renders rows. An empty `format` is the default table.
pub fn render(kind: Kind, format: &str, quiet: bool, rows: &[Value]) -> Result<String, String> {
    let default = format!("table {}", kind.table);
    let format = match format {
        "" | "table" if quiet => "{{.ID}}",
        "" | "table" => &default,
        "raw" if quiet => kind.raw.map_or(format, |(quiet, _)| quiet),
        "raw" => kind.raw.map_or(format, |(_, full)| full),
        other => other,
    };
    if matches!(format, "json" | "{{json .}}") {
        let line = |row| go_json_escaped(&sorted(row).to_string()) + "\n";
        return Ok(rows.iter().map(line).collect());
    }
    let is_table = format.starts_with("table");
    let text = format.strip_prefix("table").unwrap_or(format).trim_matches(' ');
    let text = text.replace("\\t", "\t").replace("\\n", "\n");
    let template = Template::parse(&text).map_err(|e| format!("template parsing error: {e}"))?;
    let mut body = String::new();
    for row in rows {
        let line = template.execute(row, Absent::Error(kind.type_name));
        body.push_str(&line.map_err(|e| format!("template parsing error: {e}"))?);
        body.push('\n');
    }
    if !is_table {
        return Ok(body);
    }
    let headers: Map<String, Value> =
        kind.headers.iter().map(|(name, header)| ((*name).to_owned(), Value::from(*header))).collect();
    // Go runs the header template for what it is worth and ignores its failure.
    let header = template.execute_header(&Value::Object(headers)).unwrap_or_default();
    Ok(align(&format!("{header}\n{body}"), LIST))
}

/// Go writes the fields of a row in order of their names.
fn sorted(row: &Value) -> Value {
    let Value::Object(map) = row else {
        return row.clone();
    };
    let mut pairs: Vec<_> = map.iter().filter(|(name, _)| !name.starts_with(go_template::METHOD)).collect();
    pairs.sort_by(|a, b| a.0.cmp(b.0));
    Value::Object(pairs.into_iter().map(|(k, v)| (k.clone(), v.clone())).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    const KIND: Kind = Kind {
        headers: &[("ID", "ID"), ("Name", "NAME")],
        table: "{{.ID}}\t{{.Name}}",
        type_name: "*test.row",
        raw: None,
    };

    fn rows() -> Vec<Value> {
        vec![json!({"Name": "web", "ID": "abc"}), json!({"Name": "db", "ID": "def"})]
    }

    #[test]
    fn the_default_is_a_table() {
        assert_eq!(render(KIND, "", false, &rows()).unwrap(), "ID        NAME\nabc       web\ndef       db\n");
        assert_eq!(render(KIND, "", false, &[]).unwrap(), "ID        NAME\n");
        assert_eq!(render(KIND, "", true, &rows()).unwrap(), "abc\ndef\n");
    }

    #[test]
    fn formats_choose_columns() {
        assert_eq!(
            render(KIND, "table {{upper .Name}}\\t{{.ID}}", false, &rows()).unwrap(),
            "NAME      ID\nWEB       abc\nDB        def\n"
        );
        assert_eq!(render(KIND, "{{.Name}}", false, &rows()).unwrap(), "web\ndb\n");
        assert_eq!(
            render(KIND, "json", false, &rows()).unwrap(),
            "{\"ID\":\"abc\",\"Name\":\"web\"}\n{\"ID\":\"def\",\"Name\":\"db\"}\n"
        );
        assert_eq!(
            render(KIND, "{{.Foo}}", false, &rows()).unwrap_err(),
            "template parsing error: template: :1:2: executing \"\" at <.Foo>: can't evaluate field Foo in type *test.row"
        );
    }
}
