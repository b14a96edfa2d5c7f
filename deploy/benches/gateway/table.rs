//! The table: a row for each figure, judged against its target and its limit, as text or as Markdown.

use std::fmt::Write;

/// What a figure should be, and what it must be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bound {
    /// At most: target, limit.
    AtMost(f64, f64),
    /// At least: target, limit.
    AtLeast(f64, f64),
    /// It stands there for its information.
    None,
}

/// How a figure is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Met,
    /// Beyond its target, within its limit.
    Over,
    /// Beyond its limit.
    Missed,
    /// Without a bound.
    Shown,
    /// The run may not be quoted.
    Invalid,
}

impl Bound {
    fn judge(self, value: f64) -> Verdict {
        let (target, limit, sign) = match self {
            Self::None => return Verdict::Shown,
            Self::AtMost(target, limit) => (target, limit, 1.0),
            Self::AtLeast(target, limit) => (target, limit, -1.0),
        };
        if value.is_nan() || value * sign > limit * sign {
            Verdict::Missed
        } else if value * sign > target * sign {
            Verdict::Over
        } else {
            Verdict::Met
        }
    }

    fn words(self) -> [String; 2] {
        match self {
            Self::None => ["–".into(), "–".into()],
            Self::AtMost(target, limit) => [format!("≤ {}", number(target)), format!("> {}", number(limit))],
            Self::AtLeast(target, limit) => [format!("≥ {}", number(target)), format!("< {}", number(limit))],
        }
    }
}

/// One figure.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) figure: String,
    pub(crate) bound: Bound,
    pub(crate) measured: String,
    pub(crate) floor: String,
    pub(crate) ratio: Option<f64>,
    /// What is judged: the ratio, or the figure itself in the unit of its bound.
    pub(crate) value: f64,
    /// What else a reader should know.
    pub(crate) note: String,
    /// Why it may not be quoted; empty: it may.
    pub(crate) faults: Vec<String>,
}

impl Row {
    /// A figure judged by itself.
    pub(crate) fn plain(figure: impl Into<String>, bound: Bound, value: f64, unit: &str) -> Self {
        let measured = format!("{} {unit}", number(value)).trim_end().to_owned();
        Self {
            figure: figure.into(),
            bound,
            measured,
            floor: "–".into(),
            ratio: None,
            value,
            note: String::new(),
            faults: Vec::new(),
        }
    }

    /// A figure judged by its ratio to a floor; `unit` is that of both.
    pub(crate) fn ratio(
        figure: impl Into<String>,
        bound: Bound,
        (measured, floor): (f64, f64),
        ratio: f64,
        unit: &str,
    ) -> Self {
        Self {
            measured: format!("{} {unit}", number(measured)),
            floor: format!("{} {unit}", number(floor)),
            ratio: Some(ratio),
            value: ratio,
            ..Self::plain(figure, bound, ratio, "")
        }
    }

    pub(crate) fn note(self, note: impl Into<String>) -> Self {
        Self { note: note.into(), ..self }
    }

    pub(crate) fn faults(self, faults: Vec<String>) -> Self {
        Self { faults, ..self }
    }

    pub(crate) fn verdict(&self) -> Verdict {
        if self.faults.is_empty() { self.bound.judge(self.value) } else { Verdict::Invalid }
    }

    fn cells(&self) -> [String; 7] {
        let verdict = match self.verdict() {
            Verdict::Met => "met".to_owned(),
            Verdict::Over => "over target".to_owned(),
            Verdict::Missed => "MISSED".to_owned(),
            Verdict::Shown => "–".to_owned(),
            Verdict::Invalid => format!("INVALID: {}", self.faults.join("; ")),
        };
        let ratio = self.ratio.map_or("–".to_owned(), |ratio| format!("{ratio:.2}"));
        let [target, limit] = self.bound.words();
        [self.figure.clone(), target, limit, self.measured.clone(), self.floor.clone(), ratio, verdict]
    }
}

const HEADS: [&str; 7] = ["figure", "target", "not acceptable", "measured", "floor", "ratio", "verdict"];

/// A number with as many digits as can be meant.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1_000.0 => {
            let digits = format!("{:.0}", value.abs());
            let mut text = String::from(if value < 0.0 { "-" } else { "" });
            for (at, digit) in digits.chars().enumerate() {
                if at > 0 && (digits.len() - at).is_multiple_of(3) {
                    text.push(',');
                }
                text.push(digit);
            }
            text
        }
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// The median, of an even number the mean of the middle two; of none, no number.
pub(crate) fn median(of: impl IntoIterator<Item = f64>) -> f64 {
    let mut of: Vec<f64> = of.into_iter().collect();
    of.sort_by(f64::total_cmp);
    let middle = |at: usize| of.get(at).copied().unwrap_or(f64::NAN);
    f64::midpoint(middle(of.len().saturating_sub(1) / 2), middle(of.len() / 2))
}

/// All rows, with their notes beneath.
pub(crate) fn print(rows: &[Row], markdown: bool) -> String {
    let cells: Vec<_> = rows.iter().map(Row::cells).collect();
    let mut text = String::new();
    let mut line = |cells: &[String; 7], widths: &[usize; 7]| {
        let padded = cells.iter().zip(widths).map(|(cell, &width)| format!("{cell:width$}"));
        let padded: Vec<_> = padded.collect();
        let line = if markdown { format!("| {} |", cells.join(" | ")) } else { padded.join("  ") };
        text.push_str(line.trim_end());
        text.push('\n');
    };
    let heads = HEADS.map(str::to_owned);
    let width = |at: usize| cells.iter().chain([&heads]).map(|cells| cells[at].chars().count()).max();
    let widths = std::array::from_fn(|at| width(at).unwrap_or(0));
    line(&heads, &widths);
    let rule: [String; 7] = if markdown {
        std::array::from_fn(|_| "---".into())
    } else {
        widths.map(|width| "─".repeat(width))
    };
    line(&rule, &widths);
    cells.iter().for_each(|cells| line(cells, &widths));
    text.push('\n');
    for row in rows.iter().filter(|row| !row.note.is_empty()) {
        writeln!(text, "- {}: {}", row.figure, row.note).expect("a String takes all");
    }
    text
}
