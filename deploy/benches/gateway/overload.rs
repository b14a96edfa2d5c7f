//! More than the machine can write: the window must widen by itself, and come back when the load goes.
//!
//! 19,000 clients want a frame each 50 ms: 380,000 frames a second, about three times what two cores write
//! with both ends on them. So frames must get fuller; nothing may be lost or reordered, and memory stays.

use std::time::Duration;

use crate::cpu;
use crate::load::{Generator, Load, Outcome, Stage};
use crate::process::Cluster;
use crate::table::{Bound, Row, median, number};
use crate::{Bench, Case};

const CLIENTS: u32 = 19_000;
const WINDOW: Duration = Duration::from_millis(50);

/// Clients of the light load that follows.
const FEW: u32 = 500;

/// How often memory is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

fn rows(bench: &Bench) -> Result<Vec<Row>, String> {
    let cluster = Cluster::start(&["--window", &humantime::format_duration(WINDOW).to_string()])?;
    let rate = 1.0 / WINDOW.as_secs_f64();
    let publish = Duration::from_secs(if bench.full { 60 } else { 4 });
    let heavy = Load { rate, publish, drain: Duration::from_secs(60), ..Load::on(&cluster, CLIENTS) };
    let (mut memory, mut before) = (Vec::new(), None);
    let mut generator = Generator::start(&heavy)?;
    generator.reached(Stage::Publishing)?;
    let began = std::time::Instant::now();
    generator.watching(Stage::Draining, LOOK_EVERY, |_| {
        before.get_or_insert(cpu::Marks::of(&cluster.gateway)?);
        memory.push(cluster.gateway.memory()?.rss);
        Ok(())
    })?;
    generator.reached(Stage::Judging)?;
    let secs = began.elapsed().as_secs_f64();
    let [frames, items, ..] = cpu::Marks::of(&cluster.gateway)?.0;
    let outcome = generator.outcome()?;
    let (after, frames_after) = light(&cluster, rate)?;
    let wanted = rate * f64::from(CLIENTS);
    let third = memory.len() / 3;
    let (first, last) = (median(memory[..third].to_vec()), median(memory[memory.len() - third..].to_vec()));
    let faults = [outcome.faults(), after.faults()].concat();
    let note = format!(
        "{} frames a second wanted, {} written; p99 {} ms, of which window {} ms",
        number(wanted),
        number(frames / secs),
        number(outcome.number("/latency/total/p99Ms")),
        WINDOW.as_millis()
    );
    let row = |what: &str, bound, value, unit| Row::plain(format!("overload: {what}"), bound, value, unit);
    let mib = |bytes: f64| number(bytes / 1024.0 / 1024.0);
    Ok([
        row("items a second ÷ offered", Bound::AtLeast(0.95, 0.8), items / secs / wanted, "")
            .note(format!("{} offered; in order, none lost", number(wanted))),
        row("items a frame: the window widens", Bound::None, items / frames, "").note(note),
        row("memory, last third of the time ÷ first", Bound::AtMost(1.05, 1.2), last / first, "")
            .note(format!("{} MiB, then {} MiB", mib(first), mib(last))),
        row("and after it, p50 of an item ÷ window", Bound::AtMost(1.2, 2.0), p50(&after), "")
            .note(format!("{} items a frame with {FEW} clients", number(frames_after))),
    ]
    .map(|row| row.faults(faults.clone()))
    .into())
}

fn p50(outcome: &Outcome) -> f64 {
    outcome.number("/latency/total/p50Ms") / 1_000.0 / WINDOW.as_secs_f64()
}

/// A load that is easy, on the same gateway: its report, and items a frame.
fn light(cluster: &Cluster, rate: f64) -> Result<(Outcome, f64), String> {
    let [frames, items, ..] = cpu::Marks::of(&cluster.gateway)?.0;
    // A little slower than windows, so that each item has its own.
    let light = Load { rate: rate / 1.5, publish: Duration::from_secs(2), ..Load::on(cluster, FEW) };
    let outcome = Generator::start(&light)?.outcome()?;
    let [frames_now, items_now, ..] = cpu::Marks::of(&cluster.gateway)?.0;
    Ok((outcome, (items_now - items) / (frames_now - frames)))
}

/// The case of this file.
pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new("overload", false, rows)]
}
