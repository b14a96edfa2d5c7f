//! Calls with a key, as this store knows them: for two minutes, over restarts. Pure; time is an argument.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use common::link::message::Position;
use prost::Message;

use crate::idempotency::{KEPT, KEYS_MAX};

/// What calls may take, answers included; past it the oldest go early.
const BYTES_MAX: usize = 64 * 1024 * 1024;

/// What a call costs beside its key, places and answer.
const CALL_OVERHEAD: usize = 200;

/// A call. Fields are only ever added, with new numbers: a store outlives releases.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Call {
    /// Of its path and body.
    #[prost(bytes = "bytes", tag = "1")]
    print: Bytes,
    /// When it came, in milliseconds since 1970.
    #[prost(uint64, tag = "2")]
    at_ms: u64,
    /// It stored items.
    #[prost(bool, tag = "3")]
    is_stored: bool,
    /// There.
    #[prost(message, repeated, tag = "4")]
    pub(super) places: Vec<Position>,
    /// What it was answered.
    #[prost(bytes = "bytes", optional, tag = "5")]
    pub(super) answer: Option<Bytes>,
}

impl Call {
    /// A call that comes now; `places`, if it stores items.
    pub(super) fn new(print: [u8; 16], at_ms: u64, places: Option<Vec<Position>>) -> Self {
        let print = Bytes::copy_from_slice(&print);
        Self { print, at_ms, is_stored: places.is_some(), places: places.unwrap_or_default(), answer: None }
    }

    /// Whether it is this call, or another under the same key.
    pub(super) fn is(&self, print: &[u8; 16]) -> bool {
        self.print[..] == print[..]
    }

    /// Whether it was claimed and may be freed.
    pub(super) fn is_claim(&self) -> bool {
        !self.is_stored
    }

    fn is_over(&self, now_ms: u64) -> bool {
        // A clock that was set back does not make it last for ever.
        u128::from(now_ms.abs_diff(self.at_ms)) >= KEPT.as_millis()
    }

    fn cost(&self, key: &str) -> usize {
        let answer = self.answer.as_ref().map_or(0, Bytes::len);
        CALL_OVERHEAD + 2 * key.len() + answer + size_of_val(&*self.places)
    }
}

/// All calls that are known.
#[derive(Debug, Default)]
pub(super) struct Calls {
    known: HashMap<Arc<str>, Call>,
    /// In the order in which they came.
    order: VecDeque<(u64, Arc<str>)>,
    bytes: usize,
}

impl Calls {
    /// Those that were written, in any order.
    pub(super) fn loaded(mut known: Vec<(Arc<str>, Call)>) -> Self {
        known.sort_by_key(|(_, call)| call.at_ms);
        let mut calls = Self::default();
        known.into_iter().for_each(|(key, call)| calls.put(key, call));
        calls
    }

    /// What is known under a key.
    pub(super) fn find(&self, key: &str, now_ms: u64) -> Option<&Call> {
        self.known.get(key).filter(|call| !call.is_over(now_ms))
    }

    /// Puts a call, or what is new of it.
    pub(super) fn put(&mut self, key: Arc<str>, call: Call) {
        self.bytes += call.cost(&key);
        let at_ms = call.at_ms;
        match self.known.insert(key.clone(), call) {
            Some(before) => {
                self.bytes -= before.cost(&key);
                if before.at_ms != at_ms {
                    self.order.push_back((at_ms, key));
                }
            }
            None => self.order.push_back((at_ms, key)),
        }
    }

    /// The call may be made again.
    pub(super) fn free(&mut self, key: &str) {
        if let Some(call) = self.known.remove(key) {
            self.bytes -= call.cost(key);
        }
    }

    /// Forgets what is too old or too much; the keys, to be taken off the disk.
    pub(super) fn forget(&mut self, now_ms: u64) -> Vec<Arc<str>> {
        let mut forgotten = Vec::new();
        while let Some((at_ms, key)) = self.order.front() {
            let call = self.known.get(key).filter(|call| call.at_ms == *at_ms);
            let is_over = call.is_none_or(|call| call.is_over(now_ms));
            if !is_over && self.known.len() <= KEYS_MAX && self.bytes <= BYTES_MAX {
                break;
            }
            let is_known = call.is_some();
            let Some((_, key)) = self.order.pop_front() else { break };
            if is_known {
                self.free(&key);
                forgotten.push(key);
            }
        }
        forgotten
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_known_for_two_minutes_and_never_too_many() {
        let kept_ms = KEPT.as_millis() as u64;
        let mut calls = Calls::default();
        calls.put(Arc::from("a"), Call::new([1; 16], 1_000, None));
        let mut answered = calls.find("a", 1_000).unwrap().clone();
        answered.answer = Some(Bytes::from_static(b"{}"));
        calls.put(Arc::from("a"), answered);
        assert!(calls.find("a", 999 + kept_ms).unwrap().is(&[1; 16]));
        assert!(calls.find("a", 1_000 + kept_ms).is_none());
        calls.put(Arc::from("a"), Call::new([2; 16], 1_000 + kept_ms, None));
        assert!(calls.forget(1_000 + kept_ms).is_empty(), "another use of the key");
        assert!(calls.find("a", 1_000 + kept_ms).unwrap().is(&[2; 16]));
        for n in 0..2 * KEYS_MAX {
            calls.put(Arc::from(n.to_string()), Call::new([3; 16], 2_000 + kept_ms, Some(Vec::new())));
        }
        assert_eq!(calls.forget(2_000 + kept_ms).len(), KEYS_MAX + 1);
        assert_eq!(calls.forget(2_000 + 2 * kept_ms).len(), KEYS_MAX);
        assert_eq!((calls.bytes, calls.order.len(), calls.known.len()), (0, 0, 0));
    }
}
