//! Runs a parsed template.

use super::Language;
use super::functions;
use super::parse::{Arg, ArgKind, Command, Node, Pipe, Place};
use super::print::{go_type, listed, print};
use serde_json::Value;

/// Most bytes that one template may produce.
const MAX_OUTPUT: usize = 16 * 1024 * 1024;
/// Most steps that one template may take.
const MAX_STEPS: usize = 2_000_000;

/// What a field that is not there means.
#[derive(Debug, Clone, Copy)]
pub enum Absent {
    /// An error that names this Go type, for rows of lists: their accessors are all known.
    Error(&'static str),
    /// `<no value>`.
    NoValue,
    /// An error, in these words for a field of what is called so (nothing: the root).
    Fails(fn(Option<&str>, &str) -> String),
    /// Objects of the engine: fields that it leaves out when empty are zero values; others are an error. The function
    /// knows the zero value of a field, and perhaps Go's name of the object.
    Zero {
        /// The zero value of a field.
        zero: fn(&str) -> Option<Value>,
        /// Go's name of the object, where Docker knows one.
        type_name: Option<&'static str>,
    },
}

/// A value, or the absence of one.
pub type Maybe = Option<Value>;

enum Flow {
    Next,
    Break,
    Continue,
}

struct State<'a> {
    out: String,
    root: &'a Value,
    variables: Vec<(String, Maybe)>,
    steps: usize,
    absent: Absent,
    header: bool,
    language: &'a Language<'a>,
}

pub fn execute(
    nodes: &[Node],
    root: &Value,
    absent: Absent,
    header: bool,
    language: &Language<'_>,
) -> Result<String, String> {
    let variables = vec![("$".to_owned(), Some(root.clone()))];
    let mut state = State { out: String::new(), root, variables, steps: 0, absent, header, language };
    state.walk(nodes, &Some(root.clone()))?;
    Ok(state.out)
}

fn fail<T>(place: &Place, reason: impl std::fmt::Display) -> Result<T, String> {
    let short: String = if place.text.chars().count() > 20 {
        place.text.chars().take(20).chain("...".chars()).collect()
    } else {
        place.text.clone()
    };
    Err(format!("template: :{}:{}: executing \"\" at <{short}>: {reason}", place.line, place.column))
}

