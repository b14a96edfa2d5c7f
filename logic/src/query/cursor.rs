//! Where a list goes on, as a text that means nothing to who keeps it.
//!
//! A cursor is a place, not a snapshot: connections are listed by gateway run, bucket and slot, and keep these for
//! life; names are listed in an order that depends on the name alone. So who is there during the whole list is
//! there exactly once, whoever comes and goes meanwhile.

use common::ids::Instance;
use common::link::ask::NamePlace;
use common::names;
use data_encoding::BASE64URL_NOPAD;

/// What the text begins with, so that one of another release or list is not misread.
const CLIENTS: u8 = 0x11;
const NAMES: u8 = 0x12;

/// A place among connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClientPlace {
    /// The gateway run whose turn it is.
    pub(crate) gateway: Instance,
    /// Where it goes on there.
    pub(crate) from: u64,
}

impl ClientPlace {
    /// As a text.
    pub(crate) fn encode(self) -> String {
        let mut bytes = vec![CLIENTS];
        bytes.extend_from_slice(&self.gateway.0.to_be_bytes());
        bytes.extend_from_slice(&self.from.to_be_bytes());
        BASE64URL_NOPAD.encode(&bytes)
    }

    /// From a text; `None` if it is none of ours.
    pub(crate) fn decode(text: &str) -> Option<Self> {
        let bytes = decode(text, CLIENTS)?;
        let (gateway, from) = bytes.split_at_checked(8)?;
        let number = |bytes: &[u8]| Some(u64::from_be_bytes(bytes.try_into().ok()?));
        Some(Self { gateway: Instance(number(gateway)?), from: number(from)? })
    }
}

/// A place among names, as a text.
pub(crate) fn encode_name(place: &NamePlace) -> String {
    let mut bytes = vec![NAMES];
    bytes.extend_from_slice(place.name.as_bytes());
    BASE64URL_NOPAD.encode(&bytes)
}

/// From a text; `None` if it is none of ours.
pub(crate) fn decode_name(text: &str) -> Option<NamePlace> {
    let name = String::from_utf8(decode(text, NAMES)?).ok()?;
    names::check(&name).ok()?;
    Some(NamePlace::of(&name))
}

fn decode(text: &str, kind: u8) -> Option<Vec<u8>> {
    let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
    let (first, rest) = bytes.split_first()?;
    (*first == kind).then(|| rest.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_its_text_and_others_are_refused() {
        let place = ClientPlace { gateway: Instance(u64::MAX / 3), from: 7 << 32 | 9 };
        let text = place.encode();
        assert_eq!(ClientPlace::decode(&text), Some(place));
        let name = NamePlace::of("комната");
        assert_eq!(decode_name(&encode_name(&name)), Some(name.clone()));
        for bad in ["", "x", "====", &text[1..], &encode_name(&name)] {
            assert_eq!(ClientPlace::decode(bad), None, "{bad}");
        }
        for bad in ["", "x", &text, &BASE64URL_NOPAD.encode(&[NAMES]), &BASE64URL_NOPAD.encode(&[NAMES, 255])]
        {
            assert_eq!(decode_name(bad), None, "{bad}");
        }
    }
}
