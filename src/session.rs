//! What a learner has done, and in which lab they are: one small file, replaced as a whole.
//!
//! It is keyed by chapter and step id, and is never evidence for a grade: grading replays commands in a fresh cluster.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::{fs, io};

use lab::Lab;
use serde::{Deserialize, Serialize};

/// The version of the file.
const FORMAT_VERSION: u32 = 1;

/// Why the progress file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// It cannot be read or written.
    #[error("the progress file {}: {why}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's words.
        why: io::Error,
    },
    /// It is damaged.
    #[error("the progress file {} is damaged ({why}); mend it or move it away, then progress starts anew", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the reader said.
        why: String,
    },
    /// It was written by a newer swarmlab.
    #[error("the progress file {} has format_version {version}; this swarmlab knows {FORMAT_VERSION}: use a newer one", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u32,
    },
    /// There is no home to keep it in.
    #[error("no folder for the progress file: set HOME or XDG_STATE_HOME")]
    NoHome,
    /// No lab was started.
    #[error("no lab is open; `swarmlab list` shows the chapters, `swarmlab start CHAPTER` opens one")]
    NotStarted,
}

/// The progress file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    format_version: u32,
    /// The lab that is open.
    #[serde(default)]
    open: Option<Open>,
    /// Progress by chapter.
    #[serde(default)]
    chapters: BTreeMap<String, BTreeMap<String, StepProgress>>,
}

/// The lab that is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// The chapter.
    pub chapter: String,
    /// The engine that it runs on.
    pub engine: String,
}

/// What a learner did of a step.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepProgress {
    /// How far.
    #[serde(default)]
    pub state: StepState,
    /// How many of the author's hints were read.
    #[serde(default)]
    pub hints: usize,
}

/// How far a learner is with a step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepState {
    /// Not yet.
    #[default]
    Open,
    /// By the learner.
    Done,
    /// By `swarmlab solve`: it counts as skipped.
    Skipped,
}

impl StepState {
    /// `open`, `done`, `skipped`
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Done => "done",
            Self::Skipped => "skipped",
        }
    }
}

/// The name of the cluster that a lab's learner works on.
pub fn cluster_name(lab: &Lab) -> String {
    let stem: String = lab.id.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(20).collect();
    format!("lab-{stem}")
}

fn folder() -> Result<PathBuf, SessionError> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    let state = absolute("XDG_STATE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/state")));
    state.map(|s| s.join("swarmlab")).ok_or(SessionError::NoHome)
}

impl Session {
    /// Reads the file; a new session where there is none.
    pub fn load() -> Result<Self, SessionError> {
        Self::read(&folder()?.join("progress.json"))
    }

    fn read(path: &Path) -> Result<Self, SessionError> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Self { format_version: FORMAT_VERSION, open: None, chapters: BTreeMap::new() });
            }
            Err(why) => return Err(SessionError::Io { path: path.to_owned(), why }),
        };
        let damaged =
            |error: serde_json::Error| SessionError::Damaged { path: path.to_owned(), why: error.to_string() };
        #[derive(Deserialize)]
        struct Version {
            format_version: u32,
        }
        let Version { format_version: version } = serde_json::from_str(&text).map_err(damaged)?;
        if version > FORMAT_VERSION {
            return Err(SessionError::Newer { path: path.to_owned(), version });
        }
        serde_json::from_str(&text).map_err(damaged)
    }

    /// Replaces the file: whoever reads it sees the old or the new one, never half of one.
    pub fn save(&self) -> Result<(), SessionError> {
        self.write(&folder()?.join("progress.json"))
    }

    fn write(&self, path: &Path) -> Result<(), SessionError> {
        let io = |why| SessionError::Io { path: path.to_owned(), why };
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(io)?;
        let mut file = tempfile::NamedTempFile::new_in(folder).map_err(io)?;
        let text = serde_json::to_string_pretty(self).map_err(|e| io(io::Error::other(e)))?;
        file.write_all(text.as_bytes()).map_err(io)?;
        file.as_file().sync_all().map_err(io)?;
        file.persist(path).map_err(|error| io(error.error))?;
        Ok(())
    }

    /// Where the fixtures of a lab are kept whose cluster outlives the command that booted it.
    pub fn fixtures_dir(chapter: &str) -> Result<PathBuf, SessionError> {
        Ok(folder()?.join("fixtures").join(chapter))
    }

    /// Opens a lab.
    pub fn enter(&mut self, chapter: &str, engine: &str) {
        self.open = Some(Open { chapter: chapter.to_owned(), engine: engine.to_owned() });
    }

    /// Closes the lab; its progress stays.
    pub fn leave(&mut self) {
        self.open = None;
    }

    /// The lab that is open.
    pub fn open(&self) -> Result<&Open, SessionError> {
        self.open.as_ref().ok_or(SessionError::NotStarted)
    }

    /// The progress of a step.
    pub fn step(&self, chapter: &str, step: &str) -> StepProgress {
        self.chapters.get(chapter).and_then(|c| c.get(step)).cloned().unwrap_or_default()
    }

    /// The progress of a step, to be changed.
    pub fn step_mut(&mut self, chapter: &str, step: &str) -> &mut StepProgress {
        self.chapters.entry(chapter.to_owned()).or_default().entry(step.to_owned()).or_default()
    }

    /// Forgets the progress of a chapter.
    pub fn forget(&mut self, chapter: &str) {
        self.chapters.remove(chapter);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn progress_survives_and_damage_is_told_not_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/progress.json");
        let mut session = Session::read(&path).unwrap();
        assert!(matches!(session.open(), Err(SessionError::NotStarted)));
        session.enter("chapter-1", "embedded");
        session.step_mut("chapter-1", "a").state = StepState::Skipped;
        session.write(&path).unwrap();
        assert_eq!(Session::read(&path).unwrap(), session);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        fs::write(&path, "{\"format_version\": 1, \"chap").unwrap();
        assert!(matches!(Session::read(&path), Err(SessionError::Damaged { .. })));
        fs::write(&path, "{\"format_version\": 9, \"new\": true}").unwrap();
        assert!(matches!(Session::read(&path), Err(SessionError::Newer { version: 9, .. })));
    }
}
