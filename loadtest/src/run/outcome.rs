//! From what was seen to the report.

use super::Run;
use super::crowd::Crowd;
use crate::account::Taken;
use crate::agent::message::{Used, Verdict};
use crate::judge::{Excuses, Slow};
use crate::kernel::{self, KernelCounters};
use crate::latency::{Latency, Times};
use crate::publisher::Tally;
use crate::reactor::{Arrivals, Connections, SlowSeen};
use crate::report::{
    self, AgentReport, ClosedLoop, Counts, Done, Frames, GatewayReport, Generator, Latencies, LogicReport,
    Measured, Percentiles, PlanSummary, Pushes, Ramp, Report, SlowReport,
};
use crate::tracker::EXAMPLES_MAX;
use crate::world::Pace;

/// A clock that is more wrong than this is worth a note, µs.
const CLOCK_ERROR_US_MAX: u64 = 2_000;

/// What all agents found together.
struct Found {
    counts: Vec<Counts>,
    connections: Vec<Connections>,
    frames: Frames,
    slow: SlowSeen,
    missed: Slow,
    slow_received: u64,
    arrivals: Arrivals,
    latency: Latency,
    waits: (Times, Times),
    examples: Vec<String>,
    used: Used,
    clock_error_us: u64,
}

impl Found {
    fn of(verdicts: Vec<Option<Verdict>>, gateways: usize) -> Self {
        let mut all = Self {
            counts: vec![Counts::default(); gateways],
            connections: vec![Connections::default(); gateways],
            frames: Frames::default(),
            slow: SlowSeen::default(),
            missed: Slow::default(),
            slow_received: 0,
            arrivals: Arrivals::default(),
            latency: Latency::default(),
            waits: (Times::default(), Times::default()),
            examples: Vec::new(),
            used: Used::default(),
            clock_error_us: 0,
        };
        for verdict in verdicts.into_iter().flatten() {
            all.counts.iter_mut().zip(&verdict.counts).for_each(|(sum, part)| sum.add(part));
            all.connections.iter_mut().zip(&verdict.connections).for_each(|(sum, part)| sum.add(part));
            all.frames.add(&verdict.frames);
            all.slow.add(&verdict.slow);
            all.missed.expected += verdict.missed.expected;
            all.missed.missed += verdict.missed.missed;
            all.slow_received += verdict.slow_received;
            all.arrivals.add(&verdict.arrivals);
            all.latency.add(&verdict.latency);
            all.waits.0.add(&verdict.waits.0);
            all.waits.1.add(&verdict.waits.1);
            all.examples.extend(verdict.examples);
            let used = verdict.used.unwrap_or_default();
            all.used.cpu_secs += used.cpu_secs;
            all.used.rss_bytes += used.rss_bytes;
            all.used.grown_bytes += used.grown_bytes;
            all.clock_error_us = all.clock_error_us.max(verdict.clock_error_us);
        }
        all.examples.truncate(EXAMPLES_MAX);
        all
    }
}

impl Run {
    /// The report, from what the agents found.
    pub(super) fn report(
        &self,
        (crowd, mut taken): (&Crowd, Taken),
        verdicts: Vec<Option<Verdict>>,
        ramp: Ramp,
        complete: bool,
    ) -> Report {
        let kernel = KernelCounters::now().since(self.kernel);
        let agents = self.agent_reports(crowd, &verdicts);
        let found = Found::of(verdicts, self.plan.gateways.len());
        let generator = self.generator(&found.used);
        let gateways = self.gateways(&found.counts, &found.connections);
        let mut totals = Counts::default();
        found.counts.iter().for_each(|counts| totals.add(counts));
        let tallies = self.publisher.tallies();
        let sent = tallies.iter().map(|tally| tally.sent).sum();
        let scheduled = if self.plan.closed { sent } else { self.desk.ledger.schedule.items.len() as u64 };
        let pushes = total(tallies.iter().map(pushes_of), scheduled);
        let mut verdict = report::verdict(&totals, &pushes, &gateways, complete);
        for agent in &agents {
            if let Some(why) = &agent.lost {
                let AgentReport { name, clients, .. } = agent;
                verdict.ok = false;
                verdict
                    .reasons
                    .push(format!("{name} is lost, and what its {clients} clients saw with it: {why}"));
            }
        }
        let mut notes = self.notes(crowd, &pushes, &found);
        notes.append(&mut taken.notes);
        let done = Done {
            items: totals.received + found.slow_received,
            frames: found.frames.messages,
            connections: ramp.connected,
            kernel,
        };
        Report {
            measured: Measured::of(taken, self.begun_at, &done, &self.publisher.late()),
            verdict,
            complete,
            plan: self.summary(),
            totals,
            frames: found.frames,
            slow: self.slow(&found),
            gateways,
            pushes,
            closed_loop: self.plan.closed.then(|| ClosedLoop {
                connections: self.plan.publisher_connections,
                secs: self.published.as_secs_f64(),
                calls_per_sec: pushes.accepted as f64 / self.published.as_secs_f64().max(1e-3),
            }),
            logics: self.logics(&tallies),
            latency: self.latency(&found, &tallies),
            ramp: self.ramp(&found.arrivals, ramp),
            generator,
            agents,
            kernel,
            examples: found.examples,
            notes,
        }
    }

