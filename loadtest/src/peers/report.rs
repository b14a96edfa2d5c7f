//! What a comparison found.

use serde::Serialize;

use super::Discipline;
use crate::any::Measured;
use crate::machine::Machine;

/// What a comparison found.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The command that repeats it.
    pub command: String,
    /// Where this was measured.
    pub machine: Machine,
    /// Clients of each peer.
    pub clients: u32,
    /// Bytes of an item.
    pub size: usize,
    /// Items under *frames*, and from one to the next.
    pub publishes: u32,
    /// Milliseconds between them.
    pub every_ms: u64,
    /// Items a second under *merged*.
    pub item_rate: f64,
    /// For so many seconds.
    pub merged_secs: f64,
    /// What was measured, in the order of the run.
    pub rows: Vec<Row>,
    /// What was not, and why.
    pub absent: Vec<Absent>,
    /// It was interrupted: what is missing was not measured.
    pub interrupted: bool,
    /// What a reader should know beside the numbers.
    pub notes: Vec<String>,
}

/// One peer under one discipline.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// Its folder's name.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// What it says its version is.
    pub version: String,
    /// How items are counted.
    pub discipline: Discipline,
    /// The files that say how it was started and configured.
    pub configuration: Vec<String>,
    /// What it was found to do.
    pub measured: Measured,
    /// CPU time of a bare send, µs: the mean of the floors before and after it. 0: it is not known.
    pub floor_us: f64,
    /// CPU time a delivered message ÷ the floor.
    pub frame_to_floor: f64,
    /// CPU time a delivered item ÷ the floor.
    pub item_to_floor: f64,
}

/// A peer that was not measured.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Absent {
    /// Its folder's name.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// Under which discipline; none: it is not installed.
    pub discipline: Option<Discipline>,
    /// Why not.
    pub why: String,
}

impl Report {
    /// The report as JSON.
    ///
    /// # Panics
    /// Never: it is structs of numbers and text.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("structs of numbers and text are JSON")
    }

    /// Exit code of a program that ran this: 130 interrupted, 1 a peer that is installed could not be measured, 69
    /// nothing was measured, 0 otherwise. What a peer loses is its own and in the table.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        if self.interrupted {
            return 130;
        }
        match (self.rows.is_empty(), self.absent.iter().any(|absent| absent.discipline.is_some())) {
            (_, true) => 1,
            (true, false) => 69,
            (false, false) => 0,
        }
    }
}
