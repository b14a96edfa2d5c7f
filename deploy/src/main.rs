//! The program `tidegate`: a whole cluster in one process, one node of a cluster, or a tool for the shell.

mod cli;
mod failure;
mod nodes;
mod output;
mod web;

use std::process::ExitCode;

/// Chosen by what an idle client costs a gateway; the measurement stands in ARCHITECTURE.md.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let done = cli::parse(std::env::args_os()).and_then(|cli| cli.command.run());
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