    /// What this process used, and the agents' processes.
    fn generator(&self, agents: &Used) -> Generator {
        let rss_bytes = kernel::rss_bytes();
        // One agent is a part of this process; others are all that grows with the clients.
        let grown =
            if self.agents > 1 { agents.grown_bytes } else { rss_bytes.saturating_sub(self.rss_bytes) };
        Generator {
            cpu_secs: kernel::cpu_secs() - self.cpu_secs + agents.cpu_secs,
            wall_secs: self.begun.elapsed().as_secs_f64(),
            rss_bytes: rss_bytes + agents.rss_bytes,
            rss_bytes_per_client: grown as f64 / f64::from(self.plan.clients),
        }
    }

    fn agent_reports(&self, crowd: &Crowd, verdicts: &[Option<Verdict>]) -> Vec<AgentReport> {
        let lost = crowd.lost();
        let each = (0_u32..).zip(&crowd.members).zip(verdicts);
        let report = |((number, member), verdict): ((u32, &super::crowd::Member), &Option<Verdict>)| {
            let used = verdict.as_ref().and_then(|verdict| verdict.used).unwrap_or_default();
            let error_us = verdict.as_ref().map_or(0, |verdict| verdict.clock_error_us);
            AgentReport {
                name: member.name.clone(),
                pid: member.join.pid,
                clients: u64::from(self.plan.clients.saturating_sub(number).div_ceil(self.agents)),
                cpu_secs: used.cpu_secs,
                rss_bytes: used.rss_bytes,
                clock_error_ms: error_us as f64 / 1e3,
                lost: lost.get(&number).cloned(),
            }
        };
        each.map(report).collect()
    }

    /// What a reader should know beside the numbers.
    fn notes(&self, crowd: &Crowd, pushes: &Pushes, found: &Found) -> Vec<String> {
        let mut notes = self.targets.notes.clone();
        notes.extend(crowd.notes.iter().cloned());
        if pushes.partial + pushes.refused + pushes.unknown > 0 {
            notes.push(format!(
                "not every push was taken everywhere: {} partial, {} refused, {} unknown; what the answers said so of is not lost",
                pushes.partial, pushes.refused, pushes.unknown
            ));
        }
        if !self.plan.gateways.len().is_multiple_of(self.agents as usize) {
            notes.push(format!(
                "{} agents share the clients of a gateway: an item's fan-out counts from its first receipt in the same agent",
                self.agents
            ));
        }
        if found.clock_error_us > CLOCK_ERROR_US_MAX {
            notes.push(format!(
                "clocks of agents may be wrong by {:.1} ms, and so may latencies",
                found.clock_error_us as f64 / 1e3
            ));
        }
        notes
    }

    /// The ramp to its last greeting, which was a little before somebody looked.
    fn ramp(&self, arrivals: &Arrivals, mut ramp: Ramp) -> Ramp {
        ramp.handshake = Percentiles::of(arrivals.handshakes.histogram());
        if ramp.connected >= u64::from(self.plan.clients) {
            ramp.secs = arrivals.last.saturating_sub(self.ramp_begun) as f64 / 1e6;
            ramp.connects_per_sec = ramp.connected as f64 / ramp.secs.max(1e-6);
        }
        ramp
    }

