//! Whom pushes are for: weights of the kinds of target, and the order of those of a kind.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::BadPlan;

/// Weights of the kinds of target among the pushes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mix {
    /// To all clients.
    pub all: u32,
    /// To one room.
    pub room: u32,
    /// To one user.
    pub user: u32,
    /// To one client.
    pub client: u32,
    /// To up to three rooms that share no client.
    pub rooms: u32,
}

impl Default for Mix {
    fn default() -> Self {
        Self { all: 1, room: 60, user: 25, client: 10, rooms: 4 }
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { all, room, user, client, rooms } = self;
        write!(f, "all={all},room={room},user={user},client={client},rooms={rooms}")
    }
}

impl FromStr for Mix {
    type Err = BadPlan;
    fn from_str(text: &str) -> Result<Self, BadPlan> {
        let mut mix = Self { all: 0, room: 0, user: 0, client: 0, rooms: 0 };
        for part in text.split(',') {
            let (name, weight) = part
                .split_once('=')
                .and_then(|(name, weight)| Some((name.trim(), weight.trim().parse::<u32>().ok()?)))
                .ok_or_else(|| BadPlan(format!("mix {part:?}: KIND=WEIGHT is expected, as in room=60")))?;
            match name {
                "all" => mix.all = weight,
                "room" => mix.room = weight,
                "user" => mix.user = weight,
                "client" => mix.client = weight,
                "rooms" => mix.rooms = weight,
                _ => {
                    let known = "known kinds are all, room, user, client, rooms";
                    return Err(BadPlan(format!("mix {name:?}: {known}")));
                }
            }
        }
        if mix.total() == 0 {
            return Err(BadPlan(format!("mix {text:?}: at least one weight is not zero")));
        }
        Ok(mix)
    }
}

impl Mix {
    pub(crate) fn total(&self) -> u64 {
        [self.all, self.room, self.user, self.client, self.rooms]
            .iter()
            .map(|&weight| u64::from(weight))
            .sum()
    }
}

/// How targets of a kind follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Order {
    /// Drawn: each is as likely each time, so some come close together and merge.
    Random,
    /// In turn: each room, user or client gets exactly its share.
    Turn,
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Random => "random",
            Self::Turn => "turn",
        })
    }
}

impl FromStr for Order {
    type Err = BadPlan;
    fn from_str(text: &str) -> Result<Self, BadPlan> {
        match text {
            "random" => Ok(Self::Random),
            "turn" => Ok(Self::Turn),
            _ => Err(BadPlan(format!("order {text:?}: random and turn are known"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mix_is_read_and_nonsense_is_refused() {
        assert_eq!("all=1,room=60,user=25,client=10,rooms=4".parse(), Ok(Mix::default()));
        assert_eq!(Mix::default().to_string().parse(), Ok(Mix::default()));
        for bad in ["", "room", "room=x", "romo=1", "all=0", "room=-1"] {
            assert!(bad.parse::<Mix>().is_err(), "{bad:?}");
        }
    }
}
