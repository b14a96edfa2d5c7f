//! The workers that write: threads that take one bucket of a sweep at a time, urgent sweeps first.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use super::sweep::{Scratch, Sweep};
use crate::registry::Registry;

/// Sweeps at work: at most one of each lane.
#[derive(Debug, Default)]
pub(super) struct Pool {
    work: Mutex<Work>,
    some: Condvar,
    done: Condvar,
}

#[derive(Debug, Default)]
struct Work {
    sweeps: VecDeque<Arc<Job>>,
    ended: bool,
}

#[derive(Debug)]
struct Job {
    sweep: Arc<Sweep>,
    state: Mutex<Progress>,
}

#[derive(Debug)]
struct Progress {
    /// Buckets not taken yet.
    next: usize,
    /// Buckets not finished yet.
    left: usize,
}

impl Pool {
    /// Runs a sweep on the workers and waits for its end.
    pub(super) fn run(&self, sweep: &Arc<Sweep>, urgent: bool) {
        let buckets = sweep.buckets().len();
        let progress = Progress { next: 0, left: buckets };
        let job = Arc::new(Job { sweep: sweep.clone(), state: Mutex::new(progress) });
        let mut work = self.work.lock();
        if urgent {
            work.sweeps.push_front(job.clone());
        } else {
            work.sweeps.push_back(job.clone());
        }
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

    /// The next bucket of the first sweep that has one.
    fn take(&self) -> Option<(Arc<Job>, usize)> {
        let mut work = self.work.lock();
        loop {
            for job in &work.sweeps {
                let mut state = job.state.lock();
                if let Some(bucket) = job.sweep.buckets().get(state.next) {
                    state.next += 1;
                    return Some((job.clone(), *bucket));
                }
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
