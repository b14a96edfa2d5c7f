//! A report as one page: verdict first, plots, tables, and the command that repeats it. No script, nothing from
//! elsewhere (a policy in the page forbids both), light and dark.

mod escape;
mod growth;
mod plot;
mod tables;

use escape::escaped;
pub use growth::growth;
use plot::{Plot, Scale, Series};

use super::format::{bytes, count, millis, number};
use super::{Report, measured::RoleReport};
use crate::account::Role;
use crate::progress::Phase;
use crate::timeline::Point;

/// Takes nothing from anywhere, whatever a text in it may say.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// A page around its body.
fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\"><title>{}</title><style>{}</style></head><body>{body}</body></html>\n",
        escaped(title),
        include_str!("html/page.css")
    )
}

impl Report {
    /// The report as a page of HTML that needs nothing else.
    #[must_use]
    pub fn html(&self) -> String {
        let measured = &self.measured;
        let word = if self.verdict.ok { "PASS" } else { "FAIL" };
        let title = format!("{word}: {} clients, tidegate-loadtest", count(u64::from(self.plan.clients)));
        let mut body = format!(
            "<h1>tidegate-loadtest {} · {} · {}</h1>",
            escaped(&measured.origin.version),
            escaped(&measured.origin.begun_at),
            escaped(&measured.origin.machine.to_string())
        );
        body += &self.verdict_html();
        body += &self.tiles();
        body += &self.plots();
        body += &self.tables();
        page(&title, &body)
    }

    fn verdict_html(&self) -> String {
        let list = |lines: &[String]| {
            let lines = lines.iter().map(|line| format!("<li>{}</li>", escaped(line))).collect::<String>();
            if lines.is_empty() { lines } else { format!("<ul>{lines}</ul>") }
        };
        let measured = &self.measured;
        let (class, word) = if self.verdict.ok { ("", "PASS") } else { (" bad", "FAIL") };
        let mut html = format!(
            "<div class=\"verdict{class}\"><strong>{word}</strong>{}{}</div>",
            escaped(&self.sentence()),
            list(&self.verdict.reasons)
        );
        let mut warn = |word: &str, lines: &[String]| {
            if !lines.is_empty() {
                html += &format!(
                    "<div class=\"verdict warn\"><strong>{}</strong>{}</div>",
                    escaped(word),
                    list(lines)
                );
            }
        };
        warn(super::text::INVALID, &measured.invalid);
        warn(super::text::BOTTLENECK, &measured.bottleneck);
        let missed: Vec<String> = measured
            .thresholds
            .iter()
            .filter(|judged| !judged.held)
            .map(|judged| format!("{} ({})", judged.threshold, judged.shown))
            .collect();
        warn("thresholds missed", &missed);
        html
    }

    /// The few figures that people ask for first.
    fn tiles(&self) -> String {
        let Self { ramp, latency, measured, .. } = self;
        let mut tiles = vec![
            (count(ramp.connected), format!("clients, {}/s", number(ramp.connects_per_sec))),
            (
                format!("{}/s", number(measured.rates.items_per_sec)),
                format!("items delivered, {}/s in the best second", number(measured.rates.items_per_sec_max)),
            ),
        ];
        for (name, times) in [
            ("fan-out", latency.fanout),
            ("urgent, intended to received", latency.urgent_total),
            ("merged, intended to received", latency.total),
        ] {
            if times.count > 0 {
                tiles.push((millis(times.p99_ms), format!("p99 {name} (p50 {})", millis(times.p50_ms))));
            }
        }
        let servers =
            measured.roles.iter().filter(|role| matches!(role.used.role, Role::Gateway | Role::Peer));
        for RoleReport { used, cost } in servers {
            if let Some(us) = cost.cpu_us_per_frame {
                tiles.push((format!("{} µs", number(us)), format!("{} CPU a frame", used.role)));
            }
            if let Some(each) = cost.bytes_per_connection {
                tiles.push((bytes(each), format!("{} memory a connection", used.role)));
            }
        }
        if let Some(ratio) = measured.floor.as_ref().and_then(|floor| floor.gateway_ratio) {
            tiles.push((format!("{ratio:.2} ×"), "the floor: gateway CPU a frame ÷ a bare send's".into()));
        }
        let tiles = tiles.iter().map(|(value, what)| {
            format!("<div class=\"tile\"><b>{}</b><span>{}</span></div>", escaped(value), escaped(what))
        });
        format!("<div class=\"tiles\">{}</div>", tiles.collect::<String>())
    }

