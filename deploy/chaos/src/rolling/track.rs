//! One client in one room, in few bytes: how far it is, and what did not come although something later did.

use crate::wire::Place;

/// What an item was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Took {
    /// The one behind the last, or a later one: what is between is missing until it comes.
    Next,
    /// One that had come.
    Again,
    /// An earlier one that had not come.
    Late,
    /// One of another epoch, of which no reset had spoken.
    OtherLife,
}

/// One client in one room.
#[derive(Debug, Default)]
pub(super) struct Track {
    at: Option<Place>,
    /// First and last of what is missing.
    holes: Vec<(u64, u64)>,
}

impl Track {
    /// Where it is.
    pub(super) fn at(&self) -> Option<&Place> {
        self.at.as_ref()
    }

    /// It is told where it begins; of one who knows that already nothing changes.
    pub(super) fn begins(&mut self, at: Place) {
        self.at.get_or_insert(at);
    }

    /// It is told that the room's history goes on elsewhere.
    pub(super) fn resets(&mut self, at: Place) {
        self.at = Some(at);
    }

    /// An item comes.
    pub(super) fn takes(&mut self, epoch: &str, offset: u64) -> Took {
        let Some(at) = self.at.as_mut().filter(|at| at.epoch == epoch) else {
            let took = if self.at.is_none() { Took::Next } else { Took::OtherLife };
            self.at = Some(Place { epoch: epoch.to_owned(), offset });
            return took;
        };
        if offset > at.offset {
            if offset > at.offset + 1 {
                self.holes.push((at.offset + 1, offset - 1));
            }
            at.offset = offset;
            return Took::Next;
        }
        let Some(number) = self.holes.iter().position(|(first, last)| (*first..=*last).contains(&offset))
        else {
            return Took::Again;
        };
        let (first, last) = self.holes.swap_remove(number);
        let rest = [(first, offset - 1), (offset + 1, last)];
        self.holes.extend(rest.into_iter().filter(|(first, last)| first <= last));
        Took::Late
    }

    /// How many items are missing, if the room ends at `head`.
    pub(super) fn missing(&self, head: &Place) -> u64 {
        let holes: u64 = self.holes.iter().map(|(first, last)| last - first + 1).sum();
        let behind = match &self.at {
            Some(at) if at.epoch == head.epoch => head.offset.abs_diff(at.offset),
            _ => head.offset.max(1),
        };
        holes + behind
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: u64) -> Place {
        Place { epoch: "e".into(), offset }
    }

    #[test]
    fn what_is_missing_doubled_or_late_is_told_apart() {
        let mut track = Track::default();
        track.begins(at(3));
        track.begins(at(9));
        assert_eq!(track.at(), Some(&at(3)), "it knew where it was");
        assert_eq!((track.takes("e", 4), track.takes("e", 4)), (Took::Next, Took::Again));
        assert_eq!((track.takes("e", 3), track.missing(&at(4))), (Took::Again, 0));
        assert_eq!((track.takes("e", 9), track.missing(&at(9))), (Took::Next, 4));
        assert_eq!((track.takes("e", 7), track.missing(&at(9))), (Took::Late, 3));
        assert_eq!((track.takes("e", 7), track.missing(&at(11))), (Took::Again, 5));
    }

    #[test]
    fn another_life_needs_a_reset() {
        let mut track = Track::default();
        track.begins(at(3));
        assert_eq!(track.takes("f", 1), Took::OtherLife);
        let mut told = Track::default();
        told.begins(at(3));
        told.resets(Place { epoch: "f".into(), offset: 0 });
        assert_eq!(told.takes("f", 1), Took::Next);
        assert_eq!(told.missing(&at(3)), 3, "who is in another life has nothing of this one");
    }
}
