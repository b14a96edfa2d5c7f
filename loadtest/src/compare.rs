//! Two reports of the same plan beside each other: what changed, and what of it is more than noise.

use std::fmt;

use serde_json::Value;

use crate::figure::{Better, Figure};
use crate::report::SCHEMA;
use crate::threshold::{Judged, Threshold};

/// Parts of a plan that may differ: what they change is drawn by lot, or only a name.
const MAY_DIFFER: [&str; 4] = ["seed", "prefix", "threads", "processes"];

/// How a figure of the second run stands to that of the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Worse by more than noise.
    Worse,
    /// Better by more than noise.
    Better,
    /// Within noise.
    Same,
    /// Neither way is better.
    Differs,
}

/// A figure in both runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Which.
    pub figure: Figure,
    /// In the first run.
    pub before: f64,
    /// In the second.
    pub after: f64,
    /// Differences up to this part are noise.
    pub noise: f64,
    /// What it comes to.
    pub change: Change,
}

/// Two runs beside each other.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// The figures that both have.
    pub rows: Vec<Row>,
    /// What a reader should know of the two.
    pub notes: Vec<String>,
    /// What was asked of the figures of the second.
    pub thresholds: Vec<Judged>,
}

impl Comparison {
    /// Compares two reports, as JSON. `noise`: the part by which a figure may differ at least.
    ///
    /// # Errors
    /// They cannot be compared: says why.
    pub fn of(before: &Value, after: &Value, noise: f64, thresholds: &[Threshold]) -> Result<Self, String> {
        let schemas = [schema(before, "the first")?, schema(after, "the second")?];
        if schemas[0] != schemas[1] || schemas[0] != u64::from(SCHEMA) {
            return Err(format!(
                "the reports are of schemas {} and {}, and this program reads {SCHEMA}: run both again with one version",
                schemas[0], schemas[1]
            ));
        }
        let differences = plan_differences(before, after);
        if !differences.is_empty() {
            return Err(format!(
                "the runs had different plans, so their figures say nothing of each other: {}",
                differences.join(", ")
            ));
        }
        let rows =
            Figure::all().into_iter().filter_map(|figure| Row::of(figure, before, after, noise)).collect();
        let thresholds = thresholds.iter().map(|threshold| threshold.judge(after, Some(before))).collect();
        Ok(Self { rows, notes: notes(before, after), thresholds })
    }

    /// Exit code of a program that did this: 0 nothing is worse, 1 something is, 99 a threshold is missed.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        if self.thresholds.iter().any(|judged| !judged.held) {
            return 99;
        }
        u8::from(self.rows.iter().any(|row| row.change == Change::Worse))
    }
}

fn schema(report: &Value, which: &str) -> Result<u64, String> {
    let schema = report.get("schema").and_then(Value::as_u64);
    let is_run = report.get("plan").is_some() && report.get("totals").is_some();
    schema
        .filter(|_| is_run)
        .ok_or_else(|| format!("{which} file is no report of a run (`run --json FILE` writes them)"))
}

fn plan_differences(before: &Value, after: &Value) -> Vec<String> {
    let members = |report: &Value| report.get("plan").and_then(Value::as_object).cloned().unwrap_or_default();
    let (before, after) = (members(before), members(after));
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort();
    names.dedup();
    let none = Value::Null;
    let of = |plan: &serde_json::Map<String, Value>, name: &str| plan.get(name).unwrap_or(&none).to_string();
    names
        .into_iter()
        .filter(|name| !MAY_DIFFER.contains(&name.as_str()))
        .map(|name| (name, of(&before, name), of(&after, name)))
        .filter(|(_, before, after)| before != after)
        .map(|(name, before, after)| format!("{name} {before} and {after}"))
        .collect()
}

fn notes(before: &Value, after: &Value) -> Vec<String> {
    let mut notes = Vec::new();
    for (which, report) in [("first", before), ("second", after)] {
        let list = |name: &str| report.get(name).and_then(Value::as_array).map_or(0, Vec::len);
        if report.get("complete") == Some(&Value::Bool(false)) {
            notes.push(format!("the {which} run was interrupted"));
        }
        if list("invalid") > 0 {
            notes.push(format!(
                "the {which} run is invalid: the kernel dropped or repeated packets; do not quote its times"
            ));
        }
        if list("bottleneck") > 0 {
            notes.push(format!("in the {which} run the generator was the bottleneck, not the server"));
        }
    }
    if before.pointer("/origin/machine") != after.pointer("/origin/machine") {
        notes.push("the runs are of different machines: only ratios within each run mean something".into());
    }
    notes
}

impl Row {
    fn of(figure: Figure, a: &Value, b: &Value, noise: f64) -> Option<Self> {
        let (before, after) = (figure.of(a)?, figure.of(b)?);
        if before == 0.0 && after == 0.0 && figure.better != Better::Zero {
            return None;
        }
        let noise = noise.max(spread(&figure.seconds(a))).max(spread(&figure.seconds(b)));
        // Of two sizes the smaller is the whole: +100 % and -50 % are the same step.
        let grown = after > before * (1.0 + noise);
        let shrunk = after * (1.0 + noise) < before;
        let change = match figure.better {
            Better::Neither => Change::Differs,
            Better::Zero if after > before => Change::Worse,
            Better::Zero if after < before => Change::Better,
            Better::Lower if grown => Change::Worse,
            Better::Lower if shrunk => Change::Better,
            Better::Higher if shrunk => Change::Worse,
            Better::Higher if grown => Change::Better,
            _ => Change::Same,
        };
        Some(Self { figure, before, after, noise, change })
    }

