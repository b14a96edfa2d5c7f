//! How long items took, in HDR histograms: microseconds, three significant digits, up to an hour.
//!
//! All times count from the *intended* time of a push, so a server that makes the publisher wait pays for
//! it (open model). Two parts are told apart. The *wait* of an item at a gateway ends when the first of the
//! gateway's clients has it: time at logic, on the link, and in the merge window. The *fan-out* of an item
//! to a client begins there: the time in which the gateway writes the same tick to everybody. The wait is
//! bounded below by the window, on average half of it; the fan-out is what a faster gateway makes shorter.

use hdrhistogram::Histogram;
use serde::de::{Deserializer, SeqAccess, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

/// An hour: what is longer counts as an hour.
const LONGEST_US: u64 = 3_600_000_000;

/// Times of one kind, in µs.
#[derive(Debug, Clone)]
pub(crate) struct Times(Histogram<u64>);

impl Default for Times {
    fn default() -> Self {
        Self(Histogram::new_with_bounds(1, LONGEST_US, 3).expect("bounds and digits are in range"))
    }
}

impl Times {
    pub(crate) fn record(&mut self, us: u64) {
        self.0.saturating_record(us);
    }

    /// The same time, so often.
    pub(crate) fn record_n(&mut self, us: u64, count: u64) {
        self.0.saturating_record_n(us, count);
    }

    pub(crate) fn add(&mut self, other: &Self) {
        if !other.0.is_empty() {
            self.0.add(&other.0).expect("all have the same bounds");
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        if !self.0.is_empty() {
            self.0.reset();
        }
    }

    pub(crate) fn histogram(&self) -> &Histogram<u64> {
        &self.0
    }
}

/// From one process to another: the times that there are, each with its count.
impl Serialize for Times {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let recorded = self.0.iter_recorded();
        serializer.collect_seq(recorded.map(|step| (step.value_iterated_to(), step.count_at_value())))
    }
}

impl<'de> Deserialize<'de> for Times {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Steps;
        impl<'de> Visitor<'de> for Steps {
            type Value = Times;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list of times and counts")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut steps: A) -> Result<Times, A::Error> {
                let mut times = Times::default();
                while let Some((us, count)) = steps.next_element()? {
                    times.record_n(us, count);
                }
                Ok(times)
            }
        }
        deserializer.deserialize_seq(Steps)
    }
}

/// What a thread's clients saw.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Latency {
    /// Intended time to receipt, items that wait for the window.
    pub(crate) total: Times,
    /// The same for urgent ones.
    pub(crate) total_urgent: Times,
    /// First receipt at the gateway to this receipt, items that wait for the window.
    pub(crate) fanout: Times,
    /// The same for urgent ones.
    pub(crate) fanout_urgent: Times,
}

impl Latency {
    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        let Self { total, total_urgent, fanout, fanout_urgent } = self;
        [total, total_urgent, fanout, fanout_urgent].into_iter().for_each(Times::clear);
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.total.add(&other.total);
        self.total_urgent.add(&other.total_urgent);
        self.fanout.add(&other.fanout);
        self.fanout_urgent.add(&other.fanout_urgent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_come_over_as_they_are() {
        let mut times = Times::default();
        for us in [0, 1, 7, 1_234, 999_999, 3_600_000_001] {
            times.record_n(us, us % 5 + 1);
        }
        let text = serde_json::to_string(&times).unwrap();
        let over: Times = serde_json::from_str(&text).unwrap();
        assert_eq!(over.histogram(), times.histogram());
        assert_eq!(serde_json::to_string(&over).unwrap(), text);
        for bad in ["7", "[7]", "[[1,-1]]", "[[1,2,3]]"] {
            assert!(serde_json::from_str::<Times>(bad).is_err(), "{bad}");
        }
        times.clear();
        assert!(times.histogram().is_empty());
    }
}
