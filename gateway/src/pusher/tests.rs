//! Lanes and workers beside each other: what is slow delays itself and nobody else.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::ids::Instance;
use common::metrics::Metrics;
use common::names::Kind;
use common::shutdown::Shutdown;
use common::tasks::Tasks;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::bucket::Bucket;
use crate::connection::{Connection, Shared};
use crate::registry::{Identity, Registration};
use crate::routes::Routes;
use crate::tally::{Outgoing, Part, Passage};
use crate::transport::Transport;
use crate::tune::Tune;

const WINDOW: Duration = Duration::from_millis(50);

/// Nothing that a test waits for takes longer.
const PATIENCE: Duration = Duration::from_secs(10);

struct World {
    registry: Arc<Registry>,
    shared: Arc<Shared>,
    pusher: Arc<Pusher>,
    listener: TcpListener,
}

struct Client {
    registration: Registration,
    socket: TcpStream,
}

impl World {
    async fn new(settings: Settings) -> Self {
        let counters = Arc::new(Counters::new(&Metrics::new("test")));
        let tasks = Tasks::new(Shutdown::new());
        let registry = Arc::new(Registry::new(Arc::<Routes>::default()));
        let tune = Tune::live(&settings);
        let pusher = Pusher::start(&settings, &tune, &registry, &counters, &tasks);
        let shared = Shared { counters, tasks, tune, started: Instant::now(), instance: Instance(1) };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self { registry, shared: Arc::new(shared), pusher, listener }
    }

