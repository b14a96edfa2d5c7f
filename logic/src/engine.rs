//! What outlives a push: the histories of rooms and users, in which each item has an offset, under the epoch of the
//! history's present life.
//!
//! An [`Engine`] keeps them; [`rules`] say whose are kept. Time is an argument. Whoever reads from an offset is told
//! whether the history can continue there: an epoch that is over, an offset that was trimmed away or never was are
//! never answered as if nothing had been missed.

pub(crate) mod embedded;
pub(crate) mod rules;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use common::ids::{ClientId, Epoch};
use common::link::message::Position;
use common::names::Kind;

/// A moment, on the clock that never jumps and on that of people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    /// What ages are measured by.
    pub(crate) mono: Instant,
    /// Milliseconds since 1970, as answers say them.
    pub(crate) unix_ms: u64,
}

impl Moment {
    /// This moment.
    pub(crate) fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let unix_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        Self { mono: Instant::now(), unix_ms }
    }
}

/// How much of a history is kept: items beyond either bound are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Keep {
    /// The newest so many items.
    pub(crate) items: usize,
    /// Items younger than this.
    pub(crate) age: Duration,
}

/// Whose history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Whose<'a> {
    /// A room's or a user's.
    pub(crate) kind: Kind,
    /// Its name.
    pub(crate) name: &'a str,
    /// What its rule says.
    pub(crate) keep: Keep,
}

/// What is kept of a push; one for all the histories that it stands in.
#[derive(Debug)]
pub(crate) struct Item {
    /// Its JSON from `"event"` or `"data"` on, as it goes to gateways.
    pub(crate) body: Bytes,
    /// Only for connections of this application.
    pub(crate) app: Option<u32>,
    /// Not for these connections.
    pub(crate) except: Box<[ClientId]>,
    /// Not to be sent from then on.
    pub(crate) expires: Option<Instant>,
    /// When it was pushed.
    pub(crate) at: Moment,
}

/// An item on its way into a history.
#[derive(Debug, Clone)]
pub(crate) struct Append<'a> {
    /// Which.
    pub(crate) whose: Whose<'a>,
    /// What.
    pub(crate) item: Arc<Item>,
}

/// Why nothing was appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NotAppended<R> {
    /// The histories take as much memory as they may.
    Full,
    /// Whoever was to send it would not.
    Refused(R),
}

/// From where to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Since {
    /// The life of the history that the offset is of; `None`: of the present one.
    pub(crate) epoch: Option<Epoch>,
    /// The last item that is known.
    pub(crate) offset: u64,
}

/// How much to read at once, in items and in bytes of their bodies; one item may be larger than the latter.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Most {
    pub(crate) items: usize,
    pub(crate) bytes: usize,
}

/// What is read of a history.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    /// The place of its last item; offset 0 if it never had one.
    pub(crate) head: Position,
    /// Nothing between what was known and the first item here is missing. If not so, items begin with the oldest.
    pub(crate) continues: bool,
    /// Items in order, with their offsets.
    pub(crate) items: Vec<(u64, Arc<Item>)>,
}

impl Page {
    /// The offset up to which this page goes, from `since` on.
    pub(crate) fn last(&self, since: u64) -> u64 {
        self.items.last().map_or(since, |(offset, _)| *offset)
    }
}

/// Keeps histories.
pub(crate) trait Engine {
    /// Appends items, all or none. Before anything later is appended to the same histories, `send` is given the place
    /// of each; if it refuses, nothing was appended.
    fn append<T, R>(
        &self,
        appends: &[Append<'_>],
        now: Instant,
        send: impl FnOnce(&[Position]) -> Result<T, R> + Send,
    ) -> impl Future<Output = Result<T, NotAppended<R>>> + Send;

    /// Reads what came after a place, or everything; with `most.items` 0 only where the history stands.
    fn read(
        &self,
        whose: Whose<'_>,
        since: Option<Since>,
        most: Most,
        now: Instant,
    ) -> impl Future<Output = Page> + Send;
}
