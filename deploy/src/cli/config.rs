//! The configuration file: TOML with the tables `[dev]`, `[gateway]` and `[logic]`, whose keys are the flags, and the
//! rules of histories ([`history`]), which are no flags.
//!
//! Keys are checked here, all of them, whichever node starts; values are checked as the flags that they become.

mod lines;

use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, Command, CommandFactory};
use common::nearest::nearest;
use toml::{Table, Value};

use super::Cli;
use super::history;
use super::layers::ROLES;
use crate::failure::Failure;
use lines::Lines;
pub(super) use lines::Place;

/// What is wrong, and where.
pub(super) type Fault = (Place, String);

/// A file whose tables and keys are all known.
#[derive(Debug)]
pub(super) struct File {
    path: PathBuf,
    tables: Table,
    lines: Lines,
}

impl File {
    /// Reads a file and checks its keys.
    ///
    /// # Errors
    /// Everything that is wrong with it, a line each.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| Failure::config(format!("{}: {error}", path.display())))?;
        Self::parse(path, &text)
    }

    /// Checks the keys of a file that was read.
    ///
    /// # Errors
    /// Everything that is wrong with it, a line each.
    pub(super) fn parse(path: &Path, text: &str) -> Result<Self, Failure> {
        let tables = text.parse::<Table>().map_err(|error| unreadable(path, text, &error))?;
        let wrong = faults(&tables);
        let file = Self { path: path.to_owned(), tables, lines: Lines::of(text) };
        if wrong.is_empty() {
            return Ok(file);
        }
        let said: Vec<_> =
            wrong.iter().map(|(place, fault)| format!("{}: {fault}", file.at(Some(place)))).collect();
        Err(Failure::config(said.join("\n          ")))
    }

    /// The file, with the line of a place if that is known.
    fn at(&self, place: Option<&Place>) -> String {
        let line = place.and_then(|place| self.lines.find(place));
        line.map_or_else(|| self.path.display().to_string(), |line| format!("{}:{line}", self.path.display()))
    }

    /// Its keys of a role.
    pub(super) fn keys_of(&self, role: &str) -> Vec<String> {
        let table = self.tables.get(role).and_then(Value::as_table);
        table.into_iter().flat_map(Table::keys).cloned().collect()
    }

    /// Whether it has a table for a role.
    pub(super) fn has(&self, role: &str) -> bool {
        self.tables.contains_key(role)
    }

    /// A table, or what stands in its place.
    pub(super) fn table(&self, name: &str) -> Option<&Value> {
        self.tables.get(name)
    }

    /// The keys of a role's table as flags, without those that are given elsewhere.
    pub(super) fn flags(&self, role: &str, is_given: impl Fn(&str) -> bool) -> Vec<String> {
        let Some(Value::Table(table)) = self.tables.get(role) else { return Vec::new() };
        let command = role_command(role);
        let mut flags = Vec::new();
        for (key, value) in table {
            let Some(arg) = flag(&command, key) else { continue };
            if !is_given(arg.get_id().as_str()) {
                let texts = texts(value, arg).unwrap_or_default();
                flags.extend(texts.into_iter().map(|text| format!("--{key}={text}")));
            }
        }
        flags
    }

    /// A failure that concerns a role's table, and perhaps a key of it.
    pub(super) fn says(&self, role: &str, key: Option<&str>, text: &str) -> Failure {
        let place = key.map(|key| Place::of(role, key));
        Failure::config(format!("{}: [{role}]: {text}", self.at(place.as_ref())))
    }
}

/// The command of a role, with its flags.
pub(super) fn role_command(role: &str) -> Command {
    Cli::command().find_subcommand(role).cloned().expect("ROLES names commands that there are")
}

/// The flags of a role that may stand in a file.
pub(super) fn keys(command: &Command) -> impl Iterator<Item = (&str, &Arg)> {
    command
        .get_arguments()
        .filter_map(|arg| Some((arg.get_long()?, arg)))
        .filter(|(long, _)| !matches!(*long, "config" | "help" | "version"))
}

fn flag<'a>(command: &'a Command, key: &str) -> Option<&'a Arg> {
    keys(command).find(|(long, _)| *long == key).map(|(_, arg)| arg)
}

