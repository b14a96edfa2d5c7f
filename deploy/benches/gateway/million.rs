//! The gateway's own structures at a size that no process here may have sockets for: connections in memory.

use crate::measure::{self, FIGURES};
use crate::table::{Bound, Row, number};
use crate::{Bench, Case};

/// What growth is told against.
const SMALL: usize = 10_000;

const QUICK: usize = 100_000;
const FULL: usize = 1_000_000;

/// Beyond its target by so much, a figure is not acceptable.
const LIMIT: f64 = 1.5;

fn rows(bench: &Bench) -> Vec<Row> {
    let count = if bench.full { FULL } else { QUICK };
    let small = measure::child(SMALL);
    bench.say("in memory: the small size is measured");
    let large = measure::child(count);
    let size = number(count as f64);
    FIGURES
        .iter()
        .zip(small.iter().zip(&large))
        .map(|((name, unit, most), (small, large))| {
            // What is small beside its target is told in smaller units.
            let (unit, scale) = if *unit == "ms" { ("µs", 1_000.0) } else { (*unit, 1.0) };
            let (small, large, most) = (small * scale, large * scale, most.map(|most| most * scale));
            let bound = most.map_or(Bound::None, |most| Bound::AtMost(most, most * LIMIT));
            Row::plain(format!("in memory, {size}: {name}"), bound, large, unit).note(format!(
                "at {} it is {} {unit}: growth {:.2}",
                number(SMALL as f64),
                number(small),
                large / small
            ))
        })
        .collect()
}

/// The case of this file.
pub(crate) fn cases() -> Vec<Case> {
    vec![Case::new("in-memory", false, |bench| Ok(rows(bench)))]
}
