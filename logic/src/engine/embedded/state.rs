//! The histories themselves, and how they begin, age and are forgotten. Pure: no lock, and time is an argument.

pub(in crate::engine) mod settled;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use common::ids::Epoch;
use common::link::message::Position;
use common::names::{Kind, order};

use super::history::{self, History, Kept};
use crate::engine::{Append, Changes, Holdings, Most, Page, Since, Whose};

/// Bits of a name's order that choose what its first epoch is made of.
const BLANK_BITS: u32 = 10;

/// How many there are of that.
pub(in crate::engine) const SEEDS: usize = 1 << BLANK_BITS;

/// What a history costs beside its items and twice its name: the entry of the table, its ring, its places among the
/// due and the changed. An empty one of a user of ten letters takes 440 B, so 512 MiB are 1,200,000 of them.
const HISTORY_OVERHEAD: usize = 380;

/// All histories of a process.
#[derive(Debug)]
pub(in crate::engine) struct State {
    histories: [HashMap<Arc<str>, History>; Kind::ALL.len()],
    /// What the epochs are made of that histories begin with which are not there, by the order of their names. Whenever
    /// one is forgotten, the names that share its seed get other epochs: so who asks for a room in which nothing was
    /// ever pushed is told a place that continues with the first item, and nothing is remembered for it.
    seeds: Box<[u64]>,
    /// When each history is to be looked at: its oldest item ages, or it is forgotten.
    due: BTreeSet<(Instant, Kind, Arc<str>)>,
    /// By the number of the last append to each.
    changed: BTreeMap<u64, (Kind, Arc<str>)>,
    /// Appends so far.
    pub(in crate::engine) appends: u64,
    items: usize,
    pub(in crate::engine) bytes: usize,
}

/// Where the seed of a name is.
pub(in crate::engine) fn seed_of(name: &str) -> usize {
    (order(name) >> (u64::BITS - BLANK_BITS)) as usize
}

fn overhead(name: &str) -> usize {
    HISTORY_OVERHEAD + 2 * name.len()
}

impl State {
    /// No histories, and what their epochs will be made of.
    pub(in crate::engine) fn new(seeds: Box<[u64]>) -> Self {
        Self {
            histories: Default::default(),
            seeds,
            due: BTreeSet::new(),
            changed: BTreeMap::new(),
            appends: 0,
            items: 0,
            bytes: 0,
        }
    }

    /// What epochs are made of, drawn anew.
    pub(in crate::engine) fn draw() -> Box<[u64]> {
        (0..SEEDS).map(|_| Epoch::random().0).collect()
    }

    /// The epoch that a history begins with which is not there: no other name's.
    fn blank(&self, kind: Kind, name: &str) -> Epoch {
        let mixed = self.seeds[seed_of(name)] ^ order(name).rotate_left(kind as u32);
        Epoch(mixed.max(1))
    }

    /// How many bytes more there will be, about: what a full history lets go of counts for it.
    pub(in crate::engine) fn growth(&self, append: &Append<'_>) -> usize {
        let adds = history::cost(&append.item);
        match self.histories[append.whose.kind as usize].get(append.whose.name) {
            None => adds + overhead(append.whose.name),
            Some(history) => adds.saturating_sub(history.would_free(append.whose.keep)),
        }
    }

    pub(in crate::engine) fn push(&mut self, append: &Append<'_>, now: Instant) -> Position {
        let whose = &append.whose;
        if !self.histories[whose.kind as usize].contains_key(whose.name) {
            let name: Arc<str> = Arc::from(whose.name);
            let due = now + whose.keep.age;
            let epoch = self.blank(whose.kind, whose.name);
            self.histories[whose.kind as usize].insert(name.clone(), History::new(epoch, due));
            self.due.insert((due, whose.kind, name));
            self.bytes += overhead(whose.name);
        }
        let histories = &mut self.histories[whose.kind as usize];
        let name = histories.get_key_value(whose.name).expect("it was put there above").0.clone();
        let history = histories.get_mut(&name).expect("it was put there above");
        self.appends += 1;
        self.changed.remove(&history.changed);
        history.changed = self.appends;
        self.changed.insert(self.appends, (whose.kind, name));
        self.items += 1;
        self.bytes += history::cost(&append.item);
        history.push(Kept { at: now, item: append.item.clone() })
    }

    fn remove(&mut self, kind: Kind, name: &str) {
        if let Some((name, history)) = self.histories[kind as usize].remove_entry(name) {
            self.bytes -= overhead(&name);
            self.changed.remove(&history.changed);
            self.due.remove(&(history.due, kind, name));
        }
    }

    pub(in crate::engine) fn trim(&mut self, whose: &Whose<'_>, now: Instant) {
        if let Some(history) = self.histories[whose.kind as usize].get_mut(whose.name) {
            let (items, bytes) = history.trim(whose.keep, now);
            self.items -= items;
            self.bytes -= bytes;
        }
    }

    pub(in crate::engine) fn tidy(&mut self, now: Instant, most: usize) -> bool {
        for _ in 0..most {
            if self.due.first().is_none_or(|(due, ..)| *due > now) {
                return false;
            }
            let Some((_, kind, name)) = self.due.pop_first() else { return false };
            let Some(history) = self.histories[kind as usize].get_mut(&name) else { continue };
            let (items, bytes) = history.age(now);
            self.items -= items;
            self.bytes -= bytes;
            match history.next_due(now) {
                Some(due) => {
                    history.due = due;
                    self.due.insert((due, kind, name));
                }
                None => {
                    // Whatever comes under this name begins under another epoch, and so does all that shares its first.
                    self.seeds[seed_of(&name)] = Epoch::random().0;
                    self.remove(kind, &name);
                }
            }
        }
        true
    }

    /// Reads what came after a place, or everything.
    pub(in crate::engine) fn read(
        &mut self,
        whose: &Whose<'_>,
        since: Option<Since>,
        most: Most,
        now: Instant,
    ) -> Page {
        self.trim(whose, now);
        match self.histories[whose.kind as usize].get(whose.name) {
            Some(history) => history.read(since, most),
            None => {
                let epoch = self.blank(whose.kind, whose.name);
                let is_here = |since: Since| since.offset == 0 && since.epoch.is_none_or(|e| e == epoch);
                Page {
                    head: Position { epoch: epoch.0, offset: 0 },
                    continues: since.is_none_or(is_here),
                    items: Vec::new(),
                }
            }
        }
    }

    /// Where the histories stand that were appended to after a cursor.
    pub(in crate::engine) fn changed(&self, after: u64, most: usize) -> Changes {
        let mut changed = self.changed.range(after.saturating_add(1)..);
        let mut changes = Changes { cursor: vec![after], ..Changes::default() };
        for (seq, (kind, name)) in changed.by_ref().take(most) {
            changes.cursor[0] = *seq;
            if let Some(history) = self.histories[*kind as usize].get(name) {
                changes.heads.push((*kind, name.clone(), history.head()));
            }
        }
        changes.more = changed.next().is_some();
        changes
    }

    /// How much is kept.
    pub(in crate::engine) fn holdings(&self) -> Holdings {
        let histories = self.histories.iter().map(HashMap::len).sum();
        Holdings { histories, items: self.items, bytes: self.bytes }
    }
}
