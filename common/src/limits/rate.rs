//! How often something may happen: token buckets, kept as one number each. Pure: time is an argument.
//!
//! A bucket that holds `burst` tokens and gets `tokens` of them each `per` is the same as the time at which it will
//! be full again (the generic cell rate algorithm, ITU-T I.371): taking moves that time on, and what would move it
//! further than a whole bucket from now is refused. So a bucket needs no timer and 8 bytes.

use std::time::Duration;

/// So many tokens each period, and so many at once at the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    tokens: u32,
    per: Duration,
    burst: u32,
}

/// What was taken from one bucket: when it will be full again, in nanoseconds of the caller's clock. The clock counts
/// from a moment of the caller's choice; 64 bits of nanoseconds last 584 years.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spent(u64);

impl Rate {
    /// `tokens` in each period of `per`, at most `burst` of them at once; `None` if there are none: no limit.
    #[must_use]
    pub fn new(tokens: u32, per: Duration, burst: u32) -> Option<Self> {
        (tokens > 0 && burst > 0 && !per.is_zero()).then_some(Self { tokens, per, burst })
    }

    /// So many a second, those of `seconds` at once; `None` for zero: no limit.
    #[must_use]
    pub fn a_second(tokens: u32, seconds: u32) -> Option<Self> {
        Self::new(tokens, Duration::from_secs(1), tokens.saturating_mul(seconds))
    }

    /// Tokens a second, rounded up.
    #[must_use]
    pub fn per_second(&self) -> u64 {
        u64::from(self.tokens).saturating_mul(1_000_000_000).div_ceil(nanos(self.per))
    }

    /// Tokens at once.
    #[must_use]
    pub fn burst(&self) -> u32 {
        self.burst
    }

    /// Takes tokens from a bucket, or says how long it takes until they are there; more than a whole bucket never
    /// are.
    ///
    /// # Errors
    /// The wait; nothing was taken.
    pub fn take(&self, spent: &mut Spent, now: Duration, tokens: u32) -> Result<(), Duration> {
        let now = nanos(now);
        let full_at = spent.0.max(now).saturating_add(self.cost(tokens));
        let too_far = full_at.saturating_sub(now.saturating_add(self.cost(self.burst)));
        if too_far > 0 {
            return Err(Duration::from_nanos(too_far));
        }
        spent.0 = full_at;
        Ok(())
    }

    /// Time in which so many tokens come.
    fn cost(&self, tokens: u32) -> u64 {
        nanos(self.per).saturating_mul(tokens.into()) / u64::from(self.tokens)
    }
}

impl Spent {
    /// Whether nothing is missing from the bucket.
    #[must_use]
    pub fn is_nothing(self, now: Duration) -> bool {
        self.0 <= nanos(now)
    }
}

/// A wait in whole seconds, rounded up: what `Retry-After` says.
#[must_use]
pub fn seconds(wait: Duration) -> u32 {
    u32::try_from(wait.as_secs())
        .unwrap_or(u32::MAX)
        .saturating_add(u32::from(wait.subsec_nanos() > 0))
        .max(1)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_burst_passes_and_then_as_many_as_come() {
        let rate = Rate::a_second(10, 2).unwrap();
        let mut spent = Spent::default();
        let now = ms(5_000);
        for _ in 0..20 {
            assert_eq!(rate.take(&mut spent, now, 1), Ok(()));
        }
        assert_eq!(rate.take(&mut spent, now, 1), Err(ms(100)));
        assert_eq!(rate.take(&mut spent, now + ms(99), 1), Err(ms(1)));
        assert_eq!(rate.take(&mut spent, now + ms(100), 1), Ok(()));
        assert_eq!(rate.take(&mut spent, now + ms(100), 5), Err(ms(500)));
        assert!(!spent.is_nothing(now + ms(2_099)) && spent.is_nothing(now + ms(2_100)));
        assert_eq!(rate.take(&mut spent, now + ms(9_000), 20), Ok(()), "full again, and no fuller");
        assert_eq!(rate.take(&mut spent, now + ms(9_000), 1), Err(ms(100)));
    }

    #[test]
    fn more_than_a_bucket_never_fits_and_no_rate_is_no_limit() {
        let rate = Rate::a_second(10, 1).unwrap();
        assert!(rate.take(&mut Spent::default(), ms(1_000_000), 11).is_err());
        assert_eq!(Rate::a_second(0, 10), None);
        assert_eq!(Rate::new(1, Duration::from_secs(60), 5).unwrap().per_second(), 1);
        assert_eq!(Rate::a_second(1 << 30, 1).unwrap().per_second(), 1 << 30);
    }

    #[test]
    fn waits_are_whole_seconds_and_never_none() {
        for (wait, secs) in
            [(ms(0), 1), (ms(1), 1), (ms(1_000), 1), (ms(1_001), 2), (Duration::MAX, u32::MAX)]
        {
            assert_eq!(seconds(wait), secs, "{wait:?}");
        }
    }

    proptest! {
        /// Beside a bucket that counts: in whole tokens of a period that divides evenly, both say the same.
        #[test]
        fn it_is_a_token_bucket(
            burst in 1..20_u32,
            calls in proptest::collection::vec((0..30_u64, 1..8_u32), 1..100),
        ) {
            // A token each 10 ms.
            let rate = Rate::new(1, ms(10), burst).unwrap();
            let (mut spent, mut now) = (Spent::default(), ms(1_000));
            let mut tenths = u64::from(burst) * 10;
            for (pause, tokens) in calls {
                now += ms(pause);
                tenths = (tenths + pause).min(u64::from(burst) * 10);
                let cost = u64::from(tokens) * 10;
                let taken = rate.take(&mut spent, now, tokens);
                prop_assert_eq!(taken.is_ok(), cost <= tenths);
                match taken {
                    Ok(()) => tenths -= cost,
                    Err(wait) => prop_assert_eq!(wait, ms(cost - tenths)),
                }
            }
        }
    }
}
