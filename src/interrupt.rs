//! Ctrl-C and SIGTERM end a run cleanly: the cluster goes, then the process.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};

use crate::engine::Cluster;

/// What a shell reports for a command that Ctrl-C ended.
const EXIT_INTERRUPTED: i32 = 130;

static WATCHER: Once = Once::new();
static STOPPING: AtomicBool = AtomicBool::new(false);
static CURRENT: Mutex<Option<Arc<dyn Cluster>>> = Mutex::new(None);

fn current() -> MutexGuard<'static, Option<Arc<dyn Cluster>>> {
    CURRENT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Forgets the cluster when dropped.
pub struct Guard(());

impl Drop for Guard {
    fn drop(&mut self) {
        *current() = None;
    }
}

/// Until the guard is dropped, a signal ends this cluster before the process; one that is to be kept is let alone.
pub fn end_on_signal(cluster: &Arc<dyn Cluster>, keep: bool) -> Guard {
    if !keep {
        *current() = Some(Arc::clone(cluster));
    }
    watch();
    Guard(())
}

/// Never returns once the process is being stopped: what then fails in a cluster that is being removed is no result.
pub fn hold_if_stopping() {
    while STOPPING.load(Ordering::SeqCst) {
        std::thread::park();
    }
}

/// Begins to watch for signals. While a cluster boots there is none to end yet: the sandbox sees that its runner went.
pub fn watch() {
    WATCHER.call_once(|| {
        let watcher = std::thread::Builder::new().name("signals".into()).spawn(|| {
            let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
            runtime.block_on(async {
                let Ok(mut term) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) else {
                    return;
                };
                tokio::select! {
                    _ = tokio::signal::ctrl_c() => {}
                    _ = term.recv() => {}
                }
            });
            STOPPING.store(true, Ordering::SeqCst);
            eprintln!("\nswarmlab: stopped; the cluster is being removed");
            let cluster = current().take();
            if let Some(Err(error)) = cluster.map(|cluster| cluster.shutdown()) {
                eprintln!("swarmlab: {error}");
            }
            std::process::exit(EXIT_INTERRUPTED);
        });
        if let Err(error) = watcher {
            eprintln!("swarmlab: Ctrl-C will not end the cluster cleanly: {error}");
        }
    });
}
