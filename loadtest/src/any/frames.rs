//! WebSocket frames of any server, in bytes: text and binary, whole and fragmented (RFC 6455 §5). No extension is
//! offered, so none is understood.

use std::borrow::Cow;
use std::io::Cursor;

use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use crate::wire::FRAME_BYTES_MAX;

/// The beginning of some bytes; the number is how many of them it takes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<'a> {
    Message(Cow<'a, [u8]>, usize),
    Ping(&'a [u8], usize),
    Pong(usize),
    Close(&'a [u8], usize),
    /// More bytes are needed.
    Part,
    /// What no server may send, or what is not understood here.
    Wrong(&'static str),
}

/// One frame.
struct Frame<'a> {
    opcode: OpCode,
    is_final: bool,
    payload: &'a [u8],
    length: usize,
}

enum One<'a> {
    Frame(Frame<'a>),
    Part,
    Wrong(&'static str),
}

fn one(bytes: &[u8]) -> One<'_> {
    let mut cursor = Cursor::new(bytes);
    let (header, length) = match FrameHeader::parse(&mut cursor) {
        Ok(Some(parsed)) => parsed,
        Ok(None) => return One::Part,
        Err(_) => return One::Wrong("a frame with an unknown opcode"),
    };
    if header.rsv1 || header.rsv2 || header.rsv3 {
        return One::Wrong("a frame with reserved bits that no extension gives a meaning");
    }
    if header.mask.is_some() {
        return One::Wrong("a masked frame from a server");
    }
    if matches!(header.opcode, OpCode::Control(_)) && (length > 125 || !header.is_final) {
        return One::Wrong("a control frame that is long or fragmented");
    }
    if length > FRAME_BYTES_MAX as u64 {
        return One::Wrong("a frame longer than 4 MiB");
    }
    let start = cursor.position() as usize;
    let end = start + length as usize;
    match bytes.get(start..end) {
        Some(payload) => {
            One::Frame(Frame { opcode: header.opcode, is_final: header.is_final, payload, length: end })
        }
        None => One::Part,
    }
}

/// Reads the first message or control frame.
pub(super) fn next(bytes: &[u8]) -> Next<'_> {
    let first = match one(bytes) {
        One::Frame(frame) => frame,
        One::Part => return Next::Part,
        One::Wrong(what) => return Next::Wrong(what),
    };
    match first.opcode {
        OpCode::Control(Control::Ping) => Next::Ping(first.payload, first.length),
        OpCode::Control(Control::Pong) => Next::Pong(first.length),
        OpCode::Control(Control::Close) => Next::Close(first.payload, first.length),
        OpCode::Data(Data::Text | Data::Binary) if first.is_final => {
            Next::Message(Cow::Borrowed(first.payload), first.length)
        }
        OpCode::Data(Data::Text | Data::Binary) => gather(bytes, &first),
        _ => Next::Wrong("a frame that continues nothing"),
    }
}

/// A message in several frames.
fn gather<'a>(bytes: &'a [u8], first: &Frame<'a>) -> Next<'a> {
    let (mut used, mut whole) = (first.length, first.payload.to_vec());
    loop {
        let frame = match one(&bytes[used..]) {
            One::Frame(frame) => frame,
            One::Part if whole.len() > FRAME_BYTES_MAX => return Next::Wrong("a message longer than 4 MiB"),
            One::Part => return Next::Part,
            One::Wrong(what) => return Next::Wrong(what),
        };
        if frame.opcode != OpCode::Data(Data::Continue) {
            return Next::Wrong("another frame inside a fragmented message, which this tool does not read");
        }
        used += frame.length;
        whole.extend_from_slice(frame.payload);
        if frame.is_final {
            return Next::Message(Cow::Owned(whole), used);
        }
    }
}

/// A message of a client, masked with `key`.
pub(super) fn message(binary: bool, payload: &[u8], key: [u8; 4]) -> Vec<u8> {
    let opcode = OpCode::Data(if binary { Data::Binary } else { Data::Text });
    let header = FrameHeader { opcode, mask: Some(key), ..FrameHeader::default() };
    let mut frame = Vec::with_capacity(14 + payload.len());
    header.format(payload.len() as u64, &mut frame).expect("a Vec takes all");
    frame.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_binary_and_fragmented_messages_are_read() {
        let whole = |bytes: &[u8]| match next(bytes) {
            Next::Message(payload, length) => (payload.into_owned(), length),
            other => panic!("{other:?}"),
        };
        assert_eq!(whole(b"\x81\x02hi\x81"), (b"hi".to_vec(), 4));
        assert_eq!(whole(b"\x82\x01x"), (b"x".to_vec(), 3));
        let parts = b"\x01\x02he\x00\x01l\x80\x02lo\x89\x00";
        assert_eq!(whole(parts), (b"hello".to_vec(), 11));
        for end in 0..11 {
            assert_eq!(next(&parts[..end]), Next::Part, "cut at {end}");
        }
        assert_eq!(next(&parts[11..]), Next::Ping(b"", 2));
        assert_eq!(next(b"\x88\x02\x03\xe8"), Next::Close(b"\x03\xe8", 4));
    }

    #[test]
    fn what_no_server_may_send_is_wrong() {
        for bytes in [
            &b"\x80\x00"[..],
            b"\xc1\x00",
            b"\x81\x80\0\0\0\0",
            b"\x83\x00",
            b"\x89\x7e\x01\x00",
            b"\x81\x7f\x00\x00\x00\x01\x00\x00\x00\x00",
            b"\x01\x00\x81\x00",
            b"HTTP/1.1 400",
        ] {
            assert!(matches!(next(bytes), Next::Wrong(_)), "{bytes:?}");
        }
    }

    #[test]
    fn what_a_client_says_is_masked() {
        assert_eq!(message(false, b"ab", [1, 2, 3, 4]), [0x81, 0x82, 1, 2, 3, 4, b'a' ^ 1, b'b' ^ 2]);
        assert_eq!(message(true, b"", [0; 4])[0], 0x82);
    }
}
