//! The engine beside a naive one: whatever is appended, refused, aged and read, nothing is missing and nothing is
//! read twice, or the reader is told that the history does not continue.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use common::ids::Epoch;
use common::link::message::Position;
use common::names::Kind;
use proptest::prelude::*;

use super::*;
use crate::engine::{Item, Keep, Moment};

const KEEP: Keep = Keep { items: 5, age: Duration::from_secs(10) };

#[derive(Debug, Clone)]
enum Step {
    /// Appends one item to each of these histories.
    Append(Vec<u8>),
    /// Reads from what a reader knows, so many items at most.
    Read(usize, u8, usize),
    /// Time passes, in seconds, and so many histories are looked at.
    Pass(u64, usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop::collection::vec(0..3_u8, 1..4).prop_map(Step::Append),
        4 => (0..3_usize, 0..3_u8, 0..4_usize).prop_map(|(reader, of, most)| Step::Read(reader, of, most)),
        1 => (0..12_u64, 0..3_usize).prop_map(|(secs, looks)| Step::Pass(secs, looks)),
    ]
}

fn whose(name: &str) -> Whose<'_> {
    Whose { kind: Kind::Room, name, keep: KEEP }
}

/// What a naive engine knows, which forgets nothing, and what readers have seen.
#[derive(Default)]
struct Naive {
    /// The items of each life of each history, by number, and when they came.
    lives: BTreeMap<(u8, u64), Vec<(u64, Instant)>>,
    /// What each reader knows of each history, if it ever read it.
    readers: BTreeMap<(usize, u8), Position>,
    number: u64,
}

impl Naive {
    fn append(&mut self, engine: &Embedded, to: &[u8], now: Instant) {
        self.number += 1;
        let names: Vec<_> = to.iter().map(|of| format!("r{of}")).collect();
        let at = Moment { mono: now, unix_ms: 0 };
        let body = Bytes::from(self.number.to_string());
        let item = Arc::new(Item { body, app: None, except: Box::default(), expires: None, at });
        let append = |name| Append { whose: whose(name), item: item.clone() };
        let appends: Vec<_> = names.iter().map(|name| append(name)).collect();
        let appended = engine.append_now(&appends, now, |placed| placed.positions.to_vec());
        for (of, position) in to.iter().zip(appended.unwrap()) {
            let life = self.lives.entry((*of, position.epoch)).or_default();
            life.push((self.number, now));
            assert_eq!(position.offset, life.len() as u64, "offsets count up from 1 in each life");
        }
    }

    fn read(&mut self, engine: &Embedded, (reader, of): (usize, u8), items: usize, now: Instant) {
        let known = self.readers.get(&(reader, of)).copied();
        let since = known.map(|at| Since { epoch: Some(Epoch(at.epoch)), offset: at.offset });
        let page = engine.read_now(whose(&format!("r{of}")), since, Most { items, bytes: usize::MAX }, now);
        let life = self.lives.get(&(of, page.head.epoch)).map_or(&[][..], Vec::as_slice);
        assert_eq!(page.head.offset, life.len() as u64);
        for (offset, item) in &page.items {
            let (number, at) = life[*offset as usize - 1];
            assert_eq!(item.body, number.to_string());
            assert!(now - at < KEEP.age, "what is too old is not read");
        }
        assert!(page.items.is_sorted_by(|a, b| a.0 + 1 == b.0), "one after the other");
        let mut seen = page.head;
        match known {
            Some(at) if page.continues => {
                assert_eq!(at.epoch, page.head.epoch);
                let wanted = (page.head.offset - at.offset).min(items as u64);
                assert_eq!(page.items.len() as u64, wanted, "nothing is missing");
                assert!(page.items.first().is_none_or(|(first, _)| *first == at.offset + 1));
                seen.offset = page.last(at.offset);
            }
            Some(at) if at.epoch == page.head.epoch => {
                let missed = &life[at.offset as usize..];
                let is_gone = |at: &Instant| now - *at >= KEEP.age;
                let gone = missed.len() > KEEP.items || missed.iter().any(|(_, at)| is_gone(at));
                assert!(gone, "it would have continued");
            }
            _ => {}
        }
        self.readers.insert((reader, of), seen);
    }
}

fn run(steps: &[Step]) {
    let (engine, mut naive, mut now) = (Embedded::new(usize::MAX), Naive::default(), Instant::now());
    for step in steps {
        match step {
            Step::Append(to) => naive.append(&engine, to, now),
            Step::Read(reader, of, items) => naive.read(&engine, (*reader, *of), *items, now),
            Step::Pass(secs, looks) => {
                now += Duration::from_secs(*secs);
                engine.tidy_now(now, *looks);
            }
        }
        assert!(engine.holdings().items <= 3 * (KEEP.items + 1), "{:?}", engine.holdings());
    }
    while engine.tidy_now(now + 3 * KEEP.age, 1) {}
    assert_eq!(engine.holdings(), Holdings::default(), "nothing stays behind");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn readers_miss_nothing_or_are_told(steps in prop::collection::vec(step(), 0..80)) {
        run(&steps);
    }
}

