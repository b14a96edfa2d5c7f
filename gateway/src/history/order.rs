//! The items of one history in the order of their offsets, whichever way they come. Pure: time is an argument, and what is
//! to be asked of logic is said, not asked.
//!
//! Several logic nodes deliver the items of one history, each on its link, in any order; some are lost with a link, some
//! come twice, some from a node that slept while the history began anew. The item that follows the last one *passes*. A
//! later one *waits* for those before it, and after a while they are asked for ([`Order::asks`]). One of a life that was
//! never heard of waits too, until it is known which life is the present one: nobody believes a stranger. What the answer
//! brings passes as if it had come ([`Order::answered`]), and where a history does not continue, members are reset.

mod answer;

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::link::history::KeptItem;
use common::link::message::Position;

use super::fetch::Part;
use crate::merger::{Filter, Item};
use crate::tally;

/// An item waits so long for those before it. Links differ by milliseconds, by tens of them where a node is busy; beside
/// a window of a second it is not noticed, and far from the three seconds in which a lost item is to be there.
const WAIT: Duration = Duration::from_millis(200);

/// Somebody says that a history has come further than what came here: it may be on its way for so long.
const GRACE: Duration = Duration::from_millis(300);

/// After a question without an answer the next is asked so much later, twice as long each time.
const RETRY: Duration = Duration::from_millis(100);

/// The longest pause between two questions.
const RETRY_MAX: Duration = Duration::from_secs(1);

/// Items of one history that wait: as many as one answer brings.
const WAITING_MAX: usize = 1_000;

/// Bytes of one history that wait: what an answer brings, eight times; 1,000 small items are 300 KB.
const WAITING_BYTES_MAX: usize = 512 * 1024;

/// Bytes that wait of all histories, as many as may wait in the merger.
const WAITING_BYTES_ALL: usize = 64 * 1024 * 1024;

/// What an item that waits costs beside its body: itself, and its place in the tree.
const WAITING_OVERHEAD: usize = 300;

/// Lives that are remembered of a history: logic has restarted so often while one frame was on its way.
const LIVES_MAX: usize = 8;

/// An item that came on a link.
#[derive(Debug)]
pub(crate) struct Coming {
    pub(crate) at: Position,
    /// It does not wait for the window.
    pub(crate) hurries: bool,
    /// Whom of the group it is for. `None`: nobody here is to get it.
    pub(crate) offer: Option<(Filter, Item)>,
}

impl Coming {
    fn cost(&self) -> usize {
        WAITING_OVERHEAD + self.offer.as_ref().map_or(0, |(_, item)| item.body.len())
    }

    fn part(self) -> Option<tally::Part> {
        self.offer.map(|(_, item)| item.part)
    }
}

/// What is due to the members, in this order.
#[derive(Debug)]
pub(crate) enum Out {
    /// They are at this place now.
    Reset(Position),
    /// An item, and whether it hurries.
    Item { at: Position, hurries: bool, filter: Filter, item: Item },
}

/// What became of an item that came.
#[derive(Debug)]
pub(crate) enum Fate {
    /// It passed, and with it what waited for it.
    Passed,
    /// It waits.
    Waits,
    /// It has passed before.
    Double(Option<tally::Part>),
    /// It is of a life that is over, or before the place that all members were told.
    Past(Option<tally::Part>),
    /// Too many wait: it is left to the history, which is asked for it.
    Left(Option<tally::Part>),
}

/// A question to logic: what came after this place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) at: Position,
    /// What came before this number came before the question.
    serial: u64,
}

/// Whether there is something to ask.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Asks {
    Nothing,
    Later(Instant),
    Now(Asked),
}

/// What follows from an answer.
#[derive(Debug, Default)]
pub(crate) struct Answered {
    pub(crate) outs: Vec<Out>,
    /// Items that came and are of no life that goes on.
    pub(crate) past: Vec<tally::Part>,
    /// How many of the items of the answer passed.
    pub(crate) brought: u64,
}

/// Something is believed to be missing.
#[derive(Debug, Clone, Copy)]
struct Doubt {
    since: Instant,
    serial: u64,
    /// The place that was heard of; `None`: none in particular.
    head: Option<Position>,
}

#[derive(Debug)]
struct Waits {
    coming: Coming,
    since: Instant,
    serial: u64,
}

/// How far a history has come here, and what waits.
#[derive(Debug)]
pub(super) struct Order {
    /// All before it has passed, from `since` on.
    taken: Option<Position>,
    /// The offset, in the life of `taken`, behind which everything passed.
    since: u64,
    /// The last place that was given out.
    pub(super) passed: Option<Position>,
    /// The lives that were heard of, in the order in which they followed each other: what is still on its way of one is
    /// not for who was told a later.
    lives: Vec<u64>,
    /// Since when the last of them is known.
    heard_at: Option<Instant>,
    /// By life and offset.
    waiting: BTreeMap<(u64, u64), Waits>,
    bytes: usize,
    bytes_all: Arc<AtomicUsize>,
    /// The oldest, and the newest of those that came since.
    doubts: [Option<Doubt>; 2],
    /// Counts what comes.
    serial: u64,
    is_asking: bool,
    wakes_at: Option<Instant>,
    retry: Option<(Instant, u32)>,
}

