//! The clients of any server: a few threads with one epoll each, no task and no buffer a client.

mod connect;
mod read;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Poll};
use parking_lot::Mutex;
use tokio_tungstenite::tungstenite::protocol::frame::coding::Control;

use super::dialect::Dialect;
use super::marks::Marks;
use super::place::Place;
use crate::latency::Times;
use crate::payload::{Format, Reading};
use crate::wire;

/// Stream of the items that are counted, and of those that only show that all clients are reached.
pub(super) const COUNTED: u32 = 0;
pub(super) const REHEARSAL: u32 = 1;

/// Events taken at a time.
const EVENTS: usize = 1_024;

/// The shared read buffer at first; it grows to a message that does not fit.
const BUFFER_BYTES: usize = 256 * 1024;

/// How long a loop with nothing to do may sleep.
const SLEEP_MAX: Duration = Duration::from_millis(20);

/// Things that went wrong which are told in words.
const EXAMPLES_MAX: usize = 5;

/// What all loops share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) dialect: Dialect,
    pub(super) place: Place,
    pub(super) address: SocketAddr,
    pub(super) format: Format,
    pub(super) clients: u32,
    pub(super) items: u32,
    pub(super) begun: Instant,
    /// Connects a second of one loop; 0: as fast as they succeed.
    pub(super) connect_rate: f64,
    pub(super) stop: AtomicBool,
    /// Clients that are subscribed, those that got an item of the rehearsal, and those that were lost.
    pub(super) subscribed: AtomicU64,
    pub(super) rehearsed: AtomicU64,
    pub(super) gone: AtomicU64,
    /// Counted items at clients, each once.
    pub(super) received: AtomicU64,
    /// Why it cannot go on.
    pub(super) failure: Mutex<Option<String>>,
}

impl Shared {
    /// µs on the run's clock.
    pub(super) fn now(&self) -> u64 {
        self.begun.elapsed().as_micros() as u64
    }
}

/// What the clients of a loop saw.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// How many clients lack each item.
    pub(super) missing: Vec<u32>,
    /// Messages with counted items, their bytes, and the items in them.
    pub(super) frames: u64,
    pub(super) bytes: u64,
    pub(super) items: u64,
    pub(super) late: u64,
    pub(super) again: u64,
    pub(super) corrupted: u64,
    /// Intended time to receipt.
    pub(super) latency: Times,
    pub(super) examples: Vec<String>,
}

impl Seen {
    pub(super) fn add(&mut self, other: &Self) {
        self.missing.resize(other.missing.len(), 0);
        self.missing.iter_mut().zip(&other.missing).for_each(|(sum, more)| *sum += more);
        self.frames += other.frames;
        self.bytes += other.bytes;
        self.items += other.items;
        self.late += other.late;
        self.again += other.again;
        self.corrupted += other.corrupted;
        self.latency.add(&other.latency);
        self.examples.extend(other.examples.iter().cloned());
        self.examples.truncate(EXAMPLES_MAX);
    }

    fn example(&mut self, what: impl FnOnce() -> String) {
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(what());
        }
    }
}

/// Where a client is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Stage {
    #[default]
    Away,
    Connecting,
    Upgrading,
    /// Connected; the message that says that it is subscribed has not come.
    Joining,
    Subscribed,
}

#[derive(Debug, Default)]
struct Client {
    stream: Option<TcpStream>,
    stage: Stage,
    attempt: u8,
    rehearsed: bool,
    #[expect(
        clippy::box_collection,
        reason = "8 bytes a client instead of 24; few clients have one at a time"
    )]
    part: Option<Box<Vec<u8>>>,
    /// The beginning of an item whose end comes with the next message.
    #[expect(clippy::box_collection, reason = "as above")]
    tail: Option<Box<Vec<u8>>>,
}

/// A loop that runs.
pub(super) type Running = JoinHandle<Seen>;

/// Starts the loops. They end when `stop` is set.
pub(super) fn start(shared: &Arc<Shared>, threads: u32) -> io::Result<Vec<Running>> {
    let one = |offset| {
        let poll = Poll::new()?;
        let shared = shared.clone();
        let thread = std::thread::Builder::new().name(format!("clients-{offset}"));
        thread.spawn(move || Readers::new(shared, poll, offset, threads).run())
    };
    (0..threads).map(one).collect()
}

struct Readers {
    shared: Arc<Shared>,
    poll: Poll,
    offset: u32,
    stride: u32,
    clients: Vec<Client>,
    /// Clients from here on have never tried.
    fresh: usize,
    again: VecDeque<(Instant, u32)>,
    deadlines: VecDeque<(Instant, u32, u8)>,
    in_flight: usize,
    next_connect: Instant,
    marks: Marks,
    seen: Seen,
    buffer: Vec<u8>,
    /// The last message, what was found in it, and where it ends: most clients get the same bytes.
    last: Vec<u8>,
    found: Vec<Reading>,
    found_end: usize,
    random: fastrand::Rng,
}

impl Readers {
    fn new(shared: Arc<Shared>, poll: Poll, offset: u32, stride: u32) -> Self {
        let count = shared.clients.saturating_sub(offset).div_ceil(stride) as usize;
        Self {
            poll,
            offset,
            stride,
            clients: (0..count).map(|_| Client::default()).collect(),
            fresh: 0,
            again: VecDeque::new(),
            deadlines: VecDeque::new(),
            in_flight: 0,
            next_connect: Instant::now(),
            marks: Marks::new(count, shared.items),
            seen: Seen::default(),
            buffer: vec![0; BUFFER_BYTES],
            last: Vec::new(),
            found: Vec::new(),
            found_end: 0,
            random: fastrand::Rng::with_seed(u64::from(offset)),
            shared,
        }
    }

    /// The number of a client of this loop among all.
    fn number(&self, local: u32) -> u32 {
        local * self.stride + self.offset
    }

    fn run(mut self) -> Seen {
        let mut events = Events::with_capacity(EVENTS);
        while !self.shared.stop.load(Relaxed) {
            let sleep = self.connect_due().min(SLEEP_MAX);
            if let Err(error) = self.poll.poll(&mut events, Some(sleep)) {
                if error.kind() != io::ErrorKind::Interrupted {
                    self.fail(format!("epoll failed: {error}"));
                    break;
                }
                continue;
            }
            for event in &events {
                let local = event.token().0 as u32;
                match self.clients[local as usize].stage {
                    Stage::Connecting => self.connected(local),
                    Stage::Away => {}
                    _ => self.readable(local),
                }
            }
        }
        self.say_goodbye();
        self.seen.missing = self.marks.missing();
        self.seen
    }

    /// Nothing can come of this measurement.
    fn fail(&self, why: String) {
        self.shared.failure.lock().get_or_insert(why);
    }

    fn say_goodbye(&mut self) {
        let close = wire::control(Control::Close, &1000_u16.to_be_bytes(), self.random.u32(..).to_be_bytes());
        for client in &mut self.clients {
            if let Some(stream) = client.stream.take() {
                // Best effort: what was seen does not depend on it.
                _ = io::Write::write(&mut &stream, &close);
                _ = stream.shutdown(std::net::Shutdown::Write);
            }
        }
    }
}
