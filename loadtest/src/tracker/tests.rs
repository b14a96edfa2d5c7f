//! The ledger's own test: each fault is planted, and found.

use super::*;
use crate::judge::{Excuses, judge};
use crate::ledger::Outcome;
use crate::payload::Format;
use crate::schedule::Schedule;
use crate::world::tests::small;
use crate::world::{Stream, Target};

#[path = "tests/frames.rs"]
mod frames;

/// A run by hand: streams to all clients through two logic nodes, one of them urgent, and to a room.
struct Rig {
    course: Arc<Course>,
    trackers: Vec<Tracker>,
    excuses: Excuses,
}

const ROOM: u32 = 4;

impl Rig {
    /// `each` items in each stream, all accepted at 1 ms an item; two loops.
    fn new(each: u32, verify: Verify) -> Self {
        Self::of(small(), each, verify)
    }

    fn of(world: crate::world::World, each: u32, verify: Verify) -> Self {
        Self::late(world, each, verify, u64::MAX)
    }

    fn late(world: crate::world::World, each: u32, verify: Verify, late_us: u64) -> Self {
        let mut schedule = Schedule::default();
        for _ in 0..each {
            for stream in Self::streams() {
                schedule.push(&world, stream);
            }
        }
        let items = schedule.items.len() as u32;
        let ledger = Ledger::new(schedule, Format::new(9, 200), 1_000.0, world.gateways);
        for item in 0..items {
            ledger.sending(item, u64::from(item) * 1_000);
            ledger.settle(item, Outcome::Accepted, u64::from(item) * 1_000 + 500);
        }
        let course = Arc::new(Course { world, ledger, verify, gateway_step: 1, late_us, settle_us: 0 });
        let trackers = (0..2).map(|offset| Tracker::new(course.clone(), offset, 2)).collect();
        let excuses = Excuses { churn: vec![false, false], slack: 10_000, settle: 0, interrupted: false };
        Self { course, trackers, excuses }
    }

    fn streams() -> [Stream; 4] {
        [
            Stream { target: Target::All, logic: 0, urgent: false },
            Stream { target: Target::All, logic: 1, urgent: false },
            Stream { target: Target::All, logic: 0, urgent: true },
            Stream { target: Target::Room(ROOM), logic: 0, urgent: false },
        ]
    }

    /// The items that a client should get, in the order of the schedule.
    fn due(&self, client: u32) -> Vec<u32> {
        let world = &self.course.world;
        let items = self.course.ledger.schedule.items.iter().zip(0..);
        let due = items.filter(|(planned, _)| world.slot(client, world.stream(planned.stream)).is_some());
        due.map(|(_, item)| item).collect()
    }

