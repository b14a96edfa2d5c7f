//! What bytes: WebSocket frames as they go to clients, unmasked and never fragmented (RFC 6455 §5).
//!
//! A batch is encoded here once for the whole gateway; every connection is given the same bytes.

use std::fmt::Write;

use bytes::{BufMut, Bytes, BytesMut};
use common::client::{CloseCode, PUSH_END, PUSH_START};
use common::ids::Epoch;
use common::link::message::Position;
use serde::Serialize;
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use crate::directory::Group;

/// Most bytes of a reason in a close frame: a control frame carries 125, the code takes two.
const REASON_BYTES_MAX: usize = 123;

/// Longest header of an unmasked frame (RFC 6455 §5.2).
const HEADER_BYTES_MAX: usize = 10;

/// Where the first byte of a frame says of which kind it is, and the kind of a binary one (RFC 6455 §5.2).
const OPCODE_BITS: u8 = 0x0f;
const BINARY: u8 = 0x2;

/// A ping without a payload.
pub(crate) const PING: Bytes = Bytes::from_static(&[0x89, 0x00]);

fn header(opcode: OpCode, is_deflated: bool, payload: usize, out: &mut BytesMut) {
    // RFC 7692 §6: the first reserved bit says that a message is compressed.
    let header = FrameHeader { opcode, rsv1: is_deflated, ..FrameHeader::default() };
    header.format(payload as u64, &mut out.writer()).expect("writing to memory does not fail");
}

fn frame(opcode: OpCode, payload: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(payload.len() + HEADER_BYTES_MAX);
    header(opcode, false, payload.len(), &mut out);
    out.extend_from_slice(payload);
    out.freeze()
}

/// A text frame.
pub(crate) fn text(payload: &[u8]) -> Bytes {
    frame(OpCode::Data(Data::Text), payload)
}

/// A binary frame.
pub(crate) fn binary(payload: &[u8]) -> Bytes {
    frame(OpCode::Data(Data::Binary), payload)
}

/// The twin of a frame made here, text or binary as that is, of what its payload was compressed to.
pub(crate) fn deflated(plain: &Bytes, payload: &[u8]) -> Bytes {
    let data = if plain[0] & OPCODE_BITS == BINARY { Data::Binary } else { Data::Text };
    let mut out = BytesMut::with_capacity(payload.len() + HEADER_BYTES_MAX);
    header(OpCode::Data(data), true, payload.len(), &mut out);
    out.extend_from_slice(payload);
    out.freeze()
}

/// The payload of a frame made here.
pub(crate) fn payload(frame: &Bytes) -> &[u8] {
    // RFC 6455 §5.2: the second byte says how many follow it to say the length; ours are not masked.
    let header = match frame[1] {
        126 => 4,
        127 => HEADER_BYTES_MAX,
        _ => 2,
    };
    &frame[header..]
}

/// A text frame of a value as JSON.
pub(crate) fn json(value: &impl Serialize) -> Bytes {
    text(&serde_json::to_vec(value).expect("our own messages are JSON"))
}

/// A close frame; a reason that is too long is cut at a character.
pub(crate) fn close(code: CloseCode, reason: &str) -> Bytes {
    let reason = &reason[..reason.floor_char_boundary(REASON_BYTES_MAX)];
    let mut payload = Vec::with_capacity(2 + reason.len());
    payload.extend_from_slice(&(code as u16).to_be_bytes());
    payload.extend_from_slice(reason.as_bytes());
    frame(OpCode::Control(Control::Close), &payload)
}

/// The answer to a good-bye, with the code it gave, if it gave one.
pub(crate) fn close_answer(code: Option<u16>) -> Bytes {
    frame(OpCode::Control(Control::Close), code.map(u16::to_be_bytes).as_ref().map_or(&[], |code| code))
}

/// The answer to a ping, with its payload.
pub(crate) fn pong(payload: &[u8]) -> Bytes {
    frame(OpCode::Control(Control::Pong), payload)
}

