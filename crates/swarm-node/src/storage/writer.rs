//! The thread that writes the raft log, so that the event loop never waits for the disk. What piles up while one
//! `fsync` runs goes out together with the next.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use swarm_manager::consensus::Persist;
use tokio::sync::mpsc;

use super::{RaftLog, StorageError};

/// At most so many writes share one `fsync`.
const BATCH: usize = 64;

/// Stack of the thread: it only encodes and writes.
const STACK_BYTES: usize = 256 * 1024;

/// What became of a write.
#[derive(Debug)]
pub enum Written {
    /// Everything up to this number is on disk.
    Through(u64),
    /// The disk failed. Nothing more is written.
    Failed(StorageError),
}

/// Hands writes to the thread. Dropping it ends the thread after what is queued.
#[derive(Debug)]
pub struct RaftWriter {
    queue: Option<Sender<Persist>>,
    thread: Option<JoinHandle<()>>,
}

impl RaftWriter {
    /// Starts the thread. Results come in the order of the writes, marked with `epoch`.
    pub fn start(log: RaftLog, epoch: u64, results: mpsc::UnboundedSender<(u64, Written)>) -> std::io::Result<Self> {
        let (queue, writes) = channel();
        let thread = std::thread::Builder::new()
            .name("raft-log".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || run(log, &writes, epoch, &results))?;
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }

    /// Queues a write.
    pub fn write(&self, persist: Persist) {
        // The thread ends early only after a failure, which it has reported.
        if let Some(queue) = &self.queue {
            let _ = queue.send(persist);
        }
    }
}

impl Drop for RaftWriter {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(mut log: RaftLog, writes: &Receiver<Persist>, epoch: u64, results: &mpsc::UnboundedSender<(u64, Written)>) {
    let mut batch = Vec::new();
    while let Ok(first) = writes.recv() {
        batch.push(first);
        while batch.len() < BATCH
            && let Ok(next) = writes.try_recv()
        {
            batch.push(next);
        }
        let through = batch.last().map_or(0, |persist| persist.number);
        let result = log.write(&batch);
        batch.clear();
        match result {
            Ok(()) => drop(results.send((epoch, Written::Through(through)))),
            Err(error) => {
                let _ = results.send((epoch, Written::Failed(error)));
                return;
            }
        }
    }
}
