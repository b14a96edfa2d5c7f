//! Which layer a setting comes from: flag, then environment, then file, then default.
//!
//! The command line is read once, the file's keys that neither a flag nor a variable has set are added to it
//! as flags, and it is read again: so a value is checked by the same rules wherever it stands.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{ArgMatches, Command, CommandFactory, FromArgMatches};

use super::Cli;
use super::config::File;
use crate::failure::Failure;

/// The commands that take a configuration file; its tables have the same names.
pub(super) const ROLES: [&str; 3] = ["dev", "gateway", "logic"];

/// All layers of a node's settings, read at one moment.
pub(super) struct Layers {
    /// What flags and environment say.
    pub(super) given: ArgMatches,
    /// With the file and the defaults beneath.
    pub(super) all: ArgMatches,
    /// The file, if one is named.
    pub(super) file: Option<File>,
}

/// Reads the command line, the environment and the file.
///
/// # Errors
/// Usage (2), or what is wrong with the environment or the file (78).
pub(crate) fn parse(argv: impl Iterator<Item = OsString>) -> Result<Cli, Failure> {
    Ok(Cli::from_arg_matches(&read(argv)?.all)?)
}

/// The same, layer by layer.
///
/// # Errors
/// Usage (2), or what is wrong with the environment or the file (78).
pub(super) fn read(argv: impl Iterator<Item = OsString>) -> Result<Layers, Failure> {
    let argv = with_command(argv.collect());
    let given = matches(&argv)?;
    let role = given.subcommand().filter(|(role, _)| ROLES.contains(role));
    let named = role.and_then(|(role, sub)| Some((role, sub, sub.get_one::<PathBuf>("config")?)));
    let Some((role, sub, path)) = named else { return Ok(Layers { all: given.clone(), given, file: None }) };
    let file = File::read(path)?;
    let all = with_file(&file, role, Some(sub), &argv)?;
    Ok(Layers { given, all, file: Some(file) })
}

/// What flags and environment say, without a file.
///
/// # Errors
/// Usage (2), or a variable whose value cannot be (78).
pub(super) fn matches(argv: &[OsString]) -> Result<ArgMatches, Failure> {
    Cli::command().try_get_matches_from(argv).map_err(|error| blame(error, argv))
}

/// The matches of `argv` for `role` with the file's keys beneath what was given.
///
/// # Errors
/// What is wrong in the file.
pub(super) fn with_file(
    file: &File,
    role: &str,
    given: Option<&ArgMatches>,
    argv: &[OsString],
) -> Result<ArgMatches, Failure> {
    let is_given = |id: &str| given.is_some_and(|given| source(given, id).is_some());
    let mut argv = argv.to_vec();
    // Right behind the word that names the role, so that what was typed stays as it was typed.
    argv.splice(2..2, file.flags(role, is_given).into_iter().map(OsString::from));
    Cli::command().try_get_matches_from(argv).map_err(|error| {
        // Flags and variables alone were right, so it is a key of the file.
        let key = match error.get(ContextKind::InvalidArg) {
            Some(ContextValue::String(arg)) => arg.trim_start_matches('-').split([' ', '=', '[']).next(),
            _ => None,
        };
        file.says(role, key, &first_line(&error))
    })
}

/// Where a value was given, if it was: on the command line or in the environment.
pub(super) fn source(matches: &ArgMatches, id: &str) -> Option<ValueSource> {
    matches.value_source(id).filter(|source| *source != ValueSource::DefaultValue)
}

/// `tidegate` and `tidegate --gateways 3` mean `tidegate dev …`.
fn with_command(mut argv: Vec<OsString>) -> Vec<OsString> {
    if argv.is_empty() {
        argv.push("tidegate".into());
    }
    let first = argv.get(1).map(|first| first.to_string_lossy().into_owned());
    let is_flag = first.as_deref().is_none_or(|first| first.starts_with('-'));
    if is_flag && !matches!(first.as_deref(), Some("-h" | "--help" | "-V" | "--version")) {
        argv.insert(1, "dev".into());
    }
    argv
}

/// An error of the command line, or of the environment if it goes away without it.
fn blame(error: clap::Error, argv: &[OsString]) -> Failure {
    if !matches!(error.kind(), ErrorKind::ValueValidation | ErrorKind::InvalidValue) {
        return error.into();
    }
    match without_environment().try_get_matches_from(argv) {
        Ok(_) => Failure::config(format!("the environment (TIDEGATE_…): {}", first_line(&error))),
        Err(_) => error.into(),
    }
}

/// The command line as it is where no variable is set.
pub(super) fn without_environment() -> Command {
    Cli::command()
        .mut_subcommands(|sub| sub.mut_args(|arg| arg.env(Resettable::<clap::builder::OsStr>::Reset)))
}

/// What clap says, without its headline and its hints.
pub(super) fn first_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::with_command;

    #[test]
    fn dev_is_what_is_meant_without_a_command() {
        for (said, meant) in [
            (vec!["tidegate"], vec!["tidegate", "dev"]),
            (vec!["tidegate", "--gateways", "3"], vec!["tidegate", "dev", "--gateways", "3"]),
            (vec!["tidegate", "push"], vec!["tidegate", "push"]),
            (vec!["tidegate", "--help"], vec!["tidegate", "--help"]),
        ] {
            let argv = with_command(said.into_iter().map(Into::into).collect());
            assert_eq!(argv, meant);
        }
    }
}