    fn plots(&self) -> String {
        let timeline = &self.measured.timeline;
        let seconds: Vec<f64> = timeline.iter().map(|point| point.at_secs).collect();
        let phases = phases(timeline);
        let plot = |title, series, show, scale| {
            Plot { title, series, seconds: &seconds, phases: &phases, show, scale }.svg()
        };
        let line = |name: &str, colour, of: &dyn Fn(&Point) -> Option<f64>| Series {
            name: name.into(),
            colour,
            values: timeline.iter().map(of).collect(),
        };
        let rate = |of: fn(&Point) -> u64| move |point: &Point| Some(of(point) as f64 / point.secs.max(1e-3));
        let latency =
            |of: fn(&Point) -> f64| move |point: &Point| (point.latency.count > 0).then(|| of(point));
        let roles = self.measured.roles.iter().map(|role| role.used.role);
        let of_roles = |of: fn(&crate::account::Usage) -> f64| {
            let lines = roles
                .clone()
                .enumerate()
                .map(|(colour, role)| line(role.name(), colour, &|point| point.roles.get(&role).map(of)));
            lines.collect::<Vec<_>>()
        };
        let mut memory = of_roles(|usage| usage.rss_bytes as f64);
        memory.push(line("machine in use", 4, &|point| Some(point.machine_memory_bytes as f64)));
        let plots = [
            plot(
                "Connections",
                vec![line("connected", 0, &|point| Some(point.connected as f64))],
                number,
                Scale::Linear,
            ),
            plot(
                "Deliveries a second",
                vec![
                    line("items", 0, &rate(|point| point.received)),
                    line("frames", 1, &rate(|point| point.frames)),
                ],
                number,
                Scale::Free,
            ),
            plot(
                "Latency: intended to received",
                vec![
                    line("p50", 2, &latency(|point| point.latency.p50_ms)),
                    line("p99", 0, &latency(|point| point.latency.p99_ms)),
                    line("max", 1, &latency(|point| point.latency.max_ms)),
                ],
                millis,
                Scale::Free,
            ),
            plot("CPU, cores", of_roles(|usage| usage.cores), number, Scale::Linear),
            plot("Memory", memory, bytes, Scale::Bytes),
            plot(
                "Generator: longest time an event loop was away",
                vec![line("late", 3, &|point| Some(point.late_ms))],
                millis,
                Scale::Free,
            ),
        ];
        format!("<h2>Over time</h2><div class=\"plots\">{}</div>", plots.concat())
    }
}

/// The phases of a timeline: name, begin and end.
fn phases(timeline: &[Point]) -> Vec<(&'static str, f64, f64)> {
    let mut phases: Vec<(&str, f64, f64)> = Vec::new();
    for point in timeline {
        let name = match point.phase {
            Phase::Checking => "checking",
            Phase::Connecting => "connecting",
            Phase::Publishing => "publishing",
            Phase::Draining => "draining",
            Phase::Judging => "judging",
        };
        match phases.last_mut() {
            Some((last, _, end)) if *last == name => *end = point.at_secs,
            _ => phases.push((name, point.at_secs - point.secs, point.at_secs)),
        }
    }
    phases
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeline::tests::point;

    #[test]
    fn phases_are_as_long_as_their_seconds() {
        let timeline = [Phase::Connecting, Phase::Connecting, Phase::Publishing].iter().zip(1..);
        let timeline: Vec<Point> = timeline.map(|(phase, at)| point(at, 0, *phase)).collect();
        assert_eq!(phases(&timeline), [("connecting", 0.0, 2.0), ("publishing", 2.0, 3.0)]);
    }
}
