//! What a run cost and how far it can be trusted: the part of a report that is not about items.

use std::time::SystemTime;

use serde::Serialize;

use super::{Kernel, Origin, Percentiles, bottleneck};
use crate::account::{Role, RoleUse, Taken};
use crate::floor;
use crate::latency::Times;
use crate::threshold::Judged;
use crate::timeline::Point;

/// Version of the JSON of reports. It grows when a member changes its meaning or goes; new ones may come.
pub const SCHEMA: u32 = 1;

/// What a run cost and how far it can be trusted.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Measured {
    /// Version of this form of report.
    pub schema: u32,
    /// Where it comes from.
    pub origin: Origin,
    /// Why its times and costs are no result; empty: they may be quoted. What arrived, arrived.
    pub invalid: Vec<String>,
    /// Why the generator, not the server, is what was measured; empty: it is not.
    pub bottleneck: Vec<String>,
    /// How much came, a second.
    pub rates: Rates,
    /// How late the generator came.
    pub lateness: Lateness,
    /// What each role used.
    pub roles: Vec<RoleReport>,
    /// Of the whole machine.
    pub whole: Whole,
    /// The floor of this run, if it was measured.
    pub floor: Option<FloorReport>,
    /// What was asked of the figures.
    pub thresholds: Vec<Judged>,
    /// Second by second.
    pub timeline: Vec<Point>,
}

/// How much came, from the first second with an item to the last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rates {
    /// Over how long.
    pub secs: f64,
    /// Items a second, over all clients.
    pub items_per_sec: f64,
    /// Push messages a second.
    pub frames_per_sec: f64,
    /// Payload bytes a second.
    pub bytes_per_sec: f64,
    /// Items of the best second.
    pub items_per_sec_max: f64,
}

/// How late the generator itself came while it published. Its own lateness is part of every latency it measures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Lateness {
    /// The longest time that an event loop of the clients was away from its sockets.
    pub loop_ms_max: f64,
    /// The part of the time in which event loops were not waiting, in the busiest second, 0 to 1.
    pub busy_max: f64,
    /// The same over all seconds.
    pub busy: f64,
    /// By how much pushes were offered later than intended, whatever the answers to others did.
    pub publisher: Percentiles,
}

/// What a role used, and that divided by what was done.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RoleReport {
    /// What it used.
    #[serde(flatten)]
    pub used: RoleUse,
    /// The same by item, frame and connection.
    pub cost: Cost,
}

/// What one of something cost. `None`: there was none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cost {
    /// CPU time from the first push to the last receipt, divided by items received, µs.
    pub cpu_us_per_item: Option<f64>,
    /// The same divided by push messages received, µs.
    pub cpu_us_per_frame: Option<f64>,
    /// CPU time while clients connected and settled, divided by connections, µs.
    pub cpu_us_per_connection: Option<f64>,
    /// By how much memory grew until all were connected, divided by connections.
    pub bytes_per_connection: Option<f64>,
}

/// The whole machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Whole {
    /// Memory in use before the first connect, the kernel's and strangers' included.
    pub memory_begin_bytes: u64,
    /// The same with all clients connected.
    pub memory_hold_bytes: u64,
    /// Bytes through the loopback interface.
    pub loopback_bytes: u64,
}

/// The floor of a run, and the run above it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FloorReport {
    /// CPU time of the gateways for a frame ÷ that of a bare send.
    pub gateway_ratio: Option<f64>,
    /// CPU time of the generators for a frame ÷ that of a bare read.
    pub generator_ratio: Option<f64>,
    /// The floor itself.
    pub report: floor::Report,
}

/// What was done, to divide by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Done {
    pub(crate) items: u64,
    pub(crate) frames: u64,
    pub(crate) connections: u64,
    pub(crate) kernel: Kernel,
}

impl Measured {
    /// Of what was taken in a run that did so much. `publisher`: by how much pushes were offered too late.
    pub(crate) fn of(taken: Taken, begun: SystemTime, done: &Done, publisher: &Times) -> Self {
        let timeline = taken.timeline.into_points();
        let roles: Vec<RoleReport> = taken.roles.into_iter().map(|used| RoleReport::of(used, done)).collect();
        let lateness = Lateness::of(&timeline, Percentiles::of(publisher.histogram()));
        let origin = Origin::this(begun);
        Self {
            schema: SCHEMA,
            invalid: done.kernel.faults(),
            bottleneck: bottleneck::find(&timeline, &lateness, origin.machine.cores),
            origin,
            rates: Rates::of(&timeline),
            lateness,
            roles,
            whole: Whole {
                memory_begin_bytes: taken.machine_memory_begin,
                memory_hold_bytes: taken.machine_memory_hold,
                loopback_bytes: taken.loopback_bytes,
            },
            floor: None,
            thresholds: Vec::new(),
            timeline,
        }
    }

    /// A role, if it has processes on this machine.
    #[must_use]
    pub fn role(&self, role: Role) -> Option<&RoleReport> {
        self.roles.iter().find(|each| each.used.role == role)
    }

    /// Puts a floor beside the costs.
    pub fn set_floor(&mut self, report: floor::Report) {
        let ratio = |role, floor: f64| {
            let cost = self.role(role)?.cost.cpu_us_per_frame?;
            (floor > 0.0).then_some(cost / floor)
        };
        self.floor = Some(FloorReport {
            gateway_ratio: ratio(Role::Gateway, report.send_cpu_us),
            generator_ratio: ratio(Role::Generator, report.receive_cpu_us),
            report,
        });
    }
}

