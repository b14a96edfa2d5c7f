//! The merger beside a naive one: whatever is offered in whatever order, each target gets what it should.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use proptest::prelude::*;

use super::{Batch, Filter, Item, Merger, Offer, TARGET_BYTES_MAX, Target};
use crate::bucket::Local;
use crate::tally::{Outgoing, Part, Passage};

const WINDOW: Duration = Duration::from_secs(1);

#[derive(Debug, Clone)]
struct Offered {
    target: u64,
    app: Option<u32>,
    key: Option<u8>,
    bytes: usize,
    /// Milliseconds since the offer before.
    after: u64,
}

fn offered() -> impl Strategy<Value = Offered> {
    let size = prop_oneof![9 => 1..200_usize, 1 => 20_000..60_000_usize];
    (0..4_u64, prop::option::weighted(0.2, 1..3_u32), prop::option::weighted(0.3, 0..3_u8), size, 0..300_u64)
        .prop_map(|(target, app, key, bytes, after)| Offered { target, app, key, bytes, after })
}

fn item(number: u32, offered: &Offered) -> Item {
    let mut body = number.to_be_bytes().to_vec();
    body.resize(offered.bytes.max(4), b'x');
    let passage = Passage::new(Arc::<Outgoing>::default(), number.into(), 1);
    Item {
        body: Bytes::from(body),
        key: offered.key.map(|key| key.to_string()),
        expires: None,
        part: Part { passage, matched: 1 },
    }
}

/// Target and filter of each item sent, by the item's number, in the order in which they are sent.
fn sent(batches: Vec<Batch>, into: &mut Vec<(u64, Option<u32>, u32)>) {
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

proptest! {
    #[test]
    fn nothing_is_lost_doubled_or_reordered(offers in prop::collection::vec(offered(), 1..200)) {
        let mut merger = Merger::new(WINDOW);
        let mut now = Instant::now();
        let mut out = Vec::new();
        let mut conflated = Vec::new();
        for (number, offered) in offers.iter().enumerate() {
            now += Duration::from_millis(offered.after);
            while merger.next_due().is_some_and(|due| due <= now) {
                sent(merger.due(now), &mut out);
            }
            let filter = Filter { app: offered.app, except: None };
            let target = Target::Client(Local(offered.target));
            match merger.offer(now, &target, &filter, item(number as u32, offered)) {
                Offer::Merged => {}
                Offer::Conflated(_) => conflated.push(number as u32),
            }
            let due = merger.next_due().expect("something waits");
            prop_assert!(due <= now + WINDOW, "nothing waits longer than a window");
        }
        sent(merger.flush(), &mut out);
        prop_assert_eq!(merger.bytes(), 0);
        prop_assert_eq!(merger.next_due(), None);
        // Every item is sent once or was conflated; what conflated it went to the same connections later.
        prop_assert_eq!(out.len() + conflated.len(), offers.len());
        let mut by_target = BTreeMap::<u64, Vec<u32>>::new();
        for (target, app, number) in &out {
            let offered = &offers[*number as usize];
            prop_assert_eq!((offered.target, offered.app), (*target, *app));
            by_target.entry(*target).or_default().push(*number);
        }
        for (target, numbers) in &by_target {
            prop_assert!(numbers.is_sorted_by(|a, b| a < b), "target {}: {:?}", target, numbers);
        }
        // The newest item of each (target, filter, key) is always sent.
        for (number, offered) in offers.iter().enumerate().filter(|(_, offered)| offered.key.is_some()) {
            let same = |other: &&Offered| (other.target, other.app, other.key) == (offered.target, offered.app, offered.key);
            if !offers[number + 1..].iter().any(|other| same(&other)) {
                prop_assert!(out.iter().any(|(_, _, sent)| *sent == number as u32));
            }
        }
    }

    #[test]
    fn bytes_are_counted_right(offers in prop::collection::vec(offered(), 1..100)) {
        let mut merger = Merger::new(Duration::ZERO);
        let now = Instant::now();
        for (number, offered) in offers.iter().enumerate() {
            let target = Target::Client(Local(offered.target));
            merger.offer(now, &target, &Filter::default(), item(number as u32, offered));
        }
        let bytes = merger.bytes();
        let waiting: usize = merger.flush().iter().map(Batch::cost).sum();
        prop_assert_eq!(bytes, waiting);
    }
}

#[test]
fn a_full_target_leaves_early_and_alone() {
    let mut merger = Merger::new(WINDOW);
    let now = Instant::now();
    let small = Offered { target: 1, app: None, key: None, bytes: 10, after: 0 };
    let big = Offered { target: 2, bytes: TARGET_BYTES_MAX, ..small.clone() };
    for (number, offered) in [&small, &big].into_iter().enumerate() {
        merger.offer(
            now,
            &Target::Client(Local(offered.target)),
            &Filter::default(),
            item(number as u32, offered),
        );
    }
    assert!(merger.next_due().unwrap() <= now);
    let mut out = Vec::new();
    sent(merger.due(now), &mut out);
    assert_eq!(out, [(2, None, 1)]);
    assert_eq!(merger.next_due(), Some(now + WINDOW));
    sent(merger.due(now + WINDOW), &mut out);
    assert_eq!(out.len(), 2);
}

#[test]
fn a_key_that_changes_for_ever_holds_one_item_and_stays_in_order() {
    let mut merger = Merger::new(WINDOW);
    let now = Instant::now();
    let (hot, still) = (Some(1), Some(2));
    for number in 0..100_000_u32 {
        let (key, app) = if number % 1000 == 999 { (still, Some(1)) } else { (hot, None) };
        let offered = Offered { target: 1, app, key, bytes: 8, after: 0 };
        merger.offer(now, &Target::Client(Local(1)), &Filter { app, except: None }, item(number, &offered));
    }
    let batches = merger.flush();
    let places: usize =
        batches.iter().flat_map(|batch| &batch.segments).map(|segment| segment.items.capacity()).sum();
    assert!(places < 100_000 / 4, "{places} places for two items");
    let mut out = Vec::new();
    sent(batches, &mut out);
    assert_eq!(out, [(1, None, 99_998), (1, Some(1), 99_999)], "the newest of each key and filter, no other");
}
