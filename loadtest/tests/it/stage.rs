//! The commands that find out about the machine, start clusters and run scenarios, with programs that only play nodes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use super::fake::{Fake, Fault};

/// Far beyond what is needed.
const PATIENCE: Duration = Duration::from_secs(30);

fn tool(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate-loadtest"));
    command.args(words).kill_on_drop(true).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

async fn said(words: &[&str]) -> (Option<i32>, String, String) {
    let output = tokio::time::timeout(PATIENCE, tool(words).output()).await.expect("an end").unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// A program `tidegate` of the right version that does something else as a node, and notes its processes.
fn player(folder: &Path, script: &str) -> PathBuf {
    let path = folder.join("tidegate");
    let version = env!("CARGO_PKG_VERSION");
    let noted = folder.join("pids").display().to_string();
    let text = format!(
        "#!/bin/sh\nif [ \"$1\" = --version ]; then echo tidegate {version}; exit; fi\necho $$ >> {noted}\n{script}\n"
    );
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// Waits until the processes that a player noted have ended.
fn all_ended(folder: &Path) -> usize {
    let pids = fs::read_to_string(folder.join("pids")).unwrap();
    let until = Instant::now() + PATIENCE;
    let runs = |pid: &str| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
    };
    while pids.lines().any(runs) {
        assert!(Instant::now() < until, "{pids}: some run on");
        std::thread::yield_now();
    }
    pids.lines().count()
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_says_whether_it_fits_to_people_and_to_scripts() {
    let (code, out, _) = said(&["doctor", "--connections", "100"]).await;
    assert!(code == Some(0) && out.contains("fs.file-max") && out.contains("it fits"), "{out}");
    let (code, out, _) = said(&["doctor", "--connections", "4000m"]).await;
    assert!(code == Some(1) && out.contains("FAIL") && out.contains("at most --connections"), "{out}");
    let (code, out, _) = said(&["doctor", "--connections", "4000m", "--json"]).await;
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &json["ok"]), (Some(1), &false.into()), "{out}");
    // A little less: others on the machine take memory between the two calls.
    let most = (json["most"].as_u64().unwrap() / 10 * 9).to_string();
    assert_eq!(said(&["doctor", "--connections", &most]).await.0, Some(0), "{most} were said to fit");
    assert_eq!(said(&["doctor", "--connections", "many"]).await.0, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn scenarios_are_listed_shown_and_run_on_a_cluster_that_is_there() {
    let (code, list, _) = said(&["scenario", "list"]).await;
    assert!(code == Some(0) && list.contains("ten-million"), "{list}");
    for name in list.lines().filter_map(|line| line.split_whitespace().next()) {
        let (code, out, _) = said(&["scenario", "show", name]).await;
        assert!(code == Some(0) && out.contains("about = "), "{name}: {out}");
    }
    let (code, _, err) = said(&["scenario", "show", "milion"]).await;
    assert!(code == Some(2) && err.contains("did you mean \"million\"?"), "{err}");
    let fake = Fake::start(2, Fault::None).await;
    let target = ["--target", &fake.logics[0], "--connections", "40", "--duration", "300ms", "--rate", "50"];
    for name in [&["million"][..], &["scenario", "run", "broadcast"]] {
        let (code, out, err) = said(&[name, &target, &["--settle", "0s"]].concat()).await;
        assert!(code == Some(0) && out.contains("PASS") && err.contains("elsewhere"), "{name:?}: {out}{err}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_cannot_be_started_is_told_with_its_last_words() {
    let folder = tempfile::tempdir().unwrap();
    let run = async |script: &str, more: &[&str]| {
        let program = player(folder.path(), script);
        said(&[&["million", "--tidegate", program.to_str().unwrap()], more].concat()).await
    };
    let (code, _, err) =
        run("echo first >&2; echo the port is taken >&2; exit 7", &["--connections", "10"]).await;
    assert_eq!(code, Some(69), "{err}");
    for part in [
        "gateway-0 ended before it was ready",
        "exit status: 7",
        "the port is taken",
        "tidegate gateway --insecure",
    ] {
        assert!(err.contains(part), "{part}: {err}");
    }
    // Gateways that are ready, and a logic node that is none.
    let ready = "echo '  clients ws://127.0.0.1:1/ws'; echo READY; cat >/dev/null";
    let (code, _, err) =
        run(&format!("[ $1 = logic ] && exit 3\n{ready}"), &["--connections", "10", "--gateways", "3"]).await;
    assert!(code == Some(69) && err.contains("logic ended before it was ready"), "{err}");
    all_ended(folder.path());
    let (code, _, err) = run("exit 0", &["--connections", "0"]).await;
    assert!(code == Some(2) && err.contains("0 clients"), "{err}");
    let (code, _, err) = run("exit 0", &["--connections", "3900k"]).await;
    assert!(code == Some(1) && err.contains("would fit"), "{err}");
    let (code, _, err) = said(&["million", "--connections", "10", "--tidegate", "/no/such/program"]).await;
    assert!(code == Some(69) && err.contains("cargo build --release"), "{err}");
    let (code, _, err) = said(&["million", "--connections", "10", "--tidegate", "/bin/sh"]).await;
    assert!(code == Some(69) && err.contains("says that it is"), "{err}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupt_while_a_cluster_starts_ends_it() {
    let folder = tempfile::tempdir().unwrap();
    let program = player(folder.path(), "echo up >&2; exec cat");
    let mut tool =
        tool(&["million", "--connections", "10", "--gateways", "3", "--tidegate", program.to_str().unwrap()]);
    let mut child = tool.spawn().unwrap();
    let noted = folder.path().join("pids");
    while fs::read_to_string(&noted).unwrap_or_default().lines().count() < 2 {
        tokio::task::yield_now().await;
    }
    let pid = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().await.unwrap().success());
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let ended = tokio::time::timeout(PATIENCE, child.wait()).await.expect("an end").unwrap();
    assert_eq!(ended.code(), Some(130));
    assert!(all_ended(folder.path()) >= 2);
    let mut said = String::new();
    while let Some(line) = lines.next_line().await.unwrap() {
        said += &line;
    }
    assert!(said.contains("while the cluster was starting"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_tool_closes_what_its_nodes_live_by() {
    let fake = Fake::start(1, Fault::None).await;
    let (gateway, logic) = (&fake.gateways[0], &fake.logics[0]);
    let folder = tempfile::tempdir().unwrap();
    let script = format!(
        "[ $1 = logic ] && echo '  API {logic}/' || echo '  clients {gateway}/ws'\necho READY; exec cat >/dev/null"
    );
    let program = player(folder.path(), &script);
    let words =
        ["million", "--connections", "10", "--duration", "1h", "--tidegate", program.to_str().unwrap()];
    let mut child = tool(&words).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    while !lines.next_line().await.unwrap().expect("a line of progress").starts_with("Publishing") {}
    child.kill().await.unwrap();
    assert_eq!(all_ended(folder.path()), 2);
}
