//! How far the history of a group has come here, and which of its members may not have all that is live.
//!
//! A member that resumes is *held* from before it joins: no sweep writes it anything of the group. What it missed is
//! fetched meanwhile. Once that reaches as far as the sweeps have come, it is due what comes after, and nothing of
//! what it was brought: frames that end before are passed over for it, one that contains the place is cut there.
//!
//! Sweeps of one group follow each other, so an entry is let go of by the second sweep after its place.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::link::message::Position;
use hashbrown::HashMap;
use parking_lot::Mutex;

use crate::bucket::Local;
use crate::directory::Group;

/// Tracks are spread over so many locks: 64 × 56 B = 3.6 KB.
const SHARDS: usize = 64;

/// Lives that are remembered of a history: logic has restarted so often while one frame was on its way.
const LIVES_MAX: usize = 8;

/// Fewer tracks than this in a shard are not worth looking through for those whose group has gone.
const CLEAN_MIN: usize = 64;

/// The history of one group of this gateway, while anybody is in it.
#[derive(Debug)]
pub(crate) struct Track {
    pub(crate) group: Arc<Group>,
    /// How many members are late: while it is none, a sweep asks no further.
    lates: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The newest item that came on a link, or the place that the first member was told.
    taken: Option<Position>,
    /// Items have been lost on their way since the last reset.
    owes_reset: bool,
    /// The newest item that was given to a sweep.
    swept: Option<Position>,
    /// The lives that were heard of, in that order: what is still on its way of one is not for who was told a later.
    lives: Vec<u64>,
    late: HashMap<Local, Late>,
}

/// What a member that resumed is not due.
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
    /// Sweeps have seen another life of the history: older or newer, who asks again will know.
    OtherLife,
}

impl State {
    fn hears_of(&mut self, life: u64) {
        if !self.lives.contains(&life) {
            if self.lives.len() == LIVES_MAX {
                self.lives.remove(0);
            }
            self.lives.push(life);
        }
    }

    /// Whether a life came before another. One that is forgotten is old.
    fn is_older(&self, life: u64, other: u64) -> bool {
        let place = |of| self.lives.iter().position(|life| *life == of);
        place(life) < place(other)
    }
}

impl Track {
    fn new(group: Arc<Group>) -> Self {
        Self { group, lates: AtomicUsize::new(0), state: Mutex::default() }
    }

    /// An item comes on a link. If something before it was lost, or another life has begun, members are owed a reset.
    pub(crate) fn take(&self, at: Position) {
        let mut state = self.state.lock();
        state.hears_of(at.epoch);
        match state.taken {
            None => state.taken = Some(at),
            Some(taken) if taken.epoch != at.epoch => {
                state.owes_reset = true;
                state.taken = Some(at);
            }
            // What was on its way when the first member was told its place changes nothing.
            Some(taken) if at.offset > taken.offset => {
                state.owes_reset |= at.offset > taken.offset + 1;
                state.taken = Some(at);
            }
            Some(_) => {}
        }
    }

    /// Whether members are owed a reset; from now on they are not.
    pub(crate) fn pays_reset(&self) -> bool {
        std::mem::take(&mut self.state.lock().owes_reset)
    }

    /// The place behind which every item will come on a link, if that is known.
    pub(crate) fn place(&self) -> Option<Position> {
        self.state.lock().taken
    }

    /// What lies between two places has been fetched: whether nothing else has come meanwhile.
    pub(crate) fn advances(&self, from: Position, to: Position) -> bool {
        let mut state = self.state.lock();
        let is_here = state.taken == Some(from);
        if is_here {
            state.taken = Some(to);
        }
        is_here
    }

    /// Notes where the history stands, for the first member, and says the place that it is told. `None`: items of
    /// another life have come, and `is_sure` does not say that this one was asked for after that.
    pub(crate) fn begin(&self, head: Position, is_sure: bool) -> Option<Position> {
        let mut state = self.state.lock();
        state.hears_of(head.epoch);
        match state.taken {
            None => {
                state.taken = Some(head);
                Some(head)
            }
            Some(taken) if taken.epoch == head.epoch => {
                Some(Position { offset: head.offset.max(taken.offset), ..head })
            }
            Some(_) => is_sure.then_some(head),
        }
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

    /// A sweep of the group begins: those before it have ended, and what they were told to leave out will not come again.
    pub(crate) fn sweep_begins(&self) {
        let mut state = self.state.lock();
        if state.late.is_empty() {
            return;
        }
        let mut late = std::mem::take(&mut state.late);
        late.retain(|_, late| match (late, state.swept) {
            (Late::Until(at), Some(swept)) if swept.epoch == at.epoch => at.offset > swept.offset,
            (Late::Until(at), Some(swept)) => !state.is_older(at.epoch, swept.epoch),
            (Late::Held, _) | (Late::Until(_), None) => true,
        });
        state.late = late;
        self.count(&state);
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
                if state.is_older(at.epoch, epoch) { Due::All } else { Due::Nothing }
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
    /// The member was brought everything up to a place. Lets it go if sweeps have not gone further; `is_sure`: the
    /// place was asked for after it was known that sweeps have seen another life.
    pub(crate) fn settle(&mut self, at: Position, is_sure: bool) -> Settled {
        let mut state = self.track.state.lock();
        match state.swept {
            Some(swept) if swept.epoch == at.epoch && swept.offset > at.offset => return Settled::Behind,
            Some(swept) if swept.epoch != at.epoch && !is_sure => return Settled::OtherLife,
            _ => {}
        }
        state.late.insert(self.local, Late::Until(at));
        state.hears_of(at.epoch);
        state.taken.get_or_insert(at);
        self.is_settled = true;
        Settled::Done
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

/// The tracks of all groups whose history is kept. About 270 B each.
#[derive(Debug)]
pub(crate) struct Tracks(Box<[Mutex<Shard>]>);

#[derive(Debug)]
struct Shard {
    /// By the address of the group, which its track holds.
    tracks: HashMap<usize, Arc<Track>>,
    /// At so many, those whose group has gone are looked for.
    clean_at: usize,
}

impl Default for Tracks {
    fn default() -> Self {
        let shard = || Mutex::new(Shard { tracks: HashMap::new(), clean_at: CLEAN_MIN });
        Self((0..SHARDS).map(|_| shard()).collect())
    }
}

impl Tracks {
    /// The track of a group, made if need be.
    pub(crate) fn of(&self, group: &Arc<Group>) -> Arc<Track> {
        let address = Arc::as_ptr(group).addr();
        // Groups lie on multiples of what the allocator aligns by.
        let mut shard = self.0[address / align_of::<Group>() / 8 % SHARDS].lock();
        if shard.tracks.len() >= shard.clean_at {
            let is_used = |track: &Arc<Track>| Arc::strong_count(track) > 1 || track.group.buckets() != 0;
            shard.tracks.retain(|_, track| is_used(track));
            shard.clean_at = (2 * shard.tracks.len()).max(CLEAN_MIN);
        }
        shard.tracks.entry(address).or_insert_with(|| Arc::new(Track::new(group.clone()))).clone()
    }

    /// Those of groups that are still there, a shard at a time.
    pub(crate) fn all(&self) -> impl Iterator<Item = Vec<Arc<Track>>> {
        self.0.iter().map(|shard| shard.lock().tracks.values().cloned().collect())
    }
}
