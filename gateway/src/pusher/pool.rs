//! The workers that write: threads that take one bucket of a sweep at a time, of the sweep with the highest rank.

use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use super::sweep::{Scratch, Sweep};
use crate::registry::Registry;

/// Of so many buckets taken one is of the sweep with the lowest rank, so that none waits for ever.
const LAST_FIRST: u64 = 8;

/// Which sweep goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    Urgent,
    Merged,
    UrgentBulk,
    Bulk,
}

/// Sweeps at work: at most one of each rank.
#[derive(Debug, Default)]
pub(super) struct Pool {
    work: Mutex<Work>,
    some: Condvar,
    done: Condvar,
}

#[derive(Debug, Default)]
struct Work {
    /// Highest rank first.
    sweeps: Vec<Arc<Job>>,
    /// Buckets taken so far.
    taken: u64,
    ended: bool,
}

#[derive(Debug)]
struct Job {
    sweep: Arc<Sweep>,
    rank: Rank,
    state: Mutex<Progress>,
}

#[derive(Debug)]
struct Progress {
    /// Buckets not taken yet.
    next: usize,
    /// Buckets not finished yet.
    left: usize,
}

impl Job {
    /// The next bucket that nobody has taken.
    fn take(&self) -> Option<usize> {
        let mut state = self.state.lock();
        let bucket = *self.sweep.buckets().get(state.next)?;
        state.next += 1;
        Some(bucket)
    }
}

impl Pool {
    /// Runs a sweep on the workers and waits for its end.
    pub(super) fn run(&self, sweep: &Arc<Sweep>, rank: Rank) {
        let buckets = sweep.buckets().len();
        let progress = Progress { next: 0, left: buckets };
        let job = Arc::new(Job { sweep: sweep.clone(), rank, state: Mutex::new(progress) });
        let mut work = self.work.lock();
        let place = work.sweeps.partition_point(|other| other.rank <= rank);
        work.sweeps.insert(place, job.clone());
        self.some.notify_all();
        while job.state.lock().left > 0 && !work.ended {
            self.done.wait(&mut work);
        }
        work.sweeps.retain(|other| !Arc::ptr_eq(other, &job));
    }

    /// A worker's life.
    pub(super) fn work(&self, registry: &Registry) {
        let mut scratch = Scratch::default();
        while let Some((job, bucket)) = self.take() {
            job.sweep.run(bucket, registry, &mut scratch);
            let mut state = job.state.lock();
            state.left -= 1;
            if state.left == 0 {
                drop(state);
                // Under the lock that the lane waits with, so that the word is not missed.
                let _work = self.work.lock();
                self.done.notify_all();
            }
        }
    }

    /// The next bucket of the first sweep that has one, by and by of the last.
    fn take(&self) -> Option<(Arc<Job>, usize)> {
        let mut work = self.work.lock();
        loop {
            let last_first = work.taken % LAST_FIRST == LAST_FIRST - 1;
            let first = |job: &Arc<Job>| job.take().map(|bucket| (job.clone(), bucket));
            let taken = if last_first {
                work.sweeps.iter().rev().find_map(first)
            } else {
                work.sweeps.iter().find_map(first)
            };
            if taken.is_some() {
                work.taken += 1;
                return taken;
            }
            if work.ended {
                return None;
            }
            self.some.wait(&mut work);
        }
    }

    /// Ends the workers when no sweep is left.
    pub(super) fn end(&self) {
        self.work.lock().ended = true;
        self.some.notify_all();
        self.done.notify_all();
    }
}
