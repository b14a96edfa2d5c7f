//! When clients could not receive: away from their gateway, or out of one of their rooms.

use std::collections::HashMap;
use std::ops::Range;

/// Times without a connection, or outside a room, of the clients of one loop.
#[derive(Debug, Default)]
pub(crate) struct Absences {
    /// From the loss of a connection to the hello of the next, and whether the client itself closed it.
    away: HashMap<u32, Vec<(Range<u64>, bool)>>,
    /// By client and column, from the wish to leave to the reply to the join.
    out: HashMap<(u32, u32), Vec<Range<u64>>>,
    /// Clients that are out of a room now: the column, and since when that is confirmed.
    leavers: HashMap<u32, (u32, u64)>,
}

/// When an item may have been on its way to a client, µs, and how long an absence counts after its end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) settle: u64,
}

impl Span {
    fn meets(self, absence: &Range<u64>) -> bool {
        self.from <= absence.end.saturating_add(self.settle) && absence.start <= self.to
    }
}

impl Absences {
    pub(super) fn went(&mut self, client: u32, now: u64, by_itself: bool) {
        self.away.entry(client).or_default().push((now..u64::MAX, by_itself));
    }

    /// A client was greeted again: it is in all its rooms.
    pub(super) fn came(&mut self, client: u32, now: u64) {
        if let Some((last, _)) = self.away.get_mut(&client).and_then(|away| away.last_mut()) {
            last.end = last.end.min(now);
        }
        self.joined(client, now);
    }

    /// A client asks to leave its room of a column.
    pub(super) fn leaves(&mut self, client: u32, column: u32, now: u64) {
        self.out.entry((client, column)).or_default().push(now..u64::MAX);
        self.leavers.insert(client, (column, u64::MAX));
    }

    /// It has left.
    pub(super) fn left(&mut self, client: u32, now: u64) {
        if let Some((_, confirmed)) = self.leavers.get_mut(&client) {
            *confirmed = now;
        }
    }

    /// It is in all its rooms again.
    pub(super) fn joined(&mut self, client: u32, now: u64) {
        let Some((column, _)) = self.leavers.remove(&client) else { return };
        if let Some(last) = self.out.get_mut(&(client, column)).and_then(|out| out.last_mut()) {
            last.end = last.end.min(now);
        }
    }

    /// Whether a client is out of a room now, or on its way.
    pub(super) fn is_leaver(&self, client: u32) -> bool {
        !self.leavers.is_empty() && self.leavers.contains_key(&client)
    }

    /// Whether a client had left a column's room for sure before an item of it was to be sent.
    pub(super) fn had_left(&self, client: u32, column: u32, intended: u64) -> bool {
        self.leavers.get(&client).is_some_and(|&(left, since)| left == column && since < intended)
    }

    /// Whether a client was away in a time; `any`: whoever ended the connection, else only if the client did.
    pub(crate) fn was_away(&self, client: u32, any: bool, span: Span) -> bool {
        let away = self.away.get(&client).map_or(&[][..], Vec::as_slice);
        away.iter().any(|(absence, by_itself)| (any || *by_itself) && span.meets(absence))
    }

    /// Whether a client was out of its room of a column in a time.
    pub(crate) fn was_out(&self, client: u32, column: u32, span: Span) -> bool {
        let out = self.out.get(&(client, column)).map_or(&[][..], Vec::as_slice);
        out.iter().any(|absence| span.meets(absence))
    }
}
