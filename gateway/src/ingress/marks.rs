//! How far the store of the logic nodes was seen to come: what deliveries say is kept and said again to all of them, so that
//! one who has met a store with less knows what it has lost.

use common::link::message::Mark;
use parking_lot::Mutex;

/// Parts of a store that are remembered: a Redis Cluster has a few; 64 × 24 B = 1.5 KiB.
const SHARDS_MAX: usize = 64;

/// The farthest mark of each part of the store.
#[derive(Debug, Default)]
pub(crate) struct Marks(Mutex<Vec<Mark>>);

impl Marks {
    /// A delivery brings marks. Of two of one term the higher is kept; of two terms the one that came last, for terms
    /// have no order.
    pub(super) fn note(&self, marks: &[Mark]) {
        // Most come without, and take no lock.
        if marks.is_empty() {
            return;
        }
        let mut known = self.0.lock();
        for mark in marks {
            match known.iter().position(|known| known.shard == mark.shard) {
                Some(at) if known[at].term == mark.term => known[at].seq = known[at].seq.max(mark.seq),
                Some(at) => known[at] = *mark,
                None if known.len() < SHARDS_MAX => known.push(*mark),
                None => {}
            }
        }
    }

    pub(super) fn all(&self) -> Vec<Mark> {
        self.0.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_farthest_mark_of_each_shard_is_kept_and_no_more_than_there_are_places() {
        let marks = Marks::default();
        let mark = |shard, term, seq| Mark { shard, term, seq };
        marks.note(&[mark(1, 7, 5), mark(2, 7, 9)]);
        marks.note(&[mark(1, 7, 4), mark(2, 8, 1)]);
        assert_eq!(marks.all(), [mark(1, 7, 5), mark(2, 8, 1)]);
        marks.note(&(0..1_000).map(|shard| mark(shard, 1, 1)).collect::<Vec<_>>());
        assert_eq!(marks.all().len(), SHARDS_MAX);
    }
}
