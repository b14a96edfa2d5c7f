//! What of a history a frame is: its offsets, and who is due which part of it.
//!
//! A member that resumed was brought items that are still on their way here: it is passed over by frames that end
//! before its place, and gets the rest of one that contains it, encoded once for all who are at that place.

use std::sync::Arc;

use bytes::Bytes;
use common::ids::Epoch;
use common::link::message::Position;
use parking_lot::Mutex;

use crate::bucket::Local;
use crate::connection::Piece;
use crate::frame;
use crate::history::Due;
use crate::history::resume::owner;
use crate::merger::{Item, Life};

/// The offsets of a frame.
#[derive(Debug)]
pub(super) struct Span {
    life: Life,
    first: u64,
    last: u64,
    /// Kept until the sweep has ended, for those who are due a part.
    items: Vec<(u64, Bytes)>,
    /// The parts that were needed so far, by the offset behind which they begin.
    cuts: Mutex<Vec<(u64, Arc<Piece>)>>,
}

impl Span {
    /// The span of a segment that is about to be written; whatever becomes of its items, it is swept.
    pub(super) fn begin(life: Life, items: &[Option<Item>]) -> Self {
        let offset = |item: &Item| item.kept.as_ref().map(|kept| kept.at.offset);
        let newest = items.iter().flatten().filter_map(offset).max();
        let newest = newest.or(life.reset_at.map(|at| at.offset));
        if let Some(offset) = newest {
            life.track.is_swept(Position { epoch: life.epoch, offset });
        }
        Self { life, first: 0, last: 0, items: Vec::new(), cuts: Mutex::default() }
    }

    /// The reset that goes before, and the span that says who is not due it: who was brought what others have lost.
    pub(super) fn reset(&self) -> Option<(Bytes, Self)> {
        let at = self.life.reset_at?;
        let life = Life { track: self.life.track.clone(), epoch: self.life.epoch, reset_at: None };
        let bytes = frame::reset(owner(&life.track.group), at);
        let span =
            Self { life, first: at.offset, last: at.offset, items: Vec::new(), cuts: Mutex::default() };
        Some((bytes, span))
    }

    /// The frame of these items, at least one.
    pub(super) fn encode(&mut self, offsets: Vec<u64>, bodies: Vec<Bytes>) -> Bytes {
        self.items = offsets.into_iter().zip(bodies).collect();
        self.first = self.items.first().map_or(0, |(first, _)| *first);
        self.last = self.items.last().map_or(0, |(last, _)| *last);
        self.frame(0)
    }

    fn frame(&self, after: u64) -> Bytes {
        let items = self.items.iter().filter(|(offset, _)| *offset > after);
        let items = items.map(|(offset, body)| (*offset, body));
        frame::kept(owner(&self.life.track.group), Epoch(self.life.epoch), items)
    }

    fn due(&self, local: Local) -> Due {
        self.life.track.due(local, self.life.epoch, self.first, self.last)
    }

    /// Whether a member is due anything of the frame.
    pub(super) fn is_due(&self, local: Local) -> bool {
        self.due(local) != Due::Nothing
    }

    /// The part of the frame that a member is due, if it is not due all of it. It counts as the whole: the other items
    /// were brought to it before.
    pub(super) fn cut(&self, local: Local, whole: &Piece) -> Option<Arc<Piece>> {
        let Due::After(after) = self.due(local) else { return None };
        let mut cuts = self.cuts.lock();
        if let Some((_, piece)) = cuts.iter().find(|(of, _)| *of == after) {
            return Some(piece.clone());
        }
        let piece = Arc::new(Piece { bytes: self.frame(after), ..whole.clone() });
        cuts.push((after, piece.clone()));
        Some(piece)
    }
}
