//! What became of each delivery, counted where it happens and told to the logic node that sent it.
//!
//! The law: matched = written + conflated + expired + dropped + pending, of a push and of the node. `matched` is said when a delivery is
//! taken; connections come and go in a window, so the difference is told when it is written.

mod times;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use common::ids::{Instance, PushId};
use common::link::message::{Counts, Receipts, Taken, Up, up};
use common::trace::Trace;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::counters::Counters;
pub(crate) use times::STAGES;
use times::Times;

/// Receipts that wait to be sent on one link. Past this number the link's deliveries wait too:
/// 100,000 × 72 B in memory = 7 MB.
const WAITING_MAX: usize = 100_000;

/// Receipts per message on the link: 2,000 × at most 50 B = 100 KB.
const RECEIPTS_PER_MESSAGE: usize = 2_000;

/// Receipts in the order in which they came, of each kind.
#[derive(Debug, Default)]
struct Waiting {
    taken: VecDeque<Taken>,
    counts: VecDeque<Counts>,
}

/// The receipts of one link, waiting to be sent.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    /// The run of the logic node, once it has said who it is.
    pub(crate) logic: OnceLock<Instance>,
    waiting: Mutex<Waiting>,
    some: Notify,
    room: Notify,
    ended: AtomicBool,
}

impl Outgoing {
    /// Notes that deliveries were taken.
    pub(crate) fn taken(&self, taken: &mut Vec<Taken>) {
        self.waiting.lock().taken.extend(taken.drain(..));
        self.some.notify_one();
    }

    fn count(&self, counts: Counts) {
        // Nobody reads the receipts of a link that has ended.
        if !self.ended.load(Ordering::Relaxed) {
            self.waiting.lock().counts.push_back(counts);
            self.some.notify_one();
        }
    }

    /// Waits while too many receipts wait.
    pub(crate) async fn room(&self) {
        while self.len() > WAITING_MAX {
            self.room.notified().await;
        }
    }

    fn len(&self) -> usize {
        let waiting = self.waiting.lock();
        waiting.taken.len() + waiting.counts.len()
    }

    /// Waits for receipts, and takes some.
    pub(crate) async fn next(&self) -> Up {
        loop {
            let some = self.some.notified();
            {
                let mut waiting = self.waiting.lock();
                if !waiting.taken.is_empty() || !waiting.counts.is_empty() {
                    let taken = split(&mut waiting.taken);
                    // A delivery's counts never overtake the word that it was taken.
                    let may_follow = waiting.taken.is_empty();
                    let counts = if may_follow { split(&mut waiting.counts) } else { Vec::new() };
                    let receipts = Receipts { taken, counts };
                    if !waiting.taken.is_empty() || !waiting.counts.is_empty() {
                        self.some.notify_one();
                    }
                    self.room.notify_one();
                    return Up { body: Some(up::Body::Receipts(receipts)) };
                }
            }
            some.await;
        }
    }

    /// The link is gone: receipts are kept no more.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
        *self.waiting.lock() = Waiting::default();
    }
}

fn split<T>(from: &mut VecDeque<T>) -> Vec<T> {
    let some = from.len().min(RECEIPTS_PER_MESSAGE);
    from.drain(..some).collect()
}

/// One delivery on its way through this gateway: as many parts as it has targets here.
#[derive(Debug)]
pub(crate) struct Passage {
    outgoing: Arc<Outgoing>,
    serial: u64,
    parts: AtomicU32,
    came: Instant,
    /// Boxed: few have one.
    trace: Option<Box<Trace>>,
}

impl Passage {
    /// Of something that came just now.
    pub(crate) fn new(outgoing: Arc<Outgoing>, serial: u64, parts: u32) -> Arc<Self> {
        Self::since(outgoing, serial, parts, Instant::now(), None)
    }

    /// Of a delivery that came then, perhaps as a part of a trace.
    pub(crate) fn since(
        outgoing: Arc<Outgoing>,
        serial: u64,
        parts: u32,
        came: Instant,
        trace: Option<Trace>,
    ) -> Arc<Self> {
        Arc::new(Self { outgoing, serial, parts: AtomicU32::new(parts), came, trace: trace.map(Box::new) })
    }

