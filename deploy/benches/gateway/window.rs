//! When items arrive: the modes of the window at a low rate, and what an urgent broadcast takes.

use std::time::Duration;

use loadtest::floor;

use crate::cpu;
use crate::load::{Generator, Load, Outcome};
use crate::process::Cluster;
use crate::table::{Bound, Row, median, number};
use crate::{Bench, Case};

const WINDOW: Duration = Duration::from_millis(500);
const QUIET_CLIENTS: u32 = 1_000;
const URGENT_CLIENTS: u32 = 10_000;

/// One item in two windows: each comes after a quiet one.
fn quiet(mode: &str) -> Result<Outcome, String> {
    let window = humantime::format_duration(WINDOW).to_string();
    let cluster = Cluster::start(&["--window", &window, "--window-mode", mode])?;
    let rate = 0.45 / WINDOW.as_secs_f64();
    let load = Load { rate, publish: Duration::from_secs(3), ..Load::on(&cluster, QUIET_CLIENTS) };
    Generator::start(&load)?.outcome()
}

fn modes(_: &Bench) -> Result<Vec<Row>, String> {
    let mut rows = Vec::new();
    for (mode, bound) in [
        // A window and what a sweep takes.
        ("trailing", Bound::AtMost(1.2, 2.0)),
        ("leading", Bound::AtMost(0.2, 1.0)),
    ] {
        let outcome = quiet(mode)?;
        let [p50, p99] = ["p50", "p99"].map(|name| outcome.number(&format!("/latency/total/{name}Ms")));
        let windows = p99 / WINDOW.as_secs_f64() / 1_000.0;
        rows.push(
            Row::plain(format!("p99 of an item after a quiet window ÷ window, {mode}"), bound, windows, "")
                .note(format!(
                    "p50 {} ms, p99 {} ms, window {} ms, {QUIET_CLIENTS} clients",
                    number(p50),
                    number(p99),
                    WINDOW.as_millis()
                ))
                .faults(outcome.faults()),
        );
    }
    Ok(rows)
}

fn urgent(bench: &Bench) -> Result<Vec<Row>, String> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
    let mut rounds = Vec::new();
    let mut faults = Vec::new();
    for _ in 0..bench.few {
        let (cost, outcome) = cpu::run(&[], |cluster| Load {
            urgent_share: 1.0,
            rate: 2.0,
            publish: Duration::from_secs(if bench.full { 10 } else { 2 }),
            ..Load::on(cluster, URGENT_CLIENTS)
        })?;
        let floor = floor::run(&cpu::like(&cost, URGENT_CLIENTS)).map_err(|error| error.to_string())?;
        faults.extend(cost.faults.into_iter().chain(cpu::floor_faults(&floor)));
        let least = f64::from(URGENT_CLIENTS) * (floor.send_cpu_us + floor.receive_cpu_us) / cores / 1_000.0;
        let p99 = outcome.number("/latency/urgentTotal/p99Ms");
        bench.say(&format!(
            "urgent: p99 {} ms, least {} ms, floor's rounds p50 {} ms",
            number(p99),
            number(least),
            number(floor.round_ms.p50_ms)
        ));
        rounds.push((p99, least));
    }
    let of = |figure: fn(&(f64, f64)) -> f64| median(rounds.iter().map(figure));
    let row = Row::ratio(
        format!("p99 of an urgent broadcast to {} clients", number(URGENT_CLIENTS.into())),
        Bound::AtMost(1.15, 1.40),
        (of(|round| round.0), of(|round| round.1)),
        of(|round| round.0 / round.1),
        "ms",
    );
    Ok(vec![row.note("the floor: N × (send + receive) / cores").faults(faults)])
}

/// The cases of this file.
pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new("window", false, modes), Case::new("urgent", false, urgent)]
}
