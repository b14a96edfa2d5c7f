//! One client in one history: what it was told, what came, and what did not.

use crate::check::Epoch;

/// A place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct At {
    pub(super) epoch: Epoch,
    pub(super) offset: u64,
}

/// What an item was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Took {
    /// The one behind the last.
    Next,
    /// A later one: those between are missing.
    BehindHole,
    /// One that had come.
    Again,
    /// An earlier one that had not come.
    Late,
    /// One of another epoch, of which no reset had spoken.
    OtherLife,
}

/// Offsets that came in a row: behind `after`, up to `upto`.
#[derive(Debug, Clone, Copy)]
struct Span {
    epoch: Epoch,
    after: u64,
    upto: u64,
}

/// One client in one history.
#[derive(Debug, Default)]
pub(super) struct Track {
    at: Option<At>,
    spans: Vec<Span>,
    /// What did not come although something later did: epoch, first, last.
    holes: Vec<(Epoch, u64, u64)>,
    /// The first item of all, which may come before the place is told behind which it comes.
    first: Option<At>,
    /// When it last got on.
    moved: u64,
}

impl Track {
    /// Where it is.
    pub(super) fn at(&self) -> Option<At> {
        self.at
    }

    /// When it last got on, or came back.
    pub(super) fn moved(&self) -> u64 {
        self.moved
    }

    /// It is in again.
    pub(super) fn is_in(&mut self, t: u64) {
        self.moved = self.moved.max(t);
    }

    /// It is told where it begins; how much is missing between that and what came before the words.
    pub(super) fn begins(&mut self, at: At, t: u64) -> Option<u64> {
        self.is_in(t);
        if self.at.is_none() {
            self.set(at);
        }
        let first = self.first.take()?;
        (first.epoch == at.epoch && first.offset > at.offset + 1).then(|| first.offset - at.offset - 1)
    }

    /// It is told that its history goes on elsewhere.
    pub(super) fn resets(&mut self, at: At, t: u64) {
        self.is_in(t);
        self.set(at);
    }

    fn set(&mut self, at: At) {
        self.at = Some(at);
        self.spans.push(Span { epoch: at.epoch, after: at.offset, upto: at.offset });
    }

    /// An item comes.
    pub(super) fn takes(&mut self, item: At, t: u64) -> Took {
        self.is_in(t);
        let Some(at) = self.at else {
            self.first = Some(item);
            self.set(At { offset: item.offset.saturating_sub(1), ..item });
            self.goes_on(item);
            return Took::Next;
        };
        let has =
            |span: &Span| span.epoch == item.epoch && span.after < item.offset && item.offset <= span.upto;
        if self.spans.iter().any(has) {
            return Took::Again;
        }
        if at.epoch != item.epoch {
            self.set(At { offset: item.offset.saturating_sub(1), ..item });
            self.goes_on(item);
            return Took::OtherLife;
        }
        if item.offset <= at.offset {
            self.fills(item);
            return Took::Late;
        }
        if item.offset == at.offset + 1 {
            self.goes_on(item);
            return Took::Next;
        }
        self.holes.push((at.epoch, at.offset + 1, item.offset - 1));
        self.set(At { offset: item.offset - 1, ..item });
        self.goes_on(item);
        Took::BehindHole
    }

    fn goes_on(&mut self, item: At) {
        self.at = Some(item);
        if let Some(span) = self.spans.last_mut() {
            span.upto = item.offset;
        }
    }

    /// One that had been missing came after all.
    fn fills(&mut self, item: At) {
        let offset = item.offset;
        let is_in = |hole: &(Epoch, u64, u64)| hole.0 == item.epoch && hole.1 <= offset && offset <= hole.2;
        if let Some(number) = self.holes.iter().position(is_in) {
            let (epoch, first, last) = self.holes.swap_remove(number);
            let rest = [(epoch, first, offset.saturating_sub(1)), (epoch, offset + 1, last)];
            self.holes.extend(rest.into_iter().filter(|(_, first, last)| first <= last));
        }
        // Before the others: the last one stays the one that grows.
        self.spans.insert(0, Span { epoch: item.epoch, after: offset.saturating_sub(1), upto: offset });
    }

    /// Epoch, first offset and length of each hole.
    pub(super) fn missing(&self) -> impl Iterator<Item = (Epoch, u64, u64)> {
        self.holes.iter().map(|(epoch, first, last)| (*epoch, *first, last - first + 1))
    }
}
