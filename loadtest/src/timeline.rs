//! A run second by second: what happened in each, as the plots and the bottleneck banner need it.
//!
//! An [`Interval`] is filled while it lasts and has a whole histogram; a [`Timeline`] keeps a [`Point`] of
//! each, which is a few numbers, so that an hour is no more memory than a second histogram.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::account::{Role, Usage};
use crate::latency::Times;
use crate::progress::Phase;
use crate::report::Percentiles;

/// Points of one run: a day of seconds. A point takes about 300 B, so a day takes 26 MB.
const POINTS_MAX: usize = 86_400;

/// What happened between two looks at a run. Counts are of the interval alone, but for `connected`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Interval {
    /// Its end, since the run began.
    pub(crate) at: Duration,
    /// Clients that were greeted and connected at its end.
    pub(crate) connected: u64,
    /// Items that clients received for the first time.
    pub(crate) received: u64,
    /// Push messages that clients received.
    pub(crate) frames: u64,
    /// Their payloads on the wire.
    pub(crate) bytes: u64,
    /// Pushes that were accepted.
    pub(crate) published: u64,
    /// Intended time to receipt, of the items received, urgent ones included.
    pub(crate) latency: Times,
    /// The longest time that any event loop of the clients was away from its sockets.
    pub(crate) late: Duration,
    /// Time of event loops in which they were not waiting for anything, over all of them.
    pub(crate) busy: Duration,
    /// Time of event loops, over all of them.
    pub(crate) looped: Duration,
}

impl Interval {
    /// Adds what other clients saw in the same time.
    pub(crate) fn add(&mut self, other: &Self) {
        self.connected += other.connected;
        self.received += other.received;
        self.frames += other.frames;
        self.bytes += other.bytes;
        self.published += other.published;
        self.latency.add(&other.latency);
        self.late = self.late.max(other.late);
        self.busy += other.busy;
        self.looped += other.looped;
    }
}

/// A second of a run.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Point {
    /// Its end, since the run began.
    pub at_secs: f64,
    /// How long it was: about a second.
    pub secs: f64,
    /// The phase at its end.
    pub phase: Phase,
    /// Clients connected at its end.
    pub connected: u64,
    /// Items received in it.
    pub received: u64,
    /// Push messages received in it.
    pub frames: u64,
    /// Payload bytes received in it.
    pub bytes: u64,
    /// Pushes accepted in it.
    pub published: u64,
    /// Intended time to receipt of what was received in it.
    pub latency: Percentiles,
    /// The longest time that an event loop of the clients was away from its sockets.
    pub late_ms: f64,
    /// The part of it in which event loops were not waiting, 0 to 1, the mean over loops.
    pub busy: f64,
    /// What each role used.
    pub roles: BTreeMap<Role, Usage>,
    /// Memory in use on the machine, kernel and strangers included.
    pub machine_memory_bytes: u64,
    /// Bytes through the loopback interface in it.
    pub loopback_bytes: u64,
}

/// What the machine and its processes used in an interval.
#[derive(Debug, Clone, Default)]
pub(crate) struct Used {
    pub(crate) roles: BTreeMap<Role, Usage>,
    pub(crate) machine_memory_bytes: u64,
    pub(crate) loopback_bytes: u64,
}

/// The seconds of a run.
#[derive(Debug, Default)]
pub(crate) struct Timeline {
    points: Vec<Point>,
    last: Duration,
    /// Intervals that came when it was full.
    pub(crate) left_out: u64,
}

impl Timeline {
    /// Takes the next interval.
    pub(crate) fn push(&mut self, interval: &Interval, phase: Phase, used: Used) {
        let length = interval.at.saturating_sub(self.last).as_secs_f64();
        self.last = interval.at;
        if self.points.len() >= POINTS_MAX {
            self.left_out += 1;
            return;
        }
        let (busy, looped) = (interval.busy.as_secs_f64(), interval.looped.as_secs_f64());
        self.points.push(Point {
            at_secs: interval.at.as_secs_f64(),
            secs: length,
            phase,
            connected: interval.connected,
            received: interval.received,
            frames: interval.frames,
            bytes: interval.bytes,
            published: interval.published,
            latency: Percentiles::of(interval.latency.histogram()),
            late_ms: interval.late.as_secs_f64() * 1e3,
            busy: if looped > 0.0 { (busy / looped).min(1.0) } else { 0.0 },
            roles: used.roles,
            machine_memory_bytes: used.machine_memory_bytes,
            loopback_bytes: used.loopback_bytes,
        });
    }

    pub(crate) fn into_points(self) -> Vec<Point> {
        self.points
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A second of a run in which nothing else is known.
    pub(crate) fn point(at: u64, received: u64, phase: Phase) -> Point {
        let mut timeline =
            Timeline { last: Duration::from_secs(at.saturating_sub(1)), ..Timeline::default() };
        let interval = Interval { at: Duration::from_secs(at), received, ..Interval::default() };
        timeline.push(&interval, phase, Used::default());
        timeline.into_points().remove(0)
    }

    fn interval(at: u64, received: u64, us: u64) -> Interval {
        let mut interval = Interval {
            at: Duration::from_millis(at),
            connected: 10,
            received,
            frames: 2,
            late: Duration::from_millis(3),
            busy: Duration::from_millis(500),
            looped: Duration::from_millis(at),
            ..Interval::default()
        };
        interval.latency.record(us);
        interval
    }

    #[test]
    fn what_several_processes_saw_is_one_interval() {
        let mut sum = interval(1_000, 5, 10_000);
        sum.add(&Interval { late: Duration::from_millis(9), ..interval(1_000, 7, 30_000) });
        assert_eq!((sum.connected, sum.received, sum.frames), (20, 12, 4));
        assert_eq!((sum.late.as_millis(), sum.busy.as_millis(), sum.looped.as_secs()), (9, 1_000, 2));
        assert_eq!(sum.latency.histogram().len(), 2);
    }

    #[test]
    fn a_point_is_of_its_own_interval() {
        let mut timeline = Timeline::default();
        timeline.push(&interval(1_000, 5, 10_000), Phase::Connecting, Used::default());
        timeline.push(&interval(3_000, 7, 30_000), Phase::Publishing, Used::default());
        let points = timeline.into_points();
        assert_eq!((points[1].at_secs, points[1].secs, points[1].received), (3.0, 2.0, 7));
        assert_eq!((points[0].busy, points[1].busy), (0.5, 0.5 / 3.0), "of the time of the loops");
        assert!((points[1].latency.p50_ms - 30.0).abs() < 0.1 && points[1].latency.count == 1);
    }

    #[test]
    fn a_timeline_that_is_full_counts_what_it_leaves_out() {
        let mut timeline = Timeline::default();
        let empty = Interval::default();
        (0..POINTS_MAX + 3).for_each(|_| timeline.push(&empty, Phase::Publishing, Used::default()));
        assert_eq!((timeline.left_out, timeline.into_points().len()), (3, POINTS_MAX));
    }
}
