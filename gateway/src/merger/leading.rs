//! Leading windows: who may go at once. Pure, as the merger is.
//!
//! The first item for a target that was quiet for a window leaves at once; what follows waits for the tick, which
//! then goes on until all windows have been quiet. Two things keep this from costing more than merging:
//! sweeps of first items are paced, so that the first items of a thousand rooms in a second gather into some
//! sweeps, and a gateway that is behind lets nothing lead until a window's sweep is quick again.

use std::time::{Duration, Instant};

use hashbrown::HashMap;

use super::{Key, Target};

/// Targets remembered as busy: 65,536 × (16 B key + 16 B until + 16 B target + 1) ≈ 3.2 MB, and the groups that
/// they hold for at most two windows. While it is full, everybody counts as busy: plain windows.
const BUSY_MAX: usize = 65_536;

/// At most so many sweeps of first items in a window: with 1 s, one each 10 ms.
const SWEEPS_PER_WINDOW: u32 = 100;

/// After a sweep, no first item leaves for so many times as long as it took: all of them together take at most
/// a fifth of the lane's time.
const REST: u32 = 4;

/// Who was busy lately, and how the lane is doing.
#[derive(Debug)]
pub(super) struct Leading {
    window: Duration,
    /// Until when each target counts as busy. The target is held so that its key names no other.
    busy: HashMap<Key, (Instant, Target)>,
    /// No first item leaves before this.
    from: Option<Instant>,
    behind: bool,
}

impl Leading {
    pub(super) fn new(window: Duration) -> Self {
        Self { window, busy: HashMap::new(), from: None, behind: false }
    }

    /// When the first item of a target may leave, if it need not wait for its tick.
    pub(super) fn may_lead(&self, now: Instant, key: Key) -> Option<Instant> {
        let is_busy = self.busy.get(&key).is_some_and(|(until, _)| now < *until);
        let may = !self.behind && !is_busy && self.busy.len() < BUSY_MAX;
        may.then(|| self.from.map_or(now, |from| from.max(now)))
    }

    /// Something for the target has left.
    pub(super) fn left(&mut self, now: Instant, target: &Target) {
        let until = now + self.window;
        let key = target.key();
        if let Some((known, _)) = self.busy.get_mut(&key) {
            *known = until;
        } else if self.busy.len() < BUSY_MAX {
            self.busy.insert(key, (until, target.clone()));
        }
    }

    /// Forgets who has been quiet for a window.
    pub(super) fn forget(&mut self, now: Instant) {
        self.busy.retain(|_, (until, _)| now < *until);
        if self.busy.is_empty() {
            self.busy.shrink_to_fit();
        }
    }

    /// Nobody is remembered as busy.
    pub(super) fn is_idle(&self) -> bool {
        self.busy.is_empty()
    }

    /// A sweep has ended; `ticked`: it was a window's.
    pub(super) fn swept(&mut self, began: Instant, ended: Instant, ticked: bool) {
        let took = ended.saturating_duration_since(began);
        self.from = Some((began + self.window / SWEEPS_PER_WINDOW).max(ended + took * REST));
        if took >= self.window {
            self.behind = true;
        } else if ticked {
            self.behind = false;
        }
    }
}
