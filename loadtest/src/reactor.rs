//! The clients: a few threads with one epoll each, no task and no buffer a client.
//!
//! A client is [`client::Client`], 16 bytes, beside its slots in the [`Tracker`]. All clients of a thread
//! share one read buffer; only a frame that came in parts is kept, until its rest comes.

mod churn;
mod client;
mod connect;
mod meter;
mod read;
mod slow;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token, Waker};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio_tungstenite::tungstenite::protocol::frame::coding::Control;

use crate::inflate::Inflater;
use crate::latency::Times;
use crate::target::Endpoint;
use crate::tracker::{Course, Seen, Tracker};
use crate::wire;
use churn::Churn;
use client::{Client, Stage};
use connect::Connects;
pub(crate) use meter::{Meter, Reading};
use slow::Turns;
pub(crate) use slow::{Slow, SlowSeen};

use crate::report::Frames;

/// The waker's token; no thread has so many clients.
const WAKE: Token = Token(usize::MAX);

/// Events taken at a time.
const EVENTS: usize = 1_024;

/// The shared read buffer at first: a tick of one client fits. It grows to a frame that does not.
const BUFFER_BYTES: usize = 256 * 1024;

/// Source addresses 127.0.0.2 and up, at most: to 127.0.234.97.
pub(crate) const SOURCES_MAX: u32 = 60_000;

/// How finely epoll keeps time.
const TIMER_GRAIN: Duration = Duration::from_millis(1);

/// How long a loop with nothing to do may sleep.
const SLEEP_MAX: Duration = Duration::from_millis(100);

/// How often a loop hands over what it measured.
const HAND_OVER_EVERY: Duration = Duration::from_secs(1);

/// How the clients of an agent connect and read.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Manner {
    /// Clients of this agent: those whose number is `agent` modulo `agents`.
    pub(crate) agent: u32,
    pub(crate) agents: u32,
    /// Event loops.
    pub(crate) threads: u32,
    /// 127.0.0.2 and up; 0: whatever the kernel takes.
    pub(crate) source_addresses: u32,
    pub(crate) handshake_time_max: Duration,
    pub(crate) slow_read: usize,
    /// Parts of the clients, a second.
    pub(crate) churn: f64,
    pub(crate) moves: f64,
    pub(crate) failover: bool,
    /// Ids of clients that are targets are wanted.
    pub(crate) wants_ids: bool,
}

/// How fast the clients of an agent may connect.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ramp {
    /// A second; 0: as fast as they succeed.
    pub(crate) rate: f64,
    /// Under way at once.
    pub(crate) in_flight: u32,
}

/// What all loops share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) course: Arc<Course>,
    pub(crate) meter: Meter,
    /// By gateway: where it is.
    pub(crate) gateways: Vec<(Endpoint, SocketAddr)>,
    /// Why the last handshake failed.
    pub(crate) last_failure: Mutex<Option<String>>,
    pub(crate) manner: Manner,
    /// Publishing has begun: from now on clients come and go. Before, all are to be there once.
    pub(crate) begun: AtomicBool,
    stop: AtomicBool,
}

impl Shared {
    pub(crate) fn new(course: Arc<Course>, gateways: Vec<(Endpoint, SocketAddr)>, manner: Manner) -> Self {
        Self {
            course,
            meter: Meter::default(),
            gateways,
            last_failure: Mutex::default(),
            manner,
            begun: AtomicBool::new(false),
            stop: AtomicBool::new(false),
        }
    }
}

/// How many source addresses clients on loopback should have, over all agents; 0: one will do. The kernel looks for a
/// local port among every other one of the range first: when those are taken, a connect costs it 300 µs instead of 14.
pub(crate) fn sources(clients: u32, gateways: &[(Endpoint, SocketAddr)], ports: u32) -> u32 {
    let is_local = |address: &SocketAddr| address.is_ipv4() && address.ip().is_loopback();
    let crowded = ports / 5 * 2;
    if clients / gateways.len().max(1) as u32 <= crowded || !gateways.iter().all(|(_, at)| is_local(at)) {
        return 0;
    }
    // A port that is bound is taken for all destinations.
    clients.div_ceil(crowded.max(1)).min(SOURCES_MAX)
}

/// What happened to the connections of one gateway's clients.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Connections {
    /// Greeted again after a loss.
    pub(crate) reconnects: u64,
    /// Lost after the greeting.
    pub(crate) disconnects: u64,
    /// Closed by the client, to come back.
    pub(crate) churned: u64,
    /// Rooms left and joined again.
    pub(crate) moves: u64,
    /// Attempts that never came to a greeting.
    pub(crate) failures: u64,
    /// Close codes of lost connections; 1006: none was sent.
    pub(crate) close_codes: BTreeMap<u16, u64>,
    /// `gap` and `reset` messages.
    pub(crate) gaps: u64,
}

impl Connections {
    /// Adds what happened to others of the same gateway.
    pub(crate) fn add(&mut self, other: &Self) {
        self.reconnects += other.reconnects;
        self.disconnects += other.disconnects;
        self.churned += other.churned;
        self.moves += other.moves;
        self.failures += other.failures;
        self.gaps += other.gaps;
        for (code, count) in &other.close_codes {
            *self.close_codes.entry(*code).or_default() += count;
        }
    }
}

/// First greetings: how long each took from its connect, and when the last one was, µs.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Arrivals {
    pub(crate) handshakes: Times,
    pub(crate) last: u64,
}

