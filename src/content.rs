//! Where chapters, labs and fixtures come from: a folder that was named, the checkout one stands in, or the binary.
//!
//! A [`Content`] is a tree of `book/` and `labs/`. Which chapters are labs is told by the folders of `labs/`; the
//! chapter of `labs/chapter-3` is `book/src/chapter-3.md`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

use lab::{Diagnostic, Lab};

mod embedded {
    include!(concat!(env!("OUT_DIR"), "/embedded.rs"));
}

/// Why there is no such lab, or none that can be used.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// The folder of `--labs` holds none.
    #[error("{}: no `labs` folder in it; --labs wants a folder that holds `labs/` and `book/`", .0.display())]
    NoLabs(PathBuf),
    /// A file or folder cannot be read or written.
    #[error("{}: {why}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's words.
        why: io::Error,
    },
    /// No chapter has this name.
    #[error("no chapter `{name}`{help}")]
    Unknown {
        /// The name asked for.
        name: String,
        /// The nearest names.
        help: String,
    },
    /// The chapter or its `lab.toml` is malformed.
    #[error("{}", .0.iter().map(Diagnostic::to_string).collect::<Vec<_>>().join("\n"))]
    Malformed(Vec<Diagnostic>),
}

/// A tree of chapters and labs.
#[derive(Debug, Clone)]
pub enum Content {
    /// What the binary carries.
    Embedded,
    /// A folder that holds `book/` and `labs/`.
    Folder(PathBuf),
}

/// One lab's files, not yet parsed.
#[derive(Debug, Clone)]
pub struct Source {
    /// `chapter-3`.
    pub id: String,
    /// How the chapter's file is called in messages.
    pub chapter_path: String,
    /// The chapter's text.
    pub chapter: String,
    /// How `lab.toml` is called in messages.
    pub lab_path: String,
    /// The text of `lab.toml`.
    pub lab: String,
}

impl Source {
    /// Parses the lab.
    pub fn parse(&self) -> Result<Lab, ContentError> {
        parse(&self.chapter_path, &self.chapter, &self.lab_path, &self.lab).map_err(ContentError::Malformed)
    }
}

/// As [`lab::parse`], which knows nothing of what the runner's own machine can do: that is looked at here.
pub fn parse(chapter_path: &str, chapter: &str, lab_path: &str, text: &str) -> Result<Lab, Vec<Diagnostic>> {
    let lab = lab::parse(chapter_path, chapter, lab_path, text)?;
    let nodes = lab.cluster.nodes();
    let mut wrong = Vec::new();
    for step in &lab.steps {
        let shown = step.commands.iter().map(|command| (chapter_path, command));
        let hidden = step.solution.iter().chain(&step.reset).map(|command| (lab_path, command));
        for (file, command) in shown.chain(hidden).filter(|(_, command)| command.node == lab::LAB_NODE) {
            let mut say = |found: String, expected: String| {
                wrong.push(Diagnostic::new(file, command.source_line, found, expected));
            };
            match crate::lab_line::parse(&command.line) {
                Err(expected) => say(format!("`lab$ {}`", command.line), expected),
                Ok(action) => {
                    for node in action.nodes().into_iter().filter(|node| !nodes.iter().any(|n| n == node)) {
                        say(
                            format!("the node `{node}` of `lab$ {}`", command.line),
                            format!("one of {}", nodes.join(", ")),
                        );
                    }
                }
            }
        }
    }
    for check in lab.steps.iter().flat_map(|step| &step.checks).filter(|check| check.node == lab::LAB_NODE) {
        if let lab::CheckKind::Http { url, .. } = &check.kind
            && let Some(why) = crate::own_client::objection(url)
        {
            wrong.push(Diagnostic::new(lab_path, check.line, format!("`url = \"{url}\"` of your own machine"), why));
        }
    }
    if wrong.is_empty() { Ok(lab) } else { Err(wrong) }
}

impl Content {
    /// `--labs DIR`, else the checkout around the current folder, else what the binary carries.
    pub fn find(named: Option<&Path>) -> Result<Self, ContentError> {
        if let Some(folder) = named {
            return match folder.join("labs").is_dir() {
                true => Ok(Self::Folder(folder.to_owned())),
                false => Err(ContentError::NoLabs(folder.to_owned())),
            };
        }
        let here = std::env::current_dir().unwrap_or_default();
        let checkout = here.ancestors().find(|f| f.join("labs").is_dir() && f.join("book/src/SUMMARY.md").is_file());
        Ok(checkout.map_or(Self::Embedded, |folder| Self::Folder(folder.to_owned())))
    }

    /// The folder, where there is one: only there can something be recorded.
    pub fn folder(&self) -> Option<&Path> {
        match self {
            Self::Embedded => None,
            Self::Folder(folder) => Some(folder),
        }
    }

    /// The ids of all labs, in order of their numbers.
    pub fn ids(&self) -> Result<Vec<String>, ContentError> {
        let mut ids: Vec<String> = match self {
            Self::Embedded => {
                let lab = |path: &str| Some(path.strip_prefix("labs/")?.strip_suffix("/lab.toml")?.to_owned());
                embedded::FILES.iter().filter_map(|(path, _)| lab(path)).collect()
            }
            Self::Folder(folder) => {
                let labs = folder.join("labs");
                let mut ids = Vec::new();
                for entry in fs::read_dir(&labs).map_err(|why| ContentError::Io { path: labs.clone(), why })? {
                    let entry = entry.map_err(|why| ContentError::Io { path: labs.clone(), why })?;
                    if entry.path().join("lab.toml").is_file() {
                        ids.extend(entry.file_name().into_string());
                    }
                }
                ids
            }
        };
        ids.sort_by_key(|id| {
            (id.rsplit('-').next().and_then(|n| n.parse::<u32>().ok()).unwrap_or(u32::MAX), id.clone())
        });
        Ok(ids)
    }

