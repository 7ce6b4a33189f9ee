//! Waiting for a container to end or to be gone.

use container_runtime::{ContainerId, Error, Kind, Result, State, Status};

use super::Engine;

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WaitCondition {
    /// It does not run: at once if it does not run now.
    #[default]
    NotRunning,
    /// The next end, also of a run that has not begun.
    NextExit,
    /// Its removal.
    Removed,
}

impl WaitCondition {
    /// From the query.
    pub fn parse(text: &str) -> Result<Self> {
        match text {
            "" | "not-running" => Ok(Self::NotRunning),
            "next-exit" => Ok(Self::NextExit),
            "removed" => Ok(Self::Removed),
            other => Err(Error::new(Kind::InvalidArgument, format!("invalid condition: {other:?}"))),
        }
    }
}

/// A wait that has begun: what happens after [`Engine::begin_wait`] is not missed.
pub struct Wait {
    engine: Engine,
    id: ContainerId,
    condition: WaitCondition,
    state: tokio::sync::watch::Receiver<State>,
    gone: tokio::sync::watch::Receiver<bool>,
    seen: Option<i64>,
}

impl Engine {
    /// Begins to wait.
    pub fn begin_wait(&self, id: &ContainerId, condition: WaitCondition) -> Result<Wait> {
        let entry = self.entry(id)?;
        let state = self.inner.runtime.watch(id)?;
        let seen = state.borrow().finished_at;
        Ok(Wait { engine: self.clone(), id: id.clone(), condition, state, gone: entry.gone.subscribe(), seen })
    }
}

impl Wait {
    /// The exit code, once the condition holds.
    pub async fn done(self) -> i32 {
        let Self { engine, id, condition, mut state, mut gone, seen } = self;
        let restarting = engine.entry(&id).is_ok_and(|entry| entry.is_restarting());
        let reached = |state: &State| match condition {
            WaitCondition::NotRunning => (state.status != Status::Running && !restarting) || state.finished_at != seen,
            WaitCondition::NextExit => state.status == Status::Exited && state.finished_at != seen,
            WaitCondition::Removed => false,
        };
        let removed = async {
            let _ = gone.wait_for(|gone| *gone).await;
        };
        let ended = async {
            let code = state.wait_for(reached).await.map(|state| state.exit_code).ok();
            if code.is_none() {
                // the runtime has dropped the container, the engine is about to
                std::future::pending::<()>().await;
            }
            code
        };
        let code = tokio::select! {
            // a forced removal ends the container first: that code counts
            biased;
            code = ended => code,
            () = removed => None,
        };
        code.unwrap_or_else(|| state.borrow().exit_code)
    }
}
