//! Reports of the program: files in every form, thresholds, comparison, the generator that watches itself.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use super::fake::{Fake, Fault};
use super::program::{interrupt, output, program};

/// Where a test's reports go.
struct Reports(tempfile::TempDir);

impl Reports {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.at(name)).unwrap()).unwrap()
    }

    fn count(&self) -> usize {
        std::fs::read_dir(self.0.path()).unwrap().count()
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_reported_in_every_form() {
    let (fake, reports) = (Fake::start(2, Fault::None).await, Reports::new());
    let (json, html) = (reports.at("a.json"), reports.at("a.html"));
    let flags = [
        "--duration",
        "1500ms",
        "--prefix",
        "p-",
        "--mix",
        "room=1",
        "--json",
        text(&json),
        "--html",
        text(&html),
    ];
    let (code, out, err) = output(program(&fake, &flags)).await;
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("repeat    ") && out.contains("--duration 1500ms"), "{out}");
    let report = reports.json("a.json");
    assert_eq!((&report["schema"], &report["complete"]), (&1.into(), &true.into()));
    let received: u64 = report["timeline"]
        .as_array()
        .unwrap()
        .iter()
        .map(|second| second["received"].as_u64().unwrap())
        .sum();
    assert_eq!(report["totals"]["received"], received, "the seconds are the whole");
    let roles: Vec<&Value> = report["roles"].as_array().unwrap().iter().map(|role| &role["role"]).collect();
    assert_eq!(roles, ["gateway", "generator"], "the process behind the ports was found");
    assert!(report["rates"]["itemsPerSec"].as_f64().unwrap() > 0.0);
    let page = std::fs::read_to_string(&html).unwrap();
    assert!(page.contains("<strong>PASS</strong>") && page.matches("<svg").count() == 6);
    for outside in ["<script", "src=", "<link", "url(", "@import", "NaN"] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert_eq!(reports.count(), 2, "nothing is left beside them");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missed_threshold_ends_with_99_unless_something_worse_happened() {
    let fake = Fake::start(1, Fault::None).await;
    let short = ["--duration", "300ms"];
    let run = async |more: &[&str]| output(program(&fake, &[&short[..], more].concat())).await;
    let (code, out, _) = run(&["--threshold", "fanout.p99<10s", "--threshold", "lost<=0"]).await;
    assert!(code == Some(0) && out.contains("threshold held: lost<=0 (0)"), "{out}");
    let (code, out, _) = run(&["--threshold", "deliveries>1m/s", "--json", "/dev/null"]).await;
    assert!(
        code == Some(99) && out.contains("threshold MISSED: deliveries>1m/s") && out.contains("PASS"),
        "{out}"
    );
    let (code, _, err) = run(&["--threshold", "fanuot.p99<1s"]).await;
    assert!(code == Some(2) && err.contains("fanout.p99"), "{err}");
    let (code, _, err) = run(&["--threshold", "cpu.gateway.perFrame<+10%"]).await;
    assert!(code == Some(2) && err.contains("compare"), "{err}");
    let (code, out, _) = run(&["--threshold", "help"]).await;
    assert!(
        code == Some(0) && out.contains("fanout.*") && out.contains("memory.ROLE.perConnection"),
        "{out}"
    );
    let lossy = Fake::start(1, Fault::Lose).await;
    let (code, _, _) =
        output(program(&lossy, &["--duration", "300ms", "--threshold", "deliveries>1m/s"])).await;
    assert_eq!(code, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_runs_are_compared_if_their_plans_are_the_same() {
    let (fake, reports) = (Fake::start(1, Fault::None).await, Reports::new());
    for (name, rate, seed) in [("a", "100", "1"), ("b", "100", "2"), ("c", "50", "1")] {
        let path = reports.at(name);
        let flags = ["--duration", "300ms", "--rate", rate, "--seed", seed, "--json", text(&path)];
        assert_eq!(output(program(&fake, &flags)).await.0, Some(0));
    }
    let compare = async |before: &str, after: &str, more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate-loadtest"));
        command.arg("compare").args([reports.at(before), reports.at(after)]).args(more).kill_on_drop(true);
        output(command).await
    };
    let (code, out, _) = compare("a", "a", &[]).await;
    assert!(code == Some(0) && out.contains("SAME") && out.contains("total.p99"), "{out}");
    assert!(matches!(compare("a", "b", &[]).await.0, Some(0 | 1)));
    let (code, _, err) = compare("a", "c", &[]).await;
    assert!(code == Some(2) && err.contains("rate 100.0 and 50.0"), "{err}");
    let (code, _, err) = compare("a", "nothing", &[]).await;
    assert!(code == Some(2) && err.contains("cannot read"), "{err}");
    let (code, out, _) = compare("a", "a", &["--threshold", "total.p99<-50%"]).await;
    assert!(code == Some(99) && out.contains("MISSED"), "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_keeps_no_report_from_people() {
    let (fake, reports) = (Fake::start(1, Fault::None).await, Reports::new());
    let json = reports.at("a.json");
    let flags = ["--duration", "200ms", "--html", "/dev/full", "--json", text(&json)];
    let (code, out, err) = output(program(&fake, &flags)).await;
    assert!(code == Some(1) && err.contains("/dev/full: No space left"), "{err}");
    assert!(out.contains("PASS") && reports.json("a.json")["verdict"]["ok"] == true, "{out}");
    let folder = reports.at("");
    let (code, _, err) = output(program(&fake, &["--duration", "10m", "--html", text(&folder)])).await;
    assert!(code == Some(1) && err.contains("cannot write the report"), "found before the run: {err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_leaves_every_form_of_a_partial_report() {
    let (fake, reports) = (Fake::start(1, Fault::None).await, Reports::new());
    let (json, html) = (reports.at("a.json"), reports.at("a.html"));
    let flags = ["--duration", "10m", "--floor", "--json", text(&json), "--html", text(&html)];
    let mut child = program(&fake, &flags).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    while !lines.next_line().await.unwrap().expect("a line of progress").starts_with("Publishing") {}
    interrupt(&child).await;
    let ended = tokio::time::timeout(Duration::from_secs(30), child.wait_with_output()).await;
    assert_eq!(ended.expect("an end").unwrap().status.code(), Some(130));
    assert_eq!(reports.json("a.json")["complete"], false);
    let page = std::fs::read_to_string(&html).unwrap();
    assert!(page.contains("a partial report") && page.ends_with("</html>\n"));
    assert_eq!(reports.count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_floor_is_measured_beside_the_run() {
    let (fake, reports) = (Fake::start(1, Fault::None).await, Reports::new());
    let json = reports.at("a.json");
    let flags = [
        "--duration",
        "300ms",
        "--window",
        "20ms",
        "--floor",
        "--json",
        text(&json),
        "--threshold",
        "floor.ratio>=0",
    ];
    let (code, out, err) = output(program(&fake, &flags)).await;
    assert_eq!(code, Some(0), "{out}{err}");
    let floor = &reports.json("a.json")["floor"];
    assert_eq!(floor["report"]["connections"], 20);
    // The kernel counts by ticks of 10 ms: what served so few frames may have used none.
    assert!(floor["report"]["sendCpuUs"].as_f64().unwrap() > 0.0 && floor["gatewayRatio"].is_number());
    assert!(out.contains("a bare send"), "{out}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generator_that_is_starved_says_that_it_is_the_bottleneck() {
    let (fake, reports) = (Fake::start(1, Fault::None).await, Reports::new());
    let json = reports.at("a.json");
    let mut child = program(&fake, &["--duration", "2s", "--json", text(&json)]).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    while !lines.next_line().await.unwrap().expect("a line of progress").starts_with("Publishing") {}
    let pid = child.id().expect("it runs").to_string();
    let signal =
        async |name: &str| assert!(Command::new("kill").args([name, &pid]).status().await.unwrap().success());
    signal("-STOP").await;
    // The time in which it gets no core is what is tested.
    tokio::time::sleep(Duration::from_millis(700)).await;
    signal("-CONT").await;
    let ended = tokio::time::timeout(Duration::from_secs(30), child.wait_with_output()).await;
    let output = ended.expect("an end").unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "what arrived arrived: {out}");
    assert!(out.contains("BOTTLENECK") && out.contains("behind its schedule"), "{out}");
    let report = reports.json("a.json");
    assert!(report["lateness"]["loopMsMax"].as_f64().unwrap() > 500.0, "{}", report["lateness"]);
    assert_eq!(
        report["bottleneck"].as_array().unwrap().len(),
        3,
        "both, and what to change: {}",
        report["bottleneck"]
    );
}
