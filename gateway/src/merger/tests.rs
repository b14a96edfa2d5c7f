//! What the merger does when, one case at a time.

use std::time::Duration;

use super::batch::PLACES_MAX;
use super::model::{Offered, Run, WINDOW, item, sent};
use super::*;

#[test]
fn a_full_target_leaves_early_and_alone() {
    let mut merger = Merger::new(WINDOW, WindowMode::Trailing, usize::MAX);
    let now = Instant::now();
    let small = Offered { target: 1, app: None, key: None, bytes: 10, after: 0 };
    let big = Offered { target: 2, bytes: TARGET_BYTES_MAX, ..small.clone() };
    let many = std::iter::repeat_n(Offered { target: 3, ..small.clone() }, TARGET_ITEMS_MAX);
    for (number, offered) in [small, big].into_iter().chain(many).enumerate() {
        let target = Target::Client(Local(offered.target));
        merger.offer(now, &target, &Filter::default(), item(number as u32, &offered));
    }
    assert!(merger.next_due().unwrap() <= now);
    let due = merger.due(now, |_| false);
    assert_eq!((due.tick, due.early), (None, Early { items: 1, bytes: 1, ..Early::default() }));
    let mut out = Vec::new();
    sent(due.batches, &mut out);
    assert_eq!(out.len(), 1 + TARGET_ITEMS_MAX);
    assert_eq!(merger.next_due(), Some(now + WINDOW));
    let due = merger.due(now + WINDOW, |_| false);
    assert_eq!((due.tick, due.early), (Some(now + WINDOW), Early::default()));
    sent(due.batches, &mut out);
    assert_eq!(out.last(), Some(&(1, None, 0)));
}

#[test]
fn a_full_merger_lets_everything_leave_early() {
    let mut merger = Merger::new(WINDOW, WindowMode::Trailing, 3 * (ITEM_OVERHEAD + 10));
    let now = Instant::now();
    for number in 0..4_u32 {
        assert!(merger.next_due().is_none_or(|due| due > now), "before item {number}");
        let offered = Offered { target: number.into(), app: None, key: None, bytes: 10, after: 0 };
        merger.offer(now, &Target::Client(Local(number.into())), &Filter::default(), item(number, &offered));
    }
    assert_eq!(merger.next_due(), Some(now));
    let due = merger.due(now, |_| false);
    assert_eq!((due.batches.len(), due.early), (4, Early { crowded: 4, ..Early::default() }));
    assert_eq!((merger.bytes(), merger.next_due()), (0, None));
}

#[test]
fn the_first_item_leads_the_rest_waits_and_a_busy_target_has_plain_windows() {
    let mut run = Run::new(WindowMode::Leading, usize::MAX);
    let began = run.now;
    let offered = Offered { target: 1, app: None, key: None, bytes: 10, after: 0 };
    // Ten items a second for three seconds: the first at once, then a frame a second.
    for number in 0..30 {
        run.merger.offer(run.now, &Target::Client(Local(1)), &Filter::default(), item(number, &offered));
        run.pass(Duration::from_millis(100), Duration::ZERO);
    }
    run.pass(WINDOW * 3, Duration::ZERO);
    let frames: Vec<_> =
        run.frames.iter().map(|(_, at, leads)| ((*at - began).as_millis(), *leads)).collect();
    assert_eq!(frames, [(0, true), (1000, false), (2000, false), (3000, false)]);
    assert_eq!(run.merger.next_due(), None);
    // After a quiet window it leads again.
    run.merger.offer(run.now, &Target::Client(Local(1)), &Filter::default(), item(30, &offered));
    assert_eq!(run.merger.next_due(), Some(run.now));
}

#[test]
fn the_first_items_of_a_thousand_targets_share_some_sweeps() {
    let mut run = Run::new(WindowMode::Leading, usize::MAX);
    for number in 0..1_000_u32 {
        let target = u64::from(number);
        let offered = Offered { target, app: None, key: None, bytes: 10, after: 0 };
        run.merger.offer(run.now, &Target::Client(Local(target)), &Filter::default(), item(number, &offered));
        run.pass(Duration::from_millis(1), Duration::from_micros(100));
    }
    let leads = run.frames.iter().filter(|(_, _, leads)| *leads).count();
    assert!(leads > 900, "{leads} of 1,000 led");
    assert!(run.sweeps.len() <= 101, "{} sweeps", run.sweeps.len());
}

