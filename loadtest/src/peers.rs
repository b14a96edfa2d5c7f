//! Other servers beside Tidegate: the same clients, the same items, the same account, in the same run.
//!
//! A peer is a folder (`deploy/peers/NAME`) with a `peer.toml` that says how it is started and spoken to, and with
//! the configuration that its own manual recommends. It is started as a child on free loopback ports, measured, and
//! ended. Two disciplines are never mixed: under *frames* one publish is one message to each client; under *merged*
//! items come at a rate, and a server may put several into one message if it can. What is not installed is named.

mod course;
mod keeper;
mod plain;
mod recipe;
mod report;
mod server;
mod table;

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use course::run;
pub use report::{Absent, Report, Row};

use crate::any;

/// How items are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Discipline {
    /// One publish is one message to each client.
    Frames,
    /// Items come at a rate, and may be merged.
    Merged,
}

impl fmt::Display for Discipline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Frames => "F",
            Self::Merged => "M",
        })
    }
}

/// What is measured. Built from [`Plan::default`] by changing fields.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Clients of each peer.
    pub clients: u32,
    /// Items under [`Discipline::Frames`].
    pub publishes: u32,
    /// From one of them to the next.
    pub every: Duration,
    /// Bytes of an item.
    pub size: usize,
    /// Connects a second.
    pub connect_rate: u32,
    /// Items a second under [`Discipline::Merged`].
    pub item_rate: f64,
    /// For how long.
    pub merged_for: Duration,
    /// What is measured.
    pub disciplines: Vec<Discipline>,
    /// Names of folders; empty: all there are.
    pub only: Vec<String>,
    /// Where the folders are; `None`: `deploy/peers` here, or beside the folder in which this program was built.
    pub folder: Option<PathBuf>,
    /// The program `tidegate`; `None`: the one beside this program.
    pub tidegate: Option<PathBuf>,
    /// How long a server rests before its memory is read.
    pub rest: Duration,
}

impl Default for Plan {
    fn default() -> Self {
        let load = any::Load::default();
        Self {
            clients: 10_000,
            publishes: load.publishes,
            every: Duration::from_secs(1),
            size: load.size,
            connect_rate: load.connect_rate,
            item_rate: 5.0,
            merged_for: Duration::from_secs(10),
            disciplines: vec![Discipline::Frames, Discipline::Merged],
            only: Vec::new(),
            folder: None,
            tidegate: None,
            rest: load.rest,
        }
    }
}

impl Plan {
    /// What is asked of each server.
    ///
    /// # Errors
    /// Numbers that make no sense.
    pub fn load(&self, discipline: Discipline) -> Result<any::Load, any::Error> {
        let (publishes, every) = match discipline {
            Discipline::Frames => (self.publishes, self.every),
            Discipline::Merged => {
                if !(self.item_rate > 0.0 && self.item_rate <= 10_000.0) {
                    return Err(any::Error::Usage(format!(
                        "{} items a second: up to 10,000",
                        self.item_rate
                    )));
                }
                let items = self.merged_for.as_secs_f64() * self.item_rate;
                (items.round() as u32, Duration::from_secs_f64(1.0 / self.item_rate))
            }
        };
        let Self { clients, size, connect_rate, rest, .. } = *self;
        let load = any::Load { clients, publishes, every, size, connect_rate, rest, ..any::Load::default() };
        load.check()?;
        Ok(load)
    }
}

/// Does what this process was started for, if it was started by [`run`]: then `main` ends with the code given.
#[must_use]
pub fn role() -> Option<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first()?.as_str() {
        keeper::ROLE => Some(keeper::play(&arguments[1..])),
        plain::ROLE => Some(plain::play(&arguments[1..])),
        _ => None,
    }
}
