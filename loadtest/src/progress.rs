//! Where a run is, for those who watch it while it goes.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tokio::sync::watch;

/// The parts of a run, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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

    /// Items that clients received for the first time.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received.load(Relaxed)
    }

    /// All of it in one line.
    #[must_use]
    pub fn line(&self) -> String {
        format!(
            "{:?}: {} of {} clients · {} pushes sent, {} accepted · {} of {} items received",
            self.phase(),
            self.connected(),
            self.clients.load(Relaxed),
            self.sent.load(Relaxed),
            self.accepted(),
            self.received(),
            self.due.load(Relaxed),
        )
    }
}
