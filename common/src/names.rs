//! Names: what a room, a user, an event or a key may be called, and the kinds of group that have names.

use std::fmt;

use crate::limits::NAME_BYTES_MAX;

/// A kind of group of connections that has a name and an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Kind {
    /// Clients that joined the room of that name.
    Room = 0,
    /// The connections of one user, on whatever devices and applications.
    User = 1,
    /// The connections of one application; its name is the application's number in decimal.
    App = 2,
}

impl Kind {
    /// All kinds, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Room, Self::User, Self::App];
}

/// Why a name is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadName {
    /// It has no characters.
    Empty,
    /// It has more than [`NAME_BYTES_MAX`] bytes.
    TooLong {
        /// How long it is.
        bytes: usize,
    },
    /// It contains a control character (Unicode category Cc, NUL included).
    Control {
        /// At which byte of the name.
        at: usize,
    },
}

impl fmt::Display for BadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("is empty; a name has at least one character"),
            Self::TooLong { bytes } => {
                write!(f, "has {bytes} bytes; a name has at most {NAME_BYTES_MAX}")
            }
            Self::Control { at } => write!(f, "has a control character at byte {at}; names have none"),
        }
    }
}

impl std::error::Error for BadName {}

/// Checks the name of a room, user, event or key: 1 to [`NAME_BYTES_MAX`] bytes, no control characters.
///
/// # Errors
/// [`BadName`] says what is wrong with it.
pub fn check(name: &str) -> Result<(), BadName> {
    if name.is_empty() {
        return Err(BadName::Empty);
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(BadName::TooLong { bytes: name.len() });
    }
    match name.char_indices().find(|(_, c)| c.is_control()) {
        Some((at, _)) => Err(BadName::Control { at }),
        None => Ok(()),
    }
}

/// Where a name stands in lists: a number that looks random and is the same at all nodes and in all releases.
///
/// FNV-1a (Fowler, Noll, Vo) and MurmurHash3's last step, so that the high bits are as good as the low ones: nodes
/// list names in this order, and lay them into shards by it.
#[must_use]
pub fn order(name: &str) -> u64 {
    let fnv = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let mut hash = name.as_bytes().iter().fold(0xcbf2_9ce4_8422_2325, fnv);
    hash = (hash ^ hash >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ hash >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ hash >> 33
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        for good in ["r", "chat.42", "комната", "a b", "🦀", &"x".repeat(NAME_BYTES_MAX)] {
            assert_eq!(check(good), Ok(()), "{good:?}");
        }
        assert_eq!(check(""), Err(BadName::Empty));
        assert_eq!(check(&"x".repeat(257)), Err(BadName::TooLong { bytes: 257 }));
        assert_eq!(check("a\0b"), Err(BadName::Control { at: 1 }));
        assert_eq!(check("ab\u{85}"), Err(BadName::Control { at: 2 }));
        assert_eq!(check("line\n"), Err(BadName::Control { at: 4 }));
    }

    #[test]
    fn the_order_of_names_is_the_same_in_every_release() {
        assert_eq!(["", "r", "chat.42", "комната"].map(order), ORDERS);
        let shards: std::collections::BTreeSet<_> =
            (0..1000).map(|n| order(&format!("r{n}")) >> 58).collect();
        assert_eq!(shards.len(), 64, "its high bits are spread");
    }

    const ORDERS: [u64; 4] =
        [0xefd0_1f60_ba99_2926, 0xb2a4_e4e8_9f08_866e, 0xecd2_bbec_2bf5_7cbd, 0xed42_a7da_e2f1_d6d9];
}
