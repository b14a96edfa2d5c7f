//! How far the history of a group has come here, and which of its members may not have all that is live.
//!
//! A member that comes is *held* from before it joins: no sweep writes it anything of the group. What it missed is
//! fetched meanwhile. Once that reaches as far as the sweeps have come, it is due what comes after, and nothing of
//! what it was brought: frames that end before are passed over for it, one that contains the place is cut there.
//!
//! Sweeps of one group follow each other, so an entry is let go of when the sweep with its place has ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use common::link::history::KeptItem;
use common::link::message::Position;
use hashbrown::HashMap;
use parking_lot::Mutex;

use super::fetch::Part;
use super::order::{Answered, Asked, Asks, Coming, Fate, Order, Out};
use crate::bucket::Local;
use crate::directory::Group;
use crate::merger::{Filter, Item};
use crate::tally;

/// The history of one group of this gateway, while anybody is in it.
#[derive(Debug)]
pub(crate) struct Track {
    pub(crate) group: Arc<Group>,
    /// How many members are late: while it is none, a sweep asks no further.
    lates: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// What comes on links, in order.
    order: Order,
    /// The newest item that was given to a sweep.
    swept: Option<Position>,
    /// The newest item of a sweep that has ended.
    written: Option<Position>,
    late: HashMap<Local, Late>,
}

/// What a member that came is not due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Late {
    /// Anything: it is being brought what it missed.
    Held,
    /// What it was brought.
    Until(Position),
}

/// What of a frame a member is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    All,
    /// What comes after this offset.
    After(u64),
    Nothing,
}

/// Whether a member may be let go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settled {
    Done,
    /// Sweeps have gone further than what it was brought.
    Behind,
    /// It is of another life than was heard of since it was asked for; who asks after this moment will know.
    Stale(Instant),
}

impl State {
    /// The offset that a member must have been brought: sweeps have written it, or it never came.
    fn reached(&self, taken: Position) -> u64 {
        let swept = self.swept.filter(|swept| swept.epoch == taken.epoch);
        self.order.since().max(swept.map_or(0, |swept| swept.offset))
    }

    /// From now on a member is due what comes after a place.
    fn let_go(&mut self, local: Local, at: Position) {
        // Nothing up to there is on its way to anybody.
        if self.order.place() == Some(at) && self.order.passed == self.written {
            self.late.remove(&local);
        } else {
            self.late.insert(local, Late::Until(at));
        }
    }
}

impl Track {
    pub(super) fn new(group: Arc<Group>, waiting_bytes: Arc<AtomicUsize>) -> Self {
        let order = Order::new(waiting_bytes);
        let state = State { order, swept: None, written: None, late: HashMap::new() };
        Self { group, lates: AtomicUsize::new(0), state: Mutex::new(state) }
    }

    /// An item comes on a link: what of it and of those that waited for it is due now; and when [`Track::asks`] is to be
    /// called, if that is new.
    pub(crate) fn take(&self, coming: Coming, now: Instant, outs: &mut Vec<Out>) -> (Fate, Option<Instant>) {
        let mut state = self.state.lock();
        let epoch = coming.at.epoch;
        let fate = state.order.take(coming, now, outs);
        let wakes = state.order.wakes_for(&fate, epoch, now);
        (fate, wakes)
    }

    /// Somebody says where the history stands, or that this is not known (`None`). When [`Track::asks`] is to be called.
    pub(crate) fn hears(&self, head: Option<Position>, now: Instant) -> Option<Instant> {
        let mut state = self.state.lock();
        state.order.hears(head, now);
        state.order.wakes()
    }

    /// The time has come for which it was called: whether there is something to ask of logic. Then it is not called again
    /// before that was answered.
    pub(crate) fn asks(&self, called_for: Instant, now: Instant) -> Asks {
        self.state.lock().order.asks(called_for, now)
    }

    /// What was asked is answered, or is not; and when [`Track::asks`] is to be called next.
    pub(crate) fn answered(
        &self,
        asked: Asked,
        part: Option<&Part>,
        make: impl Fn(&KeptItem, Option<Instant>) -> (Filter, Item),
        now: Instant,
    ) -> (Answered, Option<Instant>) {
        let mut state = self.state.lock();
        let answered = match part {
            Some(part) => state.order.answered(asked, part, make, now),
            None => {
                state.order.unanswered(now);
                Answered::default()
            }
        };
        (answered, state.order.wakes())
    }

    /// Nobody is in the group any more: what waited for others is for nobody.
    pub(crate) fn forget(&self) -> Vec<tally::Part> {
        self.state.lock().order.forget()
    }

