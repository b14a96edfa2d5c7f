//! Scenarios: settings of a run under a name, in a file whose keys are the flags of `million`.
//!
//! A file's keys become flags in front of those that were typed, which go before them: so a value is checked by the same
//! rules wherever it stands, and every flag is a key.

use std::ffi::OsString;
use std::path::Path;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory, FromArgMatches};
use common::nearest::nearest;
use toml::{Table, Value};

use super::Args;

/// Those that come with the program.
const OURS: [(&str, &str); 15] = [
    ("million", include_str!("../../scenarios/million.toml")),
    ("ramp", include_str!("../../scenarios/ramp.toml")),
    ("idle", include_str!("../../scenarios/idle.toml")),
    ("broadcast", include_str!("../../scenarios/broadcast.toml")),
    ("rooms", include_str!("../../scenarios/rooms.toml")),
    ("mixed", include_str!("../../scenarios/mixed.toml")),
    ("unicast", include_str!("../../scenarios/unicast.toml")),
    ("merged-1", include_str!("../../scenarios/merged-1.toml")),
    ("merged-10", include_str!("../../scenarios/merged-10.toml")),
    ("merged-100", include_str!("../../scenarios/merged-100.toml")),
    ("ten-million", include_str!("../../scenarios/ten-million.toml")),
    ("storm", include_str!("../../scenarios/storm.toml")),
    ("slow", include_str!("../../scenarios/slow.toml")),
    ("churn", include_str!("../../scenarios/churn.toml")),
    ("push-throughput", include_str!("../../scenarios/push-throughput.toml")),
];

/// The command whose flags a scenario may set.
const COMMAND: &str = "million";

/// The flag that is written as tables.
const EVENTS: &str = "events";

/// Flags of it that are no part of a scenario.
const NO_KEYS: [&str; 3] = ["help", "version", "scenario"];

/// A scenario as it is written.
#[derive(Debug)]
pub(crate) struct Scenario {
    /// How it was asked for.
    name: String,
    /// Its text.
    pub(crate) text: String,
    /// What it is, in a line.
    about: String,
    keys: Table,
}