impl State<'_> {
    fn walk(&mut self, nodes: &[Node], dot: &Maybe) -> Result<Flow, String> {
        for node in nodes {
            self.steps += 1;
            if self.steps > MAX_STEPS || self.out.len() > MAX_OUTPUT {
                return Err(format!("template: :1: executing \"\": more than {MAX_STEPS} steps or {MAX_OUTPUT} bytes"));
            }
            match node {
                Node::Text(text) => self.out.push_str(text),
                Node::Action(pipe) => {
                    let value = self.pipe(pipe, dot)?;
                    if pipe.variables.is_empty() {
                        match value {
                            Some(value) => self.out.push_str(&print(&value)),
                            None => self.out.push_str("<no value>"),
                        }
                    }
                }
                Node::If { pipe, then, otherwise } => {
                    let scope = self.variables.len();
                    let value = self.pipe(pipe, dot)?;
                    let flow = self.walk(if functions::is_true(&value) { then } else { otherwise }, dot)?;
                    self.variables.truncate(scope);
                    if !matches!(flow, Flow::Next) {
                        return Ok(flow);
                    }
                }
                Node::With { pipe, body, otherwise } => {
                    let scope = self.variables.len();
                    let value = self.pipe(pipe, dot)?;
                    let flow = match functions::is_true(&value) {
                        true => self.walk(body, &value)?,
                        false => self.walk(otherwise, dot)?,
                    };
                    self.variables.truncate(scope);
                    if !matches!(flow, Flow::Next) {
                        return Ok(flow);
                    }
                }
                Node::Range { pipe, body, otherwise } => self.range(pipe, body, otherwise, dot)?,
                Node::Break => return Ok(Flow::Break),
                Node::Continue => return Ok(Flow::Continue),
            }
        }
        Ok(Flow::Next)
    }

    fn range(&mut self, pipe: &Pipe, body: &[Node], otherwise: &[Node], dot: &Maybe) -> Result<(), String> {
        let scope = self.variables.len();
        let undeclared = Pipe { variables: Vec::new(), ..pipe.clone() };
        let items: Vec<(Value, Value)> = match self.pipe(&undeclared, dot)?.map(listed) {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(items)) => items.into_iter().enumerate().map(|(i, v)| (Value::from(i), v)).collect(),
            Some(Value::Object(map)) => {
                let mut pairs: Vec<(String, Value)> = map.into_iter().collect();
                pairs.sort_by(|a, b| a.0.cmp(&b.0));
                pairs.into_iter().map(|(k, v)| (Value::from(k), v)).collect()
            }
            Some(Value::Number(n)) if n.as_u64().is_some_and(|n| n <= 100_000) => {
                (0..n.as_u64().unwrap_or(0)).map(|i| (Value::from(i), Value::from(i))).collect()
            }
            Some(other) => {
                return fail(&pipe.commands[0].place, format!("range can't iterate over {}", print(&other)));
            }
        };
        if items.is_empty() {
            self.walk(otherwise, dot)?;
        }
        for (key, value) in items {
            match pipe.variables.as_slice() {
                [only] => self.declare(only, Some(value.clone()), pipe.assigns),
                [first, second] => {
                    self.declare(first, Some(key), pipe.assigns);
                    self.declare(second, Some(value.clone()), pipe.assigns);
                }
                _ => {}
            }
            let flow = self.walk(body, &Some(value))?;
            self.variables.truncate(scope);
            if matches!(flow, Flow::Break) {
                break;
            }
        }
        Ok(())
    }

    fn declare(&mut self, name: &str, value: Maybe, assigns: bool) {
        if assigns && let Some(slot) = self.variables.iter_mut().rev().find(|(n, _)| n == name) {
            slot.1 = value;
            return;
        }
        self.variables.push((name.to_owned(), value));
    }

    fn pipe(&mut self, pipe: &Pipe, dot: &Maybe) -> Result<Maybe, String> {
        let mut last: Option<Maybe> = None;
        for command in &pipe.commands {
            last = Some(self.command(command, dot, last.take())?);
        }
        let value = last.flatten();
        for name in &pipe.variables {
            self.declare(name, value.clone(), pipe.assigns);
        }
        Ok(value)
    }

    fn command(&mut self, command: &Command, dot: &Maybe, piped: Option<Maybe>) -> Result<Maybe, String> {
        self.steps += 1;
        let first = &command.args[0];
        let ArgKind::Function(name) = &first.kind else {
            if command.args.len() > 1 || piped.is_some() {
                if let Some(value) = self.method(command, dot, &piped)? {
                    return Ok(Some(value));
                }
                return fail(&first.place, format!("can't give argument to non-function {}", first.place.text));
            }
            return self.arg(first, dot);
        };
        // `and` and `or` look at no more arguments than they need.
        if name == "and" || name == "or" {
            let mut value = None;
            for arg in &command.args[1..] {
                value = self.arg(arg, dot)?;
                if functions::is_true(&value) == (name == "or") {
                    return Ok(value);
                }
            }
            return Ok(piped.unwrap_or(value));
        }
        let mut args = Vec::with_capacity(command.args.len());
        for arg in &command.args[1..] {
            args.push(self.arg(arg, dot)?);
        }
        if let Some(arity) = self.language.arity(name) {
            return self.own(name, arity, command, &args, piped);
        }
        args.extend(piped);
        let result = match functions::call(name, &args, self.header) {
            Ok(value) => value,
            Err(functions::Error::Arguments(reason)) => return fail(&command.place, reason),
            Err(functions::Error::Call(reason)) => {
                return fail(&command.place, format!("error calling {name}: {reason}"));
            }
        };
        self.fields(result, first)
    }

    /// Calls a function of the language's own.
    fn own(
        &self,
        name: &str,
        arity: Option<usize>,
        command: &Command,
        args: &[Maybe],
        piped: Option<Maybe>,
    ) -> Result<Maybe, String> {
        let first = &command.args[0];
        let given = args.len() + usize::from(piped.is_some());
        if arity.is_some_and(|arity| arity != given) {
            let want = arity.unwrap_or_default();
            return fail(&first.place, format!("wrong number of args for {name}: want {want} got {given}"));
        }
        let places = command.args[1..].iter().map(|arg| &arg.place).chain([&first.place]);
        let mut texts = Vec::with_capacity(given);
        for (value, place) in args.iter().chain(&piped).zip(places) {
            match value {
                Some(Value::String(text)) => texts.push(text.as_str()),
                _ => return fail(place, format!("expected string; found {}", place.text)),
            }
        }
        match (self.language.call)(name, &texts) {
            Ok(text) => Ok(Some(text.into())),
            Err(reason) => fail(&command.place, format!("error calling {name}: {reason}")),
        }
    }

    /// `.Label "key"`, where the data has such a method; headers show the last part of the key.
    fn method(&mut self, command: &Command, dot: &Maybe, piped: &Option<Maybe>) -> Result<Option<Value>, String> {
        let first = &command.args[0];
        let Some((name, [])) = first.fields.split_first().filter(|_| matches!(first.kind, ArgKind::Dot)) else {
            return Ok(None);
        };
        let map = dot.as_ref().and_then(|data| data.get(format!("{}{name}", super::METHOD)));
        let is_header = self.header && name == "Label";
        if map.is_none() && !is_header {
            return Ok(None);
        }
        let given = command.args.len() - 1 + usize::from(piped.is_some());
        if given != 1 {
            return fail(&first.place, format!("wrong number of args for {name}: want 1 got {given}"));
        }
        let key = match command.args.get(1) {
            Some(arg) => self.arg(arg, dot)?,
            None => piped.clone().flatten(),
        };
        let key = key.as_ref().and_then(Value::as_str).unwrap_or("");
        if is_header {
            return Ok(Some(Value::from(key.rsplit('.').next().unwrap_or("").replace(['-', '_'], " "))));
        }
        Ok(Some(map.and_then(|map| map.get(key)).cloned().unwrap_or(Value::from(""))))
    }

    fn arg(&mut self, arg: &Arg, dot: &Maybe) -> Result<Maybe, String> {
        let base = match &arg.kind {
            ArgKind::Dot => dot.clone(),
            ArgKind::Nil => Some(Value::Null),
            ArgKind::Bool(b) => Some(Value::from(*b)),
            ArgKind::Int(n) => Some(Value::from(*n)),
            ArgKind::Float(n) => Some(Value::from(*n)),
            ArgKind::Str(text) => Some(Value::from(text.as_str())),
            ArgKind::Variable(name) => match name.as_str() {
                "$" => Some(self.root.clone()),
                _ => self.variables.iter().rev().find(|(n, _)| n == name).and_then(|(_, value)| value.clone()),
            },
            ArgKind::Pipe(pipe) => self.pipe(pipe, dot)?,
            ArgKind::Function(name) if self.language.arity(name).is_some() => {
                return fail(&arg.place, format!("can't use function {name} as an argument: put it into parentheses"));
            }
            ArgKind::Function(name) => match functions::call(name, &[], self.header) {
                Ok(value) => value,
                Err(functions::Error::Arguments(reason) | functions::Error::Call(reason)) => {
                    return fail(&arg.place, reason);
                }
            },
        };
        match matches!(arg.kind, ArgKind::Function(_)) {
            true => Ok(base),
            false => self.fields(base, arg),
        }
    }

    fn fields(&self, base: Maybe, arg: &Arg) -> Result<Maybe, String> {
        let mut value = base;
        for (depth, name) in arg.fields.iter().enumerate() {
            let Some(current) = value else {
                return fail(&arg.place, format!("nil data; no entry for key {name:?}"));
            };
            value = match current {
                Value::Object(mut map) => match map.shift_remove(name) {
                    Some(value) => Some(value),
                    None => self.absent(arg, depth, name)?,
                },
                Value::Null => {
                    let parent = depth.checked_sub(1).map_or("", |at| arg.fields[at].as_str());
                    return fail(&arg.place, format!("nil pointer evaluating {}.{name}", pointer_type(parent)));
                }
                other => {
                    let kind = go_type(&other);
                    return fail(&arg.place, format!("can't evaluate field {name} in type {kind}"));
                }
            };
        }
        Ok(value)
    }

    fn absent(&self, arg: &Arg, depth: usize, name: &str) -> Result<Maybe, String> {
        match self.absent {
            Absent::NoValue => Ok(None),
            Absent::Fails(words) => {
                let parent = depth.checked_sub(1).map(|at| arg.fields[at].as_str());
                fail(&arg.place, words(parent, name))
            }
            Absent::Error(_) if depth == 0 && self.root.get(format!("{}{name}", super::METHOD)).is_some() => {
                fail(&arg.place, format!("wrong number of args for {name}: want 1 got 0"))
            }
            Absent::Error(type_name) => fail(&arg.place, format!("can't evaluate field {name} in type {type_name}")),
            Absent::Zero { zero, type_name } => {
                // Keys of maps are the user's own; a missing one is no mistake.
                let parent = depth.checked_sub(1).map(|at| arg.fields[at].as_str());
                if parent.is_some_and(is_user_map) {
                    return Ok(None);
                }
                match (zero(name), type_name.filter(|_| depth == 0)) {
                    (Some(value), _) => Ok(Some(value)),
                    (None, Some(type_name)) => {
                        fail(&arg.place, format!("can't evaluate field {name} in type {type_name}"))
                    }
                    (None, None) => fail(&arg.place, format!("map has no entry for key {name:?}")),
                }
            }
        }
    }
}

