//! What waits for one link: bounded in bytes and in number, and it says what happens when it is full.
//!
//! Full while the gateway takes something is back-pressure: the caller gets 503. Full while it has taken
//! nothing for a while is a stalled gateway, which must not hold up pushes to the others.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::link::codec::Outbound;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::publish::message;

/// Deliveries that may wait, whatever their size: 65,536 × 40 B = 2.6 MB of queue beside the bytes.
const WAITING_MAX: usize = 65_536;

/// What is taken at once to be sent: as much as is handed to h2 at once.
const BATCH_BYTES: usize = 64 * 1024;

/// What left in one such step is noted together, and so many steps are remembered: 16 B × 1,024 for ten seconds, for the log
/// line of a push that was slow.
const LEFT_STEP: Duration = Duration::from_millis(10);
const LEFT_MAX: usize = 1_024;

/// The queue of one link, from its hello to its end.
#[derive(Debug)]
pub(crate) struct Outbox {
    queue: Mutex<Queue>,
    filled: Notify,
    bytes_max: usize,
    stalled_after: Duration,
}

#[derive(Debug)]
struct Queue {
    waiting: VecDeque<(u64, Bytes)>,
    /// Waiting, reserved and being sent.
    bytes: usize,
    /// Promised by [`Outbox::reserve`] and not yet put.
    reserved: usize,
    /// Taken by the writer and not yet in the hands of h2.
    sending: usize,
    closed: bool,
    /// The serial number that was taken last.
    last: u64,
    /// When the link last took something, or began to have something to take.
    progress: Instant,
    /// Up to which serial number was in the hands of h2 when, the oldest first.
    left: VecDeque<(u64, Instant)>,
}

/// Whether a delivery has room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Room {
    /// It has, and the room is kept.
    Reserved,
    /// Not now: the link is busy.
    Full,
    /// Not now, and the link takes nothing.
    Stalled,
    /// The link has ended.
    Closed,
}

impl Outbox {
    /// An empty queue.
    pub(crate) fn new(bytes_max: usize, stalled_after: Duration) -> Self {
        let queue = Queue {
            waiting: VecDeque::new(),
            bytes: 0,
            reserved: 0,
            sending: 0,
            closed: false,
            last: 0,
            progress: Instant::now(),
            left: VecDeque::new(),
        };
        Self { queue: Mutex::new(queue), filled: Notify::new(), bytes_max, stalled_after }
    }

    /// Keeps room for one delivery. A delivery larger than the queue has room when nothing else waits.
    pub(crate) fn reserve(&self, bytes: usize) -> Room {
        let mut queue = self.queue.lock();
        if queue.closed {
            return Room::Closed;
        }
        if queue.bytes == 0 {
            queue.progress = Instant::now();
        } else if queue.bytes + bytes > self.bytes_max || queue.waiting.len() + queue.reserved >= WAITING_MAX
        {
            return if queue.progress.elapsed() > self.stalled_after { Room::Stalled } else { Room::Full };
        }
        queue.bytes += bytes;
        queue.reserved += 1;
        Room::Reserved
    }

