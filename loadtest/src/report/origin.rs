//! Where a report comes from: what made it, how to make it again, and on what.

use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;

use serde::Serialize;

use crate::machine::Machine;

/// What a reader of a figure must know of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Origin {
    /// Version of this program.
    pub version: String,
    /// Commit that it was built from, or that its checkout is at.
    pub commit: String,
    /// The command that repeats the run.
    pub command: String,
    /// When the run began, RFC 3339.
    pub begun_at: String,
    /// Where.
    pub machine: Machine,
}

impl Origin {
    /// Of this process.
    pub(crate) fn this(begun: SystemTime) -> Self {
        let words = std::env::args().map(|word| quoted(&word)).collect::<Vec<_>>();
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: commit().to_owned(),
            command: words.join(" "),
            begun_at: humantime::format_rfc3339_seconds(begun).to_string(),
            machine: Machine::this(),
        }
    }
}

/// The commit. A program that was packaged was told it (`TIDEGATE_COMMIT` when it was built); else its checkout is
/// asked, if that is still there.
fn commit() -> &'static str {
    static COMMIT: OnceLock<String> = OnceLock::new();
    COMMIT.get_or_init(|| option_env!("TIDEGATE_COMMIT").map_or_else(checked_out, str::to_owned))
}

fn checked_out() -> String {
    let git = |args: &[&str]| {
        let output = Command::new("git").args(["-C", env!("CARGO_MANIFEST_DIR")]).args(args).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else { return "unknown".into() };
    let changed =
        git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|text| !text.is_empty());
    if changed { format!("{commit} with changes that are not committed") } else { commit }
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=,+@%".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_can_be_pasted_into_a_shell() {
        assert_eq!(quoted("--rate=1.5"), "--rate=1.5");
        assert_eq!(quoted("fanout.p99<500ms"), "'fanout.p99<500ms'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
