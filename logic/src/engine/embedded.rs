//! The engine of one logic node: histories in its memory, gone with it.
//!
//! One lock is the order of all appends: what is appended is also put on the links under it, so gateways get the
//! items of a history in the order of their offsets. Pushes that no rule concerns never take it.
//!
//! Bounded in bytes; past the bound appends are refused, since an item that a rule promises to keep is not dropped
//! for another. A history whose items have all aged keeps its place for as long again and is then forgotten; what
//! comes after begins under another epoch.

mod history;
#[cfg(test)]
mod model;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use common::ids::Epoch;
use common::link::message::Position;
use common::names::{Kind, order};
use parking_lot::Mutex;

use super::{Append, Engine, Most, NotAppended, Page, Since, Whose};
use history::{History, Kept};

/// Bits of a name's order that choose what its first epoch is made of.
const BLANK_BITS: u32 = 10;

/// Histories that are looked at for what has aged with each append: more than one, so that old ones never gather.
const TIDY_STEP: usize = 4;

/// What a history costs beside its items and twice its name: the entry of the table, its ring, its place among the
/// due. An empty one of a user of ten letters takes 380 B, so 512 MiB are 1,400,000 of them.
const HISTORY_OVERHEAD: usize = 320;

/// The histories of one node.
#[derive(Debug)]
pub(crate) struct Embedded {
    state: Mutex<State>,
    bytes_max: usize,
}

/// How much is kept now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Holdings {
    /// Histories, those whose items have all aged included.
    pub(crate) histories: usize,
    /// Items.
    pub(crate) items: usize,
    /// Bytes, overhead included.
    pub(crate) bytes: usize,
}

#[derive(Debug)]
struct State {
    histories: [HashMap<Arc<str>, History>; Kind::ALL.len()],
    /// What the epochs are made of that histories begin with which are not there, by the order of their names. Whenever
    /// one is forgotten, the names that share its seed get other epochs: so who asks for a room in which nothing was
    /// ever pushed is told a place that continues with the first item, and nothing is remembered for it.
    seeds: Box<[u64]>,
    /// When each history is to be looked at: its oldest item ages, or it is forgotten.
    due: BTreeSet<(Instant, Kind, Arc<str>)>,
    items: usize,
    bytes: usize,
}

/// Where the seed of a name is.
fn seed_of(name: &str) -> usize {
    (order(name) >> (u64::BITS - BLANK_BITS)) as usize
}

fn overhead(name: &str) -> usize {
    HISTORY_OVERHEAD + 2 * name.len()
}

impl Embedded {
    /// No histories yet, and never more than so many bytes of them.
    pub(crate) fn new(bytes_max: usize) -> Self {
        let state = State {
            histories: Default::default(),
            seeds: (0..1 << BLANK_BITS).map(|_| Epoch::random().0).collect(),
            due: BTreeSet::new(),
            items: 0,
            bytes: 0,
        };
        Self { state: Mutex::new(state), bytes_max }
    }

    /// Lets up to `most` histories go of what has aged; whether there may be more of them.
    pub(crate) fn tidy(&self, now: Instant, most: usize) -> bool {
        self.state.lock().tidy(now, most)
    }

    /// How much is kept now.
    pub(crate) fn holdings(&self) -> Holdings {
        let state = self.state.lock();
        let histories = state.histories.iter().map(HashMap::len).sum();
        Holdings { histories, items: state.items, bytes: state.bytes }
    }