fn item(bytes: usize) -> Arc<Item> {
    let at = Moment { mono: Instant::now(), unix_ms: 0 };
    Arc::new(Item {
        body: Bytes::from(vec![b'x'; bytes]),
        app: None,
        except: Box::default(),
        expires: None,
        at,
    })
}

#[test]
fn what_does_not_fit_is_refused_and_a_full_history_goes_on() {
    let engine = Embedded::new(5_000);
    let now = Instant::now();
    let append = |name: &str, bytes| {
        let append = Append { whose: whose(name), item: item(bytes) };
        engine.append_now(&[append], now, |placed| placed.positions[0].offset)
    };
    for offset in 1..=20 {
        assert_eq!(append("a", 600), Ok(offset), "it lets go of its oldest");
    }
    assert_eq!(append("b", 1_000), Err(NotAppended::Full));
    assert_eq!(engine.holdings().histories, 1);
    engine.tidy_now(now + KEEP.age, 1);
    assert_eq!(append("b", 1_000), Ok(1));
}

#[test]
fn what_was_appended_to_is_told_once_and_from_a_cursor_on() {
    let engine = Embedded::new(usize::MAX);
    let now = Instant::now();
    let append = |name: &str| {
        let append = Append { whose: whose(name), item: item(1) };
        engine.append_now(&[append], now, |placed| placed.positions[0]).unwrap()
    };
    let told = |changes: &Changes| -> Vec<_> {
        changes.heads.iter().map(|(_, name, at)| (name.to_string(), at.offset)).collect()
    };
    for name in ["a", "b", "a", "c"] {
        append(name);
    }
    let first = engine.changed_now(0, 2);
    assert_eq!(told(&first), [("b".to_owned(), 1), ("a".to_owned(), 2)]);
    assert!(first.more && !first.missed);
    append("b");
    let rest = engine.changed_now(first.cursor[0], 9);
    assert_eq!(told(&rest), [("c".to_owned(), 1), ("b".to_owned(), 2)]);
    let end = engine.changed_now(rest.cursor[0], 9);
    assert!(end.heads.is_empty() && !end.more && end.cursor == rest.cursor, "{end:?}");
    engine.tidy_now(now + 3 * KEEP.age, 9);
    engine.tidy_now(now + 3 * KEEP.age, 9);
    assert!(engine.changed_now(0, 9).heads.is_empty(), "what is forgotten is not told");
}

#[test]
fn a_history_that_was_forgotten_never_continues() {
    let engine = Embedded::new(usize::MAX);
    let now = Instant::now();
    let most = Most { items: 9, bytes: 9 };
    let blank = engine.read_now(whose("r"), None, most, now).head;
    let append = |now| {
        let append = Append { whose: whose("r"), item: item(1) };
        engine.append_now(&[append], now, |placed| placed.positions[0]).unwrap()
    };
    let first = append(now);
    assert_eq!(
        (first.epoch, first.offset),
        (blank.epoch, 1),
        "who came before the first item misses nothing"
    );
    let since = Some(Since { epoch: Some(Epoch(first.epoch)), offset: 1 });
    let later = now + KEEP.age;
    engine.tidy_now(later, 9);
    assert!(engine.read_now(whose("r"), since, most, later).continues, "its place outlives its items");
    assert!(!engine.read_now(whose("r"), Some(Since { epoch: None, offset: 0 }), most, later).continues);
    let later = now + 2 * KEEP.age;
    engine.tidy_now(later, 9);
    assert_eq!(engine.holdings().histories, 0);
    let page = engine.read_now(whose("r"), since, most, later);
    assert!(!page.continues && page.head.offset == 0 && page.head.epoch != first.epoch);
    let again = append(later);
    assert_eq!((again.epoch, again.offset), (page.head.epoch, 1));
}

#[test]
fn places_that_never_were_do_not_continue() {
    let engine = Embedded::new(usize::MAX);
    let now = Instant::now();
    for _ in 0..8 {
        let append = Append { whose: whose("r"), item: item(100) };
        engine.append_now(&[append], now, |_| ()).unwrap();
    }
    let most = Most { items: 9, bytes: 250 };
    let read = |epoch, offset| engine.read_now(whose("r"), Some(Since { epoch, offset }), most, now);
    let epoch = Some(Epoch(read(None, 8).head.epoch));
    for (epoch, offset, continues) in [
        (epoch, 8, true),
        (epoch, 3, true),
        (epoch, 2, false),
        (epoch, 9, false),
        (epoch, u64::MAX, false),
        (epoch, 0, false),
        (Some(Epoch(1)), 8, false),
    ] {
        assert_eq!(read(epoch, offset).continues, continues, "{epoch:?} {offset}");
    }
    let offsets: Vec<_> = read(epoch, 3).items.iter().map(|(offset, _)| *offset).collect();
    assert_eq!(offsets, [4, 5], "as many as fit");
    assert_eq!(read(epoch, 2).items[0].0, 4, "from the oldest");
}
