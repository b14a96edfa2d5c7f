//! What a run found: for programs as JSON (camelCase), for people as text.

mod bottleneck;
pub(crate) mod format;
mod html;
mod measured;
mod origin;
mod text;

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::threshold::Threshold;

pub use crate::kernel::Kernel;
pub use crate::tracker::Counts;
pub use html::growth;
pub(crate) use measured::Done;
pub use measured::{Cost, FloorReport, Lateness, Measured, Rates, RoleReport, SCHEMA, Whole, floor_plan};
pub use origin::Origin;

/// Everything that a run found.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// What it cost, and how far it can be trusted.
    #[serde(flatten)]
    pub measured: Measured,
    /// Whether it is good.
    pub verdict: Verdict,
    /// The run was not interrupted.
    pub complete: bool,
    /// What was asked.
    pub plan: PlanSummary,
    /// Over all gateways, without slow clients.
    pub totals: Counts,
    /// What came as messages and bytes, to all clients.
    pub frames: Frames,
    /// The clients that were to read slowly or never.
    pub slow: SlowReport,
    /// By gateway, in the order in which they were given.
    pub gateways: Vec<GatewayReport>,
    /// Over all logic nodes.
    pub pushes: Pushes,
    /// How fast calls were answered, if publishers waited for nothing else.
    pub closed_loop: Option<ClosedLoop>,
    /// By logic node, in the order in which they were given.
    pub logics: Vec<LogicReport>,
    /// How long things took.
    pub latency: Latencies,
    /// How connecting went.
    pub ramp: Ramp,
    /// What the processes of the load tool used.
    pub generator: Generator,
    /// Those that held the clients.
    pub agents: Vec<AgentReport>,
    /// What the kernel dropped meanwhile.
    pub kernel: Kernel,
    /// The first few things that went wrong.
    pub examples: Vec<String>,
    /// What a reader should know beside the numbers.
    pub notes: Vec<String>,
}

/// Whether a run is good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// Nothing was lost, duplicated, reordered or corrupted, and what was to be done was done.
    pub ok: bool,
    /// Why not.
    pub reasons: Vec<String>,
}

/// What was asked of a run.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanSummary {
    /// Clients.
    pub clients: u32,
    /// What names begin with.
    pub prefix: String,
    /// Rooms.
    pub rooms: u32,
    /// Rooms of each client.
    pub rooms_per_client: u32,
    /// Clients of each user.
    pub clients_per_user: u32,
    /// Pushes a second.
    pub rate: f64,
    /// For how long.
    pub duration_secs: f64,
    /// Bytes of `data`.
    pub size: usize,
    /// Weights of the kinds of target.
    pub mix: String,
    /// How targets of a kind followed each other.
    pub order: String,
    /// The part of the clients that offered compression.
    pub deflate_share: f64,
    /// The part of urgent pushes.
    pub urgent_share: f64,
    /// The merge window that was reckoned with.
    pub window_ms: u64,
    /// Of the random numbers.
    pub seed: u64,
    /// Processes that held the clients.
    pub processes: u32,
    /// Event loops of each.
    pub threads: u32,
    /// The part of the clients that went away and came back, a second.
    pub churn: f64,
    /// The part of the clients that left a room and joined it again, a second.
    pub moves: f64,
    /// The exponent of Zipf's law for the sizes of rooms.
    pub zipf: f64,
    /// Pushes of one stream in one call, at most.
    pub batch: u32,
    /// Clients used other gateways when theirs was away.
    pub failover: bool,
    /// The part of the clients that never read.
    pub stalled_share: f64,
    /// The part of the clients that read slowly.
    pub slow_share: f64,
    /// What is later than this is late; none: nothing is.
    pub late_ms: Option<u64>,
}

/// Push messages as they came, to all clients. Items are in `totals` and `slow`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Frames {
    /// Push messages, one frame each.
    pub messages: u64,
    /// Those of them that were compressed.
    pub deflated: u64,
    /// Their payloads on the wire, in bytes.
    pub wire_bytes: u64,
    /// The same as text: more, where they were compressed.
    pub text_bytes: u64,
}

