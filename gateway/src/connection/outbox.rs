//! What waits for one socket: shared frames in order, how many bytes, and what was dropped on purpose.
//!
//! Pure bookkeeping: no socket, no clock. An idle connection has none of it but a null pointer.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::num::NonZeroU32;
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
    pub(super) closing: Option<NonZeroU32>,
    /// The second at which the connection came, and [`CLOSED`]: four bytes for both, of a million each.
    marks: u32,
}

/// The bit of [`Outbox::marks`] that says that nothing can be written any more. The others count 68 years.
const CLOSED: u32 = 1 << 31;

impl Outbox {
    /// The outbox of a connection that has not been greeted: all waits for the hello. Before it goes the answer to
    /// the handshake, whatever becomes of the rest.
    pub(super) fn greeting(answer: Bytes, since: NonZeroU32) -> Self {
        let mut queue = Queue { greeting: true, ..Queue::default() };
        if !answer.is_empty() {
            queue.torn = true;
            queue.push(Queued { bytes: answer, tally: None });
        }
        Self { queue: Some(Box::new(queue)), closing: None, marks: since.get() & !CLOSED }
    }

    /// Nothing can be written any more.
    pub(super) fn close(&mut self) {
        self.marks |= CLOSED;
        if let Some(mut queue) = self.queue.take() {
            queue.frames.drain(..).for_each(|frame| frame.resolve(Outcome::Gone));
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.marks & CLOSED != 0
    }

    /// The second at which the connection came.
    pub(super) fn since(&self) -> u32 {
        self.marks & !CLOSED
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.close();
    }
}

/// What a frame costs beside its bytes: its place, and the memory of a small one of its own. Counted, or a client
/// that pings and does not read would make us hold a hundred thousand pongs of two bytes.
const FRAME_OVERHEAD: usize = 64;

/// What may wait of replies, pongs and pings. They are one client's alone, where pushes are shared by all who get them:
/// of 20,000 clients who ask and do not read it will be 320 MiB.
const OWN_BYTES_MAX: usize = 16 * 1024;

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
    /// Bytes of all frames, with what each costs beside.
    bytes: usize,
    /// Those of them that are no pushes.
    own: usize,
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

    /// Whether so many bytes more fit within a bound, pushes or not. One frame always does, and the answer to the
    /// handshake is none.
    pub(super) fn fits(&self, bytes: usize, most: usize, is_push: bool) -> bool {
        let alone = self.frames.len() <= usize::from(self.greeting && self.torn);
        let more = bytes + FRAME_OVERHEAD;
        alone || self.bytes + more <= most && (is_push || self.own + more <= OWN_BYTES_MAX)
    }

    pub(super) fn push(&mut self, frame: Queued) {
        self.bytes += frame.bytes.len() + FRAME_OVERHEAD;
        if frame.tally.is_none() {
            self.own += frame.bytes.len() + FRAME_OVERHEAD;
        }
        self.frames.push_back(frame);
    }

    /// Puts the hello, if it is one, before all that has gathered.
    pub(super) fn greet(&mut self, hello: Bytes) {
        self.greeting = false;
        if hello.is_empty() {
            return;
        }
        self.bytes += hello.len() + FRAME_OVERHEAD;
        self.own += hello.len() + FRAME_OVERHEAD;
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
            if front.tally.is_none() {
                self.own -= front.bytes.len().min(bytes);
            }
            if front.bytes.len() > bytes {
                front.bytes.advance(bytes);
                self.torn = self.torn || bytes > 0;
                return;
            }
            bytes -= front.bytes.len();
            self.torn = false;
            self.bytes -= FRAME_OVERHEAD;
            if let Some(frame) = self.frames.pop_front() {
                self.own -= if frame.tally.is_none() { FRAME_OVERHEAD } else { 0 };
                frame.resolve(Outcome::Written);
            }
        }
    }

    /// Drops every frame that the kernel has no byte of, and counts it as this.
    pub(super) fn drop_whole_frames(&mut self, outcome: Outcome) {
        let keep = usize::from(self.torn);
        for frame in self.frames.drain(keep..) {
            self.bytes -= frame.bytes.len() + FRAME_OVERHEAD;
            if frame.tally.is_none() {
                self.own -= frame.bytes.len() + FRAME_OVERHEAD;
            }
            frame.resolve(outcome);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(length: usize) -> Queued {
        Queued { bytes: Bytes::from(vec![b'x'; length]), tally: None }
    }

    #[test]
    fn small_frames_count_for_what_they_cost() {
        let mut queue = Queue::default();
        while queue.fits(2, 256 * 1024, false) {
            queue.push(frame(2));
        }
        assert!((200..300).contains(&queue.frames.len()), "{} pongs", queue.frames.len());
        assert!(queue.fits(100_000, 256 * 1024, true), "pushes have more");
        queue.written(3 * 2 + 1);
        assert!(queue.torn);
        queue.drop_whole_frames(Outcome::Slow);
        queue.written(1);
        assert_eq!((queue.frames.len(), queue.bytes, queue.own, queue.torn), (0, 0, 0, false));
        assert!(queue.fits(10_000_000, 1, false), "one frame always fits");
    }

    #[test]
    fn the_answer_to_the_handshake_leaves_one_frame_its_place() {
        let mut outbox = Outbox::greeting(Bytes::from_static(b"HTTP/1.1 101"), NonZeroU32::MIN);
        let queue = outbox.queue.as_mut().unwrap();
        assert!(queue.fits(10_000, 1_000, true));
        queue.push(frame(10_000));
        assert!(!queue.fits(1, 1_000, true));
        queue.greet(Bytes::from_static(b"hello"));
        let order: Vec<_> = queue.frames.iter().map(|frame| frame.bytes.len()).collect();
        assert_eq!(order, [12, 5, 10_000]);
    }
}
