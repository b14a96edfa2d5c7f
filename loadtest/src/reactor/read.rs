//! What comes from gateways: the answer to the handshake, frames, the end.

use std::io::{self, Read, Write};

use common::client::{Hello, Incoming};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio_tungstenite::tungstenite::protocol::frame::coding::Control;

use super::Reactor;
use super::client::{End, Stage};
use crate::handshake;
use crate::tracker::Came;
use crate::wire::{self, FRAME_BYTES_MAX, Kind, Next};

impl Reactor {
    /// Reads until the socket is empty. `closing`: its end is near, so a short read is not the last. Slow
    /// clients read in turns of their own, until they are closed.
    pub(super) fn readable(&mut self, local: u32, closing: bool) {
        if closing || self.reads_at_once(local) {
            self.read_most(local, closing, usize::MAX);
        }
    }

    /// Reads so many bytes at most.
    pub(super) fn read_most(&mut self, local: u32, closing: bool, most: usize) {
        let mut buffer = std::mem::take(&mut self.buffer);
        let end = self.read(local, closing, most, &mut buffer);
        self.buffer = buffer;
        if let Err(end) = end {
            self.end(local, end);
        }
    }

    fn read(&mut self, local: u32, closing: bool, mut most: usize, buffer: &mut Vec<u8>) -> Result<(), End> {
        let mut have = 0;
        if let Some(part) = self.clients[local as usize].part.take() {
            have = part.len();
            if have >= buffer.len() {
                buffer.resize(have * 2, 0);
            }
            buffer[..have].copy_from_slice(&part);
        }
        loop {
            if have == buffer.len() {
                // `wire` refuses a longer frame before it is here, so this ends.
                buffer.resize((have * 2).min(2 * FRAME_BYTES_MAX), 0);
            }
            let Some(stream) = self.clients[local as usize].stream.as_mut() else { return Ok(()) };
            let room = (buffer.len() - have).min(most);
            match stream.read(&mut buffer[have..have + room]) {
                Ok(0) => return Err(self.ended_by_peer(local)),
                Ok(read) => {
                    have += read;
                    most -= read;
                    let used = self.take(local, &buffer[..have])?;
                    buffer.copy_within(used..have, 0);
                    have -= used;
                    // Edge-triggered: a short read of a stream has emptied it, epoll(7).
                    if (read < room && !closing) || most == 0 {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(match self.clients[local as usize].stage {
                        Stage::Greeted => End::Closed(1006),
                        _ => End::Failed(format!("broken off before the hello: {error}")),
                    });
                }
            }
        }
        if have > 0 {
            self.clients[local as usize].part = Some(Box::new(buffer[..have].to_vec()));
        }
        Ok(())
    }

    fn ended_by_peer(&self, local: u32) -> End {
        match self.clients[local as usize].stage {
            Stage::Greeted => End::Closed(1006),
            Stage::Agreed => End::Failed("closed after the handshake, before the hello".into()),
            _ => End::Failed("closed before an answer to the handshake".into()),
        }
    }

    /// Takes what is whole; how many bytes that was.
    fn take(&mut self, local: u32, bytes: &[u8]) -> Result<usize, End> {
        let now = self.shared.course.ledger.now();
        let (number, mut used) = (self.number(local), 0);
        if self.clients[local as usize].stage == Stage::Upgrading {
            let attempt = self.clients[local as usize].attempts;
            match handshake::answer(bytes, &self.shared.course.world, number, attempt) {
                Ok(None) => return Ok(0),
                Ok(Some(agreed)) => {
                    used = agreed.head;
                    self.clients[local as usize].deflates = agreed.deflates;
                }
                Err(why) => return Err(End::Failed(why)),
            }
            self.clients[local as usize].stage = Stage::Agreed;
        }
        let deflates = self.clients[local as usize].deflates;
        loop {
            match wire::next(&bytes[used..], deflates) {
                Next::Part => return Ok(used),
                Next::Wrong(what) => return Err(End::Garbage(what)),
                Next::Frame(kind, payload, length) => {
                    used += length;
                    match kind {
                        Kind::Text => self.message(local, payload, false, now)?,
                        Kind::Deflated => self.message(local, payload, true, now)?,
                        Kind::Ping => self.answer(local, Control::Pong, payload),
                        Kind::Pong => {}
                        Kind::Close => {
                            self.answer(local, Control::Close, &payload[..payload.len().min(2)]);
                            return Err(End::Closed(wire::close_code(payload)));
                        }
                    }
                }
            }
        }
    }

    /// A message: a push, most likely one that others had before.
    fn message(&mut self, local: u32, payload: &[u8], deflated: bool, now: u64) -> Result<(), End> {
        let number = self.number(local);
        let (fresh, text_bytes) = match self.tracker.again(number, payload, deflated, now) {
            Ok(again) => (again.fresh, again.text_bytes),
            Err(came) if deflated => {
                let mut text = std::mem::take(&mut self.text);
                let whole = self.inflater.inflate(payload, &mut text);
                let fresh = whole.ok().map(|()| self.read_message(local, &text, &came, now));
                let text_bytes = text.len();
                self.text = text;
                match fresh {
                    None => return Err(End::Garbage("a compressed message that cannot be inflated")),
                    Some(None) => return Ok(()),
                    Some(Some(fresh)) => (fresh, text_bytes),
                }
            }
            Err(came) => match self.read_message(local, payload, &came, now) {
                None => return Ok(()),
                Some(fresh) => (fresh, payload.len()),
            },
        };
        self.frames.messages += 1;
        self.frames.deflated += u64::from(deflated);
        self.frames.wire_bytes += payload.len() as u64;
        self.frames.text_bytes += text_bytes as u64;
        self.reading.message(fresh, payload.len());
        Ok(())
    }

    /// A message that has to be read; how many items of a push were new.
    fn read_message(&mut self, local: u32, text: &[u8], came: &Came<'_>, now: u64) -> Option<u32> {
        let fresh = self.tracker.message(self.number(local), text, came, now);
        if fresh.is_none() {
            self.say(local, text, now);
        }
        fresh
    }

    /// A message that is no push: rare, so parsed as any JSON.
    fn say(&mut self, local: u32, text: &[u8], now: u64) {
        let parsed = serde_json::from_slice::<Incoming<'_>>(text);
        match parsed.as_ref().map(|message| (&*message.cmd, message.data)) {
            Ok(("hello", Some(data))) => match serde_json::from_str::<Hello>(data.get()) {
                Ok(hello) => self.greeted(local, &hello, now),
                Err(_) => self.tracker.garbage(self.number(local), "a hello that cannot be read", now),
            },
            Ok(("gap" | "reset", _)) => {
                if !self.is_prompt(local) {
                    self.slow.gapped.insert(local);
                }
                self.connections(local).gaps += 1;
            }
            Ok(("reconnect", _)) => {}
            Ok(("join" | "leave", _)) if self.churn.awaits(local) => {
                let code = parsed.as_ref().ok().and_then(|message| message.response).map(response_code);
                let cmd = parsed.as_ref().map_or("", |message| &*message.cmd);
                if !self.replied(local, cmd, code, now) {
                    self.tracker.garbage(self.number(local), "a reply that is none to what was asked", now);
                }
            }
            // A push in an order of members that no gateway writes, replies nobody asked for, other JSON.
            Ok(_) => self.tracker.garbage(self.number(local), "a message that nobody asked for", now),
            Err(_) if text == b"pong" => {}
            Err(_) => self.tracker.garbage(self.number(local), "a message that is not JSON", now),
        }
    }

    fn greeted(&mut self, local: u32, hello: &Hello, now: u64) {
        let number = self.number(local);
        let client = &mut self.clients[local as usize];
        if client.stage != Stage::Agreed {
            return self.tracker.garbage(number, "a second hello", now);
        }
        client.stage = Stage::Greeted;
        client.failed = 0;
        let was_known = std::mem::replace(&mut client.known, true);
        let took = self.connects.finish(local).unwrap_or_default();
        if was_known {
            self.connections(local).reconnects += 1;
            self.tracker.came(number, now);
        } else {
            self.arrivals.handshakes.record(took.as_micros() as u64);
            self.arrivals.last = now;
        }
        let step = self.shared.course.world.client_step();
        if self.shared.manner.wants_ids && number.is_multiple_of(step) {
            self.shared.meter.id(number / step, &hello.client_id);
        }
        // After the id: who sees the count may use the id.
        self.shared.meter.came();
    }

    /// A control frame back. It is small and comes rarely: if the socket is full, the peer does not read
    /// what it asked for, and its own time limit will tell.
    pub(super) fn answer(&mut self, local: u32, opcode: Control, payload: &[u8]) {
        let frame = wire::control(opcode, payload, self.random.u32(..).to_be_bytes());
        if let Some(stream) = self.clients[local as usize].stream.as_mut() {
            _ = stream.write(&frame);
        }
    }
}

/// What a reply says of how it went.
fn response_code(response: &RawValue) -> u16 {
    #[derive(Deserialize)]
    struct Response {
        code: u16,
    }
    serde_json::from_str::<Response>(response.get()).map_or(0, |response| response.code)
}
