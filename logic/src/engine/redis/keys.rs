//! What keys are called, and in which part of the store the histories of a name are.
//!
//! The keys of a part share a hash tag, so a Cluster keeps them at one node. Elsewhere there is one part.

use common::names::{Kind, order};

use crate::engine::Whose;

/// Parts of a Cluster: enough for it to spread them, few enough to look after each.
pub(super) const CLUSTER_SHARDS: u32 = 64;

/// The hash slots of a Cluster (its specification, "Key distribution model").
const SLOTS: u16 = 16_384;

/// What keys are called.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    prefix: String,
    shards: u32,
}

impl Keys {
    /// Keys that begin with `prefix`, in so many parts.
    pub(super) fn new(prefix: &str, shards: u32) -> Self {
        Self { prefix: prefix.to_owned(), shards }
    }

    /// How many parts there are.
    pub(super) fn shards(&self) -> u32 {
        self.shards
    }

    /// The part of a name.
    pub(super) fn shard(&self, name: &str) -> u32 {
        u32::try_from(order(name) % u64::from(self.shards)).expect("it is below a number of 32 bits")
    }

    /// The key of something of a part.
    pub(super) fn of(&self, shard: u32, what: &str) -> String {
        format!("{}:{{{shard}}}:{what}", self.prefix)
    }

    /// The record of a history, and its items.
    pub(super) fn history(&self, shard: u32, whose: &Whose<'_>) -> [String; 2] {
        let member = member(whose.kind, whose.name);
        [self.of(shard, &format!("h:{member}")), self.of(shard, &format!("s:{member}"))]
    }
}

/// A history's name in the feed.
pub(super) fn member(kind: Kind, name: &str) -> String {
    let letter = match kind {
        Kind::Room => 'r',
        Kind::User => 'u',
        Kind::App => 'a',
    };
    format!("{letter}{name}")
}

/// Whose history it is.
pub(super) fn of_member(member: &str) -> Option<(Kind, &str)> {
    let kind = match member.chars().next()? {
        'r' => Kind::Room,
        'u' => Kind::User,
        'a' => Kind::App,
        _ => return None,
    };
    Some((kind, &member[1..]))
}

/// The slot of a part: CRC16 (XMODEM) of what stands in the braces.
pub(super) fn slot(shard: u32) -> u16 {
    let step =
        |crc: u16, byte: u8| {
            (0..8).fold(crc ^ u16::from(byte) << 8, |crc, _| {
                if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 }
            })
        };
    shard.to_string().bytes().fold(0, step) % SLOTS
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn parts_have_slots_of_their_own_as_a_cluster_counts_them() {
        // CLUSTER KEYSLOT 1 and 63, as Redis 7.0 answers.
        assert_eq!((slot(1), slot(63)), (9842, 10499));
        assert_eq!((0..CLUSTER_SHARDS).map(slot).collect::<BTreeSet<_>>().len(), 64);
    }

    #[test]
    fn a_member_is_taken_apart_as_it_was_put_together() {
        for (kind, name) in [(Kind::Room, "é}{:"), (Kind::User, "u"), (Kind::Room, "")] {
            assert_eq!(of_member(&member(kind, name)), Some((kind, name)));
        }
        assert_eq!(of_member("x1"), None);
        assert_eq!(of_member("é"), None);
    }
}
