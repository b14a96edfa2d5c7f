//! Which clients read as they should, which slowly or never, and which offer compression: drawn from the seed
//! by number, so that gateways, rooms and event loops have the same part of them.

use super::{Target, World, mix};

/// How a client reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// At once, whatever comes: what it does not get is lost.
    Prompt,
    /// A few bytes a second.
    Slow,
    /// Never, after its hello.
    Stalled,
}

impl World {
    pub(crate) fn pace(&self, client: u32) -> Pace {
        if self.stalled_share + self.slow_share == 0.0 {
            return Pace::Prompt;
        }
        let drawn = self.drawn(client, 1);
        if drawn < self.stalled_share {
            Pace::Stalled
        } else if drawn < self.stalled_share + self.slow_share {
            Pace::Slow
        } else {
            Pace::Prompt
        }
    }

    pub(crate) fn is_prompt(&self, client: u32) -> bool {
        self.pace(client) == Pace::Prompt
    }

    /// Whether the client offers permessage-deflate.
    pub(crate) fn offers_deflate(&self, client: u32) -> bool {
        self.deflate_share > 0.0 && self.drawn(client, 2) < self.deflate_share
    }

    /// A number from 0 to below 1, another one for each `what`.
    fn drawn(&self, client: u32, what: u64) -> f64 {
        let bits = mix(mix(self.seed ^ what << 32) ^ u64::from(client)) >> 11;
        bits as f64 / (1_u64 << 53) as f64
    }
}

/// How many clients read as they should: all of them, and in each room.
#[derive(Debug)]
pub(crate) struct Sizes {
    all: u32,
    rooms: Vec<u32>,
}

impl Sizes {
    pub(crate) fn of(world: &World) -> Self {
        let (mut all, mut rooms) = (0, vec![0; world.rooms as usize]);
        for client in (0..world.clients).filter(|&client| world.is_prompt(client)) {
            all += 1;
            world.rooms_of(client).for_each(|room| rooms[room as usize] += 1);
        }
        Self { all, rooms }
    }

    /// How many of them a target concerns.
    pub(crate) fn receivers(&self, world: &World, target: Target) -> u64 {
        u64::from(match target {
            Target::All => self.all,
            Target::Room(room) => self.rooms[room as usize],
            Target::Set(set) => world.rooms_in(set).map(|room| self.rooms[room as usize]).sum(),
            Target::User(user) => {
                let first = user * world.clients_per_user;
                let clients = first..world.clients.min(first + world.clients_per_user);
                clients.filter(|&client| world.is_prompt(client)).count() as u32
            }
            Target::Client(client) => u32::from(world.is_prompt(client)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::tests::small;

    #[test]
    fn shares_are_kept_at_every_gateway_and_loop() {
        let mut world = World { clients: 100_000, ..small() };
        assert!((0..world.clients).all(|client| world.is_prompt(client) && !world.offers_deflate(client)));
        (world.stalled_share, world.slow_share, world.deflate_share) = (0.01, 0.05, 0.5);
        for (offset, step) in [(0, 1), (0, 2), (1, 2), (3, 4)] {
            let part = |wanted: &dyn Fn(u32) -> bool| {
                let clients = (offset..world.clients).step_by(step);
                let of = clients.len() as f64;
                clients.filter(|&client| wanted(client)).count() as f64 / of
            };
            let near = |part: f64, share: f64| (part / share - 1.0).abs() < 0.15;
            assert!(near(part(&|client| world.pace(client) == Pace::Stalled), 0.01));
            assert!(near(part(&|client| world.pace(client) == Pace::Slow), 0.05));
            assert!(near(part(&|client| world.offers_deflate(client)), 0.5));
            assert!(near(part(&|client| world.offers_deflate(client) && !world.is_prompt(client)), 0.03));
        }
        world.deflate_share = 1.0;
        assert!((0..world.clients).all(|client| world.offers_deflate(client)));
    }

    #[test]
    fn slow_clients_are_not_waited_for() {
        let mut world = small();
        let count = |sizes: &Sizes, world: &World| sizes.receivers(world, Target::All);
        assert_eq!(count(&Sizes::of(&world), &world), 97);
        world.slow_share = 0.3;
        let sizes = Sizes::of(&world);
        let prompt = (0..97).filter(|&client| world.is_prompt(client)).count() as u64;
        assert!(prompt < 90 && count(&sizes, &world) == prompt);
        let users: u64 = (0..world.users()).map(|user| sizes.receivers(&world, Target::User(user))).sum();
        let clients: u64 = (0..97).map(|client| sizes.receivers(&world, Target::Client(client))).sum();
        assert_eq!((users, clients), (prompt, prompt));
    }
}
