//! The program `tidegate-loadtest`: settings in, report out, an exit code that scripts can trust.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that talks to people on a terminal"
)]

mod args;
mod doctor;

use std::io::{IsTerminal, Write};
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use common::shutdown::{Shutdown, Signals};
use loadtest::limits::Limits;
use loadtest::stage::Stage;
use loadtest::{Phase, Plan, Progress, agent, floor};

use args::{AgentArgs, Command, DoctorArgs, FloorArgs, Output, Scenario, ScenarioCommand, StageArgs};

fn main() -> ExitCode {
    if let Some(code) = floor::role().or_else(agent::role) {
        return code;
    }
    match args::parse().command {
        Command::Run(asked) => {
            let (plan, output) = asked.split();
            match with_agents(plan) {
                Ok(plan) => on_runtime(Job::Run(plan), output),
                Err(why) => fail(1, &why),
            }
        }
        Command::Million(asked) => stage(asked.stage),
        Command::Scenario(ScenarioCommand::Run(asked)) => stage(asked.stage),
        Command::Scenario(ScenarioCommand::List) => tell(args::list()),
        Command::Scenario(ScenarioCommand::Show { scenario }) => {
            tell(Scenario::find(&scenario).map(|scenario| scenario.text.trim_end().to_owned()))
        }
        Command::Doctor(asked) => examine(&asked),
        Command::Floor(asked) => measure_floor(asked),
        Command::Agent(asked) => hold_clients(&asked),
    }
}

/// Says how agents on other machines join, if they are to.
fn with_agents(mut plan: Plan) -> Result<Plan, String> {
    if let Some(remote) = &mut plan.remote {
        remote.secret = agent::secret().map_err(|error| format!("cannot make a secret: {error}"))?;
        eprintln!(
            "waiting for {} agents, on other machines: TIDEGATE_SECRET={} tidegate-loadtest agent --join THIS-HOST:{}",
            remote.agents,
            remote.secret,
            remote.listen.port()
        );
    }
    Ok(plan)
}

/// What is to be run.
enum Job {
    /// Clients and publishers, on a cluster that runs.
    Run(Plan),
    /// The same with all that it needs.
    Stage(Stage),
}

fn on_runtime(job: Job, output: Output) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(Box::pin(execute(job, output))),
        Err(error) => fail(1, &format!("cannot start: {error}")),
    }
}

fn hold_clients(asked: &AgentArgs) -> ExitCode {
    match agent::join(&asked.join, &asked.secret, asked.patience) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => fail(1, &why),
    }
}

fn stage(asked: StageArgs) -> ExitCode {
    let (plan, cluster, output) = asked.split();
    let plan = match with_agents(plan) {
        Ok(plan) => plan,
        Err(why) => return fail(1, &why),
    };
    let stage = match Stage::prepare(plan, cluster, &Limits::read()) {
        Ok(stage) => stage,
        Err(error) => return fail(error.exit_code(), &error.to_string()),
    };
    if let Some(layout) = stage.layout() {
        eprintln!("{layout}");
    }
    on_runtime(Job::Stage(stage), output)
}

fn examine(asked: &DoctorArgs) -> ExitCode {
    let diagnosis = doctor::Diagnosis::of(asked);
    let text = match asked.json {
        true => serde_json::to_string_pretty(&diagnosis).expect("structs of numbers and text are JSON"),
        false => diagnosis.text(),
    };
    println!("{text}");
    ExitCode::from(u8::from(!diagnosis.ok))
}

/// Prints what was asked for.
fn tell(text: Result<String, String>) -> ExitCode {
    match text {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(why) => fail(2, &why),
    }
}

fn measure_floor(asked: FloorArgs) -> ExitCode {
    let (plan, output) = asked.split();
    let mut json = match Json::open(&output) {
        Ok(json) => json,
        Err(why) => return fail(1, &why),
    };
    match floor::run(&plan) {
        Ok(report) => match show_report(&mut json, &report, &report.json()) {
            Ok(()) => ExitCode::from(report.exit_code()),
            Err(why) => fail(1, &why),
        },
        Err(error) => fail(error.exit_code(), &error.to_string()),
    }
}

