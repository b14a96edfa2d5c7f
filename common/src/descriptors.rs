//! File descriptors: raise the soft limit to the hard one, and say what that allows.

use std::io;

/// Descriptors that a node keeps for itself: listeners, links, epoll, logs, and some room.
pub const RESERVED: u64 = 256;

/// What the process may open after raising.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptors {
    /// The limit that holds now.
    pub limit: u64,
    /// The limit that held before.
    pub before: u64,
}

impl Descriptors {
    /// How many client connections fit beside what a node keeps for itself.
    #[must_use]
    pub fn connections(self) -> usize {
        usize::try_from(self.limit.saturating_sub(RESERVED)).unwrap_or(usize::MAX)
    }
}

/// Raises the soft limit of open files to the hard one (`setrlimit(RLIMIT_NOFILE)`, getrlimit(2)).
///
/// # Errors
/// What the operating system answered; the limit is then as it was.
pub fn raise() -> io::Result<Descriptors> {
    let (before, hard) = rlimit::Resource::NOFILE.get()?;
    if before < hard {
        rlimit::Resource::NOFILE.set(hard, hard)?;
    }
    Ok(Descriptors { limit: hard, before })
}

/// Whether an accept failed because descriptors or kernel memory ran out, so that trying again at once
/// would spin (accept(2): EMFILE, ENFILE, ENOBUFS, ENOMEM).
#[must_use]
pub fn exhausted(error: &io::Error) -> bool {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const ENOMEM: i32 = 12;
    const ENOBUFS: i32 = 105;
    matches!(error.raw_os_error(), Some(EMFILE | ENFILE | ENOMEM | ENOBUFS))
}
