//! Holding back packets without `netem`: by a program that stands in the cable.
//!
//! A port of a bridge is taken out and put into a small bridge of its own, together with one end (`near`) of the
//! program's; the other end (`far`) takes its place in the large bridge. What comes from the port waits, what goes to it
//! passes at once. Both ends are tap devices, for which the kernel cuts large packets up and completes their checksums,
//! so whole frames of the cable's size is all that the program ever sees.
//!
//! Much slower than `netem` when packets come by the hundred thousand a second, and exact to a fraction of a millisecond.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use nlink::tuntap::{Mode, TunTap};
use swarm_types::IdSource;

use super::delay::QUEUE;
use super::{Delay, NetError, NetNamespace, io};
use crate::plan::{LinkKind, LinkPlan, NetPlan};

/// Longest frame of a cable: the usual MTU with its Ethernet header, and room for a VLAN's tag.
const FRAME: usize = 9200;
/// Frames taken from one side before the other has its turn.
const TURN: usize = 64;

/// The names of what a delay line needs: nobody else may have them in its namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LineNames {
    /// The port that is delayed, already there.
    pub port: String,
    /// The bridge that it belongs to, already there.
    pub bridge: String,
    /// The small bridge.
    pub between: String,
    /// The program's end there.
    pub near: String,
    /// The program's end in the large bridge.
    pub far: String,
}

/// The program's two ends of the cable. Closing them removes them.
pub struct DelayLine {
    near: File,
    far: File,
}

/// A frame that waits: when it is due, its number (of those due at the same time the first goes first), and itself.
type Waiting = Reverse<(Instant, u64, Vec<u8>)>;

impl NetNamespace {
    /// Puts a delay line between a port and its bridge. From now on the port is cut off, until somebody
    /// [runs](DelayLine::run) it.
    ///
    /// # Errors
    /// Where there are no tap devices, or the names are taken; the port is in its bridge then, as before.
    pub async fn insert_delay_line(&self, names: &LineNames) -> Result<DelayLine, NetError> {
        let inserted = self.try_insert(names).await;
        if inserted.is_err() {
            // the first error says more
            let _ = self.remove_delay_line(names).await;
        }
        inserted
    }

    async fn try_insert(&self, names: &LineNames) -> Result<DelayLine, NetError> {
        let (near, far) = self.within(|| Ok::<_, NetError>((tap(&names.near)?, tap(&names.far)?)))??;
        let member = |name: &str, master: &str| {
            let mut link = LinkPlan::new(name, LinkKind::Existing);
            link.master = Some(master.to_owned());
            link
        };
        let links = vec![
            LinkPlan::new(&names.between, LinkKind::Bridge),
            member(&names.near, &names.between),
            member(&names.port, &names.between),
            member(&names.far, &names.bridge),
        ];
        self.apply(&NetPlan { links, ..NetPlan::default() }).await?;
        Ok(DelayLine { near, far })
    }

    /// Puts the port back into its bridge, and removes what is left of the line; nothing when there is none.
    pub async fn remove_delay_line(&self, names: &LineNames) -> Result<(), NetError> {
        let mut port = LinkPlan::new(&names.port, LinkKind::Existing);
        port.master = Some(names.bridge.clone());
        self.apply(&NetPlan { links: vec![port], ..NetPlan::default() }).await?;
        for link in [&names.between, &names.near, &names.far] {
            self.delete_link(link).await?;
        }
        Ok(())
    }
}

fn tap(name: &str) -> Result<File, NetError> {
    let what = || format!("make tap device {name}");
    let tap = TunTap::builder().name(name).mode(Mode::Tap).no_pi(true).create();
    let file = tap.map_err(|error| NetError::Netlink { what: what(), why: error.to_string(), code: None })?.into_file();
    let failed = |errno: Errno| io(what())(errno.into());
    let flags = OFlag::from_bits_retain(fcntl(&file, FcntlArg::F_GETFL).map_err(failed)?);
    fcntl(&file, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).map_err(failed)?;
    Ok(file)
}

/// Whether this machine has tap devices: makes one.
pub(super) fn try_tap() -> Result<(), String> {
    tap("probe4").map(drop).map_err(|error| error.to_string())
}

impl DelayLine {
    /// The open files that it consists of, for whoever closes all others.
    pub fn ends(&self) -> [BorrowedFd<'_>; 2] {
        [self.near.as_fd(), self.far.as_fd()]
    }

