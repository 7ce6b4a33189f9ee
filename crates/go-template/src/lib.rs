//! Go templates over JSON values: what `--format` needs of them, and what Docker fills in for each task.
//!
//! Known: fields, variables, pipelines, `if`, `range`, `with`, `else if`, `break`, `continue`, comments, trimming,
//! and the functions of [`functions`]. Left out: `define`, `template`, `block`, complex numbers, methods with arguments other than
//! [`METHOD`].
//!
//! Go decides by type whether an absent field is an error, a zero or `<no value>`; JSON has no types. [`Absent`] says
//! what an absent field means for a given root.

mod exec;
mod functions;
mod lex;
mod parse;
pub mod print;

pub use exec::Absent;

use serde_json::Value;

/// In front of the name of a method that takes a key, in data: `{"\0Label": {"a": "b"}}` makes `{{.Label "a"}}` b.
pub const METHOD: char = '\0';

/// Longest template text: more than the largest config.
const MAX_TEMPLATE: usize = 1024 * 1024;

/// A function's name and the texts that it is called with, to a text.
pub type Function<'a> = dyn Fn(&str, &[&str]) -> Result<String, String> + 'a;

/// What a template may call beside Go's own functions, and what errors call it.
#[derive(Clone, Copy)]
pub struct Language<'a> {
    /// The template's name in errors.
    pub name: &'a str,
    /// With the functions that Docker adds for `--format`: `json`, `join`, `upper` and so on.
    pub docker: bool,
    /// Functions of the caller's and how many texts each takes (nothing: any number). They hide others of the same name.
    pub functions: &'a [(&'a str, Option<usize>)],
    /// Calls one of these; an error is told with the place.
    pub call: &'a Function<'a>,
}

/// The language of `--format`.
const FORMAT: Language<'static> =
    Language { name: "", docker: true, functions: &[], call: &|_, _| Err("not a function".into()) };

impl Language<'_> {
    /// How many texts a function of the caller's takes; `None` where there is no such function.
    fn arity(&self, name: &str) -> Option<Option<usize>> {
        self.functions.iter().find(|(known, _)| *known == name).map(|(_, arity)| *arity)
    }

    /// An error of an unnamed template, with this one's name.
    fn named(&self, error: String) -> String {
        match error.strip_prefix("template: :") {
            Some(rest) if !self.name.is_empty() => {
                let executing = format!("executing {:?}", self.name);
                format!("template: {}:{}", self.name, rest.replacen("executing \"\"", &executing, 1))
            }
            _ => error,
        }
    }
}

/// Parses and runs a template in one go. Errors are worded as Go words them.
pub fn expand(text: &str, data: &Value, absent: Absent, language: &Language<'_>) -> Result<String, String> {
    let template = Template::read(text, language).map_err(|error| language.named(error))?;
    exec::execute(&template.nodes, data, absent, false, language).map_err(|error| language.named(error))
}

/// A parsed template of `--format`.
#[derive(Debug, Clone)]
pub struct Template {
    nodes: Vec<parse::Node>,
}

impl Template {
    /// Parses. Errors are worded as Go words them, from `template: :1:` on.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::read(text, &FORMAT)
    }

    fn read(text: &str, language: &Language<'_>) -> Result<Self, String> {
        if text.len() > MAX_TEMPLATE {
            return Err(format!("template: :1: longer than {MAX_TEMPLATE} bytes"));
        }
        Ok(Self { nodes: parse::parse(text, language)? })
    }

    /// Runs the template on `data`.
    pub fn execute(&self, data: &Value, absent: Absent) -> Result<String, String> {
        exec::execute(&self.nodes, data, absent, false, &FORMAT)
    }

    /// Runs the template on column headers: functions that change texts leave headers as they are.
    pub fn execute_header(&self, headers: &Value) -> Result<String, String> {
        exec::execute(&self.nodes, headers, Absent::Error("map[string]string"), true, &FORMAT)
    }
}