/// A file that is no TOML, in one line.
fn unreadable(path: &Path, text: &str, error: &toml::de::Error) -> Failure {
    let at = error.span().map_or(0, |span| span.start);
    let line = lines::line_of(text, at);
    let shown = text.lines().nth(line - 1).unwrap_or_default().trim();
    let message = error.message();
    Failure::config(format!("{}:{line}: {message}; the line is: {shown:.100}", path.display()))
}

fn faults(tables: &Table) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (role, value) in tables {
        if history::TABLES.contains(&role.as_str()) {
            faults.extend(history::read(role, value).err().unwrap_or_default());
            continue;
        }
        if !ROLES.contains(&role.as_str()) {
            let known: Vec<_> = ROLES.into_iter().chain(history::TABLES).collect();
            faults.push((Place::of(role, ""), format!("unknown table [{role}]; {}", hint(role, &known))));
            continue;
        }
        let Value::Table(table) = value else {
            faults.push((Place::of(role, ""), format!("{role:?} must be a table: [{role}]")));
            continue;
        };
        let command = role_command(role);
        let known: Vec<&str> = keys(&command).map(|(long, _)| long).collect();
        for (key, value) in table {
            let fault = match flag(&command, key) {
                None => Some(format!("[{role}]: unknown key {key:?}; {}", hint(key, &known))),
                Some(arg) => texts(value, arg).err().map(|wrong| format!("[{role}]: {key:?} {wrong}")),
            };
            faults.extend(fault.map(|fault| (Place::of(role, key), fault)));
        }
    }
    faults
}

/// "Did you mean", or all that there is.
pub(super) fn hint(unknown: &str, known: &[&str]) -> String {
    match nearest(unknown, known.iter().copied()) {
        Some(near) => format!("did you mean {near:?}?"),
        None => format!("known are {}", known.join(", ")),
    }
}

/// A value as the texts that one would type behind the flag.
fn texts(value: &Value, arg: &Arg) -> Result<Vec<String>, String> {
    let one = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Boolean(truth) => Ok(truth.to_string()),
        other => Err(format!("cannot be {}; write it in quotes, as behind the flag", other.type_str())),
    };
    match value {
        Value::Array(values) if matches!(arg.get_action(), ArgAction::Append) => {
            values.iter().map(one).collect()
        }
        Value::Array(_) => Err("takes one value, not a list".to_owned()),
        other => one(other).map(|text| vec![text]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults_of(text: &str) -> Vec<String> {
        faults(&text.parse().unwrap()).into_iter().map(|(_, fault)| fault).collect()
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_in_full() {
        for (text, fault) in [
            ("[gatewya]", "unknown table [gatewya]; did you mean \"gateway\"?"),
            ("[gateway]\nwidnow = \"1s\"", "[gateway]: unknown key \"widnow\"; did you mean \"window\"?"),
            ("[logic]\nconfig = \"x\"", "[logic]: unknown key \"config\"; known are "),
            ("dev = 1", "\"dev\" must be a table: [dev]"),
            ("[gateway]\nlisten = [\"127.0.0.1:1\"]", "[gateway]: \"listen\" takes one value, not a list"),
            ("[gateway]\nwindow = 1.5", "[gateway]: \"window\" cannot be float"),
        ] {
            let found = faults_of(text);
            assert!(found.len() == 1 && found[0].starts_with(fault), "{text}: {found:?}");
        }
        assert_eq!(faults_of("[x1]\n[y1]\n").len(), 2);
        assert_eq!(faults_of("[logic]\ngateway = [\"a:1\", \"b:2\"]\ninsecure = true"), [""; 0]);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (text, said) in [
            ("[gateway]\n\nwidnow = \"1s\"", "t.toml:3: [gateway]: unknown key \"widnow\"; did you mean"),
            ("[gateway]\nwindow = \n", "t.toml:2: "),
            (
                "\n[[rooms]]\nmatch = \"a\"\nttl = \"1h\"\nhistory = 0",
                "t.toml:5: [[rooms]] 1: \"history\" is a number",
            ),
            ("\n[[users]]\nttl = \"1h\"", "t.toml:2: [[users]] 1: \"match\" is missing"),
        ] {
            let Err(Failure::Said { text: found, .. }) = File::parse(Path::new("t.toml"), text) else {
                panic!("{text}");
            };
            assert!(found.starts_with(said), "{found}");
        }
    }
}
