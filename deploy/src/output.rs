//! What people and scripts read: results on standard output, remarks on standard error, a line at a time.

use std::io::{self, Write};

use crate::failure::Failure;

/// Prints a result.
///
/// # Errors
/// [`Failure::Unread`] when the reader has gone (`tidegate tail | head`).
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(format!("{text}\n").as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::Unread),
        Err(error) => Err(Failure::failed(format!("cannot write to standard output: {error}"))),
    }
}

/// Says something that is not a result. Whoever closed standard error does not want to know.
pub(crate) fn note(text: &str) {
    let _ = io::stderr().lock().write_all(format!("{text}\n").as_bytes());
}
