//! The histories for a store that writes before it shows: what is to change is asked first, written, and then settled here.

use std::time::{Duration, Instant};

use super::{Arc, Epoch, History, Kept, Kind, Position, State, history, overhead, seed_of};
use crate::engine::Item;

/// A history that has aged.
#[derive(Debug)]
pub(in crate::engine) struct Aged {
    pub(in crate::engine) kind: Kind,
    pub(in crate::engine) name: Arc<str>,
    /// The first item that is kept on; `None`: the history is to be forgotten.
    pub(in crate::engine) keeps_from: Option<u64>,
}

/// A history as it was written.
#[derive(Debug)]
pub(in crate::engine) struct Written {
    pub(in crate::engine) epoch: Epoch,
    pub(in crate::engine) head: u64,
    /// For how long items are kept.
    pub(in crate::engine) age: Duration,
    /// When the newest came.
    pub(in crate::engine) last_at: Instant,
    /// The newest, in order, without a gap before the head.
    pub(in crate::engine) items: Vec<Arc<Item>>,
}

impl State {
    /// Where a history stands or would begin, and the offset of its oldest item.
    pub(in crate::engine) fn stands(&self, kind: Kind, name: &str) -> (Position, u64) {
        match self.histories[kind as usize].get(name) {
            Some(history) => (history.head(), history.first()),
            None => (Position { epoch: self.blank(kind, name).0, offset: 0 }, 1),
        }
    }

    /// Histories that are to be looked at by now, at most so many, and what is to become of them.
    pub(in crate::engine) fn aged(&self, now: Instant, most: usize) -> Vec<Aged> {
        let due = self.due.iter().take_while(|(due, ..)| *due <= now).take(most);
        let of = |(_, kind, name): &(Instant, Kind, Arc<str>)| {
            let history = self.histories[*kind as usize].get(name)?;
            Some(Aged { kind: *kind, name: name.clone(), keeps_from: history.keeps_from(now) })
        };
        due.filter_map(of).collect()
    }

    /// What was to become of histories was written; `seeds` of the forgotten ones.
    pub(in crate::engine) fn settle(&mut self, aged: &[Aged], seeds: &[(usize, u64)], now: Instant) {
        for Aged { kind, name, keeps_from } in aged {
            if keeps_from.is_none() {
                self.trim_all(*kind, name);
                self.remove(*kind, name);
                continue;
            }
            let Some(history) = self.histories[*kind as usize].get_mut(name) else { continue };
            let (items, bytes) = history.age(now);
            self.items -= items;
            self.bytes -= bytes;
            self.due.remove(&(history.due, *kind, name.clone()));
            // What was to be kept a moment ago is not forgotten before that is written.
            history.due = history.next_due(now).unwrap_or(now).max(now + Duration::from_millis(1));
            self.due.insert((history.due, *kind, name.clone()));
        }
        for (place, seed) in seeds {
            self.seeds[*place] = *seed;
        }
    }

    fn trim_all(&mut self, kind: Kind, name: &str) {
        if let Some(history) = self.histories[kind as usize].get_mut(name) {
            let (items, bytes) = history.clear();
            self.items -= items;
            self.bytes -= bytes;
        }
    }

    /// Another seed for the epochs of names that share one with this, and where it is.
    pub(in crate::engine) fn next_seed(name: &str) -> (usize, u64) {
        (seed_of(name), Epoch::random().0)
    }

    /// Puts a history back that was written. It counts as appended to.
    pub(in crate::engine) fn restore(&mut self, kind: Kind, name: Arc<str>, written: Written, now: Instant) {
        let Written { epoch, head, age, last_at, items } = written;
        self.items += items.len();
        self.bytes += overhead(&name) + items.iter().map(|item| history::cost(item)).sum::<usize>();
        let items = items.into_iter().map(|item| Kept { at: item.at.mono, item }).collect();
        let mut history = History::restored(Position { epoch: epoch.0, offset: head }, items, age, last_at);
        history.due = history.next_due(now).unwrap_or(now);
        self.appends += 1;
        history.changed = self.appends;
        self.changed.insert(self.appends, (kind, name.clone()));
        self.due.insert((history.due, kind, name.clone()));
        self.histories[kind as usize].insert(name, history);
    }
}
