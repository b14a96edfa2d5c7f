//! What keys are used for: how often each is, and how its calls ended. Names are those of the settings.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use common::limits::rate::{Rate, Spent};
use common::metrics::{Counter, Family, Metrics};
use parking_lot::Mutex;
use serde_json::{Value, json};

/// Names whose use is kept: as many as there may be keys, twice, since a file of keys may be read again with others.
const NAMES_MAX: usize = 2 * super::KEYS_MAX;

/// The labels of a counter.
type Label = [(&'static str, String); 2];

/// The use of all keys of one name, however often their file is read again.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    spent: Mutex<Spent>,
    /// Calls that it might make.
    pub(crate) passed: Counter,
    /// Calls that came too fast.
    pub(crate) limited: Counter,
    /// Calls that it may not make.
    pub(crate) forbidden: Counter,
}

impl Usage {
    /// Takes a call, or says how long to wait.
    pub(crate) fn take(&self, rate: Option<Rate>, now: impl FnOnce() -> Duration) -> Result<(), Duration> {
        let taken = rate.map_or(Ok(()), |rate| rate.take(&mut self.spent.lock(), now(), 1));
        if taken.is_ok() { &self.passed } else { &self.limited }.inc();
        taken
    }
}

/// What is known of all names. Clones are the same.
#[derive(Clone)]
pub(crate) struct Usages {
    known: Arc<Mutex<HashMap<String, Arc<Usage>>>>,
    calls: Family<Label, Counter>,
}

impl fmt::Debug for Usages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.known.lock().keys()).finish()
    }
}

fn label(name: &str, outcome: &str) -> Label {
    [("key", name.to_owned()), ("outcome", outcome.to_owned())]
}

const OUTCOMES: [&str; 3] = ["passed", "limited", "forbidden"];

impl Usages {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let calls =
            metrics.register("key_calls", "Calls with an API key, by the key's name and what became of them");
        Self { known: Arc::default(), calls }
    }

    /// The use of a name. Names that no key has any more make room for others.
    pub(crate) fn of(&self, name: &str) -> Arc<Usage> {
        let mut known = self.known.lock();
        if let Some(usage) = known.get(name) {
            return usage.clone();
        }
        if known.len() >= NAMES_MAX {
            known.retain(|name, usage| {
                let is_used = Arc::strong_count(usage) > 1;
                if !is_used {
                    OUTCOMES.iter().for_each(|outcome| _ = self.calls.remove(&label(name, outcome)));
                }
                is_used
            });
        }
        let [passed, limited, forbidden] =
            OUTCOMES.map(|outcome| self.calls.get_or_create_owned(&label(name, outcome)));
        let usage = Arc::new(Usage { spent: Mutex::default(), passed, limited, forbidden });
        known.insert(name.to_owned(), usage.clone());
        usage
    }

    /// All names with their counts, for `/statusz`.
    pub(crate) fn status(&self) -> Value {
        let known = self.known.lock();
        let mut rows: Vec<_> = known.iter().collect();
        rows.sort_unstable_by_key(|(name, _)| *name);
        let row = |(name, usage): (&String, &Arc<Usage>)| {
            json!({
                "name": name,
                "passed": usage.passed.get(),
                "limited": usage.limited.get(),
                "forbidden": usage.forbidden.get(),
            })
        };
        rows.into_iter().map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_no_key_has_any_more_make_room() {
        let metrics = Metrics::new("test");
        let usages = Usages::new(&metrics);
        let kept = usages.of("kept");
        kept.passed.inc();
        (1..NAMES_MAX).for_each(|number| drop(usages.of(&format!("old {number}"))));
        usages.of("new");
        assert_eq!(usages.known.lock().len(), 2);
        assert_eq!(usages.of("kept").passed.get(), 1);
        let text = metrics.text();
        assert!(text.contains("tidegate_test_key_calls_total{key=\"kept\",outcome=\"passed\"} 1"), "{text}");
        assert!(!text.contains("old 1"), "{text}");
    }
}
