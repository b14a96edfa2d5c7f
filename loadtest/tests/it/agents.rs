//! Runs over several processes: as good as one, and no hang and no orphan when one of them is killed or mad.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use loadtest::{Events, Plan, Remote};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::fake::{Fake, Fault};
use super::{plan, report};

const PROGRAM: &str = env!("CARGO_BIN_EXE_tidegate-loadtest");

/// What a test waits for at most; far beyond what is needed.
const PATIENCE: Duration = Duration::from_secs(60);

fn split(plan: &mut Plan, processes: u32) {
    (plan.processes, plan.program) = (processes, Some(PathBuf::from(PROGRAM)));
}

#[tokio::test(flavor = "multi_thread")]
async fn several_processes_find_what_one_finds() {
    for (processes, fault, ok) in
        [(2, Fault::None, true), (3, Fault::None, true), (3, Fault::Duplicate, false)]
    {
        let report = report(fault, |plan| split(plan, processes)).await;
        assert_eq!((report.verdict.ok, report.agents.len()), (ok, processes as usize), "{report}");
        assert_eq!(report.totals.duplicated, u64::from(!ok), "{report}");
        assert_eq!(report.agents.iter().map(|agent| agent.clients).sum::<u64>(), 60);
        assert!(report.agents.iter().all(|agent| agent.lost.is_none() && agent.rss_bytes > 0), "{report}");
        let totals = report.totals;
        assert!(totals.expected > 1_000 && totals.received == totals.expected, "{report}");
        let latency = &report.latency;
        assert_eq!(latency.total.count + latency.urgent_total.count, totals.received, "{report}");
        let shared = report.notes.iter().any(|note| note.contains("share the clients of a gateway"));
        assert_eq!(shared, processes == 3, "{report}");
    }
}

