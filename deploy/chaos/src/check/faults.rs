//! What was done to the cluster, and what it did to itself.

use std::collections::HashMap;

use super::Checker;
use super::report::Kind;
use crate::log::FaultLine;
use crate::schedule::quiet_share;

impl Checker {
    /// The lines about faults.
    pub(crate) fn faults(&mut self, text: &str) {
        let mut open: HashMap<(String, String), u64> = HashMap::new();
        let mut spans = Vec::new();
        for line in text.lines() {
            let Ok(line) = serde_json::from_str::<FaultLine>(line) else {
                self.report.find(Kind::Unread, || format!("a line about a fault: {line}"));
                continue;
            };
            let FaultLine { t, what, role, name, lifted } = line;
            if what == "crashed" {
                self.report.find(Kind::Crashed, || name);
                continue;
            }
            if lifted {
                self.last_fault = self.last_fault.max(t);
                if let Some(from) = open.remove(&(what, name)) {
                    spans.push((from as f64 / 1e6, t as f64 / 1e6));
                }
                continue;
            }
            *self.report.faults.entry(what.clone()).or_default() += 1;
            if what == "kill" {
                *self.report.kills.entry(role).or_default() += 1;
            }
            open.insert((what, name), t);
        }
        let ends = spans.iter().map(|(_, to)| *to).fold(0.0, f64::max);
        let begins = spans.iter().map(|(from, _)| *from).fold(f64::INFINITY, f64::min);
        if ends > begins {
            let spans: Vec<_> = spans.iter().map(|(from, to)| (from - begins, to - begins)).collect();
            self.report.quiet_share = quiet_share(&spans, ends - begins);
        }
    }
}
