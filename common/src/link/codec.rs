//! Messages in DATA frames: each is a protobuf varint length and the message.
//!
//! h2 answers many small unread DATA frames with GOAWAY (`too_many_data_frames`: each frame under 256 bytes
//! costs budget until it is read). So an [`Outbound`] fills what it sends up to [`CHUNK_BYTES_MIN`] with zero
//! bytes: a length of 0 is an empty message, which an [`Inbound`] passes over.

use std::fmt;

use bytes::{Buf, Bytes, BytesMut};
use prost::Message;

use crate::limits::LINK_MESSAGE_BYTES_MAX;

/// The fewest bytes that are sent in one DATA frame.
pub const CHUNK_BYTES_MIN: usize = 256;

/// Where messages gather until they are sent together.
#[derive(Debug, Default)]
pub struct Outbound(BytesMut);

impl Outbound {
    /// Adds a message.
    pub fn put(&mut self, message: &impl Message) {
        message.encode_length_delimited(&mut self.0).expect("a BytesMut grows as needed");
    }

    /// Adds a message that [`encoded`] has made, so that several links share the work.
    pub fn put_encoded(&mut self, message: &[u8]) {
        self.0.extend_from_slice(message);
    }

    /// Bytes gathered so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing has gathered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes what has gathered, padded to [`CHUNK_BYTES_MIN`]; `None` if there is nothing.
    pub fn take(&mut self) -> Option<Bytes> {
        if self.0.is_empty() {
            return None;
        }
        if self.0.len() < CHUNK_BYTES_MIN {
            self.0.resize(CHUNK_BYTES_MIN, 0);
        }
        Some(self.0.split().freeze())
    }
}

/// One message as it stands on the wire, length included.
#[must_use]
pub fn encoded(message: &impl Message) -> Bytes {
    Bytes::from(message.encode_length_delimited_to_vec())
}

/// Why what came on a link cannot be read; the link is then of no use any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Garbage {
    /// A message says that it is longer than [`LINK_MESSAGE_BYTES_MAX`].
    TooLong(u64),
    /// Not protobuf, or not the message expected.
    Undecodable(String),
    /// The stream ended inside a message.
    Truncated,
}

impl fmt::Display for Garbage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong(bytes) => {
                write!(f, "a link message of {bytes} bytes; at most {LINK_MESSAGE_BYTES_MAX} are taken")
            }
            Self::Undecodable(error) => write!(f, "not a link message: {error}"),
            Self::Truncated => f.write_str("the stream ended inside a message"),
        }
    }
}

impl std::error::Error for Garbage {}

/// Takes chunks as they come and gives messages.
#[derive(Debug, Default)]
pub struct Inbound(BytesMut);

impl Inbound {
    /// Adds what came.
    pub fn put(&mut self, chunk: &[u8]) {
        self.0.extend_from_slice(chunk);
    }

    /// The next whole message; `None` until more comes. `Bytes` fields have memory of their own: what waits for
    /// long keeps nothing of the buffer.
    ///
    /// # Errors
    /// [`Garbage`], after which nothing more can be read.
    pub fn next_message<M: Message + Default>(&mut self) -> Result<Option<M>, Garbage> {
        loop {
            let Some((length, prefix)) = varint(&self.0)? else { return Ok(None) };
            if length > LINK_MESSAGE_BYTES_MAX as u64 {
                return Err(Garbage::TooLong(length));
            }
            let length = usize::try_from(length).expect("checked against a usize above");
            if self.0.len() < prefix + length {
                return Ok(None);
            }
            let decoded = (length > 0).then(|| M::decode(&self.0[prefix..prefix + length]));
            self.0.advance(prefix + length);
            if let Some(decoded) = decoded {
                return decoded.map(Some).map_err(|error| Garbage::Undecodable(error.to_string()));
            }
        }
    }

    /// Says whether the stream may end here.
    ///
    /// # Errors
    /// [`Garbage::Truncated`] inside a message.
    pub fn end(&self) -> Result<(), Garbage> {
        if self.0.is_empty() { Ok(()) } else { Err(Garbage::Truncated) }
    }
}

/// A base-128 varint and its own length (protobuf encoding guide, "Base 128 Varints").
fn varint(bytes: &[u8]) -> Result<Option<(u64, usize)>, Garbage> {
    let mut value = 0_u64;
    for (at, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * at).min(63);
        if byte & 0x80 == 0 {
            return Ok(Some((value, at + 1)));
        }
    }
    if bytes.len() >= 10 { Err(Garbage::TooLong(u64::MAX)) } else { Ok(None) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::link::message::{Delivery, Down, down};

    fn delivery(serial: u64, body: &[u8]) -> Down {
        let delivery = Delivery { serial, body: Bytes::copy_from_slice(body), ..Delivery::default() };
        Down { body: Some(down::Body::Delivery(delivery)) }
    }

    proptest! {
        #[test]
        fn messages_survive_any_slicing(bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..400), 1..20),
                                        cuts in prop::collection::vec(1usize..300, 1..50)) {
            let mut outbound = Outbound::default();
            let mut wire = Vec::new();
            for (serial, body) in bodies.iter().enumerate() {
                outbound.put(&delivery(serial as u64 + 1, body));
                if serial % 3 == 0 { wire.extend_from_slice(&outbound.take().unwrap()); }
            }
            wire.extend(outbound.take().into_iter().flatten());
            let mut inbound = Inbound::default();
            let mut seen = Vec::new();
            let mut rest = &wire[..];
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break; }
                let (now, later) = rest.split_at((*cut).min(rest.len()));
                inbound.put(now);
                rest = later;
                while let Some(message) = inbound.next_message::<Down>().unwrap() { seen.push(message); }
            }
            inbound.end().unwrap();
            let sent: Vec<_> = bodies.iter().enumerate().map(|(n, body)| delivery(n as u64 + 1, body)).collect();
            prop_assert_eq!(seen, sent);
        }

        #[test]
        fn garbage_never_panics_nor_grows(garbage in prop::collection::vec(any::<u8>(), 0..500)) {
            let mut inbound = Inbound::default();
            inbound.put(&garbage);
            while let Ok(Some(_)) = inbound.next_message::<Down>() {}
        }
    }

    #[test]
    fn a_small_chunk_is_padded() {
        let mut outbound = Outbound::default();
        assert_eq!(outbound.take(), None);
        outbound.put(&delivery(1, b"x"));
        assert_eq!(outbound.take().unwrap().len(), CHUNK_BYTES_MIN);
    }

    #[test]
    fn a_message_that_claims_to_be_huge_is_refused_before_it_is_gathered() {
        let mut inbound = Inbound::default();
        inbound.put(&[0xff, 0xff, 0xff, 0x7f]);
        assert!(matches!(inbound.next_message::<Down>(), Err(Garbage::TooLong(_))));
        let mut endless = Inbound::default();
        endless.put(&[0xff; 10]);
        assert!(matches!(endless.next_message::<Down>(), Err(Garbage::TooLong(_))));
    }
}