/// Tells a client that items were dropped because it reads too slowly, of a room or of no room.
pub(crate) fn gap(room: Option<&Group>) -> Bytes {
    #[derive(Serialize)]
    struct Gap<'a> {
        cmd: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        room: Option<&'a str>,
        reason: &'a str,
    }
    json(&Gap { cmd: "gap", room: room.map(|group| &*group.name), reason: "slow" })
}

/// Tells a client when its turn to go will be.
pub(crate) fn reconnect(after: std::time::Duration) -> Bytes {
    let after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
    json(&serde_json::json!({"cmd": "reconnect", "data": {"afterMs": after_ms}}))
}

/// A push frame of items that were all sent to one target: `bodies` as logic made them, from `"event"` or
/// `"data"` on; `room` is named in each if there is one.
pub(crate) fn push<'a>(room: Option<&str>, bodies: impl Iterator<Item = &'a Bytes> + Clone) -> Bytes {
    let mut start = vec![b'{'];
    if let Some(room) = room {
        start.extend_from_slice(b"\"room\":");
        serde_json::to_writer(&mut start, room).expect("a string is JSON");
        start.push(b',');
    }
    let (count, bytes) = bodies.clone().fold((0, 0), |(count, bytes), body| (count + 1, bytes + body.len()));
    let payload = PUSH_START.len() + count * start.len() + bytes + count.saturating_sub(1) + PUSH_END.len();
    let mut out = BytesMut::with_capacity(payload + HEADER_BYTES_MAX);
    header(OpCode::Data(Data::Text), false, payload, &mut out);
    out.extend_from_slice(PUSH_START);
    for (index, body) in bodies.enumerate() {
        if index > 0 {
            out.put_u8(b',');
        }
        out.extend_from_slice(&start);
        out.extend_from_slice(body);
    }
    out.extend_from_slice(PUSH_END);
    out.freeze()
}

/// Whose history items stand in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner<'a> {
    Room(&'a str),
    /// The user that the client is.
    User,
}

impl Owner<'_> {
    /// The beginning of an object that names the owner and an epoch.
    fn put(self, epoch: Epoch, into: &mut Vec<u8>) {
        match self {
            Self::Room(room) => {
                into.extend_from_slice(b"\"room\":");
                serde_json::to_writer(&mut *into, room).expect("a string is JSON");
            }
            Self::User => into.extend_from_slice(b"\"user\":true"),
        }
        into.extend_from_slice(format!(",\"epoch\":\"{epoch}\",\"offset\":").as_bytes());
    }
}

/// A push frame of items of a history, each with its offset.
pub(crate) fn kept<'a>(
    owner: Owner<'_>,
    epoch: Epoch,
    items: impl Iterator<Item = (u64, &'a Bytes)> + Clone,
) -> Bytes {
    let mut start = vec![b'{'];
    owner.put(epoch, &mut start);
    // An offset and its comma, for each item.
    let digits = |offset: u64| offset.checked_ilog10().unwrap_or(0) as usize + 2;
    let each = |(offset, body): (u64, &Bytes)| start.len() + digits(offset) + body.len() + 1;
    let bytes = items.clone().map(each).sum::<usize>().saturating_sub(1);
    let payload = PUSH_START.len() + bytes + PUSH_END.len();
    let mut out = BytesMut::with_capacity(payload + HEADER_BYTES_MAX);
    header(OpCode::Data(Data::Text), false, payload, &mut out);
    out.extend_from_slice(PUSH_START);
    for (index, (offset, body)) in items.enumerate() {
        if index > 0 {
            out.put_u8(b',');
        }
        out.extend_from_slice(&start);
        write!(out, "{offset},").expect("memory grows as needed");
        out.extend_from_slice(body);
    }
    out.extend_from_slice(PUSH_END);
    out.freeze()
}

