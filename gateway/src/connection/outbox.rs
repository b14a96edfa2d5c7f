//! What waits for one socket: shared frames in order, how many bytes, and what was dropped on purpose.
//!
//! Pure bookkeeping: no socket, no clock. An idle connection has none of it but a null pointer.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::Arc;

use bytes::{Buf, Bytes};

use crate::directory::Group;
use crate::tally::{Outcome, Tally};

/// The write side of a connection, under its lock.
#[derive(Debug)]
pub(super) struct Outbox {
    /// What waits; `None`: nothing, write straight to the socket.
    pub(super) queue: Option<Box<Queue>>,
    /// The second at which a close frame was queued; nothing is taken after it.
    pub(super) closing: Option<u32>,
    closed: bool,
}

impl Outbox {
    /// The outbox of a connection that has not been greeted: all waits for the hello. Before it goes the answer to
    /// the handshake, whatever becomes of the rest.
    pub(super) fn greeting(answer: Bytes) -> Self {
        let mut queue = Queue { greeting: true, ..Queue::default() };
        if !answer.is_empty() {
            queue.torn = true;
            queue.push(Queued { bytes: answer, tally: None });
        }
        Self { queue: Some(Box::new(queue)), closing: None, closed: false }
    }

    /// Nothing can be written any more.
    pub(super) fn close(&mut self) {
        self.closed = true;
        if let Some(mut queue) = self.queue.take() {
            queue.frames.drain(..).for_each(|frame| frame.resolve(Outcome::Gone));
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.close();
    }
}

/// One frame, or what is left of it.
#[derive(Debug)]
pub(super) struct Queued {
    pub(super) bytes: Bytes,
    pub(super) tally: Option<Arc<Tally>>,
}

impl Queued {
    fn resolve(self, outcome: Outcome) {
        if let Some(tally) = self.tally {
            tally.resolve(outcome);
        }
    }
}

/// Frames in order.
#[derive(Debug, Default)]
pub(super) struct Queue {
    frames: VecDeque<Queued>,
    pub(super) bytes: usize,
    /// The first frame must go: a part of it is with the kernel, or it is the answer to the handshake.
    pub(super) torn: bool,
    /// Everything waits for the hello.
    pub(super) greeting: bool,
    /// Rooms of which something was dropped since the queue was last empty; `None`: of no room. At most one
    /// entry for each room that the client is in.
    pub(super) gaps: Vec<Option<Arc<Group>>>,
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    pub(super) fn push(&mut self, frame: Queued) {
        self.bytes += frame.bytes.len();
        self.frames.push_back(frame);
    }

    /// Puts the hello before all that has gathered.
    pub(super) fn greet(&mut self, hello: Bytes) {
        self.greeting = false;
        self.bytes += hello.len();
        self.frames.insert(usize::from(self.torn), Queued { bytes: hello, tally: None });
    }

    pub(super) fn note_gap(&mut self, room: Option<&Arc<Group>>) {
        let same = |known: &Option<Arc<Group>>| match (known, room) {
            // By name: a room that all left and somebody joined again is another group of the same name.
            (Some(known), Some(room)) => known.name == room.name,
            (None, None) => true,
            _ => false,
        };
        if !self.gaps.iter().any(same) {
            self.gaps.push(room.cloned());
        }
    }

    /// The first frames as slices; returns how many.
    pub(super) fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut used = 0;
        for (slice, frame) in slices.iter_mut().zip(&self.frames) {
            *slice = IoSlice::new(&frame.bytes);
            used += 1;
        }
        used
    }

    /// The kernel took so many bytes.
    pub(super) fn written(&mut self, mut bytes: usize) {
        self.bytes -= bytes;
        while let Some(front) = self.frames.front_mut() {
            if front.bytes.len() > bytes {
                front.bytes.advance(bytes);
                self.torn = self.torn || bytes > 0;
                return;
            }
            bytes -= front.bytes.len();
            self.torn = false;
            if let Some(frame) = self.frames.pop_front() {
                frame.resolve(Outcome::Written);
            }
        }
    }

    /// Drops every frame that the kernel has no byte of, and counts it as this.
    pub(super) fn drop_whole_frames(&mut self, outcome: Outcome) {
        let keep = usize::from(self.torn);
        for frame in self.frames.drain(keep..) {
            self.bytes -= frame.bytes.len();
            frame.resolve(outcome);
        }
    }
}
