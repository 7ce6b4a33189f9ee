//! The Docker Engine HTTP API of one node, for any Docker client.
//!
//! [`serve_unix`] and [`serve_tcp`] take connections, [`route`] finds the handler, one file for each noun holds its
//! handlers, [`reply`] turns results into answers. Dispatch is a match on method and path segments and not a router:
//! image names hold slashes in the middle of a path (`/images/a/b/json`), and an unknown method must read as an
//! unknown page, both as with the genuine engine.
//!
//! Left out: what the JSON means (`convert`), what happens (`containers`, `core`).

mod attach;
mod call;
mod containers;
mod events;
mod exec;
mod images;
mod logs;
mod networks;
mod nodes;
mod reply;
mod route;
mod secrets;
mod services;
mod swarm;
mod system;
mod tasks;
mod volumes;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use container_runtime::Input;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::mpsc::{Sender, WeakSender};

use crate::containers::Engine;
use crate::core::NodeHandle;

pub use system::ENGINE_VERSION;

/// All that the routes use.
pub struct Api {
    /// The swarm's side.
    pub node: NodeHandle,
    /// The containers' side.
    pub engine: Engine,
    /// The node's host name.
    pub hostname: String,
    /// Where the node keeps its state, as `docker info` shows it.
    pub data_root: PathBuf,
    /// The inputs of running execs, by which their terminals are resized.
    exec_inputs: Mutex<BTreeMap<String, WeakSender<Input>>>,
}

impl Api {
    /// The API of a node. Also begins to tell the swarm's changes among the node's events, hence within a runtime.
    pub fn new(
        node: NodeHandle,
        engine: Engine,
        hostname: impl Into<String>,
        data_root: impl Into<PathBuf>,
    ) -> Arc<Self> {
        Self::follow_swarm(&node, engine.clone());
        Arc::new(Self {
            node,
            engine,
            hostname: hostname.into(),
            data_root: data_root.into(),
            exec_inputs: Mutex::default(),
        })
    }

    fn remember_exec(&self, id: &str, input: &Sender<Input>) {
        let mut inputs = self.exec_inputs.lock().unwrap_or_else(PoisonError::into_inner);
        inputs.retain(|_, input| input.strong_count() > 0);
        inputs.insert(id.to_owned(), input.downgrade());
    }

    async fn resize_exec(&self, id: &str, height: u16, width: u16) {
        let input =
            self.exec_inputs.lock().unwrap_or_else(PoisonError::into_inner).get(id).and_then(WeakSender::upgrade);
        if let Some(input) = input {
            // one that has just ended needs no size
            let _ = input.send(Input::Resize { height, width }).await;
        }
    }
}

/// Serves until the listener fails. Each connection runs as a task of its own.
pub async fn serve_unix(listener: UnixListener, api: Arc<Api>) -> std::io::Result<()> {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(connection(stream, api.clone()))),
            Err(error) => wait_or_fail(error).await?,
        }
    }
}

/// The same over TCP, without TLS: for tests and tools inside a lab's own network.
pub async fn serve_tcp(listener: TcpListener, api: Arc<Api>) -> std::io::Result<()> {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(connection(stream, api.clone()))),
            Err(error) => wait_or_fail(error).await?,
        }
    }
}

/// Too many open files passes by itself as connections end; anything else of the listener does not.
async fn wait_or_fail(error: std::io::Error) -> std::io::Result<()> {
    let passing = matches!(
        error.raw_os_error(),
        Some(nix::libc::EMFILE | nix::libc::ENFILE | nix::libc::ECONNABORTED | nix::libc::EINTR)
    );
    if !passing {
        return Err(error);
    }
    tracing::warn!("accepting a connection: {error}");
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    Ok(())
}

type Answering = Pin<Box<dyn Future<Output = reply::Answer> + Send>>;

async fn connection(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, api: Arc<Api>) {
    let service = service_fn(move |request| {
        let api = api.clone();
        // boxed: all handlers' states in one type exceed what the compiler follows, and an idle connection needs none
        let answer: Answering = Box::pin(route::answer(api, request));
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let served = http1::Builder::new()
        // clients close their half after a request and still read the answer (`docker attach` with stdin at its end)
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        tracing::debug!("a connection ended early: {error}");
    }
}
