//! What the commands that start nodes have in common: the file, the log, `--insecure`, names, secrets.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use clap::builder::BoolishValueParser;
use common::ids::Instance;
use common::link::secret::Secret;
use common::logging;
use common::nearest::nearest;

use super::config::{keys, role_command};
use super::layers::ROLES;
use super::values;
use crate::failure::Failure;

/// Flags of every node.
#[derive(Debug, clap::Args)]
pub(super) struct Common {
    /// Read settings from this TOML file; flags and variables go before it
    #[arg(long, env = "TIDEGATE_CONFIG", hide_env_values = true, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// What to log: error, warn, info, debug, or directives such as warn,gateway=debug
    #[arg(long, env = "TIDEGATE_LOG", hide_env_values = true, default_value = "info", value_name = "FILTER")]
    pub(super) log: String,
    /// How to log
    #[arg(long, env = "TIDEGATE_LOG_FORMAT", hide_env_values = true, default_value = "auto")]
    pub(super) log_format: LogFormat,
    /// A push that takes longer is counted and said in the log, with the stage that took longest; at a gateway, longer than
    /// this beyond its window
    #[arg(long, env = "TIDEGATE_SLOW_PUSH", hide_env_values = true, default_value = "2s", value_name = "DURATION", value_parser = values::patience)]
    pub(super) slow_push: Duration,
    /// End at once, without a drain, when standard input ends: with the program that holds its other end, however
    /// that one ended
    #[arg(long, env = "TIDEGATE_END_WITH_STDIN", hide_env_values = true, num_args = 0..=1, require_equals = true,
          default_value = "false", default_missing_value = "true", hide_default_value = true,
          hide_possible_values = true, value_name = "BOOL", value_parser = BoolishValueParser::new())]
    pub(super) end_with_stdin: bool,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum LogFormat {
    /// Human on a terminal, JSON otherwise
    Auto,
    /// For people
    Human,
    /// One JSON object a line
    Json,
}

impl Common {
    /// Starts the log.
    ///
    /// # Errors
    /// A filter that cannot be read.
    pub(super) fn start_logging(&self) -> Result<(), Failure> {
        let format = match self.log_format {
            LogFormat::Auto => logging::Format::Auto,
            LogFormat::Human => logging::Format::Human,
            LogFormat::Json => logging::Format::Json,
        };
        logging::start(&self.log, format).map_err(Failure::config)?;
        for (unknown, near) in strange_variables(std::env::vars_os().map(|(name, _)| name)) {
            tracing::warn!("the variable {unknown} sets nothing; did you mean {near}?");
        }
        Ok(())
    }

    /// Checks what can be checked before the log starts, and when it is reloaded.
    ///
    /// # Errors
    /// A filter that cannot be read.
    pub(super) fn check(&self) -> Result<(), Failure> {
        logging::check(&self.log).map_err(Failure::config)
    }

    /// Watches standard input from now on, if that was asked for.
    ///
    /// # Errors
    /// That there is no thread for it.
    pub(super) fn watch_stdin(&self) -> Result<(), Failure> {
        if !self.end_with_stdin {
            return Ok(());
        }
        // A thread of its own: it ends the process also when nothing else in it gets its turn.
        let watch = std::thread::Builder::new().name("stdin".into()).spawn(|| {
            let (mut input, mut bytes) = (std::io::stdin().lock(), [0; 512]);
            while !matches!(input.read(&mut bytes), Ok(0) | Err(_)) {}
            tracing::info!("standard input has ended: ending at once");
            std::process::exit(0);
        });
        watch.map(drop).map_err(|error| Failure::failed(format!("cannot watch standard input: {error}")))
    }
}

/// Variables that look like misspelt ones of ours, and what was probably meant.
///
/// Only a near miss: Kubernetes sets variables for its services (`TIDEGATE_SERVICE_HOST`), and others are
/// free to have their own.
pub(super) fn strange_variables(
    there: impl Iterator<Item = std::ffi::OsString>,
) -> impl Iterator<Item = (String, String)> {
    let mut known = vec!["URL".to_owned(), "CONFIG".to_owned()];
    for role in ROLES {
        known.extend(keys(&role_command(role)).map(|(long, _)| long.to_uppercase().replace('-', "_")));
    }
    there.filter_map(move |name| {
        let name = name.into_string().ok()?;
        let flag = name.strip_prefix("TIDEGATE_")?;
        if known.iter().any(|known| known == flag) {
            return None;
        }
        let near = nearest(flag, known.iter().map(String::as_str))?;
        // Whole words in front of or behind a known name are somebody else's: GATEWAY_SERVICE_HOST.
        let is_other = flag.len().abs_diff(near.len()) > 2;
        (!is_other).then(|| (name.clone(), format!("TIDEGATE_{near}")))
    })
}

/// Looks whether a directory of data can be one, before anything starts.
///
/// # Errors
/// What is wrong with it (78).
pub(super) fn check_data_dir(dir: Option<&Path>) -> Result<(), Failure> {
    dir.map_or(Ok(()), |dir| ::logic::check_data_dir(dir).map_err(Failure::config))
}

/// The secret of the link, if a file is named.
///
/// # Errors
/// A file that cannot be read, or holds no secret.
pub(super) fn secret(file: Option<&Path>) -> Result<Option<Secret>, Failure> {
    file.map(Secret::read).transpose().map_err(|wrong| Failure::config(format!("--link-secret-file {wrong}")))
}

/// A name for a node that was not given one: the machine's, with the port that tells it from its siblings.
pub(super) fn default_name(role: &str, port: u16) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = if host.trim().is_empty() { role } else { host.trim() };
    if port == 0 {
        return format!("{host}-{}", &Instance::random().to_string()[..6]);
    }
    format!("{host}-{port}")
}

/// How a node without keys is announced in its log.
pub(super) fn warn_insecure(open: &str) {
    tracing::warn!("INSECURE: started with --insecure; {open}. Keep its ports on a network that you trust");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_variable_is_noticed_and_a_foreign_one_is_not() {
        let there =
            ["TIDEGATE_WIDNOW", "TIDEGATE_WINDOW", "TIDEGATE_GATEWAY_SERVICE_HOST", "TIDEGATE_BIN", "HOME"];
        let found: Vec<_> = strange_variables(there.into_iter().map(Into::into)).collect();
        assert_eq!(found, [("TIDEGATE_WIDNOW".to_owned(), "TIDEGATE_WINDOW".to_owned())]);
    }

    #[test]
    fn names_differ_even_without_a_port() {
        assert!(default_name("gateway", 7200).ends_with("-7200"));
        assert_ne!(default_name("gateway", 0), default_name("gateway", 0));
    }
}
