//! What the parts of a floor tell each other: a JSON line each, down a pipe.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a process is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Role {
    Sender(Share),
    Receiver(Share),
}

/// The part of one pair of processes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Share {
    pub(super) connections: u32,
    pub(super) bytes: usize,
    pub(super) threads: u32,
    /// Ports that each thread of the sender listens on.
    pub(super) listeners: u32,
    /// A process that is older ends itself.
    pub(super) time_max: Duration,
}

impl Share {
    /// All connections of a thread.
    pub(super) fn of_thread(&self, thread: u32) -> u32 {
        part(self.connections, self.threads, thread)
    }

    /// How many of them go to one of its listeners.
    pub(super) fn of_listener(&self, thread: u32, listener: u32) -> u32 {
        part(self.of_thread(thread), self.listeners, listener)
    }
}

/// A number in even parts: how large one of them is.
pub(super) fn part(total: u32, parts: u32, index: u32) -> u32 {
    total / parts + u32::from(index < total % parts)
}

/// From the run to a process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Order {
    /// To a receiver: connect to these, by thread.
    Connect(Vec<Vec<SocketAddr>>),
    /// To a receiver: read until a round is here.
    Read,
    /// To a sender: send a round.
    Send,
}

/// From a process to the run, and from a thread to its process. Times are µs of [`super::clock::Clock`].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Said {
    /// By a sender: connections are taken here, by thread.
    Listening(Vec<Vec<SocketAddr>>),
    /// By both: all connections are there; when the first was begun or taken, and when the last.
    Connected(Span),
    /// By a sender: a round is sent.
    Sent(Sent),
    /// By a receiver: a round is read, or nothing comes any more.
    Received(Received),
    /// By both: it could not go on.
    Failed(String),
}

/// From a first to a last event, µs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Span {
    pub(super) first: u64,
    pub(super) last: u64,
}

impl Span {
    /// Longest and first of nothing: anything joined to it is itself.
    pub(super) const NONE: Self = Self { first: u64::MAX, last: 0 };

    pub(super) fn join(self, other: Self) -> Self {
        Self { first: self.first.min(other.first), last: self.last.max(other.last) }
    }

    pub(super) fn micros(self) -> u64 {
        self.last.saturating_sub(self.first)
    }
}

/// A round of a sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sent {
    /// First and last send.
    pub(super) span: Span,
    /// Sends that found a full socket.
    pub(super) blocked: u64,
}

impl Sent {
    pub(super) const NONE: Self = Self { span: Span::NONE, blocked: 0 };

    pub(super) fn join(self, other: Self) -> Self {
        Self { span: self.span.join(other.span), blocked: self.blocked + other.blocked }
    }
}

/// A round of a receiver.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Received {
    /// When the last byte came.
    pub(super) end: u64,
    pub(super) bytes: u64,
}

impl Received {
    pub(super) fn join(self, other: Self) -> Self {
        Self { end: self.end.max(other.end), bytes: self.bytes + other.bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_even_and_add_up() {
        let share =
            Share { connections: 40_001, bytes: 200, threads: 3, listeners: 2, time_max: Duration::ZERO };
        assert_eq!((0..3).map(|thread| share.of_thread(thread)).sum::<u32>(), 40_001);
        assert!((0..3).all(|thread| share.of_thread(thread).abs_diff(13_334) <= 1));
        assert_eq!((share.of_listener(0, 0), share.of_listener(0, 1)), (6_667, 6_667));
        assert_eq!((part(2, 3, 0), part(2, 3, 2)), (1, 0));
    }

    #[test]
    fn what_threads_did_is_joined() {
        let sent = |first, last, blocked| Sent { span: Span { first, last }, blocked };
        assert_eq!(Sent::NONE.join(sent(10, 20, 1)).join(sent(12, 25, 2)), sent(10, 25, 3));
        let received = |end, bytes| Received { end, bytes };
        assert_eq!(Received::default().join(received(31, 5)).join(received(30, 4)), received(31, 9));
        assert_eq!((Span::NONE.micros(), Span { first: 5, last: 7 }.micros()), (0, 2));
    }
}
