//! How an operator is told of limits: each has a name, a flag, an answer to those who are over it, and a counter.
//!
//! The counter is `…_refused_total{limit="name"}`. Names are those of a fixed list, so labels are bounded.

use serde_json::{Value, json};

use crate::metrics::{Counter, Family, Metrics};

/// One limit of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// Its name: the label of its counter.
    pub name: &'static str,
    /// The flag that sets it, without dashes; empty: it is fixed.
    pub flag: &'static str,
    /// What happens to who is over it.
    pub answer: &'static str,
}

/// How a limit stands now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// The most that is allowed, in the unit of its flag; `None`: there is no limit.
    pub most: Option<u64>,
    /// How much of it is used, where that is one number.
    pub used: Option<u64>,
}

impl Figures {
    /// A limit without a number of its use.
    #[must_use]
    pub fn most(most: impl TryInto<u64>) -> Self {
        Self { most: Some(most.try_into().unwrap_or(u64::MAX)), used: None }
    }

    /// The same with its use.
    #[must_use]
    pub fn used(self, used: impl TryInto<u64>) -> Self {
        Self { used: Some(used.try_into().unwrap_or(u64::MAX)), ..self }
    }
}

/// The label of a counter.
type Label = [(&'static str, &'static str); 1];

/// The limits of a node with their counters, in the order of its list.
#[derive(Debug, Clone)]
pub struct Refusals(Vec<(Told, Counter)>);

impl Refusals {
    /// Counters for these limits; all are there from the start, at zero.
    #[must_use]
    pub fn new(metrics: &Metrics, limits: impl IntoIterator<Item = Told>) -> Self {
        let help = "What was refused or closed because it was over a limit";
        let family: Family<Label, Counter> = metrics.register("refused", help);
        let counted = |told: Told| (told, family.get_or_create_owned(&[("limit", told.name)]));
        Self(limits.into_iter().map(counted).collect())
    }

    /// The counter of the limit at a place of the list.
    ///
    /// # Panics
    /// If the list is shorter.
    #[must_use]
    pub fn of(&self, place: usize) -> &Counter {
        &self.0[place].1
    }

    /// All limits as they stand, for `/statusz`.
    #[must_use]
    pub fn status(&self, figures: impl Fn(usize) -> Figures) -> Value {
        let row = |(place, (told, refused)): (usize, &(Told, Counter))| {
            let Told { name, flag, answer } = told;
            let Figures { most, used } = figures(place);
            let flag = (!flag.is_empty()).then(|| format!("--{flag}"));
            json!({"name": name, "flag": flag, "max": most, "used": used, "refused": refused.get(), "answer": answer})
        };
        self.0.iter().enumerate().map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_is_counted_and_shown() {
        let metrics = Metrics::new("test");
        let told = |name, flag| Told { name, flag, answer: "429" };
        let refusals = Refusals::new(&metrics, [told("calls", "calls"), told("depth", "")]);
        refusals.of(0).inc();
        let text = metrics.text();
        assert!(text.contains("tidegate_test_refused_total{limit=\"calls\"} 1"), "{text}");
        assert!(text.contains("tidegate_test_refused_total{limit=\"depth\"} 0"), "{text}");
        let status = refusals.status(|place| match place {
            0 => Figures::most(5_u32).used(2_u32),
            _ => Figures::default(),
        });
        assert_eq!(
            status,
            json!([
                {"name": "calls", "flag": "--calls", "max": 5, "used": 2, "refused": 1, "answer": "429"},
                {"name": "depth", "flag": null, "max": null, "used": null, "refused": 0, "answer": "429"},
            ])
        );
    }
}