#[test]
fn a_gateway_that_is_behind_lets_nothing_lead() {
    let mut run = Run::new(WindowMode::Leading, usize::MAX);
    let mut number = 0;
    let mut second = |run: &mut Run, takes: Duration| {
        for _ in 0..10 {
            let target = u64::from(number);
            let offered = Offered { target, app: None, key: None, bytes: 10, after: 0 };
            run.merger.offer(
                run.now,
                &Target::Client(Local(target)),
                &Filter::default(),
                item(number, &offered),
            );
            number += 1;
            run.pass(WINDOW / 10, takes);
        }
    };
    // Each sweep takes longer than a window: the first leads, and nothing after it.
    (0..6).for_each(|_| second(&mut run, WINDOW * 3 / 2));
    assert_eq!(run.frames.iter().filter(|(_, _, leads)| *leads).count(), 1, "{:?}", run.frames);
    // The load goes, and soon items lead again.
    (0..4).for_each(|_| second(&mut run, Duration::ZERO));
    assert!(run.frames.iter().rev().take(5).all(|(_, _, leads)| *leads), "{:?}", run.frames);
}

#[test]
fn what_is_kept_gathers_on_and_leaves_when_it_is_let_go() {
    let mut merger = Merger::new(WINDOW, WindowMode::Trailing, usize::MAX);
    let now = Instant::now();
    let offer = |merger: &mut Merger, now, number: u32, target| {
        let offered = Offered { target, app: None, key: None, bytes: 10, after: 0 };
        merger.offer(now, &Target::Client(Local(target)), &Filter::default(), item(number, &offered));
    };
    offer(&mut merger, now, 0, 0);
    offer(&mut merger, now, 1, 1);
    let kept = |batch: &Batch| batch.key() == Key::Client(Local(0));
    let mut out = Vec::new();
    sent(merger.due(now + WINDOW, kept).batches, &mut out);
    assert_eq!(out, [(1, None, 1)]);
    assert_eq!(merger.next_due(), None, "what is kept is due at no time");
    offer(&mut merger, now + WINDOW, 2, 0);
    sent(merger.due(now + WINDOW * 2, kept).batches, &mut out);
    assert_eq!((out.len(), merger.overdue(now + WINDOW * 3)), (1, WINDOW * 2));
    merger.let_go(now + WINDOW * 3);
    assert_eq!(merger.next_due(), Some(now + WINDOW * 3));
    let due = merger.due(now + WINDOW * 3, |_| false);
    assert_eq!(due.tick, Some(now + WINDOW), "since then it is late");
    sent(due.batches, &mut out);
    assert_eq!(out[1..], [(0, None, 0), (0, None, 2)]);
}

#[test]
fn a_key_that_changes_for_ever_holds_one_item_and_stays_in_order() {
    let mut merger = Merger::new(WINDOW, WindowMode::Trailing, usize::MAX);
    let now = Instant::now();
    let (hot, still) = (Some(1), Some(2));
    for number in 0..100_000_u32 {
        let (key, app) = if number % 1000 == 999 { (still, Some(1)) } else { (hot, None) };
        let offered = Offered { target: 1, app, key, bytes: 8, after: 0 };
        merger.offer(now, &Target::Client(Local(1)), &Filter { app, except: None }, item(number, &offered));
    }
    let batches = merger.flush(now).batches;
    let places: usize =
        batches.iter().flat_map(|batch| &batch.segments).map(|segment| segment.items.capacity()).sum();
    assert!(places < 100_000 / 4, "{places} places for two items");
    let mut out = Vec::new();
    sent(batches, &mut out);
    assert_eq!(out, [(1, None, 99_998), (1, Some(1), 99_999)], "the newest of each key and filter, no other");
}

