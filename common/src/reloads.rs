//! What became of telling a running node its settings anew: counted, and shown to operators.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::metrics::{Counter, Family, FloatGauge, Metrics};

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Something holds now that did not hold before.
    Changed,
    /// All that can change was so already.
    Unchanged,
    /// What was read is wrong somewhere: all is as it was.
    Refused,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Changed, Self::Unchanged, Self::Refused];

    /// As it stands in metrics and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Unchanged => "unchanged",
            Self::Refused => "refused",
        }
    }
}

/// The reloads of one node. Clones are the same.
#[derive(Debug, Clone)]
pub struct Reloads(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    counts: [Counter; 3],
    at: FloatGauge,
    shown: Mutex<Shown>,
}

#[derive(Debug, Default)]
struct Shown {
    last: Value,
    in_force: Value,
}

impl Reloads {
    /// Registers what is counted.
    #[must_use]
    pub fn new(metrics: &Metrics) -> Self {
        let counts: Family<[(&'static str, &'static str); 1], Counter> =
            metrics.register("reloads", "Reloads of the configuration, by what became of them");
        let counts = Outcome::ALL.map(|outcome| counts.get_or_create_owned(&[("outcome", outcome.as_str())]));
        let at = metrics.register(
            "last_reload_timestamp_seconds",
            "When the configuration was last reloaded, whatever became of it; 0: never",
        );
        Self(Arc::new(Inner { counts, at, shown: Mutex::default() }))
    }

    /// It was tried. `said`: what changed, what did not and why, a line each.
    pub fn note(&self, outcome: Outcome, said: &[String]) {
        self.0.counts[outcome as usize].inc();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.0.at.set(now.as_secs_f64());
        self.0.shown.lock().last =
            json!({"atUnixMs": now.as_millis() as u64, "outcome": outcome.as_str(), "said": said});
    }

    /// What holds from now on, setting by setting.
    pub fn hold(&self, in_force: Value) {
        self.0.shown.lock().in_force = in_force;
    }

    /// The last one and what holds, for `/statusz`.
    #[must_use]
    pub fn status(&self) -> Value {
        let shown = self.0.shown.lock();
        json!({"lastReload": shown.last, "inForce": shown.in_force})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_outcome_is_counted_and_the_last_one_is_shown() {
        let metrics = Metrics::new("test");
        let reloads = Reloads::new(&metrics);
        assert!(reloads.status()["lastReload"].is_null());
        for (place, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, place);
            reloads.note(outcome, &["a: 1 -> 2".to_owned()]);
        }
        let status = reloads.status();
        assert_eq!(status["lastReload"]["outcome"], "refused");
        assert_eq!(status["lastReload"]["said"][0], "a: 1 -> 2");
        let text = metrics.text();
        assert!(text.contains("tidegate_test_reloads_total{outcome=\"changed\"} 1"), "{text}");
        assert!(text.contains("tidegate_test_last_reload_timestamp_seconds 1"), "{text}");
    }
}
