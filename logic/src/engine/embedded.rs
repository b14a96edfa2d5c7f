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

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use common::ids::Epoch;
use common::link::message::{Mark, Position};
use common::names::{Kind, order};
use parking_lot::Mutex;

use super::{
    Append, Appended, Away, Changes, Claim, Engine, Holdings, Moment, Most, NotAppended, Once, Page, Placed,
    Since, Whose,
};
use history::{History, Kept};

/// Bits of a name's order that choose what its first epoch is made of.
const BLANK_BITS: u32 = 10;

/// Histories that are looked at for what has aged with each append: more than one, so that old ones never gather.
const TIDY_STEP: usize = 4;

/// Histories that are looked at under one lock for what has aged: 0.2 ms.
const TIDY_TURN: usize = 512;

/// What a history costs beside its items and twice its name: the entry of the table, its ring, its places among the
/// due and the changed. An empty one of a user of ten letters takes 440 B, so 512 MiB are 1,200,000 of them.
const HISTORY_OVERHEAD: usize = 380;

/// The histories of one node.
#[derive(Debug)]
pub(crate) struct Embedded {
    state: Mutex<State>,
    bytes_max: usize,
    /// Its histories live and die with it.
    identity: u64,
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
    /// By the number of the last append to each.
    changed: BTreeMap<u64, (Kind, Arc<str>)>,
    /// Appends so far.
    appends: u64,
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
            changed: BTreeMap::new(),
            appends: 0,
            items: 0,
            bytes: 0,
        };
        Self { state: Mutex::new(state), bytes_max, identity: fastrand::u64(1..) }
    }

    /// Lets up to `most` histories go of what has aged; whether there may be more of them.
    fn tidy_now(&self, now: Instant, most: usize) -> bool {
        self.state.lock().tidy(now, most)
    }

    fn append_now<T>(
        &self,
        appends: &[Append<'_>],
        now: Instant,
        send: impl FnOnce(Placed<'_>) -> T,
    ) -> Result<T, NotAppended> {
        let mut state = self.state.lock();
        state.tidy(now, TIDY_STEP + appends.len());
        let grows = appends.iter().map(|append| state.growth(append)).fold(0_usize, usize::saturating_add);
        if state.bytes.saturating_add(grows) > self.bytes_max {
            return Err(NotAppended::Full);
        }
        let positions: Vec<_> = appends.iter().map(|append| state.push(append, now)).collect();
        appends.iter().for_each(|append| state.trim(&append.whose, now));
        // Under the lock: links get the items of a history in the order of their offsets.
        Ok(send(Placed { positions: &positions, marks: &[] }))
    }

    fn changed_now(&self, after: u64, most: usize) -> Changes {
        let state = self.state.lock();
        let mut changed = state.changed.range(after.saturating_add(1)..);
        let mut changes = Changes { cursor: vec![after], ..Changes::default() };
        for (seq, (kind, name)) in changed.by_ref().take(most) {
            changes.cursor[0] = *seq;
            if let Some(history) = state.histories[*kind as usize].get(name) {
                changes.heads.push((*kind, name.clone(), history.head()));
            }
        }
        changes.more = changed.next().is_some();
        changes
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
    async fn append<T: Send>(
        &self,
        appends: &[Append<'_>],
        _once: Option<Once<'_>>,
        now: Moment,
        send: impl FnOnce(Placed<'_>) -> T + Send,
    ) -> Result<Appended<T>, NotAppended> {
        self.append_now(appends, now.mono, send).map(Appended::Now)
    }

    async fn read(
        &self,
        whose: Whose<'_>,
        since: Option<Since>,
        most: Most,
        now: Moment,
    ) -> Result<Page, Away> {
        Ok(self.read_now(whose, since, most, now.mono))
    }

    async fn changed(&self, after: &[u64], most: usize) -> Result<Changes, Away> {
        Ok(self.changed_now(after.first().copied().unwrap_or(0), most))
    }

    async fn claim(&self, _once: Once<'_>) -> Result<Claim, Away> {
        Ok(Claim::New)
    }

    async fn keep_answer(&self, _once: Once<'_>, _answer: Bytes) {}

    async fn answer(&self, _once: Once<'_>) -> Option<Bytes> {
        None
    }

    fn witness(&self, _marks: &[Mark]) {}

    fn identity(&self) -> u64 {
        self.identity
    }

    fn health(&self) -> Result<(), String> {
        Ok(())
    }

    async fn tidy(&self, now: Moment) {
        while self.tidy_now(now.mono, TIDY_TURN) {
            tokio::task::yield_now().await;
        }
    }

    fn holdings(&self) -> Holdings {
        let state = self.state.lock();
        let histories = state.histories.iter().map(HashMap::len).sum();
        Holdings { histories, items: state.items, bytes: state.bytes }
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
