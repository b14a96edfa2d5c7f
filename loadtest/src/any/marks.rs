//! Which client has which item: a bit each, so that lost, doubled and disordered ones are counted and not guessed.

/// What an item was to its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// The first time, after all that came before it.
    New,
    /// The first time, but a later one was here before.
    Late,
    /// Not for the first time.
    Again,
    /// There is no such item.
    Unknown,
}

/// The marks of some clients. Memory usage: 10,000 clients × (30 items / 64, rounded up × 8 B + 4 B) = 120 KB.
#[derive(Debug)]
pub(super) struct Marks {
    items: u32,
    words: usize,
    bits: Vec<u64>,
    /// One more than the latest item of each client.
    next: Vec<u32>,
}

impl Marks {
    pub(super) fn new(clients: usize, items: u32) -> Self {
        let words = items.div_ceil(64) as usize;
        Self { items, words, bits: vec![0; clients * words], next: vec![0; clients] }
    }

    pub(super) fn note(&mut self, client: usize, item: u32) -> Mark {
        if item >= self.items {
            return Mark::Unknown;
        }
        let word = &mut self.bits[client * self.words + item as usize / 64];
        let bit = 1 << (item % 64);
        if *word & bit != 0 {
            return Mark::Again;
        }
        *word |= bit;
        let next = &mut self.next[client];
        if item < *next {
            return Mark::Late;
        }
        *next = item + 1;
        Mark::New
    }

    /// How many clients lack each of the items.
    pub(super) fn missing(&self) -> Vec<u32> {
        let lacks = |item: u32| {
            let (word, bit) = (item as usize / 64, 1_u64 << (item % 64));
            self.bits.chunks(self.words).filter(|words| words[word] & bit == 0).count() as u32
        };
        (0..self.items).map(lacks).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_item_is_new_late_or_again() {
        let mut marks = Marks::new(2, 70);
        let seen: Vec<_> = [0, 2, 1, 1, 69, 69, 70].iter().map(|item| marks.note(1, *item)).collect();
        use Mark::{Again, Late, New, Unknown};
        assert_eq!(seen, [New, New, Late, Again, New, Again, Unknown]);
        let missing = marks.missing();
        assert_eq!((missing[0], missing[1], missing[3], missing[69]), (1, 1, 2, 1));
        assert_eq!(missing.iter().sum::<u32>(), 140 - 4);
    }
}