    fn text(&self, client: u32, items: &[u32]) -> String {
        let mut texts = Vec::new();
        for &item in items {
            let label = self.course.ledger.label(item);
            let mut data = Vec::new();
            self.course.ledger.format.write(label, &mut data);
            let target = self.course.world.stream(label.stream).target;
            let room = self.course.world.named_room(client, target);
            let prefix = &self.course.world.prefix;
            let room = room.map_or(String::new(), |room| format!(r#""room":"{prefix}r{room}","#));
            let data = String::from_utf8(data).unwrap();
            texts.push(format!(r#"{{{room}"event":"load","data":{data}}}"#));
        }
        format!(r#"{{"cmd":"push","items":[{}]}}"#, texts.join(","))
    }

    fn give(&mut self, client: u32, items: &[u32]) {
        let text = self.text(client, items);
        self.give_text(client, &text);
    }

    fn give_text(&mut self, client: u32, text: &str) {
        let now = self.course.ledger.now();
        self.take(client, text, now);
    }

    /// As an event loop does: whether the bytes were verified before.
    fn take(&mut self, client: u32, text: &str, now: u64) -> bool {
        let tracker = &mut self.trackers[(client % 2) as usize];
        match tracker.again(client, text.as_bytes(), false, now) {
            Ok(_) => true,
            Err(came) => {
                tracker.message(client, text.as_bytes(), &came, now).expect("a push");
                false
            }
        }
    }

    /// Gives every client what it should get, but to `odd` what `change` makes of it.
    fn run(&mut self, odd: u32, change: impl Fn(&mut Vec<u32>)) {
        for client in 0..self.course.world.clients {
            let mut due = self.due(client);
            if client == odd {
                change(&mut due);
            }
            for items in due.chunks(3) {
                self.give(client, items);
            }
        }
    }

    fn judge(self) -> (Counts, Vec<Counts>, Vec<String>) {
        let mut seen: Vec<Seen> = self.trackers.into_iter().map(Tracker::into_seen).collect();
        let (judged, _) = judge(&self.course, &mut seen, &self.excuses);
        let mut total = Counts::default();
        judged.iter().for_each(|counts| total.add(counts));
        (total, judged, seen.into_iter().flat_map(|seen| seen.examples).collect())
    }
}

#[test]
fn slow_clients_are_judged_apart_and_only_for_what_they_miss() {
    let mut world = small();
    world.stalled_share = 0.2;
    world.prefix = "p0-".into();
    let mut rig = Rig::of(world, 10, Verify::Strict);
    let slow: Vec<u32> = (0..97).filter(|&client| !rig.course.world.is_prompt(client)).collect();
    assert!(slow.len() > 5 && slow.len() < 40);
    for client in 0..97 {
        let mut due = rig.due(client);
        if client == slow[0] {
            // It misses one and gets another twice: the first is its pace's fault, the second is not.
            due.remove(3);
            due.push(due[0]);
        }
        rig.give(client, &due);
    }
    let due: u64 = slow.iter().map(|&client| rig.due(client).len() as u64).sum();
    let mut seen: Vec<Seen> = rig.trackers.into_iter().map(Tracker::into_seen).collect();
    let (judged, of_slow) = judge(&rig.course, &mut seen, &rig.excuses);
    let mut total = Counts::default();
    judged.iter().for_each(|counts| total.add(counts));
    assert_eq!(total, Counts { duplicated: 1, ..clean(total) });
    assert_eq!(of_slow, crate::judge::Slow { expected: due, missed: 1 });
    assert_eq!(seen.iter().map(|seen| seen.slow_received).sum::<u64>(), due - 1);
    let count = |latency: &Latency| latency.total.histogram().len() + latency.total_urgent.histogram().len();
    assert_eq!(seen.iter().map(|seen| count(&seen.latency)).sum::<u64>(), total.expected);
}

fn clean(total: Counts) -> Counts {
    Counts { expected: total.expected, received: total.expected, ..Counts::default() }
}

#[test]
fn a_whole_run_is_clean() {
    let mut rig = Rig::new(10, Verify::Strict);
    rig.run(0, |_| {});
    let (total, judged, examples) = rig.judge();
    assert_eq!(total, clean(total));
    assert!(total.expected > 97 * 30 && judged.iter().all(|gateway| gateway.expected > 0));
    assert_eq!(examples, Vec::<String>::new());
}

#[test]
fn a_lost_item_is_found_wherever_it_stood() {
    for at in [0, 1, 7, 29] {
        let mut rig = Rig::new(10, Verify::Strict);
        rig.run(13, |due| _ = due.remove(at));
        let (total, judged, examples) = rig.judge();
        assert_eq!(total, Counts { lost: 1, received: total.expected - 1, ..clean(total) }, "at {at}");
        assert_eq!((judged[0].lost, judged[1].lost), (0, 1));
        assert!(examples[0].contains("client 13") && examples[0].contains("never came"), "{examples:?}");
    }
}

#[test]
fn a_client_that_gets_nothing_has_lost_all() {
    let mut rig = Rig::new(10, Verify::Strict);
    let due = rig.due(13).len() as u64;
    rig.run(13, Vec::clear);
    assert_eq!(rig.judge().0.lost, due);
}

#[test]
fn what_had_not_come_when_a_run_was_interrupted_is_under_way_and_a_hole_is_lost() {
    let mut rig = Rig::new(10, Verify::Strict);
    let streams = Rig::streams().len() as u32;
    // Of the first stream it misses one in the middle, and of all streams the last ones.
    let hole = rig.due(13)[0] + 4 * streams;
    let kept = rig.due(13).iter().filter(|&&item| item < 9 * streams && item != hole).count();
    rig.run(13, |due| due.retain(|&item| item < 9 * streams && item != hole));
    rig.excuses.interrupted = true;
    let under_way = rig.due(13).len() - kept - 1;
    let (total, judged, _) = rig.judge();
    assert_eq!((total.lost, total.under_way), (1, under_way as u64));
    assert_eq!(total.expected, total.received + total.lost + total.under_way);
    assert_eq!((judged[0].under_way, judged[1].lost), (0, 1));
}

#[test]
fn a_duplicated_item_is_found() {
    for (at, again) in [(0, 1), (0, 25), (29, 30)] {
        let mut rig = Rig::new(10, Verify::Strict);
        rig.run(13, |due| due.insert(again, due[at]));
        let (total, _, examples) = rig.judge();
        assert_eq!(total, Counts { duplicated: 1, ..clean(total) });
        assert!(examples[0].contains("came again"), "{examples:?}");
    }
}

#[test]
fn a_reordered_item_is_found_and_is_neither_lost_nor_duplicated() {
    let mut rig = Rig::new(10, Verify::Strict);
    // Client 13 is not in the room: its items stand in turns of three streams.
    rig.run(13, |due| due.swap(0, 3));
    let (total, _, examples) = rig.judge();
    assert_eq!(total, Counts { reordered: 1, ..clean(total) });
    assert!(examples[0].contains("came after a later one"), "{examples:?}");
}

#[test]
fn items_of_different_streams_may_pass_each_other() {
    let mut rig = Rig::new(10, Verify::Strict);
    let world = rig.course.world.clone();
    let streams: Vec<u32> = rig.course.ledger.schedule.items.iter().map(|item| item.stream).collect();
    rig.run(13, |due| {
        due.sort_by_key(|&item| (world.stream(streams[item as usize]).urgent, streams[item as usize]))
    });
    let (total, ..) = rig.judge();
    assert_eq!(total, clean(total));
}

#[test]
fn a_corrupted_item_is_found_and_is_lost() {
    let mut rig = Rig::new(10, Verify::Strict);
    let odd = rig.due(13);
    rig.run(13, |due| _ = due.remove(5));
    let text = rig.text(13, &odd[5..6]);
    for changed in [
        text.replacen("\"f\":\"", "\"f\":\"X", 1),
        text.replacen("\"event\":\"load\"", "\"event\":\"laod\"", 1),
        text.replacen("\"event\"", "\"room\":\"r1\",\"event\"", 1),
        text.replacen("\"n\":", "\"n\":1", 1),
        text.replacen("\"}}]}", "\"}}]", 1),
    ] {
        assert_ne!(changed, text);
        rig.give_text(13, &changed);
    }
    let (total, _, examples) = rig.judge();
    // The last one is a whole item in a frame that is not whole: the item counts, and so does the frame.
    assert_eq!((total.corrupted, total.lost, total.reordered), (5, 0, 1), "{examples:?}");
}

#[test]
fn an_item_in_the_wrong_room_or_at_the_wrong_client_is_found() {
    let mut rig = Rig::new(1, Verify::Strict);
    rig.run(0, |_| {});
    let members = |rig: &Rig, wanted| {
        let world = &rig.course.world;
        (0..world.clients).find(|&client| world.rooms_of(client).any(|room| room == ROOM) == wanted).unwrap()
    };
    let (member, stranger) = (members(&rig, true), members(&rig, false));
    let item = *rig.due(member).last().unwrap();
    let text = rig.text(member, &[item]);
    rig.give_text(stranger, &text);
    rig.give_text(member, &text.replace("\"room\":\"r4\"", "\"room\":\"r5\""));
    let (total, ..) = rig.judge();
    assert_eq!((total.unexpected, total.corrupted, total.lost), (1, 1, 0));
}

#[test]
fn items_of_others_are_corrupt_or_passed_over() {
    for (verify, corrupted, foreign) in [(Verify::Strict, 1, 0), (Verify::Shared, 0, 1)] {
        let mut rig = Rig::new(1, verify);
        rig.run(0, |_| {});
        rig.give_text(3, r#"{"cmd":"push","items":[{"data":{"n":1}}]}"#);
        let (total, ..) = rig.judge();
        assert_eq!((total.corrupted, total.foreign), (corrupted, foreign));
    }
}

#[test]
fn what_was_not_accepted_is_not_lost_and_must_not_come_if_it_was_refused() {
    let mut rig = Rig::new(10, Verify::Strict);
    let ledger = &rig.course.ledger;
    ledger.settle(4, Outcome::Refused, 0);
    ledger.settle(8, Outcome::Unknown, 0);
    ledger.settle(36, Outcome::Unsent, 0);
    rig.run(13, |_| {});
    // All clients got all three: fine for the unknown one, and the unsent one cannot happen outside a test.
    let (total, ..) = rig.judge();
    assert_eq!((total.lost, total.unexpected), (0, 97));
    let mut rig = Rig::new(10, Verify::Strict);
    for (item, outcome) in [(4, Outcome::Refused), (8, Outcome::Unknown), (36, Outcome::Unsent)] {
        rig.course.ledger.settle(item, outcome, 0);
    }
    for client in 0..97 {
        let due: Vec<u32> = rig.due(client).into_iter().filter(|item| ![4, 8, 36].contains(item)).collect();
        rig.give(client, &due);
    }
    let (total, ..) = rig.judge();
    assert_eq!(total, clean(total));
}

#[test]
fn a_gateway_that_the_answer_named_as_failed_is_excused_and_no_other() {
    let mut rig = Rig::new(10, Verify::Strict);
    rig.course.ledger.failed_at(4, 1);
    for client in 0..97 {
        let due: Vec<u32> = rig.due(client).into_iter().filter(|&item| item != 4).collect();
        rig.give(client, &due);
    }
    let (_, judged, _) = rig.judge();
    assert_eq!((judged[1].excused, judged[1].lost), (48, 0));
    assert_eq!((judged[0].excused, judged[0].lost), (0, 49));
}

#[test]
fn absence_excuses_misses_of_its_time_only_and_only_where_it_was_expected() {
    // An item a millisecond; client 13 misses the items from 10 to 29 and was away from 10 to 20 ms.
    for (churn, excused) in [(true, true), (false, false)] {
        let mut rig = Rig::new(10, Verify::Strict);
        rig.excuses = Excuses { churn: vec![false, churn], slack: 0, settle: 0, interrupted: false };
        rig.trackers[1].went(13, 10_000, false);
        rig.trackers[1].came(13, 20_000);
        rig.run(13, |due| due.retain(|item| !(10..30).contains(item)));
        let missed_away = rig.due(13).into_iter().filter(|item| (10..=20).contains(item)).count() as u64;
        let missed_after = rig.due(13).into_iter().filter(|item| (21..30).contains(item)).count() as u64;
        let (total, ..) = rig.judge();
        let expected = if excused { (missed_away, missed_after) } else { (0, missed_away + missed_after) };
        assert_eq!((total.excused, total.lost), expected);
    }
}

#[test]
fn the_slack_covers_what_waited_in_a_gateway_that_died() {
    let mut rig = Rig::new(10, Verify::Strict);
    rig.excuses = Excuses { churn: vec![false, true], slack: 5_000, settle: 3_000, interrupted: false };
    rig.trackers[1].went(13, 10_000, false);
    rig.trackers[1].came(13, 20_000);
    // Item 5 was answered at 5.5 ms, and could wait until 10.5 ms; item 4 only until 9.5 ms.
    rig.run(13, |due| due.retain(|item| ![4, 5, 22, 24].contains(item)));
    let (total, ..) = rig.judge();
    assert_eq!((total.excused, total.lost), (2, 2));
}

#[test]
fn a_duplicate_is_a_duplicate_even_after_an_absence() {
    let mut rig = Rig::new(10, Verify::Strict);
    rig.excuses.churn = vec![true, true];
    rig.trackers[1].went(13, 0, false);
    rig.run(13, |due| due.push(due[2]));
    assert_eq!(rig.judge().0.duplicated, 1);
}

#[test]
fn waits_and_fan_out_are_told_apart() {
    let mut rig = Rig::new(1, Verify::Strict);
    let text = rig.text(0, &[0]);
    for (client, now) in [(0, 700_000), (2, 900_000), (1, 1_500_000)] {
        rig.take(client, &text, now);
    }
    let (waits, _) = rig.course.ledger.waits(|_| false);
    let near = |seen: u64, expected: u64| seen.abs_diff(expected) * 500 <= expected;
    // Gateway 0 has it first after 0.7 s, gateway 1 after 1.5 s; only client 2 came after another of its gateway.
    assert!(near(waits.histogram().min(), 700_000) && near(waits.histogram().max(), 1_500_000));
    let mut latency = Latency::default();
    for tracker in rig.trackers {
        latency.add(&tracker.into_seen().latency);
    }
    assert_eq!(latency.fanout.histogram().len(), 3);
    assert!(near(latency.fanout.histogram().max(), 200_000));
    assert!(near(latency.total.histogram().max(), 1_500_000));
}

#[test]
fn who_leaves_a_room_misses_its_items_meanwhile_and_must_not_get_them() {
    let mut rig = Rig::new(10, Verify::Strict);
    let world = rig.course.world.clone();
    let is_member = |client: &u32| world.rooms_of(*client).any(|room| room == ROOM);
    let member = (1..97).step_by(2).find(is_member).unwrap();
    let column = world.column(Target::Room(ROOM)).unwrap();
    // An item a millisecond, every fourth to the room: 3, 7, 11, …, 39. The client is out from 10 to 20 ms.
    let wanted: Vec<u32> =
        rig.due(member).into_iter().filter(|item| ![11, 15, 19, 27].contains(item)).collect();
    let (before, after): (Vec<u32>, Vec<u32>) = wanted.into_iter().partition(|&item| item < 20);
    rig.give(member, &before);
    rig.trackers[1].leaves(member, column, 10_000);
    rig.trackers[1].left(member, 10_100);
    rig.give(member, &[15]);
    rig.trackers[1].joined(member, 20_000);
    rig.give(member, &after);
    for client in (0..97).filter(|&client| client != member) {
        let due = rig.due(client);
        rig.give(client, &due);
    }
    let (total, _, examples) = rig.judge();
    assert_eq!((total.unexpected, total.excused, total.lost), (1, 3, 1), "{examples:?}");
}
