//! What was sent, what the answer was, and when: one record an item, written by publishers, read by everyone.
//!
//! Records are atomics, made before the run: no lock between a publisher and the event loops.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use parking_lot::Mutex;

use crate::latency::Times;
use crate::payload::{Format, Label};
use crate::schedule::Schedule;

/// What became of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Outcome {
    /// Never sent: the run ended before its turn.
    Unsent = 0,
    /// 202: it must arrive.
    Accepted = 1,
    /// Answered with an error that says nothing was done: it must not arrive.
    Refused = 2,
    /// No answer, or one that leaves it open: it may arrive.
    Unknown = 3,
}

/// 17 B an item, in 24.
#[derive(Debug, Default)]
struct Record {
    sent: AtomicU64,
    answered: AtomicU64,
    outcome: AtomicU8,
}

/// The ledger of one run.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) schedule: Schedule,
    pub(crate) format: Format,
    clock: Instant,
    us_per_item: f64,
    gateways: usize,
    begun: AtomicU64,
    records: Vec<Record>,
    /// µs of the first receipt of each item at each gateway; `u64::MAX`: none yet.
    first: Vec<AtomicU64>,
    /// Gateways that did not take an accepted item, as the answer said.
    failed: Mutex<HashMap<u32, Vec<u32>>>,
}

impl Ledger {
    /// The ledger of a schedule at a rate, over some gateways. Its clock begins now.
    pub(crate) fn new(schedule: Schedule, format: Format, rate: f64, gateways: u32) -> Self {
        let items = schedule.items.len();
        let gateways = gateways as usize;
        Self {
            schedule,
            format,
            clock: Instant::now(),
            us_per_item: if rate > 0.0 { 1e6 / rate } else { 0.0 },
            gateways,
            begun: AtomicU64::new(0),
            records: std::iter::repeat_with(Record::default).take(items).collect(),
            first: std::iter::repeat_with(|| AtomicU64::new(u64::MAX)).take(items * gateways).collect(),
            failed: Mutex::default(),
        }
    }

    /// µs on the run's clock.
    pub(crate) fn now(&self) -> u64 {
        self.clock.elapsed().as_micros() as u64
    }

    /// Publishing begins now: intended times count from here.
    pub(crate) fn begin(&self) {
        self.begun.store(self.now(), Relaxed);
    }

    /// When an item should be sent, µs.
    pub(crate) fn intended(&self, item: u32) -> u64 {
        self.begun.load(Relaxed) + (f64::from(item) * self.us_per_item) as u64
    }

    /// What the payload of an item says.
    pub(crate) fn label(&self, item: u32) -> Label {
        let planned = self.schedule.items[item as usize];
        Label { item, stream: planned.stream, seq: planned.seq, at: self.intended(item) }
    }

    /// Notes that an item is on its way: from now on it may arrive.
    pub(crate) fn sending(&self, item: u32, now: u64) {
        let record = &self.records[item as usize];
        record.sent.store(now, Relaxed);
        record.outcome.store(Outcome::Unknown as u8, Relaxed);
    }

    /// Notes the answer.
    pub(crate) fn settle(&self, item: u32, outcome: Outcome, now: u64) {
        let record = &self.records[item as usize];
        record.answered.store(now, Relaxed);
        record.outcome.store(outcome as u8, Relaxed);
    }

    /// Notes that the answer named a gateway that did not take the item.
    pub(crate) fn failed_at(&self, item: u32, gateway: u32) {
        self.failed.lock().entry(item).or_default().push(gateway);
    }

    pub(crate) fn has_failed_at(&self, item: u32, gateway: u32) -> bool {
        self.failed.lock().get(&item).is_some_and(|failed| failed.contains(&gateway))
    }

    pub(crate) fn outcome(&self, item: u32) -> Outcome {
        match self.records[item as usize].outcome.load(Relaxed) {
            0 => Outcome::Unsent,
            1 => Outcome::Accepted,
            2 => Outcome::Refused,
            _ => Outcome::Unknown,
        }
    }

    /// When an item was sent and answered, µs.
    pub(crate) fn lifetime(&self, item: u32) -> (u64, u64) {
        let record = &self.records[item as usize];
        (record.sent.load(Relaxed), record.answered.load(Relaxed))
    }

    /// Notes a receipt and gives the time of the first one at that gateway.
    pub(crate) fn received(&self, item: u32, gateway: u32, now: u64) -> u64 {
        let first = &self.first[item as usize * self.gateways + gateway as usize];
        let before = first.load(Relaxed);
        // A load alone for all but the first few: the line stays shared between the loops' cores.
        if before <= now { before } else { first.fetch_min(now, Relaxed).min(now) }
    }

    /// Intended time to first receipt, an entry for each item and gateway: (not urgent, urgent).
    pub(crate) fn waits(&self, urgent: impl Fn(u32) -> bool) -> (Times, Times) {
        let (mut plain, mut fast) = (Times::default(), Times::default());
        for (at, first) in self.first.iter().enumerate() {
            let first = first.load(Relaxed);
            if first != u64::MAX {
                let item = (at / self.gateways) as u32;
                let times =
                    if urgent(self.schedule.items[item as usize].stream) { &mut fast } else { &mut plain };
                times.record(first.saturating_sub(self.intended(item)));
            }
        }
        (plain, fast)
    }
}
