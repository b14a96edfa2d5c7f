//! Who is in which room of a rolling restart: a function of a client's number.

/// Rooms that a client is in.
pub(super) const ROOMS_A_CLIENT: usize = 2;

/// Clients for each room that there is: so each room has twenty members.
const CLIENTS_A_ROOM: u32 = 10;

/// One client in so many does not know the word `reconnect`, and goes when it is told good-bye.
const DEAF_ONE_IN: u32 = 4;

/// The numbers of a run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    /// Drawn anew each time: what is left of another run is recognised.
    pub(super) run: u64,
    pub(super) seed: u64,
    pub(super) clients: u32,
}

impl Plan {
    /// How many rooms there are.
    pub(super) fn rooms(self) -> u32 {
        (self.clients / CLIENTS_A_ROOM).max(ROOMS_A_CLIENT as u32)
    }

    /// The rooms of a client, two different ones: neighbours share none, and nobody shares both.
    pub(super) fn rooms_of(self, client: u32) -> [u32; ROOMS_A_CLIENT] {
        let rooms = self.rooms();
        let (first, step) = (client % rooms, 1 + (client / rooms) % (rooms - 1));
        [first, (first + step) % rooms]
    }

    /// Whether a client goes only when it is told good-bye.
    pub(super) fn is_deaf(self, client: u32) -> bool {
        client % DEAF_ONE_IN == DEAF_ONE_IN - 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_are_of_one_size_and_nobody_is_twice_in_one() {
        for clients in [20, 1_000, 10_000] {
            let plan = Plan { run: 1, seed: 1, clients };
            let mut members = vec![0; plan.rooms() as usize];
            for client in 0..clients {
                let [one, two] = plan.rooms_of(client);
                assert_ne!(one, two, "client {client} of {clients}");
                members[one as usize] += 1;
                members[two as usize] += 1;
            }
            assert!(members.iter().all(|members| *members == 20), "{members:?}");
        }
    }
}
