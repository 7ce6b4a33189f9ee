//! What is wrong with a chapter or a `lab.toml`, said so that its author can mend it at once.

use core::fmt;

/// One mistake: where it is, what was found there, what was expected.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Diagnostic {
    /// The file as it was named to [`crate::parse`].
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// What was found.
    pub found: String,
    /// What was expected instead.
    pub expected: String,
    /// A proposal, usually the nearest known names.
    pub help: Option<String>,
}

impl Diagnostic {
    /// A diagnostic without a proposal.
    pub fn new(file: &str, line: usize, found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line, found: found.into(), expected: expected.into(), help: None }
    }

    /// Adds the nearest of `known` to `name`, where any is near enough.
    pub fn did_you_mean<'a>(mut self, name: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        let near = nearest(name, known);
        if !near.is_empty() {
            let near: Vec<String> = near.iter().map(|n| format!("`{n}`")).collect();
            self.help = Some(format!("did you mean {}?", near.join(" or ")));
        }
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}\n  expected: {}", self.file, self.line, self.found, self.expected)?;
        match &self.help {
            Some(help) => write!(f, "\n  {help}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Diagnostic {}

/// The names of `known` that resemble `name`, best first, at most three.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    // Long names from outside would make the comparison slow, and nothing known is that long.
    if name.len() > 80 {
        return Vec::new();
    }
    let mut scored: Vec<(f64, &str)> = known
        .into_iter()
        .map(|candidate| {
            let starts = !name.is_empty() && (candidate.starts_with(name) || name.starts_with(candidate));
            let score = strsim::jaro_winkler(name, candidate);
            (if starts { score.max(0.9) } else { score }, candidate)
        })
        .filter(|(score, _)| *score >= 0.75)
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    scored.dedup_by(|a, b| a.1 == b.1);
    scored.into_iter().take(3).map(|(_, n)| n).collect()
}

/// Byte offsets to line numbers.
pub(crate) struct Lines {
    starts: Vec<usize>,
}

impl Lines {
    pub(crate) fn new(text: &str) -> Self {
        let mut starts = vec![0];
        starts.extend(text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(i, _)| i + 1));
        Self { starts }
    }

    /// The line, from 1, that holds the byte at `offset`.
    pub(crate) fn at(&self, offset: usize) -> usize {
        self.starts.partition_point(|start| *start <= offset)
    }
}