    /// Carries the frames, until one of the ends is taken away; why it ended. Never returns otherwise. `seed`: of what
    /// the jitter is drawn from.
    pub fn run(mut self, delay: Delay, seed: u64) -> NetError {
        let mut random = IdSource::from_seed(seed);
        let mut waiting = BinaryHeap::<Waiting>::new();
        let mut buffer = vec![0; FRAME];
        let mut serial = 0;
        loop {
            while let Some(Reverse((due, ..))) = waiting.peek()
                && *due <= Instant::now()
            {
                if let Some(Reverse((_, _, frame))) = waiting.pop()
                    && let Err(error) = put(&mut self.far, &frame)
                {
                    return error;
                }
            }
            let timeout = waiting.peek().map(|Reverse((due, ..))| due.saturating_duration_since(Instant::now()));
            if let Err(error) = self.wait(timeout) {
                return error;
            }
            for _ in 0..TURN {
                match take(&mut self.near, &mut buffer) {
                    Ok(Some(_)) if waiting.len() >= QUEUE as usize => {}
                    Ok(Some(frame)) => {
                        serial += 1;
                        waiting.push(Reverse((Instant::now() + delay.draw(&mut random), serial, frame.to_vec())));
                    }
                    Ok(None) => break,
                    Err(error) => return error,
                }
            }
            for _ in 0..TURN {
                match take(&mut self.far, &mut buffer) {
                    Ok(Some(frame)) => {
                        if let Err(error) = put(&mut self.near, frame) {
                            return error;
                        }
                    }
                    Ok(None) => break,
                    Err(error) => return error,
                }
            }
        }
    }

    /// Until there is a frame at either end, or the time has come.
    fn wait(&self, timeout: Option<Duration>) -> Result<(), NetError> {
        let mut ends = self.ends().map(|end| PollFd::new(end, PollFlags::POLLIN));
        match ppoll(&mut ends, timeout.map(TimeSpec::from_duration), None) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(io("wait for packets")(errno.into())),
        }
        let gone = PollFlags::POLLERR | PollFlags::POLLHUP | PollFlags::POLLNVAL;
        if ends.iter().any(|end| end.revents().is_some_and(|events| events.intersects(gone))) {
            return Err(NetError::Invalid("the delay line was cut".into()));
        }
        Ok(())
    }
}

impl Delay {
    /// How long one packet is held back: evenly spread over the range, as by `netem`.
    fn draw(self, random: &mut IdSource) -> Duration {
        let jitter = u64::try_from(self.jitter.as_micros()).unwrap_or(u64::MAX / 4).min(u64::MAX / 4);
        let shift = Duration::from_micros(random.below(2 * jitter + 1));
        (self.mean + shift).saturating_sub(self.jitter)
    }
}

fn take<'a>(end: &mut File, buffer: &'a mut [u8]) -> Result<Option<&'a [u8]>, NetError> {
    match end.read(buffer) {
        Ok(size) => Ok(buffer.get(..size)),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(None),
        Err(error) => Err(io("take a packet from the delay line")(error)),
    }
}

fn put(end: &mut File, frame: &[u8]) -> Result<(), NetError> {
    match end.write(frame) {
        Ok(_) => Ok(()),
        // a cable loses what does not fit, or what comes while its other end is down
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(()),
        Err(error) if error.raw_os_error() == Some(nix::libc::EIO) => Ok(()),
        Err(error) => Err(io("put a packet into the delay line")(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_is_drawn_around_its_mean() {
        let mut random = IdSource::from_seed(7);
        let millis = Duration::from_millis;
        let delay = Delay { mean: millis(100), jitter: millis(20) };
        let drawn: Vec<Duration> = (0..1000).map(|_| delay.draw(&mut random)).collect();
        assert!(drawn.iter().all(|one| (millis(80)..=millis(120)).contains(one)));
        assert!(drawn.iter().any(|one| *one < millis(85)) && drawn.iter().any(|one| *one > millis(115)));
        assert_eq!(Delay { mean: millis(5), jitter: Duration::ZERO }.draw(&mut random), millis(5));
        assert!(Delay { mean: millis(5), jitter: millis(50) }.draw(&mut random) <= millis(55), "never before it came");
    }
}