impl Arrivals {
    /// Adds those of others.
    pub(crate) fn add(&mut self, other: &Self) {
        self.handshakes.add(&other.handshakes);
        self.last = self.last.max(other.last);
    }
}

/// What one loop leaves behind.
#[derive(Debug)]
pub(crate) struct Left {
    pub(crate) seen: Seen,
    /// By gateway, without those of slow clients.
    pub(crate) connections: Vec<Connections>,
    pub(crate) slow: SlowSeen,
    pub(crate) frames: Frames,
    pub(crate) arrivals: Arrivals,
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
pub(crate) fn start(shared: &Arc<Shared>, ramp: Ramp) -> io::Result<Vec<Running>> {
    let threads = shared.manner.threads;
    (0..threads)
        .map(|turn| {
            let poll = Poll::new()?;
            let waker = Waker::new(poll.registry(), WAKE)?;
            let (give, left) = oneshot::channel();
            let shared = shared.clone();
            let thread = std::thread::Builder::new().name(format!("clients-{turn}")).spawn(move || {
                // Nobody to take it: the run was dropped.
                _ = give.send(Reactor::new(shared, poll, turn, ramp).run());
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
    slow: Slow,
    turns: Turns,
    churn: Churn,
    frames: Frames,
    /// Since the last look: items, messages, bytes.
    reading: Reading,
    arrivals: Arrivals,
    inflater: Inflater,
    /// Of the message that was inflated last.
    text: Vec<u8>,
    buffer: Vec<u8>,
    random: fastrand::Rng,
}

impl Reactor {
    fn new(shared: Arc<Shared>, poll: Poll, turn: u32, ramp: Ramp) -> Self {
        let course = shared.course.clone();
        let world = &course.world;
        let Manner { agent, agents, threads, slow_read, churn, moves, .. } = shared.manner;
        let (offset, stride) = (agent + agents * turn, agents * threads);
        let count = world.clients.saturating_sub(offset).div_ceil(stride);
        let random = fastrand::Rng::with_seed(world.seed ^ u64::from(offset));
        let in_flight = (ramp.in_flight / threads).max(1) as usize;
        Self {
            poll,
            offset,
            stride,
            clients: (0..count).map(|_| Client::default()).collect(),
            connections: vec![Connections::default(); world.gateways as usize],
            slow: Slow::default(),
            turns: Turns::new(world, (offset, stride), slow_read),
            churn: Churn::new(count, churn, moves),
            frames: Frames::default(),
            reading: Reading::default(),
            arrivals: Arrivals::default(),
            inflater: Inflater::new(),
            text: Vec::new(),
            connects: Connects::new(count, ramp.rate / f64::from(threads), in_flight),
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

    fn is_prompt(&self, local: u32) -> bool {
        self.shared.course.world.is_prompt(self.number(local))
    }

    /// Where a client's connection is counted.
    fn connections(&mut self, local: u32) -> &mut Connections {
        let gateway = self.gateway(local);
        if self.is_prompt(local) { &mut self.connections[gateway] } else { &mut self.slow.connections }
    }

    fn run(mut self) -> Left {
        let mut events = Events::with_capacity(EVENTS);
        let mut handed_over = Instant::now();
        while !self.shared.stop.load(Relaxed) {
            let now = Instant::now();
            let sleep = self.connects.sleep(now).min(self.turns.sleep(now)).min(self.churn_sleep(now));
            self.take_events(&mut events, sleep.min(SLEEP_MAX));
            self.read_in_turn();
            self.churn_due();
            self.connect_due();
            let done = Instant::now();
            self.reading.looped(done - now);
            if done - handed_over >= HAND_OVER_EVERY {
                handed_over = done;
                self.shared.meter.hand_over(&self.tracker.hand_over());
            }
        }
        self.wake_slow(&mut events);
        self.shared.meter.hand_over(&self.tracker.hand_over());
        self.say_goodbye();
        let slow = self.slow.seen();
        Left {
            seen: self.tracker.into_seen(),
            connections: self.connections,
            slow,
            frames: self.frames,
            arrivals: self.arrivals,
        }
    }

    /// Waits for events and takes them; whether there were any.
    fn take_events(&mut self, events: &mut Events, sleep: Duration) -> bool {
        let begun = Instant::now();
        let polled = self.poll.poll(events, Some(sleep));
        // A process that was not given a core wakes late: that is no waiting.
        self.reading.waited(begun.elapsed().min(sleep.max(TIMER_GRAIN)));
        match polled {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return true,
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
        self.shared.meter.add(&mut self.reading);
        !events.is_empty()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Scheme;

    #[test]
    fn clients_on_loopback_get_source_addresses_before_ports_become_dear() {
        let gateways = |address: &str, count: usize| {
            let endpoint = Endpoint::parse(&format!("ws://{address}"), Scheme::Ws).unwrap();
            vec![(endpoint, address.parse().unwrap()); count]
        };
        let wanted = |clients, gateways: &[_]| sources(clients, gateways, 28_232);
        assert_eq!(wanted(10_000, &gateways("127.0.0.1:1", 1)), 0);
        assert_eq!(wanted(19_000, &gateways("127.0.0.1:1", 1)), 2);
        assert_eq!(wanted(19_000, &gateways("127.0.0.1:1", 2)), 0);
        assert_eq!(wanted(100_000, &gateways("127.0.0.1:1", 2)), 9);
        assert_eq!(wanted(19_000, &gateways("10.0.0.1:1", 1)), 0, "it would not come from there");
    }
}