/// A run of the program over three processes, for minutes.
fn program(fake: &Fake) -> Child {
    let mut command = Command::new(PROGRAM);
    command.args(["run", "--clients", "60", "--rooms", "10", "--rooms-per-client", "2", "--settle", "0s"]);
    command.args(["--processes", "3", "--duration", "10m", "--json", "-"]);
    for (flag, urls) in [("--gateway", &fake.gateways), ("--logic", &fake.logics)] {
        urls.iter().for_each(|url| _ = command.args([flag, url]));
    }
    command.kill_on_drop(true).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits until the program publishes, and gives its processes.
async fn publishing(child: &mut Child) -> Vec<u32> {
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    while !lines.next_line().await.unwrap().expect("a line of progress").starts_with("Publishing") {}
    // Somebody reads on, or the program would wait.
    tokio::task::spawn_local(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    let parent = child.id().unwrap();
    let all = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    all.filter(|&pid| parent_of(pid) == Some(parent)).collect()
}

/// The parent of a process that has not ended: `/proc/PID/stat`, proc(5).
fn parent_of(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    (fields.next()? != "Z").then(|| fields.next())??.parse().ok()
}

async fn kill(signal: &str, pid: u32) {
    assert!(Command::new("kill").args([signal, &pid.to_string()]).status().await.unwrap().success());
}

/// Waits until processes have ended.
async fn gone(pids: &[u32]) {
    let ended = async {
        let mut look = tokio::time::interval(Duration::from_millis(20));
        while pids.iter().any(|&pid| parent_of(pid).is_some()) {
            look.tick().await;
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.expect("processes end with their run");
}

#[tokio::test]
async fn a_killed_process_ends_the_run_with_a_report_that_names_it() {
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async {
            let fake = Fake::start(1, Fault::None).await;
            let mut child = program(&fake);
            let agents = publishing(&mut child).await;
            assert_eq!(agents.len(), 3);
            kill("-KILL", agents[1]).await;
            let output =
                tokio::time::timeout(PATIENCE, child.wait_with_output()).await.expect("an end").unwrap();
            assert_eq!(output.status.code(), Some(1));
            let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!(json["complete"], false);
            let reason = json["verdict"]["reasons"][0].as_str().unwrap();
            assert!(reason.contains(&agents[1].to_string()) && reason.contains("signal: 9"), "{reason}");
            assert!(
                json["totals"]["received"].as_u64().unwrap() > 0 && json["totals"]["lost"] == 0,
                "{json}"
            );
            gone(&agents).await;
        })
        .await;
}

#[tokio::test]
async fn processes_end_when_their_run_is_killed() {
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async {
            let fake = Fake::start(1, Fault::None).await;
            let mut child = program(&fake);
            let agents = publishing(&mut child).await;
            assert_eq!(agents.len(), 3);
            kill("-KILL", child.id().unwrap()).await;
            gone(&agents).await;
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_no_agent_is_named_as_the_reason() {
    let fake = Fake::start(1, Fault::None).await;
    for (program, said) in [("/bin/true", "agent::role"), ("/no/such/program", "/no/such/program")] {
        let plan = Plan { processes: 2, program: Some(program.into()), ..plan(&fake) };
        let error = tokio::time::timeout(PATIENCE, loadtest::run(plan)).await.expect("an end").unwrap_err();
        assert!(error.exit_code() == 1 && error.to_string().contains(said), "{error}");
    }
}

/// Connects to a run as soon as it listens.
async fn connect(address: SocketAddr) -> TcpStream {
    let mut look = tokio::time::interval(Duration::from_millis(10));
    loop {
        look.tick().await;
        if let Ok(stream) = TcpStream::connect(address).await {
            return stream;
        }
    }
}

fn free() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_join_from_elsewhere_with_the_secret_and_strangers_do_not() {
    let fake = Fake::start(2, Fault::None).await;
    let listen = free();
    let remote = Remote { listen, agents: 2, secret: "s3cret".into() };
    let run = loadtest::run(Plan { remote: Some(remote), ..plan(&fake) });
    let join = |secret: &'static str| {
        tokio::task::spawn_blocking(move || loadtest::agent::join(&listen.to_string(), secret, PATIENCE))
    };
    let others = async {
        let mut stranger = connect(listen).await;
        stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        // It is told, or cut off.
        _ = stranger.read_to_end(&mut Vec::new()).await;
        let refused = join("another").await.unwrap().unwrap_err();
        assert!(refused.contains("secret"), "{refused}");
        let (one, other) = tokio::join!(join("s3cret"), join("s3cret"));
        assert_eq!((one.unwrap(), other.unwrap()), (Ok(()), Ok(())));
    };
    let (report, ()) =
        tokio::time::timeout(PATIENCE, async { tokio::join!(Box::pin(run), others) }).await.expect("an end");
    let report = report.unwrap();
    assert!(report.verdict.ok && report.agents.len() == 2, "{report}");
    let refusals = report.notes.iter().filter(|note| note.contains("was not taken as an agent"));
    assert_eq!(refusals.count(), 2, "{report}");
    let nobody = free().to_string();
    let alone = move || loadtest::agent::join(&nobody, "x", Duration::from_millis(50));
    let error = tokio::task::spawn_blocking(alone).await.unwrap().unwrap_err();
    assert!(error.contains("no coordinator answers"), "{error}");
}

/// An agent by hand that behaves until it is ready, and then says `then`.
async fn mad(address: SocketAddr, then: &str) {
    let mut stream = connect(address).await;
    let say = |text: String| {
        let length = u32::try_from(text.len() + 1).unwrap();
        [&length.to_be_bytes()[..], b"\0", text.as_bytes()].concat()
    };
    let version = concat!(env!("CARGO_PKG_VERSION"), "/1");
    let join = format!(
        r#"{{"Join":{{"version":"{version}","secret":"s","number":null,"pid":1,"cores":1,"clients_max":1000}}}}"#
    );
    stream.write_all(&say(join)).await.unwrap();
    for _ in ["welcome", "share"] {
        let length = stream.read_u32().await.unwrap();
        stream.read_exact(&mut vec![0; length as usize]).await.unwrap();
    }
    for text in ["\"Ready\"", then] {
        // It may be thrown out already.
        _ = stream.write_all(&say(text.into())).await;
    }
    // Until it is thrown out.
    _ = stream.read_to_end(&mut Vec::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_says_nonsense_ends_the_run() {
    let fake = Fake::start(1, Fault::None).await;
    for (then, said) in [
        ("{}", "cannot be read"),
        ("\"Begun\"", "not its turn"),
        (r#"{"Failed":"no luck"}"#, "no luck"),
        (
            r#"{"Counts":{"connected":99999,"received":0,"frames":0,"bytes":0,"busy_us":0,"looped_us":0,"late_us":0,"times":[],"ids":[],"last_failure":null}}"#,
            "more clients than there are",
        ),
    ] {
        let listen = free();
        let remote = Remote { listen, agents: 1, secret: "s".into() };
        let run = loadtest::run(Plan { remote: Some(remote), ..plan(&fake) });
        let both = async { tokio::join!(Box::pin(run), mad(listen, then)) };
        let (ended, ()) = tokio::time::timeout(PATIENCE, both).await.expect("an end");
        let error = ended.unwrap_err();
        assert!(error.exit_code() == 1 && error.to_string().contains(said), "{then}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_to_happen_is_announced() {
    let (to, mut heard) = tokio::sync::mpsc::channel(4);
    let event = loadtest::Event::KillGateway(1);
    let report = report(Fault::None, |plan| {
        plan.events = Events { at: vec![(Duration::from_millis(100), event)], to: Some(to) };
    })
    .await;
    assert!(report.verdict.ok && heard.recv().await == Some(event), "{report}");
}
