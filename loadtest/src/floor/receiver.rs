//! The process that connects and reads: an event loop a thread as the load clients have it, that only counts.

use std::io::{self, ErrorKind, Read};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};
use socket2::SockRef;

use super::child;
use super::clock::Clock;
use super::message::{Order, Received, Said, Share, Span};
use super::plan::EVERY_MAX;
use super::sender::TURN;

/// The read buffer of a thread: the frames of many rounds fit.
const BUFFER_BYTES: usize = 64 * 1024;

/// Events taken at a time.
const EVENTS: usize = 1_024;

/// Nothing for so long, beyond the longest time between rounds: nothing comes any more.
const QUIET: Duration = Duration::from_secs(5).saturating_add(EVERY_MAX);

/// What a thread is told.
enum Task {
    /// To these listeners.
    Connect(Vec<SocketAddr>),
    /// One round.
    Read,
}

/// One thread.
struct Worker {
    share: Share,
    thread: u32,
    clock: Clock,
    tell: SyncSender<Said>,
    tasks: Receiver<Task>,
}

/// Plays the part until the run ends it.
pub(super) fn play(share: &Share) -> Result<(), String> {
    let end = Instant::now() + share.time_max;
    let orders = child::orders();
    common::descriptors::raise().map_err(|error| format!("a reader has no descriptors: {error}"))?;
    let clock = Clock::start();
    let (tell, told) = sync_channel(share.threads as usize);
    let mut workers = Vec::new();
    for thread in 0..share.threads {
        let (give, tasks) = sync_channel(1);
        workers.push(give);
        let worker = Worker { share: share.clone(), thread, clock, tell: tell.clone(), tasks };
        child::work(move || worker.run())?;
    }
    drop(tell);
    let left = || end.saturating_duration_since(Instant::now());
    while let Ok(order) = orders.recv_timeout(left()) {
        for (worker, thread) in workers.iter().zip(0..) {
            let task = match &order {
                Order::Connect(addresses) => {
                    Task::Connect(addresses.get(thread).cloned().unwrap_or_default())
                }
                Order::Read => Task::Read,
                Order::Send => return Err("an order that is none for a reader".into()),
            };
            // A worker that is gone has said why.
            _ = worker.send(task);
        }
        let (mut span, mut received) = (Span::NONE, Received::default());
        for _ in &workers {
            match told.recv_timeout(left()) {
                Ok(Said::Connected(part)) => span = span.join(part),
                Ok(Said::Received(part)) => received = received.join(part),
                Ok(Said::Failed(why)) => return Err(why),
                _ => return Err("a reader was not done in time".into()),
            }
        }
        let said = match order {
            Order::Read => Said::Received(received),
            _ => Said::Connected(span),
        };
        child::say(&said).map_err(|error| format!("the run is gone: {error}"))?;
    }
    Err("a reader had nothing to do for too long".into())
}

impl Worker {
    fn run(self) {
        let failed = |error: io::Error| Said::Failed(format!("a reader failed: {error}"));
        let mut reading = None;
        while let Ok(task) = self.tasks.recv() {
            let said = match task {
                Task::Connect(addresses) => self.connect(&addresses).map(|(readers, span)| {
                    reading = Some(readers);
                    Said::Connected(span)
                }),
                Task::Read => match &mut reading {
                    Some(readers) => readers.read(&self.clock).map(Said::Received),
                    None => Err(io::Error::other("nothing is connected")),
                },
            };
            // A run that is gone ends the process.
            _ = self.tell.send(said.unwrap_or_else(failed));
        }
    }

    fn connect(&self, addresses: &[SocketAddr]) -> io::Result<(Readers, Span)> {
        let mut sockets = Vec::with_capacity(self.share.of_thread(self.thread) as usize);
        let first = self.clock.now();
        for (address, index) in addresses.iter().zip(0..) {
            for turn in 1..=self.share.of_listener(self.thread, index) {
                let socket = TcpStream::connect(address)?;
                if turn % TURN == 0 {
                    (&socket).read_exact(&mut [0])?;
                }
                sockets.push(socket);
            }
        }
        let span = Span { first, last: self.clock.now() };
        Ok((Readers::new(sockets, &self.share)?, span))
    }
}

/// The connections of a thread.
struct Readers {
    poll: Poll,
    sockets: Vec<mio::net::TcpStream>,
    buffer: Vec<u8>,
    /// Bytes of a round.
    round: u64,
}

impl Readers {
    fn new(sockets: Vec<TcpStream>, share: &Share) -> io::Result<Self> {
        let poll = Poll::new()?;
        let register = |(socket, token): (TcpStream, usize)| {
            socket.set_nonblocking(true)?;
            // Closed by a reset: no port of ours waits for minutes, and the next run finds the same machine.
            SockRef::from(&socket).set_linger(Some(Duration::ZERO))?;
            let mut socket = mio::net::TcpStream::from_std(socket);
            poll.registry().register(&mut socket, Token(token), Interest::READABLE)?;
            Ok(socket)
        };
        let sockets: Vec<_> = sockets.into_iter().zip(0..).map(register).collect::<io::Result<_>>()?;
        let round = sockets.len() as u64 * share.bytes as u64;
        Ok(Self { poll, sockets, buffer: vec![0; BUFFER_BYTES], round })
    }

    /// Reads until a round is here, or nothing comes any more.
    fn read(&mut self, clock: &Clock) -> io::Result<Received> {
        let mut events = Events::with_capacity(EVENTS);
        let mut bytes = 0;
        while bytes < self.round {
            match self.poll.poll(&mut events, Some(QUIET)) {
                Ok(()) if events.is_empty() => break,
                Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            for event in &events {
                bytes += drain(&mut self.sockets[event.token().0], &mut self.buffer)?;
            }
        }
        Ok(Received { end: clock.now(), bytes })
    }
}

/// Reads what a socket has.
fn drain(socket: &mut mio::net::TcpStream, buffer: &mut [u8]) -> io::Result<u64> {
    let mut bytes = 0;
    loop {
        match socket.read(buffer) {
            Ok(0) => return Err(io::Error::other("the sender closed a connection")),
            Ok(read) => {
                bytes += read as u64;
                // Edge-triggered: a short read of a stream has emptied it, epoll(7).
                if read < buffer.len() {
                    return Ok(bytes);
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(bytes),
            Err(error) => return Err(error),
        }
    }
}
