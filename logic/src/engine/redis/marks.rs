//! How far this node, and the gateways that told it, saw the store come. Pure.

use std::collections::HashMap;

use common::link::message::Mark;

/// Terms of one part that are remembered: one for each restart of Redis that somebody still speaks of.
const TERMS_MAX: usize = 16;

/// What was seen, by part.
#[derive(Debug, Default)]
pub(super) struct Marks(HashMap<u32, Vec<(u64, u64)>>);

impl Marks {
    /// Somebody saw this.
    pub(super) fn saw(&mut self, mark: Mark) {
        let terms = self.0.entry(mark.shard).or_default();
        match terms.iter_mut().find(|(term, _)| *term == mark.term) {
            Some((_, seq)) => *seq = mark.seq.max(*seq),
            None => {
                if terms.len() >= TERMS_MAX {
                    terms.remove(0);
                }
                terms.push((mark.term, mark.seq));
            }
        }
    }

    /// What was seen of a part: terms, and how far each had come.
    pub(super) fn of(&self, shard: u32) -> Vec<(u64, u64)> {
        self.0.get(&shard).cloned().unwrap_or_default()
    }

    /// The store has compared these with what it has: of terms that are over nothing need be said again.
    pub(super) fn settle(&mut self, shard: u32, said: &[(u64, u64)], open: u64) {
        if let Some(terms) = self.0.get_mut(&shard) {
            terms.retain(|seen| seen.0 == open || !said.contains(seen));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_furthest_of_each_term_is_kept_until_it_was_compared() {
        let mut marks = Marks::default();
        let mark = |term, seq| Mark { shard: 3, term, seq };
        for seen in [mark(1, 5), mark(1, 4), mark(2, 9)] {
            marks.saw(seen);
        }
        assert_eq!(marks.of(3), [(1, 5), (2, 9)]);
        marks.saw(mark(1, 6));
        marks.settle(3, &[(1, 5), (2, 9)], 2);
        assert_eq!(marks.of(3), [(1, 6), (2, 9)], "what came since was not compared");
        marks.settle(3, &[(1, 6)], 2);
        assert_eq!(marks.of(3), [(2, 9)]);
        for term in 0..100 {
            marks.saw(mark(term, 1));
        }
        assert_eq!(marks.of(3).len(), TERMS_MAX);
        assert!(marks.of(0).is_empty());
    }
}
