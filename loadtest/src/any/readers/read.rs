//! What comes from a server: the answer to the handshake, messages, the end.

use std::borrow::Cow;
use std::io::{self, Read};
use std::sync::atomic::Ordering::Relaxed;

use tokio_tungstenite::tungstenite::protocol::frame::coding::Control;

use super::{COUNTED, REHEARSAL, Readers, Stage};
use crate::any::frames::{self, Next};
use crate::any::handshake;
use crate::any::marks::Mark;
use crate::payload::{Label, Reading};
use crate::wire::{self, FRAME_BYTES_MAX};

impl Readers {
    /// Reads until the socket is empty.
    pub(super) fn readable(&mut self, local: u32) {
        let mut buffer = std::mem::take(&mut self.buffer);
        let end = self.read(local, &mut buffer);
        self.buffer = buffer;
        if let Err(why) = end {
            self.end(local, why);
        }
    }

    fn read(&mut self, local: u32, buffer: &mut Vec<u8>) -> Result<(), String> {
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
                // A longer message is refused before it is here, so this ends.
                buffer.resize((have * 2).min(4 * FRAME_BYTES_MAX), 0);
            }
            let Some(stream) = self.clients[local as usize].stream.as_mut() else { return Ok(()) };
            match stream.read(&mut buffer[have..]) {
                Ok(0) => return Err(self.ended(local)),
                Ok(read) => {
                    have += read;
                    let drained = have < buffer.len();
                    let used = self.take(local, &buffer[..have])?;
                    buffer.copy_within(used..have, 0);
                    have -= used;
                    // Edge-triggered: a short read of a stream has emptied it, epoll(7). A young one is read up to its
                    // end, for it may be closed together with its answer.
                    if drained && self.clients[local as usize].stage == Stage::Subscribed {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(format!("broken off: {error}")),
            }
        }
        if have > 0 {
            self.clients[local as usize].part = Some(Box::new(buffer[..have].to_vec()));
        }
        Ok(())
    }

    fn ended(&self, local: u32) -> String {
        let when = match self.clients[local as usize].stage {
            Stage::Upgrading => "without an answer to the handshake",
            Stage::Joining => "after the handshake",
            _ => "without a word",
        };
        format!("it closed {when}")
    }

    /// Takes what is whole; how many bytes that was.
    fn take(&mut self, local: u32, bytes: &[u8]) -> Result<usize, String> {
        let mut used = 0;
        if self.clients[local as usize].stage == Stage::Upgrading {
            let who = (self.number(local), self.clients[local as usize].attempt);
            match handshake::answer(bytes, who)? {
                None => return Ok(0),
                Some(head) => used = head,
            }
            self.upgraded(local);
        }
        let now = self.shared.now();
        loop {
            match frames::next(&bytes[used..]) {
                Next::Part => return Ok(used),
                Next::Wrong(what) => return Err(format!("it sent {what}")),
                Next::Message(payload, length) => {
                    used += length;
                    self.message(local, &payload, now);
                }
                Next::Ping(payload, length) => {
                    used += length;
                    let pong = wire::control(Control::Pong, payload, self.random.u32(..).to_be_bytes());
                    self.send(local, &pong);
                }
                Next::Pong(length) => used += length,
                Next::Close(payload, _) => {
                    let reason = String::from_utf8_lossy(payload.get(2..).unwrap_or_default()).into_owned();
                    return Err(format!("it closed with code {} {reason}", wire::close_code(payload))
                        .trim_end()
                        .into());
                }
            }
        }
    }

    fn message(&mut self, local: u32, payload: &[u8], now: u64) {
        let shared = self.shared.clone();
        let dialect = &shared.dialect;
        let client = &mut self.clients[local as usize];
        let tail = client.tail.take();
        if client.stage == Stage::Joining
            && dialect.ready.as_deref().is_some_and(|ready| contains(payload, ready))
        {
            self.subscribed(local);
        }
        if let Some(reply) = dialect.reply(payload) {
            let frame = frames::message(dialect.binary, reply.as_bytes(), self.random.u32(..).to_be_bytes());
            self.send(local, &frame);
        }
        let text = match tail {
            Some(mut tail) => {
                tail.extend_from_slice(payload);
                Cow::Owned(*tail)
            }
            None => Cow::Borrowed(payload),
        };
        if *text != *self.last {
            self.found.clear();
            let found = &mut self.found;
            let end =
                dialect.pattern.find(&text, &shared.format, dialect.streamed, &mut |one| found.push(one));
            self.found_end = end;
            self.last.clear();
            self.last.extend_from_slice(&text);
        }
        if dialect.streamed && self.found_end < text.len() {
            self.clients[local as usize].tail = Some(Box::new(text[self.found_end..].to_vec()));
        }
        let found = std::mem::take(&mut self.found);
        let counted = found.iter().filter(|reading| self.item(local, **reading, now)).count() as u64;
        self.found = found;
        if counted > 0 {
            self.seen.frames += 1;
            self.seen.bytes += payload.len() as u64;
            self.seen.items += counted;
        }
    }

    /// Takes an item; whether it is one that counts.
    fn item(&mut self, local: u32, reading: Reading, now: u64) -> bool {
        let number = self.number(local);
        let label = match reading {
            Reading::Whole(label) if label.stream == REHEARSAL => {
                let client = &mut self.clients[local as usize];
                if !std::mem::replace(&mut client.rehearsed, true) {
                    self.shared.rehearsed.fetch_add(1, Relaxed);
                }
                return false;
            }
            Reading::Whole(label) if label.stream == COUNTED => label,
            Reading::Foreign => return false,
            Reading::Whole(_) | Reading::Broken => {
                self.seen.corrupted += 1;
                self.seen.example(|| format!("client {number}: an item that is not as it was published"));
                return true;
            }
        };
        let Label { seq, at, .. } = label;
        match self.marks.note(local as usize, seq) {
            Mark::New => {}
            Mark::Late => {
                self.seen.late += 1;
                self.seen.example(|| format!("client {number}: item {seq} came after a later one"));
            }
            Mark::Again => {
                self.seen.again += 1;
                self.seen.example(|| format!("client {number}: item {seq} came again"));
                return true;
            }
            Mark::Unknown => {
                self.seen.corrupted += 1;
                return true;
            }
        }
        self.seen.latency.record(now.saturating_sub(at));
        self.shared.received.fetch_add(1, Relaxed);
        true
    }
}

fn contains(text: &[u8], part: &str) -> bool {
    !part.is_empty() && text.windows(part.len()).any(|window| window == part.as_bytes())
}
