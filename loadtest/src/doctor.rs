//! `tidegate-loadtest doctor`: every limit beside what a run needs of it, and the plan for that run.

use loadtest::layout::{Finding, Layout, Verdict};
use loadtest::limits::Limits;
use serde::Serialize;

use crate::args::DoctorArgs;

/// What was found.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Diagnosis {
    /// Whether the run fits.
    pub(crate) ok: bool,
    /// How many clients would.
    most: u32,
    limits: Limits,
    plan: Layout,
}

impl Diagnosis {
    /// Looks at this machine.
    pub(crate) fn of(args: &DoctorArgs) -> Self {
        let (asked, limits) = (args.asked(), Limits::read());
        let plan = Layout::draw(&asked, &limits);
        Self { ok: plan.fits(), most: Layout::most(&asked, &limits), limits, plan }
    }

    /// A table for people.
    pub(crate) fn text(&self) -> String {
        let findings = &self.plan.findings;
        let wide =
            |cell: fn(&Finding) -> &str| findings.iter().map(|each| cell(each).len()).max().unwrap_or(0);
        let (limit, found, needed) =
            (wide(|each| each.limit), wide(|each| &each.found), wide(|each| &each.needed));
        let mut lines = Vec::new();
        for each in findings {
            let verdict = match each.verdict {
                Verdict::Ok => "ok",
                Verdict::Unknown => "?",
                Verdict::Warn => "warn",
                Verdict::Fail => "FAIL",
            };
            let advice = each.advice.as_deref().unwrap_or("");
            let line = format!(
                "{verdict:4}  {:limit$}  {:>found$}  needs {:>needed$}  {advice}",
                each.limit, each.found, each.needed
            );
            lines.push(line.trim_end().to_owned());
        }
        lines.push(format!("\n{}\n", self.plan));
        lines.push(match (self.ok, self.most) {
            (true, _) => "it fits".to_owned(),
            (false, 0) => "it does not fit, and nothing would".to_owned(),
            (false, most) => format!("it does not fit: at most --connections {most}"),
        });
        lines.join("\n")
    }
}
