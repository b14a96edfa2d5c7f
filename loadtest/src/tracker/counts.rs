//! How many items fared how, at the clients of one gateway.

use serde::{Deserialize, Serialize};

/// What happened at the clients of one gateway. `expected` = received of it + `lost` + `excused` + `under_way`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Items accepted with 202, times the clients that each should reach.
    pub expected: u64,
    /// Items received for the first time.
    pub received: u64,
    /// Accepted, never received, and nothing excuses it.
    pub lost: u64,
    /// Received again.
    pub duplicated: u64,
    /// Received after a later item of the same stream.
    pub reordered: u64,
    /// Frames and items that are not what was sent, or came under the wrong room or event.
    pub corrupted: u64,
    /// Received by a client that is none of the target's, or although the push was refused.
    pub unexpected: u64,
    /// Items of other publishers, where they are allowed.
    pub foreign: u64,
    /// Missed while the client was away as expected or out of the room, or by a gateway that the 202 named as failed.
    pub excused: u64,
    /// Accepted, and not there yet when the run was interrupted: whether they would have come is not known.
    pub under_way: u64,
    /// Received for the first time, but later than what was asked for. They are part of `received`.
    pub late: u64,
}

impl Counts {
    /// Adds another gateway's counts.
    pub(crate) fn add(&mut self, other: &Self) {
        self.expected += other.expected;
        self.received += other.received;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.corrupted += other.corrupted;
        self.unexpected += other.unexpected;
        self.foreign += other.foreign;
        self.excused += other.excused;
        self.under_way += other.under_way;
        self.late += other.late;
    }
}
