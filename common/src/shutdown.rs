//! When it ends: a node's two words, *drain* and *stop*, and the signals that say them.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Says to every part of a node when to end. Clones are the same switch.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    drain: CancellationToken,
    stop: CancellationToken,
}

impl Shutdown {
    /// A switch that nobody has touched.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks for the end: take no more, finish what was accepted.
    pub fn start_drain(&self) {
        self.drain.cancel();
    }

    /// Ends what is left: the drain is over, or nobody wants to wait for it.
    pub fn stop(&self) {
        self.drain.cancel();
        self.stop.cancel();
    }

    /// Whether the drain has begun.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.drain.is_cancelled()
    }

    /// Waits for the drain to begin.
    pub async fn draining(&self) {
        self.drain.cancelled().await;
    }

    /// Waits for the end of the drain.
    pub async fn stopped(&self) {
        self.stop.cancelled().await;
    }

    /// Waits for `work`, or for the end, whichever comes first; `None` says that the end came.
    pub async fn or_stopped<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.stop.run_until_cancelled(work).await
    }

    /// Waits for `work`, or for the drain to begin; `None` says that the drain began.
    pub async fn or_draining<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        self.drain.run_until_cancelled(work).await
    }
}

/// Which signal asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// SIGTERM: a supervisor.
    Terminate,
    /// SIGINT: a person at a terminal.
    Interrupt,
}

impl Asked {
    /// The exit code of a process that ended at once because of this signal: 128 + its number.
    #[must_use]
    pub fn exit_code(self) -> i32 {
        match self {
            Self::Terminate => 143,
            Self::Interrupt => 130,
        }
    }
}

/// Waits for SIGTERM or SIGINT, in the order in which they come.
#[derive(Debug)]
pub struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    /// Takes both signals from now on: they no longer end the process by themselves.
    ///
    /// # Errors
    /// What the operating system answered.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The next signal.
    pub async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::Terminate,
            _ = self.interrupt.recv() => Asked::Interrupt,
        }
    }
}

/// How long a node that was told to stop may take for what cannot be cut: joining its tasks.
pub const JOIN_TIME_MAX: Duration = Duration::from_secs(2);
