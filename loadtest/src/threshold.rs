//! What is asked of the figures of a run: `fanout.p99<500ms`.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use serde_json::Value;

use crate::figure::{Figure, Unit};

/// How a figure is to compare with its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Below,
    AtMost,
    Above,
    AtLeast,
}

/// With what a figure is compared.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Limit {
    Value(f64),
    /// A multiple of the same figure of the run that it is compared with.
    Times(f64),
}

/// A figure, an operator, a limit.
#[derive(Debug, Clone, PartialEq)]
pub struct Threshold {
    text: String,
    figure: Figure,
    operator: Operator,
    limit: Limit,
}

/// A threshold and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Judged {
    /// As it was asked.
    pub threshold: String,
    /// What the figure was; `None`: it was not measured.
    pub value: Option<f64>,
    /// The same with its unit.
    pub shown: String,
    /// It is as asked.
    pub held: bool,
}

impl Threshold {
    /// Whether it can only be judged beside another run: `cpu.gateway.perFrame<+10%`.
    #[must_use]
    pub fn is_relative(&self) -> bool {
        matches!(self.limit, Limit::Times(_))
    }

    /// Judges the JSON of a report; `before`: that of the run that it is compared with. What was not measured is
    /// not held.
    #[must_use]
    pub fn judge(&self, report: &Value, before: Option<&Value>) -> Judged {
        let value = self.figure.of(report);
        let limit = match self.limit {
            Limit::Value(limit) => Some(limit),
            Limit::Times(times) => {
                before.and_then(|before| self.figure.of(before)).map(|value| value * times)
            }
        };
        let held = value.zip(limit).is_some_and(|(value, limit)| match self.operator {
            Operator::Below => value < limit,
            Operator::AtMost => value <= limit,
            Operator::Above => value > limit,
            Operator::AtLeast => value >= limit,
        });
        let shown = value.map_or_else(|| "not measured".into(), |value| self.figure.show(value));
        Judged { threshold: self.text.clone(), value, shown, held }
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Threshold {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let operators = [
            ("<=", Operator::AtMost),
            (">=", Operator::AtLeast),
            ("<", Operator::Below),
            (">", Operator::Above),
        ];
        let found = operators.iter().find_map(|(sign, operator)| {
            text.split_once(sign).map(|(name, limit)| (name.trim(), *operator, limit.trim()))
        });
        let Some((name, operator, limit)) = found else {
            return Err("written as a figure, <, <=, > or >=, and a value: fanout.p99<500ms; `--threshold help` lists the figures".into());
        };
        let figure = Figure::named(name)?;
        let limit = read_limit(limit, figure.unit)?;
        Ok(Self { text: text.to_owned(), figure, operator, limit })
    }
}

fn read_limit(text: &str, unit: Unit) -> Result<Limit, String> {
    if let Some(percent) = text.strip_suffix('%').filter(|_| text.starts_with(['+', '-'])) {
        let percent: f64 = percent.parse().map_err(|_| format!("{text:?} is no percentage"))?;
        return Ok(Limit::Times(1.0 + percent / 100.0));
    }
    let end = text.find(|c: char| !(c.is_ascii_digit() || ".,_".contains(c))).unwrap_or(text.len());
    let (digits, suffix) = (text[..end].replace([',', '_'], ""), text[end..].trim());
    let number = digits.parse::<f64>().ok();
    let factor = factor(suffix, unit);
    match number.zip(factor) {
        Some((number, factor)) => Ok(Limit::Value(number * factor)),
        None => Err(format!("{text:?} is no value of this figure: {}", units(unit))),
    }
}

/// A suffix as a multiple of the unit.
fn factor(suffix: &str, unit: Unit) -> Option<f64> {
    let micros = |suffix: &str| match suffix {
        "ns" => Some(1e-3),
        "us" | "µs" => Some(1.0),
        "ms" => Some(1e3),
        "s" => Some(1e6),
        "m" | "min" => Some(60e6),
        _ => None,
    };
    match unit {
        Unit::Micros => micros(suffix),
        Unit::Millis => Some(micros(suffix)? / 1e3),
        Unit::Bytes => Some(format!("1{suffix}").parse::<bytesize::ByteSize>().ok()?.as_u64() as f64),
        Unit::Ratio => match suffix {
            "" => Some(1.0),
            "%" => Some(0.01),
            _ => None,
        },
        Unit::Count | Unit::PerSec => match suffix.trim_end_matches("/s") {
            "" => Some(1.0),
            "k" | "K" => Some(1e3),
            "m" | "M" => Some(1e6),
            _ => None,
        },
    }
}

fn units(unit: Unit) -> &'static str {
    match unit {
        Unit::Millis | Unit::Micros => "a time has a unit, as 250us, 500ms or 2s",
        Unit::Bytes => "a size has a unit, as 800B, 1KiB or 2GiB",
        Unit::Count => "a count is 0, 1000 or 10k",
        Unit::PerSec => "a rate is 1000, 10k or 1.5m, /s if you like",
        Unit::Ratio => "a ratio is 1.2 or 90%",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn judged(text: &str) -> Judged {
        let report = json!({
            "latency": {"fanout": {"count": 9, "p99Ms": 500.0}, "total": {"count": 0, "p99Ms": 0.0}},
            "totals": {"lost": 0},
            "rates": {"itemsPerSec": 1_500_000.0},
            "roles": [{"role": "gateway", "cost": {"cpuUsPerFrame": 9.0, "bytesPerConnection": 1_024.0}}],
            "floor": {"gatewayRatio": 1.1},
        });
        let before = json!({"roles": [{"role": "gateway", "cost": {"cpuUsPerFrame": 8.5}}]});
        text.parse::<Threshold>().unwrap().judge(&report, Some(&before))
    }

    #[test]
    fn thresholds_hold_or_not_in_any_unit() {
        let held = [
            "fanout.p99<=500ms",
            "fanout.p99 < 0.6s",
            "fanout.p99>499000us",
            "lost<1",
            "lost<=0",
            "deliveries>=1.5m/s",
            "deliveries>1_000k",
            "cpu.gateway.perFrame<=9us",
            "cpu.gateway.perFrame<+10%",
            "memory.gateway.perConnection<=1KiB",
            "floor.ratio<1.2",
            "floor.ratio<=110%",
        ];
        for text in held {
            assert!(judged(text).held, "{text}: {:?}", judged(text));
        }
        let missed =
            ["fanout.p99<500ms", "lost>0", "deliveries>2m", "cpu.gateway.perFrame<+5%", "floor.ratio<1"];
        for text in missed {
            assert!(!judged(text).held, "{text}");
        }
        let unmeasured = judged("total.p99<1s");
        assert!(!unmeasured.held && unmeasured.shown == "not measured", "0 of nothing is no latency");
        assert!(!judged("total.p99>1s").held);
    }

    #[test]
    fn what_is_no_threshold_is_refused_with_words() {
        let wrong = [
            ("fanout.p99", "written as"),
            ("fanuot.p99<1s", "nearest is \"fanout.p99\""),
            ("fanout.p99<500", "a time has a unit"),
            ("fanout.p99<5KiB", "a time has a unit"),
            ("lost<1s", "a count"),
            ("memory.gateway.max<1ms", "a size"),
            ("lost<", "a count"),
            ("lost<-1", "a count"),
            ("lost<+x%", "no percentage"),
            ("", "written as"),
        ];
        for (text, said) in wrong {
            let why = text.parse::<Threshold>().unwrap_err();
            assert!(why.contains(said), "{text}: {why}");
        }
    }
}
