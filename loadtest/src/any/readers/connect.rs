//! How clients come: paced by rate and by how many are under way; a few attempts each.

use std::io::{self, Write};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Interest, Token};

use super::{Readers, Stage};
use crate::any::dialect::for_client;
use crate::any::{frames, handshake};

/// Connects and handshakes under way at once, at most, of a loop.
const IN_FLIGHT_MAX: usize = 128;

/// From connect to subscribed, at most.
const JOIN_TIME_MAX: Duration = Duration::from_secs(10);

/// A server that turns a client away so often has no place for it.
const ATTEMPTS_MAX: u8 = 4;

/// Before the next attempt, times the attempts so far.
const RETRY: Duration = Duration::from_millis(200);

/// Connects that were due while the loop was busy may come in a burst of this time's worth.
const BURST: Duration = Duration::from_millis(20);

impl Readers {
    /// Starts the connects that are due; how long until the next.
    pub(super) fn connect_due(&mut self) -> Duration {
        let now = Instant::now();
        self.end_the_slow(now);
        while self.in_flight < IN_FLIGHT_MAX && self.next_connect <= now {
            let local = if self.fresh < self.clients.len() {
                self.fresh += 1;
                self.fresh as u32 - 1
            } else if self.again.front().is_some_and(|(at, _)| *at <= now) {
                self.again.pop_front().expect("it was looked at").1
            } else {
                break;
            };
            if self.shared.connect_rate > 0.0 {
                let every = Duration::from_secs_f64(1.0 / self.shared.connect_rate);
                self.next_connect = self.next_connect.max(now.checked_sub(BURST).unwrap_or(now)) + every;
            }
            self.in_flight += 1;
            let client = &mut self.clients[local as usize];
            client.stage = Stage::Connecting;
            client.attempt += 1;
            self.deadlines.push_back((now + JOIN_TIME_MAX, local, client.attempt));
            match self.open(local) {
                Ok(stream) => self.clients[local as usize].stream = Some(stream),
                Err(error) => self.end(local, format!("cannot connect: {error}")),
            }
        }
        if self.fresh < self.clients.len() && self.in_flight < IN_FLIGHT_MAX {
            return self.next_connect.saturating_duration_since(now);
        }
        Duration::MAX
    }

    fn end_the_slow(&mut self, now: Instant) {
        while let Some(&(at, local, attempt)) = self.deadlines.front() {
            let client = &self.clients[local as usize];
            let over = client.attempt != attempt || matches!(client.stage, Stage::Away | Stage::Subscribed);
            if !over && at > now {
                break;
            }
            self.deadlines.pop_front();
            if over {
                continue;
            }
            let until = match self.clients[local as usize].stage {
                Stage::Joining => {
                    "the message that says that a client is subscribed did not come within 10 s"
                }
                _ => "it did not answer the handshake within 10 s",
            };
            self.fail(format!("{}: {until}", self.shared.place.authority));
        }
    }

    fn open(&self, local: u32) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect(self.shared.address)?;
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, Token(local as usize), interest)?;
        Ok(stream)
    }

    /// The connect has ended, well or not.
    pub(super) fn connected(&mut self, local: u32) {
        let number = self.number(local);
        let client = &mut self.clients[local as usize];
        let Some(stream) = client.stream.as_mut() else { return };
        let error = stream.take_error();
        if let Ok(Some(error)) | Err(error) = error {
            return self.end(local, format!("cannot connect: {error}"));
        }
        match stream.peer_addr() {
            // Not yet: the event was for something else.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => return,
            Err(error) => return self.end(local, format!("cannot connect: {error}")),
            Ok(_) => {}
        }
        // A request is one segment; without this it might wait for the last one's ACK.
        _ = stream.set_nodelay(true);
        let from_now_on = Interest::READABLE;
        if let Err(error) = self.poll.registry().reregister(stream, Token(local as usize), from_now_on) {
            return self.end(local, format!("cannot be waited for: {error}"));
        }
        let dialect = &self.shared.dialect;
        let who = (number, client.attempt);
        let request =
            handshake::request(&self.shared.place, &dialect.headers, dialect.protocol.as_deref(), who);
        client.stage = Stage::Upgrading;
        self.send(local, request.as_bytes());
    }

    /// Agreed: says what subscribes the client.
    pub(super) fn upgraded(&mut self, local: u32) {
        let number = self.number(local);
        let shared = self.shared.clone();
        let mut all = Vec::new();
        for form in &shared.dialect.subscribe {
            let text = for_client(form, number);
            let key = self.random.u32(..).to_be_bytes();
            all.extend(frames::message(shared.dialect.binary, text.as_bytes(), key));
        }
        self.clients[local as usize].stage = Stage::Joining;
        if !all.is_empty() {
            self.send(local, &all);
        }
        if shared.dialect.ready.is_none() && self.clients[local as usize].stage == Stage::Joining {
            self.subscribed(local);
        }
    }

    pub(super) fn subscribed(&mut self, local: u32) {
        self.clients[local as usize].stage = Stage::Subscribed;
        self.in_flight -= 1;
        self.shared.subscribed.fetch_add(1, Relaxed);
    }

    /// Sends what is small and rare: a socket that has no room for it belongs to a server that does not read.
    pub(super) fn send(&mut self, local: u32, bytes: &[u8]) {
        let Some(stream) = self.clients[local as usize].stream.as_mut() else { return };
        match stream.write(bytes) {
            Ok(sent) if sent == bytes.len() => {}
            Ok(_) => self.end(local, "it does not read what clients say".into()),
            Err(error) => self.end(local, format!("broken off: {error}")),
        }
    }

    /// Ends a connection, and decides about the next attempt.
    pub(super) fn end(&mut self, local: u32, why: String) {
        let number = self.number(local);
        let client = &mut self.clients[local as usize];
        let stage = std::mem::take(&mut client.stage);
        (client.stream, client.part, client.tail) = (None, None, None);
        let attempt = client.attempt;
        match stage {
            Stage::Away => {}
            Stage::Subscribed => {
                self.shared.gone.fetch_add(1, Relaxed);
                self.seen.example(|| format!("client {number}: {why}"));
            }
            _ => {
                self.in_flight -= 1;
                if attempt >= ATTEMPTS_MAX {
                    let clients = self.shared.subscribed.load(Relaxed);
                    let authority = &self.shared.place.authority;
                    self.fail(format!("{authority}: {why} (client {number}, {attempt} attempts; {clients} others are subscribed)"));
                } else {
                    self.again.push_back((Instant::now() + RETRY * u32::from(attempt), local));
                }
            }
        }
    }
}
