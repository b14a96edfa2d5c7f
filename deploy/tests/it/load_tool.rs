//! The load tool as the owner of a cluster: it starts one, runs, and leaves nothing behind, however it ends.

use std::io::Write;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::shutdown::Shutdown;
use loadtest::cluster::{Cluster, Spec};
use loadtest::limits::Limits;
use loadtest::stage::Stage;
use loadtest::{Error, Plan, Progress};

use serde_json::Value;

use crate::process::{Running, tidegate};

fn spec(gateways: u32) -> Spec {
    let program = Some(PathBuf::from(env!("CARGO_BIN_EXE_tidegate")));
    Spec { gateways, program, window: Some(Duration::from_millis(200)), ..Spec::default() }
}

fn on_runtime<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(work)
}

fn is_open(url: &str) -> bool {
    let address = url.split_once("://").unwrap().1;
    TcpStream::connect(address).is_ok()
}

#[test]
fn a_node_ends_with_its_standard_input_only_if_it_is_told_to() {
    let any = "127.0.0.1:0";
    for role in ["gateway", "logic"] {
        let mut command = tidegate(&[role, "--insecure", "--listen", any, "--ops", any, "--drain", "1h"]);
        if role == "gateway" {
            command.args(["--ingress", any]);
        }
        let mut not_told = Running::start_command(command);
        not_told.line("READY");
        let mut command = tidegate(&[
            role,
            "--insecure",
            "--listen",
            any,
            "--ops",
            any,
            "--drain",
            "1h",
            "--end-with-stdin",
        ]);
        if role == "gateway" {
            command.args(["--ingress", any]);
        }
        command.stdin(Stdio::piped());
        let mut told = Running::start_command(command);
        told.line("READY");
        let mut input = told.input();
        // What is written to it means nothing.
        input.write_all(b"quit\n").unwrap();
        assert!(told.is_running());
        drop(input);
        assert_eq!(told.ended().code(), Some(0), "{role}");
        assert!(told.text().contains("standard input has ended"), "{}", told.text());
        assert!(not_told.is_running(), "{role}: its standard input was empty from the start");
    }
}

#[test]
fn a_cluster_is_started_for_a_run_and_ends_with_it() {
    let plan =
        Plan { clients: 300, rooms: 30, rate: 200.0, duration: Duration::from_secs(1), ..Plan::default() };
    let stage = Stage::prepare(plan, Some(spec(3)), &Limits::read()).unwrap();
    assert_eq!(stage.layout().map(|layout| (layout.gateways, layout.agents)), Some((3, 1)));
    let report = on_runtime(stage.run(&Shutdown::new(), Arc::new(Progress::default()))).unwrap();
    assert!(report.verdict.ok && report.totals.received > 0, "{report}");
    assert_eq!(
        (report.gateways.len(), report.plan.window_ms, &report.notes[..]),
        (3, 200, &[][..]),
        "{report}"
    );
    for url in
        report.gateways.iter().map(|gateway| &gateway.url).chain(report.logics.iter().map(|logic| &logic.url))
    {
        assert!(!is_open(url), "{url} is still there");
    }
}

#[test]
fn a_gateway_that_is_killed_comes_back_where_it_was() {
    on_runtime(async {
        let mut cluster = Cluster::start(&spec(2)).await.unwrap();
        let gateways = cluster.gateways();
        let pids = |cluster: &Cluster| cluster.nodes().into_iter().map(|(_, pid)| pid).collect::<Vec<_>>();
        let before = pids(&cluster);
        assert_eq!(before.len(), 3);
        cluster.kill_gateway(1).await;
        assert!(is_open(&gateways[0]) && !is_open(&gateways[1]));
        cluster.restart_gateway(1).await.unwrap();
        assert!(is_open(&gateways[1]));
        let after = pids(&cluster);
        assert!(before[..2] == after[..2] && before[2] != after[2], "{before:?} {after:?}");
        assert_eq!(cluster.stop().await, [""; 0], "none ended by itself");
    });
}

#[test]
fn a_node_that_does_not_start_or_ends_by_itself_is_named_with_what_it_said() {
    on_runtime(async {
        let wrong = Spec { gateway_flags: vec!["--heartbeat=0".into()], ..spec(1) };
        let error = Cluster::start(&wrong).await.unwrap_err();
        assert!(
            matches!(&error, Error::Unreachable(said)
            if said.contains("gateway-0 ended before it was ready") && said.contains("from 100ms")),
            "{error}"
        );
        let older = Spec { gateway_flags: vec!["--no-such-flag".into()], ..spec(1) };
        let error = Cluster::start(&older).await.unwrap_err();
        assert!(error.to_string().contains("unexpected argument"), "{error}");
        let cluster = Cluster::start(&spec(1)).await.unwrap();
        let (_, pid) = cluster.nodes()[1];
        assert!(Command::new("kill").args(["-KILL", &pid.to_string()]).status().unwrap().success());
        while is_running(pid) {
            tokio::task::yield_now().await;
        }
        let fallen = cluster.stop().await;
        assert!(
            fallen.len() == 1 && fallen[0].contains("gateway-0 ended by itself (signal: 9"),
            "{fallen:?}"
        );
    });
}

