//! Template text to tokens. Outside of `{{ }}` all is text; inside, words, operators and literals with their place.

/// One token and the byte at which it begins.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    pub kind: Kind,
    pub pos: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    Text(String),
    Open,
    Close,
    Space,
    /// `.`
    Dot,
    /// `.Name`, without the dot.
    Field(String),
    /// `$` or `$name`, with the dollar.
    Variable(String),
    /// A function or a keyword.
    Word(String),
    Int(i64),
    Float(f64),
    Str(String),
    Char(char),
    Pipe,
    Declare,
    Assign,
    Comma,
    LeftParen,
    RightParen,
}

/// Line of a byte, from 1.
pub fn line_of(text: &str, pos: usize) -> usize {
    text.as_bytes()[..pos.min(text.len())].iter().filter(|b| **b == b'\n').count() + 1
}

pub fn lex(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut at = 0;
    let mut trim = false;
    while at < text.len() {
        let open = text[at..].find("{{").map(|i| at + i);
        let mut chunk = &text[at..open.unwrap_or(text.len())];
        if trim {
            chunk = chunk.trim_start_matches([' ', '\t', '\r', '\n']);
        }
        let Some(open) = open else {
            push_text(&mut tokens, chunk, at);
            break;
        };
        let mut inside = open + 2;
        let rest = &text[inside..];
        if rest.starts_with('-') && rest[1..].starts_with([' ', '\t', '\r', '\n']) {
            chunk = chunk.trim_end_matches([' ', '\t', '\r', '\n']);
            inside += 2;
        }
        push_text(&mut tokens, chunk, at);
        let (end, trim_next) = if text[inside..].trim_start_matches(' ').starts_with("/*") {
            comment(text, inside)?
        } else {
            tokens.push(Token { kind: Kind::Open, pos: open });
            let end = action(text, inside, &mut tokens)?;
            // `}}`, or `-}}` where what follows is trimmed.
            tokens.push(Token { kind: Kind::Close, pos: end.0 - if end.1 { 3 } else { 2 } });
            end
        };
        at = end;
        trim = trim_next;
    }
    Ok(tokens)
}

fn push_text(tokens: &mut Vec<Token>, text: &str, pos: usize) {
    if !text.is_empty() {
        tokens.push(Token { kind: Kind::Text(text.to_owned()), pos });
    }
}

fn fail<T>(text: &str, pos: usize, message: impl std::fmt::Display) -> Result<T, String> {
    Err(format!("template: :{}: {message}", line_of(text, pos)))
}

fn comment(text: &str, at: usize) -> Result<(usize, bool), String> {
    let Some(end) = text[at..].find("*/").map(|i| at + i + 2) else {
        return fail(text, at, "unclosed comment");
    };
    let rest = &text[end..];
    if rest.starts_with("}}") {
        return Ok((end + 2, false));
    }
    match rest.trim_start_matches([' ', '\t', '\r', '\n']).strip_prefix("-}}") {
        Some(tail) if rest.starts_with([' ', '\t', '\r', '\n']) => Ok((text.len() - tail.len(), true)),
        _ => fail(text, at, "comment ends before closing delimiter"),
    }
}

