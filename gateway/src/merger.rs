//! When: items gather per target until their window ends. Pure: time is an argument, nothing waits here.
//!
//! A window opens with the first item after a tick and all targets leave on its one tick. Within it an item
//! with a `key` takes the place of the pending one with the same key, and items too old fall out at the end.
//! A target that reaches its bounds leaves early, alone; when all together reach theirs, all leave early.
//! With leading windows the first item after a quiet window leaves early too ([`leading`]).
//!
//! Of a target that has gathered more than a socket should be given at once only the first part leaves, and the rest
//! is due at once: a client has the time of a sweep to read it.
//!
//! A target that is being written elsewhere can be *kept*: it gathers on, whatever the time, until it is let go.
//!
//! Items of one target that are not for the same connections (another `appId`, other `exceptClients`) make
//! separate *segments* in the order in which they came, and each segment becomes one frame: so order holds
//! across filters, at the price of more frames only where filters alternate. So do those of another life of a history.

mod batch;
mod item;
mod leading;

use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use crate::bucket::Local;
use crate::directory::Group;
use crate::settings::WindowMode;
use crate::tally::Part;
use batch::Full;
pub(crate) use batch::{Batch, Life, Segment};
pub(crate) use item::{Filter, Item, Kept};
use leading::Leading;

/// Items of one target that make it leave before its window ends.
pub(crate) const TARGET_ITEMS_MAX: usize = 1_000;

/// Bytes of one target that make it leave before its window ends.
pub(crate) const TARGET_BYTES_MAX: usize = 64 * 1024;

/// Places for so many targets are kept for the next window at the most: 16,384 × 200 B = 3.3 MB.
const RESERVED_MAX: usize = 16_384;

/// What an item costs beside its bytes, for the bound on the whole: item, part, passage, key.
const ITEM_OVERHEAD: usize = 200;

/// Whom items are for.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    /// Every connection.
    All,
    /// The members of a room, a user or an application.
    Group(Arc<Group>),
    /// One connection.
    Client(Local),
}

/// What tells targets apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    /// Every connection.
    All,
    /// The group's address; it cannot be reused while something holds the target.
    Group(usize),
    /// One connection.
    Client(Local),
}

impl Key {
    pub(crate) fn of_group(group: &Arc<Group>) -> Self {
        Self::Group(Arc::as_ptr(group).addr())
    }
}

impl Target {
    pub(crate) fn key(&self) -> Key {
        match self {
            Self::All => Key::All,
            Self::Group(group) => Key::of_group(group),
            Self::Client(local) => Key::Client(*local),
        }
    }
}

/// How an offer went. Nothing is refused here: the bound on the whole is kept by whoever reads the link.
#[derive(Debug)]
pub(crate) enum Offer {
    /// It waits for its tick.
    Merged,
    /// It waits, and took the place of this one.
    Conflated(Part),
}

/// What leaves now.
#[derive(Debug, Default)]
pub(crate) struct Due {
    pub(crate) batches: Vec<Batch>,
    /// The tick at which it should have left; `None`: it leaves early.
    pub(crate) tick: Option<Instant>,
    pub(crate) early: Early,
    /// Targets of which only the first part leaves.
    pub(crate) parts: u64,
}

/// How many targets left before their tick, by why.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Early {
    /// They had as many items as a frame may have.
    pub(crate) items: u64,
    /// They had as many bytes as a frame may have.
    pub(crate) bytes: u64,
    /// Their window had been quiet.
    pub(crate) leads: u64,
    /// All targets together had reached their bound.
    pub(crate) crowded: u64,
}

impl Early {
    fn count(&mut self, batch: &Batch) {
        match batch.fullness() {
            Some(Full::Items) => self.items += 1,
            Some(Full::Bytes) => self.bytes += 1,
            None if batch.leads => self.leads += 1,
            None => {}
        }
    }
}

/// The items that wait.
#[derive(Debug)]
pub(crate) struct Merger {
    window: Duration,
    /// Bytes past which everything leaves.
    bytes_max: usize,
    /// Bytes of one target that leave at once.
    part_bytes_max: usize,
    pending: HashMap<Key, usize>,
    /// In the order in which targets were first offered something; `None` where one left early.
    batches: Vec<Option<Batch>>,
    /// Targets that leave before the tick, and when.
    early: Vec<Key>,
    early_at: Option<Instant>,
    crowded: bool,
    /// Targets whose time has come and that were kept, and when it came.
    kept: Vec<Key>,
    kept_since: Option<Instant>,
    tick: Option<Instant>,
    bytes: usize,
    leading: Option<Leading>,
}

