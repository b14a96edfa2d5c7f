//! What was sent, what the answer was, and when: one record an item, written by publishers, read by everyone.
//!
//! Records are atomics, made before the run: no lock between a publisher and the event loops. The coordinator has
//! the ledger of all items. An agent has one of the items that concern its clients, notes there when each was first
//! received, and at the end of the run takes what became of them from the coordinator's, in [`Ledger::export`]s.
//! An item's *place* is its place in the ledger; in the coordinator's it is its number.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

use crate::clock::Clock;
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

/// Items of one [`Ledger::export`], at the most: 9 B each, 147 KB.
pub(crate) const EXPORT_ITEMS: u32 = 16_384;

/// Outcome, delay of the sending, time to the answer.
const EXPORT_BYTES: usize = 1 + 4 + 4;

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
    pub(crate) clock: Clock,
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
    /// The ledger of a schedule at a rate; first receipts are noted for so many gateways. Its clock begins now.
    pub(crate) fn new(schedule: Schedule, format: Format, rate: f64, gateways: u32) -> Self {
        let items = schedule.items.len();
        let gateways = gateways as usize;
        Self {
            schedule,
            format,
            clock: Clock::start(),
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
        self.clock.now()
    }

    /// Publishing begins at this time: intended times count from here.
    pub(crate) fn begin(&self, at: u64) {
        self.begun.store(at, Relaxed);
    }

    /// When the item with a number should be sent, µs.
    pub(crate) fn intended(&self, item: u32) -> u64 {
        self.begun.load(Relaxed) + (f64::from(item) * self.us_per_item) as u64
    }

    /// What the payload of the item at a place says.
    pub(crate) fn label(&self, place: u32) -> Label {
        let planned = self.schedule.items[place as usize];
        let item = self.schedule.number(place);
        Label { item, stream: planned.stream, seq: planned.seq, at: self.intended(item) }
    }

    /// The place of the item that a payload claims to be, if there is such a one.
    pub(crate) fn place(&self, label: Label) -> Option<u32> {
        self.schedule.place(label.item).filter(|&place| self.label(place) == label)
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

    /// The gateways that the answers named as not having taken an item, by item.
    pub(crate) fn failures(&self) -> Vec<(u32, Vec<u32>)> {
        self.failed.lock().iter().map(|(&item, gateways)| (item, gateways.clone())).collect()
    }

    /// Notes a receipt and gives the time of the first one at that gateway, of those whose are noted.
    pub(crate) fn received(&self, place: u32, gateway: u32, now: u64) -> u64 {
        let first = &self.first[place as usize * self.gateways + gateway as usize];
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
                let place = (at / self.gateways) as u32;
                let times =
                    if urgent(self.schedule.items[place as usize].stream) { &mut fast } else { &mut plain };
                times.record(first.saturating_sub(self.intended(self.schedule.number(place))));
            }
        }
        (plain, fast)
    }

    /// What became of the items from a number on, in bytes: [`EXPORT_ITEMS`] of them at the most.
    pub(crate) fn export(&self, from: u32) -> Vec<u8> {
        let items = from..(self.records.len() as u32).min(from.saturating_add(EXPORT_ITEMS));
        let mut bytes = Vec::with_capacity(4 + items.len() * EXPORT_BYTES);
        bytes.extend(from.to_be_bytes());
        let narrow = |us: u64| u32::try_from(us).unwrap_or(u32::MAX).to_be_bytes();
        for item in items {
            let (sent, answered) = self.lifetime(item);
            bytes.push(self.outcome(item) as u8);
            bytes.extend(narrow(sent.saturating_sub(self.intended(item))));
            bytes.extend(narrow(answered.saturating_sub(sent)));
        }
        bytes
    }

    /// Takes such bytes. `None`: they are none.
    pub(crate) fn import(&self, bytes: &[u8]) -> Option<()> {
        let (from, bytes) = bytes.split_first_chunk()?;
        let (records, []) = bytes.as_chunks::<EXPORT_BYTES>() else { return None };
        for (item, record) in (u32::from_be_bytes(*from)..).zip(records) {
            let Some(place) = self.schedule.place(item) else { continue };
            let (outcome, times) = record.split_first()?;
            let (delay, took) = times.split_first_chunk()?;
            let sent = self.intended(item) + u64::from(u32::from_be_bytes(*delay));
            let took = u32::from_be_bytes(*took.first_chunk()?);
            let mine = &self.records[place as usize];
            mine.sent.store(sent, Relaxed);
            mine.answered.store(sent + u64::from(took), Relaxed);
            mine.outcome.store(*outcome, Relaxed);
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::tests::to_all_clients;

    #[test]
    fn what_became_of_items_comes_over_to_the_ledger_of_a_part() {
        let ledger = |schedule| Ledger::new(schedule, Format::new(1, 200), 1_000.0, 1);
        let items = EXPORT_ITEMS + 10;
        let (whole, part) =
            (ledger(to_all_clients(items, |_| true)), ledger(to_all_clients(items, |item| item % 3 == 0)));
        for ledger in [&whole, &part] {
            ledger.begin(5_000_000);
        }
        for item in 0..items {
            let sent = whole.intended(item) + u64::from(item % 100);
            whole.sending(item, sent);
            let outcome = if item % 7 == 0 { Outcome::Refused } else { Outcome::Accepted };
            whole.settle(item, outcome, sent + 70);
        }
        assert_eq!(part.import(&whole.export(0)), Some(()));
        assert_eq!(part.import(&whole.export(EXPORT_ITEMS)), Some(()));
        for item in (0..items).step_by(3) {
            let place = part.schedule.place(item).unwrap();
            assert_eq!(part.label(place), whole.label(item));
            assert_eq!(
                (part.outcome(place), part.lifetime(place)),
                (whole.outcome(item), whole.lifetime(item))
            );
        }
        assert_eq!(part.schedule.place(1), None);
        for bad in [&b""[..], b"abc", b"abcde", &whole.export(0)[..20]] {
            assert_eq!(part.import(bad), None);
        }
    }
}
