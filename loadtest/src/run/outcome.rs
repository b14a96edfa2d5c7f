//! From what was seen to the report.

use super::Run;
use crate::judge::{Excuses, judge};
use crate::kernel::{self, KernelCounters};
use crate::latency::{Latency, Times};
use crate::publisher::Tally;
use crate::reactor::{Connections, Left};
use crate::report::{
    self, Counts, Frames, GatewayReport, Generator, Latencies, LogicReport, Percentiles, PlanSummary, Pushes,
    Ramp, Report, SlowReport,
};
use crate::tracker::{EXAMPLES_MAX, Seen};
use crate::world::Pace;

impl Run {
    /// The report, from what the loops left.
    pub(super) fn report(self, left: Vec<Left>, ramp: Ramp, complete: bool) -> Report {
        let rss_bytes = kernel::rss_bytes();
        let grown = rss_bytes.saturating_sub(self.rss_bytes);
        let generator = Generator {
            cpu_secs: kernel::cpu_secs() - self.cpu_secs,
            wall_secs: self.begun.elapsed().as_secs_f64(),
            rss_bytes,
            rss_bytes_per_client: grown as f64 / f64::from(self.plan.clients),
        };
        let kernel = KernelCounters::now().since(self.kernel);
        let ramp = self.ramp(&left, ramp);
        let mut frames = Frames::default();
        left.iter().for_each(|left| frames.add(&left.frames));
        let mut slow = self.slow(&left);
        let (mut seen, connections): (Vec<Seen>, Vec<_>) =
            left.into_iter().map(|left| (left.seen, left.connections)).unzip();
        let (counts, missed) = judge(&self.shared.course, &mut seen, &self.excuses());
        (slow.expected, slow.missed) = (missed.expected, missed.missed);
        slow.received = seen.iter().map(|seen| seen.slow_received).sum();
        let gateways = self.gateways(&counts, &connections);
        let mut totals = Counts::default();
        counts.iter().for_each(|counts| totals.add(counts));
        let tallies = self.publisher.tallies();
        let scheduled = self.shared.course.ledger.schedule.items.len() as u64;
        let pushes = total(tallies.iter().map(pushes_of), scheduled);
        let verdict = report::verdict(&totals, &pushes, &gateways, complete);
        let mut notes = self.targets.notes.clone();
        if !kernel.is_clean() {
            notes.push(
                "the verdict stands; only do not quote the latency figures, for the kernel of this machine dropped packets or connections, or sent some again"
                    .into(),
            );
        }
        if pushes.partial + pushes.refused + pushes.unknown > 0 {
            notes.push(format!(
                "not every push was taken everywhere: {} partial, {} refused, {} unknown; what the answers said so of is not lost",
                pushes.partial, pushes.refused, pushes.unknown
            ));
        }
        Report {
            verdict,
            complete,
            plan: self.summary(),
            totals,
            frames,
            slow,
            gateways,
            pushes,
            logics: self.logics(&tallies),
            latency: self.latency(&seen, &tallies),
            ramp,
            generator,
            kernel,
            examples: seen.into_iter().flat_map(|seen| seen.examples).take(EXAMPLES_MAX).collect(),
            notes,
        }
    }

    /// The ramp to its last greeting, which was a little before somebody looked.
    fn ramp(&self, left: &[Left], mut ramp: Ramp) -> Ramp {
        let mut handshakes = Times::default();
        left.iter().for_each(|left| handshakes.add(&left.arrivals.handshakes));
        ramp.handshake = Percentiles::of(handshakes.histogram());
        let last = left.iter().map(|left| left.arrivals.last).max().unwrap_or(0);
        if ramp.connected >= u64::from(self.plan.clients) {
            ramp.secs = last.saturating_sub(self.ramp_begun) as f64 / 1e6;
            ramp.connects_per_sec = ramp.connected as f64 / ramp.secs.max(1e-6);
        }
        ramp
    }

    /// What slow clients told, without their items.
    fn slow(&self, left: &[Left]) -> SlowReport {
        let world = &self.shared.course.world;
        let count = |pace| (0..world.clients).filter(|&client| world.pace(client) == pace).count() as u64;
        let mut report =
            SlowReport { stalled: count(Pace::Stalled), slow: count(Pace::Slow), ..SlowReport::default() };
        for slow in left.iter().map(|left| &left.slow) {
            report.closed += slow.closed.len() as u64;
            report.gapped += slow.gapped.len() as u64;
            report.disconnects += slow.connections.disconnects;
            report.reconnects += slow.connections.reconnects;
            for (code, count) in &slow.connections.close_codes {
                *report.close_codes.entry(*code).or_default() += count;
            }
        }
        report
    }

