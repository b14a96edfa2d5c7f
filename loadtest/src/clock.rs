//! The clock of a run: microseconds since the coordinator began, the same in all its processes.
//!
//! The coordinator's own clock is the run's. An agent asks it for the time now and then, and keeps the answer that
//! came back fastest: it is wrong by half of its way there and back at the most.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::Instant;

/// The clock of one process.
#[derive(Debug)]
pub(crate) struct Clock {
    begun: Instant,
    offset_us: AtomicI64,
}

impl Clock {
    /// A clock that begins now.
    pub(crate) fn start() -> Self {
        Self { begun: Instant::now(), offset_us: AtomicI64::new(0) }
    }

    /// µs on the run's clock.
    pub(crate) fn now(&self) -> u64 {
        (self.local() as i64).saturating_add(self.offset_us.load(Relaxed)).max(0) as u64
    }

    /// µs on this process's clock.
    pub(crate) fn local(&self) -> u64 {
        self.begun.elapsed().as_micros() as u64
    }

    /// From now on the run's clock is ahead of this process's by so much.
    fn set_ahead(&self, us: i64) {
        self.offset_us.store(us, Relaxed);
    }
}

/// What an agent knows of the difference between its clock and the run's.
#[derive(Debug, Default)]
pub(crate) struct Difference {
    /// The fastest way there and back, µs.
    best_us: Option<u64>,
}

impl Difference {
    /// Takes an answer: asked at `asked`, here at `back` (both on this process's clock), when the run's was `run`.
    pub(crate) fn take(&mut self, clock: &Clock, asked: u64, back: u64, run: u64) {
        let way = back.saturating_sub(asked);
        if self.best_us.is_none_or(|best| way < best) {
            self.best_us = Some(way);
            let middle = asked.saturating_add(way / 2);
            clock.set_ahead((run as i64).saturating_sub(middle as i64));
        }
    }

    /// How wrong the clock is, at the most.
    pub(crate) fn error_us(&self) -> u64 {
        self.best_us.map_or(u64::MAX, |way| way.div_ceil(2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_that_came_back_fastest_decides() {
        let (clock, mut difference) = (Clock::start(), Difference::default());
        assert_eq!(difference.error_us(), u64::MAX);
        difference.take(&clock, 1_000, 1_400, 5_000_000);
        assert_eq!((clock.offset_us.load(Relaxed), difference.error_us()), (4_998_800, 200));
        difference.take(&clock, 2_000, 4_000, 9_000_000);
        assert_eq!(difference.error_us(), 200, "a slower answer knows less");
        difference.take(&clock, 2_000, 2_100, 10);
        assert_eq!((clock.offset_us.load(Relaxed), difference.error_us()), (-2_040, 50));
        assert_eq!(clock.now(), 0, "it does not go below its beginning");
    }
}