    /// The second divided by the first; `None`: there was none before.
    #[must_use]
    pub fn ratio(&self) -> Option<f64> {
        (self.before != 0.0).then(|| self.after / self.before)
    }
}

/// Two standard errors of the mean of what the seconds say, as a part of it. Few seconds say nothing.
fn spread(values: &[f64]) -> f64 {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    if values.len() < 3 || mean <= 0.0 {
        return 0.0;
    }
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0);
    2.0 * (variance / count).sqrt() / mean
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<34} {:>14} {:>14} {:>9} {:>8}", "figure", "A", "B", "B ÷ A", "noise")?;
        for row in &self.rows {
            let Row { figure, before, after, noise, change } = row;
            let ratio = row.ratio().map_or_else(|| "–".into(), |ratio| format!("{ratio:.3}"));
            let noise = match figure.better {
                Better::Neither | Better::Zero => String::new(),
                _ => format!("{:.0} %", noise * 100.0),
            };
            let word = match change {
                Change::Worse => "  WORSE",
                Change::Better => "  better",
                Change::Same | Change::Differs => "",
            };
            let (before, after) = (figure.show(*before), figure.show(*after));
            writeln!(f, "{:<34} {before:>14} {after:>14} {ratio:>9} {noise:>8}{word}", figure.name)?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "note: {note}"))?;
        for Judged { threshold, shown, held, .. } in &self.thresholds {
            writeln!(f, "threshold {}: {threshold} ({shown})", if *held { "held" } else { "MISSED" })?;
        }
        let worse: Vec<&str> =
            self.rows.iter().filter(|row| row.change == Change::Worse).map(|row| &*row.figure.name).collect();
        match worse.len() {
            0 => writeln!(f, "SAME: nothing is worse beyond noise"),
            count => writeln!(f, "WORSE: {count} of {} figures: {}", self.rows.len(), worse.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report() -> Value {
        let second = |count: u64| json!({"secs": 1.0, "received": count, "latency": {"p99Ms": 10.0}});
        json!({
            "schema": SCHEMA, "complete": true, "plan": {"clients": 100, "seed": 1}, "totals": {"lost": 0},
            "latency": {"total": {"count": 5, "p99Ms": 10.0, "p50Ms": 4.0}},
            "rates": {"itemsPerSec": 1000.0},
            "timeline": [second(900), second(1_000), second(1_100), second(1_000)],
        })
    }

    fn compared(change: impl FnOnce(&mut Value)) -> Result<Comparison, String> {
        let mut after = report();
        change(&mut after);
        Comparison::of(&report(), &after, 0.1, &[])
    }

    fn change(comparison: &Comparison, name: &str) -> Change {
        comparison.rows.iter().find(|row| row.figure.name == name).expect(name).change
    }

    #[test]
    fn what_is_worse_beyond_noise_is_told_from_noise() {
        let same = compared(|after| after["latency"]["total"]["p99Ms"] = 10.9.into()).unwrap();
        assert_eq!((change(&same, "total.p99"), same.exit_code()), (Change::Same, 0));
        let worse = compared(|after| after["latency"]["total"]["p99Ms"] = 11.5.into()).unwrap();
        assert_eq!((change(&worse, "total.p99"), worse.exit_code()), (Change::Worse, 1));
        assert!(worse.to_string().contains("WORSE: 1 of"), "{worse}");
        let better = compared(|after| after["latency"]["total"]["p99Ms"] = 5.into()).unwrap();
        assert_eq!((change(&better, "total.p99"), better.exit_code()), (Change::Better, 0));
        let slower = compared(|after| after["rates"]["itemsPerSec"] = 850.into()).unwrap();
        assert_eq!(change(&slower, "deliveries"), Change::Worse);
        let lost = compared(|after| after["totals"]["lost"] = 1.into()).unwrap();
        assert_eq!((change(&lost, "lost"), lost.exit_code()), (Change::Worse, 1), "one is no noise");
    }

    #[test]
    fn a_run_that_varies_has_more_noise() {
        let wild = compared(|after| {
            after["rates"]["itemsPerSec"] = 850.into();
            for (at, received) in [0, 100, 300, 3_000].into_iter().enumerate() {
                after["timeline"][at]["received"] = received.into();
            }
        });
        assert_eq!(change(&wild.unwrap(), "deliveries"), Change::Same);
    }

    #[test]
    fn what_cannot_be_compared_is_refused_with_words() {
        let plan = compared(|after| after["plan"]["clients"] = 200.into()).unwrap_err();
        assert!(plan.contains("clients 100 and 200"), "{plan}");
        assert!(compared(|after| after["plan"]["seed"] = 2.into()).is_ok());
        let schema = compared(|after| after["schema"] = 7.into()).unwrap_err();
        assert!(schema.contains("schemas 1 and 7"), "{schema}");
        let floor = Comparison::of(&report(), &json!({"connections": 5}), 0.1, &[]).unwrap_err();
        assert!(floor.contains("the second file is no report"), "{floor}");
    }

    #[test]
    fn thresholds_may_be_relative() {
        let mut after = report();
        after["latency"]["total"]["p99Ms"] = 10.5.into();
        let judge = |text: &str| {
            let thresholds = [text.parse().unwrap()];
            Comparison::of(&report(), &after, 0.1, &thresholds).unwrap().exit_code()
        };
        assert_eq!((judge("total.p99<+10%"), judge("total.p99<+2%"), judge("total.p99<9ms")), (0, 99, 99));
    }
}
