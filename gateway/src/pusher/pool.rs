//! The workers that write: threads that take one bucket of a sweep at a time, of the sweep with the highest rank.
//!
//! Ranks give way by time: a bucket may be thousands of writes, so between two chunks of it a worker does what has
//! a higher rank, for so many times as long as the chunk took. An urgent push waits for a chunk, not for a bucket.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::sweep::{Scratch, Sweep};
use crate::registry::Registry;

/// Of so many buckets taken one is of a sweep behind the first, of each in turn, so that none waits for ever.
const OTHERS_FIRST: usize = 8;

/// Between two chunks higher ranks get so many times as long as the last took.
const GIVES_WAY: u32 = 8;

/// At a forced end, buckets that are being written have this long to be finished.
const LAST_BUCKETS: Duration = Duration::from_secs(1);

/// How many [`Rank`]s there are.
const RANKS: usize = 4;

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
    taken: usize,
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

    /// Gives up what nobody has taken.
    fn stop(&self) {
        let mut state = self.state.lock();
        let buckets = self.sweep.buckets().len();
        state.left -= buckets - state.next;
        state.next = buckets;
    }
}

impl Pool {
    /// Gives a sweep to the workers.
    fn begin(&self, sweep: &Arc<Sweep>, rank: Rank) -> Arc<Job> {
        let progress = Progress { next: 0, left: sweep.buckets().len() };
        let job = Arc::new(Job { sweep: sweep.clone(), rank, state: Mutex::new(progress) });
        let mut work = self.work.lock();
        let place = work.sweeps.partition_point(|other| other.rank <= rank);
        work.sweeps.insert(place, job.clone());
        self.some.notify_all();
        job
    }

    /// Runs a sweep on the workers and waits for its end. At a forced end it waits for the buckets that are being
    /// written, so that what is counted of them is whole.
    pub(super) fn run(&self, sweep: &Arc<Sweep>, rank: Rank) {
        let job = self.begin(sweep, rank);
        let mut work = self.work.lock();
        while job.state.lock().left > 0 && !work.ended {
            self.done.wait(&mut work);
        }
        job.stop();
        let until = Instant::now() + LAST_BUCKETS;
        while job.state.lock().left > 0 && !self.done.wait_until(&mut work, until).timed_out() {}
        work.sweeps.retain(|other| !Arc::ptr_eq(other, &job));
    }

    /// A worker's life.
    pub(super) fn work(&self, registry: &Registry) {
        let mut scratches = Default::default();
        while let Some((job, bucket)) = self.take() {
            self.write(&job, bucket, registry, &mut scratches);
        }
    }

    /// Writes one bucket, and between its chunks what has a higher rank.
    fn write(&self, job: &Job, bucket: usize, registry: &Registry, scratches: &mut [Scratch; RANKS]) {
        // Whatever is done between has another rank, and so another of them.
        let mut scratch = std::mem::take(&mut scratches[job.rank as usize]);
        let mut began = Instant::now();
        job.sweep.run(bucket, registry, &mut scratch, || {
            let now = Instant::now();
            let until = now + (now - began) * GIVES_WAY;
            while let Some((above, bucket)) = self.take_above(job.rank) {
                self.write(&above, bucket, registry, scratches);
                if Instant::now() >= until {
                    break;
                }
            }
            began = Instant::now();
        });
        scratches[job.rank as usize] = scratch;
        let mut state = job.state.lock();
        state.left -= 1;
        if state.left == 0 {
            drop(state);
            // Under the lock that the lane waits with, so that the word is not missed.
            let _work = self.work.lock();
            self.done.notify_all();
        }
    }

    /// The next bucket of a sweep with a higher rank than this.
    fn take_above(&self, rank: Rank) -> Option<(Arc<Job>, usize)> {
        let work = self.work.lock();
        let mut above = work.sweeps.iter().take_while(|job| job.rank < rank);
        above.find_map(|job| job.take().map(|bucket| (job.clone(), bucket)))
    }

    /// The next bucket of the first sweep that has one, by and by of each of the others.
    fn take(&self) -> Option<(Arc<Job>, usize)> {
        let mut work = self.work.lock();
        loop {
            let turn = work.taken / OTHERS_FIRST;
            let others = work.sweeps.len().saturating_sub(1);
            let others_first = others > 0 && work.taken % OTHERS_FIRST == OTHERS_FIRST - 1;
            let start = if others_first { 1 + turn % others } else { 0 };
            let (before, from) = work.sweeps.split_at(start);
            let mut in_turn = from.iter().chain(before.iter().rev());
            let taken = in_turn.find_map(|job| job.take().map(|bucket| (job.clone(), bucket)));
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

#[cfg(test)]
mod tests;
