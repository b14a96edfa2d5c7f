//! What one limit means for a run: what is there, what is needed, and what a person can do about it.

use std::fmt;

use serde::Serialize;

/// Whether a limit suffices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It does.
    Ok,
    /// It could not be read.
    Unknown,
    /// The run can be done, and may be slower or its latencies worse.
    Warn,
    /// The run would fail half-way.
    Fail,
}

/// One limit beside what a run needs of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// What it is called where it is changed.
    pub limit: &'static str,
    /// Whether it suffices.
    pub verdict: Verdict,
    /// What is there.
    pub found: String,
    /// What the run needs.
    pub needed: String,
    /// How to change it, where that helps.
    pub advice: Option<String>,
}

impl Finding {
    /// A limit that must be at least what is needed.
    pub(crate) fn must(
        limit: &'static str,
        found: Option<u64>,
        needed: u64,
        show: fn(u64) -> String,
    ) -> Self {
        Self::judged(limit, found, needed, show, Verdict::Fail)
    }

    /// A limit that should be.
    pub(crate) fn should(
        limit: &'static str,
        found: Option<u64>,
        needed: u64,
        show: fn(u64) -> String,
    ) -> Self {
        Self::judged(limit, found, needed, show, Verdict::Warn)
    }

    fn judged(
        limit: &'static str,
        found: Option<u64>,
        needed: u64,
        show: fn(u64) -> String,
        short: Verdict,
    ) -> Self {
        let verdict = match found {
            None => Verdict::Unknown,
            Some(found) if found < needed => short,
            Some(_) => Verdict::Ok,
        };
        let found = found.map_or("unknown".to_owned(), show);
        Self { limit, verdict, found, needed: show(needed), advice: None }
    }

    /// With advice, if it does not suffice.
    pub(crate) fn advise(mut self, advice: impl FnOnce() -> String) -> Self {
        if self.verdict >= Verdict::Warn {
            self.advice = Some(advice());
        }
        self
    }

    /// Not as grave as it seems, for a reason that the advice should say.
    pub(crate) fn at_most(mut self, verdict: Verdict) -> Self {
        self.verdict = self.verdict.min(verdict);
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { limit, found, needed, .. } = self;
        write!(f, "{limit}: {found}, and {needed} are needed")?;
        self.advice.as_ref().map_or(Ok(()), |advice| write!(f, "; {advice}"))
    }
}

/// A number with its thousands apart.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes, in the unit that people think in.
pub(crate) fn memory(bytes: u64) -> String {
    const MIB: f64 = (1 << 20) as f64;
    let mib = bytes as f64 / MIB;
    if mib < 1024.0 { format!("{mib:.0} MiB") } else { format!("{:.1} GiB", mib / 1024.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_judged_and_advice_given_only_where_it_helps() {
        let judged = |found| Finding::must("x", found, 10, count).advise(|| "more".into());
        let verdicts = [None, Some(9), Some(10)].map(|found| judged(found).verdict);
        assert_eq!(verdicts, [Verdict::Unknown, Verdict::Fail, Verdict::Ok]);
        assert_eq!(judged(Some(9)).to_string(), "x: 9, and 10 are needed; more");
        assert_eq!((judged(Some(10)).advice, judged(None).advice), (None, None));
        assert_eq!(judged(Some(9)).at_most(Verdict::Warn).verdict, Verdict::Warn);
    }

    #[test]
    fn numbers_are_written_for_people() {
        let counts = [0, 999, 1_000, 1_234_567].map(count);
        assert_eq!(counts, ["0", "999", "1,000", "1,234,567"]);
        assert_eq!((memory(5 << 20), memory(3 << 29)), ("5 MiB".to_owned(), "1.5 GiB".to_owned()));
    }
}