/// Lexes up to the closing delimiter; returns the byte after it and whether the following text is to be trimmed.
fn action(text: &str, mut at: usize, tokens: &mut Vec<Token>) -> Result<(usize, bool), String> {
    let mut depth = 0usize;
    loop {
        let rest = &text[at..];
        let Some(c) = rest.chars().next() else {
            return fail(text, at, "unclosed action");
        };
        if rest.starts_with("}}") && depth == 0 {
            return Ok((at + 2, false));
        }
        let mut push = |kind: Kind, len: usize| {
            tokens.push(Token { kind, pos: at });
            len
        };
        at += match c {
            ' ' | '\t' | '\r' | '\n' => {
                let len = rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n']).len();
                if rest[len..].starts_with("-}}") && depth == 0 {
                    return Ok((at + len + 3, true));
                }
                push(Kind::Space, len)
            }
            '|' => push(Kind::Pipe, 1),
            ',' => push(Kind::Comma, 1),
            '(' => {
                depth += 1;
                push(Kind::LeftParen, 1)
            }
            ')' => {
                let Some(less) = depth.checked_sub(1) else {
                    return fail(text, at, "unexpected right paren");
                };
                depth = less;
                push(Kind::RightParen, 1)
            }
            '=' => push(Kind::Assign, 1),
            ':' if rest.starts_with(":=") => push(Kind::Declare, 2),
            ':' => return fail(text, at, "expected :="),
            '"' => {
                let (value, len) = quoted(text, at)?;
                push(Kind::Str(value), len)
            }
            '`' => match rest[1..].find('`') {
                Some(end) => push(Kind::Str(rest[1..=end].to_owned()), end + 2),
                None => return fail(text, at, "unterminated raw quoted string"),
            },
            '\'' => match rest[1..].char_indices().find(|(i, c)| *c == '\'' && *i > 0) {
                Some((end, _)) => {
                    let mut inner = rest[1..=end].chars();
                    let value = match (inner.next(), inner.next(), inner.next()) {
                        (Some(c), None, None) => c,
                        (Some('\\'), Some(c), None) => escape(c),
                        _ => {
                            return fail(text, at, format!("malformed character constant: {}", &rest[..end + 2]));
                        }
                    };
                    push(Kind::Char(value), end + 2)
                }
                None => return fail(text, at, "unterminated character constant"),
            },
            '.' if !rest[1..].starts_with(|c: char| c.is_ascii_digit()) => {
                let name = word(&rest[1..]);
                match name.is_empty() {
                    true => push(Kind::Dot, 1),
                    false => push(Kind::Field(name.to_owned()), 1 + name.len()),
                }
            }
            '$' => {
                let name = word(&rest[1..]);
                push(Kind::Variable(format!("${name}")), 1 + name.len())
            }
            '0'..='9' | '+' | '-' | '.' => {
                let (kind, len) = number(text, at)?;
                push(kind, len)
            }
            c if c == '_' || c.is_alphabetic() => {
                let name = word(rest);
                push(Kind::Word(name.to_owned()), name.len())
            }
            '{' | '}' => return fail(text, at, format!("unexpected \"{c}\" in operand")),
            other => return fail(text, at, format!("unexpected {other:?} in command")),
        };
    }
}

fn word(text: &str) -> &str {
    &text[..text.find(|c: char| c != '_' && !c.is_alphanumeric()).unwrap_or(text.len())]
}

fn number(text: &str, at: usize) -> Result<(Kind, usize), String> {
    let rest = &text[at..];
    let sign = usize::from(rest.starts_with(['+', '-']));
    let len = sign
        + rest[sign..].find(|c: char| !c.is_ascii_alphanumeric() && c != '.' && c != '_').unwrap_or(rest.len() - sign);
    let literal = rest[..len].replace('_', "");
    let digits = literal.trim_start_matches(['+', '-']);
    let int = match digits.get(..2) {
        Some("0x" | "0X") => i64::from_str_radix(&digits[2..], 16).ok(),
        Some("0b" | "0B") => i64::from_str_radix(&digits[2..], 2).ok(),
        Some("0o" | "0O") => i64::from_str_radix(&digits[2..], 8).ok(),
        _ => digits.parse().ok(),
    };
    let negative = literal.starts_with('-');
    match (int, literal.parse::<f64>()) {
        (Some(int), _) => Ok((Kind::Int(if negative { -int } else { int }), len)),
        (None, Ok(float)) if float.is_finite() && digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') => {
            Ok((Kind::Float(float), len))
        }
        _ => fail(text, at, format!("bad number syntax: {:?}", &rest[..len])),
    }
}

fn quoted(text: &str, at: usize) -> Result<(String, usize), String> {
    let mut value = String::new();
    let mut chars = text[at + 1..].char_indices();
    while let Some((i, c)) = chars.next() {
        match c {
            '"' => return Ok((value, i + 2)),
            '\n' => break,
            '\\' => match chars.next() {
                Some((_, 'u')) => {
                    let hex: String = chars.by_ref().take(4).map(|(_, c)| c).collect();
                    value.extend(u32::from_str_radix(&hex, 16).ok().and_then(char::from_u32));
                }
                Some((_, c)) => value.push(escape(c)),
                None => break,
            },
            other => value.push(other),
        }
    }
    fail(text, at, "unterminated quoted string")
}

fn escape(c: char) -> char {
    match c {
        'n' => '\n',
        't' => '\t',
        'r' => '\r',
        'a' => '\u{7}',
        'b' => '\u{8}',
        'f' => '\u{c}',
        'v' => '\u{b}',
        '0' => '\0',
        other => other,
    }
}
