//! Runs as rows of one table, for a page: how many were online, what was asked, what that cost.

use std::fmt::Write;

use serde_json::Value;

use crate::report::SCHEMA;
use crate::report::format::{bytes, count};

/// What stands above the columns.
const COLUMNS: [&str; 10] = [
    "online",
    "load",
    "gateways, cores",
    "machine, cores",
    "gateways, memory",
    "machine, memory",
    "disk I/O",
    "network out",
    "items/s",
    "p99 · lost",
];

/// A run as a row.
pub(crate) struct Row<'a> {
    pub(crate) report: &'a Value,
    pub(crate) clients: f64,
    /// Pushes a second.
    pub(crate) rate: f64,
    /// What was asked, in words.
    pub(crate) load: String,
    /// The seconds in which all clients were online and, where something was to be published, it was.
    points: Vec<&'a Value>,
    /// Cores that the gateways used in them.
    pub(crate) gateway_cores: f64,
}

/// Reports (as JSON) as a table in Markdown, a row each. Cores and network are means over the seconds in which all
/// clients were online and, where something was to be published, it was; "machine" is generator, cluster and, for
/// memory, the kernel.
///
/// # Errors
/// Which of them is no report of this version.
pub fn table(reports: &[Value]) -> Result<String, String> {
    let mut text = format!("| {} |\n|{}\n", COLUMNS.join(" | "), " --- |".repeat(COLUMNS.len()));
    for row in rows(reports)? {
        _ = writeln!(text, "| {} |", row.cells().join(" | "));
    }
    Ok(text)
}

/// Reports as rows.
///
/// # Errors
/// Which of them is no report of this version.
pub(crate) fn rows(reports: &[Value]) -> Result<Vec<Row<'_>>, String> {
    let mut rows = Vec::with_capacity(reports.len());
    for (at, report) in reports.iter().enumerate() {
        if report["schema"].as_u64() != Some(u64::from(SCHEMA)) {
            return Err(format!("report {} is not of schema {SCHEMA}", at + 1));
        }
        rows.push(Row::of(report));
    }
    Ok(rows)
}

impl<'a> Row<'a> {
    fn of(report: &'a Value) -> Self {
        let clients = report["plan"]["clients"].as_u64().unwrap_or(0);
        let rate = report["plan"]["rate"].as_f64().unwrap_or(0.0);
        let phase = if rate > 0.0 { "publishing" } else { "connecting" };
        let all = report["timeline"].as_array().into_iter().flatten();
        let online = |point: &&Value| point["phase"] == phase && point["connected"].as_u64() == Some(clients);
        let points = all.filter(online).collect();
        let mut row = Self {
            report,
            clients: clients as f64,
            rate,
            load: load(report, rate),
            points,
            gateway_cores: 0.0,
        };
        row.gateway_cores = row.mean(|point| cores(&point["roles"]["gateway"]));
        row
    }

    fn mean(&self, of: impl Fn(&Value) -> f64) -> f64 {
        self.points.iter().map(|point| of(point)).sum::<f64>() / (self.points.len() as f64).max(1.0)
    }

    /// A figure of what something cost a role.
    pub(crate) fn cost(&self, role: &str, name: &str) -> Option<f64> {
        self.role(role)?["cost"][name].as_f64()
    }

