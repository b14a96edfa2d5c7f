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
        self.registry.register(&Identity::default(), rooms, |local| {
            let transport = Transport::Memory(Box::default());
            Arc::new(Connection::new(transport.into(), local, self.shared.clone()))
        })
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
            let item = Item { body, key: None, expires: None, part: Part { passage, matched: 1 } };
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
    let (mut scratch, mut dues) = (Scratch::default(), Vec::new());
    let births = sweep.note(7, &world.registry, &mut dues);
    let mut rest = &dues[..];
    let mut gathered = HashMap::<Local, usize>::new();
    let mut new = Vec::new();
    let mut gone = Vec::new();
    while !rest.is_empty() {
        rest = sweep.gather(&world.registry.bucket(7).read(), births, rest, &mut scratch);
        let mut start = 0;
        for (connection, end) in scratch.jobs.drain(..) {
            *gathered.entry(connection.local).or_default() += 1;
            assert_eq!(end - start, 3, "both rooms and everybody");
            start = end;
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
        let group = world.registry.directory.enter(Kind::Room, room, 0);
        locals.iter().for_each(|local| bucket.join(*local, group.clone()));
    }
    *world.registry.bucket(0).write() = bucket;
    let sweep = world.sweep(&rooms);
    let mut worst = Vec::new();
    let mut whole = Vec::new();
    let mut noted = Vec::new();
    for _ in 0..9 {
        let (mut scratch, mut dues) = (Scratch::default(), Vec::new());
        let began = Instant::now();
        let births = sweep.note(0, &world.registry, &mut dues);
        noted.push(began.elapsed());
        let (mut rest, mut held) = (&dues[..], Vec::new());
        while !rest.is_empty() {
            let began = Instant::now();
            rest = sweep.gather(&world.registry.bucket(0).read(), births, rest, &mut scratch);
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
