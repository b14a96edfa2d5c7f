//! Who is in which room, who is which user, and who gets what: all computed from numbers, nothing stored a
//! client.
//!
//! Rooms stand in columns, one column for each room of a client; a client is in one room of each column. So
//! rooms of one column share no client, and a push to several rooms of a column concerns each client once.
//!
//! A *stream* is one target through one logic node, urgent or not: what is sequential, and so has an order.
//! A *slot* is the place of a stream among those that concern one client.

mod pace;
mod part;
mod zipf;

pub(crate) use pace::{Pace, Sizes};
pub(crate) use part::Part;

use serde::{Deserialize, Serialize};

/// Rooms in one push to several rooms, at most.
const SET_ROOMS: u32 = 3;

/// Clients that are targets themselves, at most: their ids are kept.
const CLIENT_TARGETS_MAX: u32 = 4_096;

/// Whom a push is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Target {
    /// All clients.
    All,
    /// The members of a room.
    Room(u32),
    /// The members of the rooms of a set.
    Set(u32),
    /// The clients of a user.
    User(u32),
    /// One client.
    Client(u32),
}

/// One target through one logic node, urgent or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stream {
    pub(crate) target: Target,
    pub(crate) logic: u32,
    pub(crate) urgent: bool,
}

/// The numbers that everything follows from.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct World {
    pub(crate) clients: u32,
    pub(crate) clients_per_user: u32,
    pub(crate) rooms: u32,
    pub(crate) rooms_per_client: u32,
    pub(crate) gateways: u32,
    pub(crate) logics: u32,
    pub(crate) seed: u64,
    /// How sizes of rooms differ: the exponent of Zipf's law; 0: they do not.
    #[serde(with = "crate::exact")]
    pub(crate) zipf: f64,
    /// What every name of a room and a user begins with.
    pub(crate) prefix: String,
    /// Parts of the clients, 0 to 1.
    #[serde(with = "crate::exact")]
    pub(crate) stalled_share: f64,
    #[serde(with = "crate::exact")]
    pub(crate) slow_share: f64,
    #[serde(with = "crate::exact")]
    pub(crate) deflate_share: f64,
}

impl World {
    pub(crate) fn of(plan: &crate::Plan) -> Self {
        Self {
            clients: plan.clients,
            clients_per_user: plan.clients_per_user,
            rooms: plan.rooms,
            rooms_per_client: plan.rooms_per_client,
            gateways: u32::try_from(plan.gateways.len()).expect("fewer gateways than four billion"),
            logics: u32::try_from(plan.logics.len().max(1)).expect("fewer logic nodes than four billion"),
            seed: plan.seed,
            zipf: plan.zipf,
            prefix: plan.prefix.clone(),
            stalled_share: plan.stalled_share,
            slow_share: plan.slow_share,
            deflate_share: plan.deflate_share,
        }
    }

    /// Which gateway a client connects to.
    pub(crate) fn gateway(&self, client: u32) -> u32 {
        client % self.gateways
    }

    pub(crate) fn user(&self, client: u32) -> u32 {
        client / self.clients_per_user
    }

    pub(crate) fn users(&self) -> u32 {
        self.clients.div_ceil(self.clients_per_user)
    }

    /// The client's room in a column.
    pub(crate) fn room(&self, client: u32, column: u32) -> u32 {
        let height = (self.rooms - column).div_ceil(self.rooms_per_client);
        let drawn = mix(self.seed ^ (u64::from(client) << 8 | u64::from(column)));
        let row = if self.zipf > 0.0 {
            zipf::rank(drawn, height, self.zipf)
        } else {
            (drawn % u64::from(height)) as u32
        };
        row * self.rooms_per_client + column
    }

    /// The column of a room, or of the rooms of a set.
    pub(crate) fn column(&self, target: Target) -> Option<u32> {
        match target {
            Target::Room(number) | Target::Set(number) => Some(number % self.rooms_per_client),
            Target::All | Target::User(_) | Target::Client(_) => None,
        }
    }

