//! What is counted of a store outside this process. Labels are scripts and reasons, never names.

use std::time::Duration;

use common::metrics::{Counter, Family, Histogram, Metrics, exponential_buckets};

use super::fault::Fault;
use super::scripts::Script;
use crate::counters::Label;

/// What is counted of Redis.
#[derive(Debug, Clone)]
pub(crate) struct EngineCounters {
    calls: Family<Label, Counter>,
    failures: Family<Label, Counter>,
    seconds: Histogram,
}

impl EngineCounters {
    /// Registers everything.
    pub(crate) fn new(metrics: &Metrics) -> Self {
        // 0.1 ms to 1.6 s: calls end after a second.
        let seconds = Histogram::new(exponential_buckets(0.0001, 2.0, 15));
        let failures: Family<Label, Counter> =
            metrics.register("engine_failures", "Calls of the store that failed, by reason");
        // Shown from the start: what appears with the first failure has no rate yet when it is looked for.
        failures.get_or_create_owned(&[("reason", "connection".to_owned())]);
        Self {
            calls: metrics.register("engine_calls", "Calls of the store, by what they were for"),
            failures,
            seconds: metrics.register_as("engine_seconds", "How long appends and reads took", seconds),
        }
    }

    /// One call was made.
    pub(super) fn called(&self, script: Script, fault: Option<&Fault>) {
        self.calls.get_or_create_owned(&[("call", script.name().to_owned())]).inc();
        if let Some(fault) = fault {
            self.failed(fault.reason());
        }
    }

    /// A call failed.
    pub(super) fn failed(&self, reason: &'static str) {
        self.failures.get_or_create_owned(&[("reason", reason.to_owned())]).inc();
    }

    /// An append or a read ended, well or not.
    pub(super) fn took(&self, time: Duration) {
        self.seconds.observe(time.as_secs_f64());
    }
}
