//! The merger beside a naive one: whatever is offered in whatever order, each target gets what it should.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use proptest::prelude::*;

use super::{Batch, Filter, ITEM_OVERHEAD, Item, Key, Merger, Offer, Target};
use crate::bucket::Local;
use crate::settings::WindowMode;
use crate::tally::{Outgoing, Part, Passage};

pub(super) const WINDOW: Duration = Duration::from_secs(1);

#[derive(Debug, Clone)]
pub(super) struct Offered {
    pub(super) target: u64,
    pub(super) app: Option<u32>,
    pub(super) key: Option<u8>,
    pub(super) bytes: usize,
    /// Milliseconds since the offer before.
    pub(super) after: u64,
}

fn offered() -> impl Strategy<Value = Offered> {
    let size = prop_oneof![9 => 1..200_usize, 1 => 20_000..60_000_usize];
    (0..4_u64, prop::option::weighted(0.2, 1..3_u32), prop::option::weighted(0.3, 0..3_u8), size, 0..300_u64)
        .prop_map(|(target, app, key, bytes, after)| Offered { target, app, key, bytes, after })
}

pub(super) fn item(number: u32, offered: &Offered) -> Item {
    let mut body = number.to_be_bytes().to_vec();
    body.resize(offered.bytes.max(4), b'x');
    let passage = Passage::new(Arc::<Outgoing>::default(), number.into(), 1);
    Item {
        body: Bytes::from(body),
        key: offered.key.map(|key| key.to_string()),
        expires: None,
        part: Part { passage, matched: 1 },
        kept: None,
    }
}

/// Target and filter of each item sent, by the item's number, in the order in which they are sent.
pub(super) fn sent(batches: Vec<Batch>, into: &mut Vec<(u64, Option<u32>, u32)>) {
    for batch in batches {
        let Target::Client(Local(target)) = batch.target else { panic!("only clients are offered here") };
        for segment in batch.segments {
            for item in segment.items.into_iter().flatten() {
                let number = u32::from_be_bytes(item.body[..4].try_into().unwrap());
                into.push((target, segment.filter.app, number));
            }
        }
    }
}

/// One way through a merger: offers, sweeps that take their time, and a target that is written elsewhere at times.
pub(super) struct Run {
    pub(super) merger: Merger,
    pub(super) now: Instant,
    /// The lane is busy until then.
    free: Instant,
    /// The target 0 is being written elsewhere.
    is_kept: bool,
    /// Target, filter and number of each item sent, and when.
    out: Vec<(u64, Option<u32>, u32)>,
    times: Vec<Instant>,
    /// When a batch of each target left, and whether it led.
    pub(super) frames: Vec<(u64, Instant, bool)>,
    /// When the lane began a sweep, and whether it was a window's.
    pub(super) sweeps: Vec<(Instant, bool)>,
    offered_at: Vec<Instant>,
}

impl Run {
    pub(super) fn new(mode: WindowMode, bytes_max: usize) -> Self {
        Self::in_parts(mode, bytes_max, usize::MAX)
    }

    fn in_parts(mode: WindowMode, bytes_max: usize, part_bytes_max: usize) -> Self {
        let now = Instant::now();
        Self {
            merger: Merger::new(WINDOW, mode, bytes_max).in_parts(part_bytes_max),
            now,
            free: now,
            is_kept: false,
            out: Vec::new(),
            times: Vec::new(),
            frames: Vec::new(),
            sweeps: Vec::new(),
            offered_at: Vec::new(),
        }
    }

    /// Lets time pass, and the lane do what it does in it.
    pub(super) fn pass(&mut self, time: Duration, takes: Duration) {
        self.now += time;
        while let Some(at) = self.merger.next_due().map(|due| due.max(self.free)).filter(|at| *at <= self.now)
        {
            let due = self.merger.due(at, |batch| self.is_kept && batch.key() == Key::Client(Local(0)));
            let ticked = due.tick.is_some();
            self.free = at + if due.batches.is_empty() { Duration::ZERO } else { takes };
            self.merger.swept(at, self.free, ticked);
            self.leave(due.batches, at, ticked);
        }
    }

    fn leave(&mut self, batches: Vec<Batch>, at: Instant, ticked: bool) {
        if !batches.is_empty() {
            self.sweeps.push((at, ticked));
        }
        for batch in &batches {
            let Target::Client(Local(target)) = batch.target else { panic!("only clients are offered here") };
            self.frames.push((target, at, batch.leads && !ticked && batch.fullness().is_none()));
        }
        sent(batches, &mut self.out);
        self.times.resize(self.out.len(), at);
    }

    fn keep(&mut self, is_kept: bool) {
        if self.is_kept && !is_kept {
            self.merger.let_go(self.now);
        }
        self.is_kept = is_kept;
    }
}

fn mode() -> impl Strategy<Value = WindowMode> {
    prop_oneof![Just(WindowMode::Trailing), Just(WindowMode::Leading)]
}

