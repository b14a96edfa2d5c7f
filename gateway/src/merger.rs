//! When: items gather per target until their window ends. Pure: time is an argument, nothing waits here.
//!
//! A window opens with the first item after a tick and all targets leave on its one tick. Within it an item
//! with a `key` takes the place of the pending one with the same key, and items too old fall out at the end.
//! A target that reaches its bounds leaves early, alone.
//!
//! Items of one target that are not for the same connections (another `appId`, other `exceptClients`) make
//! separate *segments* in the order in which they came, and each segment becomes one frame: so order holds
//! across filters, at the price of more frames only where filters alternate.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::names::Kind;
use hashbrown::HashMap;

use crate::bucket::Local;
use crate::directory::Group;
use crate::tally::Part;

/// Items of one target that make it leave before its window ends.
pub(crate) const TARGET_ITEMS_MAX: usize = 1_000;

/// Bytes of one target that make it leave before its window ends.
pub(crate) const TARGET_BYTES_MAX: usize = 64 * 1024;

/// What a room's name needs in each item beside itself: `"room":"",`.
const ROOM_MEMBER_BYTES: usize = 10;

/// Fewer holes than this in a segment are not worth closing.
const HOLES_MIN: usize = 64;

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

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    All,
    /// The group's address; it cannot be reused while the pending target holds the group.
    Group(usize),
    Client(Local),
}

impl Target {
    fn key(&self) -> Key {
        match self {
            Self::All => Key::All,
            Self::Group(group) => Key::Group(Arc::as_ptr(group).addr()),
            Self::Client(local) => Key::Client(*local),
        }
    }
}

/// Which of a target's connections get an item.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Filter {
    /// Only those of this application.
    pub(crate) app: Option<u32>,
    /// Not these, sorted.
    pub(crate) except: Option<Arc<[Local]>>,
}

impl Filter {
    pub(crate) fn admits(&self, local: Local, app: u32) -> bool {
        self.app.is_none_or(|wanted| wanted == app)
            && self.except.as_ref().is_none_or(|except| except.binary_search(&local).is_err())
    }
}

/// An item on its way in.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) body: Bytes,
    pub(crate) key: Option<String>,
    pub(crate) expires: Option<Instant>,
    pub(crate) part: Part,
}

/// How an offer went. Nothing is refused here: the bound on the whole is kept by whoever reads the link.
#[derive(Debug)]
pub(crate) enum Offer {
    /// It waits for its tick.
    Merged,
    /// It waits, and took the place of this one.
    Conflated(Part),
}

/// Items of one target for the same connections, in order: one frame.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) filter: Filter,
    /// `None` where a newer item with the same key came.
    pub(crate) items: Vec<Option<Item>>,
    bytes: usize,
    /// How many of `items` are `None`.
    holes: usize,
}

/// All that is due to one target.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) target: Target,
    pub(crate) segments: Vec<Segment>,
    /// Segment and place of the pending item with each key, one for each filter that it came with.
    keys: HashMap<String, Vec<(usize, usize)>>,
    items: usize,
    bytes: usize,
    /// What each item of the target needs beside its body: a room's name.
    prefix_bytes: usize,
}

/// The items that wait.
#[derive(Debug)]
pub(crate) struct Merger {
    window: Duration,
    pending: HashMap<Key, usize>,
    /// In the order in which targets were first offered something; `None` where one left early.
    batches: Vec<Option<Batch>>,
    full: Vec<Key>,
    tick: Option<Instant>,
    bytes: usize,
}

impl Merger {
    /// A merger with this window; zero: everything is due at once.
    pub(crate) fn new(window: Duration) -> Self {
        Self { window, pending: HashMap::new(), batches: Vec::new(), full: Vec::new(), tick: None, bytes: 0 }
    }

    /// Takes an item.
    pub(crate) fn offer(&mut self, now: Instant, target: &Target, filter: &Filter, item: Item) -> Offer {
        self.tick.get_or_insert(now + self.window);
        let key = target.key();
        let index = *self.pending.entry(key).or_insert_with(|| {
            self.batches.push(Some(Batch::new(target.clone())));
            self.batches.len() - 1
        });
        let batch = self.batches[index].as_mut().expect("pending names batches that are there");
        let bytes = item.body.len() + ITEM_OVERHEAD;
        self.bytes += bytes;
        let was_full = batch.is_full();
        let conflated = batch.offer(filter, item);
        if !was_full && batch.is_full() {
            self.full.push(key);
        }
        match conflated {
            None => Offer::Merged,
            Some(old) => {
                self.bytes -= old.body.len() + ITEM_OVERHEAD;
                Offer::Conflated(old.part)
            }
        }
    }