    /// What slow clients told, and their items.
    fn slow(&self, found: &Found) -> SlowReport {
        let world = &self.desk.world;
        let count = |pace| (0..world.clients).filter(|&client| world.pace(client) == pace).count() as u64;
        let SlowSeen { connections, closed, gapped } = &found.slow;
        SlowReport {
            stalled: count(Pace::Stalled),
            slow: count(Pace::Slow),
            closed: *closed,
            gapped: *gapped,
            expected: found.missed.expected,
            received: found.slow_received,
            missed: found.missed.missed,
            disconnects: connections.disconnects,
            reconnects: connections.reconnects,
            close_codes: connections.close_codes.clone(),
        }
    }

    pub(super) fn excuses(&self, interrupted: bool) -> Excuses {
        let us = |time: std::time::Duration| time.as_micros() as u64;
        Excuses {
            churn: self.may_churn(),
            // A tick may come late when the one before it took long; then the item waits for two.
            slack: us(self.targets.window * 2 + super::QUIET),
            settle: us(self.plan.settle),
            interrupted,
        }
    }

    /// Of each gateway, whether its clients may lose their connection.
    fn may_churn(&self) -> Vec<bool> {
        let churn = |url: &String| self.plan.expect_churn.iter().any(|name| name == "all" || name == url);
        self.plan.gateways.iter().map(churn).collect()
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
            processes: self.agents,
            threads: self.threads,
            churn: plan.churn,
            moves: plan.moves,
            zipf: plan.zipf,
            batch: plan.batch,
            failover: plan.failover,
            stalled_share: plan.stalled_share,
            slow_share: plan.slow_share,
            late_ms: plan.late.map(|late| late.as_millis() as u64),
        }
    }

    fn gateways(&self, counts: &[Counts], connections: &[Connections]) -> Vec<GatewayReport> {
        let world = &self.desk.world;
        let churn = self.may_churn();
        let report = |(at, url): (usize, &String)| {
            let named = self.targets.names.iter().find(|(_, index)| **index as usize == at);
            let seen = connections[at].clone();
            GatewayReport {
                url: url.clone(),
                name: named.map(|(name, _)| name.clone()),
                clients: u64::from(world.clients.saturating_sub(at as u32).div_ceil(world.gateways)),
                churn_expected: churn[at],
                counts: counts[at],
                disconnects: seen.disconnects,
                churned: seen.churned,
                moves: seen.moves,
                reconnects: seen.reconnects,
                failed_attempts: seen.failures,
                close_codes: seen.close_codes,
                gaps: seen.gaps,
            }
        };
        self.plan.gateways.iter().enumerate().map(report).collect()
    }

    fn logics(&self, tallies: &[Tally]) -> Vec<LogicReport> {
        let ledger = &self.desk.ledger;
        let mut scheduled = vec![0_u64; self.plan.logics.len()];
        for item in &ledger.schedule.items {
            scheduled[self.desk.world.stream(item.stream).logic as usize] += 1;
        }
        let each = self.plan.logics.iter().zip(tallies).zip(scheduled);
        let report = |((url, tally), scheduled): ((&String, &Tally), u64)| LogicReport {
            url: url.clone(),
            pushes: total(
                [pushes_of(tally)].into_iter(),
                if self.plan.closed { tally.sent } else { scheduled },
            ),
            errors: tally.errors.clone(),
        };
        each.map(report).collect()
    }

    fn latency(&self, found: &Found, tallies: &[Tally]) -> Latencies {
        let (all, (wait, urgent_wait)) = (&found.latency, &found.waits);
        let (mut push, mut push_service) = (Times::default(), Times::default());
        for tally in tallies {
            push.add(&tally.total);
            push_service.add(&tally.service);
        }
        let of = |times: &Times| Percentiles::of(times.histogram());
        // In a closed loop there are no intended times to count from.
        let since = |times: &Times| if self.plan.closed { Percentiles::default() } else { of(times) };
        Latencies {
            total: since(&all.total),
            wait: since(wait),
            fanout: of(&all.fanout),
            urgent_total: since(&all.total_urgent),
            urgent_wait: since(urgent_wait),
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
