//! What outlives a push: the histories of rooms and users, in which each item has an offset, under the epoch of the
//! history's present life.
//!
//! An [`Engine`] keeps them; [`rules`] say whose are kept. Time is an argument. Whoever reads from an offset is told
//! whether the history can continue there: an epoch that is over, an offset that was trimmed away or never was are
//! never answered as if nothing had been missed.

pub(crate) mod any;
pub(crate) mod durable;
pub(crate) mod embedded;
pub(crate) mod record;
pub(crate) mod redis;
pub(crate) mod rules;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use common::ids::{ClientId, Epoch};
use common::link::message::{Mark, Position};
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

/// What makes a call this call and not another, at every node and after every restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Once<'a> {
    /// The caller's `Idempotency-Key`.
    pub(crate) key: &'a str,
    /// Of its path and body: other bytes under the same key are another call.
    pub(crate) print: [u8; 16],
}

/// Where items have got to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Placed<'a> {
    /// Of each append, in their order.
    pub(crate) positions: &'a [Position],
    /// How far the store had come with them; none from a store that cannot fall back.
    pub(crate) marks: &'a [Mark],
}

/// How an append ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Appended<T> {
    /// The items are stored, and this is what sending them said.
    Now(T),
    /// The same call had been stored before, at these places: nothing was stored or sent.
    Before(Vec<Position>),
}

/// Why nothing was appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum NotAppended {
    /// The histories take as much memory as they may.
    Full,
    /// The key was used for something else.
    OtherCall,
    /// The store did not say in time that it has them; it may.
    Away(Away),
}

/// The store cannot be used now; why, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Away(pub(crate) String);

/// What is known of a call that stores no item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Claim {
    /// Nothing, until now: the caller is to make it, and to say the answer with [`Engine::keep_answer`].
    New,
    /// It is being made, or whoever made it died.
    Running,
    /// It was made, and this was the answer.
    Answered(Bytes),
    /// The key was used for something else.
    OtherCall,
}

/// What was appended to lately.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// Where histories stand that were appended to.
    pub(crate) heads: Vec<(Kind, Arc<str>, Position)>,
    /// From where to go on: the first of its kind is empty.
    pub(crate) cursor: Vec<u64>,
    /// There are more.
    pub(crate) more: bool,
    /// Something between the cursor and these was forgotten: whoever wants to know where a history stands must ask.
    pub(crate) missed: bool,
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
///
/// Everything here ends within a second, whatever the store does.
pub(crate) trait Engine {
    /// Appends items, all or none, and gives `send` the place of each once they are stored. `send` plans what to send
    /// after that, so whoever joined before the items were stored is sent them. It is called in the order of offsets
    /// where that costs nothing; elsewhere gateways bring them into order.
    ///
    /// With `once`, what was appended under the same key before is told, and `send` is not called.
    fn append<T: Send>(
        &self,
        appends: &[Append<'_>],
        once: Option<Once<'_>>,
        now: Moment,
        send: impl FnOnce(Placed<'_>) -> T + Send,
    ) -> impl Future<Output = Result<Appended<T>, NotAppended>> + Send;

    /// Reads what came after a place, or everything; with `most.items` 0 only where the history stands.
    fn read(
        &self,
        whose: Whose<'_>,
        since: Option<Since>,
        most: Most,
        now: Moment,
    ) -> impl Future<Output = Result<Page, Away>> + Send;

    /// Where the histories stand that were appended to after a cursor, at most so many, oldest changes first; one that
    /// was appended to twice is said once.
    fn changed(&self, after: &[u64], most: usize) -> impl Future<Output = Result<Changes, Away>> + Send;

    /// A call comes that stores no item. A store that only this process uses knows no more than the process does, and
    /// says that it is new.
    fn claim(&self, once: Once<'_>) -> impl Future<Output = Result<Claim, Away>> + Send;

    /// What a call was answered, for whoever makes it again in the next two minutes; one whose items were stored too.
    /// Best effort: whoever asks again without it is told the places. An empty answer to a call that stores no item frees
    /// its key: nothing came of it, and it may be made again.
    fn keep_answer(&self, once: Once<'_>, answer: Bytes) -> impl Future<Output = ()> + Send;

    /// What was kept by [`Engine::keep_answer`] for a call of which [`Appended::Before`] was said.
    fn answer(&self, once: Once<'_>) -> impl Future<Output = Option<Bytes>> + Send;

    /// Gateways say how far they saw the store come: one that has less now has lost something.
    fn witness(&self, marks: &[Mark]);

    /// Which store this is; nodes that name another have other histories of the same names. 0: not known yet.
    fn identity(&self) -> u64;

    /// Why the store cannot be used, for people; `Ok` if it answered lately.
    fn health(&self) -> Result<(), String>;

    /// Lets go of what has aged, step by step.
    fn tidy(&self, now: Moment) -> impl Future<Output = ()> + Send;

    /// How much is kept now, as far as this process knows.
    fn holdings(&self) -> Holdings;
}

/// How much is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Holdings {
    /// Histories, those whose items have all aged included.
    pub(crate) histories: usize,
    /// Items.
    pub(crate) items: usize,
    /// Bytes, overhead included.
    pub(crate) bytes: usize,
}