    /// When [`Merger::due`] will have something: `None` while nothing waits.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let tick = self.tick?;
        // A full target is due since long ago.
        Some(if self.full.is_empty() { tick } else { tick - self.window })
    }

    /// What is due at `now`: everything if the tick has come, else the targets that are full.
    pub(crate) fn due(&mut self, now: Instant) -> Vec<Batch> {
        if self.tick.is_some_and(|tick| now >= tick) {
            return self.flush();
        }
        let mut due = Vec::with_capacity(self.full.len());
        for key in std::mem::take(&mut self.full) {
            if let Some(batch) = self.pending.remove(&key).and_then(|index| self.batches[index].take()) {
                self.bytes -= batch.cost();
                due.push(batch);
            }
        }
        if self.pending.is_empty() {
            self.batches.clear();
            self.tick = None;
        }
        due
    }

    /// Everything that waits, due or not.
    pub(crate) fn flush(&mut self) -> Vec<Batch> {
        self.tick = None;
        self.bytes = 0;
        self.full.clear();
        self.pending.clear();
        std::mem::take(&mut self.batches).into_iter().flatten().collect()
    }

    /// Bytes that wait, overhead included.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Batch {
    fn new(target: Target) -> Self {
        let prefix_bytes = match &target {
            Target::Group(group) if group.kind == Kind::Room => group.name.len() + ROOM_MEMBER_BYTES,
            _ => 0,
        };
        Self { target, segments: Vec::new(), keys: HashMap::new(), items: 0, bytes: 0, prefix_bytes }
    }

    fn is_full(&self) -> bool {
        self.items >= TARGET_ITEMS_MAX || self.bytes >= TARGET_BYTES_MAX
    }

    fn cost(&self) -> usize {
        let items = self.segments.iter().flat_map(|segment| &segment.items).flatten();
        items.map(|item| item.body.len() + ITEM_OVERHEAD).sum()
    }

    /// Appends an item; returns the one whose place it took.
    fn offer(&mut self, filter: &Filter, mut item: Item) -> Option<Item> {
        let fits = self.segments.last().is_some_and(|last| {
            last.filter == *filter && last.live() < TARGET_ITEMS_MAX && last.bytes < TARGET_BYTES_MAX
        });
        if !fits {
            self.segments.push(Segment { filter: filter.clone(), items: Vec::new(), bytes: 0, holes: 0 });
        }
        let segment = self.segments.len() - 1;
        let place = (segment, self.segments[segment].items.len());
        let old = item.key.take().and_then(|key| self.replace(key, filter, place));
        if let Some(old) = &old {
            self.items -= 1;
            self.bytes -= old.body.len() + self.prefix_bytes;
        }
        self.items += 1;
        self.bytes += item.body.len() + self.prefix_bytes;
        let last = &mut self.segments[segment];
        last.bytes += item.body.len() + self.prefix_bytes;
        last.items.push(Some(item));
        old
    }

    /// Notes the place of the newest item with a key, and takes out the one before it. Only an item for the
    /// same connections is replaced: others would lose the older one for nothing.
    fn replace(&mut self, key: String, filter: &Filter, place: (usize, usize)) -> Option<Item> {
        let places = self.keys.entry(key).or_default();
        let segments = &mut self.segments;
        let Some(known) = places.iter_mut().find(|(segment, _)| segments[*segment].filter == *filter) else {
            places.push(place);
            return None;
        };
        let (segment, at) = std::mem::replace(known, place);
        let old = segments[segment].items[at].take();
        segments[segment].holes += 1;
        if let Some(old) = &old {
            segments[segment].bytes -= old.body.len() + self.prefix_bytes;
        }
        self.compact(segment);
        old
    }

    /// Closes the holes of a segment once they are the greater part: a key that changes a million times in a
    /// window holds one item, not a million places.
    fn compact(&mut self, segment: usize) {
        let Segment { items, holes, .. } = &mut self.segments[segment];
        if *holes < HOLES_MIN || *holes * 2 < items.len() {
            return;
        }
        let mut moved = vec![0; items.len() + 1];
        let mut next = 0;
        for (at, item) in items.iter().enumerate() {
            moved[at] = next;
            next += usize::from(item.is_some());
        }
        // The place of the item that is about to be appended moves with them.
        moved[items.len()] = next;
        items.retain(Option::is_some);
        *holes = 0;
        for (_, at) in self.keys.values_mut().flatten().filter(|(of, _)| *of == segment) {
            *at = moved[*at];
        }
    }
}

impl Segment {
    fn live(&self) -> usize {
        self.items.len() - self.holes
    }
}

#[cfg(test)]
mod model;