impl Rates {
    fn of(timeline: &[Point]) -> Self {
        let came = |point: &Point| point.received > 0;
        let Some(first) = timeline.iter().position(came) else { return Self::default() };
        let last = timeline.iter().rposition(came).unwrap_or(first);
        let points = &timeline[first..=last];
        let secs: f64 = points.iter().map(|point| point.secs).sum();
        let per_sec = |of: fn(&Point) -> u64| points.iter().map(of).sum::<u64>() as f64 / secs.max(1e-3);
        let best = points.iter().map(|point| point.received as f64 / point.secs.max(1e-3));
        Self {
            secs,
            items_per_sec: per_sec(|point| point.received),
            frames_per_sec: per_sec(|point| point.frames),
            bytes_per_sec: per_sec(|point| point.bytes),
            items_per_sec_max: best.fold(0.0, f64::max),
        }
    }
}

impl Lateness {
    pub(super) fn of(timeline: &[Point], publisher: Percentiles) -> Self {
        let points: Vec<&Point> = timeline.iter().filter(|point| bottleneck::counts(point)).collect();
        let secs: f64 = points.iter().map(|point| point.secs).sum();
        let busy: f64 = points.iter().map(|point| point.busy * point.secs).sum();
        let most = |of: fn(&Point) -> f64| points.iter().map(|point| of(point)).fold(0.0, f64::max);
        Self {
            loop_ms_max: most(|point| point.late_ms),
            busy_max: most(|point| point.busy),
            busy: if secs > 0.0 { busy / secs } else { 0.0 },
            publisher,
        }
    }
}

impl RoleReport {
    fn of(used: RoleUse, done: &Done) -> Self {
        let by = |amount: f64, count: u64| (count > 0).then(|| amount / count as f64);
        let pushing = used.cpu_pushing.secs() * 1e6;
        let cost = Cost {
            cpu_us_per_item: by(pushing, done.items),
            cpu_us_per_frame: by(pushing, done.frames),
            cpu_us_per_connection: by(used.cpu_connecting.secs() * 1e6, done.connections),
            bytes_per_connection: by(used.grown_bytes() as f64, done.connections),
        };
        Self { used, cost }
    }
}

/// What the floor of a run is to be: as many connections, and frames like those that came, in the same rhythm.
/// `None`: nothing came, so there is nothing to compare.
#[must_use]
pub fn floor_plan(report: &super::Report) -> Option<floor::Plan> {
    let (frames, connected) = (report.frames, u32::try_from(report.ramp.connected).ok()?);
    if frames.messages == 0 || connected == 0 {
        return None;
    }
    // A server's frame header is 2 B, or 4 B from 126 B on (RFC 6455 §5.2).
    let payload = frames.wire_bytes / frames.messages;
    let bytes = payload + if payload < 126 { 2 } else { 4 };
    Some(floor::Plan {
        connections: connected,
        bytes: (bytes as usize).clamp(floor::BYTES_MIN, floor::BYTES_MAX),
        // Enough frames for a steady mean, few enough for a million connections.
        rounds: (400_000 / connected).clamp(4, 40),
        every: std::time::Duration::from_millis(report.plan.window_ms.min(1_000)),
        ..floor::Plan::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::{Cpu, Memory};
    use crate::progress::Phase;
    use crate::timeline::tests::point;

    #[test]
    fn rates_are_of_the_time_in_which_items_came() {
        let timeline = [(1, 0), (2, 100), (3, 0), (4, 300), (5, 0)]
            .map(|(at, received)| point(at, received, Phase::Publishing));
        let rates = Rates::of(&timeline);
        assert!((rates.secs - 3.0).abs() < 1e-9, "from the second to the fourth second");
        assert!(
            (rates.items_per_sec - 400.0 / 3.0).abs() < 1e-9
                && (rates.items_per_sec_max - 300.0).abs() < 1e-9
        );
        assert_eq!(Rates::of(&timeline[..1]), Rates::default());
    }

    #[test]
    fn what_the_kernel_dropped_makes_a_run_invalid() {
        let done = |kernel| Done { items: 1, frames: 1, connections: 1, kernel };
        let of = |kernel| {
            Measured::of(Taken::default(), SystemTime::now(), &done(kernel), &Times::default()).invalid
        };
        assert_eq!(of(Kernel { loss_probes: 7, ..Kernel::default() }), Vec::<String>::new());
        let said = of(Kernel { retransmits: 3, listen_overflows: 1, ..Kernel::default() });
        assert!(said.len() == 2 && said[1].contains("3 TCP segments"), "{said:?}");
    }

    #[test]
    fn costs_divide_what_was_used_by_what_was_done_then() {
        let cpu = |user_secs| Cpu { user_secs, system_secs: 0.5 };
        let used = RoleUse {
            cpu_connecting: cpu(1.5),
            cpu_pushing: cpu(3.5),
            memory_begin: Memory { rss_bytes: 9_000, pss_bytes: 1_000 },
            memory_hold: Memory { rss_bytes: 9_000, pss_bytes: 3_000 },
            ..RoleUse::none(Role::Gateway)
        };
        let done = Done { items: 4_000_000, frames: 400_000, connections: 1_000, kernel: Kernel::default() };
        let cost = RoleReport::of(used.clone(), &done).cost;
        assert_eq!(cost.cpu_us_per_item, Some(1.0));
        assert_eq!(cost.cpu_us_per_frame, Some(10.0));
        assert_eq!(cost.cpu_us_per_connection, Some(2_000.0));
        assert_eq!(cost.bytes_per_connection, Some(2.0));
        let nothing = Done { items: 0, frames: 0, connections: 0, kernel: Kernel::default() };
        assert_eq!(RoleReport::of(used, &nothing).cost, Cost::default());
    }
}
