//! The program: its exit codes, its output, Ctrl-C.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::fake::{Fake, Fault};

pub(super) fn program(fake: &Fake, more: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate-loadtest"));
    command.args(["run", "--clients", "20", "--rooms", "10", "--rooms-per-client", "2", "--settle", "0s"]);
    for url in &fake.gateways {
        command.args(["--gateway", url]);
    }
    for url in &fake.logics {
        command.args(["--logic", url]);
    }
    command.args(more).kill_on_drop(true).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

pub(super) async fn output(mut command: Command) -> (Option<i32>, String, String) {
    let output =
        tokio::time::timeout(Duration::from_secs(30), command.output()).await.expect("an end").unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn good_and_bad_runs_have_their_exit_codes() {
    let good = Fake::start(2, Fault::None).await;
    let (code, out, err) = output(program(&good, &["--duration", "300ms", "--json", "-"])).await;
    assert_eq!(code, Some(0), "{err}");
    let json: serde_json::Value = serde_json::from_str(&out).expect("standard output is JSON alone");
    assert_eq!(json["verdict"]["ok"], true);
    assert!(err.contains("PASS"), "{err}");
    let bad = Fake::start(2, Fault::Lose).await;
    let (code, out, _) = output(program(&bad, &["--duration", "300ms"])).await;
    assert!(code == Some(1) && out.contains("FAIL: 1 lost"), "{out}");
    assert_eq!(output(program(&good, &["--clients", "0"])).await.0, Some(2));
    assert_eq!(output(program(&good, &["--mix", "romo=1"])).await.0, Some(2));
    let (code, _, err) = output(program(&good, &["--gateway", "ws://127.0.0.1:1"])).await;
    assert!(code == Some(69) && err.contains("cannot connect"), "{err}");
    let (code, _, err) = output(program(&good, &["--json", "/no/such/folder/x"])).await;
    assert!(code == Some(1) && err.contains("/no/such/folder/x"), "{err}");
    let (code, _, err) = output(program(&good, &["--duration", "100ms", "--json", "/dev/full"])).await;
    assert!(code == Some(1) && err.contains("No space left"), "{err}");
}

pub(super) async fn interrupt(child: &Child) {
    let pid = child.id().expect("it runs").to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().await.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_leaves_a_partial_report() {
    // A push that is never answered must not hold it up beyond its own deadline.
    for fault in [Fault::None, Fault::Hang] {
        let fake = Fake::start(1, fault).await;
        let mut child = program(&fake, &["--duration", "10m", "--json", "-"]).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        while !lines.next_line().await.unwrap().expect("a line of progress").starts_with("Publishing") {}
        interrupt(&child).await;
        let ended = tokio::time::timeout(Duration::from_secs(30), child.wait_with_output()).await;
        let output = ended.expect("an end").unwrap();
        assert_eq!(output.status.code(), Some(130));
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&json["complete"], &json["totals"]["lost"]), (&false.into(), &0.into()), "{fault:?}");
        assert!(json["pushes"]["unsent"].as_u64().unwrap() > 50_000);
    }
}