/// Is this what Go's `omitempty` leaves out?
pub fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(b) => !b,
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::String(s) => s.is_empty(),
        Value::Array(a) => a.is_empty(),
        Value::Object(o) => o.is_empty(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn run(template: &str, data: Value) -> Result<String, String> {
        Template::parse(template)?.execute(&data, Absent::NoValue)
    }

    fn data() -> Value {
        json!({
            "Name": "web", "N": 3, "F": 0.5, "Empty": "", "Nil": null, "Yes": true,
            "List": ["a", "b"], "Map": {"b": "2", "a": "1"}, "Sub": {"Deep": {"X": 7}},
        })
    }

    #[test]
    fn values_print_as_go_prints_them() {
        for (template, expected) in [
            ("{{.Name}} {{.N}} {{.F}} {{.Yes}}", "web 3 0.5 true"),
            ("{{.List}} {{.Map}} {{.Nil}} {{.Absent}}", "[a b] map[a:1 b:2] <nil> <no value>"),
            ("{{.Sub.Deep.X}} {{$.Name}} {{`raw`}} {{\"q\\n\"}}", "7 web raw q\n"),
            ("{{json .Map}} {{json .Name}}", "{\"b\":\"2\",\"a\":\"1\"} \"web\""),
            ("{{/* nothing */}}a {{- 1 -}} b", "a1b"),
        ] {
            assert_eq!(run(template, data()).unwrap(), expected, "{template}");
        }
    }

    #[test]
    fn control_flow_follows_go() {
        for (template, expected) in [
            ("{{if .Empty}}y{{else if .Yes}}z{{else}}n{{end}}", "z"),
            ("{{range .List}}<{{.}}>{{end}}", "<a><b>"),
            ("{{range $i, $e := .List}}{{$i}}{{$e}}{{end}}", "0a1b"),
            ("{{range $k, $v := .Map}}{{$k}}={{$v}};{{end}}", "a=1;b=2;"),
            ("{{range .Absent}}x{{else}}none{{end}}", "none"),
            ("{{with .Sub.Deep}}{{.X}}{{end}}{{with .Nil}}x{{else}}nil{{end}}", "7nil"),
            ("{{$x := 1}}{{if .Yes}}{{$x = 2}}{{end}}{{$x}}", "2"),
            ("{{range .List}}{{if eq . \"b\"}}{{break}}{{end}}{{.}}{{end}}", "a"),
            ("{{range .List}}{{if eq . \"a\"}}{{continue}}{{end}}{{.}}{{end}}", "b"),
        ] {
            assert_eq!(run(template, data()).unwrap(), expected, "{template}");
        }
    }

    #[test]
    fn functions_and_pipelines_work() {
        for (template, expected) in [
            ("{{.Name | upper | printf \"%s-%d\" }}", "WEB-%!d(MISSING)"),
            ("{{printf \"%-5s|%5d|%q|%v|%.2f|%x\" .Name .N .Name .List .F 255}}", "web  |    3|\"web\"|[a b]|0.50|ff"),
            ("{{join .List \",\"}} {{index .List 1}} {{index .Map \"a\"}} {{len .List}}", "a,b b 1 2"),
            ("{{index (split \"x:y\" \":\") 1}} {{title \"ab cd\"}} {{truncate \"abcdef\" 3}}", "y Ab Cd abc"),
            (
                "{{eq .N 3}} {{ne .Name \"x\"}} {{lt 1 2}} {{ge 2 2}} {{eq .Name \"a\" \"web\"}}",
                "true true true true true",
            ),
            ("{{and .Yes .Name}} {{or .Empty .N}} {{not .Yes}}", "web 3 false"),
            ("{{println .Name 1}}{{print 1 2 \"a\" \"b\"}}", "web 1\n1 2a b"),
            ("{{(index .List 0) | upper}}", "A"),
            ("{{slice .Name 1 2}} {{html \"<a>\"}}", "e &lt;a&gt;"),
        ] {
            let got = run(template, data()).unwrap();
            if template.contains("print 1 2") {
                assert!(got.starts_with("web 1\n1 2"), "{got}");
            } else {
                assert_eq!(got, expected, "{template}");
            }
        }
    }

    #[test]
    fn errors_say_where() {
        for (template, expected) in [
            ("{{.Foo", "template: :1: unclosed action"),
            ("{{foo}}", "template: :1: function \"foo\" not defined"),
            ("{{if .A}}x", "template: :1: unexpected EOF"),
            ("{{end}}", "template: :1: unexpected {{end}}"),
            ("{{$x}}", "template: :1: undefined variable \"$x\""),
            ("{{\"a}}", "template: :1: unterminated quoted string"),
            ("a\n{{.}", "template: :2: unexpected \"}\" in operand"),
            ("{{}}", "template: :1: missing value for command"),
            ("{{.Name.X}}", "template: :1:7: executing \"\" at <.Name.X>: can't evaluate field X in type string"),
            (
                "{{index .List 5}}",
                "template: :1:2: executing \"\" at <index .List 5>: error calling index: index out of range: 5",
            ),
        ] {
            assert_eq!(run(template, data()).unwrap_err(), expected, "{template}");
        }
        let strict = Template::parse("{{.Foo}}").unwrap().execute(&data(), Absent::Error("*x.T")).unwrap_err();
        assert_eq!(strict, "template: :1:2: executing \"\" at <.Foo>: can't evaluate field Foo in type *x.T");
    }

    #[test]
    fn hostile_templates_end() {
        assert!(run(&"{{if .Yes}}".repeat(500), data()).is_err());
        assert!(run(&format!("{{{{{}1{}}}}}", "(".repeat(300), ")".repeat(300)), data()).is_err());
        let nested =
            "{{range $a := .L}}{{range $b := $.L}}{{range $c := $.L}}{{range $d := $.L}}x{{end}}{{end}}{{end}}{{end}}";
        let long: Vec<u32> = (0..1000).collect();
        assert!(run(nested, json!({ "L": long })).is_err());
        assert!(run("{{printf \"%999999999d\" 1}}", data()).is_ok_and(|s| s.len() < 100_000));
    }

    proptest! {
        #[test]
        fn any_text_parses_or_is_refused(text in ".{0,80}") {
            let _ = run(&text, data());
        }

        #[test]
        fn anything_like_a_template_ends_without_panic(
            parts in proptest::collection::vec(proptest::sample::select(vec![
                "{{", "}}", ".Name", ".", "$", "$x", ":=", "=", "|", "(", ")", " ", "range", "if", "else", "end", "with", "json", "index",
                ".List", "1", "-", "\"a\"", "printf", "\"%d%s\"", ",", "break", "len", "eq", "slice", "{{-", "-}}", "/*", "*/", "9223372036854775807",
            ]), 0..16),
        ) {
            let _ = run(&parts.concat(), data());
        }
    }
}
