//! The load tool as a process of its own: this program again, in the role of a generator.
//!
//! So its descriptors and its memory are its own, and as many as are needed run beside each other. It says on
//! its standard output which stage it has come to, and at the end its whole report.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use common::shutdown::Shutdown;
use loadtest::{Order, Phase, Plan, Progress, Verify};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::process::pause;

/// The first argument of a generator.
const ROLE: &str = "bench-generator";

/// No stage of any run takes longer.
const STAGE_MAX: Duration = Duration::from_secs(600);

/// How often a generator looks whether all its clients are there.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What a generator is asked to do: the part of a [`Plan`] that differs between the rows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Load {
    pub(crate) gateway: String,
    pub(crate) logic: String,
    /// Others publish too: their items are passed over.
    pub(crate) shared: bool,
    /// In front of the names of rooms and users, where several generators share a cluster.
    pub(crate) prefix: String,
    pub(crate) clients: u32,
    pub(crate) rooms: u32,
    pub(crate) mix: String,
    /// Rooms or users get an item in turn, not drawn.
    pub(crate) in_turn: bool,
    pub(crate) urgent_share: f64,
    pub(crate) stalled_share: f64,
    pub(crate) slow_share: f64,
    pub(crate) deflate_share: f64,
    pub(crate) rate: f64,
    pub(crate) publish: Duration,
    pub(crate) size: usize,
    /// How long all are connected before the first push.
    pub(crate) settle: Duration,
    pub(crate) drain: Duration,
    /// How long clients stay after the last push at least: others may still read.
    pub(crate) hold: Duration,
    pub(crate) connect_rate: u32,
    pub(crate) connects_in_flight: u32,
}

impl Load {
    /// One room, a user and a room for each client, data of 200 bytes.
    pub(crate) fn on(cluster: &crate::process::Cluster, clients: u32) -> Self {
        Self {
            gateway: format!("ws://{}", cluster.gateway.main),
            logic: format!("http://{}", cluster.logic.main),
            shared: false,
            prefix: String::new(),
            clients,
            rooms: 1,
            mix: "room=1".into(),
            in_turn: false,
            urgent_share: 0.0,
            stalled_share: 0.0,
            slow_share: 0.0,
            deflate_share: 0.0,
            rate: 1.0,
            publish: Duration::from_secs(3),
            size: 200,
            settle: Duration::from_millis(800),
            drain: Duration::from_secs(15),
            hold: Duration::ZERO,
            connect_rate: 20_000,
            connects_in_flight: 512,
        }
    }

    fn plan(self) -> Result<Plan, String> {
        Ok(Plan {
            clients: self.clients,
            gateways: vec![self.gateway],
            logics: vec![self.logic],
            verify: if self.shared { Verify::Shared } else { Verify::Strict },
            prefix: self.prefix,
            rooms: self.rooms,
            rooms_per_client: 1,
            clients_per_user: 1,
            rate: self.rate,
            duration: self.publish,
            size: self.size,
            mix: self.mix.parse().map_err(|error: loadtest::BadPlan| error.to_string())?,
            order: if self.in_turn { Order::Turn } else { Order::Random },
            urgent_share: self.urgent_share,
            stalled_share: self.stalled_share,
            slow_share: self.slow_share,
            deflate_share: self.deflate_share,
            settle: self.settle,
            drain: self.drain,
            connect_rate: self.connect_rate,
            connects_in_flight: self.connects_in_flight,
            ..Plan::default()
        })
    }
}

/// How far a generator has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Stage {
    /// All clients are greeted.
    Connected,
    /// Pushes begin.
    Publishing,
    /// All is pushed.
    Draining,
    /// All has arrived; clients are about to leave.
    Judging,
}

/// A line of a generator.
#[derive(Debug, Serialize, Deserialize)]
enum Said {
    Reached(Stage),
    Report(Value),
    Failed(String),
}

fn say(said: &Said) {
    let line = serde_json::to_string(said).expect("words and numbers are JSON");
    let mut out = std::io::stdout().lock();
    // Nobody to hear it: the run is of no use any more.
    if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
        std::process::exit(1);
    }
}

/// If this process was started as a generator: does its work.
pub(crate) fn role() -> Option<ExitCode> {
    let mut args = std::env::args().skip(1);
    if args.next()? != ROLE {
        return None;
    }
    let load = args.next().unwrap_or_default();
    let load: Result<Load, _> = serde_json::from_str(&load);
    let load = load.map_err(|error| error.to_string());
    let ended = load.and_then(|load| {
        let (hold, plan) = (load.hold, load.plan()?);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.map_err(|error| error.to_string())?.block_on(generate(plan, hold))
    });
    say(&ended.map_or_else(Said::Failed, Said::Report));
    Some(ExitCode::SUCCESS)
}

