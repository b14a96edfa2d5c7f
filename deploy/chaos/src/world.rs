//! Who is where: rooms, users and clients of a run, all of it a function of a few numbers that stand in its log.

use serde::{Deserialize, Serialize};

/// What the store may lose when it is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Keeps {
    /// Nothing that was acknowledged.
    All,
    /// Everything, or what is newer than a snapshot: then a new epoch begins and every client is told so.
    Less,
}

/// The numbers of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct World {
    /// The command.
    pub(crate) mode: String,
    /// Drawn anew each time: what is left of another run is recognised.
    pub(crate) run: u64,
    /// What the schedule and the mix were drawn from.
    pub(crate) seed: u64,
    pub(crate) clients: u32,
    pub(crate) logics: u32,
    pub(crate) gateways: u32,
    /// As it was given.
    pub(crate) engine: String,
    pub(crate) keeps: Keeps,
    /// Clients are where the histories are so soon after the last fault.
    pub(crate) converge_ms: u64,
    /// Of pushes to rooms without history so much is taken, and of those taken so much comes; 0: it is only told.
    pub(crate) plain_share_min: f64,
}

/// Clients that share a room with a history, about.
const CLIENTS_A_ROOM: u32 = 10;

/// Rooms with a history that a client is in.
const ROOMS_A_CLIENT: u32 = 2;

impl World {
    /// Rooms whose history is kept.
    pub(crate) fn rooms(&self) -> u32 {
        (self.clients * ROOMS_A_CLIENT / CLIENTS_A_ROOM).clamp(ROOMS_A_CLIENT, 100)
    }

    /// Rooms that keep none.
    pub(crate) fn plain_rooms(&self) -> u32 {
        (self.clients / CLIENTS_A_ROOM).clamp(1, 20)
    }

    /// Users; each has two devices, and the other clients have no user.
    pub(crate) fn users(&self) -> u32 {
        self.clients / 4
    }

    /// The rooms with a history that a client is in.
    pub(crate) fn rooms_of(&self, client: u32) -> impl Iterator<Item = String> {
        let rooms = self.rooms();
        // Neighbours are in different ones, and so is each client: the step is less than there are rooms.
        (0..ROOMS_A_CLIENT)
            .map(move |step| room((client + step * (1 + client / rooms % (rooms - 1))) % rooms))
    }

    /// The room without history that a client is in.
    pub(crate) fn plain_room_of(&self, client: u32) -> String {
        plain_room(client % self.plain_rooms())
    }

    /// The user that a client is a device of.
    pub(crate) fn user_of(&self, client: u32) -> Option<String> {
        let user = client / 2;
        (user < self.users()).then(|| format!("u{user}"))
    }

    /// The histories that a client follows, by the names that logs use.
    pub(crate) fn histories_of(&self, client: u32) -> Vec<String> {
        let mut names: Vec<String> = self.rooms_of(client).collect();
        names.extend(self.user_of(client).map(|user| format!("@{user}")));
        names
    }

    /// All histories that there are.
    pub(crate) fn histories(&self) -> Vec<String> {
        let users = (0..self.users()).map(|user| format!("@u{user}"));
        (0..self.rooms()).map(room).chain(users).collect()
    }
}

/// The name of a room whose history is kept.
pub(crate) fn room(number: u32) -> String {
    format!("h.{number}")
}

/// The name of one that keeps none.
pub(crate) fn plain_room(number: u32) -> String {
    format!("p.{number}")
}

/// The part of an address of the API that names a history.
pub(crate) fn history_path(name: &str) -> String {
    name.strip_prefix('@')
        .map_or_else(|| format!("/v1/rooms/{name}/history"), |user| format!("/v1/users/{user}/history"))
}

/// Which histories are kept, as a node's file says it.
pub(crate) const RULES: &str = "[[rooms]]\nmatch = \"h.*\"\nhistory = 100000\nttl = \"6h\"\n\n\
                                [[users]]\nmatch = \"*\"\nhistory = 100000\nttl = \"6h\"\n";

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn world(clients: u32) -> World {
        World {
            mode: "run".into(),
            run: 0xfeed,
            seed: 1,
            clients,
            logics: 2,
            gateways: 2,
            engine: "embedded".into(),
            keeps: Keeps::All,
            converge_ms: 10_000,
            plain_share_min: 0.0,
        }
    }

    #[test]
    fn every_room_has_members_and_every_user_two_devices() {
        for clients in [4, 20, 300] {
            let world = world(clients);
            let all: Vec<String> = (0..clients).flat_map(|client| world.histories_of(client)).collect();
            for history in world.histories() {
                let members = all.iter().filter(|name| **name == history).count();
                assert!(members >= 1, "{history} of {clients}");
                assert!(!history.starts_with('@') || members == 2, "{history} of {clients}: {members}");
            }
            let differ = |client| world.rooms_of(client).collect::<std::collections::HashSet<_>>().len() == 2;
            assert!((0..clients).all(differ), "{clients}");
        }
    }
}
