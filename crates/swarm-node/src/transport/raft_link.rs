//! Raft messages to one other manager, over a connection that is made anew whenever it breaks.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tracing::debug;

use super::connection::dial;
use super::wire::Request;
use super::{Sending, TransportError};
use crate::ca::Credentials;

/// Messages that wait for one peer. Raft repeats what is lost, so a slow peer costs no more memory than this.
const QUEUE: usize = 256;

/// Waits between attempts to connect.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const MAX_BACKOFF: Duration = Duration::from_secs(5);

/// Sending one message (a snapshot at most) may take so long.
const SEND: Duration = Duration::from_secs(60);

/// A link to a manager; ends when dropped.
#[derive(Debug)]
pub struct RaftLink {
    /// Where the manager listens.
    pub addr: String,
    queue: mpsc::Sender<Vec<u8>>,
    sending: JoinHandle<()>,
}

impl Drop for RaftLink {
    fn drop(&mut self) {
        self.sending.abort();
    }
}

impl RaftLink {
    /// A link to the manager at `addr`. `raft_id` is sent to `lost` whenever messages to it did not get there.
    pub fn new(
        addr: String,
        raft_id: u64,
        credentials: watch::Receiver<Arc<Credentials>>,
        lost: mpsc::Sender<u64>,
    ) -> Self {
        let (queue, messages) = mpsc::channel(QUEUE);
        let sending = tokio::spawn(send(addr.clone(), raft_id, credentials, messages, lost));
        Self { addr, queue, sending }
    }

    /// Queues a message; false: too many wait already, it is dropped.
    pub fn send(&self, message: Vec<u8>) -> bool {
        self.queue.try_send(message).is_ok()
    }
}

async fn send(
    addr: String,
    raft_id: u64,
    credentials: watch::Receiver<Arc<Credentials>>,
    mut messages: mpsc::Receiver<Vec<u8>>,
    lost: mpsc::Sender<u64>,
) {
    let mut link: Option<Sending> = None;
    let mut backoff = FIRST_BACKOFF;
    let mut retry = Instant::now();
    while let Some(message) = messages.recv().await {
        if link.is_none() && Instant::now() >= retry {
            match connect(&addr, &credentials).await {
                Ok(sending) => {
                    link = Some(sending);
                    backoff = FIRST_BACKOFF;
                }
                Err(error) => {
                    debug!("raft connection to {addr}: {error}");
                    retry = Instant::now() + backoff;
                    backoff = (backoff * 2).min(MAX_BACKOFF);
                }
            }
        }
        let sent = match &mut link {
            Some(sending) => matches!(timeout(SEND, sending.send_bytes(&message)).await, Ok(Ok(()))),
            None => false,
        };
        if !sent {
            link = None;
            // What waits was meant for a connection that is gone; raft decides anew what to send.
            while messages.try_recv().is_ok() {}
            if lost.send(raft_id).await.is_err() {
                return;
            }
        }
    }
}

async fn connect(addr: &str, credentials: &watch::Receiver<Arc<Credentials>>) -> Result<Sending, TransportError> {
    let config = credentials.borrow().client.clone();
    let mut connection = dial(addr, config).await?;
    connection.hello(Request::Raft, 0).await?;
    let (sending, mut receiving) = connection.split();
    // Nothing comes back; reading notices the end, also when TLS wants to say something.
    tokio::spawn(async move { while let Ok(Some(_)) = receiving.receive_bytes().await {} });
    Ok(sending)
}
