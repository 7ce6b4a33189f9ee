//! Tokens to a tree.

use super::Language;
use super::functions;
use super::lex::{Kind, Token, lex, line_of};

/// Deepest nesting of blocks and parentheses.
const MAX_DEPTH: usize = 100;

#[derive(Debug, Clone)]
pub enum Node {
    Text(String),
    Action(Pipe),
    If { pipe: Pipe, then: Vec<Node>, otherwise: Vec<Node> },
    Range { pipe: Pipe, body: Vec<Node>, otherwise: Vec<Node> },
    With { pipe: Pipe, body: Vec<Node>, otherwise: Vec<Node> },
    Break,
    Continue,
}

/// `$a, $b := command | command`
#[derive(Debug, Clone)]
pub struct Pipe {
    pub variables: Vec<String>,
    /// `=` rather than `:=`.
    pub assigns: bool,
    pub commands: Vec<Command>,
}

/// A function or value with its arguments.
#[derive(Debug, Clone)]
pub struct Command {
    pub args: Vec<Arg>,
    pub place: Place,
}

/// Where something stands, for errors: line, column, and the text.
#[derive(Debug, Clone)]
pub struct Place {
    pub line: usize,
    pub column: usize,
    pub text: String,
}

#[derive(Debug, Clone)]
pub struct Arg {
    pub kind: ArgKind,
    pub fields: Vec<String>,
    pub place: Place,
}

#[derive(Debug, Clone)]
pub enum ArgKind {
    Dot,
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Str(String),
    Variable(String),
    Function(String),
    Pipe(Box<Pipe>),
}

pub fn parse(text: &str, language: &Language<'_>) -> Result<Vec<Node>, String> {
    let mut parser =
        Parser { text, language, tokens: lex(text)?, at: 0, variables: vec!["$".into()], depth: 0, ranges: 0 };
    let (nodes, end) = parser.list()?;
    match end {
        End::Eof => Ok(nodes),
        End::Closed => Err(parser.error("unexpected {{end}}")),
        End::Else => Err(parser.error("unexpected {{else}}")),
    }
}

enum End {
    Eof,
    Closed,
    /// The parser stands after the word `else`.
    Else,
}

struct Parser<'a> {
    text: &'a str,
    language: &'a Language<'a>,
    tokens: Vec<Token>,
    at: usize,
    variables: Vec<String>,
    depth: usize,
    ranges: usize,
}

