//! Compression: what it saves on the wire, how often the gateway compresses, and what a frame then costs.
//!
//! Ten items a frame that resemble each other, as those of one publisher do; all clients negotiate
//! permessage-deflate in one run and none in the other.

use std::time::Duration;

use crate::cpu::{self, Cost};
use crate::load::{Load, Outcome};
use crate::table::{Bound, Row, median, number};
use crate::{Bench, Case};

const CLIENTS: u32 = 5_000;
const WINDOW: Duration = Duration::from_millis(500);
const ITEMS: f64 = 10.0;

struct Run {
    cost: Cost,
    outcome: Outcome,
    /// Frames compressed and frames encoded.
    compressed: f64,
    encoded: f64,
}

fn run(share: f64, publish: Duration) -> Result<Run, String> {
    let window = humantime::format_duration(WINDOW).to_string();
    let mut counts = [f64::NAN; 2];
    let (cost, outcome) = cpu::run_then(
        &["--window", &window],
        |cluster| Load {
            rate: ITEMS / WINDOW.as_secs_f64(),
            publish,
            deflate_share: share,
            ..Load::on(cluster, CLIENTS)
        },
        |cluster| {
            let metrics = cluster.gateway.metrics()?;
            counts = ["frames_compressed_total", "frames_encoded_total"]
                .map(|name| metrics.get(name).copied().unwrap_or(f64::NAN));
            Ok(())
        },
    )?;
    let [compressed, encoded] = counts;
    Ok(Run { cost, outcome, compressed, encoded })
}

fn rows(bench: &Bench) -> Result<Vec<Row>, String> {
    let publish = Duration::from_secs(if bench.full { 10 } else { 2 });
    let (mut pairs, mut faults) = (Vec::new(), Vec::new());
    for _ in 0..if bench.full { bench.rounds } else { 1 } {
        let pair = (run(0.0, publish)?, run(1.0, publish)?);
        faults.extend([&pair.0, &pair.1].into_iter().flat_map(|run| run.cost.faults.clone()));
        pairs.push(pair);
    }
    let of = |figure: fn(&(Run, Run)) -> f64| median(pairs.iter().map(figure));
    let frame = |run: &Run| run.cost.bytes / run.cost.frames;
    let (plain, deflated) = (
        of(|pair| pair.0.cost.bytes / pair.0.cost.frames),
        of(|pair| pair.1.cost.bytes / pair.1.cost.frames),
    );
    let all = |pair: &(Run, Run)| {
        pair.1.outcome.number("/frames/deflated") / pair.1.outcome.number("/frames/messages")
    };
    Ok([
        Row::ratio(
            "bytes on the wire with compression, 10 similar items a frame",
            Bound::AtMost(0.25, 0.5),
            (deflated, plain),
            median(pairs.iter().map(|pair| frame(&pair.1) / frame(&pair.0))),
            "B",
        )
        .note(format!("{} of the messages came compressed", number(median(pairs.iter().map(all))))),
        Row::plain(
            "compressions a frame encoded",
            Bound::AtMost(1.0, 1.0),
            of(|pair| pair.1.compressed / pair.1.encoded),
            "",
        )
        .note(format!("{CLIENTS} connections share each")),
        Row::ratio(
            "gateway CPU a frame, compressed ÷ plain",
            Bound::None,
            (of(|pair| pair.1.cost.net), of(|pair| pair.0.cost.net)),
            of(|pair| pair.1.cost.net / pair.0.cost.net),
            "µs",
        ),
    ]
    .map(|row| row.faults(faults.clone()))
    .into())
}

/// The case of this file.
pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new("deflate", false, rows)]
}
