//! One time for several processes: µs since 1970 by the clock of the machine when the process began, and by
//! the monotonic clock from then on. Only a clock that is set between two beginnings would tear them apart.

use std::time::{Duration, Instant, SystemTime};

#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    epoch: Duration,
    begun: Instant,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self { epoch: wall(), begun: Instant::now() }
    }

    /// µs since 1970.
    pub(super) fn now(&self) -> u64 {
        (self.epoch + self.begun.elapsed()).as_micros() as u64
    }

    /// Whether the clock of the machine was set since the start, by a millisecond or more.
    pub(super) fn was_set(&self) -> bool {
        wall().abs_diff(self.epoch + self.begun.elapsed()) >= Duration::from_millis(1)
    }
}

fn wall() -> Duration {
    // Before 1970 there were no millions of sockets.
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
