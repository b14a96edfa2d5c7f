//! All that is due to one target: its items in order, cut into segments that are one frame each.

use std::collections::VecDeque;
use std::sync::Arc;

use common::link::message::Position;
use common::names::Kind;
use hashbrown::HashMap;

use super::{Filter, ITEM_OVERHEAD, Item, Kept, Key, TARGET_BYTES_MAX, TARGET_ITEMS_MAX, Target};
use crate::history::Track;

/// What a room's name needs in each item beside itself: `"room":"",`.
const ROOM_MEMBER_BYTES: usize = 10;

/// What a place in a history needs in each item: `"epoch":"","offset":,`, the epoch, and an offset of some digits.
const PLACE_BYTES: usize = 40;

/// Fewer holes than this in a segment are not worth closing.
const HOLES_MIN: usize = 64;

/// Of one key so many pending items, each for other connections, are known; further ones replace nothing and are
/// not replaced. Each item with the key is compared with them all.
pub(super) const PLACES_MAX: usize = 64;

/// Items of one target for the same connections, in order: one frame.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) filter: Filter,
    /// The life of the history that all of them stand in, if they stand in one. On the heap, for most do not.
    pub(crate) life: Option<Box<Life>>,
    /// `None` where a newer item with the same key came.
    pub(crate) items: Vec<Option<Item>>,
    bytes: usize,
    /// How many of `items` are `None`.
    holes: usize,
}

/// One life of a history.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) track: Arc<Track>,
    pub(crate) epoch: u64,
    /// Members are told before that they are at this place now.
    pub(crate) reset_at: Option<Position>,
}

impl Life {
    /// That of an item with which a segment begins.
    fn of(kept: &Kept) -> Box<Self> {
        Box::new(Self { track: kept.track.clone(), epoch: kept.at.epoch, reset_at: None })
    }
}

/// Which bound a target has reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    Items,
    Bytes,
}

/// All that is due to one target.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) target: Target,
    pub(crate) segments: VecDeque<Segment>,
    /// Segments that have left already: the number of the first that is still here.
    first: usize,
    /// Number of the segment and place in it of the pending item with each key, one for each filter that it came
    /// with. Those of segments that have left are passed over.
    keys: HashMap<String, Vec<(usize, usize)>>,
    items: usize,
    bytes: usize,
    /// What each item of the target needs beside its body: a room's name.
    prefix_bytes: usize,
    /// What the filters of its segments cost.
    filters_cost: usize,
    /// Its first item came after a quiet window, and need not wait.
    pub(super) leads: bool,
}

impl Batch {
    pub(super) fn new(target: Target) -> Self {
        let prefix_bytes = match &target {
            Target::Group(group) if group.kind == Kind::Room => group.name.len() + ROOM_MEMBER_BYTES,
            _ => 0,
        };
        Self {
            target,
            segments: VecDeque::with_capacity(1),
            first: 0,
            keys: HashMap::new(),
            items: 0,
            bytes: 0,
            prefix_bytes,
            filters_cost: 0,
            leads: false,
        }
    }

    pub(super) fn key(&self) -> Key {
        self.target.key()
    }

    /// Why it leaves before its tick, if it does.
    pub(super) fn fullness(&self) -> Option<Full> {
        if self.items >= TARGET_ITEMS_MAX {
            return Some(Full::Items);
        }
        (self.bytes >= TARGET_BYTES_MAX).then_some(Full::Bytes)
    }

    /// Bytes of its items as they will be written, about.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What it costs in memory, overhead included.
    pub(super) fn cost(&self) -> usize {
        self.bytes - self.items * self.prefix_bytes + self.items * ITEM_OVERHEAD + self.filters_cost
    }