impl Parser<'_> {
    fn pos(&self) -> usize {
        self.tokens.get(self.at).map_or(self.text.len(), |token| token.pos)
    }

    fn error(&self, message: impl std::fmt::Display) -> String {
        let pos = self.tokens.get(self.at.saturating_sub(1)).map_or(0, |token| token.pos);
        format!("template: :{}: {message}", line_of(self.text, pos))
    }

    fn peek(&self) -> Option<&Kind> {
        self.tokens.get(self.at).map(|token| &token.kind)
    }

    fn next(&mut self) -> Option<Kind> {
        let kind = self.tokens.get(self.at).map(|token| token.kind.clone());
        self.at += 1;
        kind
    }

    fn skip_space(&mut self) {
        while self.peek() == Some(&Kind::Space) {
            self.at += 1;
        }
    }

    fn deeper(&mut self) -> Result<(), String> {
        self.depth += 1;
        match self.depth > MAX_DEPTH {
            true => Err(self.error(format!("nesting deeper than {MAX_DEPTH}"))),
            false => Ok(()),
        }
    }

    fn list(&mut self) -> Result<(Vec<Node>, End), String> {
        let mut nodes = Vec::new();
        while let Some(kind) = self.next() {
            match kind {
                Kind::Text(text) => nodes.push(Node::Text(text)),
                _ => {
                    self.skip_space();
                    let word = match self.peek() {
                        Some(Kind::Word(word)) => word.clone(),
                        _ => String::new(),
                    };
                    match word.as_str() {
                        "end" => {
                            self.at += 1;
                            self.close("end")?;
                            return Ok((nodes, End::Closed));
                        }
                        "else" => {
                            self.at += 1;
                            return Ok((nodes, End::Else));
                        }
                        "if" | "with" | "range" => {
                            self.at += 1;
                            nodes.push(self.control(&word)?);
                        }
                        "break" | "continue" => {
                            self.at += 1;
                            if self.ranges == 0 {
                                return Err(self.error(format!("{{{{{word}}}}} outside {{{{range}}}}")));
                            }
                            self.close(&word)?;
                            nodes.push(if word == "break" { Node::Break } else { Node::Continue });
                        }
                        "define" | "template" | "block" => {
                            return Err(self.error(format!("{{{{{word}}}}} is not supported by this program")));
                        }
                        _ => nodes.push(Node::Action(self.pipe(&Kind::Close, "command")?)),
                    }
                }
            }
        }
        Ok((nodes, End::Eof))
    }

    fn close(&mut self, what: &str) -> Result<(), String> {
        self.skip_space();
        match self.next() {
            Some(Kind::Close) => Ok(()),
            _ => Err(self.error(format!("unexpected token in {what}"))),
        }
    }

    fn control(&mut self, word: &str) -> Result<Node, String> {
        self.deeper()?;
        let scope = self.variables.len();
        let pipe = self.pipe(&Kind::Close, word)?;
        self.ranges += usize::from(word == "range");
        let (body, end) = self.list()?;
        self.ranges -= usize::from(word == "range");
        let otherwise = match end {
            End::Eof => return Err(self.error("unexpected EOF")),
            End::Closed => Vec::new(),
            End::Else => self.otherwise(word)?,
        };
        self.variables.truncate(scope);
        self.depth -= 1;
        Ok(match word {
            "if" => Node::If { pipe, then: body, otherwise },
            "with" => Node::With { pipe, body, otherwise },
            _ => Node::Range { pipe, body, otherwise },
        })
    }

    /// What follows the word `else`: `if ...`, `with ...`, or a plain list up to `end`.
    fn otherwise(&mut self, word: &str) -> Result<Vec<Node>, String> {
        self.skip_space();
        if let Some(Kind::Word(next)) = self.peek()
            && next == word
            && word != "range"
        {
            self.at += 1;
            return Ok(vec![self.control(word)?]);
        }
        self.close("else")?;
        match self.list()? {
            (nodes, End::Closed) => Ok(nodes),
            (_, End::Else) => Err(self.error("expected end; found {{else}}")),
            (_, End::Eof) => Err(self.error("unexpected EOF")),
        }
    }

    /// A pipeline up to and with its closing token.
    fn pipe(&mut self, close: &Kind, context: &str) -> Result<Pipe, String> {
        self.deeper()?;
        let (variables, assigns) = self.declaration(context)?;
        let mut commands = Vec::new();
        loop {
            self.skip_space();
            if self.peek() == Some(close) {
                self.at += 1;
                break;
            }
            commands.push(self.command(context)?);
            self.skip_space();
            match self.next() {
                Some(Kind::Pipe) => {}
                Some(kind) if kind == *close => break,
                _ => return Err(self.error(format!("unexpected token in {context}"))),
            }
        }
        if commands.is_empty() {
            return Err(self.error(format!("missing value for {context}")));
        }
        if commands[1..].iter().any(|c| !matches!(c.args[0].kind, ArgKind::Function(_))) {
            return Err(self.error("non executable command in pipeline stage 2"));
        }
        self.variables.extend(variables.iter().filter(|_| !assigns).cloned());
        self.depth -= 1;
        Ok(Pipe { variables, assigns, commands })
    }

    fn declaration(&mut self, context: &str) -> Result<(Vec<String>, bool), String> {
        let start = self.at;
        let mut variables = Vec::new();
        loop {
            self.skip_space();
            let Some(Kind::Variable(name)) = self.peek().cloned() else {
                break;
            };
            self.at += 1;
            self.skip_space();
            variables.push(name);
            match self.next() {
                Some(Kind::Declare) => return Ok((variables, false)),
                Some(Kind::Assign) => {
                    if let Some(unknown) = variables.iter().find(|v| !self.variables.contains(v)) {
                        return Err(self.error(format!("undefined variable {unknown:?}")));
                    }
                    return Ok((variables, true));
                }
                Some(Kind::Comma) if context == "range" && variables.len() < 2 => {}
                _ => break,
            }
        }
        self.at = start;
        Ok((Vec::new(), false))
    }

    fn command(&mut self, context: &str) -> Result<Command, String> {
        let start = self.pos();
        let mut args = Vec::new();
        loop {
            self.skip_space();
            match self.peek() {
                None | Some(Kind::Close | Kind::Pipe | Kind::RightParen) => break,
                Some(_) => args.push(self.arg()?),
            }
        }
        if args.is_empty() {
            return Err(self.error(format!("missing value for {context}")));
        }
        let place = self.place(start, start);
        Ok(Command { args, place })
    }

    fn place(&self, start: usize, column_of: usize) -> Place {
        let line_start = self.text[..column_of].rfind('\n').map_or(0, |i| i + 1);
        let text = self.text[start..self.pos().max(start)].trim().to_owned();
        Place { line: line_of(self.text, column_of), column: column_of - line_start, text }
    }

    fn arg(&mut self) -> Result<Arg, String> {
        let start = self.pos();
        let mut fields = Vec::new();
        let kind = match self.next() {
            Some(Kind::Dot) => ArgKind::Dot,
            Some(Kind::Field(name)) => {
                fields.push(name);
                ArgKind::Dot
            }
            Some(Kind::Variable(name)) => {
                if !self.variables.contains(&name) {
                    return Err(self.error(format!("undefined variable {name:?}")));
                }
                ArgKind::Variable(name)
            }
            Some(Kind::Int(n)) => ArgKind::Int(n),
            Some(Kind::Float(n)) => ArgKind::Float(n),
            Some(Kind::Str(text)) => ArgKind::Str(text),
            Some(Kind::Char(c)) => ArgKind::Int(c as i64),
            Some(Kind::Word(word)) => match word.as_str() {
                "true" => ArgKind::Bool(true),
                "false" => ArgKind::Bool(false),
                "nil" => ArgKind::Nil,
                _ if functions::exists(&word, self.language) => ArgKind::Function(word),
                _ => return Err(self.error(format!("function {word:?} not defined"))),
            },
            Some(Kind::LeftParen) => ArgKind::Pipe(Box::new(self.pipe(&Kind::RightParen, "parenthesized pipeline")?)),
            _ => return Err(self.error("unexpected token in operand")),
        };
        let mut last_field = start;
        while let Some(Kind::Field(name)) = self.peek().cloned() {
            last_field = self.pos();
            self.at += 1;
            fields.push(name);
        }
        if !fields.is_empty()
            && matches!(kind, ArgKind::Int(_) | ArgKind::Float(_) | ArgKind::Str(_) | ArgKind::Bool(_))
        {
            return Err(self.error(format!("unexpected . after term {:?}", &self.text[start..last_field])));
        }
        // Go names the second link of a chain as its place.
        let chained = usize::from(matches!(kind, ArgKind::Dot) && fields.len() > 1);
        let column = match chained {
            1 => start + 1 + fields[0].len(),
            _ => start,
        };
        Ok(Arg { kind, fields, place: self.place(start, column) })
    }
}
