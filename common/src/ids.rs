//! Ids: of a node's run, of a client, of a push. Fixed-size, made without asking anyone, readable as text.
//!
//! A client's id names the gateway run that holds it, so any logic node finds the one gateway to ask
//! without a table; a push's id names the logic run that accepted it in the same way.

use std::fmt;
use std::str::FromStr;

/// Characters of one 64-bit half in text: 13 × 5 bits = 65 ≥ 64.
const HALF_CHARS: usize = 13;

/// Crockford's alphabet in lower case: no i, l, o, u, so an id read aloud survives.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// One run of one node: 64 random bits, new at each start.
///
/// Two runs of the same gateway differ, so an id of a client that was connected before a restart never
/// names somebody else after it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Instance(pub u64);

impl Instance {
    /// A new random instance, from the operating system's randomness by way of `fastrand`'s seed.
    #[must_use]
    pub fn random() -> Self {
        Self(fastrand::u64(1..))
    }
}

/// One connection of one client: the gateway run that holds it, and the place it has there.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId {
    /// The gateway run that holds the connection.
    pub gateway: Instance,
    /// Where the gateway finds it; only the gateway knows how to read it.
    pub local: u64,
}

/// One accepted push: the logic run that accepted it, and its serial number there.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PushId {
    /// The logic run that accepted the push.
    pub logic: Instance,
    /// Counts up from 1 in the order in which the pushes were accepted.
    pub serial: u64,
}

/// One life of a history: 64 random bits, others whenever its offsets begin anew. Never 0.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(pub u64);

impl Epoch {
    /// A new random epoch.
    #[must_use]
    pub fn random() -> Self {
        Self(fastrand::u64(1..))
    }
}

/// Why a text is not an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAnId;

impl fmt::Display for NotAnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an id: 26 characters of 0-9 and a-z without i, l, o, u are expected")
    }
}

impl std::error::Error for NotAnId {}

/// Writes 64 bits, the highest first, five a character; the last character has four and a zero below.
fn write_half(half: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut bits = u128::from(half) << 1;
    let mut text = [0_u8; HALF_CHARS];
    for place in text.iter_mut().rev() {
        *place = ALPHABET[(bits & 31) as usize];
        bits >>= 5;
    }
    f.write_str(std::str::from_utf8(&text).expect("the alphabet is ASCII"))
}

fn parse_half(text: &[u8]) -> Result<u64, NotAnId> {
    let mut bits = 0_u128;
    for character in text {
        let value = ALPHABET.iter().position(|known| known == character).ok_or(NotAnId)?;
        bits = bits << 5 | value as u128;
    }
    // One text for one id: the bit below the 64 is zero.
    if bits & 1 == 1 { Err(NotAnId) } else { u64::try_from(bits >> 1).map_err(|_| NotAnId) }
}

fn parse_pair(text: &str) -> Result<(u64, u64), NotAnId> {
    let bytes = text.as_bytes();
    if bytes.len() != 2 * HALF_CHARS {
        return Err(NotAnId);
    }
    let (first, second) = bytes.split_at(HALF_CHARS);
    Ok((parse_half(first)?, parse_half(second)?))
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_half(self.0, f)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_half(self.0, f)
    }
}

impl FromStr for Epoch {
    type Err = NotAnId;
    fn from_str(text: &str) -> Result<Self, NotAnId> {
        if text.len() != HALF_CHARS {
            return Err(NotAnId);
        }
        parse_half(text.as_bytes()).map(Self)
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_half(self.gateway.0, f)?;
        write_half(self.local, f)
    }
}

impl fmt::Display for PushId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_half(self.logic.0, f)?;
        write_half(self.serial, f)
    }
}

impl FromStr for ClientId {
    type Err = NotAnId;
    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let (gateway, local) = parse_pair(text)?;
        Ok(Self { gateway: Instance(gateway), local })
    }
}

impl FromStr for PushId {
    type Err = NotAnId;
    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let (logic, serial) = parse_pair(text)?;
        Ok(Self { logic: Instance(logic), serial })
    }
}

macro_rules! debug_as_display {
    ($($id:ty),*) => {$(
        impl fmt::Debug for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    )*};
}
debug_as_display!(Instance, ClientId, PushId, Epoch);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_the_way_through_text() {
        for local in [0, 1, u64::MAX, 0x0123_4567_89ab_cdef] {
            let id = ClientId { gateway: Instance(u64::MAX - local / 3), local };
            assert_eq!(id.to_string().len(), 26);
            assert_eq!(id.to_string().parse(), Ok(id));
        }
    }

    #[test]
    fn an_epoch_survives_the_way_through_text_and_nothing_else_is_one() {
        let epoch = Epoch(0x0123_4567_89ab_cdef);
        assert_eq!(epoch.to_string().parse(), Ok(epoch));
        for bad in ["", "e", "zzzzzzzzzzzzz", "04hmasw9nf6yy0", "ääääääa"] {
            assert_eq!(bad.parse::<Epoch>(), Err(NotAnId), "{bad:?}");
        }
    }

    #[test]
    fn the_text_of_an_id_is_the_same_in_every_release() {
        let id = PushId { logic: Instance(0x0123_4567_89ab_cdef), serial: u64::MAX };
        assert_eq!(id.to_string(), "04hmasw9nf6yyzzzzzzzzzzzzy");
        assert_eq!("zzzzzzzzzzzzz".repeat(2).parse::<PushId>(), Err(NotAnId), "one text for one id");
    }

    #[test]
    fn what_is_not_an_id_is_refused() {
        let good = ClientId { gateway: Instance(7), local: 9 }.to_string();
        for bad in ["", "x", &good[1..], &format!("{good}0"), &good.replace('0', "u"), "ääääääääääääa"]
        {
            assert_eq!(bad.parse::<ClientId>(), Err(NotAnId), "{bad:?}");
        }
    }
}
