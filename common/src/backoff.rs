//! When to try again: exponential back-off with full jitter.
//!
//! Pure: randomness is an argument, so a test can own it. Full jitter (a wait drawn evenly from zero to
//! the current ceiling) spreads a herd best: M. Brooker, "Exponential Backoff And Jitter", AWS 2015.

use std::time::Duration;

/// The waits between attempts at one thing.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    most: Duration,
    ceiling: Duration,
}

impl Backoff {
    /// Waits of at most `first` after the first failure, doubling up to `most`.
    #[must_use]
    pub fn new(first: Duration, most: Duration) -> Self {
        Self { first, most, ceiling: first }
    }

    /// The next wait: at least a quarter of the current ceiling, so that a refusal that comes at once never
    /// becomes a busy loop, and at most the whole of it.
    pub fn next(&mut self, random: &mut fastrand::Rng) -> Duration {
        let wait = self.ceiling.mul_f64(0.25 + 0.75 * random.f64());
        self.ceiling = (self.ceiling * 2).min(self.most);
        wait
    }

    /// Starts again from the first wait: the attempt succeeded and stayed well.
    pub fn reset(&mut self) {
        self.ceiling = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_ceiling_and_start_again() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        let mut ceiling = Duration::from_millis(100);
        for _ in 0..20 {
            let wait = backoff.next(&mut random);
            assert!(wait >= ceiling / 4 && wait <= ceiling, "{wait:?} of {ceiling:?}");
            ceiling = (ceiling * 2).min(Duration::from_secs(1));
        }
        backoff.reset();
        assert!(backoff.next(&mut random) <= Duration::from_millis(100));
    }
}
