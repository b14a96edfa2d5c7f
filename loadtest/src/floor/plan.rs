//! What a floor is asked to be, and how it is split over processes.

use std::path::PathBuf;
use std::time::Duration;

use super::message::{Share, part};
use crate::plan::BadPlan;

/// Shortest frame: a header and something in it.
pub(crate) const BYTES_MIN: usize = 4;

/// Longest frame: it fits into an empty socket.
pub(crate) const BYTES_MAX: usize = 64 * 1024;

/// Longest time from one round to the next.
pub(super) const EVERY_MAX: Duration = Duration::from_secs(60);

/// A connect or a send takes far less, even on a machine that others load.
const ONE_TIME_MAX: Duration = Duration::from_micros(500);

/// What a floor is asked to be. Built from [`Plan::default`] by changing fields.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Connections, all on loopback.
    pub connections: u32,
    /// Bytes of a frame, header included.
    pub bytes: usize,
    /// How often each connection gets a frame.
    pub rounds: u32,
    /// From the beginning of a round to the next, as a gateway that merges does it: caches cool, readers
    /// sleep. 0: at once. A round never begins before the one before is read, for frames that pile up in
    /// sockets would make the kernel probe for losses, which is not the cost of sending.
    pub every: Duration,
    /// Threads that send, and as many that read; 0: one a core.
    pub threads: usize,
    /// The program whose `main` calls [`super::role`]; `None`: the one that runs.
    pub program: Option<PathBuf>,
}

impl Default for Plan {
    fn default() -> Self {
        Self { connections: 10_000, bytes: 200, rounds: 20, every: Duration::ZERO, threads: 0, program: None }
    }
}

impl Plan {
    /// Checks the numbers.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), BadPlan> {
        let Self { connections, bytes, rounds, threads, every, .. } = self;
        let checks = [
            ((1..=4_000_000).contains(connections), format!("{connections} connections: 1 to 4,000,000")),
            (
                (BYTES_MIN..=BYTES_MAX).contains(bytes),
                format!("{bytes} bytes a frame: {BYTES_MIN} B to {} KiB", BYTES_MAX / 1024),
            ),
            ((1..=100_000).contains(rounds), format!("{rounds} rounds: 1 to 100,000")),
            (*threads <= 64, format!("{threads} threads: at most 64")),
            (*every <= EVERY_MAX, "rounds are at most 60 s apart".into()),
        ];
        match checks.into_iter().find(|(good, _)| !good) {
            Some((_, wrong)) => Err(BadPlan(wrong)),
            None => Ok(()),
        }
    }

    /// The parts of each pair of processes. `per_process`: connections that one may hold; `ports`: local ports
    /// that there are for connections to one listener.
    pub(super) fn split(&self, per_process: usize, ports: u32) -> Result<Vec<Share>, BadPlan> {
        self.check()?;
        let per_process = u32::try_from(per_process).unwrap_or(u32::MAX);
        if per_process == 0 || ports < 5 {
            return Err(BadPlan(
                "the limit of open files, or the range of ports, leaves no connection".into(),
            ));
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = if self.threads == 0 { cores } else { self.threads } as u32;
        let pairs = self.connections.div_ceil(per_process);
        let share = |index| {
            let connections = part(self.connections, pairs, index);
            // As many threads in all as there are to be, but each process needs one.
            let threads = threads.div_ceil(pairs).min(connections);
            Share {
                connections,
                bytes: self.bytes,
                threads,
                // connect(2) takes every other port of the range first, and searches long when those are gone.
                listeners: connections.div_ceil(threads).div_ceil(ports / 5 * 2),
                time_max: self.time_max(),
            }
        };
        Ok((0..pairs).map(share).collect())
    }

    /// How long the whole may take.
    pub(super) fn time_max(&self) -> Duration {
        let round = ONE_TIME_MAX * self.connections + self.every;
        Duration::from_secs(60) + ONE_TIME_MAX * self.connections + round * self.rounds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORTS: u32 = 28_232;

    #[test]
    fn connections_are_split_by_what_a_process_may_hold() {
        let plan = |connections| Plan { connections, threads: 4, ..Plan::default() };
        let shape = |connections, per_process| {
            let shares = plan(connections).split(per_process, PORTS).unwrap();
            assert_eq!(shares.iter().map(|share| share.connections).sum::<u32>(), connections);
            assert!(shares.iter().all(|share| share.connections as usize <= per_process));
            (shares.len(), shares[0].threads, shares[0].listeners)
        };
        assert_eq!(shape(19_000, 19_744), (1, 4, 1));
        assert_eq!(shape(100_000, 19_744), (6, 1, 2));
        assert_eq!(shape(30_000, 19_744), (2, 2, 1));
        assert_eq!(
            shape(100_000, 1_000_000),
            (1, 4, 3),
            "25,000 a thread: too many for the ports of one listener"
        );
        assert_eq!(shape(1, 19_744), (1, 1, 1), "no thread without a connection");
    }

    #[test]
    fn impossible_plans_are_refused() {
        let good = Plan::default();
        assert_eq!(good.check(), Ok(()));
        for bad in [
            Plan { connections: 0, ..good.clone() },
            Plan { bytes: 3, ..good.clone() },
            Plan { bytes: 1 << 20, ..good.clone() },
            Plan { rounds: 0, ..good.clone() },
            Plan { threads: 65, ..good.clone() },
        ] {
            assert!(bad.split(19_744, PORTS).is_err(), "{bad:?}");
        }
        assert!(good.split(0, PORTS).is_err());
    }
}
