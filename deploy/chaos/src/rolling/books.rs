//! Which push stands where in which room, by whoever says so first: producers and clients are held to one truth.

use std::collections::HashSet;

use parking_lot::Mutex;

use crate::payload::{Label, PushId, Reading};
use crate::wire::Place;
use crate::world::room;

/// A room as it is told of.
#[derive(Debug, Default)]
struct Room {
    epoch: Option<String>,
    /// Behind each offset less one: the number of the push there, plus one; 0: nobody has spoken of it.
    pushes: Vec<u64>,
}

/// All rooms.
#[derive(Debug)]
pub(super) struct Books {
    run: u64,
    rooms: Vec<Mutex<Room>>,
}

impl Books {
    /// Of so many rooms, and nobody has said anything.
    pub(super) fn new(run: u64, rooms: u32) -> Self {
        Self { run, rooms: (0..rooms).map(|_| Mutex::default()).collect() }
    }

    /// What is pushed as number `push` to a room.
    pub(super) fn payload(&self, number: u32, push: u64) -> String {
        Label { run: self.run, to: room(number), push: PushId(0, push) }.write()
    }

    /// The number of the push that a payload of a room is, if it is one.
    pub(super) fn read(&self, number: u32, text: &str) -> Option<u64> {
        match Label::read(text) {
            Reading::Whole(label) if label.run == self.run && label.to == room(number) => Some(label.push.1),
            _ => None,
        }
    }

    /// A push is said to stand at a place; false: another does, or in another life of the room.
    pub(super) fn stands(&self, number: u32, at: &Place, push: u64) -> bool {
        let mut room = self.rooms[number as usize].lock();
        if *room.epoch.get_or_insert_with(|| at.epoch.clone()) != at.epoch || at.offset == 0 {
            return false;
        }
        let Ok(index) = usize::try_from(at.offset - 1) else { return false };
        if room.pushes.len() <= index {
            room.pushes.resize(index + 1, 0);
        }
        let there = &mut room.pushes[index];
        if *there == 0 {
            *there = push + 1;
        }
        *there == push + 1
    }

    /// How many pushes stand at more than one place.
    pub(super) fn twice(&self) -> u64 {
        let mut seen = HashSet::new();
        let again = |push: &&u64| **push != 0 && !seen.insert(**push);
        let all: Vec<u64> = self.rooms.iter().flat_map(|room| room.lock().pushes.clone()).collect();
        all.iter().filter(again).count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_push_at_one_place() {
        let books = Books::new(7, 2);
        let at = |offset| Place { epoch: "e".into(), offset };
        assert!(books.stands(0, &at(1), 5) && books.stands(0, &at(1), 5));
        assert!(!books.stands(0, &at(1), 6), "somebody stands there");
        assert!(!books.stands(0, &Place { epoch: "f".into(), offset: 2 }, 6), "another life");
        assert_eq!(books.twice(), 0);
        assert!(books.stands(1, &at(3), 5));
        assert_eq!(books.twice(), 1);
    }

    #[test]
    fn a_payload_is_known_for_what_it_is() {
        let books = Books::new(7, 2);
        let text = books.payload(1, 12);
        assert_eq!(books.read(1, &text), Some(12));
        assert_eq!((books.read(0, &text), Books::new(8, 2).read(1, &text)), (None, None));
        assert_eq!(books.read(1, &text.replace("12", "13")), None);
    }
}
