//! When clients connect: paced by rate and by how many are under way, again after a wait when they failed.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Interest, Token};
use socket2::{Domain, Protocol, Socket, Type};

use super::Reactor;
use super::client::{End, Stage};
use crate::handshake;
use crate::world::mix;

/// Connects that were due while the loop was busy may come in a burst of this time's worth.
const BURST: Duration = Duration::from_millis(20);

/// Receive buffer of a client that does not read: small, so that its gateway feels it soon. The kernel doubles it.
const SLOW_BUFFER_BYTES: usize = 4 * 1024;

/// The first of the addresses that clients come from.
const SOURCE_FIRST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// The pace of one loop.
#[derive(Debug)]
pub(super) struct Connects {
    /// Clients from here on have never tried.
    fresh: u32,
    count: u32,
    waiting: BinaryHeap<Reverse<(Instant, u32)>>,
    /// Deadlines of handshakes, by client and attempt; all take equally long, so they stand in order.
    deadlines: VecDeque<(Instant, u32, u32)>,
    /// When those under way began.
    in_flight: HashMap<u32, Instant>,
    in_flight_max: usize,
    every: Duration,
    next: Instant,
}

impl Connects {
    /// `rate` a second; 0: as fast as they succeed.
    pub(super) fn new(count: u32, rate: f64, in_flight_max: usize) -> Self {
        Self {
            fresh: 0,
            count,
            waiting: BinaryHeap::new(),
            deadlines: VecDeque::new(),
            in_flight: HashMap::with_capacity(in_flight_max.min(count as usize)),
            in_flight_max,
            every: if rate > 0.0 { Duration::from_secs_f64(1.0 / rate) } else { Duration::ZERO },
            next: Instant::now(),
        }
    }

    pub(super) fn retry(&mut self, local: u32, at: Instant) {
        self.waiting.push(Reverse((at, local)));
    }

    /// One is no longer under way; how long it was.
    pub(super) fn finish(&mut self, local: u32) -> Option<Duration> {
        self.in_flight.remove(&local).map(|begun| begun.elapsed())
    }

    /// How long until there is something to do here.
    pub(super) fn sleep(&self, now: Instant) -> Duration {
        let waiting = self.waiting.peek().map(|Reverse((at, _))| *at);
        let turn =
            if self.fresh < self.count { Some(self.next) } else { waiting.map(|at| at.max(self.next)) };
        let turn = turn.filter(|_| self.in_flight.len() < self.in_flight_max);
        let deadline = self.deadlines.front().map(|(at, ..)| *at);
        let first = [turn, deadline].into_iter().flatten().min();
        first.map_or(Duration::MAX, |at| at.saturating_duration_since(now))
    }

    /// The next client whose turn it is.
    fn take(&mut self, now: Instant) -> Option<u32> {
        if self.in_flight.len() >= self.in_flight_max || self.next > now {
            return None;
        }
        let local = if self.fresh < self.count {
            self.fresh += 1;
            self.fresh - 1
        } else {
            self.waiting.peek().filter(|Reverse((at, _))| *at <= now)?;
            self.waiting.pop()?.0.1
        };
        self.next = self.next.max(now.checked_sub(BURST).unwrap_or(now)) + self.every;
        self.in_flight.insert(local, now);
        Some(local)
    }
}

impl Reactor {
    /// Starts the connects that are due, and ends the handshakes that took too long.
    pub(super) fn connect_due(&mut self) {
        let now = Instant::now();
        while let Some(local) = self.connects.take(now) {
            let client = &mut self.clients[local as usize];
            client.attempts += 1;
            client.stage = Stage::Connecting;
            let deadline = now + self.shared.manner.handshake_time_max;
            self.connects.deadlines.push_back((deadline, local, client.attempts));
            match self.open(local) {
                Ok(stream) => self.clients[local as usize].stream = Some(stream),
                Err(error) => self.end(local, End::Failed(explain(&error))),
            }
        }
        while let Some(&(at, local, attempt)) = self.connects.deadlines.front() {
            let client = &self.clients[local as usize];
            let over = client.attempts != attempt || matches!(client.stage, Stage::Away | Stage::Greeted);
            if !over && at > now {
                break;
            }
            self.connects.deadlines.pop_front();
            if !over {
                let time = humantime::format_duration(self.shared.manner.handshake_time_max);
                self.end(local, End::Failed(format!("no hello within {time}")));
            }
        }
    }

