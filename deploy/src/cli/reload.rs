//! SIGHUP: the configuration is read anew, and running nodes are told what of it can change.
//!
//! It is the start over again: flags before variables before the file before the defaults, checked by the same rules. What
//! is wrong anywhere changes nothing; what cannot change while a node runs is named, and stays as it was.

mod compare;

use std::ffi::OsString;
use std::path::PathBuf;

use ::logic::HistoryRules;
use clap::{ArgMatches, FromArgMatches};
use common::logging;
use common::reloads::{Outcome, Reloads};
use serde_json::{Value, json};

use super::changes::Change;
use super::config::role_command;
use super::layers::{self, Layers};
use super::{Cli, Command, history};
use crate::failure::Failure;
use compare::{Compared, texts};

/// Tells nodes their settings anew; an error says why they cannot be.
type Apply = Box<dyn Fn(Command) -> Result<(), Failure> + Send>;

/// Follows the configuration of the nodes of a process.
pub(crate) struct Reloader {
    role: &'static str,
    /// What holds, of the role's command.
    holds: ArgMatches,
    rules: HistoryRules,
    nodes: Vec<Reloads>,
    apply: Apply,
}

impl Reloader {
    /// For nodes that were started with what the command line says. `apply` tells them.
    ///
    /// # Errors
    /// What is wrong with the configuration by now.
    pub(super) fn new(
        role: &'static str,
        nodes: Vec<Reloads>,
        apply: impl Fn(Command) -> Result<(), Failure> + Send + 'static,
    ) -> Result<Self, Failure> {
        let layers = layers::read(std::env::args_os())?;
        let holds = of_role(&layers.all, role)?;
        let reloader = Self { role, rules: rules_of(role, &layers), holds, nodes, apply: Box::new(apply) };
        reloader.show();
        Ok(reloader)
    }

    /// Reads the configuration, tells the nodes, and says in the log what came of it.
    pub(crate) fn reload(&mut self) {
        if let Err(failure) = self.read_again() {
            let why = in_words(&failure);
            self.note(Outcome::Refused, std::slice::from_ref(&why));
            tracing::error!(
                %why,
                "the configuration is refused, and all stays as it was: mend it and send SIGHUP again (tidegate check-config FILE tries it)"
            );
        }
    }

    /// Shows operators what came of it. Before the log does: who reads it there finds it here.
    fn note(&self, outcome: Outcome, said: &[String]) {
        self.nodes.iter().for_each(|node| node.note(outcome, said));
        self.show();
    }

    fn read_again(&mut self) -> Result<(), Failure> {
        let layers = layers::read(std::env::args_os())?;
        let new = of_role(&layers.all, self.role)?;
        let compared = Compared::new(self.role, &self.holds, &new);
        let merged = self.merged(&new)?;
        let log = texts(&new, "log").join(",");
        logging::check(&log).map_err(Failure::config)?;
        (self.apply)(Cli::from_arg_matches(&merged)?.command)?;
        // It was checked.
        logging::change(&log).map_err(Failure::failed)?;
        let rules = rules_of(self.role, &layers);
        let are_other_rules = rules != self.rules;
        (self.holds, self.rules) = (of_role(&merged, self.role)?, rules);
        self.say(&compared, are_other_rules, &layers);
        Ok(())
    }

    /// What holds from now on: what can change as it is read, the rest as it was.
    fn merged(&self, new: &ArgMatches) -> Result<ArgMatches, Failure> {
        let mut argv = vec![OsString::from("tidegate"), self.role.into()];
        let command = role_command(self.role);
        for arg in command.get_arguments() {
            let Some(long) = arg.get_long().filter(|long| !matches!(*long, "help" | "version")) else {
                continue;
            };
            let from = if Change::of(self.role, long) == Change::Hangup { new } else { &self.holds };
            let id = arg.get_id().as_str();
            if layers::source(from, id).is_some() {
                argv.extend(texts(from, id).into_iter().map(|text| format!("--{long}={text}").into()));
            }
        }
        let merged = layers::without_environment().try_get_matches_from(argv);
        merged.map_err(|error| Failure::config(layers::first_line(&error)))
    }

    fn say(&self, compared: &Compared, are_other_rules: bool, layers: &Layers) {
        let mut said = compared.changed.clone();
        if are_other_rules {
            let [rooms, users] = [self.rules.rooms.len(), self.rules.users.len()];
            said.push(format!("other rules of histories: {rooms} for rooms, {users} for users"));
        }
        let outcome = if said.is_empty() { Outcome::Unchanged } else { Outcome::Changed };
        let file = self.file().unwrap_or_default();
        let over = compare::over_the_file(self.role, layers);
        let (changes, over_the_file) = (said.join("; "), over.join(", "));
        let kept = compared.kept.iter().map(|kept| format!("{kept} needs a restart; the old value stays"));
        let kept: Vec<_> = kept.collect();
        said.extend(kept.iter().cloned());
        self.note(outcome, &said);
        match outcome {
            Outcome::Changed => tracing::info!(file = %file.display(), changes, over_the_file, "reloaded"),
            _ if file.as_os_str().is_empty() => {
                tracing::info!("reloaded: there is no file (--config); keys and certificates are read again");
            }
            _ => {
                tracing::info!(file = %file.display(), over_the_file, "reloaded: nothing that can change has changed")
            }
        }
        kept.iter().for_each(|line| tracing::warn!("{line}"));
    }

    fn file(&self) -> Option<PathBuf> {
        self.holds.get_one::<PathBuf>("config").cloned()
    }

    /// Shows operators what holds.
    fn show(&self) {
        let rule = |rule: &::logic::HistoryRule| json!({"match": rule.matches.to_string(), "history": rule.items, "ttlSecs": rule.age.as_secs()});
        let rules = |rules: &[::logic::HistoryRule]| rules.iter().map(rule).collect::<Value>();
        let mut in_force = compare::in_force(self.role, &self.holds);
        if self.role != "gateway" {
            in_force["[[rooms]]"] = rules(&self.rules.rooms);
            in_force["[[users]]"] = rules(&self.rules.users);
        }
        self.nodes.iter().for_each(|node| node.hold(in_force.clone()));
    }
}

fn of_role(matches: &ArgMatches, role: &str) -> Result<ArgMatches, Failure> {
    let of_role = matches.subcommand_matches(role).cloned();
    of_role.ok_or_else(|| Failure::failed(format!("the command line is not of {role} any more")))
}

/// The rules that hold for a role, if its nodes have any.
fn rules_of(role: &str, layers: &Layers) -> HistoryRules {
    let rules = layers.file.as_ref().map(history::rules_of).unwrap_or_default();
    match role {
        "gateway" => HistoryRules::default(),
        "dev" if rules == HistoryRules::default() => history::of_dev(),
        _ => rules,
    }
}

/// What went wrong, on one line.
fn in_words(failure: &Failure) -> String {
    let text = match failure {
        Failure::Usage(error) => layers::first_line(error),
        Failure::Said { text, .. } => text.clone(),
        Failure::Unread => String::new(),
    };
    text.lines().map(str::trim).collect::<Vec<_>>().join("; ")
}