    /// All rooms of a client.
    pub(crate) fn rooms_of(&self, client: u32) -> impl Iterator<Item = u32> + '_ {
        (0..self.rooms_per_client).map(move |column| self.room(client, column))
    }

    /// The set that a room stands in.
    pub(crate) fn set_of(&self, room: u32) -> u32 {
        let per = self.rooms_per_client;
        (room / per / SET_ROOMS) * per + room % per
    }

    /// The rooms of a set.
    pub(crate) fn rooms_in(&self, set: u32) -> impl Iterator<Item = u32> + '_ {
        let per = self.rooms_per_client;
        let first = (set / per) * SET_ROOMS;
        let rooms = (first..first + SET_ROOMS).map(move |row| row * per + set % per);
        rooms.filter(|&room| room < self.rooms)
    }

    pub(crate) fn sets(&self) -> u32 {
        let per = self.rooms_per_client.max(1);
        self.rooms.div_ceil(per).div_ceil(SET_ROOMS) * per
    }

    /// Every so-manieth client is a target itself.
    pub(crate) fn client_step(&self) -> u32 {
        self.clients.div_ceil(CLIENT_TARGETS_MAX)
    }

    /// The number of a stream.
    pub(crate) fn number(&self, stream: Stream) -> u32 {
        let (rooms, sets) = (self.rooms, self.sets());
        let target = match stream.target {
            Target::All => 0,
            Target::Room(room) => 1 + room,
            Target::Set(set) => 1 + rooms + set,
            Target::User(user) => 1 + rooms + sets + user,
            Target::Client(client) => 1 + rooms + sets + self.users() + client,
        };
        (target * self.logics + stream.logic) * 2 + u32::from(stream.urgent)
    }

    /// The stream with a number that [`World::number`] gave.
    pub(crate) fn stream(&self, number: u32) -> Stream {
        let (urgent, rest) = (number % 2 == 1, number / 2);
        let (logic, mut index) = (rest % self.logics, rest / self.logics);
        let mut within = |size: u32| {
            let inside = index < size;
            if !inside {
                index -= size;
            }
            inside
        };
        let kind = [1, self.rooms, self.sets(), self.users()].into_iter().position(&mut within);
        let target = match kind {
            Some(0) => Target::All,
            Some(1) => Target::Room(index),
            Some(2) => Target::Set(index),
            Some(_) => Target::User(index),
            None => Target::Client(index),
        };
        Stream { target, logic, urgent }
    }

    /// How many streams concern one client. A slot takes 4 B: with five rooms and two logic nodes
    /// (3 + 2 × 5) × 2 × 2 × 4 B = 208 B a client.
    pub(crate) fn slots(&self) -> u32 {
        (3 + 2 * self.rooms_per_client) * self.logics * 2
    }

    /// The slot of a stream at a client; `None`: it does not concern that client.
    pub(crate) fn slot(&self, client: u32, stream: Stream) -> Option<u32> {
        let per = self.rooms_per_client;
        let (kind, concerned) = match stream.target {
            Target::All => (0, true),
            Target::User(user) => (1, self.user(client) == user),
            Target::Client(one) => (2, client == one),
            Target::Room(room) => (3 + room % per, self.room(client, room % per) == room),
            Target::Set(set) => (3 + per + set % per, self.set_of(self.room(client, set % per)) == set),
        };
        concerned.then(|| (kind * self.logics + stream.logic) * 2 + u32::from(stream.urgent))
    }

    /// The stream at a slot of a client.
    pub(crate) fn stream_at(&self, client: u32, slot: u32) -> Stream {
        let (urgent, rest) = (slot % 2 == 1, slot / 2);
        let (logic, kind) = (rest % self.logics, rest / self.logics);
        let per = self.rooms_per_client;
        let target = match kind {
            0 => Target::All,
            1 => Target::User(self.user(client)),
            2 => Target::Client(client),
            kind if kind < 3 + per => Target::Room(self.room(client, kind - 3)),
            kind => Target::Set(self.set_of(self.room(client, kind - 3 - per))),
        };
        Stream { target, logic, urgent }
    }

    /// The room that an item of a target names when it reaches a client.
    pub(crate) fn named_room(&self, client: u32, target: Target) -> Option<u32> {
        match target {
            Target::Room(room) => Some(room),
            Target::Set(set) => Some(self.room(client, set % self.rooms_per_client)),
            Target::All | Target::User(_) | Target::Client(_) => None,
        }
    }
}

/// Spreads the bits of a number (the finaliser of splitmix64, S. Vigna).
pub(crate) fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn small() -> World {
        World {
            clients: 97,
            clients_per_user: 2,
            rooms: 23,
            rooms_per_client: 3,
            gateways: 2,
            logics: 2,
            seed: 5,
            zipf: 0.0,
            prefix: String::new(),
            stalled_share: 0.0,
            slow_share: 0.0,
            deflate_share: 0.0,
        }
    }

    #[test]
    fn every_slot_of_every_client_names_a_stream_that_finds_its_slot() {
        let world = small();
        for client in 0..world.clients {
            for slot in 0..world.slots() {
                let stream = world.stream_at(client, slot);
                assert_eq!(world.slot(client, stream), Some(slot), "{client} {stream:?}");
                assert_eq!(world.stream(world.number(stream)), stream);
            }
        }
    }

    #[test]
    fn receivers_are_those_who_have_a_slot() {
        let world = small();
        let sizes = Sizes::of(&world);
        let targets = (0..world.rooms)
            .flat_map(|room| [Target::Room(room), Target::Set(world.set_of(room))])
            .chain((0..world.users()).map(Target::User))
            .chain([Target::All, Target::Client(7)]);
        for target in targets {
            let stream = Stream { target, logic: 1, urgent: false };
            let count = (0..world.clients).filter(|&client| world.slot(client, stream).is_some()).count();
            assert_eq!(sizes.receivers(&world, target), count as u64, "{target:?}");
        }
    }

    #[test]
    fn rooms_of_a_set_share_no_client() {
        let world = small();
        for set in (0..world.rooms).map(|room| world.set_of(room)) {
            let rooms: Vec<_> = world.rooms_in(set).collect();
            for client in 0..world.clients {
                assert!(world.rooms_of(client).filter(|room| rooms.contains(room)).count() <= 1);
            }
        }
    }
}
