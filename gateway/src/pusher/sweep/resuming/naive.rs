//! The naive halves of the model: a store that forgets only what it is told to, and a client that checks what it hears.

use std::collections::BTreeSet;
use std::time::Instant;

use bytes::Bytes;
use common::ids::Epoch;
use common::link::history::KeptItem;
use common::link::message::Position;
use serde_json::Value;

use crate::frame;
use crate::history::Part;

/// What every item says.
pub(super) const BODY: Bytes = Bytes::from_static(b"\"data\":1}");

/// A store with one history.
pub(super) struct Store {
    pub(super) head: Position,
    /// Nothing before it is there any more.
    pub(super) oldest: u64,
    /// Places of items that nobody is sent: too old, or for others.
    pub(super) unsent: BTreeSet<(u64, u64)>,
}

impl Store {
    pub(super) fn new() -> Self {
        Self { head: Position { epoch: 1, offset: 0 }, oldest: 1, unsent: BTreeSet::new() }
    }

    pub(super) fn push(&mut self, is_sent: bool) -> Position {
        self.head.offset += 1;
        if !is_sent {
            self.unsent.insert((self.head.epoch, self.head.offset));
        }
        self.head
    }

    pub(super) fn restart(&mut self) {
        (self.head, self.oldest) = (Position { epoch: self.head.epoch + 1, offset: 0 }, 1);
    }

    /// Whether nobody is sent the items between two offsets of this life.
    pub(super) fn is_void(&self, epoch: u64, mut between: std::ops::Range<u64>) -> bool {
        between.all(|offset| self.unsent.contains(&(epoch, offset)))
    }

    /// What logic answers, with at most so many items.
    pub(super) fn read(&self, since: Option<Position>, most: u64, now: Instant) -> Part {
        let head = self.head;
        let since = since.unwrap_or_default();
        let continues =
            since.epoch == head.epoch && since.offset <= head.offset && since.offset + 1 >= self.oldest;
        let last = if continues { head.offset.min(since.offset + most) } else { head.offset };
        let offsets = if continues { since.offset + 1..last + 1 } else { 0..0 };
        let sent = offsets.filter(|offset| !self.unsent.contains(&(head.epoch, *offset)));
        let items = sent.map(|offset| KeptItem { offset, body: BODY, ..KeptItem::default() }).collect();
        Part { head, continues, last, items, asked: now, frame: Default::default() }
    }
}

fn place(of: &Value) -> Position {
    let epoch: Epoch = of["epoch"].as_str().unwrap().parse().unwrap();
    Position { epoch: epoch.0, offset: of["offset"].as_u64().unwrap() }
}

/// What a client makes of all that was written to it, from the place on that it knows.
pub(super) fn hear(bytes: &[u8], known: &mut Option<Position>, store: &Store) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let frame = Bytes::copy_from_slice(rest);
        let payload = frame::payload(&frame);
        let length = match rest[1] {
            126 => usize::from(u16::from_be_bytes([rest[2], rest[3]])),
            short => usize::from(short),
        };
        let (text, head) = (&payload[..length], rest.len() - payload.len());
        rest = &rest[head + length..];
        if !text.is_empty() {
            hear_message(&serde_json::from_slice(text).unwrap(), known, store);
        }
    }
}

fn hear_message(message: &Value, known: &mut Option<Position>, store: &Store) {
    if message["cmd"] == "reset" {
        let at = place(message);
        let before = known.expect("it was told where it is");
        assert!(at != before, "a reset to where it is");
        assert!(at.epoch >= before.epoch, "back to a life that is over");
        *known = Some(at);
        return;
    }
    for item in message["items"].as_array().unwrap() {
        let at = place(item);
        let before = known.expect("it was told where it begins");
        assert_eq!(at.epoch, before.epoch, "another life, and no reset");
        assert!(at.offset > before.offset, "twice, or out of order: {at:?} after {before:?}");
        assert!(
            store.is_void(at.epoch, before.offset + 1..at.offset),
            "a hole, and no reset: {at:?} after {before:?}"
        );
        assert!(!store.unsent.contains(&(at.epoch, at.offset)), "it was too old, or for others");
        *known = Some(at);
    }
}
