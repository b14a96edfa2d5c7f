//! How fast one client may speak: what it may send, and what is made of more. Pure: the clock is the caller's.

use std::time::Duration;

use common::limits::rate::Spent;

use crate::limits::Limits;

/// Messages that are refused before the client is closed: a program that goes on although it is told to wait. They
/// are forgotten when it has been quiet for as long as fills its bucket.
const REFUSED_MAX: u8 = 100;

/// What one client has sent lately: 16 B, which take no memory, since they fit into what a task has anyway.
#[derive(Debug, Default)]
pub(super) struct Pace {
    messages: Spent,
    bytes: Spent,
}

/// Whether a message is heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hearing {
    Now,
    /// Not this one: it came too early by so much.
    Refused(Duration),
    /// Nothing any more.
    Over,
}

impl Pace {
    /// Whether so many bytes may have come.
    pub(super) fn reads(&mut self, bytes: usize, limits: &Limits, now: impl FnOnce() -> Duration) -> bool {
        let Some(rate) = &limits.bytes else { return true };
        rate.take(&mut self.bytes, now(), u32::try_from(bytes).unwrap_or(u32::MAX)).is_ok()
    }

    /// Whether a message may come. `refused` counts those that might not.
    pub(super) fn hears(
        &mut self,
        refused: &mut u8,
        limits: &Limits,
        now: impl FnOnce() -> Duration,
    ) -> Hearing {
        let Some(rate) = &limits.commands else { return Hearing::Now };
        let now = now();
        if self.messages.is_nothing(now) {
            *refused = 0;
        }
        match rate.take(&mut self.messages, now, 1) {
            Ok(()) => Hearing::Now,
            Err(_) if *refused >= REFUSED_MAX => Hearing::Over,
            Err(wait) => {
                *refused += 1;
                Hearing::Refused(wait)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use common::limits::rate::Rate;

    use super::*;

    #[test]
    fn a_burst_is_heard_what_is_beyond_is_refused_and_a_flood_is_over() {
        let limits = Limits { commands: Rate::a_second(10, 1), ..Limits::default() };
        let (mut pace, mut refused) = (Pace::default(), 0);
        let mut hears = |at: u64| pace.hears(&mut refused, &limits, || Duration::from_millis(at));
        for _ in 0..10 {
            assert_eq!(hears(1_000), Hearing::Now);
        }
        for _ in 0..100 {
            assert_eq!(hears(1_000), Hearing::Refused(Duration::from_millis(100)));
        }
        assert_eq!(hears(1_000), Hearing::Over);
        assert_eq!(hears(1_100), Hearing::Now, "what comes slowly is heard");
        assert_eq!(hears(1_100), Hearing::Over, "and what was refused is not forgotten so soon");
        assert_eq!(hears(3_000), Hearing::Now);
        for _ in 0..9 {
            hears(3_000);
        }
        assert_eq!(hears(3_000), Hearing::Refused(Duration::from_millis(100)), "but after a pause it is");
    }

    #[test]
    fn bytes_are_counted_and_without_limits_no_clock_is_asked() {
        let limits = Limits { bytes: Rate::a_second(1_000, 2), ..Limits::default() };
        let mut pace = Pace::default();
        let at = |ms| move || Duration::from_millis(ms);
        assert!(pace.reads(1_999, &limits, at(500)) && pace.reads(1, &limits, at(500)));
        assert!(!pace.reads(1, &limits, at(500)) && pace.reads(1, &limits, at(501)));
        let none = Limits { commands: None, bytes: None, ..Limits::default() };
        let asked = || -> Duration { panic!("nobody needs to know") };
        assert!(pace.reads(usize::MAX, &none, asked));
        assert_eq!(pace.hears(&mut 255, &none, asked), Hearing::Now);
    }
}