async fn execute(job: Job, output: Output) -> ExitCode {
    let mut json = match Json::open(&output) {
        Ok(json) => json,
        Err(why) => return fail(1, &why),
    };
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => return fail(1, &format!("cannot take signals: {error}")),
    };
    let shutdown = Shutdown::new();
    let progress = Arc::new(Progress::default());
    let mut run: Pin<Box<dyn Future<Output = _>>> = match job {
        Job::Run(plan) => Box::pin(loadtest::run_with(plan, &shutdown, progress.clone())),
        Job::Stage(stage) => Box::pin(stage.run(&shutdown, progress.clone())),
    };
    let mut show = Box::pin(show(&progress));
    let mut interrupted = None;
    let ended = loop {
        tokio::select! {
            ended = &mut run => break ended,
            asked = signals.next() => {
                let code = u8::try_from(asked.exit_code()).unwrap_or(1);
                // The first signal asks for a partial report, the second ends at once.
                if interrupted.replace(code).is_some() {
                    return ExitCode::from(code);
                }
                shutdown.start_drain();
            }
            never = &mut show => match never {},
        }
    };
    drop(show);
    let report = match (ended, interrupted) {
        (Ok(report), _) => report,
        (Err(error), Some(code)) => return fail(code, &error.to_string()),
        (Err(error), None) => return fail(error.exit_code(), &error.to_string()),
    };
    if let Err(why) = show_report(&mut json, &report, &report.json()) {
        return fail(interrupted.unwrap_or(1), &why);
    }
    ExitCode::from(interrupted.unwrap_or(report.exit_code()))
}

/// The text to people, the JSON to where it goes.
fn show_report(json: &mut Json, text: &dyn std::fmt::Display, as_json: &str) -> Result<(), String> {
    match json {
        Json::Stdout => eprintln!("{text}"),
        _ => println!("{text}"),
    }
    json.write(as_json)
}

/// A line of progress: over and over on a terminal, every ten seconds elsewhere, and at each new phase.
async fn show(progress: &Progress) -> std::convert::Infallible {
    let terminal = std::io::stderr().is_terminal();
    let every = if terminal { Duration::from_millis(500) } else { Duration::from_secs(10) };
    let mut tick = tokio::time::interval(every);
    loop {
        let next = match progress.phase() {
            Phase::Checking => Phase::Connecting,
            Phase::Connecting => Phase::Publishing,
            Phase::Publishing => Phase::Draining,
            Phase::Draining | Phase::Judging => Phase::Judging,
        };
        if progress.phase() == Phase::Judging {
            std::future::pending::<()>().await;
        }
        tokio::select! {
            _ = tick.tick() => {}
            () = progress.reached(next) => {}
        }
        let line = progress.line();
        if terminal {
            eprint!("\r\x1b[K{line}{}", if progress.phase() == Phase::Judging { "\n" } else { "" });
            // A terminal that cannot be written to has nobody in front of it.
            _ = std::io::stderr().flush();
        } else {
            eprintln!("{line}");
        }
    }
}

/// Where the JSON goes. Opened before the run, so that a path that cannot be written costs no run.
enum Json {
    Nowhere,
    Stdout,
    File(std::fs::File, String),
}

impl Json {
    fn open(output: &Output) -> Result<Self, String> {
        match output.json.as_deref() {
            None => Ok(Self::Nowhere),
            Some("-") => Ok(Self::Stdout),
            Some(path) => match std::fs::File::create(path) {
                Ok(file) => Ok(Self::File(file, path.to_owned())),
                Err(error) => Err(format!("cannot write the report to {path}: {error}")),
            },
        }
    }

    fn write(&mut self, report: &str) -> Result<(), String> {
        let text = format!("{report}\n");
        match self {
            Self::Nowhere => Ok(()),
            Self::Stdout => std::io::stdout()
                .write_all(text.as_bytes())
                .map_err(|error| format!("cannot write the report: {error}")),
            Self::File(file, path) => file
                .write_all(text.as_bytes())
                .and_then(|()| file.sync_all())
                .map_err(|error| format!("cannot write the report to {path}: {error}")),
        }
    }
}

fn fail(code: u8, why: &str) -> ExitCode {
    eprintln!("tidegate-loadtest: {why}");
    ExitCode::from(code)
}