async fn generate(plan: Plan, hold: Duration) -> Result<Value, String> {
    let progress = Arc::<Progress>::default();
    let shutdown = Shutdown::new();
    let clients = u64::from(plan.clients);
    let mut run = Box::pin(loadtest::run_with(plan, &shutdown, progress.clone()));
    let mut watch = Box::pin(async {
        let mut look = tokio::time::interval(LOOK_EVERY);
        while progress.connected() < clients {
            look.tick().await;
        }
        say(&Said::Reached(Stage::Connected));
        let stages = [
            (Phase::Publishing, Stage::Publishing),
            (Phase::Draining, Stage::Draining),
            (Phase::Judging, Stage::Judging),
        ];
        for (phase, stage) in stages {
            progress.reached(phase).await;
            say(&Said::Reached(stage));
            if stage == Stage::Draining {
                // Meanwhile the run is not polled, so it does not end; its own threads read on.
                pause(hold);
            }
        }
        std::future::pending::<()>().await;
    });
    tokio::select! {
        ended = &mut run => {
            let report = ended.map_err(|error| error.to_string())?;
            serde_json::to_value(&report).map_err(|error| error.to_string())
        }
        () = &mut watch => Err("the watch of a run does not end before it".into()),
    }
}

/// A generator that runs. Dropped, it is killed.
pub(crate) struct Generator {
    child: Child,
    lines: Receiver<Said>,
    reached: Option<Stage>,
}

impl Generator {
    pub(crate) fn start(load: &Load) -> Result<Self, String> {
        let this = std::env::current_exe().map_err(|error| error.to_string())?;
        let load = serde_json::to_string(load).expect("words and numbers are JSON");
        let mut command = Command::new(this);
        command.args([ROLE, &load]).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("cannot start a generator: {error}"))?;
        let out = BufReader::new(child.stdout.take().expect("it is piped"));
        let (sender, lines) = sync_channel(16);
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                let said = serde_json::from_str(&line);
                let said = said.unwrap_or_else(|_| Said::Failed(format!("a generator said {line:?}")));
                if sender.send(said).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, lines, reached: None })
    }

    /// Waits until it has come to a stage.
    pub(crate) fn reached(&mut self, stage: Stage) -> Result<(), String> {
        self.watching(stage, STAGE_MAX, |_| Ok(()))
    }

    /// The same, and meanwhile does something every so often, with the time since the call.
    pub(crate) fn watching(
        &mut self,
        stage: Stage,
        every: Duration,
        mut look: impl FnMut(Duration) -> Result<(), String>,
    ) -> Result<(), String> {
        let begun = Instant::now();
        while self.reached.is_none_or(|reached| reached < stage) {
            match self.lines.recv_timeout(every) {
                Ok(Said::Reached(reached)) => self.reached = Some(reached),
                Ok(Said::Failed(why)) => return Err(why),
                Ok(Said::Report(_)) | Err(RecvTimeoutError::Disconnected) => {
                    return Err(format!("a generator ended before {stage:?}"));
                }
                Err(RecvTimeoutError::Timeout) if begun.elapsed() > STAGE_MAX => {
                    return Err(format!("a generator did not come to {stage:?}"));
                }
                Err(RecvTimeoutError::Timeout) => look(begun.elapsed())?,
            }
        }
        Ok(())
    }

    /// Its report.
    pub(crate) fn outcome(mut self) -> Result<Outcome, String> {
        self.reached(Stage::Judging)?;
        match self.lines.recv_timeout(STAGE_MAX) {
            Ok(Said::Report(report)) => Ok(Outcome(report)),
            Ok(Said::Failed(why)) => Err(why),
            Ok(Said::Reached(_)) | Err(_) => Err("a generator ended without a report".into()),
        }
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        // An error says that it has ended already.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// The report of a generator.
pub(crate) struct Outcome(Value);

impl Outcome {
    /// A number of the report, by its path as in `/latency/total/p99Ms`.
    pub(crate) fn number(&self, path: &str) -> f64 {
        self.0.pointer(path).and_then(Value::as_f64).unwrap_or(f64::NAN)
    }

    /// What its clients found wrong: lost, duplicated, reordered, corrupted. What the kernel dropped is not in it:
    /// that counts where it is measured, and not while all clients leave at once.
    pub(crate) fn faults(&self) -> Vec<String> {
        let reasons = self.0.pointer("/verdict/reasons").and_then(Value::as_array).cloned();
        let reasons = reasons.unwrap_or_else(|| vec![Value::from("a report without a verdict")]);
        reasons.iter().filter_map(Value::as_str).map(|why| format!("verification: {why}")).collect()
    }
}
