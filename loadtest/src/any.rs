//! Any server that pushes over WebSocket, measured from outside: one publish, and every client that should get it.
//!
//! What is special to a server is a [`Dialect`] (how a client connects, subscribes, and knows an item when it
//! sees one) and a [`Publishing`] (how an item gets in). The rest is the same for all: clients on event loops of
//! their own, an open schedule, items that say who they are under a checksum, and an account of each item at
//! each client. If the server's processes run here, the kernel's account of their CPU time and memory is taken too.

mod course;
mod dialect;
mod frames;
mod handshake;
mod marks;
mod pattern;
mod place;
mod publisher;
mod readers;
mod report;
mod usage;

use std::fmt;
use std::time::Duration;

pub use course::measure;
pub use dialect::{Dialect, Publishing, Reply, unescape};
pub use pattern::Pattern;
pub use report::Measured;
pub use usage::{Usage, tree};

/// Most items of one measurement: each is a bit at each client.
const PUBLISHES_MAX: u32 = 100_000;

/// How much is asked of a server. Built from [`Load::default`] by changing fields.
#[derive(Debug, Clone)]
pub struct Load {
    /// Clients; all of them are to get every item.
    pub clients: u32,
    /// Items published.
    pub publishes: u32,
    /// From the intended time of one to that of the next.
    pub every: Duration,
    /// Bytes of an item.
    pub size: usize,
    /// Connects a second, at most; 0: as fast as they succeed.
    pub connect_rate: u32,
    /// How long the server may rest before its memory is read.
    pub rest: Duration,
    /// How long nothing may come before what has not come counts as lost.
    pub drain: Duration,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            clients: 1_000,
            publishes: 30,
            every: Duration::from_millis(500),
            size: 200,
            connect_rate: 2_000,
            rest: Duration::from_secs(3),
            drain: Duration::from_secs(5),
        }
    }
}

impl Load {
    /// Checks the numbers.
    ///
    /// # Errors
    /// The first that makes no sense, or that this process cannot do.
    pub fn check(&self) -> Result<(), Error> {
        let Self { clients, publishes, size, every, .. } = self;
        let limits = common::descriptors::raise()
            .map_err(|error| Error::Usage(format!("cannot read the limit of open files: {error}")))?;
        let most = (limits.connections() as u64).min(u64::from(crate::probe::ports()) / 5 * 4);
        let sizes = crate::payload::BYTES_MIN..=64 * 1024;
        let checks = [
            (
                *clients >= 1 && u64::from(*clients) <= most,
                format!("{clients} clients: 1 to {most}, for the descriptors and ports of this one process"),
            ),
            ((1..=PUBLISHES_MAX).contains(publishes), format!("{publishes} publishes: 1 to {PUBLISHES_MAX}")),
            (sizes.contains(size), format!("{size} bytes an item: {} B to 64 KiB", sizes.start())),
            (*every <= Duration::from_secs(60), "publishes are at most 60 s apart".into()),
        ];
        match checks.into_iter().find(|(good, _)| !good) {
            Some((_, wrong)) => Err(Error::Usage(wrong)),
            None => Ok(()),
        }
    }
}

/// Why there is no measurement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// What was asked makes no sense.
    Usage(String),
    /// The server cannot be reached, or is not what it was said to be.
    Unavailable(String),
    /// It could not be gone on with.
    Broken(String),
    /// Somebody asked for the end.
    Interrupted,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(what) | Self::Unavailable(what) | Self::Broken(what) => f.write_str(what),
            Self::Interrupted => f.write_str("interrupted"),
        }
    }
}

impl std::error::Error for Error {}

impl Error {
    /// Exit code of a program that ends with this.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Unavailable(_) => 69,
            Self::Broken(_) => 1,
            Self::Interrupted => 130,
        }
    }
}
