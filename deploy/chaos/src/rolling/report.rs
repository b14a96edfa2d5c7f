//! What a rolling restart comes to: what was lost, who moved how often, how evenly, and how soon they were back.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::crowd::{Departure, How};
use super::spread::{SIGMAS_MAX, Spread};

/// Items and pushes.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Flow {
    pub(super) pushed: u64,
    pub(super) acknowledged: u64,
    /// Attempts that were repeated with their key, by what they were answered.
    pub(super) repeated: BTreeMap<String, u64>,
    /// Ended with a 5xx or no answer after all attempts.
    pub(super) failed_after_retry: u64,
    pub(super) refused: u64,
    /// Until a push was acknowledged, attempts included.
    pub(super) acknowledged_ms: Quantiles,
    pub(super) delivered: u64,
    pub(super) lost: u64,
    pub(super) duplicated: u64,
    pub(super) reordered: u64,
    /// No payload of the run, or another than stands at this place, or a push at two places.
    pub(super) wrong: u64,
    pub(super) resets: u64,
    pub(super) gaps: u64,
}

/// Of some times, in milliseconds.
#[derive(Debug, Default, Clone, Copy, Serialize)]
pub(crate) struct Quantiles {
    p50: u64,
    p99: u64,
    max: u64,
}

impl Quantiles {
    pub(super) fn of(mut times: Vec<u64>) -> Self {
        times.sort_unstable();
        let at = |share: f64| times.get((times.len() as f64 * share) as usize).copied();
        let max = times.last().copied().unwrap_or_default();
        Self { p50: at(0.5).unwrap_or(max), p99: at(0.99).unwrap_or(max), max }
    }
}

impl fmt::Display for Quantiles {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "p50 {} ms, p99 {} ms, max {} ms", self.p50, self.p99, self.max)
    }
}

/// A node that was replaced.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) node: String,
    /// If it is one.
    pub(super) gateway: Option<usize>,
    /// What took its place.
    pub(super) program: &'static str,
    pub(super) begun: Instant,
    /// Until the old process was gone.
    pub(super) gone: Duration,
    /// From then until the new one was ready and linked.
    pub(super) ready: Duration,
    /// For how long clients stood still meanwhile at the most, because this process had no turn on the machine.
    pub(super) stalled: Duration,
}

/// What its replacement was for clients.
#[derive(Debug, Serialize)]
pub(crate) struct Replaced {
    node: String,
    program: &'static str,
    gone_ms: u64,
    ready_ms: u64,
    /// Clients that left, each counted once.
    went: u64,
    /// How often one client left, at the most.
    reconnects_max: u64,
    at_their_turn: u64,
    told_good_bye: u64,
    cut: u64,
    /// Those that left in each tenth of the drain, and after it.
    tenths: [u64; 10],
    after: u64,
    /// How far the farthest tenth is from an even share, in standard deviations.
    sigmas: f64,
    is_even: bool,
    /// For how long this process had no turn on the machine, at the most.
    stalled_ms: u64,
    /// From leaving until it was in all its rooms elsewhere.
    back_ms: Quantiles,
}

/// The verdict.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) ok: bool,
    pub(super) findings: Vec<String>,
    pub(super) examples: Vec<String>,
    pub(super) seed: u64,
    pub(super) logics: u32,
    pub(super) gateways: u32,
    pub(super) clients: u32,
    pub(super) rate: f64,
    pub(super) drain_ms: u64,
    pub(super) flow: Flow,
    pub(super) replaced: Vec<Replaced>,
    /// Attempts to connect that came to nothing.
    pub(super) refused_attempts: u64,
    /// Commands that were put off by a gateway.
    pub(super) put_off: u64,
    /// Clients that are not in all their rooms at the end.
    pub(super) outside: u64,
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// What the replacement of node `number`, the first being 1, was for clients.
pub(super) fn replaced(number: usize, step: &Step, drain: Duration, all: &[Departure]) -> Replaced {
    let here: Vec<&Departure> = all.iter().filter(|departure| departure.step == number).collect();
    let mut times: HashMap<u32, u64> = HashMap::new();
    here.iter().for_each(|departure| *times.entry(departure.client).or_default() += 1);
    let by = |how| here.iter().filter(|departure| departure.how == how).count() as u64;
    // A drain begins with the first word of it.
    let begun = here.iter().filter_map(|departure| departure.told).min().unwrap_or(step.begun);
    let moments = here.iter().map(|departure| departure.left.saturating_duration_since(begun));
    let spread = Spread::of(moments, drain);
    Replaced {
        node: step.node.clone(),
        program: step.program,
        gone_ms: ms(step.gone),
        ready_ms: ms(step.ready),
        went: times.len() as u64,
        reconnects_max: times.values().copied().max().unwrap_or(0),
        at_their_turn: by(How::Turn),
        told_good_bye: by(How::GoodBye),
        cut: by(How::Cut),
        sigmas: spread.sigmas(),
        is_even: spread.is_even(step.stalled.as_secs_f64() / drain.as_secs_f64().max(f64::MIN_POSITIVE)),
        stalled_ms: ms(step.stalled),
        tenths: spread.tenths,
        after: spread.after,
        back_ms: Quantiles::of(here.iter().filter_map(|departure| departure.back).map(ms).collect()),
    }
}