    /// The place up to which every item came, if that is known.
    pub(crate) fn place(&self) -> Option<Position> {
        self.state.lock().order.place()
    }

    /// The place that whoever comes back must be brought to, if any is known.
    pub(crate) fn reached(&self) -> Option<Position> {
        let state = self.state.lock();
        let taken = state.order.place()?;
        Some(Position { offset: state.reached(taken), ..taken })
    }

    /// The place that a member is told which comes without one: where everything stands here, or where logic says that
    /// the history stands if nothing is known here.
    pub(crate) fn begin(&self, head: Position, now: Instant) -> Position {
        self.state.lock().order.begin(head, now)
    }

    /// Holds a connection back, before it becomes a member.
    pub(crate) fn hold(self: &Arc<Self>, local: Local) -> Held {
        let mut state = self.state.lock();
        state.late.insert(local, Late::Held);
        self.count(&state);
        drop(state);
        Held { track: self.clone(), local, is_settled: false }
    }

    fn count(&self, state: &State) {
        self.lates.store(state.late.len(), Ordering::Release);
    }

    /// Items up to this one are in a sweep that has not written yet.
    pub(crate) fn is_swept(&self, at: Position) {
        let mut state = self.state.lock();
        match state.swept {
            Some(swept) if swept.epoch == at.epoch => {
                state.swept = Some(Position { offset: swept.offset.max(at.offset), ..at });
            }
            _ => state.swept = Some(at),
        }
    }

    /// A sweep of the group has ended: what members were told to leave out of it will not come again.
    pub(crate) fn sweep_ends(&self) {
        let mut state = self.state.lock();
        state.written = state.swept;
        if state.late.is_empty() {
            return;
        }
        let mut late = std::mem::take(&mut state.late);
        late.retain(|_, late| match (late, state.swept) {
            (Late::Until(at), Some(swept)) if swept.epoch == at.epoch => at.offset > swept.offset,
            (Late::Until(at), Some(swept)) => !state.order.is_older(at.epoch, swept.epoch),
            (Late::Held, _) | (Late::Until(_), None) => true,
        });
        state.late = late;
        self.count(&state);
    }

    /// What a member is due of a frame of these offsets.
    pub(crate) fn due(&self, local: Local, epoch: u64, first: u64, last: u64) -> Due {
        if self.lates.load(Ordering::Acquire) == 0 {
            return Due::All;
        }
        let state = self.state.lock();
        match state.late.get(&local) {
            None => Due::All,
            Some(Late::Held) => Due::Nothing,
            Some(Late::Until(at)) if at.epoch != epoch => {
                // Of an earlier life than it was told, nothing; of a later one, the reset and what follows.
                if state.order.is_older(at.epoch, epoch) { Due::All } else { Due::Nothing }
            }
            Some(Late::Until(at)) if at.offset < first => Due::All,
            Some(Late::Until(at)) if at.offset >= last => Due::Nothing,
            Some(Late::Until(at)) => Due::After(at.offset),
        }
    }
}

/// A member that is held back. Dropped before it is settled: it is due everything, as others are; so who gives up
/// leaves the group first.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) track: Arc<Track>,
    local: Local,
    is_settled: bool,
}

impl Held {
    /// The member was brought everything up to a place, the last of it by an answer to a question of this moment. Lets
    /// it go if sweeps have not gone further.
    pub(crate) fn settle(&mut self, at: Position, asked: Instant, now: Instant) -> Settled {
        let mut state = self.track.state.lock();
        if let Err(since) = state.order.is_news(at.epoch, asked) {
            return Settled::Stale(since);
        }
        let taken = state.order.begin(at, now);
        if taken.epoch != at.epoch {
            state.order.hears_of(at.epoch, now);
        } else if at.offset < state.reached(taken) {
            return Settled::Behind;
        }
        state.let_go(self.local, at);
        self.track.count(&state);
        self.is_settled = true;
        Settled::Done
    }

    /// Lets a member go that comes without a place, and says the one that it begins at; `None`: it is not known, unless
    /// logic says where the history stands.
    pub(crate) fn begin(&mut self, head: Option<Position>, now: Instant) -> Option<Position> {
        let mut state = self.track.state.lock();
        let at = match head {
            None => state.order.place()?,
            Some(head) => state.order.begin(head, now),
        };
        state.let_go(self.local, at);
        self.track.count(&state);
        self.is_settled = true;
        Some(at)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.is_settled {
            let mut state = self.track.state.lock();
            state.late.remove(&self.local);
            self.track.count(&state);
        }
    }
}