    fn role(&self, name: &str) -> Option<&'a Value> {
        self.report["roles"].as_array()?.iter().find(|role| role["role"] == name)
    }

    fn cells(&self) -> [String; 10] {
        let secs: f64 = self.points.iter().filter_map(|point| point["secs"].as_f64()).sum();
        let sum = |field: &str| {
            self.points.iter().filter_map(|point| point[field].as_f64()).sum::<f64>() / secs.max(1e-9)
        };
        let all = self.mean(|point| {
            point["roles"].as_object().into_iter().flatten().map(|(_, role)| cores(role)).sum()
        });
        let gateway = self.role("gateway");
        let of_gateway =
            |path: &str| gateway.and_then(|role| role.pointer(path)).and_then(Value::as_f64).unwrap_or(0.0);
        let machine = self.mean(|point| point["machineMemoryBytes"].as_f64().unwrap_or(0.0));
        let disk = of_gateway("/diskReadBytes") + of_gateway("/diskWrittenBytes");
        let total = &self.report["latency"]["total"];
        let end = match total["count"].as_u64() {
            Some(1..) => {
                let p99 = whole(total["p99Ms"].as_f64().unwrap_or(0.0));
                format!("{p99} ms · {}", self.report["totals"]["lost"])
            }
            _ => "–".to_owned(),
        };
        [
            whole(self.clients),
            self.load.clone(),
            format!("{:.2}", self.gateway_cores),
            format!("{all:.2}"),
            bytes(of_gateway("/memoryHold/pssBytes")),
            bytes(machine),
            bytes(disk),
            format!("{}/s", bytes(sum("loopbackBytes"))),
            whole(sum("received")),
            end,
        ]
    }
}

/// A count that was reckoned.
fn whole(value: f64) -> String {
    count(value.round() as u64)
}

fn cores(role: &Value) -> f64 {
    role["cores"].as_f64().unwrap_or(0.0)
}

/// What a run asked of the cluster.
fn load(report: &Value, rate: f64) -> String {
    let mix = report["plan"]["mix"].as_str().unwrap_or_default();
    let to_all = mix.starts_with("all=1,room=0");
    let compressed = if report["plan"]["deflateShare"].as_f64() > Some(0.0) { ", compressed" } else { "" };
    match rate {
        0.0 => "idle".to_owned(),
        1.0 if to_all => format!("1 push/s to all{compressed}"),
        rate if to_all => format!("{rate} pushes/s to all{compressed}"),
        rate => format!("{rate} pushes/s, {mix}{compressed}"),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;

    pub(crate) fn report() -> Value {
        let point = |phase: &str, connected: u64, cores: f64| {
            json!({"phase": phase, "connected": connected, "secs": 2.0, "received": 3000, "loopbackBytes": 4096,
                "machineMemoryBytes": 1_048_576,
                "roles": {"gateway": {"cores": cores}, "generator": {"cores": 0.25}}})
        };
        json!({"schema": SCHEMA, "plan": {"clients": 1_000, "rate": 10.0, "mix": "all=1,room=0,user=0"},
            "timeline": [point("connecting", 500, 9.0), point("publishing", 1_000, 0.5), point("publishing", 1_000, 1.0),
                point("draining", 1_000, 9.0)],
            "roles": [{"role": "gateway", "memoryHold": {"pssBytes": 1_572_864}, "diskReadBytes": 0, "diskWrittenBytes": 0}],
            "latency": {"total": {"count": 5, "p99Ms": 1234.4}}, "totals": {"lost": 0}})
    }

    #[test]
    fn a_row_is_of_the_seconds_in_which_all_were_online_and_pushed_to() {
        let text = table(&[report()]).unwrap();
        let row = text.lines().nth(2).unwrap();
        assert_eq!(
            row,
            "| 1,000 | 10 pushes/s to all | 0.75 | 1.00 | 1.50 MiB | 1.00 MiB | 0 B | 2.00 KiB/s | 1,500 | 1,234 ms · 0 |"
        );
    }

    #[test]
    fn an_idle_run_has_no_latency_and_a_stranger_is_refused() {
        let mut idle = report();
        idle["plan"]["rate"] = json!(0.0);
        idle["plan"]["clients"] = json!(500);
        idle["latency"]["total"]["count"] = json!(0);
        let text = table(&[idle]).unwrap();
        assert!(text.contains("| 500 | idle | 9.00 |") && text.trim_end().ends_with("| – |"), "{text}");
        assert!(table(&[json!({"schema": 0})]).unwrap_err().contains("report 1"));
    }
}