    /// Whether there is room for one delivery now, or will never be: a link that is lost or stalled has none to wait for.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        match self.reserve(bytes) {
            Room::Reserved => self.release(bytes),
            Room::Full => return false,
            Room::Closed | Room::Stalled => {}
        }
        true
    }

    /// Gives room back that was reserved.
    pub(crate) fn release(&self, bytes: usize) {
        let mut queue = self.queue.lock();
        queue.bytes = queue.bytes.saturating_sub(bytes);
        queue.reserved = queue.reserved.saturating_sub(1);
    }

    /// Puts a delivery into the room that was reserved for it. Then [`Outbox::wake`] is due.
    pub(crate) fn put(&self, serial: u64, rest: Bytes) {
        let mut queue = self.queue.lock();
        queue.reserved = queue.reserved.saturating_sub(1);
        if queue.closed {
            return;
        }
        queue.waiting.push_back((serial, rest));
    }

    /// Wakes the writer. Apart from [`Outbox::put`], for that is called under the sequencer's lock, and waking
    /// may be a system call.
    pub(crate) fn wake(&self) {
        self.filled.notify_one();
    }

    /// Waits until something waits, and takes a batch of it. Cancel safe.
    ///
    /// Woken, it lets those have their turn who are about to put: the runtime runs who was woken last first, and
    /// would make of each push a frame and a system call of its own. On an idle node this costs microseconds.
    pub(crate) async fn take(&self, outbound: &mut Outbound) {
        loop {
            {
                let mut queue = self.queue.lock();
                while outbound.len() < BATCH_BYTES {
                    let Some((serial, rest)) = queue.waiting.pop_front() else { break };
                    queue.sending += rest.len();
                    queue.last = serial;
                    message::put(outbound, serial, &rest);
                }
                if !outbound.is_empty() {
                    return;
                }
            }
            self.filled.notified().await;
            tokio::task::yield_now().await;
        }
    }

    /// What was taken is in the hands of h2.
    pub(crate) fn sent(&self) {
        let mut queue = self.queue.lock();
        queue.bytes = queue.bytes.saturating_sub(queue.sending);
        queue.sending = 0;
        queue.progress = Instant::now();
        let (last, now) = (queue.last, queue.progress);
        match queue.left.back_mut() {
            Some((serial, at)) if now.duration_since(*at) < LEFT_STEP => *serial = last,
            _ => queue.left.push_back((last, now)),
        }
        if queue.left.len() > LEFT_MAX {
            queue.left.pop_front();
        }
    }

    /// About when a delivery was in the hands of h2; `None`: it waits, or has gone with the link.
    pub(crate) fn left(&self, serial: u64) -> Option<Instant> {
        let queue = self.queue.lock();
        queue.left.iter().find(|(last, _)| *last >= serial).map(|(_, at)| *at)
    }

    /// Ends the queue; what waits is dropped.
    pub(crate) fn close(&self) {
        let mut queue = self.queue.lock();
        queue.closed = true;
        queue.waiting = VecDeque::new();
        queue.bytes = 0;
    }

    /// Bytes and deliveries that wait.
    pub(crate) fn depth(&self) -> (usize, usize) {
        let queue = self.queue.lock();
        (queue.bytes, queue.waiting.len())
    }

    /// Whether everything was handed to h2, or never will be.
    pub(crate) fn is_idle(&self) -> bool {
        self.queue.lock().bytes == 0
    }

    /// For how long the link has taken nothing although something waits.
    pub(crate) fn stalled(&self) -> Duration {
        let queue = self.queue.lock();
        if queue.bytes == 0 { Duration::ZERO } else { queue.progress.elapsed() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outbox(stalled_after: Duration) -> Outbox {
        Outbox::new(100, stalled_after)
    }

    #[tokio::test]
    async fn room_is_kept_given_back_and_freed_by_sending() {
        let outbox = outbox(Duration::from_secs(60));
        assert_eq!(outbox.reserve(500), Room::Reserved, "whatever its size when nothing waits");
        assert_eq!(outbox.reserve(1), Room::Full);
        outbox.release(500);
        assert_eq!(outbox.reserve(60), Room::Reserved);
        outbox.put(1, Bytes::from(vec![0; 60]));
        assert_eq!(outbox.reserve(60), Room::Full);
        let mut outbound = Outbound::default();
        outbox.take(&mut outbound).await;
        assert!(!outbox.is_idle(), "not yet sent");
        outbox.sent();
        assert!(outbox.is_idle());
        assert_eq!(outbox.reserve(60), Room::Reserved);
        outbox.close();
        assert_eq!(outbox.reserve(1), Room::Closed);
        assert!(outbox.is_idle());
    }

    #[test]
    fn full_without_progress_is_stalled() {
        let outbox = outbox(Duration::ZERO);
        assert_eq!(outbox.reserve(100), Room::Reserved);
        assert_eq!(outbox.reserve(1), Room::Stalled);
    }
}
