//! The program `tidegate-loadtest`: settings in, report out, an exit code that scripts can trust.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program that talks to people on a terminal"
)]

mod args;
mod conclude;
mod display;
mod doctor;
mod output;
mod outside;

use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;

use common::shutdown::{Shutdown, Signals};
use loadtest::limits::Limits;
use loadtest::stage::Stage;
use loadtest::{Plan, Progress, agent, floor, peers};

use args::{AgentArgs, Command, DoctorArgs, FloorArgs, Output, Scenario, ScenarioCommand, StageArgs};
use output::Files;

fn main() -> ExitCode {
    if let Some(code) = floor::role().or_else(agent::role).or_else(peers::role) {
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
        Command::Peers(asked) => outside::compare(&asked),
        Command::Any(asked) => outside::measure(*asked),
        Command::Plan(asked) => outside::reckon(&asked),
        Command::Agent(asked) => hold_clients(&asked),
        Command::Compare(asked) => conclude::compare(&asked),
        Command::Table { reports, html } => conclude::table(&reports, html.as_deref()),
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
    let files = match Files::open_json(&output) {
        Ok(files) => files,
        Err(why) => return fail(1, &why),
    };
    match floor::run(&plan) {
        Ok(report) => match files.give(&report, &report.json(), String::new) {
            Ok(()) => ExitCode::from(report.exit_code()),
            Err(why) => fail(1, &why),
        },
        Err(error) => fail(error.exit_code(), &error.to_string()),
    }
}

async fn execute(job: Job, output: Output) -> ExitCode {
    let thresholds = match conclude::asked(&output) {
        Ok(thresholds) => thresholds,
        Err(code) => return code,
    };
    let files = match Files::open(&output) {
        Ok(files) => files,
        Err(why) => return fail(1, &why),
    };
    let mut signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => return fail(1, &format!("cannot take signals: {error}")),
    };
    let shutdown = Shutdown::new();
    let progress = Arc::new(Progress::default());
    let publish = match &job {
        Job::Run(plan) => plan.duration,
        Job::Stage(stage) => stage.duration(),
    };
    let mut run: Pin<Box<dyn Future<Output = _>>> = match job {
        Job::Run(plan) => Box::pin(loadtest::run_with(plan, &shutdown, progress.clone())),
        Job::Stage(stage) => Box::pin(stage.run(&shutdown, progress.clone())),
    };
    let mut show = Box::pin(display::show(&progress, publish));
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
    let mut report = match (ended, interrupted) {
        (Ok(report), _) => report,
        (Err(error), Some(code)) => return fail(code, &error.to_string()),
        (Err(error), None) => return fail(error.exit_code(), &error.to_string()),
    };
    if output.floor && report.complete {
        interrupted = conclude::measure_beside(&mut report, &mut signals).await;
    }
    conclude::conclude(report, &thresholds, files, interrupted)
}

pub(crate) fn fail(code: u8, why: &str) -> ExitCode {
    eprintln!("tidegate-loadtest: {why}");
    ExitCode::from(code)
}
