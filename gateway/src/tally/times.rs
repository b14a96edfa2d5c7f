//! How long the items of a frame took, and the line about those that took too long or belong to a trace.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use common::trace::Shown;

use super::{Part, Tally, Told};

/// What a push passes here: it waits for its window and for the sweep before, is written, and waits in outboxes of those
/// who do not read.
pub(crate) const STAGES: [&str; 3] = ["merger", "sweep", "outbox"];

/// When a frame's sweep began, and when it had passed all connections.
#[derive(Debug)]
pub(super) struct Times {
    pub(super) swept: Instant,
    pub(super) sealed: OnceLock<Instant>,
}

impl Times {
    pub(super) fn seal(&self) {
        let _ = self.sealed.set(Instant::now());
    }

    /// Nothing of the frame is pending any more.
    pub(super) fn say(&self, tally: &Tally, told: &Told) {
        let sealed = *self.sealed.get_or_init(Instant::now);
        // Whoever is not waited for needs no look at the clock.
        let ended = if told.outboxes { Instant::now() } else { sealed };
        for part in &tally.parts {
            let total = ended.saturating_duration_since(part.passage.came);
            let is_slow = tally.counters.slow.is(total);
            if is_slow || part.passage.trace.is_some() {
                self.say_one(tally, part, told, [sealed, ended], is_slow.then_some(total));
            }
        }
    }

    fn say_one(
        &self,
        tally: &Tally,
        part: &Part,
        told: &Told,
        [sealed, ended]: [Instant; 2],
        slow: Option<Duration>,
    ) {
        let passage = &part.passage;
        let [trace_id, parent_id, span_id] = Shown::all(passage.trace.as_deref().copied());
        let (id, Told { written, slow: dropped_slow, gone, .. }) = (passage.id(), told);
        let line = slow.and_then(|total| {
            let took = [
                self.swept.saturating_duration_since(passage.came),
                sealed.saturating_duration_since(self.swept),
                ended.saturating_duration_since(sealed),
            ];
            Some((total, tally.counters.slow.note(&took)?))
        });
        let Some((total, line)) = line else {
            tracing::debug!(%id, %trace_id, %parent_id, %span_id, written, dropped_slow, gone, "a push is written");
            return;
        };
        tracing::warn!(
            %id, %trace_id, %parent_id, %span_id,
            total_ms = total.as_millis() as u64,
            stage = line.stage,
            stages = line.stages,
            written, dropped_slow, gone,
            suppressed = line.suppressed,
            "a push was slow here: merger means that windows are late or items arrive faster than they are written (add gateways), sweep that many are written to, outbox that clients do not read"
        );
    }
}