    fn excuses(&self) -> Excuses {
        let churn = |url: &String| self.plan.expect_churn.iter().any(|name| name == "all" || name == url);
        let us = |time: std::time::Duration| time.as_micros() as u64;
        Excuses {
            churn: self.plan.gateways.iter().map(churn).collect(),
            // A tick may come late when the one before it took long; then the item waits for two.
            slack: us(self.targets.window * 2 + super::QUIET),
            settle: us(self.plan.settle),
        }
    }

    fn summary(&self) -> PlanSummary {
        let plan = &self.plan;
        PlanSummary {
            clients: plan.clients,
            prefix: plan.prefix.clone(),
            rooms: plan.rooms,
            rooms_per_client: plan.rooms_per_client,
            clients_per_user: plan.clients_per_user,
            rate: plan.rate,
            duration_secs: plan.duration.as_secs_f64(),
            size: plan.size,
            mix: plan.mix.to_string(),
            order: plan.order.to_string(),
            deflate_share: plan.deflate_share,
            urgent_share: plan.urgent_share,
            window_ms: self.targets.window.as_millis() as u64,
            seed: plan.seed,
            threads: self.threads,
        }
    }

    fn gateways(&self, counts: &[Counts], loops: &[Vec<Connections>]) -> Vec<GatewayReport> {
        let world = &self.shared.course.world;
        let churn = self.excuses().churn;
        let report = |(at, url): (usize, &String)| {
            let named = self.targets.names.iter().find(|(_, index)| **index as usize == at);
            let mut report = GatewayReport {
                url: url.clone(),
                name: named.map(|(name, _)| name.clone()),
                clients: u64::from(world.clients.saturating_sub(at as u32).div_ceil(world.gateways)),
                churn_expected: churn[at],
                counts: counts[at],
                disconnects: 0,
                reconnects: 0,
                failed_attempts: 0,
                close_codes: Default::default(),
                gaps: 0,
            };
            for seen in loops.iter().map(|gateways| &gateways[at]) {
                report.disconnects += seen.disconnects;
                report.reconnects += seen.reconnects;
                report.failed_attempts += seen.failures;
                report.gaps += seen.gaps;
                for (code, count) in &seen.close_codes {
                    *report.close_codes.entry(*code).or_default() += count;
                }
            }
            report
        };
        self.plan.gateways.iter().enumerate().map(report).collect()
    }

    fn logics(&self, tallies: &[Tally]) -> Vec<LogicReport> {
        let ledger = &self.shared.course.ledger;
        let mut scheduled = vec![0_u64; self.plan.logics.len()];
        for item in &ledger.schedule.items {
            scheduled[self.shared.course.world.stream(item.stream).logic as usize] += 1;
        }
        let each = self.plan.logics.iter().zip(tallies).zip(scheduled);
        let report = |((url, tally), scheduled): ((&String, &Tally), u64)| LogicReport {
            url: url.clone(),
            pushes: total([pushes_of(tally)].into_iter(), scheduled),
            errors: tally.errors.clone(),
        };
        each.map(report).collect()
    }

    fn latency(&self, seen: &[Seen], tallies: &[Tally]) -> Latencies {
        let course = &self.shared.course;
        let mut all = Latency::default();
        seen.iter().for_each(|seen| all.add(&seen.latency));
        let (wait, urgent_wait) = course.ledger.waits(|stream| course.world.stream(stream).urgent);
        let (mut push, mut push_service) =
            (crate::latency::Times::default(), crate::latency::Times::default());
        for tally in tallies {
            push.add(&tally.total);
            push_service.add(&tally.service);
        }
        let of = |times: &crate::latency::Times| Percentiles::of(times.histogram());
        Latencies {
            total: of(&all.total),
            wait: of(&wait),
            fanout: of(&all.fanout),
            urgent_total: of(&all.total_urgent),
            urgent_wait: of(&urgent_wait),
            urgent_fanout: of(&all.fanout_urgent),
            push: of(&push),
            push_service: of(&push_service),
        }
    }
}

fn pushes_of(tally: &Tally) -> Pushes {
    let Tally { sent, accepted, refused, unknown, partial, .. } = *tally;
    Pushes { scheduled: 0, sent, accepted, refused, unknown, unsent: 0, partial }
}

fn total(parts: impl Iterator<Item = Pushes>, scheduled: u64) -> Pushes {
    let mut all = Pushes { scheduled, ..Pushes::default() };
    for part in parts {
        all.sent += part.sent;
        all.accepted += part.accepted;
        all.refused += part.refused;
        all.unknown += part.unknown;
        all.partial += part.partial;
    }
    all.unsent = scheduled.saturating_sub(all.sent);
    all
}
