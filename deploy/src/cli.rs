//! The command line: which commands there are, and where the settings of a node come from.

mod admission;
mod api;
mod changes;
mod check_config;
mod completions;
mod config;
mod dev;
mod doctor;
mod engine;
mod example;
pub(crate) mod fuzz;
mod gateway;
mod history;
mod layers;
mod limits;
mod logic;
mod man;
mod manage;
mod node;
mod push;
pub(crate) mod reload;
mod tail;
pub(crate) mod tls;
mod token;
mod values;

use clap::{Parser, Subcommand};

use crate::failure::Failure;

pub(crate) use layers::parse;

const ABOUT: &str = "Pushes to a million WebSocket clients: one HTTP call in, merged frames out.

Without a command, tidegate starts `dev`: one logic node and two gateways in one process, on loopback.";

const EXAMPLES: &str = "Examples:
  tidegate                                a cluster to try, with a page to see it work
  tidegate tail --room r1                 print what arrives in a room
  tidegate push --room r1 --data '{\"n\":1}'
  tidegate doctor                         what this machine allows
  tidegate check-config tidegate.toml     what is wrong with it, before anything starts

Settings of a node come from, in this order: its flag (--link-secret-file), the variable
TIDEGATE_<FLAG> (TIDEGATE_LINK_SECRET_FILE), the file of --config (tables [dev], [gateway],
[logic], with the flags' names as keys), the default. The file also says whose items are kept:
[[rooms]] and [[users]], each with match, history and ttl; the first match wins.

Exit codes: 0; 1 failure; 2 usage; 69 a needed service is unavailable; 78 configuration;
130 interrupted.";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, about = ABOUT, after_help = EXAMPLES, override_usage = "tidegate [COMMAND] [OPTIONS]")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start one logic node and some gateways in one process, for development
    Dev(Box<dev::Args>),
    /// Start a gateway: it holds WebSocket clients
    Gateway(Box<gateway::Args>),
    /// Start a logic node: it takes pushes and drives the gateways
    Logic(Box<logic::Args>),
    /// Push from a shell
    Push(Box<push::Args>),
    /// List connections, show one, close some
    #[command(after_help = manage::OF_CLIENTS)]
    Clients(Box<manage::Args>),
    /// List users who are online, show one, close some
    #[command(after_help = manage::OF_USERS)]
    Users(Box<manage::Args>),
    /// List rooms with a member, show one, take everybody out of some
    #[command(after_help = manage::OF_ROOMS)]
    Rooms(Box<manage::Args>),
    /// Connect as a client and print what arrives
    Tail(Box<tail::Args>),
    /// Sign a client token
    Token(Box<token::Args>),
    /// Say what is wrong with a configuration, or what would hold
    CheckConfig(check_config::Args),
    /// Say what this machine allows, and what to change
    Doctor(doctor::Args),
    /// Print a script that completes commands and flags in a shell
    Completions(completions::Args),
    /// Write pages for man(1), one for each command
    #[command(hide = true)]
    Man(man::Args),
}

impl Command {
    /// Does it.
    ///
    /// # Errors
    /// Why not, with the exit code.
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self {
            Self::Dev(args) => args.run(),
            Self::Gateway(args) => args.run(),
            Self::Logic(args) => args.run(),
            Self::Push(args) => args.run(),
            Self::Clients(args) => args.run(manage::Of::Clients),
            Self::Users(args) => args.run(manage::Of::Users),
            Self::Rooms(args) => args.run(manage::Of::Rooms),
            Self::Tail(args) => args.run(),
            Self::Token(args) => args.run(),
            Self::CheckConfig(args) => args.run(),
            Self::Doctor(args) => args.run(),
            Self::Completions(args) => args.run(),
            Self::Man(args) => args.run(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
