//! Frames that are known by their bytes: nothing that is wrong with one is overlooked for that.

use super::*;

/// The frames that all clients get: three items each.
fn frames(rig: &Rig) -> Vec<String> {
    rig.due(13).chunks(3).map(|items| rig.text(13, items)).collect()
}

#[test]
fn a_frame_is_read_twice_and_then_known_by_its_bytes() {
    let mut rig = Rig::new(10, Verify::Strict);
    // Clients of gateway 0 who are not in the room get the same bytes.
    let world = rig.course.world.clone();
    let out = |client: &u32| world.rooms_of(*client).all(|room| room != ROOM);
    let clients: Vec<u32> = (0..97).step_by(2).filter(out).collect();
    let texts = frames(&rig);
    let mut known = 0;
    for (at, text) in texts.iter().enumerate() {
        for (turn, &client) in clients.iter().enumerate() {
            let again = rig.take(client, text, 40_000 + at as u64 * 1_000 + turn as u64);
            assert_eq!(again, turn >= 2, "client {client}");
            known += u32::from(again);
        }
    }
    assert_eq!(known as usize, texts.len() * (clients.len() - 2));
    let items = 30 * clients.len() as u64;
    let seen = rig.trackers.remove(0).into_seen();
    assert_eq!(seen.counts[0], Counts { received: items, ..Counts::default() });
    let count = |times: &Times| times.histogram().len();
    let latency = &seen.latency;
    assert_eq!(count(&latency.total) + count(&latency.total_urgent), items);
    assert_eq!(count(&latency.fanout) + count(&latency.fanout_urgent), items);
    assert!(latency.fanout.histogram().max().abs_diff(clients.len() as u64 - 1) <= 1);
}

#[test]
fn what_is_wrong_with_a_known_frame_is_found_at_each_client() {
    let mut rig = Rig::new(10, Verify::Strict);
    let texts = frames(&rig);
    let world = rig.course.world.clone();
    let member = (1..97).step_by(2).find(|&client| world.rooms_of(client).any(|room| room == ROOM)).unwrap();
    for client in (1..97).step_by(2) {
        let mut mine: Vec<String> = texts.clone();
        match client {
            51 => _ = mine.remove(4),
            53 => mine.insert(5, mine[4].clone()),
            55 => mine.swap(4, 6),
            57 => mine[4] = mine[4].replacen("\"f\":\"", "\"f\":\"?", 1),
            59 => mine[4] = mine[4].replacen("load", "laod", 1),
            _ => {}
        }
        mine.iter().for_each(|text| _ = rig.take(client, text, 50_000));
    }
    // A frame to a room is known at its members, and unexpected at others.
    let room = *rig.due(member).iter().find(|&&item| item % 4 == 3).unwrap();
    let text = rig.text(member, &[room]);
    let is_member = |client: &u32| world.rooms_of(*client).any(|room| room == ROOM);
    let members: Vec<u32> = (1..97).step_by(2).filter(is_member).collect();
    let known = members.iter().filter(|&&client| rig.take(client, &text, 60_000)).count();
    assert_eq!(known, members.len() - 2);
    let stranger = (1..97).step_by(2).find(|client| !is_member(client)).unwrap();
    assert!(!rig.take(stranger, &text, 60_000));
    let (_, judged, examples) = rig.judge();
    let counts = judged[1];
    assert_eq!((counts.duplicated, counts.reordered, counts.corrupted), (3, 6, 2), "{examples:?}");
    assert_eq!(counts.unexpected, 1);
    // Of the room's ten items one came; of the others client 51 misses three, 57 and 59 one each.
    assert_eq!(counts.lost, 9 * members.len() as u64 + 5, "{examples:?}");
}

#[test]
fn late_items_are_counted_with_known_frames_too() {
    let mut rig = Rig::late(small(), 1, Verify::Strict, 10_000);
    let text = rig.text(1, &[0, 1]);
    // Item 0 was intended at 0 ms, item 1 at 1 ms.
    for (client, now) in [(1, 9_000), (3, 9_500), (5, 9_900), (7, 10_500), (9, 11_500), (11, 11_600)] {
        rig.take(client, &text, now);
    }
    let (total, ..) = rig.judge();
    assert_eq!((total.received, total.late), (12, 1 + 2 + 2));
}

/// Seventy items of 200 B in one frame for 15,000 clients: what it costs to read it, and to know it again.
#[test]
fn slow_the_cost_of_a_frame_is_printed() {
    let world = || crate::world::World { clients: 15_000, gateways: 1, ..small() };
    let items: Vec<u32> = (0..70).map(|seq| seq * 4).collect();
    let cost = |known: bool| {
        let mut rig = Rig::of(world(), 70, Verify::Strict);
        let text = rig.text(0, &items);
        rig.trackers.truncate(1);
        let begun = std::time::Instant::now();
        for client in (0..15_000).step_by(2) {
            let now = rig.course.ledger.now();
            let came = match rig.trackers[0].again(client, text.as_bytes(), false, now) {
                Ok(_) if known => continue,
                Ok(_) => panic!("it is not to be known"),
                Err(came) => came,
            };
            let came = if known { came } else { Came { mark: None, ..came } };
            rig.trackers[0].message(client, text.as_bytes(), &came, now).expect("a push");
        }
        let seen = rig.trackers.remove(0).into_seen();
        assert_eq!(seen.counts[0], Counts { received: 70 * 7_500, ..Counts::default() });
        assert_eq!(seen.latency.total.histogram().len(), 70 * 7_500);
        (begun.elapsed().as_nanos() as f64 / 7_500.0, text.len())
    };
    let mut best = [f64::MAX; 2];
    let mut bytes = 0;
    for turn in 0..10 {
        let (nanos, length) = cost(turn % 2 == 0);
        (best[turn % 2], bytes) = (best[turn % 2].min(nanos), length);
    }
    let [known, read] = best;
    println!(
        "a frame of 70 items, {bytes} B: read {read:.0} ns ({:.1} an item), known again {known:.0} ns ({:.1} an item)",
        read / 70.0,
        known / 70.0
    );
    assert!(known * 4.0 < read, "{known} ns instead of {read}");
}
