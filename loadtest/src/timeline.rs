//! A run second by second: what happened in each.

use std::time::Duration;

use crate::latency::Times;

/// What happened between two looks at a run. Counts are of the interval alone, but for `connected`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Interval {
    /// Its end, since the run began.
    pub(crate) at: Duration,
    /// Clients that were greeted and connected at its end.
    pub(crate) connected: u64,
    /// Items that clients received for the first time.
    pub(crate) received: u64,
    /// Push messages that clients received.
    pub(crate) frames: u64,
    /// Their payloads on the wire.
    pub(crate) bytes: u64,
    /// Pushes that were accepted.
    pub(crate) published: u64,
    /// Intended time to receipt, of the items received, urgent ones included.
    pub(crate) latency: Times,
    /// The longest time that any event loop of the clients was away from its sockets.
    pub(crate) late: Duration,
    /// Time of event loops in which they were not waiting for anything, over all of them.
    pub(crate) busy: Duration,
    /// Time of event loops, over all of them.
    pub(crate) looped: Duration,
}