/// Fields that hold maps with keys of the user's.
fn is_user_map(name: &str) -> bool {
    matches!(
        name,
        "Labels"
            | "Options"
            | "Opts"
            | "DriverOpts"
            | "Sysctls"
            | "Networks"
            | "Ports"
            | "Volumes"
            | "Annotations"
            | "PortBindings"
            | "ExposedPorts"
            | "Containers"
            | "Tmpfs"
            | "StorageOpt"
            | "Config"
            | "Attributes"
            | "Services"
    )
}

/// Go's type of a field that may be absent as a whole.
fn pointer_type(field: &str) -> &'static str {
    match field {
        "UpdateStatus" => "*swarm.UpdateStatus",
        "PreviousSpec" => "*swarm.ServiceSpec",
        "UpdateConfig" | "RollbackConfig" => "*swarm.UpdateConfig",
        "RestartPolicy" => "*swarm.RestartPolicy",
        "ManagerStatus" => "*swarm.ManagerStatus",
        "Placement" => "*swarm.Placement",
        "Resources" => "*swarm.ResourceRequirements",
        "Replicated" => "*swarm.ReplicatedService",
        "Global" => "*swarm.GlobalService",
        "ReplicatedJob" => "*swarm.ReplicatedJob",
        "JobStatus" => "*swarm.JobStatus",
        "ServiceStatus" => "*swarm.ServiceStatus",
        "EndpointSpec" => "*swarm.EndpointSpec",
        "LogDriver" => "*swarm.Driver",
        "Healthcheck" => "*container.HealthConfig",
        "Cluster" => "*swarm.ClusterInfo",
        _ => "interface {}",
    }
}
