//! The programs `peers`, `any` and `plan`, with the one peer that is always there: the plain server.

use std::path::Path;
use std::process::{Command, Output, Stdio};

fn program(arguments: &[&str]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_tidegate-loadtest"));
    program.args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn json(output: &Output) -> serde_json::Value {
    let error = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("no JSON: {error}"))
}

fn folder() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/peers").display().to_string()
}

#[test]
fn a_peer_is_started_measured_and_ended() {
    let folder = folder();
    let quick = [
        "--publishes",
        "5",
        "--every",
        "20ms",
        "--item-rate",
        "50",
        "--merged-for",
        "100ms",
        "--rest",
        "100ms",
    ];
    let arguments = ["peers", "--peers", &folder, "--only", "plain", "--clients", "100", "--json", "-"];
    let output = program(&[&arguments[..], &quick].concat());
    let report = json(&output);
    assert_eq!(output.status.code(), Some(0), "{report}");
    let rows = report["rows"].as_array().unwrap();
    assert_eq!(
        (rows.len(), &rows[0]["discipline"], &rows[1]["discipline"]),
        (2, &"frames".into(), &"merged".into())
    );
    for row in rows {
        let measured = &row["measured"];
        assert_eq!(
            (&measured["delivered"], &measured["lost"], &measured["processes"]),
            (&500.into(), &0.into(), &1.into())
        );
        assert!(
            row["frameToFloor"].as_f64() > Some(0.0) && measured["memoryPerClientIdle"].as_f64() > Some(0.0)
        );
        assert_eq!(row["configuration"][0], "deploy/peers/plain/peer.toml");
    }
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("F, one publish is one message") && text.contains("÷ floor"), "{text}");
}

#[test]
fn a_peer_that_is_not_installed_is_named_and_not_measured() {
    let folder = folder();
    let arguments =
        ["peers", "--peers", &folder, "--only", "tidegate", "--clients", "10", "--publishes", "5"];
    let output = program(
        &[&arguments[..], &["--every", "0s", "--tidegate", "/no/such/tidegate", "--json", "-"]].concat(),
    );
    let report = json(&output);
    assert_eq!(output.status.code(), Some(69), "{report}");
    assert!(
        report["absent"][0]["why"].as_str().unwrap().starts_with("not installed: /no/such/tidegate"),
        "{report}"
    );
    assert_eq!(program(&["peers", "--peers", &folder, "--only", "nobody"]).status.code(), Some(2));
    assert_eq!(program(&["peers", "--peers", &folder, "--clients", "0"]).status.code(), Some(2));
}

#[test]
fn a_plan_is_printed_with_what_it_assumes() {
    let output = program(&["plan", "--clients", "50m", "--items", "10/s", "--json", "-"]);
    let answer = json(&output);
    assert!(answer["gateways"].as_u64() > Some(10) && answer["links"].as_u64() > Some(20), "{answer}");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("A MODEL") && text.contains("assumed:"), "{text}");
    assert_eq!(program(&["plan", "--clients", "0"]).status.code(), Some(2));
    assert_eq!(program(&["plan", "--clients", "1m", "--constants", "/no/such/file"]).status.code(), Some(2));
}
