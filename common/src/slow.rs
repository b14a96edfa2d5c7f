//! Pushes that take too long: counted, and said in the log with the stage that took longest, a few lines a second.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::metrics::{Counter, Family, Metrics};

/// Lines a second; what is beyond is counted, and said with the next line: one client that does not read makes all slow that it
/// is sent.
const LINES_A_SECOND: u32 = 1;

/// What is slow on one node. Clones are the same.
#[derive(Debug, Clone)]
pub struct Slow(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    after_ns: AtomicU64,
    stages: Vec<(&'static str, Counter)>,
    lines: Mutex<Lines>,
}

#[derive(Debug)]
struct Lines {
    since: Instant,
    written: u32,
    suppressed: u64,
}

/// What the line about a push says.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    /// The stage that took longest.
    pub stage: &'static str,
    /// All of them.
    pub stages: String,
    /// Pushes since the last line that were as slow and had none.
    pub suppressed: u64,
}

impl Slow {
    /// Nothing is slow until it is said from when on. `stages` are those that a push passes here.
    #[must_use]
    pub fn new(metrics: &Metrics, stages: &[&'static str]) -> Self {
        let help = "Pushes that took longer than --slow-push, by the stage that took longest";
        let counts: Family<[(&'static str, &'static str); 1], Counter> =
            metrics.register("pushes_slow", help);
        let stages =
            stages.iter().map(|stage| (*stage, counts.get_or_create_owned(&[("stage", *stage)]))).collect();
        let lines = Mutex::new(Lines { since: Instant::now(), written: 0, suppressed: 0 });
        Self(Arc::new(Inner { after_ns: AtomicU64::new(u64::MAX), stages, lines }))
    }

    /// What takes longer is slow.
    pub fn set_after(&self, after: Duration) {
        self.0.after_ns.store(u64::try_from(after.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Whether something is slow.
    #[must_use]
    pub fn is(&self, total: Duration) -> bool {
        total.as_nanos() > u128::from(self.0.after_ns.load(Ordering::Relaxed))
    }

    /// Counts a slow push that took so long in each stage; what its line says, if it may have one.
    pub fn note(&self, took: &[Duration]) -> Option<Line> {
        let timed = || self.0.stages.iter().zip(took);
        let ((stage, counter), _) = timed().max_by_key(|(_, took)| **took)?;
        counter.inc();
        let mut lines = self.0.lines.lock();
        if lines.since.elapsed() >= Duration::from_secs(1) {
            (lines.since, lines.written) = (Instant::now(), 0);
        }
        if lines.written >= LINES_A_SECOND {
            lines.suppressed += 1;
            return None;
        }
        lines.written += 1;
        let suppressed = std::mem::take(&mut lines.suppressed);
        let stages: Vec<_> =
            timed().map(|((stage, _), took)| format!("{stage} {} ms", took.as_millis())).collect();
        Some(Line { stage, stages: stages.join(", "), suppressed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_stage_is_named_and_few_lines_are_written() {
        let metrics = Metrics::new("test");
        let slow = Slow::new(&metrics, &["plan", "link"]);
        let ms = Duration::from_millis;
        assert!(!slow.is(Duration::MAX.min(ms(1_000_000))));
        slow.set_after(ms(100));
        assert!(slow.is(ms(101)) && !slow.is(ms(100)));
        let lines: Vec<_> = (0..20).filter_map(|_| slow.note(&[ms(1), ms(7)])).collect();
        // The second may have turned meanwhile.
        assert!(!lines.is_empty() && lines.len() < 20, "{}", lines.len());
        assert_eq!(lines[0], Line { stage: "link", stages: "plan 1 ms, link 7 ms".into(), suppressed: 0 });
        assert!(metrics.text().contains("tidegate_test_pushes_slow_total{stage=\"link\"} 20"));
    }
}