impl Frames {
    pub(crate) fn add(&mut self, other: &Self) {
        self.messages += other.messages;
        self.deflated += other.deflated;
        self.wire_bytes += other.wire_bytes;
        self.text_bytes += other.text_bytes;
    }
}

/// Clients that read slowly or never. What they miss is expected; what they get twice, changed or in disorder
/// is in the counts of their gateway, as anybody's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SlowReport {
    /// Clients that never read after their hello.
    pub stalled: u64,
    /// Clients that read a few bytes a second.
    pub slow: u64,
    /// Those of both that were closed as slow consumers (4002), as far as their sockets told at the end.
    pub closed: u64,
    /// Those that were told of a gap.
    pub gapped: u64,
    /// Items accepted with 202, times the slow clients that each should reach.
    pub expected: u64,
    /// Items received for the first time, those that were read at the end of the run included.
    pub received: u64,
    /// Accepted and never received.
    pub missed: u64,
    /// Connections lost after the hello.
    pub disconnects: u64,
    /// Connections that came back.
    pub reconnects: u64,
    /// Close codes of lost connections; 1006: the connection ended without one.
    pub close_codes: BTreeMap<u16, u64>,
}

/// One gateway.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GatewayReport {
    /// Where clients reach it.
    pub url: String,
    /// What logic nodes call it, if they said so.
    pub name: Option<String>,
    /// Clients that belong to it.
    pub clients: u64,
    /// Its clients were expected to lose connections.
    pub churn_expected: bool,
    /// What its clients got.
    pub counts: Counts,
    /// Connections lost after the hello.
    pub disconnects: u64,
    /// Connections that its clients closed to come back.
    pub churned: u64,
    /// Rooms that its clients left and joined again.
    pub moves: u64,
    /// Connections that came back.
    pub reconnects: u64,
    /// Attempts that did not come to a hello.
    pub failed_attempts: u64,
    /// Close codes of lost connections; 1006: the connection ended without one.
    pub close_codes: BTreeMap<u16, u64>,
    /// `gap` and `reset` messages.
    pub gaps: u64,
}

/// Pushes, by what became of them: scheduled = sent + unsent, sent = accepted + refused + unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pushes {
    /// Whose time came or would have come.
    pub scheduled: u64,
    /// Sent to a logic node.
    pub sent: u64,
    /// 202.
    pub accepted: u64,
    /// An answer that says that nothing was done.
    pub refused: u64,
    /// No answer, or one that leaves it open.
    pub unknown: u64,
    /// Not sent before the run ended.
    pub unsent: u64,
    /// Accepted, and at least one gateway did not take it.
    pub partial: u64,
}

/// Publishing in a closed loop: on each connection the next call follows the last answer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClosedLoop {
    /// Connections to each logic node.
    pub connections: usize,
    /// For how long.
    pub secs: f64,
    /// Calls answered 202 a second.
    pub calls_per_sec: f64,
}

/// One logic node.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LogicReport {
    /// Where it is.
    pub url: String,
    /// What became of the pushes sent to it.
    pub pushes: Pushes,
    /// Why pushes were not accepted or not taken by a gateway, and how often.
    pub errors: BTreeMap<String, u64>,
}

/// How long things took, from the intended time of each push (open model).
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Latencies {
    /// Intended time to receipt; items that wait for the window.
    pub total: Percentiles,
    /// Intended time to the first receipt at each gateway: acceptance, link and merge window.
    pub wait: Percentiles,
    /// First receipt at a gateway to each receipt there: the writing of one tick.
    pub fanout: Percentiles,
    /// As `total`, of urgent items.
    pub urgent_total: Percentiles,
    /// As `wait`, of urgent items.
    pub urgent_wait: Percentiles,
    /// As `fanout`, of urgent items.
    pub urgent_fanout: Percentiles,
    /// Intended time to 202.
    pub push: Percentiles,
    /// Request to 202.
    pub push_service: Percentiles,
}

/// A distribution of times, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Percentiles {
    /// How many times.
    pub count: u64,
    /// The shortest.
    pub min_ms: f64,
    /// The mean.
    pub mean_ms: f64,
    /// Half are shorter.
    pub p50_ms: f64,
    /// 90 % are shorter.
    pub p90_ms: f64,
    /// 99 % are shorter.
    pub p99_ms: f64,
    /// 99.9 % are shorter.
    pub p999_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

