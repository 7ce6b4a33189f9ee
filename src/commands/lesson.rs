//! The lab that a learner is in: what `check`, `hint`, `solve`, `reset`, `status`, `shell` and `stop` act on.

use lab::{Lab, Step};

use super::support::{Failure, LabsDir, find_step};
use crate::content::Content;
use crate::engine::{self, Cluster};
use crate::session::{Session, StepState, cluster_name};

/// The open lab.
pub struct Lesson {
    /// The lab.
    pub lab: Lab,
    /// Progress.
    pub session: Session,
    /// The engine that its cluster runs on.
    pub engine: String,
}

/// A playground by its name, or the open lab's cluster.
pub fn open_cluster(named: Option<&str>, labs: &LabsDir) -> Result<Box<dyn Cluster>, Failure> {
    match named {
        Some(name) => Ok(engine::attach(name)?),
        None => Lesson::open(labs)?.cluster(),
    }
}

impl Lesson {
    /// The open lab; the error says how to open one.
    pub fn open(labs: &LabsDir) -> Result<Self, Failure> {
        let session = Session::load()?;
        let open = session.open()?.clone();
        let (_, lab) = Content::find(labs.path())?.lab(&open.chapter)?;
        Ok(Self { lab, session, engine: open.engine })
    }

    /// Its cluster, if that lives.
    pub fn cluster(&self) -> Result<Box<dyn Cluster>, Failure> {
        engine::attach(&cluster_name(&self.lab)).map_err(|error| match error {
            engine::EngineError::NoSuchCluster { .. } => Failure::usage(format!(
                "the cluster of {id} does not run; `swarmlab start {id}` boots it and does again what was done",
                id = self.lab.id
            )),
            other => other.into(),
        })
    }

    /// The step that was named, or the first that is open.
    pub fn step(&self, named: Option<&str>) -> Result<&Step, Failure> {
        match named {
            Some(id) => find_step(&self.lab, id),
            None => self.current().ok_or_else(|| {
                Failure::usage(format!("every step of {} is done; name one to look at it again", self.lab.id))
            }),
        }
    }

    /// The first step that is neither done nor skipped.
    pub fn current(&self) -> Option<&Step> {
        self.lab.steps.iter().find(|s| self.state(&s.id) == StepState::Open)
    }

    /// How far a step is.
    pub fn state(&self, step: &str) -> StepState {
        self.session.step(&self.lab.id, step).state
    }

    /// Keeps how far a step is.
    pub fn set(&mut self, step: &str, state: StepState) -> Result<(), Failure> {
        self.session.step_mut(&self.lab.id, step).state = state;
        Ok(self.session.save()?)
    }

    /// What an engine of this kind lacks.
    pub fn lacks(&self, feature: &str) -> Option<String> {
        engine::by_name(&self.engine).ok().and_then(|e| e.lacks(feature))
    }

    /// Tells what to do in a step.
    pub fn tell(step: &Step) {
        say!("\n{} ({})", step.title, step.id);
        match step.kind {
            lab::StepKind::Demo => {
                say!("Try it:");
                for command in &step.commands {
                    say!("  {}$ {}", command.node, command.line.replace('\n', "\n  > "));
                }
            }
            lab::StepKind::Exercise => say!("{}", step.task),
        }
        for check in &step.checks {
            say!("  - {}", check.words);
        }
    }

    /// Tells the next open step, or that there is none.
    pub fn tell_next(&self) {
        match self.current() {
            Some(step) => Self::tell(step),
            None => {
                let skipped = self.lab.steps.iter().filter(|s| self.state(&s.id) == StepState::Skipped).count();
                let note = if skipped > 0 { format!(" ({skipped} of them by `solve`)") } else { String::new() };
                say!("\nThat was the last step of {}: all {} are through{note}.", self.lab.id, self.lab.steps.len());
            }
        }
    }
}
