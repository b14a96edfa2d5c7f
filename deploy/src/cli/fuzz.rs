//! Any bytes as the file of `--config`, up to where its values would be acted on.

use std::ffi::OsString;
use std::path::Path;

use clap::FromArgMatches;

use super::Cli;
use super::config::File;
use super::layers::{ROLES, with_file};
use crate::failure::Failure;

/// Any bytes as a configuration file.
///
/// # Panics
/// If a file is refused without words, or taken and then not understood.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let file = match File::parse(Path::new("tidegate.toml"), text) {
        Ok(file) => file,
        Err(failure) => return check(&failure),
    };
    for role in ROLES {
        let argv = ["tidegate", role].map(OsString::from);
        match with_file(&file, role, None, &argv) {
            Ok(matches) => assert!(Cli::from_arg_matches(&matches).is_ok(), "it was checked"),
            Err(failure) => check(&failure),
        }
    }
}

fn check(failure: &Failure) {
    let is_said = matches!(failure, Failure::Said { code: 78, text } if text.contains("tidegate.toml:"));
    assert!(is_said, "{failure:?}");
}
