//! Why the program ends without success, and the exit code that says it to a script (sysexits.h for 69, 78).

use std::fmt::Display;
use std::process::ExitCode;

use crate::output;

/// What went wrong, for the person and for the script.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line: clap says it best. Help and version come this way too, with code 0.
    Usage(Box<clap::Error>),
    /// Everything else.
    Said {
        /// The exit code.
        code: u8,
        /// What happened and what to do.
        text: String,
    },
    /// Whoever read our output has gone; nobody is left to tell.
    Unread,
}

impl Failure {
    /// Exit code 1: it was tried and did not work.
    pub(crate) fn failed(text: impl Display) -> Self {
        Self::Said { code: 1, text: text.to_string() }
    }

    /// Exit code 2: asked for in a way that cannot be.
    pub(crate) fn usage(text: impl Display) -> Self {
        Self::Said { code: 2, text: text.to_string() }
    }

    /// Exit code 69: a service that is needed cannot be reached.
    pub(crate) fn unavailable(text: impl Display) -> Self {
        Self::Said { code: 69, text: text.to_string() }
    }

    /// Exit code 78: the configuration has to change first.
    pub(crate) fn config(text: impl Display) -> Self {
        Self::Said { code: 78, text: text.to_string() }
    }

    /// Tells the person, and gives the code for the script.
    pub(crate) fn report(self) -> ExitCode {
        match self {
            Self::Usage(error) => {
                // A terminal that is gone cannot be told.
                let _ = error.print();
                ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
            }
            Self::Said { code, text } => {
                output::note(&format!("tidegate: {text}"));
                ExitCode::from(code)
            }
            Self::Unread => ExitCode::SUCCESS,
        }
    }
}

impl From<clap::Error> for Failure {
    fn from(error: clap::Error) -> Self {
        Self::Usage(Box::new(error))
    }
}
