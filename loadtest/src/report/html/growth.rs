//! Runs of different sizes on one page: what a connection, a frame and an item cost as clients become more.
//!
//! Reads reports as JSON, as `table` does. A line of a plot joins the runs of one load; a figure that a run does not
//! have leaves its place free.

use std::fmt::Write;

use serde_json::Value;

use super::escape::escaped;
use super::page;
use super::plot::{Axis, BOTTOM, HEIGHT, LEFT, RIGHT, Scale, TOP, WIDTH};
use super::tables::{plain, table};
use crate::report::format::{bytes, count, millis, number};
use crate::table::{Row, rows};

/// Colours that a page has.
const COLOURS: usize = 5;

/// A figure of a run.
struct Figure {
    title: &'static str,
    of: fn(&Row<'_>) -> Option<f64>,
    show: fn(f64) -> String,
    scale: Scale,
}

const FIGURES: [Figure; 8] = [
    Figure {
        title: "Gateway CPU a frame, µs",
        of: |run| run.cost("gateway", "cpuUsPerFrame").filter(|_| run.rate > 0.0),
        show: number,
        scale: Scale::Free,
    },
    Figure {
        title: "Gateway CPU an item, µs",
        of: |run| run.cost("gateway", "cpuUsPerItem").filter(|_| run.rate > 0.0),
        show: number,
        scale: Scale::Free,
    },
    Figure {
        title: "Gateway CPU to connect one client, µs",
        of: |run| run.cost("gateway", "cpuUsPerConnection"),
        show: number,
        scale: Scale::Free,
    },
    Figure {
        title: "Gateway CPU of an idle connection, µs/s",
        of: |run| (run.rate == 0.0).then(|| run.gateway_cores / run.clients * 1e6),
        show: number,
        scale: Scale::Free,
    },
    Figure {
        title: "Gateway memory a connection",
        of: |run| run.cost("gateway", "bytesPerConnection"),
        show: bytes,
        scale: Scale::Bytes,
    },
    Figure {
        title: "Memory of the whole machine a connection, kernel and generator included",
        of: |run| {
            let memory = |name: &str| run.report["whole"][name].as_f64();
            Some((memory("memoryHoldBytes")? - memory("memoryBeginBytes")?) / run.clients)
        },
        show: bytes,
        scale: Scale::Bytes,
    },
    Figure {
        title: "Items a frame",
        of: |run| {
            let of = |path| run.report.pointer(path).and_then(Value::as_f64);
            Some(of("/totals/received")? / of("/frames/messages").filter(|frames| *frames > 0.0)?)
        },
        show: number,
        scale: Scale::Free,
    },
    Figure {
        title: "p99, intended to received",
        of: |run| {
            let total = &run.report["latency"]["total"];
            total["p99Ms"].as_f64().filter(|_| total["count"].as_u64() > Some(0))
        },
        show: millis,
        scale: Scale::Free,
    },
];

/// One page of HTML with a plot of each figure over the number of clients, and all values below.
///
/// # Errors
/// Which of the reports is none of this version.
pub fn growth(reports: &[Value]) -> Result<String, String> {
    let mut runs = rows(reports)?;
    runs.sort_by(|one, other| one.clients.total_cmp(&other.clients));
    let mut loads: Vec<&str> = Vec::new();
    for run in &runs {
        if !loads.contains(&&*run.load) {
            loads.push(&run.load);
        }
    }
    let plots: String = FIGURES.iter().map(|figure| plot(figure, &runs, &loads)).collect();
    let head: Vec<&str> =
        ["online", "load"].into_iter().chain(FIGURES.iter().map(|figure| figure.title)).collect();
    let values = runs.iter().map(|run| {
        let named = [count(run.clients as u64), run.load.clone()];
        let figures = FIGURES.iter().map(|figure| (figure.of)(run).map_or("–".into(), figure.show));
        named.into_iter().chain(figures).map(plain).collect()
    });
    let commands: Vec<String> = runs
        .iter()
        .filter_map(|run| run.report.pointer("/origin/command").and_then(Value::as_str).map(escaped))
        .collect();
    let machine = runs.first().map_or(&Value::Null, |run| &run.report["origin"]["machine"]);
    let body = format!(
        "<h1>tidegate-loadtest · {} runs · {}</h1><div class=\"plots\">{plots}</div>{}<h2>Repeat them</h2><pre>{}</pre>",
        runs.len(),
        escaped(&machine_words(machine)),
        table("All values", &head, values.collect()),
        commands.join("\n")
    );
    Ok(page("Where it grows, tidegate-loadtest", &body))
}

fn machine_words(machine: &Value) -> String {
    let memory = machine["memoryBytes"].as_f64().map_or_else(String::new, bytes);
    let cores = machine["cores"].as_u64().unwrap_or(0);
    format!("{cores} cores of {}, {memory}", machine["processor"].as_str().unwrap_or("an unknown machine"))
}

/// Where a number of clients stands, 0 to 1: each tenfold is as wide as the next.
fn across(clients: f64, runs: &[Row<'_>]) -> f64 {
    let ends = (runs.first(), runs.last());
    let (Some(first), Some(last)) = ends else { return 0.0 };
    let (low, high) = (first.clients.log10() - 0.1, last.clients.log10() + 0.1);
    (clients.log10() - low) / (high - low)
}

fn plot(figure: &Figure, runs: &[Row<'_>], loads: &[&str]) -> String {
    let found: Vec<(&Row<'_>, f64)> = runs
        .iter()
        .filter_map(|run| Some((run, (figure.of)(run).filter(|value| value.is_finite())?)))
        .collect();
    if found.is_empty() {
        return String::new();
    }
    let axis = Axis::of(found.iter().map(|(_, value)| *value), figure.scale);
    let x = |clients: f64| LEFT + across(clients, runs) * (WIDTH - LEFT - RIGHT);
    let y = |value: f64| HEIGHT - BOTTOM - axis.place(value) * (HEIGHT - TOP - BOTTOM);
    let colour = |load: &str| loads.iter().position(|one| *one == load).unwrap_or(0) % COLOURS;
    let title = escaped(figure.title);
    let shown = loads.iter().filter(|load| found.iter().any(|(run, _)| run.load == **load));
    let keys: String = shown
        .clone()
        .map(|load| format!("<span class=\"key c{}\">{}</span>", colour(load), escaped(load)))
        .collect();
    let mut svg = format!(
        "<figure><figcaption>{title}<span class=\"keys\">{keys}</span></figcaption><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\">"
    );
    for tick in &axis.ticks {
        let at = y(*tick);
        // Writing to a String does not fail.
        _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/><text class=\"tick\" text-anchor=\"end\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            at + 4.0,
            escaped(&(figure.show)(*tick))
        );
    }
    let mut sizes: Vec<f64> = runs.iter().map(|run| run.clients).collect();
    sizes.dedup();
    for size in sizes {
        _ = write!(
            svg,
            "<text class=\"tick\" text-anchor=\"middle\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            x(size),
            HEIGHT - 8.0,
            count(size as u64)
        );
    }
    for load in shown {
        let class = colour(load);
        let places = found.iter().filter(|(run, _)| run.load == *load);
        let mut path = String::new();
        for (run, value) in places {
            let (x, y) = (x(run.clients), y(*value));
            _ = write!(path, "{}{x:.1} {y:.1}", if path.is_empty() { "M" } else { "L" });
            _ = write!(
                svg,
                "<circle class=\"dot c{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"><title>{} clients, {}: {}</title></circle>",
                count(run.clients as u64),
                escaped(load),
                escaped(&(figure.show)(*value))
            );
        }
        _ = write!(svg, "<path class=\"line c{class}\" d=\"{path}\"/>");
    }
    svg + "</svg></figure>"
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::table::tests::report;

    #[test]
    fn a_line_joins_the_runs_of_a_load_and_every_value_is_there() {
        let mut runs = Vec::new();
        for (clients, cost) in [(10_000, 8.0), (1_000, 9.0), (1_000_000, 7.5)] {
            let mut run = report();
            run["plan"]["clients"] = json!(clients);
            run["roles"][0]["cost"] = json!({"cpuUsPerFrame": cost, "bytesPerConnection": 1_000.0});
            run["origin"] = json!({"command": format!("million --connections {clients} <b>")});
            runs.push(run);
        }
        let mut idle = report();
        idle["plan"]["rate"] = json!(0.0);
        runs.push(idle);
        let page = growth(&runs).unwrap();
        let frame = page.split("<figure>").find(|figure| figure.contains("CPU a frame")).unwrap();
        assert_eq!(frame.matches("<circle").count(), 3, "{frame}");
        let line = frame.split("<path").nth(1).unwrap();
        assert_eq!((line.matches('M').count(), line.matches('L').count()), (1, 2), "{line}");
        assert!(frame.contains("1,000,000 clients, 10 pushes/s to all: 7.50"), "{frame}");
        assert!(page.contains("idle") && page.contains("&lt;b&gt;") && !page.contains("NaN"));
        assert!(growth(&[json!({"schema": 0})]).is_err());
    }
}
