//! Where histories stand, on its way to one gateway: one place a name, the newest; bounded.
//!
//! The feed puts what was appended to, the link's task takes it. A gateway hears all that the store knows once it has
//! said what it holds, and from then on what is new.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use common::link::history::{Head, Heads};
use common::link::message::Position;
use common::names::Kind;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Names of one message. With names of 256 B they are 150 KiB, a tenth of a link's window.
pub(crate) const HEADS_MAX: usize = 500;

/// Names that wait for one link; past it the gateway is told to ask for all of its own. Memory usage will be
/// (24 + 16 + 24 + 24) * 32,768 = 3 MB.
const WAITING_MAX: usize = 32_768;

/// What waits for one link, from its hello to its end.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    state: Mutex<State>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct State {
    stage: Stage,
    places: HashMap<(Kind, Arc<str>), Position>,
    order: VecDeque<(Kind, Arc<str>)>,
    missed: bool,
}

/// What a link is to be told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Nothing: it is not known yet what the gateway holds.
    #[default]
    Closed,
    /// All that the store knows.
    Fresh,
    /// What is new.
    Open,
}

impl Waiting {
    /// The gateway has said what it holds. Whether that is news.
    pub(crate) fn begin(&self) -> bool {
        let mut state = self.state.lock();
        let is_news = state.stage == Stage::Closed;
        if is_news {
            state.stage = Stage::Fresh;
        }
        is_news
    }

    /// What it is to be told.
    pub(crate) fn stage(&self) -> Stage {
        self.state.lock().stage
    }

    /// It was told all that the store knows.
    pub(crate) fn open(&self) {
        self.state.lock().stage = Stage::Open;
    }

    /// Puts the place of a name.
    pub(crate) fn put(&self, kind: Kind, name: &Arc<str>, at: Position) {
        let mut state = self.state.lock();
        let state = &mut *state;
        match state.places.entry((kind, name.clone())) {
            Entry::Occupied(mut known) => _ = known.insert(at),
            Entry::Vacant(new) => {
                state.order.push_back(new.key().clone());
                new.insert(at);
            }
        }
        if state.order.len() > WAITING_MAX {
            state.places.clear();
            state.order.clear();
            state.missed = true;
        }
    }

    /// Nobody can say any more what was appended to.
    pub(crate) fn missed(&self) {
        self.state.lock().missed = true;
    }

    /// Wakes the link's task, after some were put.
    pub(crate) fn wake(&self) {
        self.filled.notify_one();
    }

    /// Waits for something to be said, and takes as much as fits into a message. Cancel safe.
    pub(crate) async fn next(&self) -> Heads {
        loop {
            if let Some(heads) = self.take() {
                return heads;
            }
            self.filled.notified().await;
        }
    }

    fn take(&self) -> Option<Heads> {
        let mut state = self.state.lock();
        let state = &mut *state;
        let count = state.order.len().min(HEADS_MAX);
        let take = |name: (Kind, Arc<str>)| {
            let at = state.places.remove(&name)?;
            Some(Head { kind: name.0 as i32, name: name.1.to_string(), at: Some(at) })
        };
        let heads: Vec<_> = state.order.drain(..count).filter_map(take).collect();
        let missed = std::mem::take(&mut state.missed);
        if state.order.is_empty() {
            // What was long once does not stay so.
            (state.places, state.order) = Default::default();
        }
        (missed || !heads.is_empty()).then_some(Heads { heads, missed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: u64) -> Position {
        Position { epoch: 1, offset }
    }

    #[tokio::test]
    async fn a_name_waits_once_and_messages_are_bounded() {
        let waiting = Waiting::default();
        let names: Vec<Arc<str>> = (0..HEADS_MAX + 1).map(|n| Arc::from(n.to_string())).collect();
        for offset in 1..=2 {
            names.iter().for_each(|name| waiting.put(Kind::Room, name, at(offset)));
        }
        let first = waiting.next().await;
        assert_eq!(first.heads.len(), HEADS_MAX);
        assert!(first.heads.iter().all(|head| head.at == Some(at(2))) && !first.missed);
        assert_eq!(waiting.next().await.heads.len(), 1);
        assert!(waiting.take().is_none());
    }

    #[test]
    fn too_many_names_are_told_as_missed() {
        let waiting = Waiting::default();
        for name in 0..=WAITING_MAX {
            waiting.put(Kind::User, &Arc::from(name.to_string()), at(1));
        }
        waiting.put(Kind::User, &Arc::from("last"), at(1));
        let said = waiting.take().unwrap();
        assert!(said.missed && said.heads.len() == 1, "{said:?}");
        assert!(waiting.take().is_none());
    }

    #[test]
    fn a_link_hears_everything_once_and_then_what_is_new() {
        let waiting = Waiting::default();
        assert_eq!(waiting.stage(), Stage::Closed);
        assert!(waiting.begin() && !waiting.begin());
        assert_eq!(waiting.stage(), Stage::Fresh);
        waiting.open();
        assert!(!waiting.begin());
        assert_eq!(waiting.stage(), Stage::Open);
    }
}
