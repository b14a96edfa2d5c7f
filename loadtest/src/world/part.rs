//! The clients of one agent: those whose number is the agent's, modulo the number of agents.

use super::{Target, World};

/// A part of the clients, and which rooms have any of them.
#[derive(Debug)]
pub(crate) struct Part {
    agent: u32,
    agents: u32,
    rooms: Vec<bool>,
}

impl Part {
    pub(crate) fn new(world: &World, agent: u32, agents: u32) -> Self {
        let mut rooms = vec![false; world.rooms as usize];
        for client in (agent..world.clients).step_by(agents as usize) {
            world.rooms_of(client).for_each(|room| rooms[room as usize] = true);
        }
        Self { agent, agents, rooms }
    }

    fn has(&self, client: u32) -> bool {
        client % self.agents == self.agent
    }

    /// Whether a target concerns any of them.
    pub(crate) fn concerns(&self, world: &World, target: Target) -> bool {
        match target {
            Target::All => true,
            Target::Room(room) => self.rooms[room as usize],
            Target::Set(set) => world.rooms_in(set).any(|room| self.rooms[room as usize]),
            Target::User(user) => {
                let first = user * world.clients_per_user;
                (first..world.clients.min(first + world.clients_per_user)).any(|client| self.has(client))
            }
            Target::Client(client) => self.has(client),
        }
    }

    /// Of an agent's gateways every so-manieth is one: with as many gateways as agents it has one only.
    pub(crate) fn gateway_step(world: &World, agents: u32) -> u32 {
        let (mut a, mut b) = (world.gateways, agents);
        while b > 0 {
            (a, b) = (b, a % b);
        }
        a
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::tests::small;

    #[test]
    fn gateways_of_an_agent_are_as_far_apart_as_both_numbers_allow() {
        for (gateways, agents, step) in [(52, 52, 52), (2, 1, 1), (6, 4, 2), (3, 2, 1), (1, 5, 1)] {
            let world = World { gateways, clients: 1_000, ..small() };
            assert_eq!(Part::gateway_step(&world, agents), step);
            for agent in 0..agents {
                let mut mine = (agent..world.clients).step_by(agents as usize);
                let first = agent % step;
                assert!(mine.all(|client| world.gateway(client) % step == first));
            }
        }
    }
}
