//! What comes from gateways: the answer to the handshake, frames, the end.

use std::io::{self, Read, Write};
use std::sync::atomic::Ordering::Relaxed;

use common::client::{Hello, Incoming};
use tokio_tungstenite::tungstenite::protocol::frame::coding::Control;

use super::Reactor;
use super::client::{End, Stage};
use crate::handshake;
use crate::wire::{self, FRAME_BYTES_MAX, Kind, Next};

impl Reactor {
    /// Reads until the socket is empty. `closing`: its end is near, so a short read is not the last.
    pub(super) fn readable(&mut self, local: u32, closing: bool) {
        let mut buffer = std::mem::take(&mut self.buffer);
        let end = self.read(local, closing, &mut buffer);
        self.buffer = buffer;
        if let Err(end) = end {
            self.end(local, end);
        }
    }

    fn read(&mut self, local: u32, closing: bool, buffer: &mut Vec<u8>) -> Result<(), End> {
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
            let room = buffer.len() - have;
            match stream.read(&mut buffer[have..]) {
                Ok(0) => return Err(self.ended_by_peer(local)),
                Ok(read) => {
                    have += read;
                    let used = self.take(local, &buffer[..have])?;
                    buffer.copy_within(used..have, 0);
                    have -= used;
                    // Edge-triggered: a short read of a stream has emptied it, epoll(7).
                    if read < room && !closing {
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
        let (number, mut used, mut fresh) = (self.number(local), 0, 0);
        if self.clients[local as usize].stage == Stage::Upgrading {
            let attempt = self.clients[local as usize].attempts;
            match handshake::answer(bytes, self.shared.course.world.seed, number, attempt) {
                Ok(None) => return Ok(0),
                Ok(Some(head)) => used = head,
                Err(why) => return Err(End::Failed(why)),
            }
            self.clients[local as usize].stage = Stage::Agreed;
        }
        let end = loop {
            match wire::next(&bytes[used..]) {
                Next::Part => break Ok(used),
                Next::Wrong(what) => break Err(End::Garbage(what)),
                Next::Frame(kind, payload, length) => {
                    used += length;
                    match kind {
                        Kind::Text => match self.tracker.message(number, payload, now) {
                            Some(new) => fresh += new,
                            None => self.say(local, payload, now),
                        },
                        Kind::Ping => self.answer(local, Control::Pong, payload),
                        Kind::Pong => {}
                        Kind::Close => {
                            self.answer(local, Control::Close, &payload[..payload.len().min(2)]);
                            break Err(End::Closed(wire::close_code(payload)));
                        }
                    }
                }
            }
        };
        if fresh > 0 {
            self.shared.progress.received.fetch_add(u64::from(fresh), Relaxed);
        }
        end
    }

    /// A message that is no push: rare, so parsed as any JSON.
    fn say(&mut self, local: u32, text: &[u8], now: u64) {
        let gateway = self.gateway(local);
        let parsed = serde_json::from_slice::<Incoming<'_>>(text);
        match parsed.as_ref().map(|message| (&*message.cmd, message.data)) {
            Ok(("hello", Some(data))) => match serde_json::from_str::<Hello>(data.get()) {
                Ok(hello) => self.greeted(local, &hello, now),
                Err(_) => self.tracker.garbage(self.number(local), "a hello that cannot be read", now),
            },
            Ok(("gap" | "reset", _)) => self.connections[gateway].gaps += 1,
            Ok(("reconnect", _)) => {}
            // A push in an order of members that no gateway writes, replies nobody asked for, other JSON.
            Ok(_) => self.tracker.garbage(self.number(local), "a message that nobody asked for", now),
            Err(_) if text == b"pong" => {}
            Err(_) => self.tracker.garbage(self.number(local), "a message that is not JSON", now),
        }
    }

    fn greeted(&mut self, local: u32, hello: &Hello, now: u64) {
        let number = self.number(local);
        let gateway = self.gateway(local);
        let client = &mut self.clients[local as usize];
        if client.stage != Stage::Agreed {
            return self.tracker.garbage(number, "a second hello", now);
        }
        client.stage = Stage::Greeted;
        client.failed = 0;
        self.connects.in_flight -= 1;
        if std::mem::replace(&mut client.known, true) {
            self.connections[gateway].reconnects += 1;
            self.tracker.came(number, now);
        }
        let step = self.shared.course.world.client_step();
        if number.is_multiple_of(step) {
            *self.shared.ids[(number / step) as usize].lock() = Some(hello.client_id.clone().into());
        }
        self.shared.progress.connected.fetch_add(1, Relaxed);
    }

    /// A control frame back. It is small and comes rarely: if the socket is full, the peer does not read
    /// what it asked for, and its own time limit will tell.
    fn answer(&mut self, local: u32, opcode: Control, payload: &[u8]) {
        let frame = wire::control(opcode, payload, self.random.u32(..).to_be_bytes());
        if let Some(stream) = self.clients[local as usize].stream.as_mut() {
            _ = stream.write(&frame);
        }
    }
}