    /// The files of the lab `id`.
    pub fn source(&self, id: &str) -> Result<Source, ContentError> {
        let (chapter_name, lab_name) = (format!("book/src/{id}.md"), format!("labs/{id}/lab.toml"));
        let path = |name: &str| self.folder().map_or_else(|| name.to_owned(), |f| short(&f.join(name)));
        Ok(Source {
            id: id.to_owned(),
            chapter: self.text(&chapter_name)?,
            chapter_path: path(&chapter_name),
            lab: self.text(&lab_name)?,
            lab_path: path(&lab_name),
        })
    }

    fn text(&self, name: &str) -> Result<String, ContentError> {
        match self {
            Self::Embedded => {
                let file = embedded::FILES.iter().find(|(path, _)| *path == name);
                let text = file.and_then(|(_, bytes)| std::str::from_utf8(bytes).ok());
                let missing = || ContentError::Io { path: name.into(), why: io::ErrorKind::NotFound.into() };
                text.map(str::to_owned).ok_or_else(missing)
            }
            Self::Folder(folder) => {
                let path = folder.join(name);
                fs::read_to_string(&path).map_err(|why| ContentError::Io { path, why })
            }
        }
    }

    /// Parses one lab: by id, slug or number.
    pub fn lab(&self, name: &str) -> Result<(Source, Lab), ContentError> {
        let ids = self.ids()?;
        let wanted = if name.chars().all(|c| c.is_ascii_digit()) { format!("chapter-{name}") } else { name.to_owned() };
        if ids.contains(&wanted) {
            let source = self.source(&wanted)?;
            let lab = source.parse()?;
            return Ok((source, lab));
        }
        let mut slugs = BTreeMap::new();
        for id in &ids {
            // A malformed neighbour does not keep this lab from being found.
            if let Ok(source) = self.source(id)
                && let Ok(lab) = source.parse()
            {
                slugs.insert(lab.slug.clone(), (source, lab));
            }
        }
        if let Some(found) = slugs.remove(name) {
            return Ok(found);
        }
        let known: Vec<&str> = ids.iter().map(String::as_str).chain(slugs.keys().map(String::as_str)).collect();
        Err(ContentError::Unknown { name: name.to_owned(), help: nearest(name, &known) })
    }

    /// Parses every lab.
    pub fn all(&self) -> Result<Vec<(Source, Lab)>, ContentError> {
        let mut labs = Vec::new();
        let mut wrong = Vec::new();
        for id in self.ids()? {
            let source = self.source(&id)?;
            match source.parse() {
                Ok(lab) => labs.push((source, lab)),
                Err(ContentError::Malformed(more)) => wrong.extend(more),
                Err(other) => return Err(other),
            }
        }
        if wrong.is_empty() { Ok(labs) } else { Err(ContentError::Malformed(wrong)) }
    }

    /// A folder with the fixtures of a lab, `None` where it has none. For what the binary carries they are written to
    /// `into`, which must live as long as they are used.
    pub fn fixtures(&self, id: &str, into: &Path) -> Result<Option<PathBuf>, ContentError> {
        match self {
            Self::Folder(folder) => {
                let fixtures = folder.join("labs").join(id).join("fixtures");
                let whole = fixtures.canonicalize().unwrap_or(fixtures);
                Ok(whole.is_dir().then_some(whole))
            }
            Self::Embedded => {
                let prefix = format!("labs/{id}/fixtures/");
                let written = write_files(&prefix, into)?;
                Ok((written > 0).then(|| into.to_owned()))
            }
        }
    }

    /// A folder with the whole tree, as `mdbook` wants one; written to `into` for what the binary carries.
    pub fn tree(&self, into: &Path) -> Result<PathBuf, ContentError> {
        match self {
            Self::Folder(folder) => Ok(folder.clone()),
            Self::Embedded => {
                write_files("", into)?;
                Ok(into.to_owned())
            }
        }
    }
}

/// Writes the carried files below `prefix`; tells how many there were.
fn write_files(prefix: &str, into: &Path) -> Result<usize, ContentError> {
    let mut written = 0;
    for (path, bytes) in embedded::FILES {
        let Some(rest) = path.strip_prefix(prefix) else { continue };
        let to = into.join(rest);
        let io = |why| ContentError::Io { path: to.clone(), why };
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder).map_err(io)?;
        }
        fs::write(&to, bytes).map_err(io)?;
        written += 1;
    }
    Ok(written)
}

/// The path as one would type it from here.
fn short(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(&here).unwrap_or(path).display().to_string()
}

/// `; did you mean ...?` or `; there are ...`, to be put after "no chapter `x`".
pub fn nearest(name: &str, known: &[&str]) -> String {
    let near = lab::nearest(name, known.iter().copied());
    let list = |names: &[&str]| names.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
    match (near.is_empty(), known.is_empty()) {
        (false, _) => format!("; did you mean {}?", list(&near)),
        (true, true) => "; there is none".to_owned(),
        (true, false) => format!("; there are {}", list(known)),
    }
}