    /// The gateway that a client tries next: its own, unless that failed and others may do.
    fn aim(&self, local: u32) -> usize {
        let (own, failed) = (self.gateway(local), self.clients[local as usize].failed);
        if failed == 0 || !self.shared.manner.failover {
            return own;
        }
        // Those of one gateway spread over all the others, and over others again at the next attempt.
        let drawn = mix(u64::from(self.number(local)) << 8 | u64::from(failed));
        (drawn % self.shared.gateways.len() as u64) as usize
    }

    fn open(&self, local: u32) -> io::Result<TcpStream> {
        let address = self.shared.gateways[self.aim(local)].1;
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        if !self.shared.course.world.is_prompt(self.number(local)) {
            // Before the connect: the window that it offers follows from it.
            socket.set_recv_buffer_size(SLOW_BUFFER_BYTES)?;
        }
        let sources = self.shared.manner.source_addresses;
        if sources > 0 && address.is_ipv4() {
            // Clients of one gateway are `gateways` apart: divide, or they would share few addresses.
            let turn = self.number(local) / self.shared.course.world.gateways % sources;
            let source = Ipv4Addr::from(u32::from(SOURCE_FIRST) + turn);
            socket.bind(&SocketAddr::new(IpAddr::V4(source), 0).into())?;
        }
        match socket.connect(&address.into()) {
            Ok(()) => {}
            // EINPROGRESS, connect(2).
            Err(error) if error.raw_os_error() == Some(115) => {}
            Err(error) => return Err(error),
        }
        let mut stream = TcpStream::from_std(socket.into());
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, Token(local as usize), interest)?;
        Ok(stream)
    }

    /// The TCP handshake has come to an end, good or bad: the request follows.
    pub(super) fn connected(&mut self, local: u32) {
        let number = self.number(local);
        let endpoint = &self.shared.gateways[self.aim(local)].0;
        let client = &mut self.clients[local as usize];
        let Some(stream) = client.stream.as_mut() else { return };
        let ready = match stream.take_error() {
            Ok(Some(error)) | Err(error) => Err(error),
            Ok(None) => match stream.peer_addr() {
                Err(error) if error.kind() == io::ErrorKind::NotConnected => return,
                Err(error) => Err(error),
                Ok(_) => {
                    let world = &self.shared.course.world;
                    let request = handshake::request(endpoint, world, number, client.attempts);
                    stream.write(request.as_bytes()).map(|written| written == request.len())
                }
            },
        };
        match ready {
            Ok(true) => client.stage = Stage::Upgrading,
            Ok(false) => self.end(local, End::Failed("the request did not fit into an empty socket".into())),
            Err(error) => self.end(local, End::Failed(explain(&error))),
        }
    }
}

/// An error with what to change about it.
fn explain(error: &io::Error) -> String {
    match error.raw_os_error() {
        // EADDRNOTAVAIL, EADDRINUSE; EMFILE, ENFILE.
        Some(99 | 98) => format!("no local port is left ({error}): raise --source-addresses"),
        Some(24 | 23) => format!("no descriptor is left ({error}): fewer clients, or a higher ulimit -n"),
        _ => format!("cannot connect: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_is_bounded_by_what_is_under_way_and_not_by_a_rate() {
        let mut storm = Connects::new(10, 0.0, 4);
        let now = Instant::now();
        let first: Vec<_> = std::iter::from_fn(|| storm.take(now)).collect();
        assert_eq!(first, [0, 1, 2, 3]);
        assert!(storm.finish(2).is_some() && storm.finish(2).is_none());
        assert_eq!(storm.take(now), Some(4));
        assert_eq!((storm.take(now), storm.sleep(now)), (None, Duration::MAX));
        let mut paced = Connects::new(10, 10.0, 4);
        assert_eq!((paced.take(now + BURST), paced.take(now + BURST)), (Some(0), None));
    }
}
