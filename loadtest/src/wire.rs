//! WebSocket frames as a client sees them, in bytes: no connection, no buffer of its own (RFC 6455 §5).

use std::io::Cursor;

use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// Longest frame that is read: a gateway flushes a target at 64 KiB of items, and one item may be as long again.
pub(crate) const FRAME_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What a server sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    /// Text that is compressed (RFC 7692 §6).
    Deflated,
    Ping,
    Pong,
    Close,
}

/// The beginning of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next<'a> {
    /// A whole frame, of so many bytes with its header.
    Frame(Kind, &'a [u8], usize),
    /// More bytes are needed.
    Part,
    /// What no server may send.
    Wrong(&'static str),
}

/// Reads the first frame. `deflates`: messages may be compressed.
pub(crate) fn next(bytes: &[u8], deflates: bool) -> Next<'_> {
    let mut cursor = Cursor::new(bytes);
    let (header, length) = match FrameHeader::parse(&mut cursor) {
        Ok(Some(parsed)) => parsed,
        Ok(None) => return Next::Part,
        Err(_) => return Next::Wrong("a frame with an unknown opcode"),
    };
    if (header.rsv1 && !deflates) || header.rsv2 || header.rsv3 {
        return Next::Wrong("a frame with reserved bits that no extension gives a meaning");
    }
    if header.mask.is_some() {
        return Next::Wrong("a masked frame from a server");
    }
    let kind = match header.opcode {
        OpCode::Data(Data::Text) if header.is_final && header.rsv1 => Kind::Deflated,
        OpCode::Data(Data::Text) if header.is_final => Kind::Text,
        OpCode::Control(_) if header.rsv1 => return Next::Wrong("a compressed control frame"),
        OpCode::Control(Control::Ping) => Kind::Ping,
        OpCode::Control(Control::Pong) => Kind::Pong,
        OpCode::Control(Control::Close) => Kind::Close,
        OpCode::Data(Data::Binary) => return Next::Wrong("a binary frame"),
        _ => return Next::Wrong("a fragmented message"),
    };
    if !matches!(kind, Kind::Text | Kind::Deflated) && (length > 125 || !header.is_final) {
        return Next::Wrong("a control frame that is long or fragmented");
    }
    if length > FRAME_BYTES_MAX as u64 {
        return Next::Wrong("a frame longer than 4 MiB");
    }
    let start = cursor.position() as usize;
    let end = start + length as usize;
    match bytes.get(start..end) {
        Some(payload) => Next::Frame(kind, payload, end),
        None => Next::Part,
    }
}

/// A control frame of a client: at most 125 bytes, masked with `key`.
pub(crate) fn control(opcode: Control, payload: &[u8], key: [u8; 4]) -> Vec<u8> {
    let header = FrameHeader { opcode: OpCode::Control(opcode), mask: Some(key), ..FrameHeader::default() };
    let payload = &payload[..payload.len().min(125)];
    let mut frame = Vec::with_capacity(6 + payload.len());
    header.format(payload.len() as u64, &mut frame).expect("a Vec takes all");
    frame.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// A text frame of a client, masked with `key`.
pub(crate) fn text(payload: &[u8], key: [u8; 4]) -> Vec<u8> {
    let header = FrameHeader { opcode: OpCode::Data(Data::Text), mask: Some(key), ..FrameHeader::default() };
    let mut frame = Vec::with_capacity(14 + payload.len());
    header.format(payload.len() as u64, &mut frame).expect("a Vec takes all");
    frame.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// The code of a close frame's payload; 1005 (none given) without one.
pub(crate) fn close_code(payload: &[u8]) -> u16 {
    payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_and_parts_wait() {
        let bytes = b"\x81\x02hi\x89\x00\x88\x02\x03\xf4";
        assert_eq!(next(bytes, false), Next::Frame(Kind::Text, b"hi", 4));
        assert_eq!(next(&bytes[4..], false), Next::Frame(Kind::Ping, b"", 2));
        assert_eq!(next(b"\xc1\x02hi", true), Next::Frame(Kind::Deflated, b"hi", 4));
        assert_eq!(next(bytes, true), Next::Frame(Kind::Text, b"hi", 4));
        let Next::Frame(Kind::Close, payload, 4) = next(&bytes[6..], false) else { panic!("a close frame") };
        assert_eq!((close_code(payload), close_code(b"")), (1012, 1005));
        for end in 0..4 {
            assert_eq!(next(&bytes[..end], false), Next::Part);
        }
        let long = [&[0x81, 126, 1, 0][..], &[b'x'; 256]].concat();
        assert_eq!(next(&long, false), Next::Frame(Kind::Text, &[b'x'; 256], 260));
    }

    #[test]
    fn what_no_server_may_send_is_wrong() {
        for bytes in [
            &b"\x82\x00"[..],
            b"\x01\x00",
            b"\x80\x00",
            b"\xc1\x00",
            b"\x81\x80\0\0\0\0",
            b"\x83\x00",
            b"\x89\x7e\x01\x00",
            b"\x81\x7f\x00\x00\x00\x01\x00\x00\x00\x00",
            b"HTTP/1.1 400",
        ] {
            assert!(matches!(next(bytes, false), Next::Wrong(_)), "{bytes:?}");
        }
        for bytes in [&b"\xc9\x00"[..], b"\xc2\x00", b"\x41\x00", b"\xa1\x00", b"\x91\x00"] {
            assert!(matches!(next(bytes, true), Next::Wrong(_)), "{bytes:?}");
        }
    }

    #[test]
    fn a_pong_is_masked() {
        assert_eq!(control(Control::Pong, b"ab", [1, 2, 3, 4]), [0x8a, 0x82, 1, 2, 3, 4, b'a' ^ 1, b'b' ^ 2]);
        assert_eq!(text(b"ab", [1, 2, 3, 4]), [0x81, 0x82, 1, 2, 3, 4, b'a' ^ 1, b'b' ^ 2]);
    }
}