    /// The push's id, as logic has told its caller.
    fn id(&self) -> PushId {
        let logic = self.outgoing.logic.get().copied().unwrap_or(Instance(0));
        PushId { logic, serial: self.serial }
    }

    /// The delivery matched nobody here: that is all there is to say.
    pub(crate) fn nobody(&self) {
        self.outgoing.count(Counts { serial: self.serial, settled: true, ..Counts::default() });
    }

    fn tell(&self, mut counts: Counts, part_ends: bool) {
        counts.serial = self.serial;
        counts.settled = part_ends && self.parts.fetch_sub(1, Ordering::AcqRel) == 1;
        self.outgoing.count(counts);
    }
}

/// One item in the merger: a delivery's part for one target, and how many connections it matched.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) passage: Arc<Passage>,
    pub(crate) matched: u64,
}

impl Part {
    /// A newer item with the same key took its place.
    pub(crate) fn conflated(self, counters: &Counters) {
        counters.conflated.inc_by(self.matched);
        counters.law.count(self.matched, self.matched);
        self.passage.tell(Counts { conflated: self.matched, ..Counts::default() }, true);
    }

    /// Its connections get it another way, from the history that it stands in. What is written there is counted
    /// there; here it is said, so that the sum holds and whoever waits for this delivery hears of it.
    pub(crate) fn doubled(self) {
        self.passage.tell(Counts { written: self.matched, ..Counts::default() }, true);
    }

    /// It is for nobody: whom it matched was told of a place behind it.
    pub(crate) fn past(self) {
        let matched_delta = -(self.matched as i64);
        self.passage.tell(Counts { matched_delta, ..Counts::default() }, true);
    }

    /// Its time to live ended before its turn came.
    pub(crate) fn expired(self, counters: &Counters) {
        counters.expired.inc_by(self.matched);
        counters.law.count(self.matched, self.matched);
        self.passage.tell(Counts { expired: self.matched, ..Counts::default() }, true);
    }
}

/// One frame on its way to connections, and the items in it. A frame is *sealed* when the sweep has passed
/// all connections; what then still waits in outboxes is counted as it resolves.
#[derive(Debug)]
pub(crate) struct Tally {
    parts: Box<[Part]>,
    counters: Arc<Counters>,
    times: Times,
    /// Connections that the sweep has come to; complete once it is sealed.
    reached: AtomicU64,
    written: AtomicU64,
    slow: AtomicU64,
    gone: AtomicU64,
    /// Connections whose outbox holds the frame; one more until it is sealed.
    pending: AtomicU64,
    told: Mutex<Told>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Told {
    matched_known: bool,
    settled: bool,
    /// An outbox was waited for.
    outboxes: bool,
    written: u64,
    slow: u64,
    gone: u64,
}

/// What became of a frame at one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Written,
    Slow,
    Gone,
}

impl Tally {
    /// Of a frame of a sweep that began then.
    pub(crate) fn new(parts: Vec<Part>, counters: Arc<Counters>, swept: Instant) -> Arc<Self> {
        Arc::new(Self {
            parts: parts.into_boxed_slice(),
            counters,
            times: Times { swept, sealed: OnceLock::new() },
            reached: AtomicU64::new(0),
            written: AtomicU64::new(0),
            slow: AtomicU64::new(0),
            gone: AtomicU64::new(0),
            pending: AtomicU64::new(1),
            told: Mutex::default(),
        })
    }

    /// The sweep came to so many connections, and this became of it at once.
    pub(crate) fn add(&self, outcome: Outcome, connections: u64) {
        self.reached.fetch_add(connections, Ordering::Relaxed);
        self.note(outcome, connections);
    }

    fn note(&self, outcome: Outcome, connections: u64) {
        match outcome {
            Outcome::Written => &self.written,
            Outcome::Slow => &self.slow,
            Outcome::Gone => &self.gone,
        }
        .fetch_add(connections, Ordering::Relaxed);
    }

    /// The sweep came to a connection whose outbox holds it now.
    pub(crate) fn wait(&self) {
        self.reached.fetch_add(1, Ordering::Relaxed);
        self.pending.fetch_add(1, Ordering::Relaxed);
    }

