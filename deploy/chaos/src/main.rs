//! `tidegate-chaos`: a cluster of real processes, faults by a seed, clients that log all they see, and a checker.
//!
//! An honest outsider: it knows the HTTP API and the WebSocket protocol, and nothing of the nodes' insides.

mod args;
mod check;
mod client;
mod cluster;
mod faults;
mod http;
mod log;
mod modes;
mod node;
mod payload;
mod producer;
mod proxy;
mod resp;
mod rig;
mod rolling;
mod schedule;
mod wire;
mod world;

use std::fmt::Display;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use common::shutdown::Signals;
use serde::Serialize;

use args::{Cli, Command};
use check::report::Report;
use modes::Outcome;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(why) => return failed(&format!("no runtime: {why}")),
    };
    let ended = runtime.block_on(async {
        let mut signals = Signals::listen().map_err(|why| why.to_string())?;
        tokio::select! {
            done = Box::pin(run(cli)) => done,
            // Processes end with what holds them.
            asked = signals.next() => Ok(ExitCode::from(u8::try_from(asked.exit_code()).unwrap_or(1))),
        }
    });
    runtime.shutdown_background();
    ended.unwrap_or_else(|why| failed(&why))
}

async fn run(cli: Cli) -> Result<ExitCode, String> {
    match cli.command.unwrap_or(Command::Run(cli.run)) {
        Command::Check { folder, json } => Ok(conclude(&Verdict::on(&check::check(&folder)?, json)?, None)),
        Command::Rolling(flags) => {
            let (report, outcome) = Box::pin(rolling::run(&flags)).await?;
            Ok(conclude(&Verdict { ok: report.ok, text: text(&report, flags.json)? }, Some(&outcome)))
        }
        command => {
            let is_json = modes::run_of(&command).is_some_and(|run| run.json);
            let outcome = Box::pin(modes::run(command)).await?;
            Ok(conclude(&Verdict::on(&check::check(&outcome.folder)?, is_json)?, Some(&outcome)))
        }
    }
}

/// How a run ended, and the words for it.
struct Verdict {
    ok: bool,
    text: String,
}

impl Verdict {
    fn on(report: &Report, is_json: bool) -> Result<Self, String> {
        Ok(Self { ok: report.ok, text: text(report, is_json)? })
    }
}

fn text(report: &(impl Serialize + Display), is_json: bool) -> Result<String, String> {
    if is_json {
        serde_json::to_string_pretty(report).map_err(|why| why.to_string())
    } else {
        Ok(report.to_string())
    }
}

/// Says it, and keeps the logs if they are wanted.
fn conclude(verdict: &Verdict, outcome: Option<&Outcome>) -> ExitCode {
    say(&verdict.text);
    if let Some(outcome) = outcome {
        if outcome.is_kept || !verdict.ok {
            note(&format!("logs: {}", outcome.folder.display()));
        } else {
            // What stays behind is in the system's folder for what may go.
            _ = std::fs::remove_dir_all(&outcome.folder);
        }
    }
    if verdict.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// For whoever reads the outcome.
fn say(text: &str) {
    // Nobody may be listening.
    _ = writeln!(std::io::stdout(), "{text}");
}

/// For whoever watches.
fn note(text: &str) {
    _ = writeln!(std::io::stderr(), "{text}");
}

fn failed(why: &str) -> ExitCode {
    note(&format!("tidegate-chaos: {why}"));
    ExitCode::FAILURE
}

/// Whether a machine can do what the proxies do beneath TCP as well, for people.
fn beneath() -> &'static str {
    let has = |program: &str| {
        ["/usr/sbin", "/usr/bin", "/sbin"].iter().any(|at| Path::new(at).join(program).exists())
    };
    match (has("unshare"), has("nft")) {
        (true, true) => "network namespaces and nftables are there; proxies are used",
        (true, false) => "no nftables here: links are broken by proxies alone",
        _ => "no network namespaces here: links are broken by proxies alone",
    }
}