impl Merger {
    /// A merger with this window (zero: everything is due at once) and this bound on all that waits.
    pub(crate) fn new(window: Duration, mode: WindowMode, bytes_max: usize) -> Self {
        let leads = mode == WindowMode::Leading && !window.is_zero();
        Self {
            window,
            bytes_max,
            part_bytes_max: usize::MAX,
            pending: HashMap::new(),
            batches: Vec::new(),
            early: Vec::new(),
            early_at: None,
            crowded: false,
            kept: Vec::new(),
            kept_since: None,
            tick: None,
            bytes: 0,
            leading: leads.then(|| Leading::new(window)),
        }
    }

    /// Past so many bytes everything leaves early; of one target at most so many leave at once, but one segment at least.
    pub(crate) fn bound(&mut self, bytes_max: usize, part_bytes_max: usize) {
        (self.bytes_max, self.part_bytes_max) = (bytes_max, part_bytes_max);
    }

    /// Of one target at most so many bytes leave at once.
    #[cfg(test)]
    pub(crate) fn in_parts(self, part_bytes_max: usize) -> Self {
        Self { part_bytes_max, ..self }
    }

    /// Takes an item.
    pub(crate) fn offer(&mut self, now: Instant, target: &Target, filter: &Filter, item: Item) -> Offer {
        let key = target.key();
        let (index, mut early_at) = self.place(now, target);
        let batch = self.batches[index].as_mut().expect("pending names batches that are there");
        let (cost, was_full) = (batch.cost(), batch.fullness().is_some());
        let hurries = item.kept.as_ref().is_some_and(|kept| kept.hurries);
        let conflated = batch.offer(filter, item);
        self.bytes = self.bytes + batch.cost() - cost;
        if hurries || (!was_full && batch.fullness().is_some()) {
            early_at = Some(now);
        }
        if early_at.is_some() {
            self.early.push(key);
        }
        if self.bytes > self.bytes_max {
            self.crowded = true;
            early_at = Some(now);
        }
        self.early_at = self.early_at.into_iter().chain(early_at).min();
        conflated.map_or(Offer::Merged, |old| Offer::Conflated(old.part))
    }

    /// The batch of a target, made if need be, and when it leaves if that is new and early.
    fn place(&mut self, now: Instant, target: &Target) -> (usize, Option<Instant>) {
        self.tick.get_or_insert(now + self.window);
        let key = target.key();
        match self.pending.entry(key) {
            Entry::Occupied(known) => (*known.get(), None),
            Entry::Vacant(place) => {
                let mut batch = Batch::new(target.clone());
                let early_at = self.leading.as_ref().and_then(|leading| leading.may_lead(now, key));
                batch.leads = early_at.is_some();
                self.batches.push(Some(batch));
                (*place.insert(self.batches.len() - 1), early_at)
            }
        }
    }

    /// The members of a group are told, behind all that waits for them, that their history goes on elsewhere. It does
    /// not wait for the window, nor does what waits before it.
    pub(crate) fn reset(&mut self, now: Instant, target: &Target, life: Life) {
        let (index, _) = self.place(now, target);
        self.batches[index].as_mut().expect("pending names batches that are there").reset(life);
        self.early.push(target.key());
        self.early_at = self.early_at.into_iter().chain([now]).min();
    }