    /// It left a connection's outbox.
    pub(crate) fn resolve(&self, outcome: Outcome) {
        self.note(outcome, 1);
        if self.pending.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.tell(true);
        }
    }

    /// The sweep has passed all connections.
    pub(crate) fn seal(&self) {
        self.times.seal();
        let nothing_waits = self.pending.fetch_sub(1, Ordering::AcqRel) == 1;
        self.tell(nothing_waits);
    }

    fn tell(&self, settled: bool) {
        let mut told = self.told.lock();
        let before = *told;
        if before.settled {
            // The last outbox was quicker than the seal.
            return;
        }
        let now = Told {
            matched_known: true,
            settled,
            outboxes: before.matched_known,
            written: self.written.load(Ordering::Acquire),
            slow: self.slow.load(Ordering::Acquire),
            gone: self.gone.load(Ordering::Acquire),
        };
        *told = now;
        let items = self.parts.len() as u64;
        for (counter, now, before) in [
            (&self.counters.written, now.written, before.written),
            (&self.counters.dropped_slow, now.slow, before.slow),
            (&self.counters.dropped_gone, now.gone, before.gone),
        ] {
            if now > before {
                counter.inc_by((now - before) * items);
            }
        }
        let matched = self.reached.load(Ordering::Acquire);
        let done = |told: &Told| told.written + told.slow + told.gone;
        let new = if before.matched_known { 0 } else { matched };
        self.counters.law.count(new * items, (done(&now) - done(&before)) * items);
        for part in &self.parts {
            let matched_delta = if before.matched_known { 0 } else { matched as i64 - part.matched as i64 };
            let counts = Counts {
                matched_delta,
                written: now.written - before.written,
                dropped_slow: now.slow - before.slow,
                dropped_gone: now.gone - before.gone,
                ..Counts::default()
            };
            part.passage.tell(counts, settled);
        }
        drop(told);
        if settled {
            self.times.say(self, &now);
        }
    }
}

#[cfg(test)]
mod tests {
    use common::metrics::Metrics;
    use futures_util::FutureExt;

    use super::*;

    fn receipts(outgoing: &Outgoing) -> Option<Receipts> {
        match outgoing.next().now_or_never()?.body? {
            up::Body::Receipts(receipts) => Some(receipts),
        }
    }

    #[test]
    fn receipts_add_up_wherever_the_seal_falls_among_emptying_outboxes() {
        for seal_at in 0..=3 {
            let outgoing = Arc::<Outgoing>::default();
            let part = Part { passage: Passage::new(outgoing.clone(), 7, 1), matched: 9 };
            let tally =
                Tally::new(vec![part], Arc::new(Counters::new(&Metrics::new("test"))), Instant::now());
            tally.add(Outcome::Written, 4);
            tally.add(Outcome::Slow, 1);
            (0..3).for_each(|_| tally.wait());
            for (place, outcome) in
                [Outcome::Written, Outcome::Gone, Outcome::Written].into_iter().enumerate()
            {
                if place == seal_at {
                    tally.seal();
                }
                tally.resolve(outcome);
            }
            if seal_at == 3 {
                tally.seal();
            }
            let (mut matched, mut sum, mut settled) = (9, 0, 0);
            while let Some(receipts) = receipts(&outgoing) {
                for counts in receipts.counts {
                    matched += counts.matched_delta;
                    sum += counts.written + counts.dropped_slow + counts.dropped_gone;
                    settled += u32::from(counts.settled);
                }
            }
            assert_eq!((matched, sum, settled), (8, 8, 1), "sealed after {seal_at} outboxes");
        }
    }

    #[test]
    fn counts_never_overtake_the_word_that_a_delivery_was_taken() {
        let outgoing = Outgoing::default();
        let last = 3 * RECEIPTS_PER_MESSAGE as u64;
        outgoing.taken(&mut (1..=last).map(|serial| Taken { serial, matched: 1 }).collect());
        outgoing.count(Counts { serial: last, settled: true, ..Counts::default() });
        let mut taken = 0;
        while let Some(receipts) = receipts(&outgoing) {
            taken = receipts.taken.last().map_or(taken, |taken| taken.serial);
            assert!(receipts.counts.is_empty() || taken == last, "counted before {last} was taken");
        }
        assert_eq!(taken, last);
    }
}
