//! The floor, with real processes and sockets.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use loadtest::floor::{self, Plan};

fn plan() -> Plan {
    let program = Some(PathBuf::from(env!("CARGO_BIN_EXE_tidegate-loadtest")));
    Plan { connections: 200, rounds: 3, threads: 2, program, ..Plan::default() }
}

/// What a run can answer for: others on the machine may make the kernel drop and repeat.
fn check(report: &floor::Report) {
    assert_eq!((report.missing, report.blocked), (0, 0), "{report}");
    assert_eq!(report.is_valid(), report.kernel.is_clean(), "{report}");
    assert_eq!(report.to_string().contains("INVALID"), !report.is_valid(), "{report}");
    assert!(report.send_cpu_us > 0.0 && report.receive_cpu_us > 0.0, "{report}");
    assert!(report.connect_cpu_us > 0.0 && report.accept_cpu_us > 0.0, "{report}");
    assert!(report.sends_per_second > 0.0 && report.connects_per_second > 0.0, "{report}");
    assert!(report.round_send_ms.max_ms <= report.round_ms.max_ms, "{report}");
}

#[test]
fn a_floor_is_measured_end_to_end() {
    let report = floor::run(&plan()).unwrap();
    check(&report);
    assert_eq!((report.sends, report.pairs, report.threads), (600, 1, 2));
    assert_eq!((report.round_ms.count, report.round_send_ms.count), (3, 3));
}

#[test]
fn rounds_begin_at_their_time() {
    let begun = std::time::Instant::now();
    let report = floor::run(&Plan { every: Duration::from_millis(100), ..plan() }).unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(200));
    check(&report);
    assert!(report.round_ms.p50_ms < 100.0, "the time between rounds is none of theirs: {report}");
}

#[test]
fn a_program_that_plays_no_role_is_named_as_the_reason() {
    let error = floor::run(&Plan { program: Some("/bin/true".into()), ..plan() }).unwrap_err();
    assert!(error.to_string().contains("floor::role") && error.exit_code() == 1, "{error}");
    let error = floor::run(&Plan { rounds: 0, ..plan() }).unwrap_err();
    assert_eq!(error.exit_code(), 2, "{error}");
}

#[test]
fn the_program_prints_the_floor_and_ends_by_its_verdict() {
    let mut program = Command::new(env!("CARGO_BIN_EXE_tidegate-loadtest"));
    program.args(["floor", "--connections", "100", "--rounds", "2", "--bytes", "1KiB", "--json", "-"]);
    let output = program.output().unwrap();
    let json: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("standard output is JSON alone");
    let valid = json["invalid"].as_array().unwrap().is_empty();
    assert_eq!(output.status.code(), Some(if valid { 0 } else { 1 }), "{json}");
    assert_eq!((&json["sends"], &json["bytes"]), (&200.into(), &1024.into()));
    assert!(json["machine"]["cores"].as_u64() > Some(0) && json["sendCpuUs"].as_f64() > Some(0.0), "{json}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("CPU a frame"));
}

#[test]
fn a_process_ends_when_its_run_is_gone() {
    let role = r#"{"Receiver":{"connections":1,"bytes":4,"threads":1,"listeners":1,"time_max":{"secs":600,"nanos":0}}}"#;
    let mut program = Command::new(env!("CARGO_BIN_EXE_tidegate-loadtest"));
    let mut child = program.args(["floor-role", role]).stdin(Stdio::piped()).spawn().unwrap();
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
}
