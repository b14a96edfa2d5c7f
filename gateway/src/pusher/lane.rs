//! When: one merger, the thread that empties it, and a second thread for what is too large to wait for.
//!
//! A lane finishes one sweep before it begins the next, which keeps the order of a target's frames; what comes
//! meanwhile gathers, so when writing falls behind, the next sweep simply carries more: fewer, fuller frames.
//!
//! A target whose writing takes as long as a window is *bulk*: it is written apart, by a sweep that gives way to
//! the others, and is kept in the merger until that has ended. So it widens its own window and nobody else's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::live::Live;
use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

use super::pool::Rank;
use super::sweep::Sweep;
use super::{Pusher, Urgency};
use crate::merger::{Batch, Due, Key, Merger, Target};
use crate::registry::Registry;
use crate::settings::{Settings, WindowMode};
use crate::tune::Tune;

/// Sweeps with at most so many writes are done by the lane itself: waking workers would cost more.
const INLINE_WRITES_MAX: u64 = 16;

/// A target with more to write than this is bulk. One write, or 16 KiB of one, takes a core about 7 µs:
/// 65,536 × 7 µs = 0.46 s.
const BULK_WRITES: u64 = 65_536;

/// Bytes that take as long as a write does.
const WRITE_BYTES: u64 = 16 * 1024;

/// A sweep hands one client at most this part of an outbox of one target, if that is more than a frame: so what
/// gathered for long does not overrun the outbox of somebody who reads.
const OUTBOX_PART: usize = 2;

/// A sweep that begins later than this part of its window has widened it.
const LATE_PART: u32 = 10;

/// What is due later than this is late whatever the window: threads wake so late on a busy machine.
const LATE_MIN: Duration = Duration::from_millis(5);

/// One merger and what empties it.
#[derive(Debug)]
pub(super) struct Lane {
    urgency: Urgency,
    window: Duration,
    tune: Arc<Live<Tune>>,
    state: Mutex<State>,
    wake: Condvar,
    bulk: Condvar,
    /// Told when the merger got smaller or a flush is done.
    pub(super) eased: Notify,
    /// Flushes done.
    flushed: AtomicU64,
}

#[derive(Debug)]
struct State {
    merger: Merger,
    bulk: Bulk,
    /// Flushes asked for.
    flushes: u64,
    /// Flushes for which windows have been cut short.
    hurried: u64,
    /// A flush of which all is swept but what is bulk.
    flushing: Option<u64>,
    ended: bool,
    /// When the sweep that runs began.
    sweeping: Option<Instant>,
    /// How late the last window was.
    late: Duration,
}

/// What is written apart.
#[derive(Debug)]
enum Bulk {
    Idle,
    /// It waits for its thread.
    Given(Vec<Batch>),
    /// It is being written since then.
    Running(Vec<Key>, Instant),
}

/// How a lane keeps up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pace {
    /// Windows are wider than they should be.
    pub(crate) is_behind: bool,
    /// How long items gather at present.
    pub(crate) window: Duration,
}

/// What a lane has to do next.
enum Turn {
    Sweep(Due, u64),
    End,
}

impl Bulk {
    fn holds(&self, key: Key) -> bool {
        match self {
            Self::Idle => false,
            Self::Given(batches) => batches.iter().any(|batch| batch.target.key() == key),
            Self::Running(keys, _) => keys.contains(&key),
        }
    }

    fn is_idle(&self) -> bool {
        matches!(self, Self::Idle)
    }
}

impl Lane {
    pub(super) fn new(urgency: Urgency, settings: &Settings, tune: &Arc<Live<Tune>>) -> Arc<Self> {
        let (window, mode) = match urgency {
            Urgency::Merged => (settings.window, settings.window_mode),
            Urgency::Urgent => (Duration::ZERO, WindowMode::Trailing),
        };
        let state = State {
            merger: Merger::new(window, mode, settings.merger_bytes_max),
            bulk: Bulk::Idle,
            flushes: 0,
            hurried: 0,
            flushing: None,
            ended: false,
            sweeping: None,
            late: Duration::ZERO,
        };
        Arc::new(Self {
            urgency,
            window,
            tune: tune.clone(),
            state: Mutex::new(state),
            wake: Condvar::new(),
            bulk: Condvar::new(),
            eased: Notify::new(),
            flushed: AtomicU64::new(0),
        })
    }