    async fn connect(&self, room: &str) -> Client {
        let socket = TcpStream::connect(self.listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = self.listener.accept().await.unwrap();
        let registration = self.registry.register(&Identity::default(), &[room.to_owned()], |local| {
            Arc::new(Connection::new(Transport::Tcp(stream).into(), local, self.shared.clone()))
        });
        registration.connection.greet(Bytes::from_static(b"hello;"));
        let mut client = Client { registration, socket };
        client.wait_for("hello;").await;
        client
    }

    fn push(&self, urgency: Urgency, room: &str, body: &str) {
        let group = self.registry.directory.find(Kind::Room, room).unwrap();
        let passage = Passage::new(Arc::<Outgoing>::default(), 1, 1);
        let part = Part { passage, matched: 1 };
        let body = Bytes::from(format!("\"data\":\"{body}\"}}"));
        let item = Item { body, key: None, expires: None, part, kept: None };
        self.pusher.offer(urgency, std::iter::once((Target::Group(group), Filter::default(), item)));
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.pusher.end();
    }
}

impl Client {
    /// Reads until a text has come; returns all that was read.
    async fn wait_for(&mut self, text: &str) -> String {
        let mut read = String::new();
        let reading = async {
            while !read.contains(text) {
                let mut some = vec![0; 65_536];
                let length = self.socket.read(&mut some).await.unwrap();
                assert!(length > 0, "closed before {text:?} came");
                read.push_str(&String::from_utf8_lossy(&some[..length]));
            }
        };
        tokio::time::timeout(PATIENCE, reading).await.unwrap_or_else(|_| panic!("no {text:?}"));
        read
    }
}

/// A bucket that nobody can read while this lives; a sweep that comes to it waits.
struct Held {
    free: Option<std::sync::mpsc::SyncSender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Held {
    fn hold(registry: &Arc<Registry>, bucket: usize) -> Self {
        let (free, freed) = std::sync::mpsc::sync_channel(1);
        let (taken, is_taken) = std::sync::mpsc::sync_channel(1);
        let registry = registry.clone();
        let thread = std::thread::spawn(move || {
            let _held: parking_lot::RwLockWriteGuard<'_, Bucket> = registry.bucket(bucket).write();
            taken.send(()).unwrap();
            let _ = freed.recv();
        });
        is_taken.recv().unwrap();
        Self { free: Some(free), thread: Some(thread) }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.free.take();
        let _ = self.thread.take().unwrap().join();
    }
}

fn settings() -> Settings {
    Settings { window: WINDOW, workers: 2, ..Settings::default() }
}

/// A target that is bulk delays others by no window, however long it takes: here until a lock is free.
#[tokio::test]
async fn what_is_bulk_widens_its_own_window_only() {
    let world = World::new(settings()).await;
    let mut healthy = world.connect("small").await;
    let mut huge = world.connect("huge").await;
    while huge.registration.connection.local.bucket() == healthy.registration.connection.local.bucket() {
        huge = world.connect("huge").await;
    }
    // As large as a room of a million, whose members are all counted.
    let group = world.registry.directory.find(Kind::Room, "huge").unwrap();
    (0..1_000_000).for_each(|_| _ = group.gains());
    for urgency in [Urgency::Merged, Urgency::Urgent] {
        let held = Held::hold(&world.registry, huge.registration.connection.local.bucket());
        world.push(urgency, "huge", "first");
        while !world.pusher.lane(urgency).is_writing_bulk() {
            tokio::task::yield_now().await;
        }
        // Two windows of others pass while it is being written, and its own next items wait.
        for n in 0..2 {
            world.push(urgency, "huge", &format!("later{n}"));
            world.push(urgency, "small", &format!("small{n}"));
            healthy.wait_for(&format!("small{n}")).await;
        }
        assert!(world.pusher.lane(urgency).is_writing_bulk());
        drop(held);
        let read = huge.wait_for("later1").await;
        let order: Vec<_> = ["first", "later0", "later1"].iter().map(|text| read.find(text)).collect();
        assert!(order.iter().all(Option::is_some) && order.is_sorted(), "{read}");
    }
    (0..1_000_000).for_each(|_| group.loses());
}

#[tokio::test]
async fn a_flush_waits_for_what_is_bulk_and_sends_what_it_kept() {
    let world = World::new(Settings { window: PATIENCE * 6, ..settings() }).await;
    let mut huge = world.connect("huge").await;
    let group = world.registry.directory.find(Kind::Room, "huge").unwrap();
    (0..1_000_000).for_each(|_| _ = group.gains());
    let held = Held::hold(&world.registry, huge.registration.connection.local.bucket());
    world.push(Urgency::Merged, "huge", &"x".repeat(70_000));
    while !world.pusher.lane(Urgency::Merged).is_writing_bulk() {
        tokio::task::yield_now().await;
    }
    world.push(Urgency::Merged, "huge", "kept");
    let flush = world.pusher.flush();
    tokio::pin!(flush);
    let early = tokio::time::timeout(WINDOW, &mut flush).await;
    assert!(early.is_err(), "it cannot be done yet");
    drop(held);
    let (_, read) = tokio::join!(flush, huge.wait_for("kept"));
    assert!(read.find('x') < read.find("kept"));
    (0..1_000_000).for_each(|_| group.loses());
}

#[tokio::test]
async fn a_flush_that_waits_for_what_is_bulk_holds_up_nobody_else() {
    let world = World::new(settings()).await;
    let mut healthy = world.connect("small").await;
    let mut huge = world.connect("huge").await;
    while huge.registration.connection.local.bucket() == healthy.registration.connection.local.bucket() {
        huge = world.connect("huge").await;
    }
    let group = world.registry.directory.find(Kind::Room, "huge").unwrap();
    (0..1_000_000).for_each(|_| _ = group.gains());
    for urgency in [Urgency::Merged, Urgency::Urgent] {
        let held = Held::hold(&world.registry, huge.registration.connection.local.bucket());
        world.push(urgency, "huge", "bulk");
        while !world.pusher.lane(urgency).is_writing_bulk() {
            tokio::task::yield_now().await;
        }
        let flush = world.pusher.flush();
        tokio::pin!(flush);
        for n in 0..3 {
            let small = format!("small{n}");
            world.push(urgency, "small", &small);
            tokio::select! {
                _ = healthy.wait_for(&small) => {}
                () = &mut flush => panic!("bulk is still to be written"),
            }
        }
        drop(held);
        tokio::join!(flush, huge.wait_for("bulk"));
    }
    (0..1_000_000).for_each(|_| group.loses());
}

#[tokio::test]
async fn a_room_whose_members_all_read_nothing_delays_nobody() {
    let world = World::new(Settings { outbox_bytes_max: 64 << 20, ..settings() }).await;
    let mut healthy = world.connect("fast").await;
    let mut slow = Vec::new();
    for _ in 0..200 {
        slow.push(world.connect("slow").await);
    }
    let waiting = || world.shared.counters.outboxes.get();
    for n in 0.. {
        assert!(n < 2_000, "sockets' buffers end somewhere");
        if waiting() == 200 {
            break;
        }
        (0..10).for_each(|_| world.push(Urgency::Merged, "slow", &"x".repeat(60_000)));
        world.push(Urgency::Merged, "fast", &format!("fill{n};"));
        healthy.wait_for(&format!("fill{n};")).await;
    }
    let mut worst = Duration::ZERO;
    for n in 0..20 {
        let began = Instant::now();
        world.push(Urgency::Merged, "slow", &"x".repeat(60_000));
        world.push(Urgency::Merged, "fast", &format!("fast{n};"));
        healthy.wait_for(&format!("fast{n};")).await;
        worst = worst.max(began.elapsed());
    }
    assert_eq!(waiting(), 200);
    // Twice the window is what it may take; the rest is this machine's.
    assert!(worst < WINDOW * 2 + Duration::from_millis(500), "{worst:?}");
    let sum: usize =
        slow.iter().filter(|client| client.registration.connection.closing_for().is_none()).count();
    assert_eq!(sum, 200, "they are behind, not gone");
}