/// The program of the load tool, which a build of the workspace puts beside this one.
fn tool() -> Command {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_tidegate")).with_file_name("tidegate-loadtest");
    assert!(program.is_file(), "{} is not there: cargo build --release -p loadtest", program.display());
    Command::new(program)
}

#[test]
fn a_tool_that_is_killed_leaves_no_node_behind() {
    let mut command = tool();
    command
        .args(["million", "--connections", "100", "--gateways", "2", "--duration", "1h"])
        .stdin(Stdio::null());
    let mut tool = Running::start_command(command);
    tool.line("Publishing");
    let nodes = children(tool.pid());
    assert!(nodes.len() >= 3, "{nodes:?}");
    tool.signal("KILL");
    let until = Instant::now() + Duration::from_secs(5);
    while nodes.iter().any(|node| is_running(*node)) {
        assert!(Instant::now() < until, "{nodes:?}: some run on");
        std::thread::yield_now();
    }
}

/// The processes that a process has started.
fn children(pid: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let lists = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect()
}

/// Whether a process is there and has not ended.
fn is_running(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Who has ended and was not waited for is a zombie.
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

#[test]
fn slow_twenty_thousand_clients_in_as_many_processes_as_the_limits_demand() {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("report.json").display().to_string();
    let mut command = tool();
    command.args([
        "million",
        "--connections",
        "20k",
        "--connect-rate",
        "4000",
        "--rate",
        "50",
        "--duration",
        "20s",
    ]);
    command.args(["--json", &json]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let (code, out, err) = crate::process::said(command);
    assert_eq!(code, 0, "{out}\n{err}");
    let report: Value = serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
    let totals = &report["totals"];
    for fault in ["lost", "duplicated", "reordered", "corrupted", "unexpected", "excused"] {
        assert_eq!(totals[fault], 0, "{fault}: {totals}");
    }
    assert_eq!(report["ramp"]["connected"], 20_000);
    assert!(
        totals["received"].as_u64() > Some(20_000) && totals["received"] == totals["expected"],
        "{totals}"
    );
    assert_eq!(report["pushes"]["accepted"], 1_000, "{}", report["pushes"]);
}

#[test]
fn slow_clients_of_a_gateway_that_is_killed_find_the_others_and_nobody_else_feels_it() {
    let mut command = tool();
    command.args([
        "scenario",
        "run",
        "storm",
        "--connections",
        "4k",
        "--duration",
        "12s",
        "--connect-rate",
        "2000",
    ]);
    command.args(["--event", "3s:kill=gateway-1", "--event", "7s:start=gateway-1", "--json", "-"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let (code, out, err) = crate::process::said(command);
    assert_eq!(code, 0, "{err}");
    let report: Value = serde_json::from_str(&out).unwrap();
    let gateways = report["gateways"].as_array().unwrap();
    assert!(gateways.len() == 4 && gateways[1]["churnExpected"] == true, "{gateways:?}");
    let disconnects: Vec<_> =
        gateways.iter().map(|gateway| gateway["disconnects"].as_u64().unwrap()).collect();
    assert!(
        disconnects[1] >= 1_000 && [0, 2, 3].iter().all(|&other| disconnects[other] == 0),
        "{disconnects:?}"
    );
    assert_eq!(report["totals"]["lost"], 0, "{err}");
}

#[test]
fn calls_a_second_are_counted_in_a_closed_loop() {
    let plan = Plan {
        clients: 100,
        rooms: 100,
        rooms_per_client: 1,
        rate: 20_000.0,
        closed: true,
        duration: Duration::from_secs(1),
        mix: "room=1".parse().unwrap(),
        ..Plan::default()
    };
    let stage = Stage::prepare(plan, Some(spec(1)), &Limits::read()).unwrap();
    let report = on_runtime(stage.run(&Shutdown::new(), Arc::new(Progress::default()))).unwrap();
    let closed = report.closed_loop.unwrap();
    assert!(report.verdict.ok && closed.calls_per_sec > 100.0, "{report}");
    assert!(report.pushes.scheduled == report.pushes.sent && report.pushes.unsent == 0, "{report}");
    assert_eq!((report.latency.push_service.count, report.latency.total.count), (report.pushes.accepted, 0));
}
