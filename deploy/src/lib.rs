//! What the program `tidegate` does: a whole cluster in one process, one node of a cluster, or a tool for the shell.
//! A library only so that what the program reads can be fuzzed; nothing else is meant to use it.

mod cli;
mod failure;
#[doc(hidden)]
pub mod fuzz;
mod nodes;
mod output;
mod sockets;
mod supervisor;
mod web;

use std::process::ExitCode;

/// Does what the command line says.
#[must_use]
pub fn run() -> ExitCode {
    let done = cli::parse(std::env::args_os()).and_then(|cli| cli.command.run());
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