/// Departures that were not from the gateway that was being replaced.
pub(super) fn astray(steps: &[Step], all: &[Departure]) -> u64 {
    let is_astray = |departure: &&Departure| {
        let step = departure.step.checked_sub(1).and_then(|number| steps.get(number));
        step.is_none_or(|step| step.gateway != Some(departure.gateway))
    };
    all.iter().filter(is_astray).count() as u64
}

impl Report {
    /// Says what is not as promised.
    pub(super) fn judge(&mut self, astray: u64) {
        let flow = &self.flow;
        let counts = [
            (flow.lost, "items lost"),
            (flow.duplicated, "items duplicated"),
            (flow.reordered, "items reordered"),
            (flow.wrong, "items or answers wrong"),
            (flow.resets, "resets"),
            (flow.gaps, "gaps"),
            (flow.failed_after_retry, "pushes failed after retry"),
            (flow.refused, "pushes refused"),
            (flow.pushed - flow.acknowledged, "pushes not acknowledged"),
            (self.outside, "clients are not in their rooms at the end"),
            (astray, "clients left a gateway that stayed"),
        ];
        let found = counts.iter().filter(|(count, _)| *count > 0);
        self.findings.extend(found.map(|(count, what)| format!("{count} {what}")));
        for node in &self.replaced {
            if node.reconnects_max > 1 {
                self.findings.push(format!("{}: a client left {} times", node.node, node.reconnects_max));
            }
            if node.cut > 0 {
                self.findings.push(format!("{}: {} clients were cut without a word", node.node, node.cut));
            }
            if !node.is_even && self.drain_ms > 0 {
                let Replaced { node, tenths, after, .. } = node;
                self.findings.push(format!("{node}: clients left unevenly: {tenths:?}, {after} after it"));
            }
        }
        self.ok = self.findings.is_empty();
    }
}

impl fmt::Display for Replaced {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { node, program, gone_ms, ready_ms, went, .. } = self;
        write!(
            to,
            "  {node:<10} {program}: gone after {gone_ms} ms, ready and linked {ready_ms} ms later; {went} clients went"
        )?;
        if self.went == 0 {
            return Ok(());
        }
        writeln!(
            to,
            ", {} at their turn, {} at the good-bye, {} cut; at most {} reconnect each",
            self.at_their_turn, self.told_good_bye, self.cut, self.reconnects_max
        )?;
        writeln!(
            to,
            "             tenths of the drain {:?}, {} after it: at most {:.1} σ from even (bound {SIGMAS_MAX} σ, and that we \
             stood still for {} ms)",
            self.tenths, self.after, self.sigmas, self.stalled_ms
        )?;
        write!(to, "             back in all rooms after {}", self.back_ms)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flow = &self.flow;
        writeln!(
            to,
            "  pushes     {} pushed, {} acknowledged in {}; {} failed after retry; repeated attempts {:?}",
            flow.pushed, flow.acknowledged, flow.acknowledged_ms, flow.failed_after_retry, flow.repeated
        )?;
        writeln!(
            to,
            "  clients    {} items delivered, {} refused attempts to connect, {} commands put off",
            flow.delivered, self.refused_attempts, self.put_off
        )?;
        for line in &self.replaced {
            writeln!(to, "{line}")?;
        }
        for line in &self.findings {
            writeln!(to, "  FOUND      {line}")?;
        }
        for line in &self.examples {
            writeln!(to, "             {line}")?;
        }
        let Self { logics, gateways, clients, seed, .. } = self;
        let most = self.replaced.iter().map(|node| node.reconnects_max).max().unwrap_or(0);
        let sigmas = self.replaced.iter().map(|node| node.sigmas).fold(0.0, f64::max);
        let back = self.replaced.iter().map(|node| node.back_ms.max).max().unwrap_or(0);
        write!(
            to,
            "chaos {} rolling redis(aof) {logics}×{gateways}×{clients} seed {seed}: {} pushes, {} nodes replaced, lost {}, duplicated {}, \
             reordered {}, {} resets, 5xx after retry {}, at most {most} reconnect a client and gateway, spread {sigmas:.1} σ, \
             all back within {back} ms",
            if self.ok { "ok    " } else { "FAILED" },
            flow.acknowledged,
            self.replaced.len(),
            flow.lost,
            flow.duplicated,
            flow.reordered,
            flow.resets,
            flow.failed_after_retry,
        )
    }
}

#[cfg(test)]
mod tests;