/// What the lane does between two offers: how long each sweep takes, and whether target 0 is kept.
fn lane() -> impl Strategy<Value = (u64, bool)> {
    (prop_oneof![6 => 0..3_u64, 2 => 3..400_u64, 1 => 400..2_500_u64], prop::bool::weighted(0.3))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn nothing_is_lost_doubled_or_reordered(
        mode in mode(),
        bytes_max in prop_oneof![Just(usize::MAX), 1_000..100_000_usize],
        part_bytes_max in prop_oneof![Just(usize::MAX), 0..100_000_usize],
        offers in prop::collection::vec((offered(), lane()), 1..200),
    ) {
        let mut run = Run::in_parts(mode, bytes_max, part_bytes_max);
        let mut conflated = Vec::new();
        for (number, (offered, (takes, is_kept))) in offers.iter().enumerate() {
            run.keep(*is_kept);
            run.pass(Duration::from_millis(offered.after), Duration::from_millis(*takes));
            let filter = Filter { app: offered.app, except: None };
            let target = Target::Client(Local(offered.target));
            run.offered_at.push(run.now);
            match run.merger.offer(run.now, &target, &filter, item(number as u32, offered)) {
                Offer::Merged => {}
                Offer::Conflated(_) => conflated.push(number as u32),
            }
            let due = run.merger.next_due().expect("something waits");
            prop_assert!(due <= run.now + WINDOW, "nothing waits longer than a window");
        }
        run.keep(false);
        run.pass(WINDOW * 8, Duration::ZERO);
        prop_assert_eq!(run.merger.next_due(), None, "it forgets who was busy, and sleeps");
        prop_assert_eq!(run.merger.bytes(), 0);
        prop_assert!(run.merger.flush(run.now).batches.is_empty());
        let offers: Vec<_> = offers.into_iter().map(|(offered, _)| offered).collect();
        check_order(&offers, &run.out, &conflated)?;
        check_leads(mode, &run)?;
    }

    #[test]
    fn nothing_waits_beyond_its_window_while_the_lane_keeps_up(
        mode in mode(),
        offers in prop::collection::vec(offered(), 1..200),
    ) {
        let mut run = Run::new(mode, usize::MAX);
        for (number, offered) in offers.iter().enumerate() {
            run.pass(Duration::from_millis(offered.after), Duration::ZERO);
            run.offered_at.push(run.now);
            let target = Target::Client(Local(offered.target));
            let plain = Offered { key: None, ..offered.clone() };
            run.merger.offer(run.now, &target, &Filter::default(), item(number as u32, &plain));
        }
        run.pass(WINDOW * 3, Duration::ZERO);
        prop_assert_eq!(run.out.len(), offers.len());
        for ((_, _, number), at) in run.out.iter().zip(&run.times) {
            prop_assert!(*at <= run.offered_at[*number as usize] + WINDOW);
        }
    }

    #[test]
    fn bytes_are_counted_right(offers in prop::collection::vec(offered(), 1..100)) {
        let mut merger = Merger::new(Duration::ZERO, WindowMode::Trailing, usize::MAX);
        let now = Instant::now();
        for (number, offered) in offers.iter().enumerate() {
            let target = Target::Client(Local(offered.target));
            merger.offer(now, &target, &Filter::default(), item(number as u32, offered));
        }
        let bytes = merger.bytes();
        let batches = merger.flush(now).batches;
        let costs: usize = batches.iter().map(Batch::cost).sum();
        let items = batches.iter().flat_map(|batch| &batch.segments).flat_map(|segment| segment.items.iter().flatten());
        let waiting: usize = items.map(|item| item.body.len() + ITEM_OVERHEAD).sum();
        prop_assert_eq!((bytes, costs), (waiting, waiting));
    }
}

/// Every item is sent once or was conflated by a later one for the same connections; each target's are in order.
fn check_order(
    offers: &[Offered],
    out: &[(u64, Option<u32>, u32)],
    conflated: &[u32],
) -> Result<(), TestCaseError> {
    prop_assert_eq!(out.len() + conflated.len(), offers.len());
    let mut by_target = BTreeMap::<u64, Vec<u32>>::new();
    for (target, app, number) in out {
        let offered = &offers[*number as usize];
        prop_assert_eq!((offered.target, offered.app), (*target, *app));
        by_target.entry(*target).or_default().push(*number);
    }
    for (target, numbers) in &by_target {
        prop_assert!(numbers.is_sorted_by(|a, b| a < b), "target {}: {:?}", target, numbers);
    }
    // The newest item of each (target, filter, key) is always sent.
    for (number, offered) in offers.iter().enumerate().filter(|(_, offered)| offered.key.is_some()) {
        let same = |other: &&Offered| {
            (other.target, other.app, other.key) == (offered.target, offered.app, offered.key)
        };
        if !offers[number + 1..].iter().any(|other| same(&other)) {
            prop_assert!(out.iter().any(|(_, _, sent)| *sent == number as u32));
        }
    }
    Ok(())
}

/// What leads comes after a quiet window, only where windows lead, and sweeps of first items are paced.
fn check_leads(mode: WindowMode, run: &Run) -> Result<(), TestCaseError> {
    for (place, (target, at, leads)) in run.frames.iter().enumerate() {
        prop_assert!(!leads || mode == WindowMode::Leading);
        let before = run.frames[..place].iter().rfind(|(other, ..)| other == target);
        prop_assert!(
            !leads || before.is_none_or(|(_, before, _)| *at >= *before + WINDOW),
            "{:?}",
            run.frames
        );
    }
    Ok(())
}