/// Tells members of a history that it could not continue, and where they are now.
pub(crate) fn reset(owner: Owner<'_>, at: Position) -> Bytes {
    let mut text = br#"{"cmd":"reset","#.to_vec();
    owner.put(Epoch(at.epoch), &mut text);
    text.extend_from_slice(format!("{}}}", at.offset).as_bytes());
    self::text(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(frame: &Bytes) -> &str {
        let mut cursor = std::io::Cursor::new(frame);
        let (header, length) = FrameHeader::parse(&mut cursor).unwrap().unwrap();
        let start = cursor.position() as usize;
        assert_eq!(frame.len() - start, length as usize, "the header says the payload's length");
        assert_eq!(super::payload(frame), &frame[start..]);
        assert!(header.is_final && !header.rsv1);
        std::str::from_utf8(&frame[start..]).unwrap()
    }

    #[test]
    fn a_batch_is_one_frame_with_its_room_in_each_item() {
        let bodies = [Bytes::from(r#""data":1e400}"#), Bytes::from(r#""event":"e","data":{"b":1,"a":2}}"#)];
        let frame = push(Some("r\"1"), bodies.iter());
        let expected = r#"{"cmd":"push","items":[{"room":"r\"1","data":1e400},{"room":"r\"1","event":"e","data":{"b":1,"a":2}}]}"#;
        assert_eq!(payload(&frame), expected);
        assert_eq!(payload(&push(None, bodies[..1].iter())), r#"{"cmd":"push","items":[{"data":1e400}]}"#);
    }

    #[test]
    fn items_of_a_history_have_their_places() {
        let bodies = [Bytes::from(r#""data":1}"#), Bytes::from(r#""event":"e","data":2}"#)];
        let epoch = Epoch(0x0123_4567_89ab_cdef);
        let items = [9, 10].into_iter().zip(&bodies);
        let expected = r#"{"cmd":"push","items":[{"room":"r\"1","epoch":"04hmasw9nf6yy","offset":9,"data":1},{"room":"r\"1","epoch":"04hmasw9nf6yy","offset":10,"event":"e","data":2}]}"#;
        assert_eq!(payload(&kept(Owner::Room("r\"1"), epoch, items)), expected);
        let items = [u64::MAX].into_iter().zip(&bodies);
        let expected = format!(
            r#"{{"cmd":"push","items":[{{"user":true,"epoch":"04hmasw9nf6yy","offset":{},"data":1}}]}}"#,
            u64::MAX
        );
        assert_eq!(payload(&kept(Owner::User, epoch, items)), expected);
    }

    #[test]
    fn a_reset_says_where_a_client_is_now() {
        let at = Position { epoch: 0x0123_4567_89ab_cdef, offset: 57 };
        let expected = r#"{"cmd":"reset","room":"r","epoch":"04hmasw9nf6yy","offset":57}"#;
        assert_eq!(payload(&reset(Owner::Room("r"), at)), expected);
    }

    #[test]
    fn headers_fit_every_length() {
        for length in [0, 125, 126, 65_535, 65_536, 200_000] {
            let text = "x".repeat(length);
            assert_eq!(payload(&super::text(text.as_bytes())), text);
        }
    }

    #[test]
    fn a_compressed_frame_says_so() {
        for (plain, data) in [(text(b"x"), Data::Text), (binary(b"x"), Data::Binary)] {
            let frame = deflated(&plain, &[7; 200]);
            let (header, length) = FrameHeader::parse(&mut std::io::Cursor::new(&frame)).unwrap().unwrap();
            assert!(header.is_final && header.rsv1 && length == 200);
            assert_eq!(header.opcode, OpCode::Data(data));
            assert_eq!(super::payload(&frame), [7; 200]);
        }
    }

    #[test]
    fn a_long_reason_is_cut_at_a_character() {
        let frame = close(CloseCode::BadMessage, &"ä".repeat(200));
        assert_eq!(frame.len(), 2 + 2 + 122);
        assert!(std::str::from_utf8(&frame[4..]).is_ok());
    }
}
