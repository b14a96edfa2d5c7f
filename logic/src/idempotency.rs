//! The same call twice: answers that are kept under the caller's `Idempotency-Key`. Pure; time is an argument.
//!
//! Within this logic node; what other nodes and earlier runs know, the engine says. A key is taken when its call begins, so that a second call that comes meanwhile is
//! told so instead of doing the work again.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// How long an answer is kept.
pub(crate) const KEPT: Duration = Duration::from_secs(120);

/// Most keys; beyond it the oldest goes early. Memory usage will be (2 * 256 + 64 + about 400) * 65,536 = 64 MB,
/// answers of batches beside it.
pub(crate) const KEYS_MAX: usize = 1 << 16;

/// Longest key, in bytes.
pub(crate) const KEY_BYTES_MAX: usize = 256;

/// Keys and the answers under them.
#[derive(Debug)]
pub(crate) struct Answers<A> {
    kept: HashMap<String, Kept<A>>,
    /// In the order in which they came; the number tells a key's uses apart.
    order: VecDeque<(Instant, u64, String)>,
    uses: u64,
    keys_max: usize,
}

#[derive(Debug)]
struct Kept<A> {
    print: Print,
    using: u64,
    /// `None` while the call is in progress.
    answer: Option<A>,
}

/// Of all that makes a call this call and not another.
pub(crate) type Print = [u8; 16];

/// What to do with a call.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Begin<A> {
    /// Do it, and say how it ended with [`Answers::end`] under this number.
    New(u64),
    /// It was done: this was the answer.
    Replay(A),
    /// It is being done.
    Running,
    /// The key was used for something else.
    OtherCall,
}

impl<A: Clone> Default for Answers<A> {
    fn default() -> Self {
        Self { kept: HashMap::new(), order: VecDeque::new(), uses: 0, keys_max: KEYS_MAX }
    }
}

impl<A: Clone> Answers<A> {
    /// A call with a key comes.
    pub(crate) fn begin(&mut self, key: &str, print: Print, now: Instant) -> Begin<A> {
        self.forget(now);
        if let Some(kept) = self.kept.get(key) {
            return match &kept.answer {
                _ if kept.print != print => Begin::OtherCall,
                None => Begin::Running,
                Some(answer) => Begin::Replay(answer.clone()),
            };
        }
        self.uses += 1;
        self.order.push_back((now, self.uses, key.to_owned()));
        self.kept.insert(key.to_owned(), Kept { print, using: self.uses, answer: None });
        Begin::New(self.uses)
    }

    /// The call has ended: with an answer to keep, or so that it may be made again.
    pub(crate) fn end(&mut self, key: &str, using: u64, answer: Option<A>) {
        if self.kept.get(key).is_none_or(|kept| kept.using != using) {
            return;
        }
        match answer {
            None => _ = self.kept.remove(key),
            Some(answer) => {
                if let Some(kept) = self.kept.get_mut(key) {
                    kept.answer = Some(answer);
                }
            }
        }
    }

    fn forget(&mut self, now: Instant) {
        while let Some((at, using, key)) = self.order.front() {
            if now.saturating_duration_since(*at) < KEPT && self.order.len() < self.keys_max {
                return;
            }
            if self.kept.get(key).is_some_and(|kept| kept.using == *using) {
                self.kept.remove(key);
            }
            self.order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Print = [1; 16];
    const B: Print = [2; 16];

    #[test]
    fn a_key_is_new_running_replayed_or_another_call() {
        let mut answers = Answers::default();
        let now = Instant::now();
        assert_eq!(answers.begin("k", A, now), Begin::New(1));
        assert_eq!(answers.begin("k", A, now), Begin::Running);
        assert_eq!(answers.begin("k", B, now), Begin::OtherCall);
        answers.end("k", 1, Some(202));
        assert_eq!(answers.begin("k", A, now), Begin::Replay(202));
        assert_eq!(answers.begin("k", A, now + KEPT), Begin::New(2), "forgotten");
        answers.end("k", 1, Some(500));
        assert_eq!(answers.begin("k", A, now + KEPT), Begin::Running, "another use");
        answers.end("k", 2, None);
        assert_eq!(answers.begin("k", A, now + KEPT), Begin::New(3), "may be made again");
    }

    #[test]
    fn there_are_never_too_many_keys() {
        let mut answers = Answers::<u32> { keys_max: 10, ..Answers::default() };
        let now = Instant::now();
        for key in 0..100 {
            let _ = answers.begin(&key.to_string(), A, now);
            assert!(answers.kept.len() <= 10 && answers.order.len() <= 10);
        }
    }
}
