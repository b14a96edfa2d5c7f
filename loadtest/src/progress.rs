//! Where a run is, for those who watch it while it goes.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::watch;

use crate::account::Watched;
use crate::report::format::count;
use crate::timeline::Interval;

/// The parts of a run, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// Limits and targets are checked.
    Checking,
    /// Clients connect.
    Connecting,
    /// Items are pushed.
    Publishing,
    /// All is pushed; what is under way arrives.
    Draining,
    /// Connections are closed and the ledger is read.
    Judging,
}

/// Counts that grow while a run goes, and its phase.
#[derive(Debug)]
pub struct Progress {
    phase: watch::Sender<Phase>,
    pub(crate) clients: AtomicU64,
    pub(crate) connected: AtomicU64,
    pub(crate) sent: AtomicU64,
    pub(crate) accepted: AtomicU64,
    pub(crate) due: AtomicU64,
    pub(crate) received: AtomicU64,
    begun: Instant,
    /// What came since the last look, and how many pushes were accepted then.
    interval: Mutex<(Interval, u64)>,
    /// Of the last interval, for people.
    rates: Mutex<String>,
    /// Processes that have joined the cluster and are not accounted for yet.
    newcomers: Mutex<Vec<Watched>>,
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            phase: watch::Sender::new(Phase::Checking),
            clients: AtomicU64::new(0),
            connected: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            due: AtomicU64::new(0),
            received: AtomicU64::new(0),
            begun: Instant::now(),
            interval: Mutex::default(),
            rates: Mutex::default(),
            newcomers: Mutex::default(),
        }
    }
}

impl Progress {
    /// The phase now.
    #[must_use]
    pub fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Waits until the run has come to a phase or past it.
    pub async fn reached(&self, phase: Phase) {
        let mut watch = self.phase.subscribe();
        // The sender is part of self and cannot be gone.
        _ = watch.wait_for(|now| *now >= phase).await;
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    /// A process has joined the cluster: it is accounted for from the next look on.
    pub(crate) fn joins(&self, newcomer: Watched) {
        self.newcomers.lock().push(newcomer);
    }

    /// Those that have joined since the last call.
    pub(crate) fn take_newcomers(&self) -> Vec<Watched> {
        std::mem::take(&mut self.newcomers.lock())
    }

    /// Clients that are connected and greeted now.
    #[must_use]
    pub fn connected(&self) -> u64 {
        self.connected.load(Relaxed)
    }

    /// Pushes that were accepted with 202.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Relaxed)
    }

    /// Clients that there are to be.
    #[must_use]
    pub fn clients(&self) -> u64 {
        self.clients.load(Relaxed)
    }

    /// Items that clients should have received when all that was accepted has arrived.
    #[must_use]
    pub fn due(&self) -> u64 {
        self.due.load(Relaxed)
    }

    /// Items that clients received for the first time.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received.load(Relaxed)
    }

    /// Adds what an agent counted since it last did. `came` and `went` change the number of clients connected.
    pub(crate) fn add(&self, (came, went): (u64, u64), more: &Interval) {
        self.connected.fetch_add(came, Relaxed);
        self.connected.fetch_sub(went, Relaxed);
        self.received.fetch_add(more.received, Relaxed);
        self.interval.lock().0.add(more);
    }

    /// What happened since the last call.
    pub(crate) fn take_interval(&self) -> Interval {
        let mut interval = self.interval.lock();
        let accepted = self.accepted();
        let before = std::mem::replace(&mut interval.1, accepted);
        let taken = std::mem::take(&mut interval.0);
        drop(interval);
        Interval {
            at: self.begun.elapsed(),
            connected: self.connected(),
            published: accepted.saturating_sub(before),
            ..taken
        }
    }

    /// Shows the rates of an interval from now on.
    pub(crate) fn show(&self, interval: &Interval, before: &Interval) {
        let secs = interval.at.saturating_sub(before.at).as_secs_f64().max(1e-3);
        let a_second = |number: u64| count((number as f64 / secs).round() as u64);
        let mut text = String::new();
        let came = interval.connected.saturating_sub(before.connected);
        for (number, what) in
            [(came, "connects"), (interval.published, "pushes"), (interval.received, "items")]
        {
            if number > 0 {
                text += &format!(" · {} {what}/s", a_second(number));
            }
        }
        if interval.frames > 0 {
            text += &format!(" in {} frames/s", a_second(interval.frames));
        }
        *self.rates.lock() = text;
    }

    /// All of it in one line.
    #[must_use]
    pub fn line(&self) -> String {
        format!(
            "{:?}: {} of {} clients · {} pushes sent, {} accepted · {} of {} items received{}",
            self.phase(),
            count(self.connected()),
            count(self.clients.load(Relaxed)),
            count(self.sent.load(Relaxed)),
            count(self.accepted()),
            count(self.received()),
            count(self.due.load(Relaxed)),
            self.rates.lock(),
        )
    }
}