    /// Takes what one sweep should hand over of more than this: the leading segments that fit, at least one. `None`:
    /// all of it fits, and it may leave as it is.
    pub(super) fn part(&mut self, bytes_max: usize) -> Option<Self> {
        if self.bytes <= bytes_max {
            return None;
        }
        let mut part = Self::new(self.target.clone());
        part.leads = std::mem::take(&mut self.leads);
        let fits = |part: &Self, next: &Segment| part.bytes == 0 || part.bytes + next.bytes <= bytes_max;
        while let Some(segment) = self.segments.pop_front_if(|next| fits(&part, next)) {
            part.items += segment.live();
            part.bytes += segment.bytes;
            part.filters_cost += segment.filter.cost();
            part.segments.push_back(segment);
        }
        self.first += part.segments.len();
        self.items -= part.items;
        self.bytes -= part.bytes;
        self.filters_cost -= part.filters_cost;
        if self.keys.len() > 2 * self.items {
            let first = self.first;
            self.keys.retain(|_, places| places.iter().any(|(segment, _)| *segment >= first));
        }
        Some(part)
    }

    /// The history that its items stand in, if they stand in one.
    pub(crate) fn track(&self) -> Option<&Arc<Track>> {
        self.segments.iter().find_map(|segment| segment.life.as_ref()).map(|life| &life.track)
    }

    /// Nothing is left of it.
    pub(super) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Appends an item; returns the one whose place it took.
    pub(super) fn offer(&mut self, filter: &Filter, mut item: Item) -> Option<Item> {
        let fits = self.segments.back().is_some_and(|last| {
            last.filter == *filter
                && last.life.as_ref().map(|life| life.epoch) == item.epoch()
                && last.live() < TARGET_ITEMS_MAX
                && last.bytes < TARGET_BYTES_MAX
        });
        if !fits {
            self.filters_cost += filter.cost();
            self.segments.push_back(Segment {
                filter: filter.clone(),
                life: item.kept.as_deref().map(Life::of),
                // Of ten thousand targets each has one, mostly, and memory for four would not be in the cache.
                items: Vec::with_capacity(1),
                bytes: 0,
                holes: 0,
            });
        }
        let segment = self.segments.len() - 1;
        let place = (self.first + segment, self.segments[segment].items.len());
        let old = item.key.take().and_then(|key| self.replace(key, filter, place));
        if let Some(old) = &old {
            self.items -= 1;
            self.bytes -= self.size(old);
        }
        let size = self.size(&item);
        self.items += 1;
        self.bytes += size;
        let last = &mut self.segments[segment];
        last.bytes += size;
        last.items.push(Some(item));
        old
    }

    /// Members are told that they are at a place now, after all that was offered before, and whatever comes next.
    pub(super) fn reset(&mut self, life: Life) {
        // One that nothing follows says nothing that the next does not.
        self.segments.pop_back_if(|last| last.items.is_empty());
        self.segments.push_back(Segment {
            filter: Filter::default(),
            life: Some(Box::new(life)),
            items: Vec::new(),
            bytes: 0,
            holes: 0,
        });
    }

    /// An item as it will be written, about.
    fn size(&self, item: &Item) -> usize {
        item.body.len() + self.prefix_bytes + item.kept.as_ref().map_or(0, |_| PLACE_BYTES)
    }

    /// Notes the place of the newest item with a key, and takes out the one before it. Only an item for the
    /// same connections is replaced: others would lose the older one for nothing.
    ///
    /// An item that is not noted, of too many, stays where it is: it is sent before what comes later.
    fn replace(&mut self, key: String, filter: &Filter, place: (usize, usize)) -> Option<Item> {
        let places = self.keys.entry(key).or_default();
        let (first, segments) = (self.first, &mut self.segments);
        places.retain(|(segment, _)| *segment >= first);
        let Some(known) = places.iter_mut().find(|(segment, _)| segments[*segment - first].filter == *filter)
        else {
            if places.len() < PLACES_MAX {
                places.push(place);
            }
            return None;
        };
        let (segment, at) = std::mem::replace(known, place);
        let segment = segment - first;
        let old = segments[segment].items[at].take();
        self.segments[segment].holes += 1;
        if let Some(old) = &old {
            let size = self.size(old);
            self.segments[segment].bytes -= size;
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
        let number = self.first + segment;
        for (_, at) in self.keys.values_mut().flatten().filter(|(of, _)| *of == number) {
            *at = moved[*at];
        }
    }
}

impl Segment {
    fn live(&self) -> usize {
        self.items.len() - self.holes
    }
}
