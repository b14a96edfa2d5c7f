//! A sweep beside clients that come and go: nobody twice, nobody missed, and no lock for long.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use common::names::Kind;

use super::*;
use crate::connection::Shared;
use crate::merger::{Item, Merger};
use crate::registry::{Identity, Registration};
use crate::routes::Routes;
use crate::settings::{Settings, WindowMode};
use crate::tally::{Outgoing, Part, Passage};
use crate::transport::Transport;

/// Connections in memory.
pub(in crate::pusher) struct World {
    pub(in crate::pusher) registry: Arc<Registry>,
    shared: Arc<Shared>,
}

impl World {
    pub(in crate::pusher) fn new() -> Self {
        Self { registry: Arc::new(Registry::new(Arc::<Routes>::default())), shared: Arc::new(Shared::test()) }
    }

    pub(in crate::pusher) fn register(&self, rooms: &[String]) -> Registration {
        self.register_on(Transport::Memory(Box::default()), rooms)
    }

    pub(in crate::pusher) fn register_on(&self, transport: Transport, rooms: &[String]) -> Registration {
        self.registry.register(&Identity::default(), rooms, |local| {
            Arc::new(Connection::new(transport.into(), local, self.shared.clone()))
        })
    }

    pub(in crate::pusher) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Puts so many connections, of no room, into one bucket.
    pub(in crate::pusher) fn crowd(&self, bucket: usize, connections: usize) {
        for _ in 0..connections {
            self.registry.bucket(bucket).write().insert(0, |local| {
                let transport = Transport::Memory(Box::default());
                Arc::new(Connection::new(transport.into(), local, self.shared.clone()))
            });
        }
    }

    /// A sweep with an item for everybody and one for each of these rooms.
    fn sweep(&self, rooms: &[String]) -> Arc<Sweep> {
        let groups = rooms.iter().map(|room| self.registry.directory.find(Kind::Room, room).unwrap());
        self.plan(groups.map(Target::Group).chain([Target::All]))
    }

    /// A sweep with an item for each of these.
    pub(in crate::pusher) fn plan(&self, targets: impl Iterator<Item = Target>) -> Arc<Sweep> {
        let mut merger = Merger::new(Duration::ZERO, WindowMode::Trailing, usize::MAX);
        for target in targets {
            let passage = Passage::new(Arc::<Outgoing>::default(), 1, 1);
            let body = Bytes::from_static(b"\"data\":1}");
            let item =
                Item { body, key: None, expires: None, part: Part { passage, matched: 1 }, kept: None };
            merger.offer(Instant::now(), &target, &Filter::default(), item);
        }
        let counters = &self.shared.counters;
        let compressor = Arc::new(Compressor::new(&Settings::default(), counters));
        let now = Instant::now();
        Sweep::plan(merger.flush(now).batches, now, counters, &compressor)
    }
}

#[tokio::test]
async fn who_comes_and_goes_during_a_sweep_is_written_once_or_not_at_all() {
    let world = World::new();
    let rooms = ["a".to_owned(), "b".to_owned()];
    // All buckets get as many: of one of them, so many chunks.
    let mut here = Vec::new();
    for _ in 0..(BUCKETS * CHUNK / 16) {
        here.push(world.register(&rooms));
    }
    let mut bucket_mates = Vec::new();
    while bucket_mates.len() < 2 * CHUNK + 10 {
        let registration = world.register(&rooms);
        if registration.connection.local.bucket() == 7 {
            bucket_mates.push(registration);
        }
    }
    here.retain(|registration| registration.connection.local.bucket() == 7);
    here.append(&mut bucket_mates);

    let sweep = world.sweep(&rooms);
    let mut scratch = Scratch::default();
    let noted = sweep.note(7, &world.registry, &mut scratch);
    let mut gathered = HashMap::<Local, usize>::new();
    let mut new = Vec::new();
    let mut gone = Vec::new();
    while scratch.chunk.end < scratch.dues.len() {
        sweep.gather(7, &world.registry, noted, &mut scratch);
        let mut start = 0;
        for job in scratch.jobs.drain(..) {
            *gathered.entry(job.connection.local).or_default() += 1;
            assert_eq!(job.frames_end - start, 3, "both rooms and everybody");
            start = job.frames_end;
        }
        scratch.frames.clear();
        // A third leaves, of those who had their turn and of those who had not, and others take their places.
        for place in (0..here.len()).rev().step_by(3) {
            gone.push(here.swap_remove(place).connection.local);
        }
        while new.len() < gone.len() {
            let registration = world.register(&rooms);
            if registration.connection.local.bucket() == 7 {
                new.push(registration);
            }
        }
    }
    assert!(gone.len() > CHUNK, "many have left: {}", gone.len());
    assert!(
        new.iter().any(|new| gone.iter().any(|gone| gone.slot() == new.connection.local.slot())),
        "places are reused"
    );
    for stayed in &here {
        assert_eq!(
            gathered.get(&stayed.connection.local),
            Some(&1),
            "{:?} was there all the time",
            stayed.connection.local
        );
    }
    assert!(gathered.values().all(|times| *times == 1), "nobody twice");
    assert!(
        new.iter().all(|new| !gathered.contains_key(&new.connection.local)),
        "who came later is due nothing"
    );
}

