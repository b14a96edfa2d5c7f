//! `tidegate man`: pages for man(1), one for the program and one for each command. What makes the Debian package asks for
//! them; people have `--help`.

use std::path::PathBuf;

use clap::CommandFactory;

use super::Cli;
use crate::failure::Failure;

/// Flags of `man`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Directory to write them to
    dir: PathBuf,
}

impl Args {
    /// Writes the pages.
    ///
    /// # Errors
    /// A directory that cannot be written to.
    pub(crate) fn run(&self) -> Result<(), Failure> {
        std::fs::create_dir_all(&self.dir)
            .and_then(|()| clap_mangen::generate_to(Cli::command(), &self.dir))
            .map_err(|error| Failure::failed(format!("{}: {error}", self.dir.display())))
    }
}