/// Names and one line about each of the scenarios that come with the program.
pub(crate) fn list() -> Result<String, String> {
    let scenarios = OURS.iter().map(|(name, _)| Scenario::find(name)).collect::<Result<Vec<_>, _>>()?;
    let wide = OURS.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    let lines = scenarios.iter().map(|each| format!("{:wide$}  {}", each.name, each.about));
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

impl Scenario {
    /// One of ours by its name, or a file by its path.
    ///
    /// # Errors
    /// That there is none, or what is wrong with it.
    pub(crate) fn find(name: &str) -> Result<Self, String> {
        if let Some((name, text)) = OURS.iter().find(|(ours, _)| *ours == name) {
            return Self::read(name, text);
        }
        let is_path = name.contains('/') || Path::new(name).extension().is_some();
        if !is_path && !Path::new(name).exists() {
            let names = OURS.map(|(name, _)| name);
            let hint = nearest(name, names)
                .map_or(format!("there are {}", names.join(", ")), |near| format!("did you mean {near:?}?"));
            return Err(format!("there is no scenario {name:?}; {hint} A file is named by its path"));
        }
        let text = std::fs::read_to_string(name).map_err(|error| format!("{name}: {error}"))?;
        Self::read(name, &text)
    }

    fn read(name: &str, text: &str) -> Result<Self, String> {
        let mut keys: Table = text.parse().map_err(|error: toml::de::Error| format!("{name}: {error}"))?;
        let about = match keys.remove("about") {
            None => String::new(),
            Some(Value::String(about)) => about,
            Some(_) => return Err(format!("{name}: \"about\" must be a text")),
        };
        Ok(Self { name: name.to_owned(), text: text.to_owned(), about, keys })
    }

    /// Its keys as flags, without those that were typed.
    fn flags(&self, command: &Command, is_typed: impl Fn(&str) -> bool) -> Result<Vec<OsString>, String> {
        let mut flags = Vec::new();
        for (key, value) in &self.keys {
            let arg = find(command, key).ok_or_else(|| self.unknown(command, key))?;
            let texts = texts(value, arg).map_err(|wrong| format!("{}: {key:?} {wrong}", self.name))?;
            if is_typed(arg.get_id().as_str()) {
                continue;
            }
            match (arg.get_action(), texts.first().map(String::as_str)) {
                (ArgAction::SetTrue, Some("true")) => flags.push(format!("--{key}").into()),
                (ArgAction::SetTrue, _) => {}
                _ => flags.extend(texts.iter().map(|text| format!("--{key}={text}").into())),
            }
        }
        Ok(flags)
    }

    fn unknown(&self, command: &Command, key: &str) -> String {
        let known: Vec<_> = keys(command).map(|(long, _)| long).chain(["about"]).collect();
        let hint = match nearest(key, known.iter().copied()) {
            Some(near) => format!("did you mean {near:?}?"),
            None => format!("known are {}", known.join(", ")),
        };
        format!("{}: unknown key {key:?}; {hint}", self.name)
    }
}

/// Reads the command line, and the scenario beneath it if the command has one.
///
/// # Errors
/// Usage: also what is wrong with a scenario.
pub(super) fn parse(mut argv: Vec<OsString>) -> Result<Args, clap::Error> {
    let matches = Args::command().try_get_matches_from(&argv)?;
    let Some((words, name, typed)) = asked(&matches) else { return Args::from_arg_matches(&matches) };
    let usage = |text: String| Args::command().error(ErrorKind::InvalidValue, text);
    let scenario = Scenario::find(name).map_err(usage)?;
    let command = Args::command().find_subcommand(COMMAND).cloned().expect("a command that there is");
    let is_typed = |id: &str| typed.value_source(id) == Some(ValueSource::CommandLine);
    let flags = scenario.flags(&command, is_typed).map_err(usage)?;
    // Behind the words that name the command, so that what was typed stays as it was typed.
    argv.splice(words..words, flags);
    let matches = Args::command().try_get_matches_from(&argv).map_err(|error| {
        let text = error.render().to_string();
        let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        usage(format!("scenario {}: {first}", scenario.name))
    })?;
    Args::from_arg_matches(&matches)
}

/// How many words name the command, the scenario that it is for, and what was typed.
fn asked(matches: &ArgMatches) -> Option<(usize, &str, &ArgMatches)> {
    let (words, typed) = match matches.subcommand()? {
        (COMMAND, typed) => (2, typed),
        ("scenario", which) => match which.subcommand()? {
            ("run", typed) => (3, typed),
            _ => return None,
        },
        _ => return None,
    };
    Some((words, typed.get_one::<String>("scenario")?, typed))
}

/// The flags that may be keys, by every name that they have.
fn keys(command: &Command) -> impl Iterator<Item = (&str, &Arg)> {
    let named = |arg| {
        Arg::get_long_and_visible_aliases(arg).unwrap_or_default().into_iter().map(move |long| (long, arg))
    };
    command.get_arguments().flat_map(named).filter(|(long, _)| !NO_KEYS.contains(long))
}

fn find<'a>(command: &'a Command, key: &str) -> Option<&'a Arg> {
    keys(command).find(|(long, _)| *long == key).map(|(_, arg)| arg)
}

/// `[[event]]` with `at`, and `kill` or `start`, as it is typed.
fn event(value: &Value) -> Result<String, String> {
    let Value::Table(table) = value else { return Err("must be tables: [[event]]".to_owned()) };
    let (mut at, mut what) = (None, None);
    for (key, value) in table {
        let Value::String(text) = value else { return Err(format!("has a {key:?} that is no text")) };
        match key.as_str() {
            "at" => at = Some(text),
            "kill" | "start" if what.is_none() => what = Some((key, text)),
            "kill" | "start" => return Err("does one thing at a time: kill or start".to_owned()),
            _ => {
                let near = nearest(key, ["at", "kill", "start"]).unwrap_or("at, kill or start");
                return Err(format!("has an unknown key {key:?}; did you mean {near}?"));
            }
        }
    }
    match (at, what) {
        (Some(at), Some((verb, whom))) => Ok(format!("{at}:{verb}={whom}")),
        _ => Err("needs a time and what to do, such as at = \"30s\" and kill = \"gateway-1\"".to_owned()),
    }
}

/// A value as the texts that one would type behind the flag.
fn texts(value: &Value, arg: &Arg) -> Result<Vec<String>, String> {
    let one = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Float(number) => Ok(number.to_string()),
        Value::Boolean(truth) => Ok(truth.to_string()),
        other => Err(format!("cannot be {}; write it in quotes, as behind the flag", other.type_str())),
    };
    match value {
        Value::Array(values) if arg.get_id() == EVENTS => values.iter().map(event).collect(),
        Value::Array(values) if matches!(arg.get_action(), ArgAction::Append) => {
            values.iter().map(one).collect()
        }
        Value::Array(_) => Err("takes one value, not a list".to_owned()),
        Value::Boolean(_) if !matches!(arg.get_action(), ArgAction::SetTrue) => {
            Err("is not true or false".to_owned())
        }
        other => one(other).map(|text| vec![text]),
    }
}

#[cfg(test)]
#[path = "scenario/tests.rs"]
mod tests;
