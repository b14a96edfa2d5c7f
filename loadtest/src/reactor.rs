//! The clients: a few threads with one epoll each, no task and no buffer a client.
//!
//! A client is [`client::Client`], 16 bytes, beside its slots in the [`Tracker`]. All clients of a thread
//! share one read buffer; only a frame that came in parts is kept, until its rest comes.

mod client;
mod connect;
mod read;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token, Waker};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio_tungstenite::tungstenite::protocol::frame::coding::Control;

use crate::plan::Plan;
use crate::progress::Progress;
use crate::target::Endpoint;
use crate::tracker::{Course, Seen, Tracker};
use crate::wire;
use client::{Client, Stage};
use connect::Connects;

/// The waker's token; no thread has so many clients.
const WAKE: Token = Token(usize::MAX);

/// Events taken at a time.
const EVENTS: usize = 1_024;

/// The shared read buffer at first: a tick of one client fits. It grows to a frame that does not.
const BUFFER_BYTES: usize = 256 * 1024;

/// How long a loop with nothing to do may sleep.
const SLEEP_MAX: Duration = Duration::from_millis(100);

/// What all loops share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) course: Arc<Course>,
    pub(crate) progress: Arc<Progress>,
    /// By gateway: where it is.
    pub(crate) gateways: Vec<(Endpoint, SocketAddr)>,
    /// Ids of the clients that are targets themselves: every [`crate::world::World::client_step`]th.
    pub(crate) ids: Vec<Mutex<Option<Box<str>>>>,
    /// Why the last handshake failed.
    pub(crate) last_failure: Mutex<Option<String>>,
    stop: AtomicBool,
    source_addresses: u32,
    connect_rate: f64,
    in_flight_max: usize,
    handshake_time_max: Duration,
}

impl Shared {
    pub(crate) fn new(
        course: Arc<Course>,
        progress: Arc<Progress>,
        gateways: Vec<(Endpoint, SocketAddr)>,
        plan: &Plan,
        threads: u32,
    ) -> Self {
        let ids = course.world.clients.div_ceil(course.world.client_step());
        Self {
            course,
            progress,
            gateways,
            ids: (0..ids).map(|_| Mutex::default()).collect(),
            last_failure: Mutex::default(),
            stop: AtomicBool::new(false),
            source_addresses: plan.source_addresses,
            connect_rate: f64::from(plan.connect_rate) / f64::from(threads),
            in_flight_max: (plan.connects_in_flight / threads).max(1) as usize,
            handshake_time_max: plan.handshake_time_max,
        }
    }
}

/// What happened to the connections of one gateway's clients.
#[derive(Debug, Clone, Default)]
pub(crate) struct Connections {
    /// Greeted again after a loss.
    pub(crate) reconnects: u64,
    /// Lost after the greeting.
    pub(crate) disconnects: u64,
    /// Attempts that never came to a greeting.
    pub(crate) failures: u64,
    /// Close codes of lost connections; 1006: none was sent.
    pub(crate) close_codes: BTreeMap<u16, u64>,
    /// `gap` and `reset` messages.
    pub(crate) gaps: u64,
}

/// What one loop leaves behind.
#[derive(Debug)]
pub(crate) struct Left {
    pub(crate) seen: Seen,
    pub(crate) connections: Vec<Connections>,
}

/// A loop that runs.
#[derive(Debug)]
pub(crate) struct Running {
    waker: Waker,
    thread: JoinHandle<()>,
    left: oneshot::Receiver<Left>,
}

impl Running {
    /// Whether the loop is no more, though nobody stopped it: it panicked.
    pub(crate) fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }
}

/// Starts the loops.
pub(crate) fn start(shared: &Arc<Shared>, threads: u32) -> io::Result<Vec<Running>> {
    (0..threads)
        .map(|offset| {
            let poll = Poll::new()?;
            let waker = Waker::new(poll.registry(), WAKE)?;
            let (give, left) = oneshot::channel();
            let shared = shared.clone();
            let thread = std::thread::Builder::new().name(format!("clients-{offset}")).spawn(move || {
                // Nobody to take it: the run was dropped.
                _ = give.send(Reactor::new(shared, poll, offset, threads).run());
            })?;
            Ok(Running { waker, thread, left })
        })
        .collect()
}

/// Ends the loops: clients say good-bye, and what they saw is given back, in the order of the loops.
/// `None`: a loop panicked.
pub(crate) async fn stop(shared: &Shared, loops: Vec<Running>) -> Option<Vec<Left>> {
    shared.stop.store(true, Relaxed);
    let mut all = Vec::new();
    for running in loops {
        // A loop that cannot be woken looks by itself within SLEEP_MAX.
        _ = running.waker.wake();
        all.push(running.left.await.ok()?);
    }
    Some(all)
}

/// Ends its loops when a run is dropped in the middle, so that no thread outlives it.
#[derive(Debug)]
pub(crate) struct StopOnDrop(pub(crate) Arc<Shared>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop.store(true, Relaxed);
    }
}

struct Reactor {
    shared: Arc<Shared>,
    poll: Poll,
    offset: u32,
    stride: u32,
    clients: Vec<Client>,
    tracker: Tracker,
    connects: Connects,
    connections: Vec<Connections>,
    buffer: Vec<u8>,
    random: fastrand::Rng,
}

impl Reactor {
    fn new(shared: Arc<Shared>, poll: Poll, offset: u32, stride: u32) -> Self {
        let course = shared.course.clone();
        let world = &course.world;
        let count = world.clients.saturating_sub(offset).div_ceil(stride);
        let random = fastrand::Rng::with_seed(world.seed ^ u64::from(offset));
        Self {
            poll,
            offset,
            stride,
            clients: (0..count).map(|_| Client::default()).collect(),
            connections: vec![Connections::default(); world.gateways as usize],
            connects: Connects::new(count, shared.connect_rate, shared.in_flight_max),
            buffer: vec![0; BUFFER_BYTES],
            random,
            tracker: Tracker::new(course.clone(), offset, stride),
            shared,
        }
    }

    /// The number of a client of this loop in the world.
    fn number(&self, local: u32) -> u32 {
        local * self.stride + self.offset
    }

    fn gateway(&self, local: u32) -> usize {
        self.shared.course.world.gateway(self.number(local)) as usize
    }

    fn run(mut self) -> Left {
        let mut events = Events::with_capacity(EVENTS);
        while !self.shared.stop.load(Relaxed) {
            let sleep = self.connects.sleep(Instant::now()).min(SLEEP_MAX);
            match self.poll.poll(&mut events, Some(sleep)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => panic!("epoll failed: {error}"),
            }
            for event in events.iter().filter(|event| event.token() != WAKE) {
                let local = event.token().0 as u32;
                let ended = event.is_read_closed() || event.is_write_closed() || event.is_error();
                match self.clients[local as usize].stage {
                    Stage::Connecting => self.connected(local),
                    Stage::Away => {}
                    _ if event.is_readable() || ended => self.readable(local, ended),
                    _ => {}
                }
            }
            self.connect_due();
        }
        self.say_goodbye();
        Left { seen: self.tracker.into_seen(), connections: self.connections }
    }

    fn say_goodbye(&mut self) {
        let close = wire::control(Control::Close, &1000_u16.to_be_bytes(), self.random.u32(..).to_be_bytes());
        for client in &mut self.clients {
            if let Some(stream) = client.stream.take() {
                // Best effort: the verdict does not depend on it.
                _ = io::Write::write(&mut &stream, &close);
                _ = stream.shutdown(std::net::Shutdown::Write);
            }
        }
    }
}
