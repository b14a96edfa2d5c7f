//! The floor: what the kernel alone costs to send one frame to each of many sockets.
//!
//! The same number of loopback connections, the same bytes, one bare `send` each in a loop, and readers that
//! only count. What a gateway uses above this is its own. It is measured in the run whose figures it divides:
//! machines are shared and noisy, and a ratio within one run is what counts.
//!
//! Senders and readers are processes of their own, made of the running program, so that each one's CPU time is
//! the kernel's account of it, and so that more connections than one process may hold are several pairs of
//! processes. A program that calls [`run`] calls [`role`] first of all.

mod child;
mod clock;
mod course;
mod message;
mod plan;
mod receiver;
mod sender;
mod text;

use std::fmt;
use std::process::ExitCode;

use serde::Serialize;

pub use plan::Plan;
pub(crate) use plan::{BYTES_MAX, BYTES_MIN};

use crate::kernel::Kernel;
use crate::machine::Machine;
use crate::plan::BadPlan;
use crate::report::Percentiles;
use message::Role;

/// First argument of a program that is to be a sender or a reader.
const ROLE: &str = "floor-role";

/// What a floor was found to be.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Connections, over all pairs of processes.
    pub connections: u32,
    /// Bytes of a frame, header included.
    pub bytes: usize,
    /// Rounds: in each one every connection gets one frame.
    pub rounds: u32,
    /// From the beginning of a round to the next; 0: at once.
    pub every_ms: u64,
    /// Pairs of a sending and a reading process.
    pub pairs: usize,
    /// Threads of each process.
    pub threads: usize,
    /// Frames sent.
    pub sends: u64,
    /// CPU time a frame of the sending processes, µs. The kernel's way through loopback is part of it.
    pub send_cpu_us: f64,
    /// CPU time a frame of the reading processes, µs.
    pub receive_cpu_us: f64,
    /// Frames a second, from the first send to the last byte read of each round: both ends share the machine.
    pub sends_per_second: f64,
    /// Connections made and accepted a second.
    pub connects_per_second: f64,
    /// CPU time a connection of the accepting processes (those that send), µs.
    pub accept_cpu_us: f64,
    /// CPU time a connection of the connecting processes (those that read), µs.
    pub connect_cpu_us: f64,
    /// First to last send of a round.
    pub round_send_ms: Percentiles,
    /// First send to last byte read of a round: the floor of a broadcast's latency.
    pub round_ms: Percentiles,
    /// Sends that found a full socket: its reader was too slow.
    pub blocked: u64,
    /// Frames that never arrived whole.
    pub missing: u64,
    /// Where this was measured.
    pub machine: Machine,
    /// What the kernel dropped meanwhile.
    pub kernel: Kernel,
    /// Why this is no result; empty: it is one.
    pub invalid: Vec<String>,
}

impl Report {
    /// Whether the figures may be quoted.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        self.invalid.is_empty()
    }

    /// Exit code of a program that ran this: 0 valid, 1 not.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        u8::from(!self.is_valid())
    }

    /// The report as JSON.
    ///
    /// # Panics
    /// Never: it is structs of numbers and text.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("structs of numbers and text are JSON")
    }
}

/// Why there is no floor.
#[derive(Debug)]
pub enum Error {
    /// The plan makes no sense.
    Plan(BadPlan),
    /// A process could not be started, or did not do its part.
    Broken(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plan(bad) => bad.fmt(f),
            Self::Broken(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Error {}

impl Error {
    /// Exit code of a program that ends with this.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Plan(_) => 2,
            Self::Broken(_) => 1,
        }
    }
}

/// Does what this process was started for, if it was started by [`run`]: then `main` ends with the code given.
/// To be called first in `main`, before arguments are read and before any thread is started.
#[must_use]
pub fn role() -> Option<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next()? != ROLE {
        return None;
    }
    let played = match arguments.next().and_then(|role| serde_json::from_str(&role).ok()) {
        Some(Role::Sender(share)) => sender::play(&share),
        Some(Role::Receiver(share)) => receiver::play(&share),
        None => Err("a role that cannot be read".into()),
    };
    let Err(why) = played else { return Some(ExitCode::SUCCESS) };
    // The other end may be gone: then nobody wants to know.
    _ = child::say(&message::Said::Failed(why));
    Some(ExitCode::FAILURE)
}

/// Measures a floor. Takes the time of its rounds and blocks the thread it is called on.
///
/// # Errors
/// [`Error`] when it could not be measured; what makes a measurement worthless is in the report.
pub fn run(plan: &Plan) -> Result<Report, Error> {
    course::run(plan)
}
