//! What differs between the settings that hold and those that were read, in words.

use clap::ArgMatches;
use serde_json::{Map, Value};

use super::super::changes::Change;
use super::super::check_config::showable;
use super::super::config::{keys, role_command};
use super::super::layers::{self, Layers};

/// Settings that differ, each as `key: old -> new`.
#[derive(Debug, Default)]
pub(super) struct Compared {
    /// The new value holds.
    pub(super) changed: Vec<String>,
    /// The old one stays.
    pub(super) kept: Vec<String>,
}

impl Compared {
    /// Of the same role, what held and what was read.
    pub(super) fn new(role: &str, old: &ArgMatches, new: &ArgMatches) -> Self {
        let mut compared = Self::default();
        for (key, arg) in keys(&role_command(role)) {
            let [before, after] = [old, new].map(|matches| texts(matches, arg.get_id().as_str()));
            if before == after {
                continue;
            }
            let line = format!("{key}: {} -> {}", shown(key, &before), shown(key, &after));
            match Change::of(role, key) {
                Change::Hangup => compared.changed.push(line),
                Change::File | Change::Restart => compared.kept.push(line),
            }
        }
        compared
    }
}

/// The values of a setting, as they were typed.
pub(super) fn texts(matches: &ArgMatches, id: &str) -> Vec<String> {
    let raw = matches.get_raw(id).into_iter().flatten();
    raw.map(|value| value.to_string_lossy().into_owned()).collect()
}

fn shown(key: &str, values: &[String]) -> String {
    let values: Vec<_> = values.iter().map(|value| showable(key, value)).collect();
    if values.is_empty() { "not set".to_owned() } else { values.join(", ") }
}

/// Keys of the file that do not count, since a flag or a variable says otherwise.
pub(super) fn over_the_file(role: &str, layers: &Layers) -> Vec<String> {
    let Some((file, given)) = layers.file.as_ref().zip(layers.given.subcommand_matches(role)) else {
        return Vec::new();
    };
    let command = role_command(role);
    let over = |key: String| {
        let (_, arg) = keys(&command).find(|(long, _)| *long == key)?;
        match layers::source(given, arg.get_id().as_str())? {
            clap::parser::ValueSource::EnvVariable => {
                Some(format!("TIDEGATE_{}", key.to_uppercase().replace('-', "_")))
            }
            _ => Some(format!("--{key}")),
        }
    };
    file.keys_of(role).into_iter().filter_map(over).collect()
}

/// All settings of a role, with what holds.
pub(super) fn in_force(role: &str, holds: &ArgMatches) -> Value {
    let command = role_command(role);
    let all = keys(&command).map(|(key, arg)| {
        let values = texts(holds, arg.get_id().as_str());
        (key.to_owned(), if values.is_empty() { Value::Null } else { shown(key, &values).into() })
    });
    all.collect::<Map<_, _>>().into()
}
