//! The configuration file with every setting, its help and its default: made from the flags, so it cannot be out of date.

use std::fmt::Write;

use clap::{Arg, ArgAction};

use super::changes::Change;
use super::config::{keys, role_command};
use super::layers::ROLES;

/// Comments are cut to lines of so many characters.
const LINE_CHARS: usize = 110;

const HEAD: &str = "\
# Every setting of tidegate, with its default. Printed by: tidegate check-config --example
#
# A file needs only what differs; whatever is left out is as it stands here. A flag (--window 250ms) and a variable
# (TIDEGATE_WINDOW=250ms) count more than the file. `tidegate check-config FILE` says what is wrong with one, and what
# would hold. Durations are written 250ms, 30s, 5m, 1h; sizes 64KiB, 1MiB.
#
# SIGHUP (systemctl reload) reads the file anew. Each setting says whether that suffices for it (reload: SIGHUP) or whether a
# node must start anew (reload: restart). A file with anything wrong in it changes nothing: see the log, or /statusz. A
# limit that is lowered keeps newcomers out; whoever is there already stays.

# Whose items are kept for those who were away: the first rule whose pattern matches a name decides, and without one
# nothing is kept. `*` stands for any part of a name. Reload all logic nodes that share a store.
# reload: SIGHUP
#
#[[rooms]]
#match = \"chat.*\"
#history = 1000
#ttl = \"1h\"
#
#[[users]]
#match = \"*\"
#history = 100
#ttl = \"7d\"
";

/// The whole file.
pub(super) fn file() -> String {
    let mut text = HEAD.to_owned();
    for role in ROLES {
        let command = role_command(role);
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        text.push_str("\n\n");
        comment(&mut text, &format!("{about}."));
        let _ = writeln!(text, "[{role}]");
        for (key, arg) in keys(&command).filter(|(_, arg)| !arg.is_hide_set()) {
            text.push('\n');
            comment(&mut text, &help(arg));
            let _ = writeln!(text, "# {}", Change::of(role, key).words());
            let _ = writeln!(text, "#{key} = {}", value(arg));
        }
    }
    text
}

/// What a setting does, and what it may be where that is not free.
fn help(arg: &Arg) -> String {
    let mut help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let values: Vec<_> = arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
    if !(values.is_empty() || arg.is_hide_possible_values_set()) {
        let _ = write!(help, " [one of: {}]", values.join(", "));
    }
    help
}

/// Writes a text as comment lines.
fn comment(into: &mut String, text: &str) {
    let mut line = String::from("#");
    for word in text.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > LINE_CHARS {
            let _ = writeln!(into, "{line}");
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    let _ = writeln!(into, "{line}");
}

/// What stands behind the key: the default, or the name of what would.
fn value(arg: &Arg) -> String {
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let one = |text: &str| match text.parse::<i64>() {
        Ok(number) => number.to_string(),
        Err(_) if matches!(text, "true" | "false") => text.to_owned(),
        Err(_) => quoted(text),
    };
    let defaults = arg.get_default_values().iter().map(|text| one(&text.to_string_lossy()));
    let defaults: Vec<_> = defaults.collect();
    let name = || arg.get_value_names().and_then(<[_]>::first).map_or_else(String::new, ToString::to_string);
    match (arg.get_action(), &defaults[..]) {
        (ArgAction::Append, []) => format!("[{}]", quoted(&name())),
        (ArgAction::Append, several) => format!("[{}]", several.join(", ")),
        (ArgAction::SetTrue, _) => "false".to_owned(),
        (_, []) => quoted(&name()),
        (_, [first, ..]) => first.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::cli::config::File;

    #[test]
    fn the_file_that_is_kept_is_what_the_program_prints() {
        let kept = include_str!("../../tidegate.example.toml");
        let differs = kept.lines().zip(file().lines().map(str::to_owned)).find(|(kept, made)| kept != made);
        assert!(
            kept == file(),
            "make it anew: tidegate check-config --example > deploy/tidegate.example.toml; {differs:?}"
        );
    }

    #[test]
    fn every_line_of_it_may_stand_in_a_file() {
        let is_setting = |line: &&str| line.starts_with('#') && !line.starts_with("# ") && *line != "#";
        let text = file();
        let settings = text.lines().filter(is_setting).count();
        let all: Vec<_> =
            text.lines().map(|line| if is_setting(&line) { &line[1..] } else { line }).collect();
        File::parse(Path::new("example"), &all.join("\n")).unwrap();
        File::parse(Path::new("example"), &text).unwrap();
        assert!(settings > 80, "{settings} settings");
        let said = text.lines().filter(|line| line.starts_with("# reload: ")).count();
        let of_rules = HEAD.lines().filter(is_setting).count();
        assert_eq!(
            said,
            settings - of_rules + 1,
            "of each it is said how it is changed, and once of the rules"
        );
    }
}
