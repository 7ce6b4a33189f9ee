//! `swarmlab start`: opens a chapter's lab to be worked through, or comes back to it.

use std::process::ExitCode;

use super::lesson::Lesson;
use super::support::{Failure, LabsDir, Listen, tell_forwards};
use crate::content::Content;
use crate::engine::{self, ClusterSpec, Lifetime, Progress};
use crate::executor::{Event, Executor, boot, cluster_spec};
use crate::session::{Session, StepState, cluster_name};

/// Arguments of `swarmlab start`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A chapter (`chapter-3`, `3` or its word)
    chapter: String,
    /// What runs the cluster: embedded or dockerd
    #[arg(long, default_value = "embedded")]
    engine: String,
    /// Forget what was done in it before
    #[arg(long)]
    fresh: bool,
    #[command(flatten)]
    listen: Listen,
    #[command(flatten)]
    labs: LabsDir,
}

/// Runs the command.
pub fn run(args: Args) -> ExitCode {
    execute(&args).map_or_else(Failure::report, |()| ExitCode::SUCCESS)
}

fn execute(args: &Args) -> Result<(), Failure> {
    let content = Content::find(args.labs.path())?;
    let (_, lab) = content.lab(&args.chapter)?;
    let mut session = Session::load()?;
    if let Ok(open) = session.open() {
        let elsewhere =
            open.chapter != lab.id && engine::list()?.iter().any(|c| c.name == format!("lab-{}", open.chapter));
        if elsewhere {
            return Err(Failure::usage(format!("{} is open; `swarmlab stop` closes it first", open.chapter)));
        }
    }
    let name = cluster_name(&lab);
    if args.fresh {
        session.forget(&lab.id);
        if let Ok(cluster) = engine::attach(&name) {
            cluster.shutdown()?;
        }
    }
    let engine_name = match engine::attach(&name) {
        Ok(cluster) => {
            say!("The cluster of {} is still running; nothing in it was changed.", lab.id);
            cluster.engine().to_owned()
        }
        Err(engine::EngineError::NoSuchCluster { .. }) => {
            boot_anew(args, &content, &lab, &session)?;
            args.engine.clone()
        }
        Err(error) => return Err(error.into()),
    };
    session.enter(&lab.id, &engine_name);
    session.save()?;
    say!("{}: {}", lab.id, lab.title);
    say!("Nodes: {}. Enter one by `swarmlab shell NODE`.", lab.cluster.nodes().join(", "));
    say!("`swarmlab check` judges a step, `hint` helps, `solve` shows, `reset` undoes, `status` tells, `stop` ends.");
    let lesson = Lesson { lab, session, engine: engine_name };
    tell_forwards(&*lesson.cluster()?)?;
    lesson.tell_next();
    Ok(())
}

/// Boots the cluster and does again what was done before, so that a learner finds it as it was.
fn boot_anew(args: &Args, content: &Content, lab: &lab::Lab, session: &Session) -> Result<(), Failure> {
    let engine = engine::by_name(&args.engine)?;
    let fixtures = content.fixtures(&lab.id, &Session::fixtures_dir(&lab.id)?)?;
    let listen = args.listen.address()?;
    let spec = ClusterSpec { listen, ..cluster_spec(lab, cluster_name(lab), Lifetime::Detached, fixtures) };
    eprintln!("Booting {} ...", lab.cluster.nodes().join(", "));
    let cluster = boot(&*engine, &spec, &mut |event| {
        if let Event::Boot(Progress::Done { elapsed }) = event {
            eprintln!("The cluster is up after {:.1} s.", elapsed.as_secs_f32());
        }
    })?;
    let lacks = |feature: &str| engine.lacks(feature);
    let mut executor = Executor::new(&*cluster, &lacks);
    for step in lab.steps.iter().filter(|s| session.step(&lab.id, &s.id).state != StepState::Open) {
        eprintln!("Doing again: {}", step.title);
        if let Err(done) = executor.commands(step.way(), step.timeout)? {
            let said = done.output.trim();
            eprintln!("  {}$ {} ended with {}: {said}", done.node, done.command, done.exit);
        }
    }
    Ok(())
}
