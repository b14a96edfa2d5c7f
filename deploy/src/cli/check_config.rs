//! `tidegate check-config`: what is wrong with a file and the environment, or what would hold.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{ArgMatches, FromArgMatches};

use super::config::{File, keys, role_command};
use super::layers::{self, ROLES, with_file};
use super::{Cli, Command, engine, example, node};
use crate::failure::Failure;
use crate::output;

const EXAMPLES: &str = "Examples:
  tidegate check-config tidegate.toml
  TIDEGATE_WINDOW=250ms tidegate check-config
  tidegate check-config --example > tidegate.toml

Roles that have a table in the file are checked as if they were to start; of the others, the variables are checked.";

/// Flags of `check-config`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The file that --config would name; without it, only the environment is checked
    #[arg(env = "TIDEGATE_CONFIG", hide_env_values = true)]
    file: Option<PathBuf>,
    /// Print a file with every setting, its help and its default, and check nothing
    #[arg(long, conflicts_with = "file")]
    example: bool,
    /// Do not try to reach the Redis that the file names
    #[arg(long)]
    offline: bool,
}

impl Args {
    /// Prints what would hold, role by role.
    ///
    /// # Errors
    /// Everything that is wrong (78).
    pub(crate) fn run(&self) -> Result<(), Failure> {
        if self.example {
            return output::line(example::file().trim_end());
        }
        let file = self.file.as_deref().map(File::read).transpose()?;
        let mut wrong = Vec::new();
        let mut effective = String::new();
        for role in ROLES {
            match check(role, file.as_ref(), self.offline) {
                Ok(matches) => effective.push_str(&shown(role, &matches)),
                Err(Failure::Said { text, .. }) => wrong.push(text),
                Err(other) => return Err(other),
            }
        }
        for (unknown, near) in node::strange_variables(std::env::vars_os().map(|(name, _)| name)) {
            wrong.push(format!("the variable {unknown} sets nothing; did you mean {near}?"));
        }
        if wrong.is_empty() {
            output::line(effective.trim_end())
        } else {
            Err(Failure::config(wrong.join("\n")))
        }
    }
}

/// The settings of one role; checked against each other if the file is meant for that role.
fn check(role: &str, file: Option<&File>, is_offline: bool) -> Result<ArgMatches, Failure> {
    let argv = ["tidegate", role].map(OsString::from);
    let alone = layers::matches(&argv)?;
    let Some(file) = file else { return Ok(alone) };
    let given = alone.subcommand_matches(role);
    let matches = with_file(file, role, given, &argv)?;
    if file.has(role) {
        let settled = match Cli::from_arg_matches(&matches)?.command {
            Command::Dev(args) => args.settings().map(|_| ()),
            Command::Gateway(args) => args.settings().map(|_| ()),
            Command::Logic(args) => args.settings().and_then(|settings| reach(&settings, is_offline)),
            _ => Ok(()),
        };
        settled.map_err(|failure| match failure {
            Failure::Said { text, .. } => file.says(role, None, &text),
            other => other,
        })?;
    }
    Ok(matches)
}

/// Tries the engine of a logic node. What can be worked with all the same is a remark.
fn reach(settings: &::logic::Settings, is_offline: bool) -> Result<(), Failure> {
    if is_offline {
        return Ok(());
    }
    let warnings = engine::try_out(&settings.engine).map_err(Failure::config)?;
    warnings.iter().for_each(|warning| output::note(&format!("warning: --engine: {warning}")));
    Ok(())
}

/// A value as it may be shown: that may be pasted somewhere, and a key does not go with it.
pub(super) fn showable(key: &str, value: &str) -> String {
    match key {
        "api-key" => "…".to_owned(),
        "engine" => ::logic::without_password(value),
        _ => value.to_owned(),
    }
}

/// What holds, as a file that would say the same, with where it comes from.
fn shown(role: &str, matches: &ArgMatches) -> String {
    let mut text = format!("[{role}]\n");
    let Some(matches) = matches.subcommand_matches(role) else { return text };
    let command = role_command(role);
    for (long, arg) in keys(&command) {
        let id = arg.get_id().as_str();
        let Some(raw) = matches.get_raw(id) else { continue };
        let values: Vec<_> =
            raw.map(|value| format!("{:?}", showable(long, &value.to_string_lossy()))).collect();
        let value = match &values[..] {
            [one] if matches!(one.as_str(), "\"true\"" | "\"false\"") => one.trim_matches('"').to_owned(),
            [one] if !matches!(arg.get_action(), clap::ArgAction::Append) => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let from = match matches.value_source(id) {
            Some(ValueSource::EnvVariable) => "environment",
            // This command takes no flags of nodes: what looks typed came from the file.
            Some(ValueSource::CommandLine) => "file",
            _ => "default",
        };
        text.push_str(&format!("{:<44} # {from}\n", format!("{long} = {value}")));
    }
    text.push('\n');
    text
}