impl Drop for Order {
    fn drop(&mut self) {
        self.bytes_all.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Order {
    pub(super) fn new(bytes_all: Arc<AtomicUsize>) -> Self {
        Self {
            taken: None,
            since: 0,
            passed: None,
            lives: Vec::new(),
            heard_at: None,
            waiting: BTreeMap::new(),
            bytes: 0,
            bytes_all,
            doubts: [None; 2],
            serial: 0,
            is_asking: false,
            wakes_at: None,
            retry: None,
        }
    }

    /// The place up to which everything has passed, if any is known.
    pub(super) fn place(&self) -> Option<Position> {
        self.taken
    }

    /// The place behind which everything passed, from which on members may be due what passes.
    pub(super) fn since(&self) -> u64 {
        self.since
    }

    /// A member is told the place where everything stands: this one, unless one is known.
    pub(super) fn begin(&mut self, head: Position, now: Instant) -> Position {
        if let Some(taken) = self.taken {
            return taken;
        }
        self.hears_of(head.epoch, now);
        (self.taken, self.since) = (Some(head), head.offset);
        head
    }

    /// This is the present life: an answer says so that is news, or nothing was known.
    pub(super) fn hears_of(&mut self, life: u64, now: Instant) {
        if self.lives.last() == Some(&life) {
            return;
        }
        self.lives.retain(|known| *known != life);
        if self.lives.len() == LIVES_MAX {
            self.lives.remove(0);
        }
        self.lives.push(life);
        self.heard_at = Some(now);
    }

    /// Whether an answer of this life, to a question of this moment, is news; else since when there is younger: answers
    /// overtake each other, and one that was asked for before may tell of a life that was over when the other began.
    pub(super) fn is_news(&self, life: u64, asked: Instant) -> Result<(), Instant> {
        match self.heard_at.filter(|heard| *heard >= asked && self.lives.last() != Some(&life)) {
            Some(heard) => Err(heard),
            None => Ok(()),
        }
    }

    /// Whether a life came before another. One that is forgotten is old.
    pub(super) fn is_older(&self, life: u64, other: u64) -> bool {
        let place = |of| self.lives.iter().position(|life| *life == of);
        place(life) < place(other)
    }

    /// Whether a life is known to be over.
    fn is_over(&self, life: u64) -> bool {
        let is_present = self.taken.is_some_and(|taken| taken.epoch == life);
        self.lives.contains(&life) && !is_present && self.taken.is_some_and(|t| self.is_older(life, t.epoch))
    }

    /// An item comes.
    pub(super) fn take(&mut self, coming: Coming, now: Instant, outs: &mut Vec<Out>) -> Fate {
        self.serial += 1;
        let at = coming.at;
        // Nobody was told a place yet: it begins here, and whoever is told one is told this or a later one.
        let taken = self.begin(Position { offset: at.offset.saturating_sub(1), ..at }, now);
        if at.epoch != taken.epoch {
            return if self.is_over(at.epoch) { Fate::Past(coming.part()) } else { self.wait(coming, now) };
        }
        if at.offset <= taken.offset {
            let was_here = at.offset > self.since;
            return if was_here { Fate::Double(coming.part()) } else { Fate::Past(coming.part()) };
        }
        if at.offset - 1 > taken.offset {
            return self.wait(coming, now);
        }
        self.pass(coming, outs);
        self.pass_next(outs);
        Fate::Passed
    }

    fn pass(&mut self, coming: Coming, outs: &mut Vec<Out>) {
        let Coming { at, hurries, offer } = coming;
        self.taken = Some(at);
        if let Some((filter, item)) = offer {
            self.passed = Some(at);
            outs.push(Out::Item { at, hurries, filter, item });
        }
    }

    /// What waits and is next passes.
    fn pass_next(&mut self, outs: &mut Vec<Out>) {
        while let Some(taken) = self.taken
            && let Some(next) = self.waiting.remove(&(taken.epoch, taken.offset.wrapping_add(1)))
        {
            self.leaves(&next);
            self.pass(next.coming, outs);
        }
    }

    /// What waits up to this offset passes, whatever is between.
    fn pass_waiting(&mut self, up_to: Position, outs: &mut Vec<Out>) {
        let range = (Bound::Included((up_to.epoch, 0)), Bound::Included((up_to.epoch, up_to.offset)));
        while let Some((key, _)) = self.waiting.range(range).next()
            && let key = *key
            && let Some(next) = self.waiting.remove(&key)
        {
            self.leaves(&next);
            self.pass(next.coming, outs);
        }
    }

    fn leaves(&mut self, waits: &Waits) {
        let cost = waits.coming.cost();
        self.bytes -= cost;
        self.bytes_all.fetch_sub(cost, Ordering::Relaxed);
    }

    fn wait(&mut self, coming: Coming, now: Instant) -> Fate {
        let key = (coming.at.epoch, coming.at.offset);
        if self.waiting.contains_key(&key) {
            return Fate::Double(coming.part());
        }
        let cost = coming.cost();
        let is_full = self.waiting.len() >= WAITING_MAX
            || self.bytes + cost > WAITING_BYTES_MAX
            || self.bytes_all.load(Ordering::Relaxed) + cost > WAITING_BYTES_ALL;
        if is_full {
            self.doubt(now, None);
            return Fate::Left(coming.part());
        }
        self.bytes += cost;
        self.bytes_all.fetch_add(cost, Ordering::Relaxed);
        self.waiting.insert(key, Waits { coming, since: now, serial: self.serial });
        Fate::Waits
    }

    /// Somebody says where the history stands; `None`: that nobody knows.
    pub(super) fn hears(&mut self, head: Option<Position>, now: Instant) {
        let is_here = |head: Position| {
            self.taken.is_some_and(|taken| head.epoch == taken.epoch && head.offset <= taken.offset)
        };
        // While no place is known here it is kept: the first member may be told one before it.
        if head.is_none_or(|head| !is_here(head) && !self.is_over(head.epoch)) {
            self.serial += 1;
            self.doubt(now, head);
        }
    }

    fn doubt(&mut self, since: Instant, head: Option<Position>) {
        let doubt = Some(Doubt { since, serial: self.serial, head });
        let is_open = |doubt: &Option<Doubt>| doubt.is_some_and(|doubt| self.doubted_at(doubt).is_some());
        let first = self.doubts.into_iter().find(is_open).flatten();
        self.doubts = if first.is_some() { [first, doubt] } else { [doubt, None] };
    }

    /// When a doubt is to be cleared up, if what has come has not done so.
    fn doubted_at(&self, doubt: Doubt) -> Option<Instant> {
        match (doubt.head, self.taken) {
            (Some(head), Some(taken)) if head.epoch == taken.epoch => {
                (head.offset > taken.offset).then_some(doubt.since + GRACE)
            }
            _ => Some(doubt.since),
        }
    }

    /// When something is to be asked.
    fn asks_at(&self) -> Option<Instant> {
        let taken = self.taken?;
        let waiting = self
            .waiting
            .iter()
            .map(|((epoch, _), waits)| if *epoch == taken.epoch { waits.since + WAIT } else { waits.since });
        let doubts = self.doubts.into_iter().flatten().filter_map(|doubt| self.doubted_at(doubt));
        let at = waiting.chain(doubts).min()?;
        Some(self.retry.map_or(at, |(not_before, _)| not_before.max(at)))
    }

    /// When [`Order::asks`] is to be called, if that is earlier than was said before.
    pub(super) fn wakes(&mut self) -> Option<Instant> {
        let at = self.asks_at()?;
        self.wakes_by(at)
    }

    /// The same after an item of this place began to wait now: without a look at all the others.
    pub(super) fn wakes_for(&mut self, fate: &Fate, epoch: u64, now: Instant) -> Option<Instant> {
        let is_present = self.taken.is_some_and(|taken| taken.epoch == epoch);
        let at = match fate {
            Fate::Waits if is_present => now + WAIT,
            Fate::Waits | Fate::Left(_) => now,
            Fate::Passed if self.is_doubted() => return self.wakes(),
            Fate::Passed | Fate::Double(_) | Fate::Past(_) => return None,
        };
        self.wakes_by(self.retry.map_or(at, |(not_before, _)| not_before.max(at)))
    }

    /// Whether something is believed to be missing that has not come since.
    fn is_doubted(&mut self) -> bool {
        for at in 0..self.doubts.len() {
            self.doubts[at] = self.doubts[at].filter(|doubt| self.doubted_at(*doubt).is_some());
        }
        self.doubts.iter().any(Option::is_some)
    }

    fn wakes_by(&mut self, at: Instant) -> Option<Instant> {
        if self.is_asking || self.wakes_at.is_some_and(|known| known <= at) {
            return None;
        }
        self.wakes_at = Some(at);
        self.wakes_at
    }

    /// The time has come that was said.
    pub(super) fn asks(&mut self, called_for: Instant, now: Instant) -> Asks {
        if self.is_asking || self.wakes_at != Some(called_for) {
            return Asks::Nothing;
        }
        self.wakes_at = None;
        match (self.asks_at(), self.taken) {
            (Some(later), _) if later > now => {
                self.wakes_at = Some(later);
                Asks::Later(later)
            }
            (Some(_), Some(at)) => {
                self.is_asking = true;
                Asks::Now(Asked { at, serial: self.serial })
            }
            _ => Asks::Nothing,
        }
    }
}

#[cfg(test)]
mod tests;
