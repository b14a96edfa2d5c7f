//! Whether the generator, not the server, is what a run measured.
//!
//! A generator that has no slack reads late and publishes late, and its own lateness looks like the server's.
//! So it watches itself: event loops that are hardly ever waiting, or away from their sockets for long, and
//! pushes that are offered behind their schedule.

use super::Lateness;
use crate::account::Role;
use crate::progress::Phase;
use crate::timeline::Point;

/// A loop that waits less than a tenth of the time takes no more.
const BUSY: f64 = 0.9;

/// A loop that is away so long adds visibly to what people look at: windows are a second, fan-outs some 10 ms.
const LATE_MS: f64 = 100.0;

/// The part of the seconds in which it must be seen: one odd second of a minute is no bottleneck.
const SECONDS: f64 = 0.05;

/// One push in a hundred offered so late is a publisher that does not keep its schedule.
const PUBLISHER_LATE_MS: f64 = 50.0;

/// Whether a second says something: items were on their way.
pub(super) fn counts(point: &Point) -> bool {
    matches!(point.phase, Phase::Publishing | Phase::Draining) && point.published + point.received > 0
}

/// Why the generator is the bottleneck, and last what to change; none: it is not.
pub(super) fn find(timeline: &[Point], lateness: &Lateness, cores: usize) -> Vec<String> {
    let points: Vec<&Point> = timeline.iter().filter(|point| counts(point)).collect();
    let seconds = points.len();
    let often = |count: usize| count > 0 && count as f64 >= seconds as f64 * SECONDS;
    let mut found = Vec::new();
    let full = points.iter().filter(|point| point.busy >= BUSY).count();
    if often(full) {
        let busy = lateness.busy_max * 100.0;
        found.push(format!("its event loops had no slack in {full} of {seconds} s (busy {busy:.0} %)"));
    }
    let late = points.iter().filter(|point| point.late_ms >= LATE_MS).count();
    if often(late) {
        found.push(format!(
            "its event loops were away from their sockets for up to {:.0} ms, in {late} of {seconds} s for {LATE_MS} ms or more",
            lateness.loop_ms_max
        ));
    }
    if lateness.publisher.p99_ms >= PUBLISHER_LATE_MS {
        let late = lateness.publisher.p99_ms;
        found.push(format!("one push in a hundred was offered {late:.0} ms or more behind its schedule"));
    }
    if !found.is_empty() {
        found.push(remedy(&points, cores));
    }
    found
}

/// What to change, by who had the cores in the busiest second.
fn remedy(points: &[&Point], cores: usize) -> String {
    let used = |point: &Point| point.roles.values().map(|usage| usage.cores).sum::<f64>();
    let all = points.iter().map(|point| used(point)).fold(0.0, f64::max);
    let busiest = points.iter().find(|point| used(point) >= all);
    let of = |role| busiest.and_then(|point| point.roles.get(&role)).map_or(0.0, |usage| usage.cores);
    let generator = of(Role::Generator) + of(Role::Coordinator);
    if all >= cores as f64 * BUSY {
        return format!(
            "generator and servers shared all {cores} cores ({generator:.1} and {:.1}): put generators on another machine, or send less",
            all - generator
        );
    }
    if generator >= 1.0 {
        return format!(
            "it used {generator:.1} of {cores} cores: give it more --threads, or put generators on another machine"
        );
    }
    format!(
        "it got {generator:.1} of {cores} cores, so others had them: end those, or put generators on another machine"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::Usage;
    use crate::report::Percentiles;
    use crate::timeline::tests::point;

    fn seconds(count: u64, change: impl Fn(u64, &mut Point)) -> Vec<Point> {
        (0..count)
            .map(|at| {
                let mut point = point(at, 100, Phase::Publishing);
                (point.busy, point.late_ms) = (0.5, 4.0);
                change(at, &mut point);
                point
            })
            .collect()
    }

    fn found(timeline: &[Point], publisher_p99: f64) -> Vec<String> {
        let publisher = Percentiles { p99_ms: publisher_p99, ..Percentiles::default() };
        find(timeline, &Lateness::of(timeline, publisher), 2)
    }

    #[test]
    fn a_generator_with_slack_is_no_bottleneck() {
        assert_eq!(found(&seconds(60, |_, _| ()), 2.0), Vec::<String>::new());
        let once = seconds(60, |at, point| point.busy = if at == 7 { 1.0 } else { 0.5 });
        assert_eq!(found(&once, 2.0), Vec::<String>::new(), "one odd second");
        let connecting = seconds(60, |_, point| (point.busy, point.phase) = (1.0, Phase::Connecting));
        assert_eq!(
            found(&connecting, 2.0),
            Vec::<String>::new(),
            "nothing is measured while clients connect"
        );
    }

    #[test]
    fn loops_without_slack_late_loops_and_a_late_publisher_are_named_with_a_remedy() {
        let full = seconds(20, |at, point| {
            point.busy = if at < 5 { 0.97 } else { 0.5 };
            point.roles.insert(Role::Generator, Usage { cores: 1.2, rss_bytes: 0 });
            point.roles.insert(Role::Gateway, Usage { cores: 0.7, rss_bytes: 0 });
        });
        let said = found(&full, 2.0);
        assert!(said.len() == 2 && said[0].contains("no slack in 5 of 20 s (busy 97 %)"), "{said:?}");
        assert!(said[1].contains("all 2 cores (1.2 and 0.7)"), "{said:?}");
        let late = seconds(20, |at, point| point.late_ms = if at == 3 { 900.0 } else { 4.0 });
        let said = found(&late, 80.0);
        assert!(said.len() == 3 && said[0].contains("up to 900 ms, in 1 of 20 s"), "{said:?}");
        assert!(said[1].contains("80 ms or more behind its schedule"), "{said:?}");
        assert!(said[2].contains("got 0.0 of 2 cores"), "{said:?}");
    }
}
