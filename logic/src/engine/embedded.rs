//! The engine of one logic node: histories in its memory, gone with it.
//!
//! One lock is the order of all appends: what is appended is also put on the links under it, so gateways get the
//! items of a history in the order of their offsets. Pushes that no rule concerns never take it.
//!
//! Bounded in bytes; past the bound appends are refused, since an item that a rule promises to keep is not dropped
//! for another. A history whose items have all aged keeps its place for as long again and is then forgotten; what
//! comes after begins under another epoch.

pub(super) mod history;
#[cfg(test)]
mod model;
pub(super) mod state;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;
use common::link::message::Mark;
use parking_lot::Mutex;

use super::{
    Append, Appended, Away, Changes, Claim, Engine, Holdings, Moment, Most, NotAppended, Once, Page, Placed,
    Since, Whose,
};
use state::State;

/// Histories that are looked at for what has aged with each append: more than one, so that old ones never gather.
const TIDY_STEP: usize = 4;

/// Histories that are looked at under one lock for what has aged: 0.2 ms.
const TIDY_TURN: usize = 512;

/// The histories of one node.
#[derive(Debug)]
pub(crate) struct Embedded {
    state: Mutex<State>,
    bytes_max: Arc<AtomicUsize>,
    /// Its histories live and die with it.
    identity: u64,
    fence: u64,
}

impl Embedded {
    /// No histories yet, and never more than so many bytes of them.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            state: Mutex::new(State::new(State::draw())),
            bytes_max: Arc::new(bytes_max.into()),
            identity: fastrand::u64(1..),
            fence: Moment::now().unix_ms,
        }
    }

    /// How many bytes it may take, to be changed.
    pub(crate) fn bytes_max(&self) -> Arc<AtomicUsize> {
        self.bytes_max.clone()
    }

    /// When it was made: later runs have more.
    pub(crate) fn fence(&self) -> u64 {
        self.fence
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
        if state.bytes.saturating_add(grows) > self.bytes_max.load(Ordering::Relaxed) {
            return Err(NotAppended::Full);
        }
        let positions: Vec<_> = appends.iter().map(|append| state.push(append, now)).collect();
        appends.iter().for_each(|append| state.trim(&append.whose, now));
        // Under the lock: links get the items of a history in the order of their offsets.
        Ok(send(Placed { positions: &positions, marks: &[] }))
    }

    fn changed_now(&self, after: u64, most: usize) -> Changes {
        self.state.lock().changed(after, most)
    }

    fn read_now(&self, whose: Whose<'_>, since: Option<Since>, most: Most, now: Instant) -> Page {
        self.state.lock().read(&whose, since, most, now)
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
        self.state.lock().holdings()
    }
}
