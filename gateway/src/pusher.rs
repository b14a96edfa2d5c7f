//! The push path's own threads: two *lanes* that say when, and a pool of workers that write.
//!
//! The merge lane waits for its window, the urgent lane does not wait. Each lane finishes one sweep before it
//! begins the next, which keeps the order of a target's frames; what comes meanwhile gathers in the lane's
//! merger, so when writing falls behind, the next sweep simply carries more: fewer, fuller frames.

mod pool;
mod sweep;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::tasks::Tasks;
use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

use crate::counters::Counters;
use crate::merger::{Batch, Filter, Item, Merger, Offer, Target};
use crate::registry::Registry;
use crate::settings::Settings;
use pool::Pool;
use sweep::Sweep;

/// Sweeps with at most so many writes are done by the lane itself: waking workers would cost more.
const INLINE_WRITES_MAX: u64 = 16;

/// Which lane an item takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Urgency {
    Merged,
    Urgent,
}

/// Both lanes and the workers behind them.
#[derive(Debug)]
pub(crate) struct Pusher {
    merged: Arc<Lane>,
    urgent: Arc<Lane>,
    pool: Arc<Pool>,
    counters: Arc<Counters>,
    /// Bytes in both mergers past which links are not read.
    bytes_max: usize,
    workers: usize,
}

/// One merger and the thread that empties it.
#[derive(Debug)]
struct Lane {
    state: Mutex<State>,
    wake: Condvar,
    /// Told when the merger got smaller or a flush is done.
    eased: Notify,
    /// Flushes done.
    flushed: AtomicU64,
}

#[derive(Debug)]
struct State {
    merger: Merger,
    /// Flushes asked for.
    flushes: u64,
    ended: bool,
}

/// What a lane has to do next.
enum Turn {
    Sweep(Vec<Batch>, u64),
    End,
}

impl Lane {
    fn new(window: Duration) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State { merger: Merger::new(window), flushes: 0, ended: false }),
            wake: Condvar::new(),
            eased: Notify::new(),
            flushed: AtomicU64::new(0),
        })
    }

    /// Waits until something is due.
    fn turn(&self) -> Turn {
        let mut state = self.state.lock();
        loop {
            let asked = state.flushes;
            if asked > self.flushed.load(Ordering::Acquire) {
                return Turn::Sweep(state.merger.flush(), asked);
            }
            if state.ended {
                return Turn::End;
            }
            match state.merger.next_due() {
                None => self.wake.wait(&mut state),
                Some(due) if due <= Instant::now() => {
                    return Turn::Sweep(state.merger.due(Instant::now()), asked);
                }
                Some(due) => _ = self.wake.wait_until(&mut state, due),
            }
        }
    }

    fn run(&self, pusher: &Pusher, registry: &Registry, urgency: Urgency) {
        while let Turn::Sweep(batches, asked) = self.turn() {
            let began = Instant::now();
            let sweep = Sweep::plan(batches, began, &pusher.counters);
            if !sweep.is_empty() {
                if pusher.workers == 0 || sweep.reach() <= INLINE_WRITES_MAX {
                    sweep.run_whole(registry);
                } else {
                    pusher.pool.run(&sweep, urgency == Urgency::Urgent);
                }
                sweep.seal();
                pusher.counters.sweep_seconds.observe(began.elapsed().as_secs_f64());
            }
            self.flushed.store(asked, Ordering::Release);
            self.eased.notify_waiters();
        }
    }
}

impl Pusher {
    /// Starts both lanes and the writing threads.
    pub(crate) fn start(
        limits: &Settings,
        registry: &Arc<Registry>,
        counters: &Arc<Counters>,
        tasks: &Tasks,
    ) -> Arc<Self> {
        let pusher = Arc::new(Self {
            merged: Lane::new(limits.window),
            urgent: Lane::new(Duration::ZERO),
            pool: Arc::new(Pool::default()),
            counters: counters.clone(),
            bytes_max: limits.merger_bytes_max,
            workers: limits.workers,
        });
        for lane in [Urgency::Merged, Urgency::Urgent] {
            let (pusher, registry) = (pusher.clone(), registry.clone());
            let name = if lane == Urgency::Urgent { "urgent lane" } else { "merge lane" };
            tasks.essential_thread(name, move || pusher.lane(lane).run(&pusher, &registry, lane));
        }
        for _ in 0..limits.workers {
            let (pool, registry) = (pusher.pool.clone(), registry.clone());
            tasks.essential_thread("push worker", move || pool.work(&registry));
        }
        pusher
    }

    fn lane(&self, urgency: Urgency) -> &Lane {
        match urgency {
            Urgency::Merged => &self.merged,
            Urgency::Urgent => &self.urgent,
        }
    }

    /// Takes items for their targets, in order, under one lock.
    pub(crate) fn offer(&self, urgency: Urgency, offers: impl Iterator<Item = (Target, Filter, Item)>) {
        let lane = self.lane(urgency);
        let now = Instant::now();
        let mut conflated = Vec::new();
        let mut state = lane.state.lock();
        let before = state.merger.next_due();
        for (target, filter, item) in offers {
            if let Offer::Conflated(part) = state.merger.offer(now, &target, &filter, item) {
                conflated.push(part);
            }
        }
        let after = state.merger.next_due();
        drop(state);
        if before != after {
            lane.wake.notify_one();
        }
        conflated.into_iter().for_each(|part| part.conflated(&self.counters));
    }

    /// Bytes that wait in both mergers.
    pub(crate) fn bytes(&self) -> usize {
        [&self.merged, &self.urgent].iter().map(|lane| lane.state.lock().merger.bytes()).sum()
    }

    /// Waits while the mergers hold more than they may.
    pub(crate) async fn room(&self) {
        loop {
            let eased = [self.merged.eased.notified(), self.urgent.eased.notified()];
            if self.bytes() <= self.bytes_max {
                return;
            }
            let [merged, urgent] = eased;
            tokio::select! { () = merged => {}, () = urgent => {} }
        }
    }

    /// Sends everything that waits now, window or not, and waits until it is with the sockets.
    pub(crate) async fn flush(&self) {
        for lane in [&self.urgent, &self.merged] {
            let asked = {
                let mut state = lane.state.lock();
                state.flushes += 1;
                state.flushes
            };
            lane.wake.notify_one();
            loop {
                let eased = lane.eased.notified();
                if lane.flushed.load(Ordering::Acquire) >= asked {
                    break;
                }
                eased.await;
            }
        }
    }

    /// Ends all threads once they have done what they were given.
    pub(crate) fn end(&self) {
        for lane in [&self.urgent, &self.merged] {
            lane.state.lock().ended = true;
            lane.wake.notify_one();
        }
        self.pool.end();
    }
}
