//! Slow consumers: what those who read never or slowly cost the others, and the gateway's memory.
//!
//! A socket on loopback takes more than 2 MiB before it blocks. So that slow ones block within seconds and the
//! machine is not filled with bytes, they are a room of their own with long items; in the run that is compared
//! with, those 60 read as they should. Everybody else gets short items.

use std::time::Duration;

use crate::load::{Generator, Load, Outcome, Stage};
use crate::process::Cluster;
use crate::table::{Bound, Row, median, number};
use crate::{Bench, Case};

/// Clients that read as they should, and those who do not: 1 % that never read, and some that read 1 KiB a second.
const CLIENTS: u32 = 5_000;
const SLOW: u32 = 60;
const STALLED_SHARE: f64 = 5.0 / 6.0;
const SLOW_SHARE: f64 = 1.0 / 6.0;

/// What may wait for one client: the default.
const OUTBOX_BYTES: f64 = 256.0 * 1024.0;

/// Long items, and how many a second: 3 s of them fill a socket and an outbox.
const LONG: usize = 64 * 1024;
const LONG_RATE: f64 = 24.0;

const LOOK_EVERY: Duration = Duration::from_millis(50);

/// One run.
struct Seen {
    others: Outcome,
    slow: Outcome,
    /// By how much the gateway grew while pushes were under way, at most.
    grown: f64,
    /// Connections that the gateway says it closed as slow.
    closed: f64,
}

impl Seen {
    fn p99(&self) -> f64 {
        self.others.number("/latency/total/p99Ms")
    }
}

fn run(slow: bool, mode: &str, publish: Duration) -> Result<Seen, String> {
    let cluster = Cluster::start(&["--window", "200ms", "--slow", mode])?;
    let share = |share| if slow { share } else { 0.0 };
    let others = Load { rate: 10.0, publish, ..Load::on(&cluster, CLIENTS) };
    let long = Load {
        prefix: "long-".into(),
        size: LONG,
        rate: LONG_RATE,
        publish,
        stalled_share: share(STALLED_SHARE),
        slow_share: share(SLOW_SHARE),
        ..Load::on(&cluster, SLOW)
    };
    let mut others = Generator::start(&others)?;
    others.reached(Stage::Connected)?;
    let mut long = Generator::start(&long)?;
    long.reached(Stage::Connected)?;
    let before = cluster.gateway.memory()?.rss;
    let mut most = before;
    let mut look = |_| {
        most = most.max(cluster.gateway.memory()?.rss);
        Ok(())
    };
    others.watching(Stage::Judging, LOOK_EVERY, &mut look)?;
    long.watching(Stage::Judging, LOOK_EVERY, &mut look)?;
    let (others, slow) = (others.outcome()?, long.outcome()?);
    let closed = cluster.gateway.metrics()?.get("closed_slow_total").copied().unwrap_or(f64::NAN);
    Ok(Seen { others, slow, grown: most - before, closed })
}

fn rows(bench: &Bench) -> Result<Vec<Row>, String> {
    let publish = Duration::from_secs(if bench.full { 20 } else { 3 });
    let mut pairs = Vec::new();
    for _ in 0..if bench.full { bench.rounds } else { 2 } {
        let pair = (run(false, "close", publish)?, run(true, "close", publish)?);
        bench.say(&format!(
            "slow: p99 {} ms, without {} ms; grown {} KiB, without {} KiB; {} closed",
            number(pair.1.p99()),
            number(pair.0.p99()),
            number(pair.1.grown / 1024.0),
            number(pair.0.grown / 1024.0),
            pair.1.closed
        ));
        pairs.push(pair);
    }
    let of = |figure: fn(&(Seen, Seen)) -> f64| median(pairs.iter().map(figure));
    let outcomes = pairs.iter().flat_map(|(a, b)| [&a.others, &a.slow, &b.others, &b.slow]);
    let faults: Vec<_> = outcomes.flat_map(Outcome::faults).collect();
    let slow = f64::from(SLOW);
    let grown = of(|(without, with)| (with.grown - without.grown).max(0.0));
    let latency = Row::ratio(
        "p99 of an item to others, with slow consumers ÷ without",
        Bound::AtMost(1.05, 1.15),
        (of(|(_, with)| with.p99()), of(|(without, _)| without.p99())),
        of(|(without, with)| with.p99() / without.p99()),
        "ms",
    );
    let memory = Bound::AtMost(1.0, 1.25);
    let memory =
        Row::plain("memory for slow consumers ÷ their outboxes", memory, grown / OUTBOX_BYTES / slow, "");
    let closed = of(|(_, with)| with.closed.min(f64::from(SLOW)));
    let closes = Row::plain(
        "slow consumers closed with 4002 ÷ all of them",
        Bound::AtLeast(1.0, 1.0),
        closed / slow,
        "",
    );
    let [never, little, seen] = ["/slow/stalled", "/slow/slow", "/slow/closed"]
        .map(|path| median(pairs.iter().map(|(_, with)| with.slow.number(path))));
    let mut rows = vec![
        latency.note(format!("{never} never read, {little} read 1 KiB/s, {CLIENTS} read as they should")),
        memory.note(format!("{} KiB more than without; {SLOW} × 256 KiB", number(grown / 1024.0))),
        closes.note(format!("{closed} counted by the gateway, {seen} seen by the clients")),
    ];
    rows.iter_mut().for_each(|row| row.faults.clone_from(&faults));
    if bench.full {
        let dropped = run(true, "drop", publish)?;
        let told = dropped.slow.number("/slow/gapped") / slow;
        let figure = "slow consumers told of a gap (--slow drop) ÷ all of them";
        let faults = [dropped.others.faults(), dropped.slow.faults()].concat();
        rows.push(Row::plain(figure, Bound::AtLeast(1.0, 1.0), told, "").faults(faults));
    }
    Ok(rows)
}

/// The case of this file.
pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new("slow", false, rows)]
}