#[test]
fn of_what_gathered_for_long_a_sweep_takes_a_part_and_the_next_the_next() {
    let mut merger = Merger::new(WINDOW, WindowMode::Trailing, usize::MAX).in_parts(2 * TARGET_BYTES_MAX);
    let now = Instant::now();
    let target = Target::Client(Local(1));
    let offer = |merger: &mut Merger, numbers: std::ops::Range<u32>, key| {
        for number in numbers {
            let offered = Offered { target: 1, app: None, key, bytes: 1024, after: 0 };
            merger.offer(now, &target, &Filter::default(), item(number, &offered));
        }
    };
    offer(&mut merger, 0..10, Some(1));
    offer(&mut merger, 10..1_000, None);
    assert!(merger.due(now, |_| true).batches.is_empty(), "it is kept");
    merger.let_go(now);
    let mut out = Vec::new();
    let mut sweeps = 0;
    while merger.next_due().is_some_and(|due| due <= now) {
        let due = merger.due(now, |_| false);
        assert_eq!(due.batches.len(), 1);
        assert!(due.batches[0].bytes() <= 2 * TARGET_BYTES_MAX, "{}", due.batches[0].bytes());
        sent(due.batches, &mut out);
        assert_eq!(due.parts == 0, merger.bytes() == 0, "{} of {} have left", out.len(), 991);
        sweeps += 1;
        // A key whose item has left replaces nothing, and what comes now is behind all that waits.
        offer(&mut merger, 1_000 + sweeps..1_001 + sweeps, Some(1).filter(|_| sweeps <= 2));
        if sweeps > 20 {
            break;
        }
    }
    assert!((8..=9).contains(&sweeps), "{sweeps} sweeps for 991 KiB");
    let numbers: Vec<u32> = out.iter().map(|(_, _, number)| *number).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    assert_eq!(numbers[..2], [9, 10]);
    assert!(numbers.contains(&1_002) && !numbers.contains(&1_001), "the newer of the two with the key");
}

#[test]
fn whom_items_are_not_for_is_counted_once_for_each_frame() {
    let mut merger = Merger::new(WINDOW, WindowMode::Trailing, usize::MAX);
    let now = Instant::now();
    let offered = Offered { target: 1, app: None, key: None, bytes: 10, after: 0 };
    let plain = ITEM_OVERHEAD + 10;
    let except: Arc<[Local]> = (0..10_000).map(Local).collect();
    let filter = Filter { app: None, except: Some(except) };
    for number in 0..2 {
        merger.offer(now, &Target::Client(Local(1)), &filter, item(number, &offered));
        assert_eq!(merger.bytes(), 80_000 + (number as usize + 1) * plain);
    }
    merger.offer(now, &Target::Client(Local(1)), &Filter::default(), item(2, &offered));
    merger.offer(now, &Target::Client(Local(1)), &filter, item(3, &offered));
    assert_eq!(merger.bytes(), 2 * 80_000 + 4 * plain, "another frame, the list again");
    merger.flush(now);
    assert_eq!(merger.bytes(), 0);
}

#[test]
fn a_key_with_ever_other_filters_is_compared_with_few_and_stays_in_order() {
    let mut merger = Merger::new(WINDOW, WindowMode::Trailing, usize::MAX);
    let now = Instant::now();
    let mut filters = (0..20_000_u32).map(|app| Filter { app: Some(app), except: None }).collect::<Vec<_>>();
    // Those that are known conflate on.
    filters.extend_from_within(..PLACES_MAX);
    let mut conflated = 0;
    for (number, filter) in filters.iter().enumerate() {
        let offered = Offered { target: 1, app: filter.app, key: Some(1), bytes: 10, after: 0 };
        let offer = merger.offer(now, &Target::Client(Local(1)), filter, item(number as u32, &offered));
        conflated += usize::from(matches!(offer, Offer::Conflated(_)));
    }
    // One beyond is sent twice rather than looked for.
    let beyond = &filters[PLACES_MAX];
    let offered = Offered { target: 1, app: beyond.app, key: Some(1), bytes: 10, after: 0 };
    let offer = merger.offer(now, &Target::Client(Local(1)), beyond, item(filters.len() as u32, &offered));
    assert!(matches!(offer, Offer::Merged));
    assert_eq!(conflated, PLACES_MAX);
    let mut out = Vec::new();
    sent(merger.flush(now).batches, &mut out);
    let numbers: Vec<u32> = out.iter().map(|(_, _, number)| *number).collect();
    assert_eq!(numbers, (PLACES_MAX as u32..=filters.len() as u32).collect::<Vec<_>>());
}
