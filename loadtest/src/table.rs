//! Runs as rows of one table, for a page: how many were online, what was asked, what that cost.

use std::fmt::Write;

use serde_json::Value;

use crate::report::SCHEMA;

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

/// Reports (as JSON) as a table in Markdown, a row each. Cores and network are means over the seconds in which all
/// clients were online and, where something was to be published, it was; "machine" is generator, cluster and, for
/// memory, the kernel.
///
/// # Errors
/// Which of them is no report of this version.
pub fn table(reports: &[Value]) -> Result<String, String> {
    let mut text = format!("| {} |\n|{}\n", COLUMNS.join(" | "), " --- |".repeat(COLUMNS.len()));
    for (at, report) in reports.iter().enumerate() {
        if report["schema"].as_u64() != Some(u64::from(SCHEMA)) {
            return Err(format!("report {} is not of schema {SCHEMA}", at + 1));
        }
        _ = writeln!(text, "| {} |", row(report).join(" | "));
    }
    Ok(text)
}

fn row(report: &Value) -> [String; 10] {
    let clients = report["plan"]["clients"].as_u64().unwrap_or(0);
    let rate = report["plan"]["rate"].as_f64().unwrap_or(0.0);
    let phase = if rate > 0.0 { "publishing" } else { "connecting" };
    let points: Vec<&Value> = report["timeline"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|point| point["phase"] == phase && point["connected"].as_u64() == Some(clients))
        .collect();
    let secs: f64 = points.iter().filter_map(|point| point["secs"].as_f64()).sum();
    let mean = |of: &dyn Fn(&Value) -> f64| {
        points.iter().map(|point| of(point)).sum::<f64>() / (points.len() as f64).max(1.0)
    };
    let cores = |role: &Value| role["cores"].as_f64().unwrap_or(0.0);
    let gateways = mean(&|point| cores(&point["roles"]["gateway"]));
    let all =
        mean(&|point| point["roles"].as_object().into_iter().flatten().map(|(_, role)| cores(role)).sum());
    let sum =
        |field: &str| points.iter().filter_map(|point| point[field].as_f64()).sum::<f64>() / secs.max(1e-9);
    let gateway = report["roles"].as_array().into_iter().flatten().find(|role| role["role"] == "gateway");
    let of_gateway =
        |path: &str| gateway.and_then(|role| role.pointer(path)).and_then(Value::as_f64).unwrap_or(0.0);
    let machine = mean(&|point| point["machineMemoryBytes"].as_f64().unwrap_or(0.0));
    let disk = of_gateway("/diskReadBytes") + of_gateway("/diskWrittenBytes");
    let mix = report["plan"]["mix"].as_str().unwrap_or_default();
    let to_all = mix.starts_with("all=1,room=0");
    let load = match rate {
        0.0 => "idle".to_owned(),
        1.0 if to_all => "1 push/s to all".to_owned(),
        rate if to_all => format!("{rate} pushes/s to all"),
        rate => format!("{rate} pushes/s, {mix}"),
    };
    let total = &report["latency"]["total"];
    let end = match total["count"].as_u64() {
        Some(1..) => {
            format!("{} ms · {}", number(total["p99Ms"].as_f64().unwrap_or(0.0)), report["totals"]["lost"])
        }
        _ => "–".to_owned(),
    };
    [
        number(clients as f64),
        load,
        format!("{gateways:.2}"),
        format!("{all:.2}"),
        bytes(of_gateway("/memoryHold/pssBytes")),
        bytes(machine),
        bytes(disk),
        format!("{}/s", bytes(sum("loopbackBytes"))),
        number(sum("received")),
        end,
    ]
}

/// A whole number with a comma each three digits.
fn number(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn bytes(value: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB"];
    let mut left = value;
    let mut unit = 0;
    while left >= 1024.0 && unit + 1 < units.len() {
        left /= 1024.0;
        unit += 1;
    }
    let digits = if left >= 100.0 || unit == 0 { 0 } else { 1 };
    format!("{left:.digits$} {}", units[unit])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report() -> Value {
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
            "| 1,000 | 10 pushes/s to all | 0.75 | 1.00 | 1.5 MiB | 1.0 MiB | 0 B | 2.0 KiB/s | 1,500 | 1,234 ms · 0 |"
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