    /// Gives the merger to `offer`, and wakes the lane if something is due earlier than before.
    pub(super) fn offer(&self, offer: impl FnOnce(&mut Merger)) {
        let mut state = self.state.lock();
        let before = state.merger.next_due();
        offer(&mut state.merger);
        let after = state.merger.next_due();
        drop(state);
        if before != after {
            self.wake.notify_one();
        }
    }

    /// Bytes that wait.
    pub(super) fn bytes(&self) -> usize {
        self.state.lock().merger.bytes()
    }

    /// Asks for a sweep of everything that waits, window or not, and returns the number to ask
    /// [`Lane::has_flushed`] with.
    pub(super) fn flush(&self) -> u64 {
        let mut state = self.state.lock();
        state.flushes += 1;
        let asked = state.flushes;
        drop(state);
        self.wake.notify_one();
        asked
    }

    pub(super) fn has_flushed(&self, asked: u64) -> bool {
        self.flushed.load(Ordering::Acquire) >= asked
    }

    /// Ends both threads once they have done what they were given.
    pub(super) fn end(&self) {
        self.state.lock().ended = true;
        self.wake.notify_one();
        self.bulk.notify_one();
    }

    /// Whether something is being written apart.
    #[cfg(test)]
    pub(super) fn is_writing_bulk(&self) -> bool {
        matches!(self.state.lock().bulk, Bulk::Running(..))
    }

    /// How it keeps up now.
    pub(super) fn pace(&self) -> Pace {
        let state = self.state.lock();
        let now = Instant::now();
        let beyond = |since: Instant| now.saturating_duration_since(since).saturating_sub(self.window);
        let running = match state.bulk {
            Bulk::Running(_, since) => beyond(since),
            _ => Duration::ZERO,
        };
        let running = running.max(state.sweeping.map_or(Duration::ZERO, beyond));
        let is_quiet = state.merger.bytes() == 0 && state.sweeping.is_none() && state.bulk.is_idle();
        let last = if is_quiet { Duration::ZERO } else { state.late };
        let late = running.max(last).max(state.merger.overdue(now));
        let is_behind = late > self.tolerance();
        Pace { is_behind, window: self.window + if is_behind { late } else { Duration::ZERO } }
    }

    fn tolerance(&self) -> Duration {
        (self.window / LATE_PART).max(LATE_MIN)
    }

    /// Waits until something is due.
    fn turn(&self, pusher: &Pusher, registry: &Registry) -> Turn {
        let mut guard = self.state.lock();
        loop {
            let state = &mut *guard;
            state.merger.bound(self.tune.now().merger_bytes_max, self.part_bytes_max());
            let now = Instant::now();
            let is_idle = state.bulk.is_idle();
            if let Some(done) = state.flushing.take_if(|_| is_idle) {
                self.has_swept(done);
            }
            let done = self.flushed.load(Ordering::Acquire);
            if state.flushes > done && is_idle {
                return self.flush_all(state, now, pusher, registry);
            }
            // While bulk is being written, a flush waits for it, and for nothing else does anything wait.
            if std::mem::replace(&mut state.hurried, state.flushes) < state.flushes {
                state.merger.hurry(now);
            }
            if state.ended && is_idle {
                return Turn::End;
            }
            match state.merger.next_due() {
                None => self.wake.wait(&mut guard),
                Some(due) if due <= now => {
                    let due = self.due(state, now, registry);
                    self.count(state, &due, now, pusher);
                    return Turn::Sweep(due, done);
                }
                Some(due) => _ = self.wake.wait_until(&mut guard, due),
            }
        }
    }

    /// Takes everything; what is bulk of it goes to its thread, and the flush is done when that is.
    fn flush_all(&self, state: &mut State, now: Instant, pusher: &Pusher, registry: &Registry) -> Turn {
        let mut due = state.merger.flush(now);
        pusher.counters.parts.inc_by(due.parts);
        // At the end its thread may have gone.
        if !state.ended {
            self.give_bulk(state, &mut due, registry);
        }
        let done = self.flushed.load(Ordering::Acquire);
        if due.parts > 0 {
            return Turn::Sweep(due, done);
        }
        if state.bulk.is_idle() {
            return Turn::Sweep(due, state.flushes);
        }
        state.flushing = Some(state.flushes);
        Turn::Sweep(due, done)
    }

    fn has_swept(&self, done: u64) {
        self.flushed.fetch_max(done, Ordering::AcqRel);
        self.eased.notify_waiters();
    }

    /// Bytes of one target that a sweep hands over, about.
    fn part_bytes_max(&self) -> usize {
        self.tune.now().outbox_bytes_max / OUTBOX_PART
    }