/// Two in the room `a`, both of the user `old`, one of whom departs between two steps of a sweep for such a group: how
/// many frames that one gets, and the other.
fn written_around_a_departure(
    (kind, name): (Kind, &str),
    is_gathered: bool,
    depart: impl Fn(&World, Local),
) -> [usize; 2] {
    let world = World::new();
    let old = Identity { user: Some("old".into()), app: None };
    let [departs, stays] = [(); 2].map(|()| world.register(&["a".to_owned()]));
    for registration in [&departs, &stays] {
        registration.connection.greet(frame::PING);
        world.registry.bind(registration.connection.local, &old).unwrap();
    }
    let group = world.registry.directory.find(kind, name).unwrap();
    let sweep = world.plan([Target::Group(group)].into_iter());
    let number = departs.connection.local.bucket();
    let (mut scratch, mut totals) = (Scratch::default(), Totals::default());
    let noted = sweep.note(number, &world.registry, &mut scratch);
    let mut wrote = Vec::new();
    let mut depart = Some(|| depart(&world, departs.connection.local));
    while scratch.chunk.end < scratch.dues.len() {
        depart.take_if(|_| !is_gathered).into_iter().for_each(|depart| depart());
        let gathered = sweep.gather(number, &world.registry, noted, &mut scratch);
        depart.take().into_iter().for_each(|depart| depart());
        let due: Vec<_> = scratch.jobs.iter().map(|job| job.connection.local).collect();
        let before = totals.frames;
        sweep.write(&mut scratch, || world.registry.departures(number) == gathered.departures, &mut totals);
        wrote.extend_from_slice(&due[..(totals.frames - before) as usize]);
    }
    [departs, stays].map(|who| wrote.iter().filter(|local| **local == who.connection.local).count())
}

#[tokio::test]
async fn who_has_departed_is_written_nothing_more_wherever_the_sweep_was() {
    let leave = |world: &World, local| assert!(world.registry.leave(local, "a"));
    let user = Some("new".to_owned());
    let bind = |world: &World, local| {
        world.registry.bind(local, &Identity { user: user.clone(), app: Some(7) }).unwrap()
    };
    for is_gathered in [false, true] {
        assert_eq!(written_around_a_departure((Kind::Room, "a"), is_gathered, leave), [0, 1], "left a room");
        assert_eq!(
            written_around_a_departure((Kind::User, "old"), is_gathered, bind),
            [0, 1],
            "another user"
        );
        assert_eq!(
            written_around_a_departure((Kind::Room, "a"), is_gathered, bind),
            [1, 1],
            "in the same room"
        );
    }
}

/// Prints how long a bucket's lock is held at a million connections: 15,625 in this bucket, four rooms each.
#[tokio::test]
#[allow(clippy::print_stderr)]
async fn slow_a_full_bucket_is_locked_for_less_than_a_millisecond_at_a_time() {
    common::descriptors::raise().unwrap();
    let world = World::new();
    let rooms: Vec<String> = (0..4).map(|room| format!("r{room}")).collect();
    let connections = std::env::var("CONNECTIONS").map_or(15_625, |text| text.parse().unwrap());
    let mut bucket = Bucket::new(0);
    for _ in 0..connections {
        bucket.insert(0, |local| {
            let transport = Transport::Memory(Box::default());
            Arc::new(Connection::new(transport.into(), local, world.shared.clone()))
        });
    }
    let locals: Vec<Local> =
        bucket.slots.iter().flat_map(|slot| &slot.connection).map(|connection| connection.local).collect();
    for room in &rooms {
        let group = world.registry.directory.enter(Kind::Room, room, 0).unwrap();
        locals.iter().for_each(|local| _ = bucket.join(*local, group.clone()));
    }
    *world.registry.bucket(0).write() = bucket;
    let sweep = world.sweep(&rooms);
    let mut worst = Vec::new();
    let mut whole = Vec::new();
    let mut noted = Vec::new();
    for _ in 0..9 {
        let mut scratch = Scratch::default();
        let began = Instant::now();
        let mark = sweep.note(0, &world.registry, &mut scratch);
        noted.push(began.elapsed());
        let mut held = Vec::new();
        while scratch.chunk.end < scratch.dues.len() {
            let began = Instant::now();
            sweep.gather(0, &world.registry, mark, &mut scratch);
            held.push(began.elapsed());
        }
        worst.push(held.iter().copied().max().unwrap());
        whole.push(held.iter().sum::<Duration>());
    }
    [&mut worst, &mut whole, &mut noted].into_iter().for_each(|times| times.sort_unstable());
    eprintln!(
        "{connections} connections, {} frames each: noted in {:?}, handles taken in {:?}, at most {:?} under one lock \
         (medians of 9)",
        rooms.len() + 1,
        noted[4],
        whole[4],
        worst[4]
    );
    assert!(worst[4] < Duration::from_millis(1), "{worst:?}");
}
