//! One history: a ring of items with offsets that only go up. Pure; time is an argument.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::ids::Epoch;
use common::link::message::Position;

use crate::engine::{Item, Keep, Most, Page, Since};

/// What an item costs beside its body: its place in the ring (24 B), the item (112 B), and what the allocator adds.
const ITEM_OVERHEAD: usize = 160;

/// What an item counts for in the bound on all.
pub(super) fn cost(item: &Item) -> usize {
    ITEM_OVERHEAD + item.body.len() + size_of_val(&*item.except)
}

/// An item, and when it came here.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) at: Instant,
    pub(super) item: Arc<Item>,
}

/// One history.
#[derive(Debug)]
pub(super) struct History {
    epoch: Epoch,
    /// The offset of the newest item that there ever was.
    head: u64,
    items: VecDeque<Kept>,
    /// For how long items are kept, as its rule said last.
    age: Duration,
    /// When the newest item came.
    last_at: Instant,
    /// When it is to be looked at next.
    pub(super) due: Instant,
    /// The number of the last append; 0: none.
    pub(super) changed: u64,
}

impl History {
    /// A history without an item, to be looked at then.
    pub(super) fn new(epoch: Epoch, due: Instant) -> Self {
        Self { epoch, head: 0, items: VecDeque::new(), age: Duration::ZERO, last_at: due, due, changed: 0 }
    }

    /// A history as it was written.
    pub(super) fn restored(head: Position, items: VecDeque<Kept>, age: Duration, last_at: Instant) -> Self {
        let epoch = Epoch(head.epoch);
        Self { epoch, head: head.offset, items, age, last_at, due: last_at, changed: 0 }
    }

    /// The offset of its oldest item, or of the next one.
    pub(super) fn first(&self) -> u64 {
        self.head + 1 - self.items.len() as u64
    }

    /// The offset of the oldest item that is not too old, or of the next one; `None`: it is to be forgotten.
    pub(super) fn keeps_from(&self, now: Instant) -> Option<u64> {
        let old = self.items.iter().take_while(|kept| self.is_old(kept, now)).count();
        let is_over = old == self.items.len() && self.last_at + 2 * self.age <= now;
        (!is_over).then(|| self.first() + old as u64)
    }

    fn is_old(&self, kept: &Kept, now: Instant) -> bool {
        now.saturating_duration_since(kept.at) >= self.age
    }

    /// Lets go of all items.
    pub(super) fn clear(&mut self) -> (usize, usize) {
        let mut freed = (0, 0);
        (0..self.items.len()).for_each(|_| self.pop(&mut freed));
        freed
    }

    /// Where it stands.
    pub(super) fn head(&self) -> Position {
        Position { epoch: self.epoch.0, offset: self.head }
    }

    /// Appends an item, whatever its bounds: [`History::trim`] follows.
    pub(super) fn push(&mut self, kept: Kept) -> Position {
        self.head += 1;
        self.last_at = kept.at;
        self.items.push_back(kept);
        self.head()
    }

    /// What one more item would make it let go of, in bytes.
    pub(super) fn would_free(&self, keep: Keep) -> usize {
        let oldest = self.items.front().filter(|_| self.items.len() >= keep.items);
        oldest.map_or(0, |oldest| cost(&oldest.item))
    }

    /// Keeps what the rule says; how many items and bytes it let go of.
    pub(super) fn trim(&mut self, keep: Keep, now: Instant) -> (usize, usize) {
        self.age = keep.age;
        let mut freed = self.age(now);
        while self.items.len() > keep.items {
            self.pop(&mut freed);
        }
        freed
    }

    /// Lets go of what is too old.
    pub(super) fn age(&mut self, now: Instant) -> (usize, usize) {
        let mut freed = (0, 0);
        let old = self.items.iter().take_while(|kept| self.is_old(kept, now)).count();
        (0..old).for_each(|_| self.pop(&mut freed));
        // A ring that was long once does not stay so.
        if self.items.len() * 4 < self.items.capacity() {
            self.items.shrink_to(self.items.len() * 2);
        }
        freed
    }

    fn pop(&mut self, (items, bytes): &mut (usize, usize)) {
        if let Some(oldest) = self.items.pop_front() {
            *items += 1;
            *bytes += cost(&oldest.item);
        }
    }

    /// When it is to be looked at next; `None`: it is to be forgotten. Its place outlives its items by their age, so that
    /// who was away for less than that and has missed nothing need not begin anew.
    pub(super) fn next_due(&self, now: Instant) -> Option<Instant> {
        match self.items.front() {
            Some(oldest) => Some(oldest.at + self.age),
            None => Some(self.last_at + 2 * self.age).filter(|due| *due > now),
        }
    }

    /// Reads from a place on.
    pub(super) fn read(&self, since: Option<Since>, most: Most) -> Page {
        let first = self.first();
        let is_here = |since: Since| {
            since.epoch.is_none_or(|epoch| epoch == self.epoch)
                && (first - 1..=self.head).contains(&since.offset)
        };
        let continues = since.is_none_or(is_here);
        let from = since.filter(|_| continues).map_or(first, |since| since.offset + 1);
        let skipped = usize::try_from(from - first).unwrap_or(usize::MAX);
        let mut bytes = 0;
        let fits = |kept: &&Kept| {
            let is_first = bytes == 0;
            bytes += kept.item.body.len();
            is_first || bytes <= most.bytes
        };
        let items = self.items.iter().skip(skipped).take(most.items).take_while(fits);
        let items = (from..).zip(items).map(|(offset, kept)| (offset, kept.item.clone())).collect();
        Page { head: self.head(), continues, items }
    }
}