    /// Whether what a sweep would write of a batch is so much that others should not wait for it.
    fn is_bulk(&self, batch: &Batch, registry: &Registry) -> bool {
        let reach = match &batch.target {
            Target::All => registry.clients() as u64,
            Target::Group(group) => group.members(),
            Target::Client(_) => 1,
        };
        let bytes = batch.bytes().min(self.part_bytes_max()) as u64;
        reach.saturating_mul(1 + bytes / WRITE_BYTES) > BULK_WRITES
    }

    /// Takes what is due and gives what is bulk of it to its thread. While that is at work, what it writes
    /// and what else is bulk is kept.
    fn due(&self, state: &mut State, now: Instant, registry: &Registry) -> Due {
        let State { merger, bulk, .. } = state;
        let is_busy = !bulk.is_idle();
        let mut due = merger
            .due(now, |batch| is_busy && (bulk.holds(batch.target.key()) || self.is_bulk(batch, registry)));
        if !is_busy {
            self.give_bulk(state, &mut due, registry);
        }
        due
    }

    /// Gives what is bulk to its thread, which is idle.
    fn give_bulk(&self, state: &mut State, due: &mut Due, registry: &Registry) {
        let given: Vec<_> = due.batches.extract_if(.., |batch| self.is_bulk(batch, registry)).collect();
        if !given.is_empty() {
            state.bulk = Bulk::Given(given);
            self.bulk.notify_one();
        }
    }

    fn count(&self, state: &mut State, due: &Due, now: Instant, pusher: &Pusher) {
        let counters = &pusher.counters;
        counters.early_items.inc_by(due.early.items);
        counters.early_bytes.inc_by(due.early.bytes);
        counters.early_leads.inc_by(due.early.leads);
        counters.early_crowded.inc_by(due.early.crowded);
        counters.parts.inc_by(due.parts);
        let something = !due.batches.is_empty() || matches!(state.bulk, Bulk::Given(_));
        if let Some(tick) = due.tick.filter(|_| something && self.urgency == Urgency::Merged) {
            state.late = now.saturating_duration_since(tick);
            counters.windows.inc();
            counters.windows_widened.inc_by(u64::from(state.late > self.tolerance()));
            counters.window_late_seconds.observe(state.late.as_secs_f64());
        }
    }

    /// The life of the thread that says when.
    pub(super) fn run(&self, pusher: &Pusher, registry: &Registry) {
        while let Turn::Sweep(due, done) = self.turn(pusher, registry) {
            let began = Instant::now();
            self.state.lock().sweeping = Some(began);
            let rank = if self.urgency == Urgency::Urgent { Rank::Urgent } else { Rank::Merged };
            let ticked = due.tick.is_some();
            sweep(due.batches, began, rank, pusher, registry);
            {
                let mut state = self.state.lock();
                state.sweeping = None;
                state.merger.swept(began, Instant::now(), ticked);
            }
            self.has_swept(done);
        }
    }

    /// The life of the thread that writes what is bulk.
    pub(super) fn run_bulk(&self, pusher: &Pusher, registry: &Registry) {
        let rank = if self.urgency == Urgency::Urgent { Rank::UrgentBulk } else { Rank::Bulk };
        let mut state = self.state.lock();
        loop {
            match std::mem::replace(&mut state.bulk, Bulk::Idle) {
                Bulk::Given(batches) => {
                    let began = Instant::now();
                    let keys = batches.iter().map(|batch| batch.target.key()).collect();
                    state.bulk = Bulk::Running(keys, began);
                    drop(state);
                    pusher.counters.bulk_sweeps.inc();
                    sweep(batches, began, rank, pusher, registry);
                    state = self.state.lock();
                    state.bulk = Bulk::Idle;
                    state.merger.let_go(Instant::now());
                    self.wake.notify_one();
                    self.eased.notify_waiters();
                }
                _ if state.ended => return,
                _ => self.bulk.wait(&mut state),
            }
        }
    }
}

/// Encodes and writes, and returns when all has been written.
fn sweep(batches: Vec<Batch>, began: Instant, rank: Rank, pusher: &Pusher, registry: &Registry) {
    let sweep = Sweep::plan(batches, began, &pusher.counters, &pusher.compressor);
    if sweep.is_empty() {
        sweep.seal();
        return;
    }
    if pusher.workers == 0 || sweep.reach() <= INLINE_WRITES_MAX {
        sweep.run_whole(registry);
    } else {
        pusher.pool.run(&sweep, rank);
    }
    sweep.seal();
    pusher.counters.sweep_seconds.observe(began.elapsed().as_secs_f64());
}
