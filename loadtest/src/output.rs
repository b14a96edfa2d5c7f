//! Where reports go: text to people, and files that are whole or not there.
//!
//! Whether a file can be written is found before a run, which may take an hour. A report is written beside
//! its place and moved there, so that nobody reads half of one; devices and pipes are written as they are.

use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use crate::args::{JsonOutput, Output};

/// The places of a report, open.
#[derive(Debug)]
pub(crate) struct Files {
    json: Place,
    html: Place,
}

/// Where one form of a report goes.
#[derive(Debug)]
enum Place {
    Nowhere,
    Stdout,
    /// A device or a pipe.
    Device(File, String),
    File(Part),
}

/// A file that is not yet at its place. Dropped, it is gone.
#[derive(Debug)]
struct Part {
    file: File,
    part: PathBuf,
    place: PathBuf,
}

impl Files {
    /// Finds out whether a report can be written where it is to go.
    pub(crate) fn open(output: &Output) -> Result<Self, String> {
        if output.html.as_deref() == Some("-") {
            return Err("--html is a file: --html report.html".into());
        }
        Ok(Self { html: Place::open(output.html.as_deref())?, ..Self::open_json(&output.json)? })
    }

    /// The same where there is JSON only.
    pub(crate) fn open_json(output: &JsonOutput) -> Result<Self, String> {
        Ok(Self { json: Place::open(output.json.as_deref())?, html: Place::Nowhere })
    }

    /// Gives the text to people, and the rest to where it goes. The text comes first and whatever happens to files;
    /// one file that fails keeps nothing from the other.
    pub(crate) fn give(
        self,
        text: &dyn Display,
        json: &str,
        html: impl FnOnce() -> String,
    ) -> Result<(), String> {
        // Nobody reads it: the files may still be wanted.
        _ = match self.json {
            Place::Stdout => writeln!(io::stderr(), "{}", painted(text, io::stderr().is_terminal())),
            _ => writeln!(io::stdout(), "{}", painted(text, io::stdout().is_terminal())),
        };
        let html = match self.html {
            Place::Nowhere => Ok(()),
            place => place.write(&html()),
        };
        let json = self.json.write(&format!("{json}\n"));
        let failed: Vec<String> = [json, html].into_iter().filter_map(Result::err).collect();
        if failed.is_empty() { Ok(()) } else { Err(failed.join("; ")) }
    }
}

/// Says something to whoever reads the output of this program.
pub(crate) fn tell(text: &dyn Display) {
    // Nobody reads it any more, as with `| head`.
    _ = writeln!(io::stdout(), "{}", painted(text, io::stdout().is_terminal()));
}

impl Place {
    fn open(path: Option<&str>) -> Result<Self, String> {
        match path {
            None => Ok(Self::Nowhere),
            Some("-") => Ok(Self::Stdout),
            Some(path) => Self::at(path).map_err(|error| broken(path, &error)),
        }
    }

    fn at(path: &str) -> io::Result<Self> {
        let place = match std::fs::metadata(path) {
            Ok(there) if there.is_dir() => return Err(io::ErrorKind::IsADirectory.into()),
            Ok(there) if there.is_file() => {
                // It would be replaced whatever its permissions are; who took them away meant something by it.
                OpenOptions::new().write(true).open(path)?;
                // What a link leads to is replaced, not the link.
                std::fs::canonicalize(path)?
            }
            Ok(_) => return Ok(Self::Device(OpenOptions::new().write(true).open(path)?, path.to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => PathBuf::from(path),
            Err(error) => return Err(error),
        };
        let name = place.file_name().ok_or(io::ErrorKind::InvalidFilename)?.to_string_lossy().into_owned();
        let part = place.with_file_name(format!(".{name}.{}.part", std::process::id()));
        let file = OpenOptions::new().write(true).create_new(true).open(&part)?;
        Ok(Self::File(Part { file, part, place }))
    }

    fn write(self, text: &str) -> Result<(), String> {
        match self {
            Self::Nowhere => Ok(()),
            Self::Stdout => {
                let mut out = io::stdout().lock();
                let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
                written.map_err(|error| broken("standard output", &error))
            }
            Self::Device(mut file, path) => {
                file.write_all(text.as_bytes()).map_err(|error| broken(&path, &error))
            }
            Self::File(mut part) => {
                let written = part.file.write_all(text.as_bytes()).and_then(|()| part.file.sync_all());
                let moved = written.and_then(|()| std::fs::rename(&part.part, &part.place));
                moved.map_err(|error| broken(&part.place.display().to_string(), &error))
            }
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // After a move it is not there any more.
        _ = std::fs::remove_file(Path::new(&self.part));
    }
}

fn broken(path: &str, error: &io::Error) -> String {
    format!("cannot write the report to {path}: {error}")
}

/// Whether a stream takes colours: a terminal that is not a dumb one, and nobody who does not want them
/// (<https://no-color.org>).
fn takes_colour(is_terminal: bool) -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    is_terminal && !is_set("NO_COLOR") && std::env::var_os("TERM").is_some_and(|term| term != "dumb")
}

/// A text with the lines that say how it went in colour.
fn painted(text: &dyn Display, is_terminal: bool) -> String {
    let text = text.to_string();
    if !takes_colour(is_terminal) {
        return text;
    }
    let colours = [
        ("PASS", "1;32"),
        ("SAME", "1;32"),
        ("FAIL", "1;31"),
        ("WORSE", "1;31"),
        ("INVALID", "1;33"),
        ("BOTTLENECK", "1;33"),
        ("threshold MISSED", "1;31"),
    ];
    let paint = |line: &str| match colours.iter().find(|(word, _)| line.starts_with(word)) {
        Some((_, colour)) => format!("\x1b[{colour}m{line}\x1b[0m"),
        None => line.to_owned(),
    };
    text.lines().map(paint).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_at_its_place_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.json");
        let open = || Place::open(path.to_str()).unwrap();
        let files = || std::fs::read_dir(folder.path()).unwrap().count();
        drop(open());
        assert_eq!(files(), 0, "a run that never ended leaves nothing");
        let place = open();
        assert!(!path.exists() && files() == 1);
        place.write("first").unwrap();
        open().write("second").unwrap();
        assert_eq!((std::fs::read_to_string(&path).unwrap().as_str(), files()), ("second", 1));
    }

    #[test]
    fn what_cannot_be_written_is_found_before_the_run() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().to_str().unwrap();
        for path in [folder, "/no/such/folder/report.json", "/proc/report.json", ".."] {
            let said = Place::open(Some(path)).unwrap_err();
            assert!(said.contains(path), "{said}");
        }
        let full = Place::open(Some("/dev/full")).unwrap();
        assert!(full.write("x").unwrap_err().contains("No space left"));
    }
}
