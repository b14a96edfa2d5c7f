//! What a run comes to: figures, what is wrong, and examples of it.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::world::World;

/// What can be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// Acknowledged and not kept, or behind a hole that no reset speaks of, or not come by the end.
    Lost,
    /// Came twice.
    Duplicated,
    /// Came behind what it stands before.
    Reordered,
    /// Came, and was never pushed there.
    Phantom,
    /// Two at one place, or one at two.
    Conflicting,
    /// Is not what was pushed.
    Corrupted,
    /// A good call was refused.
    Refused,
    /// A process ended by itself.
    Crashed,
    /// Clients were not where the histories are in time.
    Late,
    /// The log is not whole.
    Unread,
    /// A promise of the mode was not kept.
    Promise,
}

/// Examples that are kept of each kind.
const EXAMPLES_MAX: u64 = 5;

/// How pushes ended.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Ends {
    pub(crate) ok: u64,
    pub(crate) failed: u64,
    pub(crate) unknown: u64,
}

/// What became of pushes.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Pushes {
    pub(crate) history: Ends,
    pub(crate) plain: Ends,
    /// Acknowledged in an epoch that ended with a reset; only where the store may lose.
    pub(crate) of_ended_epochs: u64,
    /// Older than what the rule keeps at the end.
    pub(crate) trimmed: u64,
}

/// What clients saw.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Seen {
    pub(crate) connects: u64,
    pub(crate) items: u64,
    /// Of rooms without history, and how many of those acknowledged there would be if all had come.
    pub(crate) plain_items: u64,
    pub(crate) plain_expected: u64,
    /// Came again by another connection of the same client, to which a later gateway sent it.
    pub(crate) plain_again: u64,
    /// Joins that went on where the client was.
    pub(crate) resumes: u64,
    pub(crate) resets: u64,
    /// Of these in the epoch in which the client was: nothing had been lost.
    pub(crate) resets_within: u64,
    pub(crate) gaps: u64,
    /// Commands answered with another code than 200: tried again.
    pub(crate) refused_commands: u64,
}

/// The verdict on a run.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Report {
    pub(crate) ok: bool,
    pub(crate) world: World,
    pub(crate) findings: BTreeMap<Kind, u64>,
    pub(crate) examples: Vec<String>,
    pub(crate) pushes: Pushes,
    pub(crate) seen: Seen,
    /// SIGKILLs by role.
    pub(crate) kills: BTreeMap<String, u64>,
    /// Faults by what was done.
    pub(crate) faults: BTreeMap<String, u64>,
    /// How much of the time from the first fault to the last had none.
    pub(crate) quiet_share: f64,
    /// From the end of the last fault, or the last acknowledgement, until every client was where the histories are.
    pub(crate) convergence_ms: u64,
    /// What the mode has to say.
    pub(crate) notes: Vec<String>,
}

impl Report {
    pub(crate) fn new(world: &World) -> Self {
        Self {
            ok: true,
            world: world.clone(),
            findings: BTreeMap::new(),
            examples: Vec::new(),
            pushes: Pushes::default(),
            seen: Seen::default(),
            kills: BTreeMap::new(),
            faults: BTreeMap::new(),
            quiet_share: 1.0,
            convergence_ms: 0,
            notes: Vec::new(),
        }
    }

    /// Something is wrong.
    pub(crate) fn find(&mut self, kind: Kind, example: impl FnOnce() -> String) {
        self.find_many(kind, 1, example);
    }

    /// So many of them.
    pub(crate) fn find_many(&mut self, kind: Kind, count: u64, example: impl FnOnce() -> String) {
        if count == 0 {
            return;
        }
        self.ok = false;
        let found = self.findings.entry(kind).or_default();
        *found += count;
        // Whatever is found first of a kind is most telling.
        let shown =
            self.examples.iter().filter(|shown| shown.starts_with(&format!("{kind:?}: "))).count() as u64;
        if shown < EXAMPLES_MAX {
            self.examples.push(format!("{kind:?}: {}", example()));
        }
    }

    /// How many of a kind.
    pub(crate) fn found(&self, kind: Kind) -> u64 {
        self.findings.get(&kind).copied().unwrap_or(0)
    }
}

/// What every summary says.
const MAIN: [Kind; 6] =
    [Kind::Lost, Kind::Duplicated, Kind::Reordered, Kind::Phantom, Kind::Conflicting, Kind::Corrupted];

impl Report {
    /// The line for a summary of several runs.
    fn summary(&self) -> String {
        let World { mode, engine, logics, gateways, clients, seed, .. } = &self.world;
        let others = self.findings.keys().filter(|kind| !MAIN.contains(kind));
        let counts: Vec<String> = MAIN
            .iter()
            .chain(others)
            .map(|kind| format!("{kind:?} {}", self.found(*kind)).to_lowercase())
            .collect();
        let verdict = if self.ok { "ok    " } else { "FAILED" };
        let kills: u64 = self.kills.values().sum();
        format!(
            "chaos {verdict} {mode} {engine} {logics}×{gateways}×{clients} seed {seed}: {} pushes, {kills} kills, {}, {} resets, converged in {} ms",
            self.pushes.history.ok,
            counts.join(", "),
            self.seen.resets,
            self.convergence_ms
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Pushes { history, plain, of_ended_epochs, trimmed } = self.pushes;
        writeln!(
            to,
            "  histories    {} pushes taken, {} unknown, {} refused; {of_ended_epochs} in epochs that ended, {trimmed} trimmed since",
            history.ok, history.unknown, history.failed
        )?;
        let seen = &self.seen;
        let share = 100.0 * seen.plain_items as f64 / seen.plain_expected.max(1) as f64;
        writeln!(
            to,
            "  plain rooms  {} pushes taken, {} unknown, {} refused; {} items of {} came ({share:.1} %), {} again by another connection",
            plain.ok, plain.unknown, plain.failed, seen.plain_items, seen.plain_expected, seen.plain_again
        )?;
        writeln!(
            to,
            "  faults       {:?}, kills {:?}; quiet {:.0} %",
            self.faults,
            self.kills,
            100.0 * self.quiet_share
        )?;
        writeln!(
            to,
            "  clients      {} connects, {} resumes, {} resets ({} within an epoch), {} gaps, {} commands put off, {} items",
            seen.connects,
            seen.resumes,
            seen.resets,
            seen.resets_within,
            seen.gaps,
            seen.refused_commands,
            seen.items
        )?;
        for line in self.notes.iter().chain(&self.examples) {
            writeln!(to, "  {line}")?;
        }
        write!(to, "{}", self.summary())
    }
}
