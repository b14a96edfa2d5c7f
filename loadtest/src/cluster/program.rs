//! Where the program `tidegate` is, and whether it is ours.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

/// It says its version in this time, or is another program.
const VERSION_TIME_MAX: Duration = Duration::from_secs(10);

const BUILD: &str = "build it with: cargo build --release -p deploy\n\
                     or name one with --tidegate PATH, or a cluster that runs with --target http://HOST:PORT";

/// The program that was asked for, or the one beside this program; of the version of this program.
///
/// # Errors
/// Why it cannot be used, and what to do.
pub(super) async fn find(asked: Option<&Path>) -> Result<PathBuf, String> {
    let program = match asked {
        Some(asked) => asked.to_owned(),
        None => beside().map_err(|error| format!("cannot tell where this program is: {error}"))?,
    };
    if !program.is_file() {
        return Err(format!("there is no program {}: {BUILD}", program.display()));
    }
    let mut version = Command::new(&program);
    version
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let said = tokio::time::timeout(VERSION_TIME_MAX, version.output()).await;
    let said = said.map_err(|_| format!("{} does not say its version within 10 s", program.display()))?;
    let said = said.map_err(|error| format!("cannot start {}: {error}", program.display()))?;
    let said = String::from_utf8_lossy(&said.stdout).trim().to_owned();
    let wanted = concat!("tidegate ", env!("CARGO_PKG_VERSION"));
    if said != wanted {
        let said: String = said.chars().filter(|c| !c.is_control()).take(80).collect();
        return Err(format!(
            "{} says that it is {said:?}, and {wanted:?} is needed: {BUILD}",
            program.display()
        ));
    }
    Ok(program)
}

/// Beside this program, or, for a test in `deps`, beside the programs that it tests.
fn beside() -> std::io::Result<PathBuf> {
    let program = std::env::current_exe()?;
    let folder = program.parent().unwrap_or(Path::new("."));
    let folder = if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder };
    Ok(folder.join(format!("tidegate{}", std::env::consts::EXE_SUFFIX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_that_is_missing_or_another_is_refused_with_what_to_do() {
        for (program, said) in [
            ("/no/such/tidegate", "there is no program /no/such/tidegate"),
            ("/bin/sh", "says that it is"),
            ("/etc/passwd", "cannot start /etc/passwd"),
        ] {
            let error = find(Some(Path::new(program))).await.unwrap_err();
            assert!(error.contains(said), "{error}");
        }
        assert!(beside().unwrap().ends_with("release/tidegate"));
    }
}