impl Percentiles {
    /// Of a histogram of µs.
    pub(crate) fn of(histogram: &Histogram<u64>) -> Self {
        if histogram.is_empty() {
            return Self::default();
        }
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1_000.0;
        Self {
            count: histogram.len(),
            min_ms: histogram.min() as f64 / 1_000.0,
            mean_ms: histogram.mean() / 1_000.0,
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: histogram.max() as f64 / 1_000.0,
        }
    }
}

/// How connecting went.
#[derive(Debug, Clone, Copy, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Ramp {
    /// Clients that were greeted when it ended.
    pub connected: u64,
    /// How long it took, to the last greeting.
    pub secs: f64,
    /// Greeted clients a second: connects and handshakes.
    pub connects_per_sec: f64,
    /// From a client's connect to its first hello.
    pub handshake: Percentiles,
}

/// What the processes of the load tool used; a cluster in the same process is part of it.
#[derive(Debug, Clone, Copy, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Generator {
    /// CPU time over the whole run.
    pub cpu_secs: f64,
    /// Wall time over the whole run.
    pub wall_secs: f64,
    /// Memory at the end of the run.
    pub rss_bytes: u64,
    /// By how much memory grew from before the first connect to the end, a client. A fixed part of a few MiB
    /// (histograms, read buffers) is in it, so small runs show more.
    pub rss_bytes_per_client: f64,
}

/// One process that held clients.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentReport {
    /// What the report calls it.
    pub name: String,
    /// Its process, on its machine.
    pub pid: u32,
    /// Its clients.
    pub clients: u64,
    /// CPU time over the whole run; 0 where it is part of this process.
    pub cpu_secs: f64,
    /// Memory at the end of the run; 0 where it is part of this process.
    pub rss_bytes: u64,
    /// How wrong its clock may be.
    pub clock_error_ms: f64,
    /// Why nothing is known of its clients.
    pub lost: Option<String>,
}

impl Report {
    /// Exit code of a program that ran this: 0 good, 1 not, 99 good but a threshold is missed.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        let missed = self.measured.thresholds.iter().any(|judged| !judged.held);
        if !self.verdict.ok {
            1
        } else if missed {
            99
        } else {
            0
        }
    }

    /// Judges what is asked of the figures; what came of it is part of the report from then on.
    ///
    /// # Panics
    /// Never: a report is structs of numbers and text.
    pub fn judge(&mut self, thresholds: &[Threshold]) {
        let figures = serde_json::to_value(&*self).expect("structs of numbers and text are JSON");
        self.measured.thresholds =
            thresholds.iter().map(|threshold| threshold.judge(&figures, None)).collect();
    }

    /// The report as JSON.
    ///
    /// # Panics
    /// Never: it is structs of numbers and text.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("structs of numbers and text are JSON")
    }
}

/// Judges the parts of a report.
pub(crate) fn verdict(
    totals: &Counts,
    pushes: &Pushes,
    gateways: &[GatewayReport],
    complete: bool,
) -> Verdict {
    let faults = [
        (totals.lost, "lost"),
        (totals.duplicated, "duplicated"),
        (totals.reordered, "reordered"),
        (totals.corrupted, "corrupted"),
        (totals.unexpected, "received but not meant for the client"),
        (totals.late, "received later than asked for"),
    ];
    let mut reasons: Vec<String> = faults
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    for gateway in gateways.iter().filter(|gateway| gateway.disconnects > 0 && !gateway.churn_expected) {
        let GatewayReport { url, disconnects, close_codes, .. } = gateway;
        reasons.push(format!("{disconnects} connections to {url} were lost (codes {close_codes:?})"));
    }
    if complete && pushes.unsent > 0 {
        reasons.push(format!("{} pushes were never sent: publishing fell behind", pushes.unsent));
    }
    if complete && pushes.scheduled > 0 && pushes.accepted == 0 {
        reasons.push("no push was accepted".into());
    }
    Verdict { ok: reasons.is_empty(), reasons }
}