    fn append_now<T, R>(
        &self,
        appends: &[Append<'_>],
        now: Instant,
        send: impl FnOnce(&[Position]) -> Result<T, R>,
    ) -> Result<T, NotAppended<R>> {
        let mut state = self.state.lock();
        state.tidy(now, TIDY_STEP + appends.len());
        let grows = appends.iter().map(|append| state.growth(append)).fold(0_usize, usize::saturating_add);
        if state.bytes.saturating_add(grows) > self.bytes_max {
            return Err(NotAppended::Full);
        }
        let positions: Vec<_> = appends.iter().map(|append| state.push(append, now)).collect();
        match send(&positions) {
            Ok(sent) => {
                appends.iter().for_each(|append| state.trim(&append.whose, now));
                Ok(sent)
            }
            Err(refused) => {
                appends.iter().rev().for_each(|append| state.undo(&append.whose));
                Err(NotAppended::Refused(refused))
            }
        }
    }

    fn read_now(&self, whose: Whose<'_>, since: Option<Since>, most: Most, now: Instant) -> Page {
        let mut state = self.state.lock();
        state.trim(&whose, now);
        match state.histories[whose.kind as usize].get(whose.name) {
            Some(history) => history.read(since, most),
            None => {
                let epoch = state.blank(whose.kind, whose.name);
                let is_here = |since: Since| since.offset == 0 && since.epoch.is_none_or(|e| e == epoch);
                Page {
                    head: Position { epoch: epoch.0, offset: 0 },
                    continues: since.is_none_or(is_here),
                    items: Vec::new(),
                }
            }
        }
    }
}

impl Engine for Embedded {
    async fn append<T, R>(
        &self,
        appends: &[Append<'_>],
        now: Instant,
        send: impl FnOnce(&[Position]) -> Result<T, R> + Send,
    ) -> Result<T, NotAppended<R>> {
        self.append_now(appends, now, send)
    }

    async fn read(&self, whose: Whose<'_>, since: Option<Since>, most: Most, now: Instant) -> Page {
        self.read_now(whose, since, most, now)
    }
}

impl State {
    /// The epoch that a history begins with which is not there: no other name's.
    fn blank(&self, kind: Kind, name: &str) -> Epoch {
        let mixed = self.seeds[seed_of(name)] ^ order(name).rotate_left(kind as u32);
        Epoch(mixed.max(1))
    }

    /// How many bytes more there will be, about: what a full history lets go of counts for it.
    fn growth(&self, append: &Append<'_>) -> usize {
        let adds = history::cost(&append.item);
        match self.histories[append.whose.kind as usize].get(append.whose.name) {
            None => adds + overhead(append.whose.name),
            Some(history) => adds.saturating_sub(history.would_free(append.whose.keep)),
        }
    }

    fn push(&mut self, append: &Append<'_>, now: Instant) -> Position {
        let whose = &append.whose;
        if !self.histories[whose.kind as usize].contains_key(whose.name) {
            let name: Arc<str> = Arc::from(whose.name);
            let due = now + whose.keep.age;
            let epoch = self.blank(whose.kind, whose.name);
            self.histories[whose.kind as usize].insert(name.clone(), History::new(epoch, due));
            self.due.insert((due, whose.kind, name));
            self.bytes += overhead(whose.name);
        }
        let history = self.histories[whose.kind as usize].get_mut(whose.name);
        let history = history.expect("it was put there above");
        self.items += 1;
        self.bytes += history::cost(&append.item);
        history.push(Kept { at: now, item: append.item.clone() })
    }

    /// Takes the newest item of a history out again, and a history that was made for it.
    fn undo(&mut self, whose: &Whose<'_>) {
        let histories = &mut self.histories[whose.kind as usize];
        let Some(history) = histories.get_mut(whose.name) else { return };
        if let Some(undone) = history.undo() {
            self.items -= 1;
            self.bytes -= history::cost(&undone.item);
        }
        if history.is_blank() {
            self.remove(whose.kind, whose.name);
        }
    }

    fn remove(&mut self, kind: Kind, name: &str) {
        if let Some((name, history)) = self.histories[kind as usize].remove_entry(name) {
            self.bytes -= overhead(&name);
            self.due.remove(&(history.due, kind, name));
        }
    }

    fn trim(&mut self, whose: &Whose<'_>, now: Instant) {
        if let Some(history) = self.histories[whose.kind as usize].get_mut(whose.name) {
            let (items, bytes) = history.trim(whose.keep, now);
            self.items -= items;
            self.bytes -= bytes;
        }
    }

    fn tidy(&mut self, now: Instant, most: usize) -> bool {
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
}