    /// When [`Merger::due`] will have something: `None` while nothing waits but what is kept.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.tick.into_iter().chain(self.early_at).min()
    }

    /// What is due at `now`: everything if the tick has come, else the targets that leave early. Those that
    /// `keep` picks stay until [`Merger::let_go`].
    pub(crate) fn due(&mut self, now: Instant, keep: impl Fn(&Batch) -> bool) -> Due {
        let ticked = self.tick.filter(|tick| now >= *tick);
        let hurried = self.early_at.is_some_and(|at| now >= at);
        let mut due = Due { tick: ticked, ..Due::default() };
        if ticked.is_some() || (hurried && self.crowded) {
            self.all(now, keep, &mut due);
        } else if hurried {
            self.some(now, keep, &mut due);
        }
        if let Some(leading) = &mut self.leading {
            due.batches.iter().for_each(|batch| leading.left(now, &batch.target));
        }
        self.bytes -= due.batches.iter().map(Batch::cost).sum::<usize>();
        due
    }

    /// What leaves of a target now. The rest goes back, due at once.
    fn leave(&mut self, mut batch: Batch, now: Instant, due: &mut Due) {
        let Some(part) = batch.part(self.part_bytes_max) else {
            due.batches.push(batch);
            return;
        };
        due.batches.push(part);
        if !batch.is_empty() {
            due.parts += 1;
            self.early.push(batch.key());
            self.early_at = Some(now);
            self.pending.insert(batch.key(), self.batches.len());
            self.batches.push(Some(batch));
        }
    }

    fn all(&mut self, now: Instant, keep: impl Fn(&Batch) -> bool, due: &mut Due) {
        let crowded = std::mem::take(&mut self.crowded) && due.tick.is_none();
        self.tick = None;
        self.early_at = None;
        self.early.clear();
        self.pending.clear();
        self.kept.clear();
        let batches = std::mem::take(&mut self.batches);
        due.batches.reserve(batches.len());
        // As many again, probably: growing would move each some times.
        self.batches.reserve(batches.len().min(RESERVED_MAX));
        for batch in batches.into_iter().flatten() {
            if keep(&batch) {
                self.pending.insert(batch.key(), self.batches.len());
                self.kept.push(batch.key());
                self.batches.push(Some(batch));
            } else {
                due.early.crowded += u64::from(crowded);
                self.leave(batch, now, due);
            }
        }
        let since = self.kept_since.take().into_iter().chain(due.tick).min();
        if self.kept.is_empty() {
            due.tick = since;
        } else {
            self.kept_since = Some(since.unwrap_or(now));
        }
        if let Some(leading) = &mut self.leading {
            leading.forget(now);
            // Ticks go on until every window has been quiet, so that what follows a first item waits no longer.
            if !(leading.is_idle() && due.batches.is_empty()) {
                self.tick = Some(now + self.window);
            }
        }
    }

    fn some(&mut self, now: Instant, keep: impl Fn(&Batch) -> bool, due: &mut Due) {
        self.early_at = None;
        let mut leaving = Vec::with_capacity(self.early.len());
        for key in std::mem::take(&mut self.early) {
            let Some(batch) =
                self.pending.get(&key).and_then(|index| self.batches[*index].take_if(|batch| !keep(batch)))
            else {
                // Kept, or gone since it was noted.
                self.kept.extend(self.pending.contains_key(&key).then_some(key));
                continue;
            };
            self.pending.remove(&key);
            if self.kept_since.is_none() {
                due.early.count(&batch);
            }
            leaving.push(batch);
        }
        if self.kept.is_empty() {
            due.tick = self.kept_since.take();
        } else {
            self.kept_since.get_or_insert(now);
        }
        if self.pending.is_empty() {
            self.batches.clear();
            self.tick = self.tick.filter(|_| self.leading.is_some());
        }
        leaving.into_iter().for_each(|batch| self.leave(batch, now, due));
    }

    /// Lets go what was kept: it is due at once.
    pub(crate) fn let_go(&mut self, now: Instant) {
        if !self.kept.is_empty() {
            self.early.append(&mut self.kept);
            self.early_at = self.early_at.into_iter().chain([now]).min();
        }
    }

    /// A sweep has ended; what is learnt of it decides how soon items may lead.
    pub(crate) fn swept(&mut self, began: Instant, ended: Instant, ticked: bool) {
        if let Some(leading) = &mut self.leading {
            leading.swept(began, ended, ticked);
        }
    }

    /// The tick comes now.
    pub(crate) fn hurry(&mut self, now: Instant) {
        self.tick = Some(now);
    }

    /// Everything that waits, due or not, kept or not, as an early leave; of much again only a part.
    pub(crate) fn flush(&mut self, now: Instant) -> Due {
        self.hurry(now);
        Due { tick: None, ..self.due(now, |_| false) }
    }

    /// Bytes that wait, overhead included.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How long what waits has waited beyond its tick.
    pub(crate) fn overdue(&self, now: Instant) -> Duration {
        let tick = self.tick.filter(|_| !self.pending.is_empty());
        let since = tick.into_iter().chain(self.kept_since).min();
        since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
