//! How long items took, in HDR histograms: microseconds, three significant digits, up to an hour.
//!
//! All times count from the *intended* time of a push, so a server that makes the publisher wait pays for
//! it (open model). Two parts are told apart. The *wait* of an item at a gateway ends when the first of the
//! gateway's clients has it: time at logic, on the link, and in the merge window. The *fan-out* of an item
//! to a client begins there: the time in which the gateway writes the same tick to everybody. The wait is
//! bounded below by the window, on average half of it; the fan-out is what a faster gateway makes shorter.

use hdrhistogram::Histogram;

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

    pub(crate) fn add(&mut self, other: &Self) {
        self.0.add(&other.0).expect("all have the same bounds");
    }

    pub(crate) fn histogram(&self) -> &Histogram<u64> {
        &self.0
    }
}

/// What a thread's clients saw.
#[derive(Debug, Clone, Default)]
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
    pub(crate) fn add(&mut self, other: &Self) {
        self.total.add(&other.total);
        self.total_urgent.add(&other.total_urgent);
        self.fanout.add(&other.fanout);
        self.fanout_urgent.add(&other.fanout_urgent);
    }
}
