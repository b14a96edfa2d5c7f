//! The log lines about pushes: at `debug` one for each, and a warning about a call that took too long, with the stage that
//! did.

use std::time::{Duration, Instant};

use common::slow::Slow;
use common::trace::Shown;

use super::Coming;
use crate::publish::Published;
use crate::push::Push;

/// What a call passes here: its body comes, it is parsed, stored where a rule wants it, planned, waits for the link that has
/// most to send, and then for what gateways say.
pub(crate) const STAGES: [&str; 6] = ["body", "parse", "store", "plan", "link", "receipts"];

/// Looks at a call that has ended. Without `published`: it was refused.
pub(super) fn look(
    slow: &Slow,
    coming: Coming,
    parsed: Instant,
    pushes: &[Push<'_>],
    published: Result<&[Published], ()>,
) {
    let ended = Instant::now();
    let total = ended.duration_since(coming.began);
    if slow.is(total) {
        say(slow, coming, [parsed, ended], pushes, published.unwrap_or_default());
    }
    if !tracing::enabled!(tracing::Level::DEBUG) {
        return;
    }
    let [trace_id, parent_id, span_id] = Shown::all(coming.trace);
    for (push, done) in pushes.iter().zip(published.unwrap_or_default()) {
        let (id, to, matched, accepted) = (done.id, push.whom(), done.tally.matched, done.accepted);
        tracing::debug!(%id, to, %trace_id, %parent_id, %span_id, matched, accepted, total_ms = total.as_millis() as u64, "a push was taken");
    }
}

fn say(
    slow: &Slow,
    coming: Coming,
    [parsed, ended]: [Instant; 2],
    pushes: &[Push<'_>],
    published: &[Published],
) {
    // Of a batch the one that was under way for longest stands for all: they went together.
    let times = published.iter().map(|done| done.times).max_by_key(|times| times.link);
    let took = match times {
        Some(times) => {
            let waited = ended.saturating_duration_since(times.put);
            let link = times.link.min(waited);
            let plan = times.put.saturating_duration_since(parsed).saturating_sub(times.store);
            [times.store, plan, link, waited.saturating_sub(link)]
        }
        // What was refused after so long waited for the store.
        None => [ended.duration_since(parsed), Duration::ZERO, Duration::ZERO, Duration::ZERO],
    };
    let [store, plan, link, receipts] = took;
    let body = coming.read.duration_since(coming.began);
    let parse = parsed.duration_since(coming.read);
    let Some(line) = slow.note(&[body, parse, store, plan, link, receipts]) else { return };
    let [trace_id, parent_id, span_id] = Shown::all(coming.trace);
    let id = published.first().map(|done| done.id.to_string()).unwrap_or_default();
    let to = pushes.first().map(Push::whom).unwrap_or_default();
    let mut failed: Vec<_> = published
        .iter()
        .flat_map(|done| &done.failed)
        .map(|(gateway, code)| format!("{gateway} ({code})"))
        .collect();
    failed.dedup();
    tracing::warn!(
        id, to, %trace_id, %parent_id, %span_id,
        pushes = pushes.len(),
        total_ms = ended.duration_since(coming.began).as_millis() as u64,
        stage = line.stage,
        stages = line.stages,
        failed = failed.join(", "),
        suppressed = line.suppressed,
        "a push was slow here: body means its caller, store the engine, link a gateway that takes less than comes, receipts a gateway that answers late (or the window, with wait: written)"
    );
}
